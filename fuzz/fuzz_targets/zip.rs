//! A whole archive, its first bytes given: records, members, directory.
#![no_main]

libfuzzer_sys::fuzz_target!(|rest: &[u8]| {
    densenet_fuzz::checkpoint(&[b"PK\x03\x04", rest].concat(), densenet_fuzz::INFLATED);
});
