//! What the processor can do at most: sums of products that never leave the registers.

use crate::kernels::simd::{Kernel, Vector};
use crate::kernels::{Level, Threads};
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

/// f32 operations a second in multiples of 10⁹, all of `threads` at once, a fused multiply-add counted as two: the best of
/// what fits into a quarter of a second.
pub fn gflops(level: Level, threads: &dyn Threads) -> f64 {
    let count = threads.count();
    let once = || {
        let start = Instant::now();
        threads.run(count, &|_| level.run(Chains));
        start.elapsed().as_secs_f64()
    };
    // The first wakes the threads.
    once();
    let (begun, mut best, mut runs) = (Instant::now(), f64::INFINITY, 0);
    while runs < 5 || begun.elapsed() < Duration::from_millis(250) {
        best = best.min(once());
        runs += 1;
    }
    (2 * ROUNDS * CHAINS * level.lanes() * count) as f64 / best / 1e9
}
