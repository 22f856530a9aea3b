//! A header and the data behind it; its length is put in front. The first byte says how many bytes are data.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Some((data, header)) = input.split_first() else { return };
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header);
    file.resize(file.len() + usize::from(*data), 0x3f);
    densenet_fuzz::checkpoint(&file, 0);
});
