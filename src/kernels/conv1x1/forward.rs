//! Y = relu(X·scale + shift)·Wᵀ.

use super::scratch::{with_slot, Slot};
use super::shape::{height, tile_rows, Panels, Tiled, MAX_HEIGHT, MAX_WIDTH};
use super::split::{Costs, Split};
use super::{Packed, Scratch, DEPTH, PACKED_STRIDE};
use crate::kernels::shared::Shared;
use crate::kernels::simd::{Kernel, Vector};
use crate::kernels::tile::{self, Acc};
use crate::kernels::{padded, Affine, Machine, Moments, Rows, RowsMut};
use std::ops::Range;

/// What [`forward`] computes from.
#[derive(Debug, Clone, Copy)]
pub struct Forward<'a> {
    /// Rows: N·H·W.
    pub rows: usize,
    /// The input, \[rows, inputs\], each row padded with finite numbers.
    pub x: Rows<'a>,
    /// Norm and relu of the input; none for the input as it is.
    pub norm: Option<Affine<'a>>,
    /// The weight.
    pub weight: &'a Packed,
    /// Added to the outputs; not padded.
    pub bias: Option<&'a [f32]>,
    /// Whether a relu of the outputs follows.
    pub relu: bool,
}

/// Writes the outputs, \[rows, outputs\], and zeros after each row up to its padded length; of `y`, nothing else. With
/// `moments`, those of the outputs as they are stored, for the batch norm that follows.
///
/// # Panics
/// If a slice is too short for the given sizes, or the weight was packed for another level.
pub fn forward(on: Machine, scratch: &mut Scratch, of: &Forward, y: RowsMut, moments: Option<&mut Moments>) {
    let (inputs, outputs) = (of.weight.inputs(), of.weight.outputs());
    assert!(
        of.weight.level() == Some(on.level),
        "conv1x1: the weight is packed for another level, or not at all"
    );
    of.x.check_padded("x", of.rows, inputs);
    y.as_rows().check_padded("y", of.rows, outputs);
    if let Some(norm) = of.norm {
        norm.check(inputs);
    }
    if let Some(bias) = of.bias {
        assert!(bias.len() >= outputs, "bias: {} numbers for {outputs} channels", bias.len());
    }
    let panels = Panels::at(on.level, outputs);
    let tile = panels.tile(on.level);
    let split = Split::new(on.threads.count(), of.rows, tile, &panels, &COSTS);
    let (slots, _) = scratch.take(split.parts(), 0);
    let (to, stride, wants_moments) = (Shared(y.data.as_mut_ptr()), y.ld, moments.is_some());
    on.threads.run(split.parts(), &|index| {
        with_slot(&slots[index], |slot| {
            let (rows, mine) = split.get(index, of.rows, tile, &panels);
            on.level.run(Part { of, panels, rows, mine, y: to, stride, slot, moments: wants_moments });
        });
    });
    if let Some(moments) = moments {
        let width = padded(outputs);
        let mut totals = vec![0.0; 2 * width];
        for slot in slots.iter() {
            with_slot(slot, |slot| {
                totals.iter_mut().zip(&slot.totals).for_each(|(total, part)| *total += part);
            });
        }
        moments.resize(outputs);
        let (sums, squares) = totals.split_at(width);
        let count = of.rows as f64;
        for (channel, (sum, square)) in sums.iter().zip(squares).enumerate().take(outputs) {
            let mean = sum / count;
            moments.set(channel, mean, square / count - mean * mean);
        }
    }
}

/// In elements of the result for one input channel: see [`Split`]. A row is packed at about 4 times an element's cost; a
/// column's weight comes from the third cache at about 13 times.
const COSTS: Costs = Costs { row: 4, column: 13, shared_column: 0 };

/// Rows × panels, for one thread.
struct Part<'a, 'b> {
    of: &'b Forward<'a>,
    panels: Panels,
    rows: Range<usize>,
    mine: Range<usize>,
    y: Shared,
    stride: usize,
    slot: &'b mut Slot,
    moments: bool,
}

