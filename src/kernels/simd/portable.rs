//! 8 lanes in plain Rust, for processors without a level of their own: right everywhere, fast nowhere in particular.

use super::{Kernel, Vector};
use std::array::from_fn;

/// Needs nothing of the processor.
#[derive(Clone, Copy)]
pub(super) struct Portable([f32; 8]);

impl Portable {
    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        Portable(from_fn(|i| f(self.0[i], other.0[i])))
    }
}

impl Vector for Portable {
    const LANES: usize = 8;
    const TILE_ROWS: [usize; 3] = [4, 4, 2];

    #[inline(always)]
    fn splat(x: f32) -> Self {
        Portable([x; 8])
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller's.
        Portable(unsafe { from.cast::<[f32; 8]>().read_unaligned() })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller's.
        unsafe { to.cast::<[f32; 8]>().write_unaligned(self.0) }
    }

    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, lanes: usize) {
        for (i, lane) in self.0.into_iter().enumerate().take(lanes) {
            // SAFETY: the caller's.
            unsafe { to.add(i).write(lane) }
        }
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self.zip(other, |a, b| a - b)
    }

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        self.zip(other, |a, b| a * b)
    }

    // Two roundings: `f32::mul_add` is a function call on processors without the instruction.
    #[inline(always)]
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        self.mul(factor).add(addend)
    }

    #[inline(always)]
    fn relu(self) -> Self {
        Portable(self.0.map(|x| if x < 0.0 { 0.0 } else { x }))
    }

    #[inline(always)]
    fn keep_where_positive(self, z: Self) -> Self {
        self.zip(z, |x, z| if z <= 0.0 { 0.0 } else { x })
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        self.zip(other, |a, b| if a > b || a.is_nan() { a } else { b })
    }

    #[inline(always)]
    fn keep_where_equal(self, a: Self, b: Self) -> Self {
        Portable(from_fn(|i| if a.0[i] == b.0[i] { self.0[i] } else { 0.0 }))
    }

    #[inline(always)]
    fn prefetch(_: *const f32) {}

    #[inline(always)]
    fn call<K: Kernel>(kernel: K) -> K::Output {
        #[inline(never)]
        fn run<K: Kernel>(kernel: K) -> K::Output {
            kernel.run::<Portable>()
        }
        run(kernel)
    }
}
