//! Both against the same thing in f64, at every level, on one thread and on three.
//!
//! Bounds are 20 roundings of f32 (6e-8 each) of the sum of magnitudes: products are added one after another.

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
}

#[track_caller]
fn close(what: &str, got: f32, want: f64, magnitude: f64) {
    let bound = 20.0 * f64::from(f32::EPSILON) * magnitude.max(1e-3);
    assert!((f64::from(got) - want).abs() <= bound, "{what}: {got}, not {want} (may differ by {bound:e})");
}

fn machines(test: impl Fn(Machine, &str)) {
    for level in Level::available() {
        test(Machine { level, threads: &Serial }, &format!("{level}, serial"));
        test(Machine { level, threads: &Scoped(3) }, &format!("{level}, three threads"));
    }
}

/// (pictures, channels, height, width, outputs, kernel, stride)
type Shape = (usize, usize, usize, usize, usize, usize, usize);

/// \[picture, line, column, output\] as (value, Σ |products|), before ReLU and pooling.
fn convolved(
    (count, inputs, height, width, outputs, kernel, stride): Shape,
    xs: &[f32],
    weight: &[f32],
    bias: &[f32],
) -> Vec<(f64, f64)> {
    let (pad, down, across) = (kernel / 2, (height - 1) / stride + 1, (width - 1) / stride + 1);
    let mut all = Vec::new();
    for n in 0..count {
        for y in 0..down {
            for x in 0..across {
                for o in 0..outputs {
                    let (mut sum, mut magnitude) = (f64::from(bias[o]), f64::from(bias[o]).abs());
                    for c in 0..inputs {
                        for i in 0..kernel {
                            for j in 0..kernel {
                                let (line, column) = (y * stride + i, x * stride + j);
                                if line < pad || column < pad || line - pad >= height || column - pad >= width
                                {
                                    continue;
                                }
                                let x = xs[((n * inputs + c) * height + line - pad) * width + column - pad];
                                let w = weight[((o * inputs + c) * kernel + i) * kernel + j];
                                sum += f64::from(x) * f64::from(w);
                                magnitude += (f64::from(x) * f64::from(w)).abs();
                            }
                        }
                    }
                    all.push((sum, magnitude));
                }
            }
        }
    }
    all
}

/// The largest of each 3×3 window, `step` apart, with padding 1.
fn pooled(
    rows: &[(f64, f64)],
    count: usize,
    h: usize,
    w: usize,
    channels: usize,
    step: usize,
) -> Vec<(f64, f64)> {
    let mut all = Vec::new();
    for n in 0..count {
        for y in 0..(h - 1) / step + 1 {
            for x in 0..(w - 1) / step + 1 {
                for c in 0..channels {
                    let mut best = (f64::NEG_INFINITY, 0.0f64);
                    for i in (y * step).saturating_sub(1)..(y * step + 2).min(h) {
                        for j in (x * step).saturating_sub(1)..(x * step + 2).min(w) {
                            let (value, magnitude) = rows[((n * h + i) * w + j) * channels + c];
                            best = (best.0.max(value), best.1.max(magnitude));
                        }
                    }
                    all.push(best);
                }
            }
        }
    }
    all
}

#[test]
fn the_convolution_is_the_sum_over_its_window_whatever_the_size() {
    let shapes: [Shape; 10] = [
        (1, 3, 29, 29, 64, 7, 2),
        (2, 3, 33, 40, 24, 7, 2),
        (1, 1, 8, 31, 16, 7, 2),
        (3, 3, 32, 32, 24, 3, 1),
        (1, 5, 7, 9, 12, 3, 1),
        (2, 3, 12, 65, 96, 3, 2),
        (1, 1, 1, 1, 1, 3, 1),
        (2, 2, 1, 5, 48, 7, 2),
        (1, 4, 3, 2, 33, 5, 1),
        (1, 3, 60, 59, 40, 5, 2),
    ];
    for shape in shapes {
        let (count, inputs, height, width, outputs, kernel, stride) = shape;
        let mut generator = Generator(11);
        let xs = generator.vec(count * inputs * height * width);
        let weight = generator.vec(outputs * inputs * kernel * kernel);
        let bias = generator.vec(outputs);
        let plain = convolved(shape, &xs, &weight, &bias);
        let (down, across) = ((height - 1) / stride + 1, (width - 1) / stride + 1);
        let relu = |rows: &[(f64, f64)]| rows.iter().map(|(x, m)| (x.max(0.0), *m)).collect::<Vec<_>>();
        let rectified = relu(&plain);
        let small = pooled(&rectified, count, down, across, outputs, 2);
        machines(|on, name| {
            let packed = Packed::new(on.level, &weight, &bias, inputs, kernel, stride);
            let mut scratch = Scratch::default();
            for (relu, pool, want) in
                [(false, false, &plain), (true, false, &rectified), (true, true, &small)]
            {
                let what = format!("{name}: {shape:?}, relu {relu}, pool {pool}");
                let (ld, rows) = (padded(outputs) + 16, want.len() / outputs);
                let mut data = vec![9.0; rows * ld];
                let input = Input { data: &xs, count, height, width };
                // Twice: what the first call leaves in the scratch must not reach the second.
                for _ in 0..2 {
                    let to = RowsMut::new(&mut data, ld);
                    convolve(on, &mut scratch, input, &packed, Output { to, relu, pool });
                }
                for (row, want) in data.chunks(ld).zip(want.chunks(outputs)) {
                    for (got, (want, magnitude)) in row.iter().zip(want) {
                        close(&what, *got, *want, *magnitude);
                    }
                    assert!(row[outputs..padded(outputs)].iter().all(|x| *x == 0.0), "{what}: padding");
                    assert!(row[padded(outputs)..].iter().all(|x| *x == 9.0), "{what}: beyond the row");
                }
            }
        });
    }
}

