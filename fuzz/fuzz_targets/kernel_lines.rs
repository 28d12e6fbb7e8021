#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| podtap_fuzz::kernel_lines::run(data));
