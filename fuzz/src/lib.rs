//! What every target does with a file, and what it holds it to: no panic, and memory in proportion to its bytes.

use densenet::checkpoint::{self, NameOptions, StateDict};
use densenet::transforms::DecodeOptions;

/// Memory that any file may take, however short: the rename rules' own.
const FREE: u64 = 8 << 20;
/// What an archive may take beside that: a pickle of 1 MB and storages of 16 MB that were deflated.
pub const INFLATED: u64 = 200 << 20;
/// Bytes of memory for each byte of a file.
const A_BYTE: u64 = 512;
/// Tensors together larger than this are not copied out: that costs time and finds nothing.
const COPIED: usize = 1 << 16;
/// What the WebP decoder makes room for before it reads: a partition, whose length has 24 bits.
const PARTITION: u64 = 16 << 20;
/// The largest picture decoded.
const PIXELS: u64 = 1 << 16;

/// Opens a checkpoint, which may take `more` memory than others, reads every tensor, and asks what network it belongs to.
pub fn checkpoint(bytes: &[u8], more: u64) {
    let file = bytes.to_vec();
    let used = allocation_counter::measure(|| {
        let Ok(dict) = StateDict::from_bytes(file) else { return };
        let mut copied = 0;
        for (_, view) in &dict.tensors {
            copied += view.numel();
            if copied <= COPIED {
                let _ = view.to_tensor();
            }
        }
        if let Ok(normalized) = checkpoint::normalize(&dict, &NameOptions::default()) {
            let _ = checkpoint::infer(&normalized);
        }
    });
    hold(bytes, used.bytes_max, more);
}

/// Decodes a picture.
pub fn picture(bytes: &[u8]) {
    let options = DecodeOptions { max_pixels: PIXELS, ..DecodeOptions::default() };
    let used = allocation_counter::measure(|| {
        let _ = options.decode(bytes);
    });
    hold(bytes, used.bytes_max, 48 * PIXELS + PARTITION);
}

#[track_caller]
fn hold(bytes: &[u8], used: u64, more: u64) {
    let allowed = FREE + more + A_BYTE * bytes.len() as u64;
    assert!(used <= allowed, "{} bytes took {used} bytes of memory, {allowed} are allowed", bytes.len());
}

/// A member of an archive: name and content.
pub type Member<'a> = (&'a str, &'a [u8]);

/// An archive of stored members as torch writes it: sizes in the directory alone.
pub fn archive(members: &[Member]) -> Vec<u8> {
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    for (name, content) in members {
        let (at, size) = (bytes.len() as u32, content.len() as u32);
        bytes.extend(b"PK\x03\x04");
        bytes.extend([0; 22]);
        bytes.extend((name.len() as u32).to_le_bytes());
        bytes.extend(name.as_bytes());
        bytes.extend(*content);
        directory.extend(b"PK\x01\x02");
        directory.extend([0; 16]);
        directory.extend(size.to_le_bytes());
        directory.extend(size.to_le_bytes());
        directory.extend((name.len() as u16).to_le_bytes());
        directory.extend([0; 12]);
        directory.extend(at.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let (start, length, count) = (bytes.len() as u32, directory.len() as u32, members.len() as u16);
    bytes.extend(directory);
    bytes.extend(b"PK\x05\x06\0\0\0\0");
    bytes.extend([count.to_le_bytes(), count.to_le_bytes()].concat());
    bytes.extend(length.to_le_bytes());
    bytes.extend(start.to_le_bytes());
    bytes.extend([0; 2]);
    bytes
}
