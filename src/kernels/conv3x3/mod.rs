//! The 3×3 convolution (stride 1, padding 1) with batch norm and relu before it: forward, input gradient and weight gradient.
//!
//! Rows are pixels: picture by picture, line by line, channels last. The input is normed and rectified as it is read, then
//! padded with zeros. Winograd's minimal filtering (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks")
//! with tiles of 2×2 and 4×4 outputs, or the plain sum: [`Algorithm`].

mod algorithm;
mod packed;

pub use algorithm::{Algorithm, Pass};
pub use packed::Packed;

use super::{padded, Aligned, Level, Threads};

/// What a kernel runs on.
#[derive(Clone, Copy)]
pub struct Machine<'a> {
    /// The instruction set.
    pub level: Level,
    /// The threads. Results depend on their number, by the order of sums, and on nothing else about them.
    pub threads: &'a dyn Threads,
}

/// Memory that one call after another uses again. Its contents mean nothing between calls.
#[derive(Debug, Default)]
pub struct Scratch {
    #[expect(dead_code)]
    memory: Aligned,
}

/// Pictures of one size: `count`·`height`·`width` rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pictures {
    /// How many.
    pub count: usize,
    /// Lines of each.
    pub height: usize,
    /// Pixels of a line.
    pub width: usize,
}

impl Pictures {
    /// Pixels of them all.
    pub fn rows(self) -> usize {
        self.count * self.height * self.width
    }
}

/// One row of `channels` numbers a pixel, the next `ld` further on. padded(`channels`) numbers of each are read; those beyond
/// `channels` change nothing that counts, but must be finite.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// From the first row's first channel.
    pub data: &'a [f32],
    /// From one row to the next.
    pub ld: usize,
    /// Channels.
    pub channels: usize,
}

/// relu(x·scale + shift), channel by channel: a batch norm with its statistics folded, and the relu after it. Both of
/// padded(channels), zeros beyond channels.
#[derive(Clone, Copy, Debug)]
pub struct Norm<'a> {
    /// γ·invstd.
    pub scale: &'a [f32],
    /// β − mean·scale.
    pub shift: &'a [f32],
}

/// The convolution's input.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// What is read.
    pub rows: Rows<'a>,
    /// Applied to it first; `None` where the rows are activated already.
    pub norm: Option<Norm<'a>>,
}

/// Where the forward writes.
#[derive(Debug)]
pub struct Output<'a> {
    /// Rows, from their first column.
    pub data: &'a mut [f32],
    /// From one row to the next.
    pub ld: usize,
    /// The first column written. Zeros follow the new columns up to the next multiple of [`super::PAD`]; no other column is
    /// touched.
    pub at: usize,
    /// Where the new columns' mean and variance go, if wanted.
    pub moments: Option<Moments<'a>>,
}

/// Mean and (biased) variance of each channel over all pixels; one number a channel each.
#[derive(Debug)]
pub struct Moments<'a> {
    /// Σ x / M.
    pub mean: &'a mut [f64],
    /// Σ (x − mean)² / M.
    pub variance: &'a mut [f64],
}

/// What the input gradient does with its result, the gradient D of the activated input: V = relu'(x·scale + shift)·D, the
/// sums over all pixels that the norm's γ and β have for gradients, and V on its way.
#[derive(Debug)]
pub struct InputGradient<'a> {
    /// The forward's input x, before its norm.
    pub input: Rows<'a>,
    /// The forward's norm.
    pub norm: Norm<'a>,
    /// The norm's means: padded(channels), zeros beyond.
    pub mean: &'a [f32],
    /// 1/√(variance + ε): padded(channels), zeros beyond.
    pub invstd: &'a [f32],
    /// Where V goes.
    pub to: Destination<'a>,
    /// Σ V·(x − mean)·invstd: one number a channel.
    pub dgamma: &'a mut [f64],
    /// Σ V: one number a channel.
    pub dbeta: &'a mut [f64],
}

/// Where V goes. padded(channels) numbers of each row are written; those beyond `channels` become 0 or stay as they were.
#[derive(Debug)]
pub enum Destination<'a> {
    /// Rows that become V (a bottleneck layer: norm2's second step follows in conv1's backward).
    Store {
        /// Rows, from their first column.
        data: &'a mut [f32],
        /// From one row to the next.
        ld: usize,
    },
    /// Rows to which γ·V is added (a layer without bottleneck: the block's own G).
    Add {
        /// Rows, from their first column.
        data: &'a mut [f32],
        /// From one row to the next.
        ld: usize,
        /// The norm's γ: padded(channels), zeros beyond.
        gamma: &'a [f32],
    },
}

