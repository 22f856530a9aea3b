//! Weights in the order in which the kernels read them.

use super::{Algorithm, Machine};

/// A layer's weights, transformed and packed for one pass: once a step in training, once for all in evaluation.
#[derive(Debug, Default)]
pub struct Packed {
    inputs: usize,
    outputs: usize,
    data: Vec<f32>,
}

impl Packed {
    /// Packs for [`super::forward`]: `weights` are \[outputs, inputs, 3, 3\], contiguous. Memory of an earlier packing is used
    /// again.
    pub fn forward(
        &mut self,
        _on: Machine<'_>,
        _algorithm: Algorithm,
        weights: &[f32],
        outputs: usize,
        inputs: usize,
    ) {
        assert_eq!(weights.len(), outputs * inputs * 9, "conv3x3: weights are [outputs, inputs, 3, 3]");
        *self = Packed { inputs, outputs, data: weights.to_vec() };
    }

    /// Packs for [`super::input_gradient`]; `weights`, `outputs` and `inputs` are the forward's.
    pub fn input_gradient(
        &mut self,
        on: Machine<'_>,
        algorithm: Algorithm,
        weights: &[f32],
        outputs: usize,
        inputs: usize,
    ) {
        self.forward(on, algorithm, weights, outputs, inputs);
    }

    pub(super) fn inputs(&self) -> usize {
        self.inputs
    }

    pub(super) fn outputs(&self) -> usize {
        self.outputs
    }

    pub(super) fn at(&self, output: usize, input: usize, tap: usize) -> f32 {
        self.data[(output * self.inputs + input) * 9 + tap]
    }
}
