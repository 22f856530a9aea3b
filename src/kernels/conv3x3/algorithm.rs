//! Which of the three ways to convolve.

use super::Pictures;
use crate::kernels::padded;

/// How the convolution is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// The plain sum over nine taps: the most exact.
    Direct,
    /// Winograd's F(2×2, 3×3): 2.25 times fewer multiplications, as exact as the plain sum.
    F2,
    /// Winograd's F(4×4, 3×3): 4 times fewer multiplications, errors about twice the plain sum's.
    F4,
}

/// What is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pass {
    /// [`super::forward`] with weights that were packed for this one call.
    Forward,
    /// [`super::forward`] with [lasting](super::Packed::lasting) weights.
    Inference,
    /// [`super::input_gradient`] with weights that were packed for this one call.
    InputGradient,
    /// [`super::weight_gradient`].
    WeightGradient,
}

/// Inputs from which a sum rounds as much by its length as F4 does by its transforms. Below, F4 in the forward pass would
/// put all gradients up to 1.5 times as far from f64 as PyTorch's (10 layers, 24 and 36 inputs; six seeds); in the
/// backward pass it is not to be seen.
const LONG_SUM: usize = 128;

impl Algorithm {
    /// All of them.
    pub const ALL: [Algorithm; 3] = [Algorithm::Direct, Algorithm::F2, Algorithm::F4];

    /// The fastest for this shape. `inputs` and `outputs` are the forward's channels, whatever the pass.
    ///
    /// By what each costs: F4 wherever there are some dozens of tiles (7×7 in batches of 8, a single 14×14 as good as F2),
    /// the plain sum for a few pixels. But a training step's forward pass takes F4 from 128 inputs on only.
    pub fn fastest(pass: Pass, pictures: Pictures, inputs: usize, outputs: usize) -> Algorithm {
        let cost = |algorithm: &Algorithm| algorithm.cost(pass, pictures, inputs, outputs);
        let exact = pass == Pass::Forward && inputs < LONG_SUM;
        let candidates =
            Algorithm::ALL.into_iter().filter(|algorithm| !(exact && *algorithm == Algorithm::F4));
        // The first of equals is the most exact.
        candidates.min_by(|a, b| cost(a).total_cmp(&cost(b))).unwrap_or(Algorithm::Direct)
    }

    /// Time in units of one tile's products at one point. Fitted to measurements on Zen 4: transforms in and out cost so much
    /// for each channel of the other side, transforming the weights (or their gradient back) as much as 26 tiles.
    fn cost(self, pass: Pass, pictures: Pictures, inputs: usize, outputs: usize) -> f64 {
        let (load, emit) = match self {
            Algorithm::Direct => (5.0, 1.0),
            Algorithm::F2 => (6.0, 7.0),
            Algorithm::F4 => (10.0, 11.0),
        };
        let (depth, columns) = match pass {
            Pass::InputGradient => (outputs, inputs),
            Pass::Forward | Pass::Inference | Pass::WeightGradient => (inputs, outputs),
        };
        // Weights that are not transformed still come from far: all of a network's together are in no near cache. (One
        // picture of densenet121, a layer: 7×7 takes 17 µs by F2, 30 by F4; 14×14 takes 50 by F2, 36 by F4.)
        let weights = if pass == Pass::Inference { 7.0 } else { 26.0 };
        let tiles =
            pictures.count * pictures.height.div_ceil(self.side()) * pictures.width.div_ceil(self.side());
        let transforms = load / padded(columns) as f64 + emit / padded(depth) as f64;
        (self.reach() * self.reach()) as f64 * (tiles as f64 * (1.0 + transforms) + weights)
    }

    /// M: a tile has M×M outputs.
    pub(super) fn side(self) -> usize {
        match self {
            Algorithm::Direct => 1,
            Algorithm::F2 => 2,
            Algorithm::F4 => 4,
        }
    }

    /// T: a tile reads T×T pixels.
    pub(super) fn reach(self) -> usize {
        self.side() + 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_maps_take_f4_and_a_few_pixels_the_plain_sum() {
        let fastest = |pass, count, side| {
            Algorithm::fastest(pass, Pictures { count, height: side, width: side }, 128, 32)
        };
        for pass in [Pass::Forward, Pass::Inference, Pass::InputGradient, Pass::WeightGradient] {
            for side in [7, 14, 28, 56] {
                assert_eq!(fastest(pass, 8, side), Algorithm::F4, "{pass:?}, {side}");
            }
            assert_eq!(fastest(pass, 8, 1), Algorithm::Direct, "{pass:?}");
        }
        assert_eq!(fastest(Pass::Forward, 1, 14), Algorithm::F2);
        assert_eq!(fastest(Pass::Inference, 1, 14), Algorithm::F4);
        assert_eq!(fastest(Pass::Inference, 1, 7), Algorithm::F2);
    }

    #[test]
    fn short_sums_of_a_training_step_are_not_rounded_more_than_they_must() {
        let pictures = Pictures { count: 64, height: 32, width: 32 };
        assert_eq!(Algorithm::fastest(Pass::Forward, pictures, 48, 12), Algorithm::F2);
        assert_eq!(Algorithm::fastest(Pass::Inference, pictures, 48, 12), Algorithm::F4);
        assert_eq!(Algorithm::fastest(Pass::WeightGradient, pictures, 48, 12), Algorithm::F4);
    }
}
