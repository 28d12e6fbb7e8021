#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| podtap_fuzz::connects::run(data));
