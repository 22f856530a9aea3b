//! The convolution itself, for the forward and for the input gradient: what differs is where the outputs go.
//!
//! Tiles are shared among the threads, and where there are few of them, panels of outputs too. A task takes its tiles some at
//! a time, so that what it holds in Winograd's domain stays in the second cache:
//! load (all points of a chunk of input channels), multiply (panel by panel), emit (panel by panel).

use super::grid::Tile;
use super::plan::{Plan, Sums, MAX_TILES};
use super::product::Product;
use super::steps::{Emit, Load, Sink};
use super::winograd::{Points, Winograd};
use super::{few, Algorithm, Input, Packed, Pictures, Scratch};
use crate::kernels::shared::Shared;
use crate::kernels::simd::{Kernel, Vector};
use crate::kernels::{padded, Machine};
use std::ops::Range;

/// Everything one convolution needs to know.
pub(super) struct Job<'a, S> {
    pub(super) on: Machine<'a>,
    pub(super) pictures: Pictures,
    pub(super) input: Input<'a>,
    pub(super) weights: &'a Packed,
    pub(super) sink: S,
}

/// Convolves.
pub(super) fn run<'a, S: Sink>(scratch: &'a mut Scratch, job: &Job<'_, S>) -> Sums<'a> {
    let plan = Plan::new(job);
    let tasks = plan.tasks();
    let parts = if plan.together { 1 } else { tasks };
    let memory = Shared(scratch.memory.take(parts * plan.scratch).as_mut_ptr());
    scratch.sums.clear();
    scratch.sums.resize(tasks * plan.sums(), 0.0);
    let sums = Shared(scratch.sums.as_mut_ptr());
    let task = |task: usize| {
        let (tiles, panels) = plan.share(task);
        // SAFETY: each task has its own part of both, or memory is all tasks', and both are as long as all parts.
        let (memory, sums) = unsafe {
            (memory.get().add(task % parts * plan.scratch), sums.get().add(task % tasks * plan.sums()))
        };
        Task { job, plan, tiles, panels, weights: job.weights.for_task(task), memory, sums }
    };
    if plan.together {
        few::run(job, &task);
    } else {
        job.on.threads.run(tasks, &|index| job.on.level.run(task(index)));
    }
    Sums { plan, data: &scratch.sums }
}

/// Some tiles, some panels.
pub(super) struct Task<'a, S> {
    pub(super) job: &'a Job<'a, S>,
    pub(super) plan: Plan,
    pub(super) tiles: Range<usize>,
    pub(super) panels: Range<usize>,
    weights: &'a [f32],
    pub(super) memory: *mut f32,
    pub(super) sums: *mut f64,
}

