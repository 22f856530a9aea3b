//! Norm, ReLU, 3×3 max-pooling of stride 1, then the binomial blur of stride 2.

use crate::kernels::simd::{Kernel, Vector};
use crate::kernels::threads::part;
use crate::kernels::{padded, Affine, Machine, Rows, RowsMut};
use std::sync::PoisonError;

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
    /// The norm before the ReLU.
    pub norm: Affine<'a>,
}

/// \[1 2 1\] / 4.
const BINOMIAL: [f32; 3] = [0.25, 0.5, 0.25];

/// relu(x·scale + shift), the maximum of each 3×3 window (stride 1, padding 1), and of that the 3×3 binomial filter (stride
/// 2, one pixel of reflection), to rows of `to`. timm: `BlurPool2d` after `MaxPool2d(3, 1, 1)`.
///
/// `xs` and `between` are read and written up to their rows' padded width; `between` is scratch.
///
/// # Panics
/// Where a slice is too short, or the pictures are smaller than 2×2.
pub fn max_blur(on: Machine, of: MaxBlur, xs: Rows, between: RowsMut, to: RowsMut) {
    let (rows, lines, across) =
        (of.count * of.height * of.width, of.height.div_ceil(2), of.width.div_ceil(2));
    assert!(of.height > 1 && of.width > 1, "max_blur: {of:?}");
    of.norm.check(of.channels);
    xs.check_padded("max_blur's input", rows, of.channels);
    between.as_rows().check_whole("max_blur's scratch", rows, padded(of.channels));
    to.as_rows().check_whole("max_blur's output", of.count * lines * across, padded(of.channels));
    let RowsMut { data, ld } = between;
    each_line(on, RowsMut::new(data, ld), of.count * of.height, of.width, &|line, to| {
        on.level.run(MaxLine { of, xs, line, to, ld });
    });
    let (xs, ld) = (Rows::new(data, ld), to.ld);
    each_line(on, to, of.count * lines, across, &|line, to| {
        on.level.run(BlurLine { of, xs, line, to, ld });
    });
}

/// Calls `body` for each of `lines` lines of `row` rows, with the line's rows.
fn each_line(on: Machine, to: RowsMut, lines: usize, row: usize, body: &(dyn Fn(usize, &mut [f32]) + Sync)) {
    let length = row * to.ld;
    let tasks = on.threads.count().min(lines);
    let cut = |task: usize| if task == tasks { lines } else { part(lines, tasks, task).start };
    let pieces = to.split((0..=tasks).map(|task| cut(task) * row));
    on.threads.run(tasks, &|task| {
        let mut piece = pieces[task].lock().unwrap_or_else(PoisonError::into_inner);
        for (at, line) in part(lines, tasks, task).enumerate() {
            body(line, &mut piece[at * length..][..length]);
        }
    });
}

struct MaxLine<'a> {
    of: MaxBlur<'a>,
    xs: Rows<'a>,
    line: usize,
    to: &'a mut [f32],
    ld: usize,
}

impl Kernel for MaxLine<'_> {
    type Output = ();
    #[inline(always)]
    fn run<V: Vector>(self) {
        let MaxLine { of, xs, line, to, ld } = self;
        let width = padded(of.channels);
        let (first, y) = (line / of.height * of.height, line % of.height);
        for x in 0..of.width {
            for c in (0..width).step_by(V::LANES) {
                // SAFETY: `max_blur` checked the lengths; windows are cut at the picture's borders.
                unsafe {
                    let (scale, shift) =
                        (V::load(of.norm.scale.as_ptr().add(c)), V::load(of.norm.shift.as_ptr().add(c)));
                    let mut max = V::zero();
                    for i in y.saturating_sub(1)..(y + 2).min(of.height) {
                        for j in x.saturating_sub(1)..(x + 2).min(of.width) {
                            let row = (first + i) * of.width + j;
                            let pixel = V::load(xs.data.as_ptr().add(row * xs.ld + c));
                            max = max.max(pixel.mul_add(scale, shift).relu());
                        }
                    }
                    max.store(to.as_mut_ptr().add(x * ld + c));
                }
            }
        }
    }
}

struct BlurLine<'a> {
    of: MaxBlur<'a>,
    xs: Rows<'a>,
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
                for (i, down) in BINOMIAL.into_iter().enumerate() {
                    for (j, across) in BINOMIAL.into_iter().enumerate() {
                        let line = first + reflected(2 * y + i, of.height);
                        let row = line * of.width + reflected(2 * x + j, of.width);
                        // SAFETY: `max_blur` checked the lengths; reflected pixels are in the picture.
                        let pixel = unsafe { V::load(xs.data.as_ptr().add(row * xs.ld + c)) };
                        sum = V::splat(down * across).mul_add(pixel, sum);
                    }
                }
                // SAFETY: as above.
                unsafe { sum.store(to.as_mut_ptr().add(x * ld + c)) };
            }
        }
    }
}
