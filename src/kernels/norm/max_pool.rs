//! The stem's norm, ReLU and 3×3/2 max-pooling in one pass, and back.

use super::parts::{flush, load, locked, store, Totals};
use crate::kernels::rows::check_vector;
use crate::kernels::simd::{Kernel, Vector};
use crate::kernels::threads::part;
use crate::kernels::{padded, Affine, Aligned, Machine, Rows, RowsMut};
use std::ops::Range;

/// Pictures of N·H·W rows under 3×3 windows, 2 apart, with one row and column of padding: ⌊(H−1)/2⌋+1 by ⌊(W−1)/2⌋+1 of
/// them.
#[derive(Clone, Copy, Debug)]
pub struct MaxPool {
    /// Pictures.
    pub n: usize,
    /// Their height, at least 1.
    pub h: usize,
    /// Their width, at least 1.
    pub w: usize,
    /// C.
    pub channels: usize,
}

impl MaxPool {
    /// Height and width after pooling.
    pub fn output(&self) -> (usize, usize) {
        ((self.h - 1) / 2 + 1, (self.w - 1) / 2 + 1)
    }

    fn check(&self, affine: Affine, xs: &Rows, pooled: &Rows) {
        assert!(self.h > 0 && self.w > 0 && self.n > 0, "no pixels in {self:?}");
        affine.check(self.channels);
        xs.check_whole("max_pool's input", self.n * self.h * self.w, self.channels);
        let (h, w) = self.output();
        pooled.check_whole("max_pool's output", self.n * h * w, self.channels);
    }
}

/// The rows or columns of window `at` of `len`.
#[inline(always)]
fn span(at: usize, len: usize) -> Range<usize> {
    (2 * at).saturating_sub(1)..(2 * at + 2).min(len)
}

/// The matrix rows of a window's pixels, 4 to 9 of them but at the borders, row by row.
#[derive(Clone, Copy)]
struct Window {
    pixels: [usize; 9],
    count: usize,
}

impl Window {
    #[inline(always)]
    fn new(pool: &MaxPool, image: usize, y: usize, x: usize) -> Self {
        let mut window = Window { pixels: [0; 9], count: 0 };
        for line in span(y, pool.h) {
            for column in span(x, pool.w) {
                window.pixels[window.count] = (image * pool.h + line) * pool.w + column;
                window.count += 1;
            }
        }
        window
    }

    #[inline(always)]
    fn pixels(&self) -> &[usize] {
        &self.pixels[..self.count]
    }
}

/// max over each window of ReLU of the norm, to `to`; zeros follow up to the padded width (or the rows' end).
///
/// # Panics
/// Where something is too short.
pub fn max_pool(machine: Machine, pool: MaxPool, affine: Affine, xs: Rows, to: RowsMut) {
    pool.check(affine, &xs, &to.as_rows());
    let (h, w) = pool.output();
    let units = pool.n * h;
    let threads = machine.threads.count().clamp(1, units);
    let ld = to.ld;
    let cut = |i: usize| if i == threads { units } else { part(units, threads, i).start };
    let pieces = to.split((0..=threads).map(|i| cut(i) * w));
    machine.threads.run(threads, &|thread| {
        locked(&pieces[thread], |piece| {
            let to = RowsMut { data: piece, ld };
            machine.level.run(Forward { pool, affine, xs, to, units: cut(thread)..cut(thread + 1) });
        });
    });
}

struct Forward<'a> {
    pool: MaxPool,
    affine: Affine<'a>,
    xs: Rows<'a>,
    to: RowsMut<'a>,
    /// Rows of windows.
    units: Range<usize>,
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        let Forward { pool, affine, xs, to, units } = self;
        let (h, w) = pool.output();
        let width = padded(pool.channels).min(to.ld);
        for (u, unit) in units.enumerate() {
            for x in 0..w {
                let window = Window::new(&pool, unit / h, unit % h, x);
                let out = to.data.as_mut_ptr().wrapping_add((u * w + x) * to.ld);
                for c in (0..width).step_by(V::LANES) {
                    // SAFETY: `check` saw whole rows in both matrices and the padded width in the vectors; a window's pixels
                    // are in its picture.
                    unsafe {
                        let norm = Norm::<V>::new(affine, c);
                        let mut max = V::zero();
                        for &pixel in window.pixels() {
                            max = max.max(norm.at(pixel_at(&xs, pixel, c)));
                        }
                        store(max, out.wrapping_add(c), to.ld - c);
                    }
                }
            }
        }
    }
}

/// One vector of a pixel's row: channels from `c` on.
///
/// # Safety
/// `xs` has the whole row.
#[inline(always)]
unsafe fn pixel_at<V: Vector>(xs: &Rows, pixel: usize, c: usize) -> V {
    // SAFETY: the caller's: a row is read up to its end at most.
    unsafe { load(xs.data.as_ptr().wrapping_add(pixel * xs.ld + c), xs.ld.saturating_sub(c)) }
}

/// A norm's vectors for one column of lanes.
#[derive(Clone, Copy)]
struct Norm<V> {
    scale: V,
    shift: V,
}

impl<V: Vector> Norm<V> {
    /// # Safety
    /// `affine` reaches to c + LANES.
    #[inline(always)]
    unsafe fn new(affine: Affine, c: usize) -> Self {
        // SAFETY: the caller's.
        unsafe {
            Norm {
                scale: V::load(affine.scale.as_ptr().add(c)),
                shift: V::load(affine.shift.as_ptr().add(c)),
            }
        }
    }

