//! Few tiles, as one small picture has: too few for each thread to take some, with all weights read by every one. So the
//! threads go through the steps together, over one scratch: they share the loading (by tiles and channels), then the
//! products (by panels and points, so that each reads its part of the weights), then the outputs.

use super::engine::{Job, Task};
use super::grid::Tile;
use super::plan::MAX_TILES;
use super::steps::Sink;
use super::winograd::{Points, Winograd};
use super::Algorithm;
use crate::kernels::simd::{Kernel, Vector};
use crate::kernels::threads::part;
use crate::kernels::{padded, PAD};

/// All of a convolution's steps. `task` makes the task of an index; tasks beyond the plan's have no outputs of their own.
pub(super) fn run<'a, S: Sink + 'a>(job: &'a Job<'a, S>, task: &(dyn Fn(usize) -> Task<'a, S> + Sync)) {
    let (plan, threads) = (task(0).plan, job.on.threads);
    let points = job.weights.form().algorithm.reach().pow(2);
    let groups = padded(job.weights.form().depth) / PAD;
    for (step, units) in [
        (Step::Load, groups * plan.tiles),
        (Step::Multiply, plan.panels * points),
        (Step::Emit, plan.tasks()),
    ] {
        let tasks = threads.count().min(units);
        threads.run(tasks, &|index| {
            let units = part(units, tasks, index);
            job.on.level.run(Share { step, task: &task(index), units });
        });
    }
}

#[derive(Clone, Copy)]
enum Step {
    /// Units: a tile's channels, 16 at a time; tile by tile.
    Load,
    /// Units: a panel's points; panel by panel.
    Multiply,
    /// Units: tasks.
    Emit,
}

/// One task's part in one step.
struct Share<'a, S> {
    step: Step,
    task: &'a Task<'a, S>,
    units: std::ops::Range<usize>,
}

impl<S: Sink> Share<'_, S> {
    #[inline(always)]
    fn all<V: Vector, const M: usize, const T: usize>(&self)
    where
        Points: Winograd<M, T>,
    {
        let plan = &self.task.plan;
        let mut places = [Tile::default(); MAX_TILES];
        let places = &mut places[..plan.tiles];
        plan.grid.locate(0, places);
        match self.step {
            Step::Load => self.load::<V, M, T>(places),
            Step::Multiply => self.multiply::<V, M, T>(),
            Step::Emit => {
                let task = self.task;
                let tiles = &places[task.tiles.clone()];
                for panel in task.panels.clone() {
                    let first = plan.chunks * plan.inputs
                        + panel * plan.product_panel
                        + task.tiles.start * task.width::<V>(panel);
                    task.emit::<V, M, T>(tiles, task.memory.wrapping_add(first), panel, true);
                }
                task.count(tiles.iter().map(|tile| tile.rows::<M>()).sum());
            }
        }
    }

    #[inline(always)]
    fn load<V: Vector, const M: usize, const T: usize>(&self, places: &[Tile])
    where
        Points: Winograd<M, T>,
    {
        let (task, plan) = (self.task, &self.task.plan);
        let groups = padded(task.job.weights.form().depth) / PAD;
        for unit in self.units.clone() {
            let (tile, channel) = (unit / groups, unit % groups * PAD);
            let (chunk, channel) = (channel / plan.chunk, channel % plan.chunk);
            let to = task.memory.wrapping_add(chunk * plan.inputs + tile * plan.stride);
            task.load::<V, M, T>(&places[tile..=tile], chunk * plan.chunk, channel..channel + PAD, to);
        }
    }

    #[inline(always)]
    fn multiply<V: Vector, const M: usize, const T: usize>(&self)
    where
        Points: Winograd<M, T>,
    {
        let (task, plan) = (self.task, &self.task.plan);
        let mut unit = self.units.start;
        while unit < self.units.end {
            let (panel, point) = (unit / (T * T), unit % (T * T));
            let count = (T * T - point).min(self.units.end - unit);
            unit += count;
            for chunk in 0..plan.chunks {
                // SAFETY: the shared scratch is laid out by `plan`: every chunk's inputs, then every panel's products.
                unsafe {
                    let from = task.memory.add(chunk * plan.inputs);
                    let to = task.memory.add(plan.chunks * plan.inputs + panel * plan.product_panel);
                    task.multiply::<V, M, T>(plan.tiles, chunk, panel, point..point + count, from, to);
                }
            }
        }
    }
}

impl<S: Sink> Kernel for Share<'_, S> {
    type Output = ();
    #[inline(always)]
    fn run<V: Vector>(self) {
        match self.task.job.weights.form().algorithm {
            Algorithm::Direct => self.all::<V, 1, 3>(),
            Algorithm::F2 => self.all::<V, 2, 4>(),
            Algorithm::F4 => self.all::<V, 4, 6>(),
        }
    }
}
