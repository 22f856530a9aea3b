//! Copies into tensors piece by piece, on the calling thread.

use super::error::Result;
use tch::{Device, Kind, Tensor};

/// Elements copied at once. libtorch shares a loop among its threads from 32,768 elements on (`at::internal::GRAIN_SIZE`);
/// half of that, as f32, also stays in the processor's cache between being read and being written.
///
/// Memory is the limit, so more threads gain little; but each waits for all others, a time slice long when another
/// process has the processor. densenet161 took 12 ms on one thread and 1.2 s on two beside a busy process.
const PIECE: usize = 16_384;

/// Copies numbers of dtype `kind` into a flat tensor on the CPU that has one element for each: only a piece is in memory
/// twice.
pub(super) fn bytes(flat: &Tensor, bytes: &[u8], kind: Kind) -> Result<()> {
    let unit = kind.elt_size_in_bytes();
    for (index, piece) in bytes.chunks(PIECE * unit).enumerate() {
        let count = (piece.len() / unit) as i64;
        let piece = Tensor::f_from_data_size(piece, &[count], kind)?;
        flat.f_narrow(0, (index * PIECE) as i64, count)?.f_copy_(&piece)?;
    }
    Ok(())
}

/// Copies `source` into `target`, which has its shape, on one thread where that is possible.
pub(super) fn tensor(target: &Tensor, source: &Tensor) -> Result<()> {
    let mut target = target.shallow_clone();
    if target.device() != Device::Cpu || !target.is_contiguous() || !source.is_contiguous() {
        target.f_copy_(source)?;
        return Ok(());
    }
    let pieces = |tensor: &Tensor| tensor.f_view([-1])?.f_split(PIECE as i64, 0);
    for (mut to, from) in pieces(&target)?.into_iter().zip(pieces(source)?) {
        to.f_copy_(&from)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_copied_and_converted_across_the_ends_of_pieces() {
        let options = |kind| (kind, Device::Cpu);
        for numel in [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE + 7] {
            let values: Vec<f64> = (0..numel).map(|i| i as f64 / 3.0).collect();
            let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_ne_bytes()).collect();
            let target = Tensor::full([numel as i64], -1.0, options(Kind::Float));
            super::bytes(&target, &bytes, Kind::Double).unwrap();
            assert!(target.equal(&Tensor::from_slice(&values).to_kind(Kind::Float)), "{numel}");

            let other = Tensor::full([numel as i64], -1.0, options(Kind::Double));
            tensor(&other, &target).unwrap();
            assert!(other.equal(&target.to_kind(Kind::Double)), "{numel}");
        }
    }
}
