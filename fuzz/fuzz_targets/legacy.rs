//! A legacy file behind its first three pickles: object, storage keys, storages.
#![no_main]

const START: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.\x80\x02}.";

libfuzzer_sys::fuzz_target!(|rest: &[u8]| {
    densenet_fuzz::checkpoint(&[START, rest].concat(), 0);
});
