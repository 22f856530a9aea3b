//! The first convolution's weight in the order in which the tiles read it.

use crate::kernels::{padded, Aligned, Level};

/// A square convolution of stride 1 or 2 with "same" padding: its weight, packed, and its bias.
#[derive(Debug, Clone)]
pub struct Packed {
    level: Level,
    outputs: usize,
    inputs: usize,
    kernel: usize,
    stride: usize,
    /// Panel by panel of outputs; in a panel \[input\]\[line\]\[column\]\[output\].
    data: Aligned,
    /// Padded with zeros.
    bias: Aligned,
}

impl Packed {
    /// Takes in a weight \[outputs, inputs, kernel, kernel\] and a bias \[outputs\].
    ///
    /// # Panics
    /// If a slice has another length, `kernel` is even, or `stride` is neither 1 nor 2.
    pub fn new(
        level: Level,
        weight: &[f32],
        bias: &[f32],
        inputs: usize,
        kernel: usize,
        stride: usize,
    ) -> Packed {
        let (outputs, taps) = (bias.len(), inputs * kernel * kernel);
        assert_eq!(weight.len(), outputs * taps, "stem: the weight is [outputs, inputs, kernel, kernel]");
        assert!(outputs > 0 && inputs > 0, "stem: a convolution of {inputs} to {outputs} channels");
        assert!(kernel % 2 == 1 && matches!(stride, 1 | 2), "stem: kernel {kernel}, stride {stride}");
        let mut packed = Packed {
            level,
            outputs,
            inputs,
            kernel,
            stride,
            data: Aligned::zeroed(taps * padded(outputs)),
            bias: Aligned::zeroed(padded(outputs)),
        };
        packed.bias[..outputs].copy_from_slice(bias);
        for (output, weight) in weight.chunks_exact(taps).enumerate() {
            let first = output / packed.panel() * packed.panel();
            let width = packed.width(first);
            for (tap, weight) in weight.iter().enumerate() {
                packed.data[first * taps + tap * width + output - first] = *weight;
            }
        }
        packed
    }

    /// The level it is packed for.
    pub fn level(&self) -> Level {
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

    /// Height and width of the window.
    pub fn kernel(&self) -> usize {
        self.kernel
    }

    /// From one output's window to the next one's.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// Outputs along a side of `pixels` pixels.
    pub fn along(&self, pixels: usize) -> usize {
        (pixels - 1) / self.stride + 1
    }

    /// Columns of a panel: two vectors.
    pub(super) fn panel(&self) -> usize {
        2 * self.level.lanes()
    }

    /// Columns of the panel that begins at `first`: the last may be one vector.
    pub(super) fn width(&self, first: usize) -> usize {
        self.panel().min(padded(self.outputs) - first)
    }

    /// The panel that begins at column `first`, and its bias.
    pub(super) fn get(&self, first: usize) -> (&[f32], &[f32]) {
        (&self.data[first * self.inputs * self.kernel * self.kernel..], &self.bias[first..])
    }
}
