//! Norm, ReLU and average pooling in one pass, and back.

use super::parts::{flush, load, locked, store, Totals};
use crate::kernels::rows::check_vector;
use crate::kernels::simd::{Kernel, Vector};
use crate::kernels::threads::part;
use crate::kernels::{padded, Affine, Aligned, Machine, Rows, RowsMut};

/// Pictures of N·H·W rows, and windows that do not overlap; rows and columns left over at the bottom and the right are
/// dropped, as PyTorch's `avg_pool2d` drops them.
#[derive(Clone, Copy, Debug)]
pub struct Pool {
    /// Pictures.
    pub n: usize,
    /// Their height.
    pub h: usize,
    /// Their width.
    pub w: usize,
    /// Height and width of a window, 1 to H and W: 2×2 in a transition, H×W before the classifier, 1×1 for no pooling.
    pub window: (usize, usize),
    /// Whether a ReLU stands between norm and pooling.
    pub relu: bool,
    /// C.
    pub channels: usize,
}

impl Pool {
    /// Height and width after pooling.
    fn output(&self) -> (usize, usize) {
        (self.h / self.window.0, self.w / self.window.1)
    }

    /// Windows in all.
    pub fn windows(&self) -> usize {
        let (h, w) = self.output();
        self.n * h * w
    }

    fn check(&self, affine: Affine, xs: &Rows, pooled: &Rows) {
        let (wh, ww) = self.window;
        assert!(wh >= 1 && ww >= 1 && wh <= self.h && ww <= self.w, "a window of {wh}×{ww} in {self:?}");
        affine.check(self.channels);
        xs.check_whole("pool's input", self.n * self.h * self.w, self.channels);
        pooled.check_whole("pool's output", self.windows(), self.channels);
    }
}

/// Means of norm and ReLU over each window, to `to`; zeros follow them up to the padded width (or the rows' end).
///
/// # Panics
/// Where something is too short, or a window larger than the picture.
pub fn pool(machine: Machine, pool: Pool, affine: Affine, xs: Rows, to: RowsMut) {
    pool.check(affine, &xs, &to.as_rows());
    let (h, w) = pool.output();
    let units = pool.n * h;
    let threads = machine.threads.count().clamp(1, units.max(1));
    let ld = to.ld;
    let pieces = to.split(
        (0..=threads)
            .map(|i| part(units, threads, i.min(threads - 1)).start * w)
            .enumerate()
            .map(|(i, start)| if i == threads { units * w } else { start }),
    );
    machine.threads.run(threads, &|thread| {
        locked(&pieces[thread], |piece| {
            let to = RowsMut { data: piece, ld };
            machine.level.run(Forward { pool, affine, xs, to, units: part(units, threads, thread) });
        });
    });
}

struct Forward<'a> {
    pool: Pool,
    affine: Affine<'a>,
    xs: Rows<'a>,
    /// From the first of `units` on.
    to: RowsMut<'a>,
    /// Rows of windows.
    units: std::ops::Range<usize>,
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        let Forward { pool, affine, xs, to, units } = self;
        let (h, w) = pool.output();
        let (wh, ww) = pool.window;
        let mean = V::splat(1.0 / (wh * ww) as f32);
        let width = padded(pool.channels).min(to.ld);
        let from = xs.data.as_ptr();
        for (u, unit) in units.enumerate() {
            let top = (unit / h) * pool.h + (unit % h) * wh;
            for x in 0..w {
                let corner = top * pool.w + x * ww;
                let out = to.data.as_mut_ptr().wrapping_add((u * w + x) * to.ld);
                for c in (0..width).step_by(V::LANES) {
                    // SAFETY: `check` saw whole rows in both matrices, the padded width in the vectors; the window lies in
                    // the picture, and a row is read up to its end at most.
                    unsafe {
                        let (scale, shift): (V, V) =
                            (V::load(affine.scale.as_ptr().add(c)), V::load(affine.shift.as_ptr().add(c)));
                        let mut sum = V::zero();
                        for i in 0..wh {
                            for j in 0..ww {
                                let at = from.wrapping_add((corner + i * pool.w + j) * xs.ld + c);
                                let y = load::<V>(at, xs.ld.saturating_sub(c)).mul_add(scale, shift);
                                sum = sum.add(if pool.relu { y.relu() } else { y });
                            }
                        }
                        store(sum.mul(mean), out.wrapping_add(c), to.ld - c);
                    }
                }
            }
        }
    }
}

