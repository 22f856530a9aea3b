//! Matrices of known numbers, sums in f64, and all ways to compute.

use crate::kernels::conv1x1::*;
use crate::kernels::threads::{Scoped, Serial};
use crate::kernels::{padded, Aligned, Level, Machine, Rows, RowsMut};

/// Numbers between −1 and 1, the same every time.
pub(super) struct Numbers(pub(super) u64);

impl Numbers {
    pub(super) fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 40) as f32 / (1u64 << 23) as f32) - 1.0
    }

    /// A vector, padded with zeros.
    pub(super) fn vector(&mut self, len: usize) -> Vec<f32> {
        let mut vector: Vec<f32> = (0..len).map(|_| self.next()).collect();
        vector.resize(padded(len), 0.0);
        vector
    }

    /// [rows, columns] at a stride one vector longer than it needs to be; zeros up to the padded width, then `rest`.
    pub(super) fn matrix(&mut self, rows: usize, columns: usize, rest: f32) -> Matrix {
        let stride = padded(columns) + 16;
        let mut data = Aligned::zeroed(rows * stride);
        for row in data.chunks_exact_mut(stride) {
            row[..columns].fill_with(|| self.next());
            row[padded(columns)..].fill(rest);
        }
        Matrix { data, stride, columns }
    }
}

#[derive(Clone)]
pub(super) struct Matrix {
    pub(super) data: Aligned,
    pub(super) stride: usize,
    pub(super) columns: usize,
}

impl Matrix {
    pub(super) fn rows(&self) -> Rows<'_> {
        Rows::new(&self.data, self.stride)
    }

    pub(super) fn rows_mut(&mut self) -> RowsMut<'_> {
        RowsMut::new(&mut self.data, self.stride)
    }

    pub(super) fn at(&self, row: usize, column: usize) -> f64 {
        assert!(column < self.columns);
        f64::from(self.data[row * self.stride + column])
    }

    /// Holds each row to what may be written of it: after the columns zeros, after the padded width what was there.
    pub(super) fn assert_padding(&self, rest: f32, case: &str) {
        for row in self.data.chunks_exact(self.stride) {
            assert!(row[self.columns..padded(self.columns)].iter().all(|x| *x == 0.0), "{case}: padding");
            assert!(row[padded(self.columns)..].iter().all(|x| *x == rest), "{case}: written past the row");
        }
    }
}

/// A sum of products and of their magnitudes.
#[derive(Clone, Copy, Default)]
pub(super) struct Sum {
    pub(super) value: f64,
    pub(super) magnitude: f64,
    pub(super) terms: usize,
}

impl Sum {
    pub(super) fn add(&mut self, term: f64) {
        self.value += term;
        self.magnitude += term.abs();
        self.terms += 1;
    }

    pub(super) fn of(terms: impl Iterator<Item = f64>) -> Sum {
        let mut sum = Sum::default();
        terms.for_each(|term| sum.add(term));
        sum
    }

    pub(super) fn assert(&self, got: f64, what: &str) {
        let allowed = (self.terms + 16) as f64 * 2f64.powi(-23) * self.magnitude;
        let error = (got - self.value).abs();
        assert!(error <= allowed, "{what}: {got}, not {} ± {allowed:e}", self.value);
    }
}

/// Rows, inputs, outputs: tiles and panels of every size, cut off everywhere; more than one stretch of either depth; one
/// row, fewer rows than threads; densenet's widths, k = 12's and odd ones.
pub(super) const SHAPES: [(usize, usize, usize); 14] = [
    (1, 24, 48),
    (2, 1, 1),
    (3, 37, 20),
    (5, 16, 12),
    (13, 64, 128),
    (49, 300, 128),
    (61, 28, 48),
    (64, 72, 96),
    (100, 130, 160),
    (130, 40, 192),
    (121, 96, 144),
    (77, 513, 24),
    (58, 50, 290),
    (300, 33, 53),
];

pub(super) fn everywhere(test: impl Fn(Machine, &str)) {
    for level in Level::available() {
        test(Machine { level, threads: &Serial }, &format!("{level}, one thread"));
        test(Machine { level, threads: &Scoped(3) }, &format!("{level}, three threads"));
    }
}

