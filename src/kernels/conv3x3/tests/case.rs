//! A layer's numbers, the same in f64, and all ways to compute it.

use crate::kernels::conv3x3::*;
use crate::kernels::threads::{Scoped, Serial};
use crate::kernels::{Level, Threads};

/// splitmix64, as numbers in -1..1.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    /// `count` numbers in -1..1.
    pub(super) fn numbers(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.next()).collect()
    }

    /// A vector over channels: zeros beyond `channels`.
    pub(super) fn vector(&mut self, channels: usize) -> Vec<f32> {
        let mut vector = self.numbers(channels);
        vector.resize(padded(channels), 0.0);
        vector
    }
}

/// A layer's numbers.
pub(super) struct Case {
    pub(super) pictures: Pictures,
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    pub(super) ld: usize,
    pub(super) ld_gradient: usize,
    pub(super) x: Vec<f32>,
    pub(super) scale: Vec<f32>,
    pub(super) shift: Vec<f32>,
    pub(super) mean: Vec<f32>,
    pub(super) invstd: Vec<f32>,
    pub(super) weights: Vec<f32>,
    pub(super) gradient: Vec<f32>,
}

impl Case {
    pub(super) fn new(pictures: Pictures, inputs: usize, outputs: usize) -> Case {
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
            weights: random.numbers(outputs * inputs * 9),
            gradient: random.numbers(rows * ld_gradient),
        }
    }

    pub(super) fn input(&self, norm: bool) -> Input<'_> {
        Input { rows: Rows::new(&self.x, self.ld), norm: norm.then_some(self.norm()) }
    }

    pub(super) fn norm(&self) -> Affine<'_> {
        Affine { scale: &self.scale, shift: &self.shift }
    }

    pub(super) fn output_gradient(&self) -> Rows<'_> {
        Rows::new(&self.gradient, self.ld_gradient)
    }

    pub(super) fn weight_gradient(
        &self,
        on: Machine<'_>,
        scratch: &mut Scratch,
        algorithm: Algorithm,
        norm: bool,
        to: &mut [f32],
    ) {
        let (gradient, input) = (self.output_gradient(), self.input(norm));
        let of = WeightGradient { gradient, outputs: self.outputs, input, inputs: self.inputs, to };
        weight_gradient(on, scratch, algorithm, self.pictures, of);
    }

    /// The convolution's input, in f64: \[rows, inputs\].
    pub(super) fn activated(&self, norm: bool) -> Vec<f64> {
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

    pub(super) fn weight(&self, n: usize, c: usize, tap: usize) -> f64 {
        f64::from(self.weights[(n * self.inputs + c) * 9 + tap])
    }

    pub(super) fn dy(&self, row: usize, n: usize) -> f64 {
        f64::from(self.gradient[row * self.ld_gradient + n])
    }
}

/// For every row, the taps that read inside the picture and the rows they read.
pub(super) fn for_each_tap(pictures: Pictures, mut f: impl FnMut(usize, usize, usize)) {
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
pub(super) fn for_each_way(mut f: impl FnMut(Machine<'_>, Algorithm, &str)) {
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
pub(super) fn error(got: impl IntoIterator<Item = f64>, want: &[f64]) -> f64 {
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
pub(super) fn bound(algorithm: Algorithm) -> f64 {
    match algorithm {
        Algorithm::Direct | Algorithm::F2 => 3e-6,
        Algorithm::F4 => 2e-5,
    }
}

/// Odd shapes: tiny, thin, one picture, several, channels that are multiples of nothing, and more than one chunk of them.
pub(super) fn cases() -> Vec<Case> {
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

/// A forward into fresh columns: \[rows, padded outputs\], and the moments.
pub(super) fn convolved(
    case: &Case,
    on: Machine<'_>,
    algorithm: Algorithm,
    scratch: &mut Scratch,
    packed: &mut Packed,
) -> (Vec<f32>, Moments) {
    packed.forward(on, algorithm, &case.weights, case.outputs, case.inputs);
    let ld = padded(case.outputs);
    let mut y = vec![0.0; case.pictures.rows() * ld];
    let mut moments = Moments::default();
    let output = Output { to: RowsMut::new(&mut y, ld), at: 0, moments: Some(&mut moments) };
    forward(on, scratch, case.pictures, case.input(true), packed, output);
    (y, moments)
}