#[test]
fn a_nan_in_the_picture_reaches_every_pooled_output_whose_window_has_it() {
    let packed = Packed::new(Level::best(), &[1.0; 9], &[0.0], 1, 3, 1);
    let mut xs = [0.5f32; 64];
    xs[3 * 8 + 3] = f32::NAN;
    let mut data = vec![0.0; 16 * 16];
    let input = Input { data: &xs, count: 1, height: 8, width: 8 };
    let output = Output { to: RowsMut::new(&mut data, 16), relu: true, pool: true };
    let on = Machine { level: Level::best(), threads: &Serial };
    convolve(on, &mut Scratch::default(), input, &packed, output);
    let nan = |y: usize, x: usize| data[(y * 4 + x) * 16].is_nan();
    // Outputs 2 to 4 in both directions see it, so windows 1 (1 to 3) and 2 (3 to 5) do.
    for y in 0..4 {
        for x in 0..4 {
            assert_eq!(nan(y, x), (1..3).contains(&y) && (1..3).contains(&x), "{y}, {x}");
        }
    }
}

#[test]
fn the_blur_is_the_binomial_mean_of_the_largest_with_mirrored_borders() {
    for (count, height, width, channels) in [(1, 2, 2, 1), (2, 5, 4, 24), (1, 7, 9, 16), (3, 8, 3, 40)] {
        let mut generator = Generator(5);
        let (ld_in, rows) = (padded(channels), count * height * width);
        let padded_to = |mut vector: Vec<f32>| {
            vector.resize(ld_in, 0.0);
            vector
        };
        let scale = padded_to(generator.vec(channels));
        let shift = padded_to(generator.vec(channels));
        let mut xs = vec![0.0; rows * ld_in];
        for row in xs.chunks_mut(ld_in) {
            row[..channels].copy_from_slice(&generator.vec(channels));
        }
        let rectified: Vec<(f64, f64)> = xs
            .chunks(ld_in)
            .flat_map(|row| {
                (0..channels).map(|c| f64::from(row[c]) * f64::from(scale[c]) + f64::from(shift[c]))
            })
            .map(|x| (x.max(0.0), 2.0))
            .collect();
        let max = pooled(&rectified, count, height, width, channels, 1);
        let (lines, across) = (height.div_ceil(2), width.div_ceil(2));
        let mirrored = |at: usize, len: usize| {
            let at = at as i64 - 1;
            if at < 0 {
                1
            } else {
                (at.min(2 * (len as i64 - 1) - at)) as usize
            }
        };
        machines(|on, name| {
            let ld = padded(channels) + 16;
            let (mut between, mut to) = (vec![0.0; rows * ld_in], vec![9.0; count * lines * across * ld]);
            let of =
                MaxBlur { count, height, width, channels, norm: Affine { scale: &scale, shift: &shift } };
            let between = RowsMut::new(&mut between, ld_in);
            max_blur(on, of, Rows::new(&xs, ld_in), between, RowsMut::new(&mut to, ld));
            for (at, row) in to.chunks(ld).enumerate() {
                let (n, y, x) = (at / (lines * across), at / across % lines, at % across);
                for c in 0..channels {
                    let mut want = 0.0;
                    for i in 0..3 {
                        for j in 0..3 {
                            let weight = [1.0, 2.0, 1.0][i] * [1.0, 2.0, 1.0][j] / 16.0;
                            let line = n * height + mirrored(2 * y + i, height);
                            let pixel = line * width + mirrored(2 * x + j, width);
                            want += weight * max[pixel * channels + c].0;
                        }
                    }
                    close(&format!("{name}: {count}, {height}×{width}×{channels}"), row[c], want, 2.0);
                }
                assert!(row[channels..padded(channels)].iter().all(|x| *x == 0.0), "{name}: padding");
            }
        });
    }
}
