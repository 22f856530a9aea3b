//! Every kernel against the same thing in f64, at every level, on one thread and on three.
//!
//! Bounds are a few roundings of f32 (6e-8 each) times the largest magnitude summed: sums run over up to 32 rows (or a row
//! of windows) in f32.

use super::*;
use crate::kernels::threads::{Scoped, Serial};
use crate::kernels::{padded, Affine, Level, Machine, Rows, RowsMut};

/// −1 … 1, the same on every machine.
struct Generator(u64);

impl Generator {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 40) as f32) / (1u64 << 23) as f32 - 1.0
    }

    fn vec(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.next()).collect()
    }

    /// A vector of C numbers, zero up to the padded width.
    fn channels(&mut self, channels: usize) -> Vec<f32> {
        let mut vector = self.vec(channels);
        vector.resize(padded(channels), 0.0);
        vector
    }
}

fn machines(test: impl Fn(Machine, &str)) {
    for level in Level::available() {
        test(Machine { level, threads: &Serial }, &format!("{level}, serial"));
        test(Machine { level, threads: &Scoped(3) }, &format!("{level}, three threads"));
    }
}

#[track_caller]
fn close(what: &str, got: f64, want: f64, magnitude: f64) {
    let bound = 40.0 * f64::from(f32::EPSILON) * magnitude.max(1e-3);
    assert!((got - want).abs() <= bound, "{what}: {got}, not {want} (may differ by {bound:e})");
}

#[test]
fn moments_keep_their_digits_far_from_zero_and_the_copy_is_followed_by_zeros() {
    for (rows, channels) in [(1, 1), (2, 24), (33, 16), (70, 12), (200, 40)] {
        let mut generator = Generator(7);
        for offset in [0.0f32, 300.0] {
            let xs: Vec<f32> = generator.vec(rows * channels).iter().map(|x| x + offset).collect();
            machines(|machine, name| {
                for ld in [channels, padded(channels) + 16] {
                    let name = format!("{name}: {rows}×{channels} around {offset}, copied to rows of {ld}");
                    let mut copy = vec![9.0; rows * ld];
                    let input = Rows::new(&xs, channels);
                    let got = copy_moments(machine, input, RowsMut::new(&mut copy, ld), rows, channels);
                    assert_eq!(got, moments(machine, input, rows, channels), "{name}");
                    for c in 0..channels {
                        let column = || (0..rows).map(|row| f64::from(xs[row * channels + c]));
                        let mean = column().sum::<f64>() / rows as f64;
                        let var = column().map(|x| (x - mean).powi(2)).sum::<f64>() / rows as f64;
                        close(&name, got.mean[c], mean, mean.abs().max(1.0));
                        // Differences from the pivot are exact or rounded at the offset's own precision.
                        close(&name, got.var[c], var, 1.0);
                    }
                    for (row, line) in copy.chunks(ld).enumerate() {
                        assert_eq!(line[..channels], xs[row * channels..][..channels], "{name}");
                        let end = padded(channels).min(ld);
                        assert!(line[channels..end].iter().all(|x| *x == 0.0), "{name}");
                        assert!(line[end..].iter().all(|x| *x == 9.0), "{name}");
                    }
                }
            });
        }
    }
}

#[test]
fn nan_reaches_the_moments() {
    let mut xs = Generator(1).vec(40 * 3);
    xs[3 * 7 + 1] = f32::NAN;
    machines(|machine, name| {
        let got = moments(machine, Rows::new(&xs, 3), 40, 3);
        let nan: Vec<bool> = got.mean.iter().chain(&got.var).map(|x| x.is_nan()).collect();
        assert_eq!(nan, [false, true, false, false, true, false], "{name}");
    });
}

