//! What the processor can do at most: sums of products that never leave the registers, and copies.

use densenet::kernels::Machine;
pub use densenet::measure::peak::{multiply, operations};
use std::time::{Duration, Instant};
use tch::{Device, Kind, Tensor};

/// Until the threads run and the clock has risen.
pub fn warm_up(on: Machine) {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(1) {
        multiply(on);
    }
}

/// libtorch's copy of a matrix.
pub struct Copy {
    from: Tensor,
    to: Tensor,
}

impl Copy {
    /// Of so many bytes: they are read, and as many written.
    pub fn new(bytes: f64) -> Self {
        let tensor = || Tensor::ones([(bytes / 4.0) as i64], (Kind::Float, Device::Cpu));
        Copy { from: tensor(), to: tensor() }
    }

    /// Copies.
    pub fn run(&mut self) {
        self.to.copy_(&self.from);
    }
}
