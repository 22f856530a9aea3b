//! The 3×3 convolution (stride 1, padding 1) with batch norm and relu before it: forward, input gradient and weight gradient.
//!
//! Rows are pixels: picture by picture, line by line, channels last. The input is normed and rectified as it is read, then
//! padded with zeros. Winograd's minimal filtering (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks")
//! with tiles of 2×2 and 4×4 outputs, or the plain sum: [`Algorithm`].

#![allow(
    clippy::needless_range_loop,
    reason = "transforms go along lines, then along columns: the same indices on both sides say so"
)]

mod algorithm;
mod engine;
mod few;
mod grid;
mod packed;
mod plan;
mod product;
mod sinks;
mod steps;
mod weight_gradient;
mod winograd;

pub use algorithm::{Algorithm, Pass};
pub use packed::Packed;
pub use weight_gradient::weight_gradient;

use super::{padded, Aligned, Level, Threads};
use sinks::{Columns, Masked};

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
    memory: Aligned,
    sums: Vec<f64>,
}

/// Memory that several tasks write, each its own part.
#[derive(Clone, Copy)]
struct Shared<T = f32>(*mut T);

// SAFETY: a pointer by itself does nothing; whoever writes through it argues that tasks keep apart.
unsafe impl<T> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// The pointer (a closure that names this method holds the whole, and so is `Sync`).
    fn get(self) -> *mut T {
        self.0
    }
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
    on: Machine<'_>,
    scratch: &mut Scratch,
    pictures: Pictures,
    input: Input<'_>,
    weights: &Packed,
    output: Output<'_>,
) {
    let form = weights.form();
    assert!(
        !form.transposed && form.level == on.level && form.depth == input.rows.channels,
        "conv3x3: the weights are packed for another pass, level or input"
    );
    let (rows, count) = (pictures.rows(), form.columns);
    let end = padded(output.at + count);
    input.check(rows);
    check(rows, end, output.ld, output.data.len(), "output");
    let to = Columns {
        to: Shared(output.data.as_mut_ptr().wrapping_add(output.at)),
        ld: output.ld,
        count,
        end: end - output.at,
        stride: padded(count),
    };
    let job = engine::Job { on, pictures, input, weights, sink: to };
    let sums = engine::run(scratch, &job);
    if let Some(Moments { mean, variance }) = output.moments {
        assert!(mean.len() >= count && variance.len() >= count, "conv3x3: moments are one a channel");
        for column in 0..count {
            (mean[column], variance[column]) = moments(sums.of(column));
        }
    }
}

/// Mean and variance from tasks' (rows, Σ (x − pivot), Σ (x − pivot)², pivot).
fn moments(tasks: impl Iterator<Item = (f64, f64, f64, f64)> + Clone) -> (f64, f64) {
    let rows: f64 = tasks.clone().map(|(rows, ..)| rows).sum();
    let mean = tasks.clone().map(|(rows, sum, _, pivot)| sum + rows * pivot).sum::<f64>() / rows;
    // Σ (x − mean)² from sums around the pivot.
    let squares = tasks.map(|(rows, sum, squares, pivot)| {
        let shift = mean - pivot;
        squares - shift * (2.0 * sum - rows * shift)
    });
    (mean, (squares.sum::<f64>() / rows).max(0.0))
}

/// The gradient of the convolution's input from that of its output, through relu and the first half of batch norm's
/// backward. `weights` are packed by [`Packed::input_gradient`].
///
/// # Panics
/// Where a slice is too short, or `weights` were packed for another purpose, level or channel count.
pub fn input_gradient(
    on: Machine<'_>,
    scratch: &mut Scratch,
    pictures: Pictures,
    gradient: Rows<'_>,
    weights: &Packed,
    result: InputGradient<'_>,
) {
    let InputGradient { input: x, norm, mean, invstd, to, dgamma, dbeta } = result;
    let form = weights.form();
    assert!(
        form.transposed && form.level == on.level && form.depth == gradient.channels,
        "conv3x3: the weights are packed for another pass, level or gradient"
    );
    assert!(form.columns == x.channels, "conv3x3: the weights are packed for another input");
    let (rows, width) = (pictures.rows(), padded(x.channels));
    let input = Input { rows: gradient, norm: None };
    input.check(rows);
    Input { rows: x, norm: Some(norm) }.check(rows);
    assert!(mean.len() >= width && invstd.len() >= width, "conv3x3: mean and invstd are padded");
    assert!(dgamma.len() >= x.channels && dbeta.len() >= x.channels, "conv3x3: the sums are one a channel");
    macro_rules! run {
        ($add:literal, $data:ident, $ld:ident, $gamma:expr) => {{
            check(rows, width, $ld, $data.len(), "input gradient");
            let sink = Masked::<$add> {
                input: x.data.as_ptr(),
                ld_input: x.ld,
                scale: norm.scale.as_ptr(),
                shift: norm.shift.as_ptr(),
                mean: mean.as_ptr(),
                invstd: invstd.as_ptr(),
                gamma: $gamma,
                to: Shared($data.as_mut_ptr()),
                ld: $ld,
                stride: width,
            };
            engine::run(scratch, &engine::Job { on, pictures, input, weights, sink })
        }};
    }
    let sums = match to {
        Destination::Store { data, ld } => run!(false, data, ld, std::ptr::null()),
        Destination::Add { data, ld, gamma } => {
            assert!(gamma.len() >= width, "conv3x3: gamma is padded");
            run!(true, data, ld, gamma.as_ptr())
        }
    };
    for column in 0..x.channels {
        (dgamma[column], dbeta[column]) = (0.0, 0.0);
        for (_, gamma, beta, _) in sums.of(column) {
            dgamma[column] += gamma;
            dbeta[column] += beta;
        }
    }
}

impl Input<'_> {
    /// Panics unless padded rows can be read, and the norm's vectors.
    fn check(&self, rows: usize) {
        let width = padded(self.rows.channels);
        check(rows, width, self.rows.ld, self.rows.data.len(), "input");
        if let Some(norm) = self.norm {
            assert!(
                norm.scale.len() >= width && norm.shift.len() >= width,
                "conv3x3: scale and shift are padded"
            );
        }
    }
}

/// Panics unless `rows` rows of `width`, `ld` apart, fit into `len`.
fn check(rows: usize, width: usize, ld: usize, len: usize, what: &str) {
    assert!(width > 0, "conv3x3: no channels in {what}");
    assert!(rows < 2 || ld >= width, "conv3x3: rows of {width} overlap in {what}: ld is {ld}");
    let needed = if rows == 0 { 0 } else { (rows - 1) * ld + width };
    assert!(len >= needed, "conv3x3: {what} is {len} long, {needed} needed");
}

#[cfg(test)]
mod tests;
