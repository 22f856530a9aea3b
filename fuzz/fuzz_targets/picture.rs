//! A picture of any format that is read, or of none.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    densenet_fuzz::picture(bytes);
});
