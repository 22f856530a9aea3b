//! Norm, ReLU, 3×3 max-pooling of stride 1, then the binomial blur of stride 2.

use crate::kernels::simd::{Kernel, Vector};
use crate::kernels::threads::part;
use crate::kernels::{padded, Level, Threads};

/// Pictures of `height`·`width` rows of `channels`, at least 2×2 of them.
#[derive(Clone, Copy, Debug)]
pub struct MaxBlur<'a> {
    /// Pictures.
    pub count: usize,
    /// Their height.
    pub height: usize,
    /// Their width.
    pub width: usize,
    /// C.
    pub channels: usize,
    /// γ/√(var + ε), padded with zeros.
    pub scale: &'a [f32],
    /// β − mean·scale, padded with zeros.
    pub shift: &'a [f32],
}

/// \[1 2 1\] / 4.
const BINOMIAL: [f32; 3] = [0.25, 0.5, 0.25];

/// relu(x·scale + shift), the maximum of each 3×3 window (stride 1, padding 1), and of that the 3×3 binomial filter (stride
/// 2, one pixel of reflection), to rows of `to`. timm: `BlurPool2d` after `MaxPool2d(3, 1, 1)`.
///
/// `xs` and `between` have rows of padded(channels); `between` is scratch.
///
/// # Panics
/// Where a slice is too short, or the pictures are smaller than 2×2.
pub fn max_blur(
    level: Level,
    threads: &dyn Threads,
    of: MaxBlur,
    xs: &[f32],
    between: &mut [f32],
    to: &mut [f32],
    ld: usize,
) {
    let width = padded(of.channels);
    let (rows, across) = (of.count * of.height * of.width, of.width.div_ceil(2));
    let lines = of.height.div_ceil(2);
    assert!(of.height > 1 && of.width > 1, "max_blur: {of:?}");
    assert!(of.scale.len() >= width && of.shift.len() >= width, "max_blur: scale and shift are padded");
    assert!(xs.len() >= rows * width && between.len() >= rows * width, "max_blur: {rows} rows of {width}");
    assert!(
        ld >= width && to.len() >= of.count * lines * across * ld,
        "max_blur: the output is {}",
        to.len()
    );
    let max = Lines { to: between, ld: width, lines: of.count * of.height, row: of.width };
    max.run(threads, |line, to| level.run(MaxLine { of, xs, line, to }));
    let xs = &between[..rows * width];
    let blur = Lines { to, ld, lines: of.count * lines, row: across };
    blur.run(threads, |line, to| level.run(BlurLine { of, xs, line, to, ld }));
}

/// Lines of rows, shared among threads.
struct Lines<'a> {
    to: &'a mut [f32],
    ld: usize,
    lines: usize,
    /// Rows of a line.
    row: usize,
}

impl Lines<'_> {
    fn run(self, threads: &dyn Threads, line: impl Fn(usize, &mut [f32]) + Sync) {
        let length = self.row * self.ld;
        let tasks = threads.count().min(self.lines);
        let mut rest = self.to;
        let mut pieces = Vec::with_capacity(tasks);
        for task in 0..tasks {
            let (piece, after) =
                std::mem::take(&mut rest).split_at_mut(part(self.lines, tasks, task).len() * length);
            pieces.push(std::sync::Mutex::new(piece));
            rest = after;
        }
        threads.run(tasks, &|task| {
            let mut piece = pieces[task].lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            for (at, number) in part(self.lines, tasks, task).enumerate() {
                line(number, &mut piece[at * length..][..length]);
            }
        });
    }
}

struct MaxLine<'a> {
    of: MaxBlur<'a>,
    xs: &'a [f32],
    line: usize,
    to: &'a mut [f32],
}

impl Kernel for MaxLine<'_> {
    type Output = ();
    #[inline(always)]
    fn run<V: Vector>(self) {
        let MaxLine { of, xs, line, to } = self;
        let width = padded(of.channels);
        let (first, y) = (line / of.height * of.height, line % of.height);
        for x in 0..of.width {
            for c in (0..width).step_by(V::LANES) {
                // SAFETY: `max_blur` checked the lengths; windows are cut at the picture's borders.
                unsafe {
                    let (scale, shift) =
                        (V::load(of.scale.as_ptr().add(c)), V::load(of.shift.as_ptr().add(c)));
                    let mut max = V::zero();
                    for i in y.saturating_sub(1)..(y + 2).min(of.height) {
                        for j in x.saturating_sub(1)..(x + 2).min(of.width) {
                            let row = (first + i) * of.width + j;
                            let pixel = V::load(xs.as_ptr().add(row * width + c));
                            max = max.max(pixel.mul_add(scale, shift).relu());
                        }
                    }
                    max.store(to.as_mut_ptr().add(x * width + c));
                }
            }
        }
    }
}

struct BlurLine<'a> {
    of: MaxBlur<'a>,
    xs: &'a [f32],
    line: usize,
    to: &'a mut [f32],
    ld: usize,
}

/// Pixel `at` − 1 of `len`, mirrored at the borders.
fn reflected(at: usize, len: usize) -> usize {
    match at {
        0 => 1,
        _ if at > len => 2 * len - 1 - at,
        _ => at - 1,
    }
}

impl Kernel for BlurLine<'_> {
    type Output = ();
    #[inline(always)]
    fn run<V: Vector>(self) {
        let BlurLine { of, xs, line, to, ld } = self;
        let (width, lines) = (padded(of.channels), of.height.div_ceil(2));
        let (first, y) = (line / lines * of.height, line % lines);
        for x in 0..of.width.div_ceil(2) {
            for c in (0..width).step_by(V::LANES) {
                let mut sum = V::zero();
                for i in 0..3 {
                    for j in 0..3 {
                        let line = first + reflected(2 * y + i, of.height);
                        let row = line * of.width + reflected(2 * x + j, of.width);
                        // SAFETY: `max_blur` checked the lengths; reflected pixels are in the picture.
                        let pixel = unsafe { V::load(xs.as_ptr().add(row * width + c)) };
                        sum = V::splat(BINOMIAL[i] * BINOMIAL[j]).mul_add(pixel, sum);
                    }
                }
                // SAFETY: as above.
                unsafe { sum.store(to.as_mut_ptr().add(x * ld + c)) };
            }
        }
    }
}
