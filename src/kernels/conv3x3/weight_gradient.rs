//! The weight gradient, in Winograd's domain: Gᵀ[Σ over tiles of (A dy Aᵀ) ⊙ (Bᵀ d B)]G.
//!
//! The sum is a matrix product for each point, input channels by outputs, its depth the tiles. Tasks share tiles or input
//! channels; a second step adds up what tasks with the same channels have, transforms and writes.

mod finish;
mod plan;
mod steps;

use super::grid::Tile;
use super::steps::Load;
use super::winograd::{Points, Winograd};
use super::{Algorithm, Input, Pictures, Scratch};
use crate::kernels::shared::Shared;
use crate::kernels::simd::{Kernel, Vector};
use crate::kernels::threads::part;
use crate::kernels::{padded, Machine, Rows};
use finish::Finish;
use plan::{Plan, CHUNK, STRIDE, TILES};
use std::ops::Range;
use steps::{Spread, Sum};

/// What [`weight_gradient`] computes from, and where to.
#[derive(Debug)]
pub struct WeightGradient<'a> {
    /// The gradient of the output: one row a pixel, padded with finite numbers.
    pub gradient: Rows<'a>,
    /// The output's channels.
    pub outputs: usize,
    /// The forward's input.
    pub input: Input<'a>,
    /// Its channels.
    pub inputs: usize,
    /// Becomes the gradient of the weights, \[outputs, inputs, 3, 3\].
    pub to: &'a mut [f32],
}

/// Writes the gradient of the weights.
///
/// # Panics
/// Where a slice is too short.
pub fn weight_gradient(
    on: Machine<'_>,
    scratch: &mut Scratch,
    algorithm: Algorithm,
    pictures: Pictures,
    of: WeightGradient<'_>,
) {
    let WeightGradient { gradient, outputs, input, inputs, to } = of;
    input.check(pictures.rows(), inputs);
    Input { rows: gradient, norm: None }.check(pictures.rows(), outputs);
    assert_eq!(to.len(), outputs * inputs * 9, "conv3x3: the weights' gradient is [outputs, inputs, 3, 3]");
    let plan = Plan::new(on, algorithm, pictures, outputs, inputs);
    let tasks = plan.channel_parts * plan.tile_parts;
    let memory = Shared(scratch.memory.take(tasks * plan.task()).as_mut_ptr());
    on.threads.run(tasks, &|task| {
        // SAFETY: each task has its own part of the memory, which is as long as all parts.
        let memory = unsafe { memory.get().add(task * plan.task()) };
        let tiles = part(plan.grid.tiles(), plan.tile_parts, task / plan.channel_parts);
        let chunks = plan.chunks(task % plan.channel_parts);
        on.level.run(Task { plan, algorithm, gradient, input, tiles, chunks, memory });
    });
    let to = Shared(to.as_mut_ptr());
    let tasks = on.threads.count().min(plan.channels);
    on.threads.run(tasks, &|task| {
        let channels = part(plan.channels, tasks, task);
        on.level.run(Finish { plan, algorithm, outputs, channels, memory, to });
    });
}

/// Some tiles, some channels.
struct Task<'a> {
    plan: Plan,
    algorithm: Algorithm,
    gradient: Rows<'a>,
    input: Input<'a>,
    tiles: Range<usize>,
    chunks: Range<usize>,
    memory: *mut f32,
}

impl Task<'_> {
    #[inline(always)]
    fn all<V: Vector, const M: usize, const T: usize>(&self)
    where
        Points: Winograd<M, T>,
    {
        let plan = &self.plan;
        // SAFETY: the task's memory is laid out by `plan`.
        let (gradients, sums) = unsafe {
            let gradients = self.memory.add(plan.inputs);
            let sums = gradients.add(plan.gradients);
            std::slice::from_raw_parts_mut(sums, plan.sums).fill(0.0);
            (gradients, sums)
        };
        let mut places = [Tile::default(); TILES];
        for from in self.tiles.clone().step_by(TILES) {
            let places = &mut places[..TILES.min(self.tiles.end - from)];
            plan.grid.locate(from, places);
            V::call(Spread::<M, T> { gradient: self.gradient, plan, tiles: places, to: gradients });
            for (index, chunk) in self.chunks.clone().enumerate() {
                let start = chunk * CHUNK;
                let count = CHUNK.min(plan.channels - start);
                self.load::<V, M, T>(places, start, padded(count));
                for panel in 0..plan.panels() {
                    // SAFETY: as above.
                    let (from, to) = unsafe {
                        (
                            gradients.add(panel * plan.points * plan.gradient_point),
                            sums.add(plan.sum(index, panel)),
                        )
                    };
                    let sum = Sum {
                        plan,
                        tiles: places.len(),
                        channels: count,
                        inputs: self.memory,
                        gradients: from,
                        to,
                    };
                    sum.run::<V>(plan.vectors(panel));
                }
            }
        }
    }

    #[inline(always)]
    fn load<V: Vector, const M: usize, const T: usize>(&self, tiles: &[Tile], start: usize, channels: usize)
    where
        Points: Winograd<M, T>,
    {
        let (plan, input) = (&self.plan, self.input);
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
                    ld_to: STRIDE,
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
}

impl Kernel for Task<'_> {
    type Output = ();
    #[inline(always)]
    fn run<V: Vector>(self) {
        match self.algorithm {
            Algorithm::Direct => self.all::<V, 1, 3>(),
            Algorithm::F2 => self.all::<V, 2, 4>(),
            Algorithm::F4 => self.all::<V, 4, 6>(),
        }
    }
}
