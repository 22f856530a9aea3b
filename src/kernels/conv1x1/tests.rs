//! Against sums in f64, at every level, on one thread and on three.
//!
//! A number is right when it is no further from the reference than (terms + 16)·2⁻²³ times the sum of the terms'
//! magnitudes: twice what rounding can do to a sum of so many products in whatever order, and far less than one missing
//! term.

use super::super::threads::{Scoped, Serial};
use super::super::{padded, Aligned, Level, Threads};
use super::*;

/// Numbers between −1 and 1, the same every time.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 40) as f32 / (1u64 << 23) as f32) - 1.0
    }

    /// A vector, padded with zeros.
    fn vector(&mut self, len: usize) -> Vec<f32> {
        let mut vector: Vec<f32> = (0..len).map(|_| self.next()).collect();
        vector.resize(padded(len), 0.0);
        vector
    }

    /// [rows, columns] at a stride one vector longer than it needs to be; zeros up to the padded width, then `rest`.
    fn matrix(&mut self, rows: usize, columns: usize, rest: f32) -> Matrix {
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
struct Matrix {
    data: Aligned,
    stride: usize,
    columns: usize,
}

impl Matrix {
    fn rows(&self) -> Rows<'_> {
        Rows { data: &self.data, stride: self.stride }
    }

    fn rows_mut(&mut self) -> RowsMut<'_> {
        RowsMut { data: &mut self.data, stride: self.stride }
    }

    fn at(&self, row: usize, column: usize) -> f64 {
        assert!(column < self.columns);
        f64::from(self.data[row * self.stride + column])
    }

    /// Holds each row to what may be written of it: after the columns zeros, after the padded width what was there.
    fn assert_padding(&self, rest: f32, case: &str) {
        for row in self.data.chunks_exact(self.stride) {
            assert!(row[self.columns..padded(self.columns)].iter().all(|x| *x == 0.0), "{case}: padding");
            assert!(row[padded(self.columns)..].iter().all(|x| *x == rest), "{case}: written past the row");
        }
    }
}

/// A sum of products and of their magnitudes.
#[derive(Clone, Copy, Default)]
struct Sum {
    value: f64,
    magnitude: f64,
    terms: usize,
}

impl Sum {
    fn add(&mut self, term: f64) {
        self.value += term;
        self.magnitude += term.abs();
        self.terms += 1;
    }

    fn of(terms: impl Iterator<Item = f64>) -> Sum {
        let mut sum = Sum::default();
        terms.for_each(|term| sum.add(term));
        sum
    }

    fn assert(&self, got: f64, what: &str) {
        let allowed = (self.terms + 16) as f64 * 2f64.powi(-23) * self.magnitude;
        let error = (got - self.value).abs();
        assert!(error <= allowed, "{what}: {got}, not {} ± {allowed:e}", self.value);
    }
}

