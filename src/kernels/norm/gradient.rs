//! A batch norm's input gradient, once its two sums are known.

use super::parts::{load, locked, store};
use crate::kernels::rows::check_vector;
use crate::kernels::simd::{Kernel, Vector};
use crate::kernels::threads::part;
use crate::kernels::{padded, Aligned, Machine, Rows, RowsMut, PAD};

/// A few columns of long rows: the processor does not see where the next ones are, so they are asked for so many rows early.
const AHEAD: usize = 16;

/// dx = g·scale + (x − mean)·slope + offset, a channel each; every vector as long as the padded width, zero beyond C.
///
/// For one norm, scale = γ·invstd, slope = −scale·invstd·dγ/M, offset = −scale·dβ/M. For a feature that many norms read, g
/// is already Σ scale·v, scale is 1, and slope and offset are those sums.
#[derive(Clone, Copy, Debug)]
pub struct Gradient<'a> {
    /// See the type.
    pub scale: &'a [f32],
    /// See the type.
    pub mean: &'a [f32],
    /// See the type.
    pub slope: &'a [f32],
    /// See the type.
    pub offset: &'a [f32],
}

/// Writes dx of `channels` channels to `to`, zeros beyond them up to the padded width (or the rows' end). `g`, `xs` and
/// `more` (added to dx) begin at the first of the channels: pass slices that start in the middle of a row.
///
/// # Panics
/// Where something is too short. The last row of `g`, `xs` and `more` may end after its channels.
#[allow(clippy::too_many_arguments)]
pub fn gradient(
    machine: Machine,
    terms: Gradient,
    g: Rows,
    xs: Rows,
    more: Option<Rows>,
    to: RowsMut,
    rows: usize,
    channels: usize,
) {
    g.check("gradient", rows, channels);
    run(machine, terms, Some(g), xs, more, to, rows, channels);
}

/// As [`gradient`], with g in `to`.
///
/// # Panics
/// Where something is too short.
pub fn gradient_in_place(
    machine: Machine,
    terms: Gradient,
    xs: Rows,
    to: RowsMut,
    rows: usize,
    channels: usize,
) {
    run(machine, terms, None, xs, None, to, rows, channels);
}

#[allow(clippy::too_many_arguments)]
fn run(
    machine: Machine,
    terms: Gradient,
    g: Option<Rows>,
    xs: Rows,
    more: Option<Rows>,
    to: RowsMut,
    rows: usize,
    channels: usize,
) {
    xs.check("gradient's input", rows, channels);
    if let Some(more) = &more {
        more.check("gradient's addend", rows, channels);
    }
    to.as_rows().check_whole("gradient's output", rows, channels);
    for vector in [terms.scale, terms.mean, terms.slope, terms.offset] {
        check_vector("gradient", vector, channels);
    }
    let mut valid = Aligned::zeroed(padded(channels));
    valid[..channels].fill(1.0);
    let threads = machine.threads.count().clamp(1, rows.max(1));
    let ld = to.ld;
    let pieces =
        to.split((0..=threads).map(|i| if i == threads { rows } else { part(rows, threads, i).start }));
    machine.threads.run(threads, &|thread| {
        let range = part(rows, threads, thread);
        locked(&pieces[thread], |piece| {
            machine.level.run(Body {
                terms,
                valid: &valid,
                g,
                xs,
                more,
                to: RowsMut { data: piece, ld },
                first: range.start,
                rows: range.len(),
                total: rows,
                channels,
            });
        });
    });
}

struct Body<'a> {
    terms: Gradient<'a>,
    /// 1 for each channel, 0 beyond: whatever stands beyond the channels in memory, even NaN, must not get out.
    valid: &'a [f32],
    g: Option<Rows<'a>>,
    xs: Rows<'a>,
    more: Option<Rows<'a>>,
    /// From row `first` on.
    to: RowsMut<'a>,
    first: usize,
    rows: usize,
    /// Rows of `g`, `xs` and `more`.
    total: usize,
    channels: usize,
}

impl Kernel for Body<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        let Body { terms, valid, g, xs, more, to, first, rows, total, channels } = self;
        let width = padded(channels).min(to.ld);
        for row in 0..rows {
            // Past its channels a row can be read as far as the next one reaches; the last one has no next.
            let last = first + row + 1 == total;
            let readable = |matrix: &Rows| if last { channels } else { matrix.ld };
            let begin = |matrix: &Rows| matrix.data.as_ptr().wrapping_add((first + row) * matrix.ld);
            let out = to.data.as_mut_ptr().wrapping_add(row * to.ld);
            for c in (0..width).step_by(V::LANES) {
                // SAFETY: `run` above checked every matrix for `channels` in each row and whole rows before the last, the
                // vectors for the padded width, and the output for whole rows.
                unsafe {
                    let vector = |of: &[f32]| V::load(of.as_ptr().add(c));
                    if c % PAD == 0 {
                        V::prefetch(begin(&xs).wrapping_add(AHEAD * xs.ld + c));
                        if let Some(g) = &g {
                            V::prefetch(begin(g).wrapping_add(AHEAD * g.ld + c));
                        }
                    }
                    let left = |matrix: &Rows| readable(matrix).saturating_sub(c);
                    let g: V = match &g {
                        Some(g) => load(begin(g).wrapping_add(c), left(g)),
                        None => load(out.wrapping_add(c), to.ld - c),
                    };
                    let centered = load::<V>(begin(&xs).wrapping_add(c), left(&xs)).sub(vector(terms.mean));
                    let dy = g.mul_add(vector(terms.scale), vector(terms.offset));
                    let mut dx = centered.mul_add(vector(terms.slope), dy);
                    if let Some(more) = &more {
                        dx = dx.add(load(begin(more).wrapping_add(c), left(more)));
                    }
                    store(dx.keep_where_positive(vector(valid)), out.wrapping_add(c), to.ld - c);
                }
            }
        }
    }
}
