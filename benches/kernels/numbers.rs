//! Numbers to compute with. What they are makes no difference to time.

use densenet::kernels::{padded, Aligned};
use tch::{Device, Kind, Tensor};

/// `rows` rows of `ld`: uniform between −1 and 1.
pub fn matrix(rows: usize, ld: usize) -> Aligned {
    let mut matrix = Aligned::zeroed(rows * ld);
    for (i, x) in matrix.iter_mut().enumerate() {
        *x = (i * 7919 % 1013) as f32 / 506.0 - 1.0;
    }
    matrix
}

/// A padded vector: between 0 and 1, zeros beyond.
pub fn vector(len: usize) -> Aligned {
    let mut vector = matrix(1, padded(len));
    vector.iter_mut().for_each(|x| *x = x.abs());
    vector[len..].fill(0.0);
    vector
}

/// [N, C, H, W] to look at, channels last in memory.
pub fn pictures(count: usize, side: usize, channels: usize) -> Tensor {
    let size = [count, side, side, channels].map(|n| n as i64);
    uniform(&size).permute([0, 3, 1, 2])
}

/// Uniform between −1 and 1.
pub fn uniform(size: &[i64]) -> Tensor {
    Tensor::rand(size, (Kind::Float, Device::Cpu)) * 2.0 - 1.0
}
