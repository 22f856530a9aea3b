//! One thread's share of the backward pass.

use super::backward::Backward;
use super::gradient::Layout;
use super::scratch::Slot;
use super::shape::{group, height, tile_group, tile_rows, Panel, Panels};
use super::tiles::{cut_tile, InputTile, Sink, Through, WeightTile, Write};
use crate::kernels::shared::Shared;
use crate::kernels::simd::{Kernel, Vector};
use crate::kernels::{padded, Norm};
use std::ops::Range;

/// The output channels of a packed weight gradient are rounded up to this: a multiple of any level's group.
pub(super) const GROUPS: usize = 24;

/// Rows × panels.
pub(super) struct Part<'a, 'b> {
    pub of: &'b Backward<'a>,
    pub norm: Option<&'b Norm<'a>>,
    /// Where dX is written (or, with a norm, added).
    pub dx: Option<(Shared, usize)>,
    /// Where dW's panels are written: see [`Gather`].
    pub dweight: Option<Shared>,
    pub panels: Panels,
    pub rows: Range<usize>,
    pub mine: Range<usize>,
    pub slot: &'b mut Slot,
}

impl Kernel for Part<'_, '_> {
    type Output = ();
    #[inline(always)]
    fn run<V: Vector>(self) {
        let Part { of, norm, dx, dweight, panels, rows, mine, slot } = self;
        let columns = panels.columns(&mine);
        let slot_weight = slot.weight.take(columns.len() * of.outputs);
        if dx.is_some() {
            for panel in mine.clone().map(|index| panels.get(index)) {
                let to = &mut slot_weight[(panel.first - columns.start) * of.outputs..]
                    [..panel.width * of.outputs];
                pack_weight(of, panel, to);
            }
        }
        let width = of.outputs.next_multiple_of(GROUPS);
        if let Some(to) = dweight {
            // SAFETY: the panels, side by side, are this part's alone.
            unsafe { to.get().add(columns.start * width).write_bytes(0, columns.len() * width) };
        }
        slot.totals.clear();
        slot.totals.resize(2 * columns.len(), 0.0);

        let block = block(of.outputs, height::<V>(panels.get(panels.count - 1).vectors));
        let layout = Layout::new(of.outputs, block);
        let input = slot.input.take(block * 3 * V::LANES);
        let sums = slot.sums.take(2 * columns.len());
        for start in rows.clone().step_by(block) {
            let n = block.min(rows.end - start);
            layout.pack::<V>(
                &of.gradient,
                start,
                n,
                &mut slot.gradient,
                dweight.is_some().then_some(&mut slot.groups),
            );
            sums.fill(0.0);
            for index in mine.clone() {
                let panel = panels.get(index);
                // While this panel is multiplied, the next one's numbers come: of these rows, or the next block's.
                let (row, column) = if index + 1 < mine.end {
                    (start, panel.first + panel.width)
                } else {
                    ((start + n).min(rows.end - 1), columns.start)
                };
                let x =
                    Ahead { first: of.x.data.as_ptr().wrapping_add(row * of.x.ld + column), stride: of.x.ld };
                let ahead = dx.map(|(dx, stride)| Ahead {
                    first: dx.get().wrapping_add(row * stride + column),
                    stride,
                });
                let ahead = [x, ahead.unwrap_or(x)];
                if norm.is_some() || dweight.is_some() {
                    // SAFETY: n rows of x from `start` on, and the panel's columns, are there (checked by `run`: a
                    // panel ends within the padded width); so is room for n rows of the widest panel.
                    unsafe { pack_input::<V>(of, norm, start, n, panel, input.as_mut_ptr(), ahead) };
                }
                if let Some(to) = dweight {
                    for index in 0..layout.groups::<V>() {
                        // SAFETY: the group's n rows and the panel's are packed; the sums are a tile within the panel.
                        unsafe {
                            let to = to.get().add(panel.first * width + index * group::<V>() * panel.width);
                            let gradient = slot.groups.as_ptr().add(layout.group::<V>(index, n));
                            let tile = WeightTile { gradient, input: input.as_ptr(), rows: n, to };
                            tile_group::<V, _>(panel.vectors, tile);
                        }
                    }
                }
                let Some((dx, stride)) = dx else { continue };
                let at = panel.first - columns.start;
                let product = Product {
                    gradient: &slot.gradient,
                    layout,
                    weight: &slot_weight[at * of.outputs..],
                    panel,
                    rows: n,
                };
                // SAFETY: rows and columns of x and dx are there (checked by `run`) and, of dx, this part's alone.
                unsafe {
                    let dx = dx.get().add(start * stride + panel.first);
                    match norm {
                        None => product.run::<V, _>(Write { dx, stride }),
                        Some(norm) => product.run::<V, _>(Through {
                            scale: norm.affine.scale.as_ptr().add(panel.first),
                            mean: norm.mean.as_ptr().add(panel.first),
                            panel: input.as_ptr(),
                            width: panel.width,
                            x: of.x.data.as_ptr().add(start * of.x.ld + panel.first),
                            x_stride: of.x.ld,
                            g: dx,
                            g_stride: stride,
                            sums: sums.as_mut_ptr().add(at),
                            products: sums.as_mut_ptr().add(columns.len() + at),
                        }),
                    }
                }
            }
            for (total, sum) in slot.totals.iter_mut().zip(sums.iter()) {
                *total += f64::from(*sum);
            }
            if let (None, Some((dx, stride)), true) = (norm, dx, columns.end >= of.inputs) {
                let rest = padded(of.inputs) - of.inputs;
                for row in start..start + n {
                    // SAFETY: as above; the last panel's part is the only one to come here.
                    unsafe { dx.get().add(row * stride + of.inputs).write_bytes(0, rest) };
                }
            }
        }
    }
}

