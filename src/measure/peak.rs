//! What the processor can do at most: sums of products that never leave the registers.

use crate::kernels::simd::{Kernel, Vector};
use crate::kernels::Machine;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Rounds of [`Chains`].
const ROUNDS: usize = 1_000_000;
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

/// Multiplies and adds on all threads at once, for about two milliseconds.
pub fn multiply(on: Machine) {
    on.threads.run(on.threads.count(), &|_| on.level.run(Chains));
}

/// Operations of [`multiply`]: a fused multiply-add is two.
pub fn operations(on: Machine) -> f64 {
    (2 * ROUNDS * CHAINS * on.level.lanes() * on.threads.count()) as f64
}

/// f32 operations a second in units of 10⁹: the best of what fits into a quarter of a second.
pub fn gflops(on: Machine) -> f64 {
    // The first wakes the threads.
    multiply(on);
    let (begun, mut best, mut runs) = (Instant::now(), f64::INFINITY, 0);
    while runs < 5 || begun.elapsed() < Duration::from_millis(250) {
        let start = Instant::now();
        multiply(on);
        best = best.min(start.elapsed().as_secs_f64());
        runs += 1;
    }
    operations(on) / best / 1e9
}
