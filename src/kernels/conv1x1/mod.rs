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

pub use backward::{backward, backward_normed, Backward, Gradients, Norm};
pub use forward::{forward, Affine, Forward, Moments};
pub use gradient::Gradient;
pub use packed::Packed;
pub use scratch::Scratch;

use super::padded;

/// Channels of a convolution's input (or output) that are summed in one go: packed rows of so many numbers stay in the
/// second cache together with what they are multiplied by.
const DEPTH: usize = 256;
/// The distance of packed rows. Not a power of two, so that a tile's rows do not fall into the same cache sets.
const PACKED_STRIDE: usize = DEPTH + 16;

/// A matrix to read: row i begins at `data[i·stride]`.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    /// The first row's first number, and on.
    pub data: &'a [f32],
    /// From one row to the next.
    pub stride: usize,
}

/// A matrix to write, otherwise as [`Rows`].
#[derive(Debug)]
pub struct RowsMut<'a> {
    /// The first row's first number, and on.
    pub data: &'a mut [f32],
    /// From one row to the next.
    pub stride: usize,
}

/// Panics unless a matrix of `rows` × `columns`, each row padded, lies in `len` numbers at `stride`.
fn check_matrix(what: &str, len: usize, stride: usize, rows: usize, columns: usize) {
    let width = padded(columns);
    assert!(stride >= width, "{what}: rows are {stride} apart, {columns} columns need {width}");
    let needed = if rows == 0 { 0 } else { (rows - 1) * stride + width };
    assert!(len >= needed, "{what}: {len} numbers, {rows} rows of {width} at {stride} need {needed}");
}

/// Panics unless a vector has `needed` numbers.
fn check_vector(what: &str, len: usize, needed: usize) {
    assert!(len >= needed, "{what}: {len} numbers, not {needed}");
}

/// A pointer that threads share, each to write what no other touches.
#[derive(Clone, Copy)]
struct Shared(*mut f32);

// SAFETY: who dereferences it argues that its part is its own; the borrow it was made from outlives the threads' work.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    /// The pointer. (A method, so that closures capture the whole.)
    fn get(self) -> *mut f32 {
        self.0
    }
}

#[cfg(test)]
mod tests;