#[test]
fn gradient_is_the_sum_of_its_four_terms() {
    for (rows, channels, from, total) in
        [(1, 12, 24, 36), (5, 12, 4, 16), (40, 32, 64, 96), (7, 5, 0, 5), (3, 17, 3, 20)]
    {
        let mut generator = Generator(3);
        let ld = total;
        let (mut g, xs, more) =
            (generator.vec(rows * ld), generator.vec(rows * ld), generator.vec(rows * ld));
        // What others left beyond the channels stays out, NaN or not.
        g.chunks_mut(ld).for_each(|row| row[from + channels..].fill(f32::NAN));
        let vectors: [Vec<f32>; 4] = std::array::from_fn(|_| generator.channels(channels));
        let [scale, mean, slope, offset] = &vectors;
        let terms = Gradient { scale, mean, slope, offset };
        for (ld_out, with_more) in [(channels, true), (padded(channels), false), (padded(channels) + 3, true)]
        {
            machines(|machine, name| {
                let name = format!("{name}: {rows}×{channels} from {from} of {total}, to rows of {ld_out}");
                let part = |data: &'static str| match data {
                    "g" => Rows::new(&g[from..], ld),
                    "more" => Rows::new(&more[from..], ld),
                    _ => Rows::new(&xs[from..], ld),
                };
                let mut out = vec![9.0; rows * ld_out];
                let more_rows = with_more.then(|| part("more"));
                let to = RowsMut::new(&mut out, ld_out);
                gradient(machine, terms, part("g"), part("xs"), more_rows, to, rows, channels);
                for row in 0..rows {
                    for c in 0..ld_out {
                        let got = f64::from(out[row * ld_out + c]);
                        if c >= channels {
                            let beyond = if c < padded(channels) { 0.0 } else { 9.0 };
                            assert_eq!(got, beyond, "{name}, row {row}, column {c}");
                            continue;
                        }
                        let at = row * ld + from + c;
                        let term = |x: &[f32]| f64::from(x[c]);
                        let mut want = f64::from(g[at]) * term(scale)
                            + (f64::from(xs[at]) - term(mean)) * term(slope)
                            + term(offset);
                        if with_more {
                            want += f64::from(more[at]);
                        }
                        close(&name, got, want, 4.0);
                    }
                }
                let mut in_place = vec![0.0; rows * ld_out];
                for row in 0..rows {
                    in_place[row * ld_out..][..channels].copy_from_slice(&g[row * ld + from..][..channels]);
                }
                let mut apart = vec![9.0; rows * ld_out];
                let to = RowsMut::new(&mut apart, ld_out);
                gradient(machine, terms, part("g"), part("xs"), None, to, rows, channels);
                let to = RowsMut::new(&mut in_place, ld_out);
                gradient_in_place(machine, terms, part("xs"), to, rows, channels);
                for row in 0..rows {
                    let (a, b) = (&in_place[row * ld_out..][..channels], &apart[row * ld_out..][..channels]);
                    assert_eq!(a, b, "{name}, in place");
                }
            });
        }
    }
}

/// A norm, its input and what they give in f64.
struct Case {
    channels: usize,
    ld: usize,
    xs: Vec<f32>,
    scale: Vec<f32>,
    shift: Vec<f32>,
    mean: Vec<f32>,
}

impl Case {
    fn new(seed: u64, rows: usize, channels: usize, ld: usize) -> Self {
        let mut generator = Generator(seed);
        let xs = generator.vec(rows * ld);
        let [scale, shift, mean] = std::array::from_fn(|_| generator.channels(channels));
        Case { channels, ld, xs, scale, shift, mean }
    }

    fn affine(&self) -> Affine<'_> {
        Affine { scale: &self.scale, shift: &self.shift }
    }

    /// The norm in f32, rounded once, as the vectors have it: so that signs and ties agree.
    fn norm(&self, row: usize, c: usize) -> f64 {
        let x = f64::from(self.xs[row * self.ld + c]);
        x * f64::from(self.scale[c]) + f64::from(self.shift[c])
    }

    /// Σ v·(x − mean) and Σ v over rows of v.
    fn sums(&self, v: &[f64], c: usize) -> (f64, f64) {
        let rows = v.len() / self.channels;
        (0..rows).fold((0.0, 0.0), |(slope, beta), row| {
            let v = v[row * self.channels + c];
            let x = f64::from(self.xs[row * self.ld + c]);
            (slope + v * (x - f64::from(self.mean[c])), beta + v)
        })
    }
}

