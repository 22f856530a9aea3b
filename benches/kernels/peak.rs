//! What the processor can do at most: sums of products that never leave the registers, and copies.

use densenet::autograd::LibtorchThreads;
use densenet::kernels::simd::{Kernel, Vector};
use densenet::kernels::{Level, Machine, Threads};
use std::hint::black_box;
use std::time::{Duration, Instant};
use tch::{Device, Kind, Tensor};

/// Rounds of [`Chains`].
const ROUNDS: usize = 200_000;
/// Independent sums: enough to hide the latency of two units.
const CHAINS: usize = 12;

struct Chains;

impl Kernel for Chains {
    type Output = ();
    #[inline(always)]
    fn run<V: Vector>(self) {
        let (factor, mut sums) = (V::splat(black_box(0.5)), [V::splat(black_box(1.0)); CHAINS]);
        for _ in 0..ROUNDS {
            for sum in &mut sums {
                *sum = sum.mul_add(factor, factor);
            }
        }
        black_box(sums);
    }
}

/// Multiplies and adds on all threads at once.
pub fn multiply(on: Machine) {
    on.threads.run(on.threads.count(), &|_| on.level.run(Chains));
}

/// Until the threads run and the clock has risen.
pub fn warm_up(on: Machine) {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(1) {
        multiply(on);
    }
}

/// Operations of [`multiply`].
pub fn operations(level: Level) -> f64 {
    (2 * ROUNDS * CHAINS * level.lanes() * LibtorchThreads.count()) as f64
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
