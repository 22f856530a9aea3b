//! The backward pass's register tiles.

use super::gradient::Layout;
use super::shape::{tile_rows, Tiled, MAX_HEIGHT, MAX_WIDTH};
use super::PACKED_STRIDE;
use crate::kernels::simd::Vector;
use crate::kernels::tile::{self, Acc};

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
pub(super) struct InputTile<S> {
    /// The packed gradient, from the tile's first row on.
    pub gradient: *const f32,
    /// How it lies.
    pub layout: Layout,
    /// The weight's panel.
    pub weight: *const f32,
    /// What is done with dX.
    pub to: S,
}

impl<S: Sink> Tiled for InputTile<S> {
    #[inline(always)]
    unsafe fn run<V: Vector, const MR: usize, const NV: usize>(self) {
        // SAFETY: the caller's: MR packed rows are there, and of what the sink needs.
        unsafe {
            let mut acc = tile::zeros::<V, MR, NV>();
            for (first, channels) in self.layout.stretches() {
                let a = self.gradient.add(self.layout.row(first, 0));
                let b = self.weight.add(first * NV * V::LANES);
                tile::rows::<V, MR, NV, PACKED_STRIDE>(a, b, channels, &mut acc);
            }
            self.to.take(&acc);
        }
    }
}

/// What is done with rows of dX, from a tile's first row and column on.
pub(super) trait Sink: Copy {
    /// The same, some rows and columns on.
    ///
    /// # Safety
    /// They are there.
    unsafe fn offset(self, row: usize, column: usize) -> Self;
    /// Takes a tile of dX.
    ///
    /// # Safety
    /// Its rows and columns are there, this thread's alone.
    unsafe fn take<V: Vector, const MR: usize, const NV: usize>(self, acc: &Acc<V, MR, NV>);
}

/// Rows of dX that end before a tile does: computed beside, then taken row by row.
///
/// # Safety
/// The tile's, but for the sink's rows: `rows` of them are there.
#[inline(always)]
pub(super) unsafe fn cut_tile<V: Vector, S: Sink>(tile: InputTile<S>, rows: usize, vectors: usize) {
    let mut edge = [0.0f32; MAX_HEIGHT * MAX_WIDTH];
    let width = vectors * V::LANES;
    let InputTile { gradient, layout, weight, to } = tile;
    // SAFETY: the caller's; the edge has room for any tile.
    unsafe {
        let beside = Write { dx: edge.as_mut_ptr(), stride: width };
        tile_rows::<V, _>(rows, vectors, InputTile { gradient, layout, weight, to: beside });
        for row in 0..rows {
            for column in (0..width).step_by(V::LANES) {
                let acc = tile::load::<V, 1, 1>(edge.as_ptr().add(row * width + column), width);
                to.offset(row, column).take(&acc);
            }
        }
    }
}

/// Writes dX.
#[derive(Clone, Copy)]
pub(super) struct Write {
    pub dx: *mut f32,
    pub stride: usize,
}

impl Sink for Write {
    #[inline(always)]
    unsafe fn offset(self, row: usize, column: usize) -> Self {
        // SAFETY: the caller's.
        Write { dx: unsafe { self.dx.add(row * self.stride + column) }, ..self }
    }

    #[inline(always)]
    unsafe fn take<V: Vector, const MR: usize, const NV: usize>(self, acc: &Acc<V, MR, NV>) {
        // SAFETY: the caller's.
        unsafe { tile::store(acc, self.dx, self.stride) }
    }
}

/// dX as dP through relu and the first stage of the norm: see [`backward_normed`](super::backward_normed).
#[derive(Clone, Copy)]
pub(super) struct Through {
    /// γ·invstd, from the first column on.
    pub scale: *const f32,
    /// The means, from the first column on.
    pub mean: *const f32,
    /// The normalized input's panel, and its width.
    pub panel: *const f32,
    pub width: usize,
    /// The input.
    pub x: *const f32,
    pub x_stride: usize,
    /// What scale·dP is added to.
    pub g: *mut f32,
    pub g_stride: usize,
    /// Σ dP.
    pub sums: *mut f32,
    /// Σ dP·(x − mean).
    pub products: *mut f32,
}

impl Sink for Through {
    #[inline(always)]
    unsafe fn offset(self, row: usize, column: usize) -> Self {
        // SAFETY: the caller's.
        unsafe {
            Through {
                scale: self.scale.add(column),
                mean: self.mean.add(column),
                panel: self.panel.add(row * self.width + column),
                x: self.x.add(row * self.x_stride + column),
                g: self.g.add(row * self.g_stride + column),
                sums: self.sums.add(column),
                products: self.products.add(column),
                ..self
            }
        }
    }

    #[inline(always)]
    unsafe fn take<V: Vector, const MR: usize, const NV: usize>(self, acc: &Acc<V, MR, NV>) {
        // Not a loop: the compiler would not unroll it, and index the tile in memory.
        // SAFETY: the caller's.
        unsafe {
            self.take_vector::<V, MR, NV, 0>(acc);
            if NV > 1 {
                self.take_vector::<V, MR, NV, 1>(acc);
            }
            if NV > 2 {
                self.take_vector::<V, MR, NV, 2>(acc);
            }
        }
    }
}

impl Through {
    /// The tile's J-th vector of every row.
    ///
    /// # Safety
    /// As [`Sink::take`].
    #[inline(always)]
    unsafe fn take_vector<V: Vector, const MR: usize, const NV: usize, const J: usize>(
        &self,
        acc: &Acc<V, MR, NV>,
    ) {
        let at = J * V::LANES;
        // SAFETY: the caller's.
        unsafe {
            let (scale, mean) = (V::load(self.scale.add(at)), V::load(self.mean.add(at)));
            let (sums, products) = (self.sums.add(at), self.products.add(at));
            let (mut sum, mut product) = (V::load(sums), V::load(products));
            for (i, row) in acc.iter().enumerate() {
                let dp = row[J].keep_where_positive(V::load(self.panel.add(i * self.width + at)));
                sum = sum.add(dp);
                product = dp.mul_add(V::load(self.x.add(i * self.x_stride + at)).sub(mean), product);
                let g = self.g.add(i * self.g_stride + at);
                dp.mul_add(scale, V::load(g)).store(g);
            }
            sum.store(sums);
            product.store(products);
        }
    }
}
