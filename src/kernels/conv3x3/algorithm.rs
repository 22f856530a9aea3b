//! Which of the three ways to convolve.

use super::Pictures;

/// How the convolution is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// The plain sum over nine taps: the most exact.
    Direct,
    /// Winograd's F(2×2, 3×3): 2.25 times fewer multiplications, as exact as the plain sum.
    F2,
    /// Winograd's F(4×4, 3×3): 4 times fewer multiplications, errors a few times larger.
    F4,
}

/// What is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pass {
    /// [`super::forward`].
    Forward,
    /// [`super::input_gradient`].
    InputGradient,
    /// [`super::weight_gradient`].
    WeightGradient,
}

impl Algorithm {
    /// The fastest for this shape. `inputs` and `outputs` are the forward's channels, whatever the pass.
    pub fn fastest(_pass: Pass, pictures: Pictures, _inputs: usize, _outputs: usize) -> Algorithm {
        if pictures.height.min(pictures.width) < 10 {
            Algorithm::F2
        } else {
            Algorithm::F4
        }
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
