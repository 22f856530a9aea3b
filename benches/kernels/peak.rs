//! What the processor can do at most: sums of products that never leave the registers.

use densenet::autograd::LibtorchThreads;
use densenet::kernels::simd::{Kernel, Vector};
use densenet::kernels::{Level, Threads};
use std::hint::black_box;

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

/// On all of libtorch's threads at once.
pub fn gflops(level: Level) -> f64 {
    let threads = LibtorchThreads.count();
    let seconds = crate::seconds(|| LibtorchThreads.run(threads, &|_| level.run(Chains)));
    (2 * ROUNDS * CHAINS * level.lanes() * threads) as f64 / seconds / 1e9
}
