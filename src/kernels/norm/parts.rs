//! Vectors at their rows' ragged ends, and sums from every thread.

use crate::kernels::simd::Vector;
use std::sync::{Mutex, PoisonError};

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
