//! The convolution itself, for the forward and for the input gradient: what differs is where the outputs go.
//!
//! Tiles are shared among the threads, and where there are few of them, panels of outputs too. A task takes its tiles some at
//! a time, so that what it holds in Winograd's domain stays in the second cache:
//! load (all points of a chunk of input channels), multiply (panel by panel), emit (panel by panel).

use super::grid::{Grid, Tile};
use super::product::{Product, SPARE_ROWS, STRIDES};
use super::steps::{Emit, Load, Sink};
use super::winograd::{Points, Winograd};
use super::{Algorithm, Input, Machine, Packed, Pictures, Scratch, Shared};
use crate::kernels::padded;
use crate::kernels::simd::{Kernel, Vector};
use crate::kernels::threads::part;
use std::ops::Range;

/// Tiles that a pass takes at most.
const MAX_TILES: usize = 56;

/// Everything one convolution needs to know.
pub(super) struct Job<'a, S> {
    pub(super) on: Machine<'a>,
    pub(super) pictures: Pictures,
    pub(super) input: Input<'a>,
    pub(super) weights: &'a Packed,
    pub(super) sink: S,
}

/// How the work is cut.
#[derive(Clone, Copy)]
struct Plan {
    grid: Grid,
    tile_parts: usize,
    /// Vectors of outputs come in panels of two.
    panels: usize,
    panel_parts: usize,
    /// Input channels loaded at once, but for the last chunk's.
    chunk: usize,
    /// Between two tiles of a point in the loaded inputs.
    stride: usize,
    /// Tiles of a pass, at most.
    tiles: usize,
    /// Floats between points: loaded inputs, and products.
    input_point: usize,
    product_point: usize,
    /// Floats of one panel's products.
    product_panel: usize,
    /// Floats of a task's loaded inputs, and of all it has.
    inputs: usize,
    task: usize,
    /// f64s of a task's sums: two rows of Σ, one of pivots, and a last one for the number of rows.
    columns: usize,
}

/// What the tasks summed.
pub(super) struct Sums<'a> {
    plan: Plan,
    lanes: usize,
    data: &'a [f64],
}

impl Plan {
    fn sums(&self) -> usize {
        3 * self.columns + 1
    }

    fn new<S>(job: &Job<'_, S>) -> Plan {
        let (form, _) = job.weights.parts();
        let (side, reach) = (form.algorithm.side(), form.algorithm.reach());
        let lanes = form.level.lanes();
        let grid = Grid::new(job.pictures, side);
        let threads = job.on.threads.count().max(1);
        let columns = padded(form.columns);
        let panels = columns.div_ceil(2 * lanes);
        let tile_parts = threads.min(grid.tiles().div_ceil(FEW_TILES)).max(1);
        let panel_parts = (threads / tile_parts).clamp(1, panels);

        let largest = STRIDES[STRIDES.len() - 1];
        let chunk = padded(form.depth.div_ceil(form.depth.div_ceil(largest)));
        let stride = STRIDES.into_iter().find(|stride| *stride >= chunk).unwrap_or(largest);
        let tiles = tiles_per_pass(form.algorithm, lanes);
        let rows = tiles + SPARE_ROWS;
        let input_point = rows * stride + 16;
        let product_point = rows * 2 * lanes + 16;
        let (points, products) = (reach * reach, if side == 1 { 1 } else { reach * reach });
        let product_panel = products * product_point;
        let inputs = points * input_point;
        let kept = if form.depth > chunk { panels.div_ceil(panel_parts) } else { 1 };
        let task = inputs + kept * product_panel;
        Plan {
            grid,
            tile_parts,
            panels,
            panel_parts,
            chunk,
            stride,
            tiles,
            input_point,
            product_point,
            product_panel,
            inputs,
            task,
            columns,
        }
    }
}

/// Fewer tiles than this are not worth a thread of their own.
const FEW_TILES: usize = 4;

fn tiles_per_pass(algorithm: Algorithm, lanes: usize) -> usize {
    match (algorithm, lanes) {
        (Algorithm::F4, 16) => 14,
        (Algorithm::F4, _) => 12,
        (_, 16) => 28,
        (_, _) => 24,
    }
}

/// Convolves.
pub(super) fn run<'a, S: Sink>(scratch: &'a mut Scratch, job: &Job<'_, S>) -> Sums<'a> {
    let plan = Plan::new(job);
    let tasks = plan.tile_parts * plan.panel_parts;
    let memory = Shared(scratch.memory.take(tasks * plan.task).as_mut_ptr());
    scratch.sums.clear();
    scratch.sums.resize(tasks * plan.sums(), 0.0);
    let sums = Shared(scratch.sums.as_mut_ptr());
    let (form, _) = job.weights.parts();
    job.on.threads.run(tasks, &|task| {
        // SAFETY: each task has its own part of both, and both are as long as all parts.
        let (memory, sums) =
            unsafe { (memory.get().add(task * plan.task), sums.get().add(task * plan.sums())) };
        let tiles = part(plan.grid.tiles(), plan.tile_parts, task / plan.panel_parts);
        let panels = part(plan.panels, plan.panel_parts, task % plan.panel_parts);
        form.level.run(Task { job, plan, tiles, panels, memory, sums });
    });
    Sums { plan, lanes: form.level.lanes(), data: &scratch.sums }
}

