//! A pickle as an archive's `data.pkl`, with two storages beside it.
#![no_main]

libfuzzer_sys::fuzz_target!(|pickle: &[u8]| {
    let file = densenet_fuzz::archive(&[
        ("m/data.pkl", pickle),
        ("m/data/0", &[0x3f; 64]),
        ("m/data/1", &[0x40; 8]),
        ("m/version", b"3\n"),
    ]);
    densenet_fuzz::checkpoint(&file, 0);
});
