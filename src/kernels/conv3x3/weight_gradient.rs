//! The weight gradient, in Winograd's domain: Gᵀ[Σ over tiles of (A dy Aᵀ) ⊙ (Bᵀ d B)]G.
//!
//! The sum is a matrix product for each point, input channels by outputs, its depth the tiles. Tasks share tiles or input
//! channels; a second step adds up what tasks with the same channels have, transforms and writes.

use super::grid::{Grid, Tile};
use super::steps::Load;
use super::winograd::{Points, Winograd};
use super::{Algorithm, Input, Machine, Pictures, Rows, Scratch, Shared};
use crate::kernels::simd::{Kernel, Vector};
use crate::kernels::threads::part;
use crate::kernels::{padded, tile};
use std::ops::Range;

/// Tiles a pass.
const TILES: usize = 56;
/// Input channels at a time.
const CHUNK: usize = 32;
/// Between two tiles' channels: room for a register tile's excess rows, and off a power of 2.
const STRIDE: usize = CHUNK + 16;
/// With fewer tiles than this, tasks share channels before they share tiles.
const FEW_TILES: usize = 512;

/// How the work is cut.
#[derive(Clone, Copy)]
struct Plan {
    grid: Grid,
    points: usize,
    lanes: usize,
    /// Padded outputs, and inputs as they are.
    columns: usize,
    channels: usize,
    channel_chunks: usize,
    channel_parts: usize,
    tile_parts: usize,
    /// Floats between points: loaded inputs, gradients of one panel, sums of one panel and chunk.
    input_point: usize,
    gradient_point: usize,
    sum_point: usize,
    /// Floats of a task's loaded inputs, of its gradients, and of its sums.
    inputs: usize,
    gradients: usize,
    sums: usize,
}

impl Plan {
    fn new(
        on: Machine<'_>,
        algorithm: Algorithm,
        pictures: Pictures,
        gradient: Rows<'_>,
        input: Input<'_>,
    ) -> Plan {
        let grid = Grid::new(pictures, algorithm.side());
        let lanes = on.level.lanes();
        let points = algorithm.reach() * algorithm.reach();
        let columns = padded(gradient.channels);
        let panels = columns.div_ceil(2 * lanes);
        let channels = input.rows.channels;
        let channel_chunks = channels.div_ceil(CHUNK);
        let threads = on.threads.count().max(1);
        let channel_parts = if grid.tiles() < FEW_TILES { threads.min(channel_chunks) } else { 1 };
        let tile_parts = (threads / channel_parts).clamp(1, grid.tiles().div_ceil(TILES).max(1));
        let input_point = TILES * STRIDE + 16;
        let gradient_point = TILES * 2 * lanes + 16;
        let sum_point = (CHUNK + 16) * 2 * lanes + 16;
        Plan {
            grid,
            points,
            lanes,
            columns,
            channels,
            channel_chunks,
            channel_parts,
            tile_parts,
            input_point,
            gradient_point,
            sum_point,
            inputs: points * input_point,
            gradients: panels * points * gradient_point,
            sums: channel_chunks.div_ceil(channel_parts) * panels * points * sum_point,
        }
    }

    fn task(&self) -> usize {
        self.inputs + self.gradients + self.sums
    }

    fn panels(&self) -> usize {
        self.columns.div_ceil(2 * self.lanes)
    }

    /// Chunks of channels of one part.
    fn chunks(&self, channel_part: usize) -> Range<usize> {
        part(self.channel_chunks, self.channel_parts, channel_part)
    }

    /// In a task's sums: chunk `chunk` of its own, panel `panel`.
    fn sum(&self, chunk: usize, panel: usize) -> usize {
        (chunk * self.panels() + panel) * self.points * self.sum_point
    }

    fn vectors(&self, panel: usize) -> usize {
        (self.columns / self.lanes - 2 * panel).min(2)
    }
}

/// The gradient of the weights, \[outputs, inputs, 3, 3\] in `to`, from that of the output and the forward's input.
///
/// # Panics
/// Where a slice is too short.
pub fn weight_gradient(
    on: Machine<'_>,
    scratch: &mut Scratch,
    algorithm: Algorithm,
    pictures: Pictures,
    gradient: Rows<'_>,
    input: Input<'_>,
    to: &mut [f32],
) {
    input.check(pictures.rows());
    Input { rows: gradient, norm: None }.check(pictures.rows());
    let weights = gradient.channels * input.rows.channels * 9;
    assert_eq!(to.len(), weights, "conv3x3: the weights' gradient is [outputs, inputs, 3, 3]");
    let plan = Plan::new(on, algorithm, pictures, gradient, input);
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
        on.level.run(Finish { plan, algorithm, outputs: gradient.channels, channels, memory, to });
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

/// A dy Aᵀ of each tile: panel by panel, in it point by point, in it tile by tile.
struct Spread<'a, const M: usize, const T: usize> {
    gradient: Rows<'a>,
    plan: &'a Plan,
    tiles: &'a [Tile],
    to: *mut f32,
}

