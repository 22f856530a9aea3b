//! How the work is cut, and where its scratch lies.

use crate::kernels::conv3x3::grid::Grid;
use crate::kernels::conv3x3::{Algorithm, Pictures};
use crate::kernels::threads::part;
use crate::kernels::{padded, Machine};
use std::ops::Range;

/// Tiles a pass.
pub(super) const TILES: usize = 56;
/// Input channels at a time.
pub(super) const CHUNK: usize = 32;
/// Between two tiles' channels: room for a register tile's excess rows, and off a power of 2.
pub(super) const STRIDE: usize = CHUNK + 16;
/// With fewer tiles than this, tasks share channels before they share tiles.
const FEW_TILES: usize = 512;

/// How the work is cut.
#[derive(Clone, Copy)]
pub(super) struct Plan {
    pub(super) grid: Grid,
    pub(super) points: usize,
    pub(super) lanes: usize,
    /// Padded outputs, and inputs as they are.
    pub(super) columns: usize,
    pub(super) channels: usize,
    pub(super) channel_chunks: usize,
    pub(super) channel_parts: usize,
    pub(super) tile_parts: usize,
    /// Floats between points: loaded inputs, gradients of one panel, sums of one panel and chunk.
    pub(super) input_point: usize,
    pub(super) gradient_point: usize,
    pub(super) sum_point: usize,
    /// Floats of a task's loaded inputs, of its gradients, and of its sums.
    pub(super) inputs: usize,
    pub(super) gradients: usize,
    pub(super) sums: usize,
}

impl Plan {
    pub(super) fn new(
        on: Machine<'_>,
        algorithm: Algorithm,
        pictures: Pictures,
        outputs: usize,
        inputs: usize,
    ) -> Plan {
        let grid = Grid::new(pictures, algorithm.side());
        let lanes = on.level.lanes();
        let points = algorithm.reach() * algorithm.reach();
        let columns = padded(outputs);
        let panels = columns.div_ceil(2 * lanes);
        let channel_chunks = inputs.div_ceil(CHUNK);
        let threads = on.threads.count().max(1);
        let channel_parts = if grid.tiles() < FEW_TILES { threads.min(channel_chunks) } else { 1 };
        let tile_parts = (threads / channel_parts).clamp(1, grid.tiles().div_ceil(TILES).max(1));
        let input_point = TILES * STRIDE + 16;
        let gradient_point = TILES * 2 * lanes + 16;
        let sum_point = (CHUNK + 16) * 2 * lanes + 16;
        Plan {
            grid,
            points,
            lanes,
            columns,
            channels: inputs,
            channel_chunks,
            channel_parts,
            tile_parts,
            input_point,
            gradient_point,
            sum_point,
            inputs: points * input_point,
            gradients: panels * points * gradient_point,
            sums: channel_chunks.div_ceil(channel_parts) * panels * points * sum_point,
        }
    }

    pub(super) fn task(&self) -> usize {
        self.inputs + self.gradients + self.sums
    }

    pub(super) fn panels(&self) -> usize {
        self.columns.div_ceil(2 * self.lanes)
    }

    /// Chunks of channels of one part.
    pub(super) fn chunks(&self, channel_part: usize) -> Range<usize> {
        part(self.channel_chunks, self.channel_parts, channel_part)
    }

    /// In a task's sums: chunk `chunk` of its own, panel `panel`.
    pub(super) fn sum(&self, chunk: usize, panel: usize) -> usize {
        (chunk * self.panels() + panel) * self.points * self.sum_point
    }

    pub(super) fn vectors(&self, panel: usize) -> usize {
        (self.columns / self.lanes - 2 * panel).min(2)
    }
}
