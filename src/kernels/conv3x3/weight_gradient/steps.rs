//! Output gradients into Winograd's domain, and the products there.

use super::plan::{Plan, STRIDE};
use crate::kernels::conv3x3::grid::Tile;
use crate::kernels::conv3x3::winograd::{Points, Winograd};
use crate::kernels::simd::{Kernel, Vector};
use crate::kernels::{tile, Rows};

/// A dy Aᵀ of each tile: panel by panel, in it point by point, in it tile by tile.
pub(super) struct Spread<'a, const M: usize, const T: usize> {
    pub(super) gradient: Rows<'a>,
    pub(super) plan: &'a Plan,
    pub(super) tiles: &'a [Tile],
    pub(super) to: *mut f32,
}

impl<const M: usize, const T: usize> Kernel for Spread<'_, M, T>
where
    Points: Winograd<M, T>,
{
    type Output = ();
    #[inline(always)]
    fn run<V: Vector>(self) {
        let (plan, ld) = (self.plan, self.gradient.ld);
        for (q, tile) in self.tiles.iter().enumerate() {
            let (down, across) = tile.outputs::<M>();
            for v in 0..plan.columns / V::LANES {
                let mut lines = [[V::zero(); T]; M];
                for i in 0..M {
                    let mut line = [V::zero(); M];
                    for j in 0..M {
                        if i < down && j < across {
                            let at = (tile.row + i * plan.grid.width() + j) * ld + v * V::LANES;
                            // SAFETY: the pixel is inside its picture, and padded rows can be read.
                            line[j] = unsafe { V::load(self.gradient.data.as_ptr().add(at)) };
                        }
                    }
                    lines[i] = Points::output_gradient(line);
                }
                let panel = v / 2;
                let at =
                    panel * plan.points * plan.gradient_point + (q * plan.vectors(panel) + v % 2) * V::LANES;
                for j in 0..T {
                    let mut column = [V::zero(); M];
                    for i in 0..M {
                        column[i] = lines[i][j];
                    }
                    let column = Points::output_gradient(column);
                    for i in 0..T {
                        // SAFETY: laid out by `plan`.
                        unsafe { column[i].store(self.to.add(at + (i * T + j) * plan.gradient_point)) }
                    }
                }
            }
        }
    }
}

/// to\[point\]\[channel\] += Σ over tiles of inputs\[point\]\[tile\]\[channel\] · gradients\[point\]\[tile\], for one panel.
pub(super) struct Sum<'a> {
    pub(super) plan: &'a Plan,
    pub(super) tiles: usize,
    pub(super) channels: usize,
    pub(super) inputs: *const f32,
    pub(super) gradients: *const f32,
    pub(super) to: *mut f32,
}

impl Sum<'_> {
    #[inline(always)]
    pub(super) fn run<V: Vector>(self, vectors: usize) {
        match (vectors, V::TILE_ROWS[vectors - 1]) {
            (1, 28) => V::call(Blocks::<16, 1>(self)),
            (2, 14) => V::call(Blocks::<8, 2>(self)),
            (2, 6) => V::call(Blocks::<6, 2>(self)),
            (2, 4) => V::call(Blocks::<4, 2>(self)),
            _ => unreachable!("conv3x3: no register tile for this level"),
        }
    }
}

/// A [`Sum`], MR channels by NV vectors at a time.
struct Blocks<'a, const MR: usize, const NV: usize>(Sum<'a>);

impl<const MR: usize, const NV: usize> Kernel for Blocks<'_, MR, NV> {
    type Output = ();
    #[inline(always)]
    fn run<V: Vector>(self) {
        let Sum { plan, tiles, channels, inputs, gradients, to } = self.0;
        let width = NV * V::LANES;
        for point in 0..plan.points {
            for channel in (0..channels).step_by(MR) {
                // SAFETY: laid out by `plan`, with room for a block's excess channels on either side.
                unsafe {
                    let to = to.add(point * plan.sum_point + channel * width);
                    let mut acc = tile::load::<V, MR, NV>(to, width);
                    tile::outer(
                        inputs.add(point * plan.input_point + channel),
                        STRIDE,
                        gradients.add(point * plan.gradient_point),
                        width,
                        tiles,
                        &mut acc,
                    );
                    tile::store(&acc, to, width);
                }
            }
        }
    }
}
