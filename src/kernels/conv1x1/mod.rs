//! The 1×1 convolution of a dense layer and of a transition: one matrix product per pass, with what stands around it in
//! the network done while its factors are packed and its tiles are stored.
//!
//! - [`forward`]: Y = relu(X·scale + shift)·Wᵀ, or Y = X·Wᵀ; the sums a following batch norm needs, or a bias and a relu.
//! - [`backward_normed`], [`backward`]: the gradients of W and X from that of Y. The normalized input, its gradient and
//!   that of Y (when it is a batch norm's) exist a few dozen rows at a time, in scratch.
//!
//! Sources: Huang et al. 2017, section 3 (composite function, bottleneck layers, transitions); torchvision's
//! `_DenseLayer.bn_function` and `_Transition`. The blocking is that of every fast matrix product: a panel of W stays in
//! the first cache, the packed rows in the second, a tile of sums in registers.

mod backward;
mod forward;
mod gradient;
mod packed;
mod part;
mod scratch;
mod shape;
mod split;
mod tiles;

pub use backward::{backward, backward_normed, Backward, Gradients};
pub use forward::{forward, Forward};
pub use gradient::Gradient;
pub use packed::Packed;
pub use scratch::Scratch;

/// Channels of a convolution's input (or output) that are summed in one go: packed rows of so many numbers stay in the
/// second cache together with what they are multiplied by.
const DEPTH: usize = 256;
/// The distance of packed rows. Not a power of two, so that a tile's rows do not fall into the same cache sets.
const PACKED_STRIDE: usize = DEPTH + 16;

/// Panics unless a weight \[outputs, inputs\] is all there.
fn check_weight(what: &str, weight: &[f32], outputs: usize, inputs: usize) {
    let len = weight.len();
    assert!(len >= outputs * inputs, "{what}: {len} numbers, not [{outputs}, {inputs}]");
}

#[cfg(test)]
mod tests;
