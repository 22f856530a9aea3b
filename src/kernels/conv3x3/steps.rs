//! The steps on both sides of the products: pixels into Winograd's domain, and back.

use super::grid::Tile;
use super::winograd::{Points, Winograd};
use crate::kernels::simd::{Kernel, Vector};

/// Transforms the input tiles: Bᵀ d B of each channel, `relu(x·scale + shift)` first if NORM.
///
/// Point p of tile q, channel c goes to `to` + p·`point` + q·`ld_to` + c.
pub(super) struct Load<'a, const M: usize, const T: usize, const NORM: bool> {
    /// First row, first channel of those wanted.
    pub(super) from: *const f32,
    pub(super) ld: usize,
    /// Rows of one line.
    pub(super) width: usize,
    pub(super) tiles: &'a [Tile],
    /// A multiple of [`crate::kernels::PAD`].
    pub(super) channels: usize,
    /// At the first channel wanted; not read unless NORM.
    pub(super) scale: *const f32,
    pub(super) shift: *const f32,
    pub(super) to: *mut f32,
    pub(super) point: usize,
    pub(super) ld_to: usize,
}

impl<const M: usize, const T: usize, const NORM: bool> Load<'_, M, T, NORM>
where
    Points: Winograd<M, T>,
{
    /// One tile, one vector of channels. INNER: no pixel of it lies outside.
    ///
    /// # Safety
    /// As for the whole.
    #[inline(always)]
    unsafe fn tile<V: Vector, const INNER: bool>(
        &self,
        tile: Tile,
        corner: *const f32,
        norm: (V, V),
        to: *mut f32,
    ) {
        let mut lines = [[V::zero(); T]; T];
        for i in 0..T {
            let mut line = [V::zero(); T];
            for j in 0..T {
                if INNER || tile.reads(i, j) {
                    // SAFETY: the pixel is inside its picture, so the row exists.
                    let x = unsafe { V::load(corner.wrapping_add((i * self.width + j) * self.ld)) };
                    line[j] = if NORM { x.mul_add(norm.0, norm.1).relu() } else { x };
                }
            }
            lines[i] = Points::input(line);
        }
        for j in 0..T {
            let mut column = [V::zero(); T];
            for i in 0..T {
                column[i] = lines[i][j];
            }
            let column = Points::input(column);
            for i in 0..T {
                // SAFETY: the caller's.
                unsafe { column[i].store(to.add((i * T + j) * self.point)) }
            }
        }
    }
}

impl<const M: usize, const T: usize, const NORM: bool> Kernel for Load<'_, M, T, NORM>
where
    Points: Winograd<M, T>,
{
    type Output = ();
    #[inline(always)]
    fn run<V: Vector>(self) {
        for (q, tile) in self.tiles.iter().enumerate() {
            // The line above and the pixel before: outside the slice for some, and then not read.
            let corner = self.from.wrapping_add(tile.row * self.ld).wrapping_sub((self.width + 1) * self.ld);
            let inner = tile.is_inner::<T>();
            if let Some(next) = self.tiles.get(q + 1) {
                for i in 0..M {
                    for j in 0..M {
                        let row = self.from.wrapping_add((next.row + i * self.width + j) * self.ld);
                        for c in (0..self.channels).step_by(16) {
                            V::prefetch(row.wrapping_add(c));
                        }
                    }
                }
            }
            for c in (0..self.channels).step_by(V::LANES) {
                // SAFETY: who makes a `Load` sees to it that rows and norm can be read and `to` be written for all
                // channels.
                unsafe {
                    let norm = if NORM {
                        (V::load(self.scale.add(c)), V::load(self.shift.add(c)))
                    } else {
                        (V::zero(), V::zero())
                    };
                    let to = self.to.add(q * self.ld_to + c);
                    if inner {
                        self.tile::<V, true>(*tile, corner.wrapping_add(c), norm, to);
                    } else {
                        self.tile::<V, false>(*tile, corner.wrapping_add(c), norm, to);
                    }
                }
            }
        }
    }
}

/// Takes one vector of outputs, pixel by pixel.
pub(super) trait Sink: Sync {
    /// What it keeps in registers for one vector of channels.
    type State<V: Vector>;
    /// Whether [`begin`](Self::begin) wants a typical value.
    const PIVOTED: bool;