/// dX of a block's rows and one panel.
struct Product<'a> {
    gradient: &'a [f32],
    layout: Layout,
    weight: &'a [f32],
    panel: Panel,
    rows: usize,
}

impl Product<'_> {
    /// # Safety
    /// `to`'s rows and columns are there; after the packed rows there is room for a tile's.
    #[inline(always)]
    unsafe fn run<V: Vector, S: Sink>(&self, to: S) {
        let tall = height::<V>(self.panel.vectors);
        for row in (0..self.rows).step_by(tall) {
            // SAFETY: the caller's.
            unsafe {
                let tile = InputTile {
                    gradient: self.gradient.as_ptr().add(self.layout.row(0, row)),
                    layout: self.layout,
                    weight: self.weight.as_ptr(),
                    to: to.offset(row, 0),
                };
                if row + tall <= self.rows {
                    tile_rows::<V, _>(tall, self.panel.vectors, tile);
                } else {
                    cut_tile::<V, _>(tile, self.rows - row, self.panel.vectors);
                }
            }
        }
    }
}

/// Rows that are computed at once: their packed gradient (twice) fits the second cache beside the panels.
#[inline(always)]
fn block(outputs: usize, tile: usize) -> usize {
    (28672 / outputs.max(128)).clamp(56, 224) / tile * tile
}

/// A panel of the weight, \[outputs\]\[width\], with zeros for inputs that do not exist.
#[inline(always)]
fn pack_weight(of: &Backward, panel: Panel, to: &mut [f32]) {
    let valid = panel.width.min(of.inputs - panel.first);
    for (to, from) in to.chunks_exact_mut(panel.width).zip(of.weight.chunks_exact(of.inputs)) {
        to[..valid].copy_from_slice(&from[panel.first..panel.first + valid]);
        to[valid..].fill(0.0);
    }
}

/// Rows that are wanted soon.
#[derive(Clone, Copy)]
struct Ahead {
    first: *const f32,
    stride: usize,
}

/// A panel of the input, normalized, n rows from `start` on.
///
/// # Safety
/// They are in x; `to` has room for them.
#[inline(always)]
unsafe fn pack_input<V: Vector>(
    of: &Backward,
    norm: Option<&Norm>,
    start: usize,
    n: usize,
    panel: Panel,
    to: *mut f32,
    next: [Ahead; 2],
) {
    let from = of.x.data.as_ptr().wrapping_add(start * of.x.ld + panel.first);
    for i in 0..n {
        for ahead in next {
            V::prefetch(ahead.first.wrapping_add(i * ahead.stride));
            V::prefetch(ahead.first.wrapping_add(i * ahead.stride + panel.width - 1));
        }
        for j in (0..panel.width).step_by(V::LANES) {
            // SAFETY: the caller's; a norm's vectors are padded.
            unsafe {
                let mut x = V::load(from.add(i * of.x.ld + j));
                if let Some(norm) = norm {
                    let [scale, shift] = [norm.affine.scale, norm.affine.shift]
                        .map(|v| V::load(v.as_ptr().add(panel.first + j)));
                    x = x.mul_add(scale, shift).relu();
                }
                x.store(to.add(i * panel.width + j));
            }
        }
    }
}

/// From dW's panels to dW.
///
/// Every part of the rows has all panels, `size` numbers; a panel is \[outputs, rounded up to [`GROUPS`]\]\[width\].
pub(super) struct Gather {
    pub partial: Shared,
    pub size: usize,
    pub parts: usize,
    pub panels: Panels,
    pub outputs: usize,
    pub inputs: usize,
    pub to: Shared,
}

impl Gather {
    /// Where a part of the rows has its panels.
    pub fn part(&self, index: usize) -> Shared {
        Shared(self.partial.get().wrapping_add(index * self.size))
    }

    /// Adds up the parts' `panels` and writes dW's columns.
    ///
    /// # Safety
    /// No other thread uses these panels or columns.
    pub unsafe fn run(&self, panels: Range<usize>) {
        for panel in panels.map(|index| self.panels.get(index)) {
            let valid = panel.width.min(self.inputs - panel.first);
            for output in 0..self.outputs {
                let at = panel.first * self.outputs.next_multiple_of(GROUPS) + output * panel.width;
                // SAFETY: the caller's; rows of dW and of the panel are in their buffers.
                unsafe {
                    let to = self.to.get().add(output * self.inputs + panel.first);
                    let to = std::slice::from_raw_parts_mut(to, valid);
                    to.copy_from_slice(std::slice::from_raw_parts(self.part(0).get().add(at), valid));
                    for part in 1..self.parts {
                        let from = std::slice::from_raw_parts(self.part(part).get().add(at), valid);
                        to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
                    }
                }
            }
        }
    }
}
