//! Vectors of f32, and the instruction sets they come from.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

use std::fmt;

/// A vector of f32 in one register (or, in the portable one, what the compiler makes of it).
///
/// The types behind it are private and reached only through [`Level::run`], which has asked the processor: so their
/// methods need no such check of their own.
pub trait Vector: Copy + Send + Sync + 'static {
    /// f32 in one vector: a divisor of [`super::PAD`].
    const LANES: usize;
    /// Rows of the largest register tile of one, two and three vectors a row: index by vectors − 1.
    const TILE_ROWS: [usize; 3];

    /// All lanes `x`.
    fn splat(x: f32) -> Self;
    /// # Safety
    /// [`Self::LANES`] f32 can be read at `from`, at any alignment.
    unsafe fn load(from: *const f32) -> Self;
    /// # Safety
    /// [`Self::LANES`] f32 can be written at `to`, at any alignment.
    unsafe fn store(self, to: *mut f32);
    /// The first `lanes` lanes; all of them if `lanes` is more.
    ///
    /// # Safety
    /// min(`lanes`, [`Self::LANES`]) f32 can be written at `to`, at any alignment.
    unsafe fn store_first(self, to: *mut f32, lanes: usize);
    /// Lane by lane.
    fn add(self, other: Self) -> Self;
    /// Lane by lane.
    fn sub(self, other: Self) -> Self;
    /// Lane by lane.
    fn mul(self, other: Self) -> Self;
    /// `self · factor + addend`, rounded once where the processor can.
    fn mul_add(self, factor: Self, addend: Self) -> Self;
    /// max(self, 0). NaN stays NaN, as in PyTorch's `relu`.
    fn relu(self) -> Self;
    /// `self` where `z` > 0 (or NaN), else 0: the backward of `relu`, as PyTorch's `threshold_backward` has it.
    fn keep_where_positive(self, z: Self) -> Self;
    /// max(self, other); NaN where either is.
    fn max(self, other: Self) -> Self;
    /// `self` where `a` = `b`, else 0.
    fn keep_where_equal(self, a: Self, b: Self) -> Self;
    /// Asks for the cache line at `at` (into the second level); any address will do.
    fn prefetch(at: *const f32);
    /// Runs a kernel as a function of its own (not inlined into the caller) with this vector's instructions.
    fn call<K: Kernel>(kernel: K) -> K::Output;

    /// All lanes 0.
    #[inline(always)]
    fn zero() -> Self {
        Self::splat(0.0)
    }
}

/// Code that is generic over the vector. Implementations mark `run`, and what it calls, `#[inline(always)]`: only what is
/// inlined into [`Level::run`] or [`Vector::call`] is compiled with the level's instructions. So is not what runs in a
/// closure on another thread: begin there anew with [`Level::run`].
pub trait Kernel {
    /// What it gives.
    type Output;
    /// Does it.
    fn run<V: Vector>(self) -> Self::Output;
}

/// An instruction set that this processor has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Level(Set);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Set {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Portable,
}

impl Level {
    /// Every level this processor has, best first. The last is always the portable one.
    pub fn available() -> Vec<Level> {
        let mut levels = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl")
            {
                levels.push(Level(Set::Avx512));
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                levels.push(Level(Set::Avx2));
            }
        }
        levels.push(Level(Set::Portable));
        levels
    }

    /// The best of [`available`](Self::available).
    pub fn best() -> Level {
        Level::available()[0]
    }

    /// The one that every processor has.
    pub fn portable() -> Level {
        Level(Set::Portable)
    }

    /// `avx512`, `avx2` or `portable`.
    pub fn name(self) -> &'static str {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => "avx512",
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => "avx2",
            Set::Portable => "portable",
        }
    }

    /// Runs a kernel with this level's vectors.
    pub fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => avx512::Avx512::call(kernel),
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => avx2::Avx2::call(kernel),
            Set::Portable => portable::Portable::call(kernel),
        }
    }

    /// [`Vector::LANES`] of this level.
    pub fn lanes(self) -> usize {
        struct Lanes;
        impl Kernel for Lanes {
            type Output = usize;
            #[inline(always)]
            fn run<V: Vector>(self) -> usize {
                V::LANES
            }
        }
        self.run(Lanes)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Debug for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests;