impl<const M: usize, const T: usize> Kernel for Spread<'_, M, T>
where
    Points: Winograd<M, T>,
{
    type Output = ();
    #[inline(always)]
    fn run<V: Vector>(self) {
        let (plan, ld) = (self.plan, self.gradient.ld);
        for (q, tile) in self.tiles.iter().enumerate() {
            let (down, across) = tile.outputs::<M>();
            for v in 0..plan.columns / V::LANES {
                let mut lines = [[V::zero(); T]; M];
                for i in 0..M {
                    let mut line = [V::zero(); M];
                    for j in 0..M {
                        if i < down && j < across {
                            let at = (tile.row + i * plan.grid.width() + j) * ld + v * V::LANES;
                            // SAFETY: the pixel is inside its picture, and padded rows can be read.
                            line[j] = unsafe { V::load(self.gradient.data.as_ptr().add(at)) };
                        }
                    }
                    lines[i] = Points::output_gradient(line);
                }
                let panel = v / 2;
                let at =
                    panel * plan.points * plan.gradient_point + (q * plan.vectors(panel) + v % 2) * V::LANES;
                for j in 0..T {
                    let mut column = [V::zero(); M];
                    for i in 0..M {
                        column[i] = lines[i][j];
                    }
                    let column = Points::output_gradient(column);
                    for i in 0..T {
                        // SAFETY: laid out by `plan`.
                        unsafe { column[i].store(self.to.add(at + (i * T + j) * plan.gradient_point)) }
                    }
                }
            }
        }
    }
}

/// to\[point\]\[channel\] += Σ over tiles of inputs\[point\]\[tile\]\[channel\] · gradients\[point\]\[tile\], for one panel.
struct Sum<'a> {
    plan: &'a Plan,
    tiles: usize,
    channels: usize,
    inputs: *const f32,
    gradients: *const f32,
    to: *mut f32,
}

impl Sum<'_> {
    #[inline(always)]
    fn run<V: Vector>(self, vectors: usize) {
        match (vectors, V::TILE_ROWS[vectors - 1]) {
            (1, 28) => V::call(Blocks::<16, 1>(self)),
            (2, 14) => V::call(Blocks::<8, 2>(self)),
            (2, 6) => V::call(Blocks::<6, 2>(self)),
            (2, 4) => V::call(Blocks::<4, 2>(self)),
            _ => unreachable!("conv3x3: no register tile for this level"),
        }
    }
}

/// A [`Sum`], MR channels by NV vectors at a time.
struct Blocks<'a, const MR: usize, const NV: usize>(Sum<'a>);

impl<const MR: usize, const NV: usize> Kernel for Blocks<'_, MR, NV> {
    type Output = ();
    #[inline(always)]
    fn run<V: Vector>(self) {
        let Sum { plan, tiles, channels, inputs, gradients, to } = self.0;
        let width = NV * V::LANES;
        for point in 0..plan.points {
            for channel in (0..channels).step_by(MR) {
                // SAFETY: laid out by `plan`, with room for a block's excess channels on either side.
                unsafe {
                    let to = to.add(point * plan.sum_point + channel * width);
                    let mut acc = tile::load::<V, MR, NV>(to, width);
                    tile::outer(
                        inputs.add(point * plan.input_point + channel),
                        STRIDE,
                        gradients.add(point * plan.gradient_point),
                        width,
                        tiles,
                        &mut acc,
                    );
                    tile::store(&acc, to, width);
                }
            }
        }
    }
}

/// Gᵀ s G of the summed tasks, for some channels.
struct Finish {
    plan: Plan,
    algorithm: Algorithm,
    outputs: usize,
    channels: Range<usize>,
    memory: Shared,
    to: Shared,
}

impl Finish {
    #[inline(always)]
    fn all<V: Vector, const M: usize, const T: usize>(&self)
    where
        Points: Winograd<M, T>,
    {
        let plan = &self.plan;
        for channel in self.channels.clone() {
            let chunk = channel / CHUNK;
            let channel_part = (0..plan.channel_parts)
                .position(|index| plan.chunks(index).contains(&chunk))
                .expect("conv3x3: every chunk belongs to a part");
            let index = chunk - plan.chunks(channel_part).start;
            for v in 0..plan.columns / V::LANES {
                let width = plan.vectors(v / 2) * V::LANES;
                let at = plan.inputs
                    + plan.gradients
                    + plan.sum(index, v / 2)
                    + channel % CHUNK * width
                    + v % 2 * V::LANES;
                let mut lines = [[V::zero(); 3]; T];
                for i in 0..T {
                    let mut line = [V::zero(); T];
                    for j in 0..T {
                        for tile_part in 0..plan.tile_parts {
                            let task = tile_part * plan.channel_parts + channel_part;
                            let at = task * plan.task() + at + (i * T + j) * plan.sum_point;
                            // SAFETY: laid out by `plan`; the tasks that wrote it have ended.
                            line[j] = line[j].add(unsafe { V::load(self.memory.get().add(at)) });
                        }
                    }
                    lines[i] = Points::kernel_gradient(line);
                }
                let mut taps = [[0.0f32; 16]; 9];
                for j in 0..3 {
                    let mut column = [V::zero(); T];
                    for i in 0..T {
                        column[i] = lines[i][j];
                    }
                    for (i, tap) in Points::kernel_gradient(column).into_iter().enumerate() {
                        // SAFETY: a row of `taps` holds the widest vector.
                        unsafe { tap.store(taps[i * 3 + j].as_mut_ptr()) }
                    }
                }
                for lane in 0..V::LANES.min(self.outputs.saturating_sub(v * V::LANES)) {
                    let to = ((v * V::LANES + lane) * plan.channels + channel) * 9;
                    for (tap, values) in taps.iter().enumerate() {
                        // SAFETY: below outputs · channels · 9, and a channel is one task's.
                        unsafe { *self.to.get().add(to + tap) = values[lane] }
                    }
                }
            }
        }
    }
}

impl Kernel for Finish {
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
