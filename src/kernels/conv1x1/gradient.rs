//! The gradient of the outputs, made while it is packed.

use super::shape::{group, MAX_HEIGHT};
use super::PACKED_STRIDE;
use crate::kernels::rows::check_vector;
use crate::kernels::simd::Vector;
use crate::kernels::{Aligned, Rows};

/// The gradient of the convolution's outputs, dY \[rows, outputs\], as what it is made from. Every vector is padded.
#[derive(Debug, Clone, Copy)]
pub enum Gradient<'a> {
    /// v itself.
    Plain {
        /// Each row padded with finite numbers, as all matrices here.
        v: Rows<'a>,
    },
    /// a∘v: through a batch norm whose statistics are constants.
    Scaled {
        /// The gradient of the norm's outputs.
        v: Rows<'a>,
        /// γ·invstd.
        a: &'a [f32],
    },
    /// a∘v + b∘y + c: through a batch norm of this batch's statistics, its sums already taken.
    Normed {
        /// The gradient of the norm's outputs.
        v: Rows<'a>,
        /// The norm's inputs.
        y: Rows<'a>,
        /// γ·invstd.
        a: &'a [f32],
        /// −a·invstd·dγ / rows.
        b: &'a [f32],
        /// −a·dβ / rows − b·mean.
        c: &'a [f32],
    },
}

impl Gradient<'_> {
    /// Panics unless all of it has `rows` rows and `outputs` columns.
    pub(super) fn check(&self, rows: usize, outputs: usize) {
        let (v, y, vectors) = match *self {
            Gradient::Plain { v } => (v, None, vec![]),
            Gradient::Scaled { v, a } => (v, None, vec![("a", a)]),
            Gradient::Normed { v, y, a, b, c } => (v, Some(y), vec![("a", a), ("b", b), ("c", c)]),
        };
        v.check_padded("v", rows, outputs);
        if let Some(y) = y {
            y.check_padded("y", rows, outputs);
        }
        for (name, vector) in vectors {
            check_vector(name, vector, outputs);
        }
    }

    /// The vector of row `row` that begins at `column`.
    ///
    /// # Safety
    /// It lies in the matrices, as far as [`check`](Self::check) has seen them.
    #[inline(always)]
    unsafe fn vector<V: Vector>(&self, row: usize, column: usize) -> V {
        // SAFETY: the caller's.
        let load = |m: &Rows| unsafe { V::load(m.data.as_ptr().add(row * m.ld + column)) };
        // SAFETY: vectors are padded.
        let of = |vector: &[f32]| unsafe { V::load(vector.as_ptr().add(column)) };
        match self {
            Gradient::Plain { v } => load(v),
            Gradient::Scaled { v, a } => load(v).mul(of(a)),
            Gradient::Normed { v, y, a, b, c } => load(v).mul_add(of(a), load(y).mul_add(of(b), of(c))),
        }
    }
}

/// How a gradient of so many channels lies packed, twice: row by row, for dX = dY·W, in stretches of at most
/// [`DEPTH`](super::DEPTH) channels; and in groups of a few channels, row by row in each, for dW = dYᵀ·X.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    outputs: usize,
    /// Channels in a stretch.
    depth: usize,
    /// Rows there is room for in a stretch.
    rows: usize,
}

impl Layout {
    /// For blocks of up to `rows` rows.
    pub fn new(outputs: usize, rows: usize) -> Self {
        // A stretch ends where a group ends, whatever the group: 48 is a multiple of all of them, and of any vector.
        const UNIT: usize = 48;
        let depth = if outputs <= super::DEPTH {
            outputs
        } else {
            let most = super::DEPTH / UNIT * UNIT;
            outputs.div_ceil(outputs.div_ceil(most)).next_multiple_of(UNIT)
        };
        Layout { outputs, depth, rows }
    }

    /// First channels and numbers of channels of the stretches.
    #[inline(always)]
    pub fn stretches(self) -> impl Iterator<Item = (usize, usize)> {
        (0..self.outputs).step_by(self.depth).map(move |first| (first, self.depth.min(self.outputs - first)))
    }

    /// Where a stretch's row begins in the packed rows.
    #[inline(always)]
    pub fn row(self, first: usize, row: usize) -> usize {
        (first / self.depth * self.rows + row) * PACKED_STRIDE
    }

    /// Groups.
    #[inline(always)]
    pub fn groups<V: Vector>(self) -> usize {
        self.outputs.div_ceil(group::<V>())
    }

    /// Where a group of n rows begins in the packed groups. After its n rows there is room for the end of a vector.
    #[inline(always)]
    pub fn group<V: Vector>(self, index: usize, n: usize) -> usize {
        index * (n * group::<V>() + V::LANES)
    }

    /// Packs rows `start..start + n`; in groups too if that is asked for.
    #[inline(always)]
    pub fn pack<V: Vector>(
        self,
        of: &Gradient,
        start: usize,
        n: usize,
        rows: &mut Aligned,
        groups: Option<&mut Aligned>,
    ) {
        assert!(n <= self.rows);
        // Tiles read on after the last row: what is there does not count.
        let rows = rows
            .take(self.row(self.outputs.next_multiple_of(self.depth), 0) + MAX_HEIGHT * PACKED_STRIDE)
            .as_mut_ptr();
        for (first, channels) in self.stretches() {
            for i in 0..n {
                for k in (0..channels).step_by(V::LANES) {
                    // SAFETY: the gradient was checked; a packed row holds a stretch rounded up to whole vectors.
                    unsafe { of.vector::<V>(start + i, first + k).store(rows.add(self.row(first, i) + k)) };
                }
            }
        }
        let Some(groups) = groups else { return };
        let groups = groups.take(self.group::<V>(self.groups::<V>(), n)).as_mut_ptr();
        for index in 0..self.groups::<V>() {
            let channel = index * group::<V>();
            for i in 0..n {
                // SAFETY: a vector at a group's first channel ends within its packed row; written in order, each covers
                // what the one before wrote too much, and the last one's excess has its room.
                unsafe {
                    let from = rows.add(self.row(channel, i) + channel % self.depth);
                    V::load(from).store(groups.add(self.group::<V>(index, n) + i * group::<V>()));
                }
            }
        }
    }
}
