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
