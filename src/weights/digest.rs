//! SHA-256, as the official files' names state it.

use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// What is read at once: large enough that the hash, not the system, takes the time.
const CHUNK: usize = 1 << 18;

/// A file's SHA-256 in lower-case hexadecimal.
pub(super) fn of_file(path: &Path) -> io::Result<String> {
    let mut hash = Sha256::new();
    update(&mut hash, File::open(path)?)?;
    Ok(hex(hash))
}

/// Reads to the end; returns how many bytes that were.
pub(super) fn update(hash: &mut Sha256, mut from: impl Read) -> io::Result<u64> {
    let mut buffer = vec![0; CHUNK];
    let mut length = 0;
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => return Ok(length),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hash.update(&buffer[..read]);
        length += read as u64;
    }
}

/// The finished hash in lower-case hexadecimal.
pub(super) fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_sha_256() {
        // FIPS 180-2, appendix B.1.
        let mut hash = Sha256::new();
        assert_eq!(update(&mut hash, &b"abc"[..]).unwrap(), 3);
        let want = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hex(hash), want);
    }
}
