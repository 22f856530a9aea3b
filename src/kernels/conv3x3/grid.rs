//! Pictures cut into tiles of M×M outputs.

use super::Pictures;

/// All tiles of all pictures, numbered picture by picture, line by line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    pictures: Pictures,
    side: usize,
    down: usize,
    across: usize,
}

/// A tile's place. `top..bottom` of the T lines that it reads and `left..right` of their pixels lie inside the picture.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tile {
    /// The row of its first output.
    pub(super) row: usize,
    pub(super) top: u8,
    pub(super) bottom: u8,
    pub(super) left: u8,
    pub(super) right: u8,
}

impl Grid {
    pub(super) fn new(pictures: Pictures, side: usize) -> Self {
        let (down, across) = (pictures.height.div_ceil(side), pictures.width.div_ceil(side));
        Grid { pictures, side, down, across }
    }

    pub(super) fn tiles(self) -> usize {
        self.pictures.count * self.down * self.across
    }

    /// Rows from one line of a picture to the next.
    pub(super) fn width(self) -> usize {
        self.pictures.width
    }

    /// The tiles from `first` on, into all of `tiles`.
    pub(super) fn locate(self, first: usize, tiles: &mut [Tile]) {
        let Pictures { height, width, .. } = self.pictures;
        let (mut across, line) = (first % self.across, first / self.across);
        let (mut down, mut picture) = (line % self.down, line / self.down);
        for tile in tiles {
            let (y, x) = (down * self.side, across * self.side);
            let reach = self.side + 2;
            *tile = Tile {
                row: (picture * height + y) * width + x,
                top: u8::from(y == 0),
                bottom: reach.min(height + 1 - y) as u8,
                left: u8::from(x == 0),
                right: reach.min(width + 1 - x) as u8,
            };
            across += 1;
            if across == self.across {
                (across, down) = (0, down + 1);
                if down == self.down {
                    (down, picture) = (0, picture + 1);
                }
            }
        }
    }
}

impl Tile {
    /// Whether all of the T×T pixels it reads are inside.
    #[inline(always)]
    pub(super) fn is_inner<const T: usize>(self) -> bool {
        self.top == 0 && self.left == 0 && usize::from(self.bottom) == T && usize::from(self.right) == T
    }

    /// Whether the pixel in line `i`, column `j` of those it reads is inside.
    #[inline(always)]
    pub(super) fn reads(self, i: usize, j: usize) -> bool {
        (usize::from(self.top)..usize::from(self.bottom)).contains(&i)
            && (usize::from(self.left)..usize::from(self.right)).contains(&j)
    }

    /// Outputs that are inside.
    #[inline(always)]
    pub(super) fn rows<const M: usize>(self) -> usize {
        let (down, across) = self.outputs::<M>();
        down * across
    }

    /// Lines and columns of outputs that are inside.
    #[inline(always)]
    pub(super) fn outputs<const M: usize>(self) -> (usize, usize) {
        (M.min(usize::from(self.bottom) - 1), M.min(usize::from(self.right) - 1))
    }
}
