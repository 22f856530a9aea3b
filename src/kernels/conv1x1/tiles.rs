//! The backward pass's register tiles.

use super::super::simd::Vector;
use super::super::tile::{self, Acc};
use super::gradient::Layout;
use super::shape::Tiled;
use super::{Norm, PACKED_STRIDE};

/// dW's tile of one group of output channels and one panel of inputs, over one block of rows: added to what is there.
pub(super) struct WeightTile {
    /// The group's gradient, its rows one after another.
    pub gradient: *const f32,
    /// The input's panel.
    pub input: *const f32,
    /// Rows.
    pub rows: usize,
    /// The sums, rows of the panel's width.
    pub to: *mut f32,
}

impl Tiled for WeightTile {
    #[inline(always)]
    unsafe fn run<V: Vector, const MR: usize, const NV: usize>(self) {
        // SAFETY: the caller's: `rows` rows of both factors, and a tile of sums, are there.
        unsafe {
            let width = NV * V::LANES;
            let mut acc: Acc<V, MR, NV> = tile::load(self.to, width);
            tile::outer(self.gradient, MR, self.input, width, self.rows, &mut acc);
            tile::store(&acc, self.to, width);
        }
    }
}

/// dX's tile of a few rows and one panel of inputs, over all output channels.
pub(super) struct InputTile<'a> {
    /// The packed gradient, from the tile's first row on.
    pub gradient: *const f32,
    /// How it lies.
    pub layout: Layout,
    /// The weight's panel.
    pub weight: *const f32,
    /// Rows that exist: at most the tile's.
    pub rows: usize,
    /// What is done with dX.
    pub to: Destination<'a>,
}

/// What is done with dX, from the tile's first row and column on.
pub(super) enum Destination<'a> {
    /// It is written.
    Plain {
        /// Where.
        dx: *mut f32,
        /// From row to row.
        stride: usize,
    },
    /// It goes through relu and norm.
    Normed {
        /// The norm, and the panel's first column in its vectors.
        norm: &'a Norm<'a>,
        /// See there.
        column: usize,
        /// The normalized input's panel.
        panel: *const f32,
        /// The input.
        x: *const f32,
        /// From row to row.
        x_stride: usize,
        /// What γ·dP is added to.
        g: *mut f32,
        /// From row to row.
        g_stride: usize,
        /// Σ dP.
        sums: *mut f32,
        /// Σ dP·(x − mean).
        products: *mut f32,
    },
}

impl Tiled for InputTile<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector, const MR: usize, const NV: usize>(self) {
        // SAFETY: the caller's: MR packed rows are there, of everything else `rows` rows and NV vectors.
        unsafe {
            let width = NV * V::LANES;
            let mut acc = tile::zeros::<V, MR, NV>();
            for (first, channels) in self.layout.stretches() {
                let a = self.gradient.add(self.layout.row(first, 0));
                tile::rows::<V, MR, NV, PACKED_STRIDE>(a, self.weight.add(first * width), channels, &mut acc);
            }
            match self.to {
                Destination::Plain { dx, stride } => {
                    for (i, row) in acc.iter().enumerate() {
                        if i < self.rows {
                            for (j, vector) in row.iter().enumerate() {
                                vector.store(dx.add(i * stride + j * V::LANES));
                            }
                        }
                    }
                }
                Destination::Normed { norm, column, panel, x, x_stride, g, g_stride, sums, products } => {
                    for j in 0..NV {
                        let at = j * V::LANES;
                        let gamma = V::load(norm.gamma.as_ptr().add(column + at));
                        let mean = V::load(norm.mean.as_ptr().add(column + at));
                        let (mut sum, mut product) = (V::load(sums.add(at)), V::load(products.add(at)));
                        for (i, row) in acc.iter().enumerate() {
                            if i < self.rows {
                                let dp = row[j].keep_where_positive(V::load(panel.add(i * width + at)));
                                sum = sum.add(dp);
                                let x = V::load(x.add(i * x_stride + at));
                                product = dp.mul_add(x.sub(mean), product);
                                let g = g.add(i * g_stride + at);
                                dp.mul_add(gamma, V::load(g)).store(g);
                            }
                        }
                        sum.store(sums.add(at));
                        product.store(products.add(at));
                    }
                }
            }
        }
    }
}
