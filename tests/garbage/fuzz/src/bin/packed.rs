//! The target `packed`, fed by libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| garbage::run("packed", bytes));
