//! How a product is shared among threads.

use super::shape::Panels;
use crate::kernels::threads::part;
use std::ops::Range;

/// A grid of parts: rows × panels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Split {
    /// Parts of the rows.
    pub rows: usize,
    /// Parts of the panels.
    pub columns: usize,
}

/// What a part costs beside its product, in units of the product's time for one element of the result.
pub(super) struct Costs {
    /// A row (packing it is repeated by every part of the columns).
    pub row: usize,
    /// A column (its weights are read by every part of the rows).
    pub column: usize,
    /// A column where the rows are split (sums of several parts are added up).
    pub shared_column: usize,
}

impl Split {
    /// The cheapest grid for so many threads. Depends on nothing but its arguments, so that sums are taken in the same
    /// order every time.
    pub fn new(threads: usize, rows: usize, tile: usize, panels: &Panels, costs: &Costs) -> Self {
        let width = panels.columns(&(0..panels.count)).len().div_ceil(panels.count);
        let cost = |split: &Split| {
            let tiles = rows.div_ceil(tile).div_ceil(split.rows) * tile;
            let columns = panels.count.div_ceil(split.columns) * width;
            let shared = if split.rows > 1 { costs.shared_column } else { 0 };
            tiles * columns + costs.row * tiles + (costs.column + shared) * columns
        };
        (1..=threads.min(panels.count))
            .map(|columns| Split { rows: (threads / columns).min(rows.div_ceil(tile)).max(1), columns })
            .min_by_key(cost)
            .unwrap_or(Split { rows: 1, columns: 1 })
    }

    /// Parts.
    pub fn parts(&self) -> usize {
        self.rows * self.columns
    }

    /// Part `index`'s rows (whole tiles, but for the last) and panels.
    pub fn get(
        &self,
        index: usize,
        rows: usize,
        tile: usize,
        panels: &Panels,
    ) -> (Range<usize>, Range<usize>) {
        let tiles = part(rows.div_ceil(tile), self.rows, index / self.columns);
        let mine = tiles.start * tile..(tiles.end * tile).min(rows);
        (mine, part(panels.count, self.columns, index % self.columns))
    }
}
