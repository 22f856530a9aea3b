//! The fused network's CPU kernels: f32, channels last, on plain slices.
//!
//! May use `std` alone: no libtorch, no network. Every kernel is written once over [`simd::Vector`] and compiled for each
//! [`Level`]; its threads come from outside ([`Threads`]), so that the network can lend libtorch's own. `unsafe` is
//! allowed here, each block with its argument.
//!
//! One invariant everywhere: a *padded* row of C channels is followed by finite numbers (zeros, where they could reach a
//! result) up to the next multiple of [`PAD`], so that whole vectors can be read at its end.
#![allow(unsafe_code, reason = "vectors are read and written by pointer")]

pub mod conv1x1;
pub mod conv3x3;
mod machine;
pub mod norm;
mod rows;
pub mod scratch;
mod shared;
pub mod simd;
mod statistics;
pub mod stem;
pub mod threads;
pub mod tile;

pub use machine::Machine;
pub use rows::{Rows, RowsMut};
pub use scratch::Aligned;
pub use simd::Level;
pub use statistics::{Affine, Moments, Norm};
pub use threads::Threads;

/// Rows are padded to a multiple of this many channels: the lanes of the widest vectors.
pub const PAD: usize = 16;

/// The next multiple of [`PAD`].
pub const fn padded(channels: usize) -> usize {
    channels.next_multiple_of(PAD)
}

/// From one row of `channels` channels to the next, where whole columns of rows are read: rows a power of two apart would
/// fall into few cache sets.
pub const fn spread(channels: usize) -> usize {
    let width = padded(channels);
    if width.is_multiple_of(128) {
        width + PAD
    } else {
        width
    }
}