/// Writes the convolution of `input` with `weights` (packed by [`Packed::forward`]).
///
/// # Panics
/// Where a slice is too short, or `weights` were packed for another purpose, level or channel count.
pub fn forward(
    _on: Machine<'_>,
    _scratch: &mut Scratch,
    pictures: Pictures,
    input: Input<'_>,
    weights: &Packed,
    output: Output<'_>,
) {
    let k = weights.outputs();
    assert_eq!(
        input.rows.channels,
        weights.inputs(),
        "conv3x3: the weights are for another number of channels"
    );
    let end = padded(output.at + k);
    for (row, taps) in neighbours(pictures) {
        for column in output.at..end {
            output.data[row * output.ld + column] = 0.0;
        }
        for (tap, from) in taps {
            for n in 0..k {
                for c in 0..input.rows.channels {
                    output.data[row * output.ld + output.at + n] +=
                        activated(&input, from, c) * weights.at(n, c, tap);
                }
            }
        }
    }
    if let Some(moments) = output.moments {
        let rows = pictures.rows();
        for n in 0..k {
            let x = |row: usize| f64::from(output.data[row * output.ld + output.at + n]);
            let mean = (0..rows).map(x).sum::<f64>() / rows as f64;
            moments.mean[n] = mean;
            moments.variance[n] = (0..rows).map(|row| (x(row) - mean).powi(2)).sum::<f64>() / rows as f64;
        }
    }
}

/// The gradient of the convolution's input from that of its output, through relu and the first half of batch norm's
/// backward. `weights` are packed by [`Packed::input_gradient`].
///
/// # Panics
/// Where a slice is too short, or `weights` were packed for another purpose, level or channel count.
pub fn input_gradient(
    _on: Machine<'_>,
    _scratch: &mut Scratch,
    pictures: Pictures,
    gradient: Rows<'_>,
    weights: &Packed,
    result: InputGradient<'_>,
) {
    let InputGradient { input, norm, mean, invstd, mut to, dgamma, dbeta } = result;
    dgamma.fill(0.0);
    dbeta.fill(0.0);
    for (row, taps) in neighbours(pictures) {
        for c in 0..input.channels {
            let mut d = 0.0;
            for (tap, from) in &taps {
                for n in 0..gradient.channels {
                    d += gradient.data[from * gradient.ld + n] * weights.at(n, c, 8 - tap);
                }
            }
            let x = input.data[row * input.ld + c];
            let v = if x * norm.scale[c] + norm.shift[c] <= 0.0 { 0.0 } else { d };
            dgamma[c] += f64::from(v * (x - mean[c]) * invstd[c]);
            dbeta[c] += f64::from(v);
            match &mut to {
                Destination::Store { data, ld } => data[row * *ld + c] = v,
                Destination::Add { data, ld, gamma } => data[row * *ld + c] += gamma[c] * v,
            }
        }
    }
}

/// The gradient of the weights, \[outputs, inputs, 3, 3\] in `to`, from that of the output and the forward's input.
///
/// # Panics
/// Where a slice is too short.
pub fn weight_gradient(
    _on: Machine<'_>,
    _scratch: &mut Scratch,
    _algorithm: Algorithm,
    pictures: Pictures,
    gradient: Rows<'_>,
    input: Input<'_>,
    to: &mut [f32],
) {
    to.fill(0.0);
    let channels = input.rows.channels;
    for (row, taps) in neighbours(pictures) {
        for (tap, from) in taps {
            for n in 0..gradient.channels {
                for c in 0..channels {
                    to[(n * channels + c) * 9 + tap] +=
                        gradient.data[row * gradient.ld + n] * activated(&input, from, c);
                }
            }
        }
    }
}

fn activated(input: &Input<'_>, row: usize, channel: usize) -> f32 {
    let x = input.rows.data[row * input.rows.ld + channel];
    match input.norm {
        Some(norm) => (x * norm.scale[channel] + norm.shift[channel]).max(0.0),
        None => x,
    }
}

/// Each row, and the rows that its taps read.
fn neighbours(pictures: Pictures) -> impl Iterator<Item = (usize, Vec<(usize, usize)>)> {
    let Pictures { height, width, .. } = pictures;
    (0..pictures.rows()).map(move |row| {
        let (y, x) = (row / width % height, row % width);
        let taps = (0..9)
            .filter(|tap| (1..=height).contains(&(y + tap / 3)) && (1..=width).contains(&(x + tap % 3)))
            .map(|tap| (tap, (row + tap / 3 * width + tap % 3) - width - 1))
            .collect();
        (row, taps)
    })
}
