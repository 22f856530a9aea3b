//! The register tile: MR rows of NV vectors that stay in registers while a product's depth runs past.
//!
//! At [`Vector::TILE_ROWS`] rows a tile fills the register file, and runs at the processor's FMA peak from the first and
//! second cache (AVX-512: 28×16, 14×32, 9×48; AVX2: 12×8, 6×16, 4×24).

use super::simd::Vector;

/// A tile of sums.
pub type Acc<V, const MR: usize, const NV: usize> = [[V; NV]; MR];

/// All sums 0.
#[inline(always)]
pub fn zeros<V: Vector, const MR: usize, const NV: usize>() -> Acc<V, MR, NV> {
    [[V::zero(); NV]; MR]
}

/// acc\[i\]\[j\] += Σ_k a\[i·LDA + k\] · b\[(k·NV + j)·LANES ..\]: the left factor row by row, the right one packed.
///
/// LDA is a constant so that the rows need no address registers of their own.
///
/// # Safety
/// `a` can be read up to (MR − 1)·LDA + depth, `b` up to depth·NV·LANES.
#[inline(always)]
pub unsafe fn rows<V: Vector, const MR: usize, const NV: usize, const LDA: usize>(
    a: *const f32,
    b: *const f32,
    depth: usize,
    acc: &mut Acc<V, MR, NV>,
) {
    for k in 0..depth {
        // SAFETY: the caller's.
        unsafe {
            let b: [V; NV] = std::array::from_fn(|j| V::load(b.add((k * NV + j) * V::LANES)));
            for (i, acc) in acc.iter_mut().enumerate() {
                let a = V::splat(*a.add(i * LDA + k));
                for (acc, b) in acc.iter_mut().zip(b) {
                    *acc = a.mul_add(b, *acc);
                }
            }
        }
    }
}

/// acc\[i\]\[j\] += Σ_k a\[k·lda + i\] · b\[k·ldb + j·LANES ..\]: both factors with the summed index outermost.
///
/// # Safety
/// `a` can be read up to (depth − 1)·lda + MR, `b` up to (depth − 1)·ldb + NV·LANES.
#[inline(always)]
pub unsafe fn outer<V: Vector, const MR: usize, const NV: usize>(
    a: *const f32,
    lda: usize,
    b: *const f32,
    ldb: usize,
    depth: usize,
    acc: &mut Acc<V, MR, NV>,
) {
    for k in 0..depth {
        // SAFETY: the caller's.
        unsafe {
            let b: [V; NV] = std::array::from_fn(|j| V::load(b.add(k * ldb + j * V::LANES)));
            for (i, acc) in acc.iter_mut().enumerate() {
                let a = V::splat(*a.add(k * lda + i));
                for (acc, b) in acc.iter_mut().zip(b) {
                    *acc = a.mul_add(b, *acc);
                }
            }
        }
    }
}

/// acc to memory, row i at `to` + i·ld.
///
/// # Safety
/// `to` can be written up to (MR − 1)·ld + NV·LANES.
#[inline(always)]
pub unsafe fn store<V: Vector, const MR: usize, const NV: usize>(
    acc: &Acc<V, MR, NV>,
    to: *mut f32,
    ld: usize,
) {
    for (i, row) in acc.iter().enumerate() {
        for (j, vector) in row.iter().enumerate() {
            // SAFETY: the caller's.
            unsafe { vector.store(to.add(i * ld + j * V::LANES)) }
        }
    }
}

/// Memory to acc, row i from `from` + i·ld.
///
/// # Safety
/// `from` can be read up to (MR − 1)·ld + NV·LANES.
#[inline(always)]
pub unsafe fn load<V: Vector, const MR: usize, const NV: usize>(
    from: *const f32,
    ld: usize,
) -> Acc<V, MR, NV> {
    // SAFETY: the caller's.
    std::array::from_fn(|i| std::array::from_fn(|j| unsafe { V::load(from.add(i * ld + j * V::LANES)) }))
}