/// Rows, inputs, outputs: tiles and panels of every size, cut off everywhere; more than one stretch of either depth; one
/// row, fewer rows than threads; densenet's widths, k = 12's and odd ones.
const SHAPES: [(usize, usize, usize); 14] = [
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

fn everywhere(test: impl Fn(Level, &dyn Threads, &str)) {
    for level in Level::available() {
        test(level, &Serial, &format!("{level}, one thread"));
        test(level, &Scoped(3), &format!("{level}, three threads"));
    }
}

fn packed(level: Level, threads: &dyn Threads, weight: &[f32], outputs: usize, inputs: usize) -> Packed {
    let mut packed = Packed::new(level);
    packed.pack(threads, weight, outputs, inputs);
    packed
}

/// relu(x·scale + shift) as the kernels compute it (rounded to f32, so that both agree on what is positive).
fn normalized(x: &Matrix, scale: &[f32], shift: &[f32], row: usize, channel: usize) -> f64 {
    let x = x.at(row, channel);
    let exact = x * f64::from(scale[channel]) + f64::from(shift[channel]);
    exact.max(0.0)
}

#[test]
fn forward_with_norm_and_relu_is_the_product_of_the_normalized_input_and_moments_are_those_of_its_outputs() {
    everywhere(|level, threads, place| {
        let mut scratch = Scratch::default();
        for (rows, inputs, outputs) in SHAPES {
            let case = format!("{place}, {rows} × {inputs} → {outputs}");
            let mut numbers = Numbers(rows as u64);
            let x = numbers.matrix(rows, inputs, f32::NAN);
            let (scale, shift) = (numbers.vector(inputs), numbers.vector(inputs));
            let weight = numbers.vector(outputs * inputs);
            let weight_packed = packed(level, threads, &weight, outputs, inputs);
            let norm = Some(Affine { scale: &scale, shift: &shift });
            let of = Forward { rows, x: x.rows(), norm, weight: &weight_packed, bias: None, relu: false };
            let mut y = numbers.matrix(rows, outputs, 7.0);
            let (mut sum, mut squares) = (vec![f64::NAN; outputs], vec![f64::NAN; outputs]);
            let moments = Moments { sum: &mut sum, squares: &mut squares };
            forward(threads, &mut scratch, &of, y.rows_mut(), Some(moments));
            y.assert_padding(7.0, &case);
            for output in 0..outputs {
                for row in 0..rows {
                    let terms = (0..inputs).map(|channel| {
                        normalized(&x, &scale, &shift, row, channel)
                            * f64::from(weight[output * inputs + channel])
                    });
                    Sum::of(terms).assert(y.at(row, output), &format!("{case}: y[{row}, {output}]"));
                }
                let column = |power: i32| Sum::of((0..rows).map(|row| y.at(row, output).powi(power)));
                column(1).assert(sum[output], &format!("{case}: Σ y[{output}]"));
                column(2).assert(squares[output], &format!("{case}: Σ y²[{output}]"));
            }
            let without = y.data.to_vec();
            forward(threads, &mut scratch, &of, y.rows_mut(), None);
            assert_eq!(y.data.to_vec(), without, "{case}: with and without moments, twice");
        }
    });
}

#[test]
fn forward_of_the_input_as_it_is_takes_a_bias_and_a_relu() {
    everywhere(|level, threads, place| {
        let mut scratch = Scratch::default();
        for (rows, inputs, outputs) in SHAPES {
            let case = format!("{place}, {rows} × {inputs} → {outputs}");
            let mut numbers = Numbers(rows as u64);
            let x = numbers.matrix(rows, inputs, f32::NAN);
            let weight = numbers.vector(outputs * inputs);
            let bias = numbers.vector(outputs);
            let weight_packed = packed(level, threads, &weight, outputs, inputs);
            for (bias, relu) in
                [(None, false), (None, true), (Some(&bias[..outputs]), false), (Some(&bias[..outputs]), true)]
            {
                let of = Forward { rows, x: x.rows(), norm: None, weight: &weight_packed, bias, relu };
                let mut y = numbers.matrix(rows, outputs, 7.0);
                forward(threads, &mut scratch, &of, y.rows_mut(), None);
                y.assert_padding(7.0, &case);
                for row in 0..rows {
                    for output in 0..outputs {
                        let mut sum = Sum::of((0..inputs).map(|channel| {
                            x.at(row, channel) * f64::from(weight[output * inputs + channel])
                        }));
                        sum.add(bias.map_or(0.0, |bias| f64::from(bias[output])));
                        if relu {
                            sum.value = sum.value.max(0.0);
                        }
                        sum.assert(y.at(row, output), &format!("{case}, relu {relu}: y[{row}, {output}]"));
                    }
                }
            }
        }
    });
}

#[test]
fn a_variance_keeps_its_digits_where_the_mean_is_a_thousand_deviations_from_zero() {
    everywhere(|level, threads, place| {
        let (rows, inputs, outputs) = (5000, 3, 40);
        let mut numbers = Numbers(1);
        let x = numbers.matrix(rows, inputs, f32::NAN);
        let weight = numbers.vector(outputs * inputs);
        let weight = packed(level, threads, &weight, outputs, inputs);
        let bias = vec![1000.0; outputs];
        let of = Forward { rows, x: x.rows(), norm: None, weight: &weight, bias: Some(&bias), relu: false };
        let mut y = numbers.matrix(rows, outputs, 7.0);
        let (mut sum, mut squares) = (vec![0.0; outputs], vec![0.0; outputs]);
        let moments = Moments { sum: &mut sum, squares: &mut squares };
        forward(threads, &mut Scratch::default(), &of, y.rows_mut(), Some(moments));
        for output in 0..outputs {
            let mean = (0..rows).map(|row| y.at(row, output)).sum::<f64>() / rows as f64;
            let variance = (0..rows).map(|row| (y.at(row, output) - mean).powi(2)).sum::<f64>() / rows as f64;
            let got_mean = sum[output] / rows as f64;
            let got = squares[output] / rows as f64 - got_mean * got_mean;
            assert!((got_mean - mean).abs() < 1e-9 * mean, "{place}: mean {got_mean}, not {mean}");
            assert!((got - variance).abs() < 1e-5 * variance, "{place}: variance {got}, not {variance}");
        }
    });
}

/// What a backward pass is given, and dY as f64.
struct Inputs {
    rows: usize,
    inputs: usize,
    outputs: usize,
    x: Matrix,
    v: Matrix,
    y: Matrix,
    weight: Vec<f32>,
    a: Vec<f32>,
    b: Vec<f32>,
    c: Vec<f32>,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Plain,
    Scaled,
    Normed,
}

impl Inputs {
    fn new(rows: usize, inputs: usize, outputs: usize) -> Self {
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

    fn backward(&self, kind: Kind) -> Backward<'_> {
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
    fn gradient(&self, kind: Kind, row: usize, output: usize) -> Sum {
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
    fn dx(&self, kind: Kind, row: usize, input: usize) -> Sum {
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
    fn assert_weight(&self, kind: Kind, got: &[f32], p: impl Fn(usize, usize) -> f64, case: &str) {
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

#[test]
fn plain_backward_gives_both_products_or_either() {
    everywhere(|level, threads, place| {
        let mut scratch = Scratch::default();
        for (index, (rows, inputs, outputs)) in SHAPES.into_iter().enumerate() {
            let kind = [Kind::Plain, Kind::Scaled, Kind::Normed][index % 3];
            let case = format!("{place}, {rows} × {inputs} → {outputs}, {kind:?}");
            let given = Inputs::new(rows, inputs, outputs);
            let of = given.backward(kind);
            let mut dx = Numbers(0).matrix(rows, inputs, 7.0);
            let mut dweight = vec![f32::NAN; outputs * inputs];
            backward(level, threads, &mut scratch, &of, Some(dx.rows_mut()), Some(&mut dweight));
            dx.assert_padding(7.0, &case);
            for row in 0..rows {
                for input in 0..inputs {
                    let what = format!("{case}: dX[{row}, {input}]");
                    given.dx(kind, row, input).assert(dx.at(row, input), &what);
                }
            }
            given.assert_weight(kind, &dweight, |row, input| given.x.at(row, input), &case);

            let (mut dx_alone, mut dweight_alone) = (dx.clone(), vec![f32::NAN; outputs * inputs]);
            dx_alone.data.fill(7.0);
            backward(level, threads, &mut scratch, &of, Some(dx_alone.rows_mut()), None);
            backward(level, threads, &mut scratch, &of, None, Some(&mut dweight_alone));
            assert_eq!(dx_alone.data.to_vec(), dx.data.to_vec(), "{case}: dX without dW");
            assert_eq!(dweight_alone, dweight, "{case}: dW without dX");
        }
    });
}

#[test]
fn backward_through_the_norm_adds_to_g_and_gives_the_gradients_of_gamma_and_beta() {
    everywhere(|level, threads, place| {
        let mut scratch = Scratch::default();
        for (index, (rows, inputs, outputs)) in SHAPES.into_iter().enumerate() {
            let kind = [Kind::Normed, Kind::Normed, Kind::Scaled][index % 3];
            let case = format!("{place}, {rows} × {inputs} → {outputs}, {kind:?}");
            let given = Inputs::new(rows, inputs, outputs);
            let mut numbers = Numbers(3);
            let [scale, shift, mean, invstd, gamma] = [0; 5].map(|_| numbers.vector(inputs));
            let norm = Norm { scale: &scale, shift: &shift, mean: &mean, invstd: &invstd, gamma: &gamma };
            let before = numbers.matrix(rows, inputs, 7.0);
            let of = given.backward(kind);
            let (mut g, mut g_again) = (before.clone(), before.clone());
            let mut results =
                [vec![f32::NAN; outputs * inputs], vec![f32::NAN; inputs], vec![f32::NAN; inputs]];
            let [dweight, dgamma, dbeta] = &mut results;
            let gradients = Gradients { weight: Some(dweight), gamma: dgamma, beta: dbeta };
            backward_normed(level, threads, &mut scratch, &of, &norm, g.rows_mut(), gradients);
            g.assert_padding(7.0, &case);

            let p = |row, input| normalized(&given.x, &scale, &shift, row, input);
            for input in 0..inputs {
                let (mut beta, mut products) = (Sum::default(), Sum::default());
                for row in 0..rows {
                    let mut dp = given.dx(kind, row, input);
                    if p(row, input) <= 0.0 {
                        dp.value = 0.0;
                    }
                    let mut sum = Sum { value: dp.value * f64::from(gamma[input]), ..dp };
                    sum.magnitude *= f64::from(gamma[input]).abs();
                    sum.add(before.at(row, input));
                    sum.assert(g.at(row, input), &format!("{case}: g[{row}, {input}]"));
                    let x_hat = (given.x.at(row, input) - f64::from(mean[input])) * f64::from(invstd[input]);
                    let size = (given.x.at(row, input).abs() + f64::from(mean[input]).abs())
                        * f64::from(invstd[input]).abs();
                    beta.value += dp.value;
                    beta.magnitude += dp.magnitude;
                    products.value += dp.value * x_hat;
                    products.magnitude += dp.magnitude * size;
                }
                beta.terms = rows + outputs;
                products.terms = rows + outputs;
                beta.assert(f64::from(results[2][input]), &format!("{case}: dβ[{input}]"));
                products.assert(f64::from(results[1][input]), &format!("{case}: dγ[{input}]"));
            }
            given.assert_weight(kind, &results[0], p, &case);

            let (mut dgamma, mut dbeta) = (vec![f32::NAN; inputs], vec![f32::NAN; inputs]);
            let gradients = Gradients { weight: None, gamma: &mut dgamma, beta: &mut dbeta };
            backward_normed(level, threads, &mut scratch, &of, &norm, g_again.rows_mut(), gradients);
            assert_eq!(g_again.data.to_vec(), g.data.to_vec(), "{case}: g without dW");
            assert_eq!([dgamma, dbeta], results[1..], "{case}: dγ and dβ without dW");
        }
    });
}

#[test]
fn nan_in_one_row_reaches_that_row_and_every_sum_and_nothing_else() {
    everywhere(|level, threads, place| {
        let (rows, inputs, outputs) = (40, 40, 36);
        let mut given = Inputs::new(rows, inputs, outputs);
        given.x.data[17 * given.x.stride + 5] = f32::NAN;
        let (scale, shift) = (vec![1.0; padded(inputs)], vec![0.0; padded(inputs)]);
        let weight = packed(level, threads, &given.weight, outputs, inputs);
        let norm = Some(Affine { scale: &scale, shift: &shift });
        let of = Forward { rows, x: given.x.rows(), norm, weight: &weight, bias: None, relu: false };
        let mut y = Numbers(0).matrix(rows, outputs, 7.0);
        let mut scratch = Scratch::default();
        forward(threads, &mut scratch, &of, y.rows_mut(), None);
        y.assert_padding(7.0, place);
        for row in 0..rows {
            assert!(
                (0..outputs).all(|output| y.at(row, output).is_nan() == (row == 17)),
                "{place}: row {row}"
            );
        }
        let mut dweight = vec![0.0; outputs * inputs];
        backward(level, threads, &mut scratch, &given.backward(Kind::Plain), None, Some(&mut dweight));
        assert!((0..outputs * inputs).all(|at| dweight[at].is_nan() == (at % inputs == 5)), "{place}");
    });
}

#[test]
fn no_rows_leave_sums_of_zero() {
    everywhere(|level, threads, place| {
        let given = Inputs::new(0, 40, 36);
        let weight = packed(level, threads, &given.weight, 36, 40);
        let of = Forward { rows: 0, x: given.x.rows(), norm: None, weight: &weight, bias: None, relu: false };
        let (mut sum, mut squares) = (vec![1.0; 36], vec![1.0; 36]);
        let mut scratch = Scratch::default();
        let moments = Moments { sum: &mut sum, squares: &mut squares };
        forward(threads, &mut scratch, &of, RowsMut { data: &mut [], stride: 48 }, Some(moments));
        assert!(sum.iter().chain(&squares).all(|x| *x == 0.0), "{place}");
        let mut dweight = vec![1.0; 36 * 40];
        backward(level, threads, &mut scratch, &given.backward(Kind::Plain), None, Some(&mut dweight));
        assert!(dweight.iter().all(|x| *x == 0.0), "{place}");
    });
}