impl Kernel for Part<'_, '_> {
    type Output = ();
    #[inline(always)]
    fn run<V: Vector>(self) {
        let Part { of, panels, rows, mine, y, stride, slot, moments } = self;
        let (inputs, outputs) = (of.weight.inputs(), of.weight.outputs());
        let columns = panels.columns(&mine);
        let width = padded(outputs);
        let block = (60 / height::<V>(panels.get(0).vectors)).max(1) * height::<V>(panels.get(0).vectors);
        // Tiles of other heights read on after the block's last row: what is there does not count.
        let packed = slot.input.take((block + MAX_HEIGHT) * PACKED_STRIDE);
        let sums = slot.sums.take(3 * width);
        let mut edge = [0.0; MAX_HEIGHT * MAX_WIDTH];
        slot.totals.clear();
        slot.totals.resize(if moments { 2 * width } else { 0 }, 0.0);
        let depth = inputs.div_ceil(inputs.div_ceil(DEPTH).max(1)).next_multiple_of(16);
        for start in rows.clone().step_by(block) {
            let n = block.min(rows.end - start);
            for k in (0..inputs).step_by(depth) {
                let k = k..inputs.min(k + depth);
                // SAFETY: n rows from `start` on, and their columns up to the padded last, are in x (checked by
                // `forward`); `packed` holds a block of rows.
                unsafe { pack::<V>(of, start, n, &k, packed.as_mut_ptr(), rows.end) };
                for panel in mine.clone().map(|index| panels.get(index)) {
                    let tall = height::<V>(panel.vectors);
                    for row in (0..n).step_by(tall) {
                        let valid = tall.min(n - row);
                        // SAFETY: the rows and columns of y are in it (checked by `forward`; a panel ends within the
                        // padded width) and this part's alone.
                        unsafe {
                            let to = y.get().add((start + row) * stride + panel.first);
                            // A tile with rows that do not exist is computed beside y.
                            let cut = valid < tall;
                            let (edge, beside) = (edge.as_mut_ptr(), panel.width);
                            if cut && k.start > 0 {
                                copy_rows(to, stride, edge, beside, valid, panel.width);
                            }
                            let tile = Tile {
                                a: packed.as_ptr().add(row * PACKED_STRIDE),
                                b: of.weight.panel(panel.first)[k.start * panel.width..].as_ptr(),
                                depth: k.len(),
                                y: if cut { edge } else { to },
                                stride: if cut { beside } else { stride },
                                first: k.start == 0,
                                last: k.end == inputs,
                                bias: of.bias.map(|bias| &bias[panel.first.min(bias.len())..]),
                                relu: of.relu,
                            };
                            tile_rows::<V, _>(valid, panel.vectors, tile);
                            if cut {
                                copy_rows(edge, beside, to, stride, valid, panel.width);
                            }
                            if moments && k.end == inputs {
                                let sums = sums.as_mut_ptr().add(panel.first);
                                take_moments::<V>(to, stride, valid, panel.width, sums, width, row == 0);
                            }
                        }
                    }
                }
            }
            if columns.end >= outputs {
                for row in start..start + n {
                    // SAFETY: as above; the last panel's part is the only one to come here.
                    unsafe {
                        std::slice::from_raw_parts_mut(y.get().add(row * stride + outputs), width - outputs)
                    }
                    .fill(0.0);
                }
            }
            if moments {
                total(sums, &columns, n, &mut slot.totals);
            }
        }
    }
}

/// Rows of a panel, from one place to another.
///
/// # Safety
/// They are there, and apart.
#[inline(always)]
unsafe fn copy_rows(
    from: *const f32,
    from_stride: usize,
    to: *mut f32,
    to_stride: usize,
    rows: usize,
    width: usize,
) {
    for row in 0..rows {
        // SAFETY: the caller's.
        unsafe { to.add(row * to_stride).copy_from_nonoverlapping(from.add(row * from_stride), width) };
    }
}

/// A block's sums, shifted from its pivot to 0, to the totals.
#[inline(always)]
fn total(sums: &[f32], columns: &Range<usize>, rows: usize, totals: &mut [f64]) {
    let width = totals.len() / 2;
    let (total, squares) = totals.split_at_mut(width);
    for column in columns.start..columns.end.min(width) {
        let [pivot, sum, square] = [0, 1, 2].map(|kind| f64::from(sums[kind * width + column]));
        total[column] += sum + rows as f64 * pivot;
        squares[column] += square + pivot * (2.0 * sum + rows as f64 * pivot);
    }
}

