#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| podtap_fuzz::nflog::run(data));
