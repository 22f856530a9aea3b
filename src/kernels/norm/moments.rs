//! Mean and variance of each channel.

use super::parts::{flush, load, locked, store, Totals};
use crate::kernels::simd::{Kernel, Vector};
use crate::kernels::threads::part;
use crate::kernels::{padded, Aligned, Machine, Moments, Rows, RowsMut};

/// f32 sums are moved to f64 after this many rows.
const BLOCK: usize = 32;

/// The moments of `channels` channels over `rows` rows of `xs`; needs a row at least.
///
/// # Panics
/// Where `xs` is too short. Its last row may end with its channels: a slice may begin in the middle of a row.
pub fn moments(machine: Machine, xs: Rows, rows: usize, channels: usize) -> Moments {
    run(machine, xs, None, rows, channels)
}

/// As [`moments`], and copies the rows to the first columns of `to`; zeros follow them up to the padded width (or
/// the rows' end).
///
/// # Panics
/// Where `xs` or `to` is too short.
pub fn copy_moments(machine: Machine, xs: Rows, to: RowsMut, rows: usize, channels: usize) -> Moments {
    run(machine, xs, Some(to), rows, channels)
}

fn run(machine: Machine, xs: Rows, to: Option<RowsMut>, rows: usize, channels: usize) -> Moments {
    xs.check("moments' input", rows, channels);
    assert!(rows > 0, "moments of no rows");
    if let Some(to) = &to {
        to.as_rows().check_whole("moments' copy", rows, channels);
    }
    let threads = machine.threads.count().clamp(1, rows.div_ceil(BLOCK));
    let width = padded(channels);
    let mut pivot = Aligned::zeroed(width);
    pivot[..channels].copy_from_slice(&xs.data[..channels]);
    let totals = Totals::new(threads, 2 * width);
    let ld = to.as_ref().map_or(0, |to| to.ld);
    let pieces = to.map(|to| to.split((0..=threads).map(|i| part(rows, threads, i).start.min(rows))));
    machine.threads.run(threads, &|thread| {
        let range = part(rows, threads, thread);
        let body = |to: Option<&mut [f32]>| {
            locked(totals.of(thread), |totals| {
                let xs = Rows::new(&xs.data[range.start * xs.ld..], xs.ld);
                let to = to.map(|data| RowsMut { data, ld });
                machine.level.run(Body { xs, to, rows: range.len(), channels, pivot: &pivot, totals })
            })
        };
        match &pieces {
            Some(pieces) => locked(&pieces[thread], |piece| body(Some(piece))),
            None => body(None),
        }
    });
    let totals = totals.sum();
    let count = rows as f64;
    let mut moments = Moments::default();
    moments.resize(channels);
    for c in 0..channels {
        let (sum, square) = (totals[c] / count, totals[width + c] / count);
        moments.set(c, f64::from(pivot[c]) + sum, square - sum * sum);
    }
    moments
}

struct Body<'a> {
    xs: Rows<'a>,
    to: Option<RowsMut<'a>>,
    rows: usize,
    channels: usize,
    /// A value of each channel that all are taken relative to, so that a mean far from zero costs no digits.
    pivot: &'a [f32],
    /// Sums, then sums of squares.
    totals: &'a mut [f64],
}

impl Kernel for Body<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        let Body { xs, mut to, rows, channels, pivot, totals } = self;
        let width = padded(channels);
        let mut sums = Aligned::zeroed(2 * width);
        let (from, pivot) = (xs.data.as_ptr(), pivot.as_ptr());
        let (target, ld) = match &mut to {
            Some(to) => (to.data.as_mut_ptr(), to.ld),
            None => (std::ptr::null_mut(), 0),
        };
        for row in 0..rows {
            for c in (0..width).step_by(V::LANES) {
                let sums = sums.as_mut_ptr();
                // SAFETY: `run` above checked both matrices; at column c, channels − c numbers of the input's row may be
                // read and ld − c of the copy's written; `pivot` and `sums` have `width` and 2·`width` numbers.
                unsafe {
                    let x: V = load(from.wrapping_add(row * xs.ld + c), channels.saturating_sub(c));
                    if !target.is_null() {
                        store(x, target.wrapping_add(row * ld + c), ld.saturating_sub(c));
                    }
                    let x = x.sub(V::load(pivot.add(c)));
                    V::load(sums.add(c)).add(x).store(sums.add(c));
                    x.mul_add(x, V::load(sums.add(width + c))).store(sums.add(width + c));
                }
            }
            if row % BLOCK == BLOCK - 1 || row + 1 == rows {
                flush(&mut sums, totals);
            }
        }
    }
}