    #[inline(always)]
    fn at(&self, x: V) -> V {
        x.mul_add(self.scale, self.shift)
    }
}

/// The backward of [`max_pool`]: writes v, the gradient of the norm's output, to every row of `v`, and gives
/// (Σ v·(x − mean), Σ v), C of each. Of equal values in a window the first one (row by row) gets the gradient, as in PyTorch.
///
/// # Panics
/// Where something is too short.
#[allow(clippy::too_many_arguments)]
pub fn max_pool_backward(
    machine: Machine,
    pool: MaxPool,
    affine: Affine,
    mean: &[f32],
    xs: Rows,
    dy: Rows,
    v: RowsMut,
) -> (Vec<f64>, Vec<f64>) {
    pool.check(affine, &xs, &dy);
    v.as_rows().check_whole("max_pool_backward's output", pool.n * pool.h * pool.w, pool.channels);
    let width = padded(pool.channels);
    check_vector("mean", mean, pool.channels);
    let lines = pool.n * pool.h;
    let threads = machine.threads.count().clamp(1, lines);
    let totals = Totals::new(threads, 2 * width);
    let ld = v.ld;
    let cut = |i: usize| if i == threads { lines } else { part(lines, threads, i).start };
    let pieces = v.split((0..=threads).map(|i| cut(i) * pool.w));
    machine.threads.run(threads, &|thread| {
        locked(&pieces[thread], |piece| {
            locked(totals.of(thread), |totals| {
                let v = RowsMut { data: piece, ld };
                let lines = cut(thread)..cut(thread + 1);
                machine.level.run(Backward { pool, affine, mean, xs, dy, v, lines, totals });
            });
        });
    });
    totals.halves(pool.channels)
}

struct Backward<'a> {
    pool: MaxPool,
    affine: Affine<'a>,
    mean: &'a [f32],
    xs: Rows<'a>,
    dy: Rows<'a>,
    /// The gradient of `lines`.
    v: RowsMut<'a>,
    /// Rows of pixels, all pictures together.
    lines: Range<usize>,
    totals: &'a mut [f64],
}

impl Kernel for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(mut self) {
        let (pool, lines) = (self.pool, self.lines.clone());
        let (h, w) = pool.output();
        let mut sums = Aligned::zeroed(2 * padded(pool.channels));
        self.v.data.fill(0.0);
        let mut line = lines.start;
        while line < lines.end {
            // The lines of one picture, and the windows that touch them.
            let (image, top) = (line / pool.h, line % pool.h);
            let end = lines.end.min((image + 1) * pool.h);
            let bottom = end - 1 - image * pool.h;
            for y in top / 2..(bottom.div_ceil(2) + 1).min(h) {
                for x in 0..w {
                    let window = Window::new(&pool, image, y, x);
                    self.window::<V>(&window, (image * h + y) * w + x, &mut sums);
                }
                flush(&mut sums, self.totals);
            }
            line = end;
        }
    }
}

impl Backward<'_> {
    /// Hands a window's gradient to the first pixel that has its maximum.
    ///
    /// A window on the border of two threads' lines is looked at by both, and each writes and counts its own pixels.
    #[inline(always)]
    fn window<V: Vector>(&mut self, window: &Window, output: usize, sums: &mut [f32]) {
        let width = padded(self.pool.channels);
        let first = self.lines.start * self.pool.w;
        let own = first..self.lines.end * self.pool.w;
        let dy = self.dy.data.as_ptr().wrapping_add(output * self.dy.ld);
        let (sums, v_ld) = (sums.as_mut_ptr(), self.v.ld);
        for c in (0..width).step_by(V::LANES) {
            // SAFETY: `check` and the driver saw whole rows in every matrix, the padded width in the vectors and twice that
            // in the sums; a window's pixels are in its picture, and only `own` ones are written.
            unsafe {
                let norm = Norm::<V>::new(self.affine, c);
                let mean = V::load(self.mean.as_ptr().add(c));
                let mut values = [V::zero(); 9];
                let mut max = V::zero();
                for (value, &pixel) in values.iter_mut().zip(window.pixels()) {
                    *value = pixel_at(&self.xs, pixel, c);
                    max = max.max(norm.at(*value));
                }
                // ReLU': a window without a positive value hands nothing on.
                let mut left = load::<V>(dy.wrapping_add(c), self.pool.channels.saturating_sub(c));
                left = left.keep_where_positive(max);
                let (mut slopes, mut betas) = (V::load(sums.add(c)), V::load(sums.add(width + c)));
                for (&x, &pixel) in values.iter().zip(window.pixels()) {
                    let v = left.keep_where_equal(norm.at(x), max);
                    left = left.sub(v);
                    if own.contains(&pixel) {
                        let to = self.v.data.as_mut_ptr().wrapping_add((pixel - first) * v_ld + c);
                        let count = v_ld.saturating_sub(c);
                        store(load::<V>(to, count).add(v), to, count);
                        betas = betas.add(v);
                        slopes = v.mul_add(x.sub(mean), slopes);
                    }
                }
                slopes.store(sums.add(c));
                betas.store(sums.add(width + c));
            }
        }
    }
}
