//! Matrices in memory, and vectors at their ragged ends.

use crate::kernels::simd::Vector;
use std::sync::{Mutex, PoisonError};

/// Rows of `ld` f32 each, to read.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// Row after row.
    pub data: &'a [f32],
    /// From one row to the next.
    pub ld: usize,
}

/// Rows of `ld` f32 each, to write.
#[derive(Debug)]
pub struct RowsMut<'a> {
    /// Row after row.
    pub data: &'a mut [f32],
    /// From one row to the next.
    pub ld: usize,
}

impl<'a> Rows<'a> {
    /// `data` as rows of `ld`.
    pub fn new(data: &'a [f32], ld: usize) -> Self {
        Rows { data, ld }
    }

    /// Panics unless there are `rows` rows of `channels`; the last may end with its channels.
    pub(super) fn check_tail(&self, what: &str, rows: usize, channels: usize) {
        let needed = if rows == 0 { 0 } else { (rows - 1) * self.ld + channels };
        assert!(
            self.ld >= channels && self.data.len() >= needed,
            "{what}: {} numbers for {rows} rows of {channels} channels, {} apart",
            self.data.len(),
            self.ld
        );
    }

    /// Panics unless there are `rows` whole rows of at least `channels`.
    pub(super) fn check(&self, what: &str, rows: usize, channels: usize) {
        assert!(self.ld >= channels, "{what}: rows of {} for {channels} channels", self.ld);
        assert!(
            self.data.len() >= rows * self.ld,
            "{what}: {} numbers for {rows} rows of {}",
            self.data.len(),
            self.ld
        );
    }
}

impl<'a> RowsMut<'a> {
    /// `data` as rows of `ld`.
    pub fn new(data: &'a mut [f32], ld: usize) -> Self {
        RowsMut { data, ld }
    }

    /// The same, to read.
    pub(super) fn as_rows(&self) -> Rows<'_> {
        Rows { data: self.data, ld: self.ld }
    }

    /// Cuts the rows at the given row numbers (rising, the first 0), each piece behind a lock of its own, for one thread.
    pub(super) fn split(self, cuts: impl Iterator<Item = usize>) -> Vec<Mutex<&'a mut [f32]>> {
        let (ld, mut rest, mut at) = (self.ld, self.data, 0);
        let mut pieces = Vec::new();
        for cut in cuts.skip(1) {
            let (piece, after) = std::mem::take(&mut rest).split_at_mut((cut - at) * ld);
            pieces.push(Mutex::new(piece));
            (rest, at) = (after, cut);
        }
        pieces
    }
}

/// What a lock protects, whatever happened to others.
pub(super) fn locked<T, R>(of: &Mutex<T>, body: impl FnOnce(&mut T) -> R) -> R {
    body(&mut of.lock().unwrap_or_else(PoisonError::into_inner))
}

/// The first `count` lanes from memory, zeros beyond.
///
/// # Safety
/// min(`count`, LANES) f32 can be read at `from`.
#[inline(always)]
pub(super) unsafe fn load<V: Vector>(from: *const f32, count: usize) -> V {
    if count >= V::LANES {
        // SAFETY: the caller's.
        return unsafe { V::load(from) };
    }
    let mut line = [0.0f32; 16];
    // SAFETY: the caller's, and `line` holds the widest vector.
    unsafe {
        std::ptr::copy_nonoverlapping(from, line.as_mut_ptr(), count);
        V::load(line.as_ptr())
    }
}

/// The first `count` lanes to memory.
///
/// # Safety
/// min(`count`, LANES) f32 can be written at `to`.
#[inline(always)]
pub(super) unsafe fn store<V: Vector>(vector: V, to: *mut f32, count: usize) {
    if count >= V::LANES {
        // SAFETY: the caller's.
        return unsafe { vector.store(to) };
    }
    let mut line = [0.0f32; 16];
    // SAFETY: the caller's, and `line` holds the widest vector.
    unsafe {
        vector.store(line.as_mut_ptr());
        std::ptr::copy_nonoverlapping(line.as_ptr(), to, count);
    }
}

/// Sums a channel, in f64, from every thread.
#[derive(Debug)]
pub(super) struct Totals(Vec<Mutex<Vec<f64>>>);

impl Totals {
    pub fn new(threads: usize, len: usize) -> Self {
        Totals((0..threads).map(|_| Mutex::new(vec![0.0; len])).collect())
    }

    /// A thread's own.
    pub fn of(&self, thread: usize) -> &Mutex<Vec<f64>> {
        &self.0[thread]
    }

    /// Added up, always in the same order.
    pub fn sum(self) -> Vec<f64> {
        let mut totals =
            self.0.into_iter().map(|total| total.into_inner().unwrap_or_else(PoisonError::into_inner));
        let mut sum = totals.next().unwrap_or_default();
        for total in totals {
            sum.iter_mut().zip(total).for_each(|(sum, part)| *sum += part);
        }
        sum
    }

    /// [`sum`](Self::sum) as its two halves (γ's gradient and β's), each without its padding beyond `channels`.
    pub fn halves(self, channels: usize) -> (Vec<f64>, Vec<f64>) {
        let mut first = self.sum();
        let mut second = first.split_off(first.len() / 2);
        first.truncate(channels);
        second.truncate(channels);
        (first, second)
    }
}

/// Adds f32 sums to f64 ones, and clears them.
#[inline(always)]
pub(super) fn flush(sums: &mut [f32], totals: &mut [f64]) {
    for (sum, total) in sums.iter_mut().zip(totals) {
        *total += f64::from(*sum);
        *sum = 0.0;
    }
}