pub(super) fn packed(on: Machine, weight: &[f32], outputs: usize, inputs: usize) -> Packed {
    let mut packed = Packed::default();
    packed.pack(on, weight, outputs, inputs);
    packed
}

/// relu(x·scale + shift) as the kernels compute it (rounded to f32, so that both agree on what is positive).
pub(super) fn normalized(x: &Matrix, scale: &[f32], shift: &[f32], row: usize, channel: usize) -> f64 {
    let x = x.at(row, channel);
    let exact = x * f64::from(scale[channel]) + f64::from(shift[channel]);
    exact.max(0.0)
}

/// What a backward pass is given, and dY as f64.
pub(super) struct Inputs {
    pub(super) rows: usize,
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    pub(super) x: Matrix,
    pub(super) v: Matrix,
    pub(super) y: Matrix,
    pub(super) weight: Vec<f32>,
    pub(super) a: Vec<f32>,
    pub(super) b: Vec<f32>,
    pub(super) c: Vec<f32>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Plain,
    Scaled,
    Normed,
}

impl Inputs {
    pub(super) fn new(rows: usize, inputs: usize, outputs: usize) -> Self {
        let mut numbers = Numbers(rows as u64 + 1);
        Inputs {
            rows,
            inputs,
            outputs,
            x: numbers.matrix(rows, inputs, f32::NAN),
            v: numbers.matrix(rows, outputs, f32::NAN),
            y: numbers.matrix(rows, outputs, f32::NAN),
            weight: numbers.vector(outputs * inputs),
            a: numbers.vector(outputs),
            b: numbers.vector(outputs),
            c: numbers.vector(outputs),
        }
    }

    pub(super) fn backward(&self, kind: Kind) -> Backward<'_> {
        let v = self.v.rows();
        let gradient = match kind {
            Kind::Plain => Gradient::Plain { v },
            Kind::Scaled => Gradient::Scaled { v, a: &self.a },
            Kind::Normed => Gradient::Normed { v, y: self.y.rows(), a: &self.a, b: &self.b, c: &self.c },
        };
        let Inputs { rows, inputs, outputs, .. } = *self;
        Backward { rows, weight: &self.weight, outputs, inputs, gradient, x: self.x.rows() }
    }

    /// dY, and the magnitude of what it is a sum of: what its own rounding is measured by.
    pub(super) fn gradient(&self, kind: Kind, row: usize, output: usize) -> Sum {
        let of = |vector: &[f32]| f64::from(vector[output]);
        let v = self.v.at(row, output);
        match kind {
            Kind::Plain => Sum::of([v].into_iter()),
            Kind::Scaled => Sum::of([v * of(&self.a)].into_iter()),
            Kind::Normed => {
                Sum::of([v * of(&self.a), self.y.at(row, output) * of(&self.b), of(&self.c)].into_iter())
            }
        }
    }

    /// (dY·W)\[row, input\].
    pub(super) fn dx(&self, kind: Kind, row: usize, input: usize) -> Sum {
        let mut sum = Sum::default();
        for output in 0..self.outputs {
            let (gradient, weight) =
                (self.gradient(kind, row, output), f64::from(self.weight[output * self.inputs + input]));
            sum.add(gradient.value * weight);
            sum.magnitude += (gradient.magnitude - gradient.value.abs()) * weight.abs();
        }
        sum
    }

    /// Holds dW to Σ dY·p, where p(row, input) is the convolution's input.
    pub(super) fn assert_weight(&self, kind: Kind, got: &[f32], p: impl Fn(usize, usize) -> f64, case: &str) {
        for output in 0..self.outputs {
            for input in 0..self.inputs {
                let mut sum = Sum::default();
                for row in 0..self.rows {
                    let gradient = self.gradient(kind, row, output);
                    sum.add(gradient.value * p(row, input));
                    sum.magnitude += (gradient.magnitude - gradient.value.abs()) * p(row, input).abs();
                }
                sum.assert(
                    f64::from(got[output * self.inputs + input]),
                    &format!("{case}: dW[{output}, {input}]"),
                );
            }
        }
    }
}
