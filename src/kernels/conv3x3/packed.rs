//! Weights in Winograd's domain, in the order in which the products read them.

use super::winograd::{Points, Winograd};
use super::Algorithm;
use crate::kernels::shared::Shared;
use crate::kernels::simd::{Kernel, Vector};
use crate::kernels::threads::part;
use crate::kernels::{padded, Aligned, Level, Machine};

/// A layer's weights, transformed and packed for one pass: once a step in training, once for all in evaluation.
///
/// A product's weight for point p, depth d, column n lies in panel n / (2·lanes): panel by panel, in it point by point, in it
/// depth by depth. The last panel may be one vector wide. Columns are zeros from the outputs up to the next multiple of 16.
///
/// Made by `default`, it is for weights that change with every step: up to four threads pack a copy each, for what one has
/// just written another has to fetch from its cache (measured here: as long as the convolution itself at 7×7 and 14×14).
#[derive(Debug, Default)]
pub struct Packed {
    form: Option<Form>,
    data: Aligned,
    copies: usize,
    lasting: bool,
}

/// More threads than this share one packing: packing everything on each would cost more than it saves.
const MAX_COPIES: usize = 4;

/// What weights are packed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Form {
    pub(super) level: Level,
    pub(super) algorithm: Algorithm,
    pub(super) transposed: bool,
    /// Channels that are summed over.
    pub(super) depth: usize,
    /// Channels that come out.
    pub(super) columns: usize,
}

impl Form {
    fn points(self) -> usize {
        self.algorithm.reach() * self.algorithm.reach()
    }

    /// Between two points of a panel of `width` columns. The extra line keeps points off one another's cache sets.
    pub(super) fn point(self, width: usize) -> usize {
        self.depth * width + 16
    }

    /// Where the panel that begins at `column` begins: those before it are all two vectors wide.
    pub(super) fn panel(self, column: usize) -> usize {
        let width = 2 * self.level.lanes();
        column / width * self.points() * self.point(width)
    }

    /// Vectors in the panel that begins at `column`: 1 or 2.
    pub(super) fn vectors(self, column: usize) -> usize {
        ((padded(self.columns) - column) / self.level.lanes()).min(2)
    }
}

impl Packed {
    /// For weights that are packed once and used often: one copy.
    pub fn lasting() -> Self {
        Packed { lasting: true, ..Packed::default() }
    }

    /// Packs for [`super::forward`]: `weights` are \[outputs, inputs, 3, 3\], contiguous. Memory of an earlier packing is used
    /// again.
    ///
    /// # Panics
    /// Where `weights` is of another length.
    pub fn forward(
        &mut self,
        on: Machine<'_>,
        algorithm: Algorithm,
        weights: &[f32],
        outputs: usize,
        inputs: usize,
    ) {
        let form = Form { level: on.level, algorithm, transposed: false, depth: inputs, columns: outputs };
        self.pack(on, weights, form);
    }

    /// Packs for [`super::input_gradient`]; `weights`, `outputs` and `inputs` are the forward's.
    ///
    /// # Panics
    /// Where `weights` is of another length.
    pub fn input_gradient(
        &mut self,
        on: Machine<'_>,
        algorithm: Algorithm,
        weights: &[f32],
        outputs: usize,
        inputs: usize,
    ) {
        let form = Form { level: on.level, algorithm, transposed: true, depth: outputs, columns: inputs };
        self.pack(on, weights, form);
    }

    /// What it was packed for.
    ///
    /// # Panics
    /// Where nothing was packed yet.
    pub(super) fn form(&self) -> Form {
        self.form.expect("conv3x3: weights are packed before they are used")
    }

    /// The weights, for a task: those that the thread that runs it packed, if there are so many.
    pub(super) fn for_task(&self, task: usize) -> &[f32] {
        let len = self.data.len() / self.copies;
        &self.data[task % self.copies * len..][..len]
    }

