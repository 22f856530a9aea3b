//! Every pass against the plain sum in f64, at every level, by every algorithm, on one thread and on three.

use super::*;
use crate::kernels::threads::{Scoped, Serial};

/// splitmix64, as numbers in -1..1.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    /// `count` numbers in -1..1.
    fn numbers(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.next()).collect()
    }

    /// A vector over channels: zeros beyond `channels`.
    fn vector(&mut self, channels: usize) -> Vec<f32> {
        let mut vector = self.numbers(channels);
        vector.resize(padded(channels), 0.0);
        vector
    }
}

/// A layer's numbers.
struct Case {
    pictures: Pictures,
    inputs: usize,
    outputs: usize,
    ld: usize,
    ld_gradient: usize,
    x: Vec<f32>,
    scale: Vec<f32>,
    shift: Vec<f32>,
    mean: Vec<f32>,
    invstd: Vec<f32>,
    gamma: Vec<f32>,
    weights: Vec<f32>,
    gradient: Vec<f32>,
}

impl Case {
    fn new(pictures: Pictures, inputs: usize, outputs: usize) -> Case {
        let mut random = Random((inputs * 1000 + outputs) as u64);
        let ld = padded(inputs) + 32;
        let ld_gradient = padded(outputs) + 16;
        let rows = pictures.rows();
        Case {
            pictures,
            inputs,
            outputs,
            ld,
            ld_gradient,
            // What lies beyond the channels is no zero: it must not count.
            x: random.numbers(rows * ld),
            scale: random.vector(inputs),
            shift: random.vector(inputs),
            mean: random.vector(inputs),
            invstd: random.vector(inputs),
            gamma: random.vector(inputs),
            weights: random.numbers(outputs * inputs * 9),
            gradient: random.numbers(rows * ld_gradient),
        }
    }

    fn input(&self, norm: bool) -> Input<'_> {
        Input {
            rows: Rows { data: &self.x, ld: self.ld, channels: self.inputs },
            norm: norm.then_some(self.norm()),
        }
    }

    fn norm(&self) -> Norm<'_> {
        Norm { scale: &self.scale, shift: &self.shift }
    }

    fn output_gradient(&self) -> Rows<'_> {
        Rows { data: &self.gradient, ld: self.ld_gradient, channels: self.outputs }
    }

    /// The convolution's input, in f64: \[rows, inputs\].
    fn activated(&self, norm: bool) -> Vec<f64> {
        let mut all = Vec::new();
        for row in 0..self.pictures.rows() {
            for c in 0..self.inputs {
                let x = f64::from(self.x[row * self.ld + c]);
                let z = x * f64::from(self.scale[c]) + f64::from(self.shift[c]);
                all.push(if norm { z.max(0.0) } else { x });
            }
        }
        all
    }

    fn weight(&self, n: usize, c: usize, tap: usize) -> f64 {
        f64::from(self.weights[(n * self.inputs + c) * 9 + tap])
    }

    fn dy(&self, row: usize, n: usize) -> f64 {
        f64::from(self.gradient[row * self.ld_gradient + n])
    }
}

/// For every row, the taps that read inside the picture and the rows they read.
fn for_each_tap(pictures: Pictures, mut f: impl FnMut(usize, usize, usize)) {
    let Pictures { count, height, width } = pictures;
    for picture in 0..count {
        for y in 0..height {
            for x in 0..width {
                for tap in 0..9 {
                    let (i, j) = (y + tap / 3, x + tap % 3);
                    if (1..=height).contains(&i) && (1..=width).contains(&j) {
                        f(
                            (picture * height + y) * width + x,
                            tap,
                            (picture * height + i - 1) * width + j - 1,
                        );
                    }
                }
            }
        }
    }
}