    /// # Safety
    /// `column` + LANES is at most the padded number of outputs; `sums` is the task's own, see [`super::engine`].
    unsafe fn begin<V: Vector>(&self, column: usize, sums: *mut f64, first: Option<V>) -> Self::State<V>;
    /// # Safety
    /// `row` is one of the pictures' rows, and no other task has it together with this column.
    unsafe fn put<V: Vector>(&self, state: &mut Self::State<V>, row: usize, value: V);
    /// Adds what `state` summed to the task's sums, and begins again at 0.
    ///
    /// # Safety
    /// As [`begin`](Self::begin).
    unsafe fn flush<V: Vector>(&self, state: &mut Self::State<V>, column: usize, sums: *mut f64);
}

/// Aᵀ m A of each tile, into the sink. `from` holds rows of NV vectors, tile by tile; M = 1 finds one point there, else T².
pub(super) struct Emit<'a, S, const M: usize, const T: usize, const NV: usize> {
    pub(super) from: *const f32,
    pub(super) point: usize,
    pub(super) width: usize,
    pub(super) tiles: &'a [Tile],
    /// The first of the outputs' columns here.
    pub(super) column: usize,
    pub(super) sink: &'a S,
    pub(super) sums: *mut f64,
    /// Whether these are the task's first tiles.
    pub(super) first: bool,
}

/// Rows that are summed in f32 before they go to f64.
const ROWS_PER_SUM: usize = 64;

impl<S: Sink, const M: usize, const T: usize, const NV: usize> Emit<'_, S, M, T, NV>
where
    Points: Winograd<M, T>,
{
    /// # Safety
    /// `from` points at a tile's vector at point 0.
    #[inline(always)]
    unsafe fn outputs<V: Vector>(&self, from: *const f32) -> [[V; M]; M] {
        let mut outputs = [[V::zero(); M]; M];
        if M == 1 {
            // SAFETY: the caller's.
            outputs[0][0] = unsafe { V::load(from) };
            return outputs;
        }
        let mut lines = [[V::zero(); M]; T];
        for i in 0..T {
            let mut line = [V::zero(); T];
            for j in 0..T {
                // SAFETY: the caller's, and there are T² points.
                line[j] = unsafe { V::load(from.add((i * T + j) * self.point)) };
            }
            lines[i] = Points::output(line);
        }
        for j in 0..M {
            let mut column = [V::zero(); T];
            for i in 0..T {
                column[i] = lines[i][j];
            }
            let column = Points::output(column);
            for i in 0..M {
                outputs[i][j] = column[i];
            }
        }
        outputs
    }
}

impl<S: Sink, const M: usize, const T: usize, const NV: usize> Kernel for Emit<'_, S, M, T, NV>
where
    Points: Winograd<M, T>,
{
    type Output = ();
    #[inline(always)]
    fn run<V: Vector>(self) {
        for v in 0..NV {
            let column = self.column + v * V::LANES;
            // SAFETY: who makes an `Emit` sees to it that `from` holds `tiles` rows at each point, and that the tiles
            // and columns are its own.
            unsafe {
                let from = self.from.add(v * V::LANES);
                let first = if S::PIVOTED && self.first { Some(self.outputs::<V>(from)[0][0]) } else { None };
                let mut state = self.sink.begin::<V>(column, self.sums, first);
                for (q, tile) in self.tiles.iter().enumerate() {
                    let outputs = self.outputs::<V>(from.add(q * NV * V::LANES));
                    let (down, across) = tile.outputs::<M>();
                    if (down, across) == (M, M) {
                        for i in 0..M {
                            for j in 0..M {
                                self.sink.put(&mut state, tile.row + i * self.width + j, outputs[i][j]);
                            }
                        }
                    } else {
                        for i in 0..down {
                            for j in 0..across {
                                self.sink.put(&mut state, tile.row + i * self.width + j, outputs[i][j]);
                            }
                        }
                    }
                    if (q + 1) % (ROWS_PER_SUM / (M * M)) == 0 {
                        self.sink.flush(&mut state, column, self.sums);
                    }
                }
                self.sink.flush(&mut state, column, self.sums);
            }
        }
    }
}