/// Some tiles, some panels.
struct Task<'a, S> {
    job: &'a Job<'a, S>,
    plan: Plan,
    tiles: Range<usize>,
    panels: Range<usize>,
    memory: *mut f32,
    sums: *mut f64,
}

impl<S: Sink> Task<'_, S> {
    #[inline(always)]
    fn all<V: Vector, const M: usize, const T: usize>(&self)
    where
        Points: Winograd<M, T>,
    {
        let plan = &self.plan;
        let passes = self.tiles.len().div_ceil(plan.tiles);
        let mut places = [Tile::default(); MAX_TILES];
        let mut rows = 0;
        for pass in 0..passes {
            let from = self.tiles.start + pass * plan.tiles;
            let count = plan.tiles.min(self.tiles.end - from);
            let places = &mut places[..count];
            plan.grid.locate(from, places);
            let first = pass == 0;
            self.pass::<V, M, T>(places, first);
            rows += places
                .iter()
                .map(|tile| tile.outputs::<M>())
                .map(|(down, across)| down * across)
                .sum::<usize>();
        }
        // SAFETY: the last of the task's own sums.
        unsafe { *self.sums.add(self.plan.sums() - 1) = rows as f64 }
    }

    #[inline(always)]
    fn pass<V: Vector, const M: usize, const T: usize>(&self, places: &[Tile], first: bool)
    where
        Points: Winograd<M, T>,
    {
        let plan = &self.plan;
        let (form, weights) = self.job.weights.parts();
        for start in (0..form.depth).step_by(plan.chunk) {
            let depth = plan.chunk.min(form.depth - start);
            self.load::<V, M, T>(places, start, padded(depth));
            for panel in self.panels.clone() {
                let column = panel * 2 * V::LANES;
                let vectors = form.vectors(column);
                let kept = if form.depth > plan.chunk { panel - self.panels.start } else { 0 };
                // SAFETY: the task's memory is laid out by `plan`, the weights by `form`.
                unsafe {
                    let products = self.memory.add(plan.inputs + kept * plan.product_panel);
                    let weights = weights.as_ptr().add(form.panel(column) + start * vectors * V::LANES);
                    let product = Product {
                        from: self.memory,
                        from_point: plan.input_point,
                        weights,
                        weights_point: form.point(vectors * V::LANES),
                        to: products,
                        to_point: if M == 1 { 0 } else { plan.product_point },
                        points: T * T,
                        rows: places.len(),
                        depth,
                        add: start > 0,
                    };
                    product.run::<V>(vectors, plan.stride);
                    if start + depth == form.depth {
                        if vectors == 2 {
                            self.emit::<V, M, T, 2>(places, products, column, first);
                        } else {
                            self.emit::<V, M, T, 1>(places, products, column, first);
                        }
                    }
                }
            }
        }
    }

    #[inline(always)]
    fn load<V: Vector, const M: usize, const T: usize>(&self, tiles: &[Tile], start: usize, channels: usize)
    where
        Points: Winograd<M, T>,
    {
        let (plan, input) = (&self.plan, self.job.input);
        macro_rules! load {
            ($norm:literal, $scale:expr, $shift:expr) => {
                Load::<M, T, $norm> {
                    from: input.rows.data.as_ptr().wrapping_add(start),
                    ld: input.rows.ld,
                    width: plan.grid.width(),
                    tiles,
                    channels,
                    scale: $scale,
                    shift: $shift,
                    to: self.memory,
                    point: plan.input_point,
                    ld_to: plan.stride,
                }
            };
        }
        match input.norm {
            Some(norm) => {
                V::call(load!(true, norm.scale[start..].as_ptr(), norm.shift[start..].as_ptr()));
            }
            None => V::call(load!(false, std::ptr::null(), std::ptr::null())),
        }
    }

    #[inline(always)]
    fn emit<V: Vector, const M: usize, const T: usize, const NV: usize>(
        &self,
        tiles: &[Tile],
        from: *const f32,
        column: usize,
        first: bool,
    ) where
        Points: Winograd<M, T>,
    {
        V::call(Emit::<S, M, T, NV> {
            from,
            point: self.plan.product_point,
            width: self.plan.grid.width(),
            tiles,
            column,
            sink: &self.job.sink,
            sums: self.sums,
            first,
        });
    }
}

impl<S: Sink> Kernel for Task<'_, S> {
    type Output = ();
    #[inline(always)]
    fn run<V: Vector>(self) {
        match self.job.weights.parts().0.algorithm {
            Algorithm::Direct => self.all::<V, 1, 3>(),
            Algorithm::F2 => self.all::<V, 2, 4>(),
            Algorithm::F4 => self.all::<V, 4, 6>(),
        }
    }
}

impl Sums<'_> {
    /// Of each task that had `column`: how many rows, the two sums, and the pivot.
    pub(super) fn of(&self, column: usize) -> impl Iterator<Item = (f64, f64, f64, f64)> + Clone + '_ {
        let plan = self.plan;
        let panel = column / (2 * self.lanes);
        let panel_part = (0..plan.panel_parts)
            .position(|index| part(plan.panels, plan.panel_parts, index).contains(&panel))
            .expect("conv3x3: every panel belongs to a part");
        (0..plan.tile_parts).map(move |tile_part| {
            let sums = &self.data[(tile_part * plan.panel_parts + panel_part) * plan.sums()..][..plan.sums()];
            (
                sums[plan.sums() - 1],
                sums[column],
                sums[plan.columns + column],
                sums[2 * plan.columns + column],
            )
        })
    }
}
