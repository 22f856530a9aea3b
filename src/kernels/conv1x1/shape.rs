//! Which register tile does what: panels of columns, heights of tiles.

use crate::kernels::simd::{Kernel, Level, Vector};
use std::ops::Range;

/// The most rows of any tile.
pub(super) const MAX_HEIGHT: usize = 28;
/// The most columns of any panel.
pub(super) const MAX_WIDTH: usize = 48;

/// Columns of a matrix cut into panels of one, two or three vectors, with the least waste: twos, and one panel of
/// another width first where the number of vectors is odd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Panels {
    lanes: usize,
    head: usize,
    /// How many there are.
    pub count: usize,
}

/// Neighbouring columns that one tile spans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Panel {
    /// The first column.
    pub first: usize,
    /// Vectors.
    pub vectors: usize,
    /// Columns: vectors · lanes.
    pub width: usize,
}

impl Panels {
    /// Of `columns` columns, at least 1, with vectors of type V.
    pub fn of<V: Vector>(columns: usize) -> Self {
        let vectors = columns.div_ceil(V::LANES).max(1);
        // Three vectors only where a tile of them is high enough to be worth its loads.
        let head = match vectors {
            _ if vectors % 2 == 0 => 2,
            1 => 1,
            _ if V::TILE_ROWS[2] >= 8 => 3,
            _ => 1,
        };
        Panels { lanes: V::LANES, head, count: 1 + (vectors - head) / 2 }
    }

    /// The same, at a level.
    pub fn at(level: Level, columns: usize) -> Self {
        struct At(usize);
        impl Kernel for At {
            type Output = Panels;
            #[inline(always)]
            fn run<V: Vector>(self) -> Panels {
                Panels::of::<V>(self.0)
            }
        }
        level.run(At(columns))
    }

    /// Rows of the tiles that most panels are computed by, at their level.
    pub fn tile(&self, level: Level) -> usize {
        struct Height(usize);
        impl Kernel for Height {
            type Output = usize;
            #[inline(always)]
            fn run<V: Vector>(self) -> usize {
                height::<V>(self.0)
            }
        }
        level.run(Height(self.get(self.count - 1).vectors))
    }

    /// Panel `index`.
    pub fn get(&self, index: usize) -> Panel {
        let (first, vectors) = if index == 0 { (0, self.head) } else { (self.head + 2 * (index - 1), 2) };
        Panel { first: first * self.lanes, vectors, width: vectors * self.lanes }
    }

    /// The columns of neighbouring panels.
    pub fn columns(&self, panels: &Range<usize>) -> Range<usize> {
        if panels.is_empty() {
            return 0..0;
        }
        let last = self.get(panels.end - 1);
        self.get(panels.start).first..last.first + last.width
    }
}

/// Work on one tile, for any height and width.
pub(super) trait Tiled {
    /// Does it. MR rows are at hand; that fewer may count is the implementation's to know.
    ///
    /// # Safety
    /// The implementation's.
    unsafe fn run<V: Vector, const MR: usize, const NV: usize>(self);
}

/// A tile of fixed shape, as a function of its own: only so does the compiler keep all sums in registers.
struct Shaped<T, const MR: usize, const NV: usize>(T);

impl<T: Tiled, const MR: usize, const NV: usize> Kernel for Shaped<T, MR, NV> {
    type Output = ();
    #[inline(always)]
    fn run<V: Vector>(self) {
        // SAFETY: promised to `tile_rows` or `tile_group`, the only makers.
        unsafe { self.0.run::<V, MR, NV>() }
    }
}

#[inline(always)]
fn call<V: Vector, T: Tiled, const MR: usize, const NV: usize>(tile: T) {
    V::call(Shaped::<T, MR, NV>(tile));
}

/// Rows of the tiles that a panel of so many vectors is computed by.
#[inline(always)]
pub(super) fn height<V: Vector>(vectors: usize) -> usize {
    V::TILE_ROWS[vectors - 1]
}

/// Runs the smallest tile that holds `rows` rows, at most [`height`], of `vectors` vectors: full height, 8 or 4.
///
/// # Safety
/// `tile`'s, for MR up to the full height.
#[inline(always)]
pub(super) unsafe fn tile_rows<V: Vector, T: Tiled>(rows: usize, vectors: usize, tile: T) {
    // The outer conditions are known to the compiler: each level gets its own tiles alone.
    let smaller = |size: usize| rows <= size && size < height::<V>(vectors);
    match vectors {
        1 if smaller(4) => call::<V, T, 4, 1>(tile),
        1 if smaller(8) => call::<V, T, 8, 1>(tile),
        1 => match V::TILE_ROWS[0] {
            28 => call::<V, T, 28, 1>(tile),
            12 => call::<V, T, 12, 1>(tile),
            _ => call::<V, T, 4, 1>(tile),
        },
        2 if smaller(4) => call::<V, T, 4, 2>(tile),
        2 if smaller(8) => call::<V, T, 8, 2>(tile),
        2 => match V::TILE_ROWS[1] {
            14 => call::<V, T, 14, 2>(tile),
            6 => call::<V, T, 6, 2>(tile),
            _ => call::<V, T, 4, 2>(tile),
        },
        _ if smaller(4) => call::<V, T, 4, 3>(tile),
        _ if smaller(8) => call::<V, T, 8, 3>(tile),
        _ => match V::TILE_ROWS[2] {
            9 => call::<V, T, 9, 3>(tile),
            _ => call::<V, T, 4, 3>(tile),
        },
    }
}

/// Output channels that the weight's gradient is computed for at once: a tile of fewer rows than [`height`], because
/// the usual widths (multiples of 16) divide by it.
#[inline(always)]
pub(super) fn group<V: Vector>() -> usize {
    match V::TILE_ROWS[1] {
        8.. => 8,
        6.. => 6,
        _ => 4,
    }
}

/// Runs the tile of [`group`] rows and `vectors` vectors.
///
/// # Safety
/// `tile`'s, for MR of [`group`] rows.
#[inline(always)]
pub(super) unsafe fn tile_group<V: Vector, T: Tiled>(vectors: usize, tile: T) {
    match (vectors, group::<V>()) {
        (1, 8) => call::<V, T, 8, 1>(tile),
        (1, 6) => call::<V, T, 6, 1>(tile),
        (1, _) => call::<V, T, 4, 1>(tile),
        (2, 8) => call::<V, T, 8, 2>(tile),
        (2, 6) => call::<V, T, 6, 2>(tile),
        (2, _) => call::<V, T, 4, 2>(tile),
        (_, 8) => call::<V, T, 8, 3>(tile),
        (_, 6) => call::<V, T, 6, 3>(tile),
        (_, _) => call::<V, T, 4, 3>(tile),
    }
}