impl<S: Sink> Task<'_, S> {
    #[inline(always)]
    fn all<V: Vector, const M: usize, const T: usize>(&self)
    where
        Points: Winograd<M, T>,
    {
        let plan = &self.plan;
        let mut places = [Tile::default(); MAX_TILES];
        let mut rows = 0;
        for from in self.tiles.clone().step_by(plan.tiles) {
            let places = &mut places[..plan.tiles.min(self.tiles.end - from)];
            plan.grid.locate(from, places);
            self.pass::<V, M, T>(places, rows == 0);
            rows += places.iter().map(|tile| tile.rows::<M>()).sum::<usize>();
        }
        self.count(rows);
    }

    /// Notes how many rows were summed.
    #[inline(always)]
    pub(super) fn count(&self, rows: usize) {
        // SAFETY: the last of the task's own sums.
        unsafe { *self.sums.add(self.plan.sums() - 1) = rows as f64 }
    }

    #[inline(always)]
    fn pass<V: Vector, const M: usize, const T: usize>(&self, places: &[Tile], first: bool)
    where
        Points: Winograd<M, T>,
    {
        let plan = &self.plan;
        for chunk in 0..plan.chunks {
            let channels = 0..padded(self.depth(chunk));
            self.load::<V, M, T>(places, chunk * plan.chunk, channels, self.memory);
            for panel in self.panels.clone() {
                let kept = if plan.chunks > 1 { panel - self.panels.start } else { 0 };
                // SAFETY: the task's memory is laid out by `plan`.
                unsafe {
                    let products = self.memory.add(plan.inputs + kept * plan.product_panel);
                    self.multiply::<V, M, T>(places.len(), chunk, panel, 0..T * T, self.memory, products);
                    if chunk + 1 == plan.chunks {
                        self.emit::<V, M, T>(places, products, panel, first);
                    }
                }
            }
        }
    }

    /// Input channels of a chunk.
    #[inline(always)]
    pub(super) fn depth(&self, chunk: usize) -> usize {
        self.plan.chunk.min(self.job.weights.form().depth - chunk * self.plan.chunk)
    }

    /// Loads some tiles' channels, counted from `start`, to where the chunk that begins at `start` has its first tile.
    #[inline(always)]
    pub(super) fn load<V: Vector, const M: usize, const T: usize>(
        &self,
        tiles: &[Tile],
        start: usize,
        channels: Range<usize>,
        to: *mut f32,
    ) where
        Points: Winograd<M, T>,
    {
        let (plan, input, start) = (&self.plan, self.job.input, start + channels.start);
        macro_rules! load {
            ($norm:literal, $scale:expr, $shift:expr) => {
                Load::<M, T, $norm> {
                    from: input.rows.data.as_ptr().wrapping_add(start),
                    ld: input.rows.ld,
                    width: plan.grid.width(),
                    tiles,
                    channels: channels.len(),
                    scale: $scale,
                    shift: $shift,
                    to: to.wrapping_add(channels.start),
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

    /// Floats of one row of a panel's products.
    #[inline(always)]
    pub(super) fn width<V: Vector>(&self, panel: usize) -> usize {
        self.job.weights.form().vectors(panel * 2 * V::LANES) * V::LANES
    }

    /// Multiplies a chunk's loaded inputs with a panel's weights at some points.
    ///
    /// # Safety
    /// `from` and `to` point at a chunk's inputs and a panel's products.
    #[inline(always)]
    pub(super) unsafe fn multiply<V: Vector, const M: usize, const T: usize>(
        &self,
        rows: usize,
        chunk: usize,
        panel: usize,
        points: Range<usize>,
        from: *const f32,
        to: *mut f32,
    ) {
        let (plan, form) = (&self.plan, self.job.weights.form());
        let column = panel * 2 * V::LANES;
        let vectors = form.vectors(column);
        let weights_point = form.point(vectors * V::LANES);
        let weights =
            form.panel(column) + points.start * weights_point + chunk * plan.chunk * vectors * V::LANES;
        let to_point = if M == 1 { 0 } else { plan.product_point };
        // SAFETY: the caller's; weights are laid out by `form`.
        unsafe {
            let product = Product {
                from: from.add(points.start * plan.input_point),
                from_point: plan.input_point,
                weights: self.weights[weights..].as_ptr(),
                weights_point,
                to: to.add(points.start * to_point),
                to_point,
                points: points.len(),
                rows,
                depth: self.depth(chunk),
                add: chunk > 0,
            };
            product.run::<V>(vectors, plan.stride);
        }
    }

    /// Hands a panel's products to the sink. `first`: whether these are the task's first tiles.
    #[inline(always)]
    pub(super) fn emit<V: Vector, const M: usize, const T: usize>(
        &self,
        tiles: &[Tile],
        from: *const f32,
        panel: usize,
        first: bool,
    ) where
        Points: Winograd<M, T>,
    {
        let column = panel * 2 * V::LANES;
        let (point, width) = (self.plan.product_point, self.plan.grid.width());
        let (sink, sums) = (&self.job.sink, self.sums);
        if self.job.weights.form().vectors(column) == 2 {
            V::call(Emit::<S, M, T, 2> { from, point, width, tiles, column, sink, sums, first });
        } else {
            V::call(Emit::<S, M, T, 1> { from, point, width, tiles, column, sink, sums, first });
        }
    }
}

impl<S: Sink> Kernel for Task<'_, S> {
    type Output = ();
    #[inline(always)]
    fn run<V: Vector>(self) {
        match self.job.weights.form().algorithm {
            Algorithm::Direct => self.all::<V, 1, 3>(),
            Algorithm::F2 => self.all::<V, 2, 4>(),
            Algorithm::F4 => self.all::<V, 4, 6>(),
        }
    }
}