/// Every level, algorithm and number of threads.
fn for_each_way(mut f: impl FnMut(Machine<'_>, Algorithm, &str)) {
    for level in Level::available() {
        for algorithm in [Algorithm::Direct, Algorithm::F2, Algorithm::F4] {
            for threads in [&Serial as &dyn Threads, &Scoped(3), &Scoped(16)] {
                let on = Machine { level, threads };
                f(on, algorithm, &format!("{level}, {algorithm:?}, {} threads", threads.count()));
            }
        }
    }
}

/// Largest difference, relative to the largest of `want`.
fn error(got: impl IntoIterator<Item = f64>, want: &[f64]) -> f64 {
    let largest = want.iter().fold(f64::MIN_POSITIVE, |largest, x| largest.max(x.abs()));
    let mut count = 0;
    let error = got.into_iter().zip(want).fold(0.0, |error: f64, (got, want)| {
        count += 1;
        // NaN must not pass for small.
        if got.is_nan() {
            f64::INFINITY
        } else {
            error.max((got - want).abs())
        }
    });
    assert_eq!(count, want.len());
    error / largest
}

/// What f32 leaves of a sum of up to some thousand terms: the study measured 4e-7 for the plain sum and F2, up to 4.7e-6 for F4,
/// whose transforms multiply by up to 8 and cancel.
fn bound(algorithm: Algorithm) -> f64 {
    match algorithm {
        Algorithm::Direct | Algorithm::F2 => 3e-6,
        Algorithm::F4 => 2e-5,
    }
}

/// Odd shapes: tiny, thin, one picture, several, channels that are multiples of nothing, and more than one chunk of them.
fn cases() -> Vec<Case> {
    let shapes: [([usize; 3], usize, usize); 13] = [
        ([1, 1, 1], 48, 12),
        ([1, 1, 7], 5, 1),
        ([2, 9, 1], 16, 16),
        ([3, 2, 2], 24, 24),
        ([1, 3, 5], 128, 32),
        ([2, 7, 7], 128, 32),
        ([1, 4, 4], 160, 40),
        ([1, 6, 8], 192, 48),
        ([2, 5, 11], 36, 12),
        ([1, 14, 13], 300, 24),
        ([4, 8, 8], 96, 24),
        ([1, 17, 19], 20, 33),
        ([3, 32, 32], 48, 12),
    ];
    shapes
        .into_iter()
        .map(|([count, height, width], inputs, outputs)| {
            Case::new(Pictures { count, height, width }, inputs, outputs)
        })
        .collect()
}

#[test]
fn forward_is_the_convolution_with_its_moments_and_touches_no_other_column() {
    for case in cases() {
        let (rows, k) = (case.pictures.rows(), case.outputs);
        for (norm, at) in [(true, 24), (false, 0)] {
            let input = case.activated(norm);
            let mut want = vec![0.0; rows * k];
            for_each_tap(case.pictures, |row, tap, from| {
                for n in 0..k {
                    want[row * k + n] += (0..case.inputs)
                        .map(|c| input[from * case.inputs + c] * case.weight(n, c, tap))
                        .sum::<f64>();
                }
            });
            let ld = padded(at + k) + 16;
            let mut scratch = Scratch::default();
            let mut packed = Packed::default();
            for_each_way(|on, algorithm, way| {
                packed.forward(on, algorithm, &case.weights, k, case.inputs);
                // Up to the end of the last row's padded columns, and no further.
                let mut y = vec![7.0; rows * ld - 16];
                let (mut mean, mut variance) = (vec![0.0; k], vec![0.0; k]);
                forward(
                    on,
                    &mut scratch,
                    case.pictures,
                    case.input(norm),
                    &packed,
                    Output {
                        data: &mut y,
                        ld,
                        at,
                        moments: Some(Moments { mean: &mut mean, variance: &mut variance }),
                    },
                );
                let what = format!("{:?}, {} -> {k}, {way}", case.pictures, case.inputs);
                let value = |row: usize, n: usize| f64::from(y[row * ld + at + n]);
                let got = (0..rows * k).map(|i| value(i / k, i % k));
                let error = error(got, &want);
                assert!(error < bound(algorithm), "{what}: {error:e}");
                for (i, y) in y.iter().enumerate() {
                    match i % ld {
                        column if column < at || column >= padded(at + k) => assert_eq!(*y, 7.0, "{what}"),
                        column if column >= at + k => assert_eq!(*y, 0.0, "{what}"),
                        _ => {}
                    }
                }
                // Of the values as written: their own rounding is not at issue.
                for n in 0..k {
                    let m = (0..rows).map(|row| value(row, n)).sum::<f64>() / rows as f64;
                    let v = (0..rows).map(|row| (value(row, n) - m).powi(2)).sum::<f64>() / rows as f64;
                    let scale = m.abs() + v.sqrt();
                    assert!((mean[n] - m).abs() <= 1e-6 * scale, "{what}: mean {} not {m}", mean[n]);
                    assert!(
                        (variance[n] - v).abs() <= 1e-5 * v + 1e-12 * scale * scale,
                        "{what}: variance {} not {v}",
                        variance[n]
                    );
                }
            });
        }
    }
}

#[test]
fn input_gradient_is_masked_stored_or_added_and_summed_for_gamma_and_beta() {
    for case in cases() {
        let (rows, inputs) = (case.pictures.rows(), case.inputs);
        let mut want = vec![0.0; rows * inputs];
        for_each_tap(case.pictures, |row, tap, from| {
            for c in 0..inputs {
                want[from * inputs + c] +=
                    (0..case.outputs).map(|n| case.dy(row, n) * case.weight(n, c, tap)).sum::<f64>();
            }
        });
        let (mut dgamma, mut dbeta) = (vec![0.0; inputs], vec![0.0; inputs]);
        for (i, want) in want.iter_mut().enumerate() {
            let (row, c) = (i / inputs, i % inputs);
            let x = case.x[row * case.ld + c];
            // As the kernels decide it, in f32: near 0 f64 may differ.
            if x.mul_add(case.scale[c], case.shift[c]) <= 0.0 {
                *want = 0.0;
            }
            dgamma[c] += *want * f64::from(x - case.mean[c]) * f64::from(case.invstd[c]);
            dbeta[c] += *want;
        }
        let ld = padded(inputs) + 16;
        let before = Random(7).numbers(rows * ld);
        let mut scratch = Scratch::default();
        let mut packed = Packed::default();
        for_each_way(|on, algorithm, way| {
            packed.input_gradient(on, algorithm, &case.weights, case.outputs, inputs);
            for add in [false, true] {
                let what = format!("{:?}, {inputs} -> {}, {way}, add {add}", case.pictures, case.outputs);
                let mut v = before.clone();
                let (mut got_dgamma, mut got_dbeta) = (vec![1.0; inputs], vec![1.0; inputs]);
                let to = if add {
                    Destination::Add { data: &mut v, ld, gamma: &case.gamma }
                } else {
                    Destination::Store { data: &mut v, ld }
                };
                input_gradient(
                    on,
                    &mut scratch,
                    case.pictures,
                    case.output_gradient(),
                    &packed,
                    InputGradient {
                        input: case.input(true).rows,
                        norm: case.norm(),
                        mean: &case.mean,
                        invstd: &case.invstd,
                        to,
                        dgamma: &mut got_dgamma,
                        dbeta: &mut got_dbeta,
                    },
                );
                let wanted: Vec<f64> = (0..rows * inputs)
                    .map(|i| {
                        let (row, c) = (i / inputs, i % inputs);
                        if add {
                            f64::from(before[row * ld + c]) + f64::from(case.gamma[c]) * want[i]
                        } else {
                            want[i]
                        }
                    })
                    .collect();
                let got = (0..rows * inputs).map(|i| f64::from(v[i / inputs * ld + i % inputs]));
                let all = [
                    ("values", error(got, &wanted)),
                    ("dgamma", error(got_dgamma.iter().copied(), &dgamma)),
                    ("dbeta", error(got_dbeta.iter().copied(), &dbeta)),
                ];
                for (name, error) in all {
                    assert!(error < bound(algorithm), "{what}: {name} {error:e}");
                }
                for (i, (v, before)) in v.iter().zip(&before).enumerate() {
                    let kept = if add { i % ld >= inputs } else { i % ld >= padded(inputs) };
                    assert!(!kept || v == before, "{what}: column {} of row {}", i % ld, i / ld);
                    let zero = !add && (inputs..padded(inputs)).contains(&(i % ld));
                    assert!(!zero || *v == 0.0, "{what}: column {} of row {}", i % ld, i / ld);
                }
            }
        });
    }
}

#[test]
fn weight_gradient_is_the_sum_over_all_pixels() {
    for case in cases() {
        let inputs = case.inputs;
        for norm in [true, false] {
            let input = case.activated(norm);
            let mut want = vec![0.0; case.weights.len()];
            for_each_tap(case.pictures, |row, tap, from| {
                for n in 0..case.outputs {
                    for c in 0..inputs {
                        want[(n * inputs + c) * 9 + tap] += case.dy(row, n) * input[from * inputs + c];
                    }
                }
            });
            let mut scratch = Scratch::default();
            for_each_way(|on, algorithm, way| {
                let mut dw = vec![7.0; want.len()];
                let (gradient, input) = (case.output_gradient(), case.input(norm));
                weight_gradient(on, &mut scratch, algorithm, case.pictures, gradient, input, &mut dw);
                let error = error(dw.iter().map(|x| f64::from(*x)), &want);
                let what = format!("{:?}, {inputs} -> {}, {way}", case.pictures, case.outputs);
                assert!(error < bound(algorithm), "{what}: {error:e}");
            });
        }
    }
}

/// A forward into fresh columns: \[rows, padded outputs\], and the moments.
fn convolved(
    case: &Case,
    on: Machine<'_>,
    algorithm: Algorithm,
    scratch: &mut Scratch,
    packed: &mut Packed,
) -> (Vec<f32>, Vec<f64>, Vec<f64>) {
    packed.forward(on, algorithm, &case.weights, case.outputs, case.inputs);
    let ld = padded(case.outputs);
    let mut y = vec![0.0; case.pictures.rows() * ld];
    let (mut mean, mut variance) = (vec![0.0; case.outputs], vec![0.0; case.outputs]);
    let moments = Some(Moments { mean: &mut mean, variance: &mut variance });
    let output = Output { data: &mut y, ld, at: 0, moments };
    forward(on, scratch, case.pictures, case.input(true), packed, output);
    (y, mean, variance)
}

#[test]
fn results_repeat_to_the_bit_whatever_lies_in_the_scratch() {
    let mut poison = Case::new(Pictures { count: 2, height: 9, width: 9 }, 200, 48);
    poison.x.fill(f32::NAN);
    poison.gradient.fill(f32::NAN);
    for case in cases() {
        for_each_way(|on, algorithm, way| {
            let mut dirty = Scratch::default();
            convolved(&poison, on, algorithm, &mut dirty, &mut Packed::default());
            let mut dw = vec![0.0; poison.weights.len()];
            let (gradient, input) = (poison.output_gradient(), poison.input(true));
            weight_gradient(on, &mut dirty, algorithm, poison.pictures, gradient, input, &mut dw);
            let of = |scratch: &mut Scratch, packed: &mut Packed| {
                let (y, mean, variance) = convolved(&case, on, algorithm, scratch, packed);
                let mut dw = vec![0.0; case.weights.len()];
                let (gradient, input) = (case.output_gradient(), case.input(true));
                weight_gradient(on, scratch, algorithm, case.pictures, gradient, input, &mut dw);
                let singles: Vec<u32> = y.iter().chain(&dw).map(|x| x.to_bits()).collect();
                let doubles: Vec<u64> = mean.iter().chain(&variance).map(|x| x.to_bits()).collect();
                (singles, doubles)
            };
            let clean = of(&mut Scratch::default(), &mut Packed::default());
            let again = of(&mut dirty, &mut Packed::lasting());
            assert!(clean == again, "{:?}, {way}", case.pictures);
        });
    }
}

#[test]
fn a_nan_reaches_every_output_that_reads_it_and_no_other_picture() {
    let mut case = Case::new(Pictures { count: 3, height: 5, width: 6 }, 24, 12);
    let ld = padded(case.outputs);
    let (picture, line, column) = (1, 2, 5);
    case.x[((picture * 5 + line) * 6 + column) * case.ld + 3] = f32::NAN;
    for_each_way(|on, algorithm, way| {
        let (y, ..) = convolved(&case, on, algorithm, &mut Scratch::default(), &mut Packed::default());
        for row in 0..case.pictures.rows() {
            let (at, y) = ((row / 30, row / 6 % 5, row % 6), &y[row * ld..][..ld]);
            let reads = at.0 == picture && at.1.abs_diff(line) < 2 && at.2.abs_diff(column) < 2;
            assert!(!reads || y[..12].iter().all(|y| y.is_nan()), "{way}: {at:?}");
            assert!(at.0 == picture || y.iter().all(|y| y.is_finite()), "{way}: {at:?}");
            assert!(y[12..].iter().all(|y| *y == 0.0), "{way}: {at:?}");
        }
    });
}

#[test]
fn the_variance_of_outputs_far_from_zero_keeps_its_digits() {
    let mut case = Case::new(Pictures { count: 2, height: 20, width: 20 }, 16, 3);
    // Every output is its own pixel of the first channel.
    case.weights.fill(0.0);
    for n in 0..3 {
        case.weights[n * 16 * 9 + 4] = 1.0;
    }
    (case.scale, case.shift) = (vec![0.01; 16], vec![1000.0; 16]);
    for_each_way(|on, algorithm, way| {
        let (y, mean, variance) =
            convolved(&case, on, algorithm, &mut Scratch::default(), &mut Packed::default());
        let values: Vec<f64> = y.iter().step_by(16).map(|y| f64::from(*y)).collect();
        let m = values.iter().sum::<f64>() / 800.0;
        let v = values.iter().map(|x| (x - m).powi(2)).sum::<f64>() / 800.0;
        assert!((mean[0] - m).abs() < 1e-6, "{way}: mean {} not {m}", mean[0]);
        assert!((variance[0] - v).abs() < 1e-4 * v, "{way}: variance {} not {v}", variance[0]);
    });
}
