//! What a batch norm needs beside the convolutions: a channel's moments, the norm with its ReLU and the pooling after it,
//! and the gradients of all that.
//!
//! Statistics are two numbers a channel; every kernel here goes over its rows once. Sums over rows are f32 for a few dozen
//! rows, then f64, so their error does not grow with the batch.

mod gradient;
mod max_pool;
mod moments;
mod parts;
mod pool;

pub use gradient::{gradient, gradient_in_place, Gradient};
pub use max_pool::{max_pool, max_pool_backward, MaxPool};
pub use moments::{copy_moments, moments};
pub use pool::{pool, pool_backward, Pool};

#[cfg(test)]
mod tests;
