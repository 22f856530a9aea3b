//! A stretch of one output line, one panel of outputs.

use crate::kernels::simd::{Kernel, Vector};
use crate::kernels::tile;

/// The most outputs of any tile: lines are padded for so many beyond their last.
pub(super) const MAX_HEIGHT: usize = 28;

/// Outputs `0..count` of a line and one panel.
#[derive(Clone, Copy)]
pub(super) struct Stretch<'a> {
    /// Where each tap line (an input's, in a window's order) begins for the first output.
    pub lines: &'a [*const f32],
    pub kernel: usize,
    pub stride: usize,
    pub weight: *const f32,
    pub bias: *const f32,
    pub relu: bool,
    pub count: usize,
    pub to: *mut f32,
    pub ld: usize,
}

impl Stretch<'_> {
    /// # Safety
    /// Every line reaches as far as [`MAX_HEIGHT`] outputs beyond the last read; weight and bias are a panel's of
    /// `vectors` vectors; `count` rows of `to` can be written.
    #[inline(always)]
    pub unsafe fn run<V: Vector>(self, vectors: usize) {
        match (vectors, V::TILE_ROWS[vectors - 1]) {
            (1, 28) => self.tall::<V, 28, 1>(),
            (1, 12) => self.tall::<V, 12, 1>(),
            (1, _) => self.tall::<V, 4, 1>(),
            (_, 14) => self.tall::<V, 14, 2>(),
            (_, 6) => self.tall::<V, 6, 2>(),
            (_, _) => self.tall::<V, 4, 2>(),
        }
    }

    #[inline(always)]
    fn tall<V: Vector, const MR: usize, const NV: usize>(self) {
        if self.stride == 1 {
            V::call(Tiles::<MR, NV, 1>(self));
        } else {
            V::call(Tiles::<MR, NV, 2>(self));
        }
    }
}

struct Tiles<'a, const MR: usize, const NV: usize, const STRIDE: usize>(Stretch<'a>);

impl<const MR: usize, const NV: usize, const STRIDE: usize> Tiles<'_, MR, NV, STRIDE> {
    /// Outputs from `first` on, R of them, `valid` of which count.
    ///
    /// # Safety
    /// As for the whole.
    #[inline(always)]
    unsafe fn tile<V: Vector, const R: usize>(&self, first: usize, valid: usize) {
        let of = &self.0;
        // SAFETY: the caller's.
        unsafe {
            let mut acc = tile::zeros::<V, R, NV>();
            let depth = of.kernel * NV * V::LANES;
            for (at, line) in of.lines.iter().enumerate() {
                let (a, b) = (line.add(first * STRIDE), of.weight.add(at * depth));
                tile::rows::<V, R, NV, STRIDE>(a, b, of.kernel, &mut acc);
            }
            for j in 0..NV {
                let bias = V::load(of.bias.add(j * V::LANES));
                for row in acc.iter_mut() {
                    row[j] = row[j].add(bias);
                    if of.relu {
                        row[j] = row[j].relu();
                    }
                }
            }
            for (i, row) in acc.iter().enumerate() {
                if i < valid {
                    for (j, vector) in row.iter().enumerate() {
                        vector.store(of.to.add((first + i) * of.ld + j * V::LANES));
                    }
                }
            }
        }
    }
}

impl<const MR: usize, const NV: usize, const STRIDE: usize> Kernel for Tiles<'_, MR, NV, STRIDE> {
    type Output = ();
    #[inline(always)]
    fn run<V: Vector>(self) {
        let mut first = 0;
        while first < self.0.count {
            let left = self.0.count - first;
            // SAFETY: made by `Stretch::run`, whose caller answers for the pointers.
            unsafe {
                if left > 4 || MR == 4 {
                    self.tile::<V, MR>(first, left.min(MR));
                    first += MR;
                } else {
                    self.tile::<V, 4>(first, left);
                    first += 4;
                }
            }
        }
    }
}