    fn pack(&mut self, on: Machine<'_>, weights: &[f32], form: Form) {
        assert!(form.depth > 0 && form.columns > 0, "conv3x3: no channels");
        assert_eq!(
            weights.len(),
            form.depth * form.columns * 9,
            "conv3x3: weights are [outputs, inputs, 3, 3]"
        );
        self.form = Some(form);
        let threads = on.threads.count();
        self.copies = if self.lasting || threads > MAX_COPIES { 1 } else { threads };
        let len = form.panel(padded(form.columns)) + form.points() * form.point(2 * form.level.lanes());
        let to = Shared(self.data.take(self.copies * len).as_mut_ptr());
        let units = form.depth * padded(form.columns).div_ceil(2 * form.level.lanes());
        let tasks = if self.copies > 1 { threads } else { threads.min(units) };
        let parts = tasks / self.copies;
        on.threads.run(tasks, &|task| {
            // SAFETY: `to` has room for all copies.
            let to = Shared(unsafe { to.get().add(task % self.copies * len) });
            form.level.run(Pack { weights, form, to, units: part(units, parts, task / self.copies) });
        });
    }
}

/// Units that are gathered at once.
const BLOCK: usize = 8;

/// Transforms some units: unit u is panel u / depth at depth u % depth. (Not vector by vector: two threads that write
/// neighbouring lines take them from each other, as processors fetch lines in pairs.)
struct Pack<'a> {
    weights: &'a [f32],
    form: Form,
    to: Shared,
    units: std::ops::Range<usize>,
}

impl Pack<'_> {
    #[inline(always)]
    fn transform<V: Vector, const M: usize, const T: usize>(&self)
    where
        Points: Winograd<M, T>,
    {
        let form = self.form;
        // In `weights`, [outputs, inputs, 9]: from one column to the next, and from one depth to the next.
        let (column_stride, depth_stride) =
            if form.transposed { (9, form.columns * 9) } else { (form.depth * 9, 9) };
        let mut unit = self.units.start;
        while unit < self.units.end {
            let (panel, depth) = (unit / form.depth * 2 * V::LANES, unit % form.depth);
            let count = BLOCK.min(self.units.end - unit).min(form.depth - depth);
            unit += count;
            let (vectors, to) = (form.vectors(panel), form.panel(panel));
            let point = form.point(vectors * V::LANES);
            for v in 0..vectors {
                let column = panel + v * V::LANES;
                // Gathered some depths ahead: a vector read right after its lanes were written one by one has to wait.
                let mut taps = [[[0.0f32; 16]; 9]; BLOCK];
                for lane in 0..V::LANES.min(form.columns.saturating_sub(column)) {
                    for (index, taps) in taps[..count].iter_mut().enumerate() {
                        let at = (column + lane) * column_stride + (depth + index) * depth_stride;
                        for (tap, weight) in self.weights[at..at + 9].iter().enumerate() {
                            taps[if form.transposed { 8 - tap } else { tap }][lane] = *weight;
                        }
                    }
                }
                for (index, taps) in taps[..count].iter().enumerate() {
                    let to = to + ((depth + index) * vectors + v) * V::LANES;
                    let mut lines = [[V::zero(); 3]; T];
                    for j in 0..3 {
                        // SAFETY: a row of `taps` holds the widest vector.
                        let line = unsafe { [0, 3, 6].map(|i| V::load(taps[i + j].as_ptr())) };
                        let line = Points::kernel(line);
                        for i in 0..T {
                            lines[i][j] = line[i];
                        }
                    }
                    for i in 0..T {
                        let line = Points::kernel(lines[i]);
                        for j in 0..T {
                            // SAFETY: `to` ends behind the last panel's last point, and units are one task's each.
                            unsafe { line[j].store(self.to.get().add(to + (i * T + j) * point)) }
                        }
                    }
                }
            }
        }
    }
}

impl Kernel for Pack<'_> {
    type Output = ();
    #[inline(always)]
    fn run<V: Vector>(self) {
        match self.form.algorithm {
            Algorithm::Direct => self.transform::<V, 1, 3>(),
            Algorithm::F2 => self.transform::<V, 2, 4>(),
            Algorithm::F4 => self.transform::<V, 4, 6>(),
        }
    }
}
