//! 8 lanes: AVX2 and FMA.

use super::{Kernel, Vector};
use std::arch::x86_64::*;

/// Exists only where [`super::Level::available`] found the instructions: that is every block's safety argument here.
#[derive(Clone, Copy)]
pub(super) struct Avx2(__m256);

impl Vector for Avx2 {
    const LANES: usize = 8;
    const TILE_ROWS: [usize; 3] = [12, 6, 4];

    #[inline(always)]
    fn splat(x: f32) -> Self {
        // SAFETY: see the type.
        Avx2(unsafe { _mm256_set1_ps(x) })
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller's, and see the type.
        Avx2(unsafe { _mm256_loadu_ps(from) })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller's, and see the type.
        unsafe { _mm256_storeu_ps(to, self.0) }
    }

    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, lanes: usize) {
        // SAFETY: the caller's, and see the type.
        unsafe {
            let index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
            let mask = _mm256_cmpgt_epi32(_mm256_set1_epi32(lanes.min(8) as i32), index);
            _mm256_maskstore_ps(to, mask, self.0)
        }
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: see the type.
        Avx2(unsafe { _mm256_add_ps(self.0, other.0) })
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        // SAFETY: see the type.
        Avx2(unsafe { _mm256_sub_ps(self.0, other.0) })
    }

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        // SAFETY: see the type.
        Avx2(unsafe { _mm256_mul_ps(self.0, other.0) })
    }

    #[inline(always)]
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        // SAFETY: see the type.
        Avx2(unsafe { _mm256_fmadd_ps(self.0, factor.0, addend.0) })
    }

    #[inline(always)]
    fn relu(self) -> Self {
        // The second operand is the one handed on where either is NaN.
        // SAFETY: see the type.
        Avx2(unsafe { _mm256_max_ps(_mm256_setzero_ps(), self.0) })
    }

    #[inline(always)]
    fn keep_where_positive(self, z: Self) -> Self {
        // SAFETY: see the type.
        Avx2(unsafe {
            let positive = _mm256_cmp_ps::<_CMP_NLE_UQ>(z.0, _mm256_setzero_ps());
            _mm256_and_ps(positive, self.0)
        })
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        // The second operand is the one handed on where either is NaN.
        // SAFETY: see the type.
        Avx2(unsafe {
            let nan = _mm256_cmp_ps::<_CMP_UNORD_Q>(self.0, self.0);
            _mm256_blendv_ps(_mm256_max_ps(self.0, other.0), self.0, nan)
        })
    }

    #[inline(always)]
    fn keep_where_equal(self, a: Self, b: Self) -> Self {
        // SAFETY: see the type.
        Avx2(unsafe { _mm256_and_ps(self.0, _mm256_cmp_ps::<_CMP_EQ_OQ>(a.0, b.0)) })
    }

    #[inline(always)]
    fn prefetch(at: *const f32) {
        // SAFETY: a prefetch reads nothing the program sees, at whatever address.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) }
    }

    #[inline(always)]
    fn call<K: Kernel>(kernel: K) -> K::Output {
        #[target_feature(enable = "avx2,fma")]
        #[inline(never)]
        fn run<K: Kernel>(kernel: K) -> K::Output {
            kernel.run::<Avx2>()
        }
        // SAFETY: see the type.
        unsafe { run(kernel) }
    }
}
