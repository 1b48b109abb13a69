#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gambi::fuzzing::scan(data));