/// Rows `start..start + n` of the input's channels `k`, normalized, to `to`.
///
/// # Safety
/// They are in x, with `k` rounded up to whole vectors; `to` has room for n rows.
#[inline(always)]
unsafe fn pack<V: Vector>(of: &Forward, start: usize, n: usize, k: &Range<usize>, to: *mut f32, end: usize) {
    let from = of.x.data.as_ptr().wrapping_add(start * of.x.ld + k.start);
    // The rows of the block after this one: they are on their way while this one is multiplied.
    let ahead = if start + 2 * n <= end { n * of.x.ld } else { 0 };
    for row in 0..n {
        // SAFETY: the caller's; scale and shift are padded.
        unsafe {
            let (from, to) = (from.add(row * of.x.ld), to.add(row * PACKED_STRIDE));
            match of.norm {
                Some(Affine { scale, shift }) => {
                    let (scale, shift) = (scale.as_ptr().add(k.start), shift.as_ptr().add(k.start));
                    for i in (0..k.len()).step_by(V::LANES) {
                        V::prefetch(from.wrapping_add(ahead + i));
                        let x = V::load(from.add(i));
                        x.mul_add(V::load(scale.add(i)), V::load(shift.add(i))).relu().store(to.add(i));
                    }
                }
                None => {
                    for i in (0..k.len()).step_by(V::LANES) {
                        V::prefetch(from.wrapping_add(ahead + i));
                        V::load(from.add(i)).store(to.add(i));
                    }
                }
            }
        }
    }
}

/// One register tile of the product over one stretch of channels, all its rows.
struct Tile<'a> {
    a: *const f32,
    b: *const f32,
    depth: usize,
    y: *mut f32,
    stride: usize,
    /// Whether the sums begin here, or go on from what is in y.
    first: bool,
    /// Whether they are complete after it, and then:
    last: bool,
    /// Added to them.
    bias: Option<&'a [f32]>,
    /// Whether a relu follows.
    relu: bool,
}

impl Tiled for Tile<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector, const MR: usize, const NV: usize>(self) {
        // SAFETY: MR rows of y, and of the packed input, are there (the caller's promise).
        unsafe {
            let mut acc = tile::zeros::<V, MR, NV>();
            tile::rows::<V, MR, NV, PACKED_STRIDE>(self.a, self.b, self.depth, &mut acc);
            if !self.first {
                for (i, row) in acc.iter_mut().enumerate() {
                    for (j, sum) in row.iter_mut().enumerate() {
                        *sum = sum.add(V::load(self.y.add(i * self.stride + j * V::LANES)));
                    }
                }
            }
            if self.last {
                if let Some(bias) = self.bias {
                    add_bias(bias, &mut acc);
                }
                if self.relu {
                    acc = acc.map(|row| row.map(V::relu));
                }
            }
            tile::store(&acc, self.y, self.stride);
        }
    }
}

/// Adds to every row the panel's bias, of which there may be less than the panel is wide.
#[inline(always)]
fn add_bias<V: Vector, const MR: usize, const NV: usize>(bias: &[f32], acc: &mut Acc<V, MR, NV>) {
    let mut padded = [0.0; MAX_WIDTH];
    let n = bias.len().min(NV * V::LANES);
    padded[..n].copy_from_slice(&bias[..n]);
    // SAFETY: NV vectors fit into the widest panel.
    let bias: [V; NV] = std::array::from_fn(|j| unsafe { V::load(padded.as_ptr().add(j * V::LANES)) });
    for row in acc.iter_mut() {
        for (sum, bias) in row.iter_mut().zip(bias) {
            *sum = sum.add(bias);
        }
    }
}

/// Takes a tile's finished rows into its panel's sums: pivots, Σ (y − pivot), Σ (y − pivot)², `pitch` numbers from one to
/// the next. The block's first row is the pivot.
///
/// # Safety
/// `rows` rows of y, and the sums, have `width` numbers.
#[inline(always)]
unsafe fn take_moments<V: Vector>(
    y: *const f32,
    stride: usize,
    rows: usize,
    width: usize,
    sums: *mut f32,
    pitch: usize,
    begin: bool,
) {
    for column in (0..width).step_by(V::LANES) {
        // SAFETY: the caller's.
        unsafe {
            let (y, sums) = (y.add(column), sums.add(column));
            let (pivot, mut sum, mut square) = if begin {
                (V::load(y), V::zero(), V::zero())
            } else {
                (V::load(sums), V::load(sums.add(pitch)), V::load(sums.add(2 * pitch)))
            };
            for row in 0..rows {
                let from_pivot = V::load(y.add(row * stride)).sub(pivot);
                sum = sum.add(from_pivot);
                square = from_pivot.mul_add(from_pivot, square);
            }
            pivot.store(sums);
            sum.store(sums.add(pitch));
            square.store(sums.add(2 * pitch));
        }
    }
}
