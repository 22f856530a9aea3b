//! What stands before the first block, for inference: the network's first convolution, from planes (torch's contiguous
//! [N, C, H, W]) to rows of channels, with bias, ReLU and the 3×3/2 max-pooling after it in the same pass; and the
//! max-pooling and blur of the stem that has them.
//!
//! The convolution needs no patches: in a line of the input, what the outputs of one line read lies `stride` apart, so the
//! register tile takes its left factor right from there. Lines and outputs before pooling exist a few at a time, in
//! scratch.
//!
//! Sources: torchvision's `conv0` … `pool0`; timm's `BlurPool2d`.

mod blur;
mod convolve;
mod packed;
mod tile;

pub use blur::{max_blur, MaxBlur};
pub use convolve::{convolve, Input, Output, Scratch};
pub use packed::Packed;

#[cfg(test)]
mod tests;
