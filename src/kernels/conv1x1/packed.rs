//! The weight in the order in which the forward product reads it.

use super::check_weight;
use super::shape::Panels;
use crate::kernels::shared::Shared;
use crate::kernels::simd::{Kernel, Vector};
use crate::kernels::threads::part;
use crate::kernels::{Aligned, Level, Machine};
use std::ops::Range;

/// A 1×1 convolution's weight, packed for [`forward`](super::forward): panel by panel of output channels, in each panel
/// input channel by input channel. Packed once for inference, for every step in training.
#[derive(Debug, Clone, Default)]
pub struct Packed {
    /// None until something is packed.
    level: Option<Level>,
    outputs: usize,
    inputs: usize,
    data: Aligned,
}

impl Packed {
    /// Takes in a weight \[outputs, inputs\] (torch's \[outputs, inputs, 1, 1\]), in place of what was there. The memory
    /// is used again.
    ///
    /// # Panics
    /// If `weight` is shorter than that, or one of them is 0.
    pub fn pack(&mut self, on: Machine, weight: &[f32], outputs: usize, inputs: usize) {
        assert!(outputs > 0 && inputs > 0, "a convolution of {inputs} to {outputs} channels");
        check_weight("weight", weight, outputs, inputs);
        (self.level, self.outputs, self.inputs) = (Some(on.level), outputs, inputs);
        let panels = Panels::at(on.level, outputs);
        let to = Shared(self.data.take(panels.columns(&(0..panels.count)).len() * inputs).as_mut_ptr());
        let tasks = on.threads.count().min(panels.count);
        on.threads.run(tasks, &|task| {
            on.level.run(Pack { weight, outputs, inputs, panels, part: part(panels.count, tasks, task), to });
        });
    }

    /// The level it is packed for, if anything is.
    pub fn level(&self) -> Option<Level> {
        self.level
    }

    /// Output channels.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Input channels.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// The panel that begins at column `first`: \[inputs\]\[width\].
    pub(super) fn panel(&self, first: usize) -> &[f32] {
        &self.data[first * self.inputs..]
    }
}

struct Pack<'a> {
    weight: &'a [f32],
    outputs: usize,
    inputs: usize,
    panels: Panels,
    part: Range<usize>,
    to: Shared,
}

impl Kernel for Pack<'_> {
    type Output = ();
    #[inline(always)]
    fn run<V: Vector>(self) {
        // So many inputs at a time: a line of each row of the weight, and all that is written of them, fit the first
        // cache together.
        const STRIP: usize = 16;
        for panel in self.part.clone().map(|index| self.panels.get(index)) {
            // SAFETY: the panel's numbers, panel.width · inputs from panel.first · inputs on, lie in the buffer and are
            // this task's alone.
            let to = unsafe {
                let start = self.to.get().add(panel.first * self.inputs);
                std::slice::from_raw_parts_mut(start, panel.width * self.inputs)
            };
            for strip in (0..self.inputs).step_by(STRIP) {
                let end = (strip + STRIP).min(self.inputs);
                for column in 0..panel.width {
                    let output = panel.first + column;
                    if output < self.outputs {
                        let row = &self.weight[output * self.inputs..][strip..end];
                        for (input, weight) in (strip..end).zip(row) {
                            to[input * panel.width + column] = *weight;
                        }
                    } else {
                        (strip..end).for_each(|input| to[input * panel.width + column] = 0.0);
                    }
                }
            }
        }
    }
}
