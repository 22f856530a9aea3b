//! 16 lanes: AVX-512 F, DQ, BW and VL.

use super::{Kernel, Vector};
use std::arch::x86_64::*;

/// Exists only where [`super::Level::available`] found the instructions: that is every block's safety argument here.
#[derive(Clone, Copy)]
pub(super) struct Avx512(__m512);

impl Vector for Avx512 {
    const LANES: usize = 16;
    const TILE_ROWS: [usize; 3] = [28, 14, 9];

    #[inline(always)]
    fn splat(x: f32) -> Self {
        // SAFETY: see the type.
        Avx512(unsafe { _mm512_set1_ps(x) })
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller's, and see the type.
        Avx512(unsafe { _mm512_loadu_ps(from) })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller's, and see the type.
        unsafe { _mm512_storeu_ps(to, self.0) }
    }

    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, lanes: usize) {
        let mask = (1u32 << lanes.min(16)) - 1;
        // SAFETY: the caller's, and see the type.
        unsafe { _mm512_mask_storeu_ps(to, mask as __mmask16, self.0) }
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: see the type.
        Avx512(unsafe { _mm512_add_ps(self.0, other.0) })
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        // SAFETY: see the type.
        Avx512(unsafe { _mm512_sub_ps(self.0, other.0) })
    }

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        // SAFETY: see the type.
        Avx512(unsafe { _mm512_mul_ps(self.0, other.0) })
    }

    #[inline(always)]
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        // SAFETY: see the type.
        Avx512(unsafe { _mm512_fmadd_ps(self.0, factor.0, addend.0) })
    }

    #[inline(always)]
    fn relu(self) -> Self {
        // The second operand is the one handed on where either is NaN.
        // SAFETY: see the type.
        Avx512(unsafe { _mm512_max_ps(_mm512_setzero_ps(), self.0) })
    }

    #[inline(always)]
    fn keep_where_positive(self, z: Self) -> Self {
        // SAFETY: see the type.
        Avx512(unsafe {
            let positive = _mm512_cmp_ps_mask::<_CMP_NLE_UQ>(z.0, _mm512_setzero_ps());
            _mm512_maskz_mov_ps(positive, self.0)
        })
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        // The second operand is the one handed on where either is NaN.
        // SAFETY: see the type.
        Avx512(unsafe {
            let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(self.0, self.0);
            _mm512_mask_mov_ps(_mm512_max_ps(self.0, other.0), nan, self.0)
        })
    }

    #[inline(always)]
    fn keep_where_equal(self, a: Self, b: Self) -> Self {
        // SAFETY: see the type.
        Avx512(unsafe { _mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_EQ_OQ>(a.0, b.0), self.0) })
    }

    #[inline(always)]
    fn prefetch(at: *const f32) {
        // SAFETY: a prefetch reads nothing the program sees, at whatever address.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) }
    }

    #[inline(always)]
    fn call<K: Kernel>(kernel: K) -> K::Output {
        #[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx2,fma")]
        #[inline(never)]
        fn run<K: Kernel>(kernel: K) -> K::Output {
            kernel.run::<Avx512>()
        }
        // SAFETY: see the type.
        unsafe { run(kernel) }
    }
}
