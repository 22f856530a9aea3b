//! Blurred downsampling, which has no tensors in a state dict.

use super::error::Result;
use tch::Tensor;

/// [1 2 1] / 4: every product of two is exact in f16 and bf16 too.
const BINOMIAL: [f32; 3] = [0.25, 0.5, 0.25];

/// [N, C, H, W] to [N, C, ⌊(H-1)/2⌋+1, ⌊(W-1)/2⌋+1], H and W at least 2: every channel convolved with the 3×3 binomial
/// filter, stride 2, after one pixel of reflection padding. timm: `BlurPool2d(channels, stride=2)`.
///
/// # Errors
/// libtorch's own.
pub(super) fn blur_pool(xs: &Tensor) -> Result<Tensor> {
    let channels = xs.size().get(1).copied().unwrap_or(0);
    let row = Tensor::f_from_slice(&BINOMIAL)?;
    let filter = row.f_outer(&row)?.f_to_kind(xs.kind())?.f_to_device(xs.device())?;
    let filter = filter.f_view([1, 1, 3, 3])?.f_repeat([channels, 1, 1, 1])?;
    let padded = xs.f_reflection_pad2d([1, 1, 1, 1])?;
    Ok(padded.f_conv2d(&filter, None::<&Tensor>, [2, 2], [0, 0], [1, 1], channels)?)
}
