//! From the tasks' sums in Winograd's domain to the weights' gradient.

use super::plan::{Plan, CHUNK};
use crate::kernels::conv3x3::winograd::{Points, Winograd};
use crate::kernels::conv3x3::Algorithm;
use crate::kernels::shared::Shared;
use crate::kernels::simd::{Kernel, Vector};
use std::ops::Range;

/// Gᵀ s G of the summed tasks, for some channels.
pub(super) struct Finish {
    pub(super) plan: Plan,
    pub(super) algorithm: Algorithm,
    pub(super) outputs: usize,
    pub(super) channels: Range<usize>,
    pub(super) memory: Shared,
    pub(super) to: Shared,
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
