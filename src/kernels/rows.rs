//! Matrices in memory.

use super::padded;
use std::sync::Mutex;

/// Rows to read, `ld` f32 from one to the next.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// From the first row's first number on.
    pub data: &'a [f32],
    /// From one row to the next.
    pub ld: usize,
}

/// Rows to write, `ld` f32 from one to the next.
#[derive(Debug)]
pub struct RowsMut<'a> {
    /// From the first row's first number on.
    pub data: &'a mut [f32],
    /// From one row to the next.
    pub ld: usize,
}

impl<'a> Rows<'a> {
    /// `data` as rows of `ld`.
    pub fn new(data: &'a [f32], ld: usize) -> Self {
        Rows { data, ld }
    }

    /// Panics unless there are `rows` rows of at least `columns`; the last may end after so many.
    pub(super) fn check(&self, what: &str, rows: usize, columns: usize) {
        let needed = if rows == 0 { 0 } else { (rows - 1) * self.ld + columns };
        assert!(
            (rows < 2 || self.ld >= columns) && self.data.len() >= needed,
            "{what}: {} numbers for {rows} rows of {columns}, {} apart",
            self.data.len(),
            self.ld
        );
    }

    /// As [`check`](Self::check), for rows that are read or written up to their padded width.
    pub(super) fn check_padded(&self, what: &str, rows: usize, channels: usize) {
        self.check(what, rows, padded(channels));
    }

    /// Panics unless there are `rows` whole rows, of at least `channels`.
    pub(super) fn check_whole(&self, what: &str, rows: usize, channels: usize) {
        assert!(self.ld >= channels, "{what}: rows of {} for {channels} channels", self.ld);
        self.check(what, rows, self.ld);
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

/// Panics unless a vector of one number a channel is there with its padding.
pub(super) fn check_vector(what: &str, vector: &[f32], channels: usize) {
    let needed = padded(channels);
    assert!(vector.len() >= needed, "{what}: {} numbers for {channels} channels, not {needed}", vector.len());
}