/// The backward of [`pool`], as the first reader of `xs`: writes g = scale·v to every row of `g` (v: the gradient after
/// pooling and ReLU; zero where the pooling dropped a row or column), zeros beyond C up to the padded width (or the rows'
/// end), and gives (Σ v·(x − mean), Σ v), which are dγ/invstd and dβ, C of each.
///
/// # Panics
/// As [`pool`].
pub fn pool_backward(
    machine: Machine,
    pool: Pool,
    affine: Affine,
    mean: &[f32],
    xs: Rows,
    dy: Rows,
    g: RowsMut,
) -> (Vec<f64>, Vec<f64>) {
    pool.check(affine, &xs, &dy);
    check_vector("mean", mean, pool.channels);
    g.as_rows().check_whole("pool_backward's output", pool.n * pool.h * pool.w, pool.channels);
    let (h, _) = pool.output();
    let units = pool.n * h;
    let threads = machine.threads.count().clamp(1, units.max(1));
    let width = padded(pool.channels);
    let totals = Totals::new(threads, 2 * width);
    let ld = g.ld;
    let start = |unit: usize| ((unit / h) * pool.h + (unit % h) * pool.window.0) * pool.w;
    let pieces = g.split(
        (0..=threads).map(|i| start(if i == threads { units } else { part(units, threads, i).start })),
    );
    machine.threads.run(threads, &|thread| {
        locked(&pieces[thread], |piece| {
            locked(totals.of(thread), |totals| {
                let units = part(units, threads, thread);
                machine.level.run(Backward {
                    pool,
                    affine,
                    mean,
                    xs,
                    dy,
                    first: start(units.start),
                    g: RowsMut { data: piece, ld },
                    units,
                    totals,
                });
            });
        });
    });
    totals.halves(pool.channels)
}

struct Backward<'a> {
    pool: Pool,
    affine: Affine<'a>,
    mean: &'a [f32],
    xs: Rows<'a>,
    dy: Rows<'a>,
    /// The row that `g` begins with.
    first: usize,
    g: RowsMut<'a>,
    units: std::ops::Range<usize>,
    /// Σ v·(x − mean), then Σ v.
    totals: &'a mut [f64],
}

impl Kernel for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        let Backward { pool, affine, mean, xs, dy, first, g, units, totals } = self;
        let (h, w) = pool.output();
        let (wh, ww) = pool.window;
        let share = V::splat(1.0 / (wh * ww) as f32);
        let width = padded(pool.channels);
        let mut sums = Aligned::zeroed(2 * width);
        let (gs, ld) = (g.data.as_mut_ptr(), g.ld);
        for unit in units {
            let top = (unit / h) * pool.h + (unit % h) * wh;
            for x in 0..w {
                let corner = top * pool.w + x * ww;
                let dy_row = dy.data.as_ptr().wrapping_add((unit * w + x) * dy.ld);
                for c in (0..width).step_by(V::LANES) {
                    let sums = sums.as_mut_ptr();
                    // SAFETY: as in `Forward`; `g` holds the rows of these units from `first` on, and is written up to the
                    // padded width or its rows' end.
                    unsafe {
                        let (scale, shift): (V, V) =
                            (V::load(affine.scale.as_ptr().add(c)), V::load(affine.shift.as_ptr().add(c)));
                        let mean = V::load(mean.as_ptr().add(c));
                        let dy =
                            load::<V>(dy_row.wrapping_add(c), pool.channels.saturating_sub(c)).mul(share);
                        let (mut slopes, mut betas) = (V::load(sums.add(c)), V::load(sums.add(width + c)));
                        for i in 0..wh {
                            for j in 0..ww {
                                let row = corner + i * pool.w + j;
                                let at = xs.data.as_ptr().wrapping_add(row * xs.ld + c);
                                let f = load::<V>(at, xs.ld.saturating_sub(c));
                                let v = match pool.relu {
                                    true => dy.keep_where_positive(f.mul_add(scale, shift)),
                                    false => dy,
                                };
                                betas = betas.add(v);
                                slopes = v.mul_add(f.sub(mean), slopes);
                                let to = gs.wrapping_add((row - first) * ld + c);
                                store(v.mul(scale), to, ld.saturating_sub(c));
                            }
                        }
                        slopes.store(sums.add(c));
                        betas.store(sums.add(width + c));
                    }
                }
            }
            // What the pooling dropped: columns at the right, and rows below the last window.
            let below = if unit % h + 1 == h { pool.h - h * wh } else { 0 };
            for i in 0..wh + below {
                let from = if i < wh { w * ww } else { 0 };
                let row = (top + i) * pool.w - first;
                g.data[(row + from) * ld..(row + pool.w) * ld].fill(0.0);
            }
            flush(&mut sums, totals);
        }
    }
}
