//! The matrix products of Winograd's domain, point by point.

use crate::kernels::simd::{Kernel, Vector};
use crate::kernels::tile;

/// Row strides that [`Product`] is compiled for.
pub(super) const STRIDES: [usize; 6] = [16, 32, 48, 64, 96, 128];

/// Rows beyond a product's last that it may read and write.
pub(super) const SPARE_ROWS: usize = 27;

/// to\[p\] (+)= from\[p\] · weights\[p\] for each of `points` points: `rows` tiles by `depth` channels by one panel of outputs.
/// Up to [`SPARE_ROWS`] more than `rows` are computed from, and written to, whatever is there.
#[derive(Clone, Copy)]
pub(super) struct Product {
    pub(super) from: *const f32,
    /// From one point to the next.
    pub(super) from_point: usize,
    /// `depth` rows of one panel for each point.
    pub(super) weights: *const f32,
    pub(super) weights_point: usize,
    /// Rows as wide as the panel.
    pub(super) to: *mut f32,
    /// 0 where all points add up in one place.
    pub(super) to_point: usize,
    pub(super) points: usize,
    pub(super) rows: usize,
    pub(super) depth: usize,
    /// Whether to add to what is there.
    pub(super) add: bool,
}

impl Product {
    /// Does it, for a panel of `vectors` vectors (1 or 2) and rows in `from` that are `stride` apart (one of [`STRIDES`]).
    ///
    /// # Safety
    /// The pointers reach as far as the fields say, spare rows included.
    #[inline(always)]
    pub(super) unsafe fn run<V: Vector>(self, vectors: usize, stride: usize) {
        match stride {
            16 => self.at_stride::<V, 16>(vectors),
            32 => self.at_stride::<V, 32>(vectors),
            48 => self.at_stride::<V, 48>(vectors),
            64 => self.at_stride::<V, 64>(vectors),
            96 => self.at_stride::<V, 96>(vectors),
            128 => self.at_stride::<V, 128>(vectors),
            _ => unreachable!("conv3x3: a row stride that is none of STRIDES"),
        }
    }

    #[inline(always)]
    fn at_stride<V: Vector, const LDA: usize>(self, vectors: usize) {
        match (vectors, V::TILE_ROWS[vectors - 1]) {
            (1, 28) => V::call(Blocks::<28, 14, 7, 1, LDA>(self)),
            (2, 14) => V::call(Blocks::<14, 8, 4, 2, LDA>(self)),
            (2, 6) => V::call(Blocks::<6, 4, 2, 2, LDA>(self)),
            (2, 4) => V::call(Blocks::<4, 2, 1, 2, LDA>(self)),
            _ => unreachable!("conv3x3: no register tile for this level"),
        }
    }
}

/// A [`Product`] MR rows at a time, or HALF or FEW where no more are left.
struct Blocks<const MR: usize, const HALF: usize, const FEW: usize, const NV: usize, const LDA: usize>(
    Product,
);

impl<const MR: usize, const HALF: usize, const FEW: usize, const NV: usize, const LDA: usize>
    Blocks<MR, HALF, FEW, NV, LDA>
{
    /// # Safety
    /// As [`Product::run`].
    #[inline(always)]
    unsafe fn block<V: Vector, const R: usize>(&self, point: usize, row: usize) {
        let product = &self.0;
        // SAFETY: the caller's.
        unsafe {
            let to = product.to.add(point * product.to_point + row * NV * V::LANES);
            let mut acc = tile::zeros::<V, R, NV>();
            tile::rows::<V, R, NV, LDA>(
                product.from.add(point * product.from_point + row * LDA),
                product.weights.add(point * product.weights_point),
                product.depth,
                &mut acc,
            );
            // Added here and not loaded there: a tile that begins as one of two things does not stay in registers.
            if product.add || (product.to_point == 0 && point > 0) {
                for (i, row) in acc.iter_mut().enumerate() {
                    for (j, value) in row.iter_mut().enumerate() {
                        *value = value.add(V::load(to.add((i * NV + j) * V::LANES)));
                    }
                }
            }
            tile::store(&acc, to, NV * V::LANES);
        }
    }
}

impl<const MR: usize, const HALF: usize, const FEW: usize, const NV: usize, const LDA: usize> Kernel
    for Blocks<MR, HALF, FEW, NV, LDA>
{
    type Output = ();
    #[inline(always)]
    fn run<V: Vector>(self) {
        for point in 0..self.0.points {
            let mut row = 0;
            while row < self.0.rows {
                // SAFETY: `row` is below `rows`; made by `Product::run`, whose caller answers for the pointers.
                unsafe {
                    match self.0.rows - row {
                        left if left > HALF => {
                            self.block::<V, MR>(point, row);
                            row += MR;
                        }
                        left if left > FEW => {
                            self.block::<V, HALF>(point, row);
                            row += HALF;
                        }
                        _ => {
                            self.block::<V, FEW>(point, row);
                            row += FEW;
                        }
                    }
                }
            }
        }
    }
}
