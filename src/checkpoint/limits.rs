//! How much of a file is believed, whatever its format: far above what honest files have, far below what hurts.
//! `docs/security.md` lists them; a format's own limits stand beside its reader.

use super::read_error::ReadError;

/// Tensors of one state dict. DenseNet-201 has 1,207.
pub(super) const TENSORS: usize = 65_536;
/// Bytes of one name: a tensor's, a storage's, a zip member's, a class's, the path to a state dict. Honest tensors' names
/// have up to 59.
pub(super) const NAME: usize = 1024;
/// Bytes of all tensors' names of one state dict.
pub(super) const NAMES: usize = 2 << 20;
/// Dimensions of a tensor. torch itself stops there in many places.
pub(super) const RANK: usize = 64;
/// Tensors may share storages, so a small file can ask for much memory: up to this many times its storages …
pub(super) const SHARING: u64 = 16;
/// … and this many bytes.
pub(super) const FREE_SHARING: u64 = 64 << 20;
/// Deflated members may take this many times the file's length …
pub(super) const INFLATION: u64 = 16;
/// … and this many bytes …
pub(super) const FREE_INFLATION: u64 = 16 << 20;
/// … of which a pickle, whose values take many times its bytes, may have so many.
pub(super) const FREE_PICKLE: u64 = 1 << 20;

/// The error where `value` is larger than `max`.
pub(super) fn check(what: &'static str, value: usize, max: usize) -> Result<(), ReadError> {
    if value > max {
        return Err(ReadError::LimitExceeded { what, at: 0, value: value as u64, max: max as u64 });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::pickle::limits as pickle;

    fn thousands(number: usize) -> String {
        let digits = number.to_string();
        let parts: Vec<&str> =
            digits.as_bytes().rchunks(3).rev().map(|part| std::str::from_utf8(part).unwrap()).collect();
        parts.join(",")
    }

    #[test]
    fn the_page_on_security_has_these_limits() {
        let page = include_str!("../../docs/security.md");
        let (tensors, steps) = (thousands(TENSORS), thousands(pickle::FREE_STEPS as usize));
        let rows = [
            format!(
                "| one pickle | {} MiB, {} opcodes, {} memo entries, {} open marks, {} different classes and functions |",
                pickle::BYTES >> 20,
                thousands(pickle::OPCODES),
                thousands(pickle::MEMO),
                pickle::MARKS,
                thousands(pickle::GLOBALS)
            ),
            format!("| {} for each value in it, and {steps} |", pickle::STEPS_A_VALUE),
            format!("path to a state dict | {} bytes |", thousands(NAME)),
            format!("| tensors of a state dict | {tensors}, their names {} MiB together |", NAMES >> 20),
            format!("| dimensions of a tensor | {RANK} |"),
            format!(
                "| {INFLATION} times the file or {} MiB, a pickle {} MiB; one storage {} GiB |",
                FREE_INFLATION >> 20,
                FREE_PICKLE >> 20,
                crate::checkpoint::storage::MAX_INFLATED >> 30
            ),
            format!("| {SHARING} times the storages they share, or {} MiB |", FREE_SHARING >> 20),
        ];
        for row in rows {
            assert!(page.contains(&row), "{row}");
        }
    }
}
