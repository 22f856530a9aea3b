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
pub use weight_gradient::{weight_gradient, WeightGradient};

use super::shared::Shared;
use super::{padded, Affine, Aligned, Machine, Moments, Norm, Rows, RowsMut};
use sinks::{Columns, Masked};

/// Memory that one call after another uses again. Its contents mean nothing between calls.
#[derive(Debug, Default)]
pub struct Scratch {
    memory: Aligned,
    sums: Vec<f64>,
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

/// The convolution's input: one row a pixel, read up to its padded length. What lies beyond the channels changes nothing that
/// counts, but must be finite.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// What is read.
    pub rows: Rows<'a>,
    /// Norm and relu applied to it first; `None` where the rows are activated already.
    pub norm: Option<Affine<'a>>,
}

/// Where the forward writes.
#[derive(Debug)]
pub struct Output<'a> {
    /// Rows, from their first column.
    pub to: RowsMut<'a>,
    /// The first column written. Zeros follow the new columns up to the next multiple of [`super::PAD`]; no other column is
    /// touched.
    pub at: usize,
    /// What becomes the new columns' moments, if wanted.
    pub moments: Option<&'a mut Moments>,
}

/// What the input gradient does with its result, the gradient D of the activated input: V = relu'(x·scale + shift)·D, the
/// sums over all pixels that the norm's γ and β have for gradients, and V on its way.
#[derive(Debug)]
pub struct InputGradient<'a> {
    /// The forward's input x, before its norm.
    pub input: Rows<'a>,
    /// The forward's norm.
    pub norm: Norm<'a>,
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
    Store(RowsMut<'a>),
    /// Rows to which scale·V is added (a layer without bottleneck: the block's own G).
    Add(RowsMut<'a>),
}

/// Writes the convolution of `input` with `weights` (packed by [`Packed::forward`]).
///
/// # Panics
/// Where a slice is too short, or `weights` were packed for another purpose or level.
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
        !form.transposed && form.level == on.level,
        "conv3x3: the weights are packed for another pass or level"
    );
    let (rows, count) = (pictures.rows(), form.columns);
    let end = padded(output.at + count);
    let Output { to, at, moments } = output;
    input.check(rows, form.depth);
    to.as_rows().check("conv3x3's output", rows, end);
    let to = Columns {
        to: Shared(to.data.as_mut_ptr().wrapping_add(at)),
        ld: to.ld,
        count,
        end: end - at,
        stride: padded(count),
    };
    let job = engine::Job { on, pictures, input, weights, sink: to };
    let sums = engine::run(scratch, &job);
    if let Some(to) = moments {
        to.resize(count);
        for column in 0..count {
            let (mean, var) = moments_of(sums.of(column));
            to.set(column, mean, var);
        }
    }
}

/// Mean and variance from tasks' (rows, Σ (x − pivot), Σ (x − pivot)², pivot).
fn moments_of(tasks: impl Iterator<Item = (f64, f64, f64, f64)> + Clone) -> (f64, f64) {
    let rows: f64 = tasks.clone().map(|(rows, ..)| rows).sum();
    let mean = tasks.clone().map(|(rows, sum, _, pivot)| sum + rows * pivot).sum::<f64>() / rows;
    // Σ (x − mean)² from sums around the pivot.
    let squares = tasks.map(|(rows, sum, squares, pivot)| {
        let shift = mean - pivot;
        squares - shift * (2.0 * sum - rows * shift)
    });
    (mean, squares.sum::<f64>() / rows)
}

/// The gradient of the convolution's input from that of its output, through relu and the first half of batch norm's
/// backward. `weights` are packed by [`Packed::input_gradient`].
///
/// # Panics
/// Where a slice is too short, or `weights` were packed for another purpose or level.
pub fn input_gradient(
    on: Machine<'_>,
    scratch: &mut Scratch,
    pictures: Pictures,
    gradient: Rows<'_>,
    weights: &Packed,
    result: InputGradient<'_>,
) {
    let InputGradient { input: x, norm, to, dgamma, dbeta } = result;
    let form = weights.form();
    assert!(
        form.transposed && form.level == on.level,
        "conv3x3: the weights are packed for another pass or level"
    );
    let (rows, channels) = (pictures.rows(), form.columns);
    let input = Input { rows: gradient, norm: None };
    input.check(rows, form.depth);
    Input { rows: x, norm: Some(norm.affine) }.check(rows, channels);
    norm.check(channels);
    assert!(dgamma.len() >= channels && dbeta.len() >= channels, "conv3x3: the sums are one a channel");
    macro_rules! run {
        ($add:literal, $to:ident) => {{
            $to.as_rows().check_padded("conv3x3's input gradient", rows, channels);
            let sink = Masked::<$add> {
                input: x.data.as_ptr(),
                ld_input: x.ld,
                scale: norm.affine.scale.as_ptr(),
                shift: norm.affine.shift.as_ptr(),
                mean: norm.mean.as_ptr(),
                invstd: norm.invstd.as_ptr(),
                to: Shared($to.data.as_mut_ptr()),
                ld: $to.ld,
                stride: padded(channels),
            };
            engine::run(scratch, &engine::Job { on, pictures, input, weights, sink })
        }};
    }
    let sums = match to {
        Destination::Store(to) => run!(false, to),
        Destination::Add(to) => run!(true, to),
    };
    for column in 0..channels {
        (dgamma[column], dbeta[column]) = (0.0, 0.0);
        for (_, gamma, beta, _) in sums.of(column) {
            dgamma[column] += gamma;
            dbeta[column] += beta;
        }
    }
}

impl Input<'_> {
    /// Panics unless padded rows of so many channels can be read, and the norm's vectors.
    fn check(&self, rows: usize, channels: usize) {
        assert!(channels > 0, "conv3x3: no channels");
        self.rows.check_padded("conv3x3's input", rows, channels);
        if let Some(norm) = self.norm {
            norm.check(channels);
        }
    }
}

#[cfg(test)]
mod tests;
