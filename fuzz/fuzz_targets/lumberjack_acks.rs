#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| podtap_fuzz::lumberjack_acks::run(data));