#[test]
fn pooling_drops_odd_rows_and_columns_and_hands_its_gradient_back() {
    let shapes = [
        (1, 1, 1, (1, 1), 12),
        (2, 5, 7, (2, 2), 24),
        (3, 4, 6, (2, 2), 32),
        (2, 7, 7, (7, 7), 40),
        (3, 2, 9, (1, 1), 5),
        (1, 3, 2, (2, 2), 16),
    ];
    for (n, h, w, window, channels) in shapes {
        for relu in [true, false] {
            let shape = Pool { n, h, w, window, relu, channels };
            let case = Case::new(11, n * h * w, channels, padded(channels) + 16);
            let (oh, ow) = (h / window.0, w / window.1);
            let share = 1.0 / (window.0 * window.1) as f64;
            let dy = Generator(5).vec(n * oh * ow * channels);
            let mut pooled = vec![0.0; n * oh * ow * channels];
            let mut v = vec![0.0; n * h * w * channels];
            for (image, y, x) in each(n, oh * window.0, ow * window.1) {
                let (row, out) = ((image * h + y) * w + x, (image * oh + y / window.0) * ow + x / window.1);
                for c in 0..channels {
                    let z = case.norm(row, c);
                    pooled[out * channels + c] += share * if relu { z.max(0.0) } else { z };
                    let passes = !relu || z > 0.0;
                    v[row * channels + c] =
                        if passes { share * f64::from(dy[out * channels + c]) } else { 0.0 };
                }
            }
            machines(|machine, name| {
                let name = format!("{name}: {shape:?}");
                for ld in [channels, padded(channels)] {
                    let mut got = vec![9.0; shape.windows() * ld];
                    pool(
                        machine,
                        shape,
                        case.affine(),
                        Rows::new(&case.xs, case.ld),
                        RowsMut::new(&mut got, ld),
                    );
                    for (row, line) in got.chunks(ld).enumerate() {
                        for c in 0..channels {
                            close(&name, f64::from(line[c]), pooled[row * channels + c], 2.0);
                        }
                        assert!(line[channels..].iter().all(|x| *x == 0.0), "{name}");
                    }
                }
                let mut g = vec![9.0; n * h * w * case.ld];
                let (xs, dy) = (Rows::new(&case.xs, case.ld), Rows::new(&dy, channels));
                let to = RowsMut::new(&mut g, case.ld);
                let (slopes, betas) = pool_backward(machine, shape, case.affine(), &case.mean, xs, dy, to);
                for (row, line) in g.chunks(case.ld).enumerate() {
                    for c in 0..channels {
                        let want = v[row * channels + c] * f64::from(case.scale[c]);
                        close(&name, f64::from(line[c]), want, 1.0);
                    }
                    assert!(line[channels..padded(channels)].iter().all(|x| *x == 0.0), "{name}");
                }
                for c in 0..channels {
                    let (slope, beta) = case.sums(&v, c);
                    close(&name, slopes[c], slope, 30.0);
                    close(&name, betas[c], beta, 30.0);
                }
            });
        }
    }
}

fn each(n: usize, h: usize, w: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..n).flat_map(move |image| (0..h).flat_map(move |y| (0..w).map(move |x| (image, y, x))))
}

#[test]
fn max_pooling_gives_its_gradient_to_the_first_maximum() {
    for (n, h, w, channels) in [(1, 1, 1, 16), (2, 5, 7, 24), (1, 8, 6, 12), (3, 9, 4, 40), (2, 2, 1, 5)] {
        let shape = MaxPool { n, h, w, channels };
        let mut case = Case::new(21, n * h * w, channels, channels);
        // Few different values, so that ties are common.
        case.xs.iter_mut().for_each(|x| *x = (*x * 2.0).round());
        let (oh, ow) = shape.output();
        let dy = Generator(6).vec(n * oh * ow * channels);
        let mut pooled = vec![0.0; n * oh * ow * channels];
        let mut v = vec![0.0; n * h * w * channels];
        for (image, y, x) in each(n, oh, ow) {
            let out = (image * oh + y) * ow + x;
            for c in 0..channels {
                let mut best: Option<(usize, f64)> = None;
                for (i, j) in (0..9).map(|at| (2 * y + at / 3, 2 * x + at % 3)) {
                    if i < 1 || i > h || j < 1 || j > w {
                        continue;
                    }
                    let row = (image * h + i - 1) * w + j - 1;
                    let z = case.norm(row, c);
                    if best.is_none_or(|(_, best)| z > best) {
                        best = Some((row, z));
                    }
                }
                let (row, z) = best.expect("a window has pixels");
                pooled[out * channels + c] = z.max(0.0);
                if z > 0.0 {
                    v[row * channels + c] += f64::from(dy[out * channels + c]);
                }
            }
        }
        machines(|machine, name| {
            let name = format!("{name}: {shape:?}");
            let ld = padded(channels) + 16;
            let mut got = vec![9.0; n * oh * ow * ld];
            max_pool(
                machine,
                shape,
                case.affine(),
                Rows::new(&case.xs, channels),
                RowsMut::new(&mut got, ld),
            );
            for (row, line) in got.chunks(ld).enumerate() {
                for c in 0..channels {
                    close(&name, f64::from(line[c]), pooled[row * channels + c], 3.0);
                }
                assert!(line[channels..padded(channels)].iter().all(|x| *x == 0.0), "{name}");
            }
            let mut gradient = vec![9.0; n * h * w * channels];
            let (xs, dy) = (Rows::new(&case.xs, channels), Rows::new(&dy, channels));
            let to = RowsMut::new(&mut gradient, channels);
            let (slopes, betas) = max_pool_backward(machine, shape, case.affine(), &case.mean, xs, dy, to);
            for (at, got) in gradient.iter().enumerate() {
                close(&name, f64::from(*got), v[at], 4.0);
            }
            for c in 0..channels {
                let (slope, beta) = case.sums(&v, c);
                close(&name, slopes[c], slope, 30.0);
                close(&name, betas[c], beta, 30.0);
            }
        });
    }
}
