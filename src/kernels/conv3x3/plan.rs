//! How a convolution's work is cut, and where its scratch lies.

use super::engine::Job;
use super::grid::Grid;
use super::product::{SPARE_ROWS, STRIDES};
use super::Algorithm;
use crate::kernels::padded;
use crate::kernels::threads::part;
use std::ops::Range;

/// Tiles that a pass takes at most.
pub(super) const MAX_TILES: usize = 56;

/// With fewer tiles than this a thread, the threads work on the same ones. (A few more, and tiles of their own are as good or
/// better: what one thread loads, another has to fetch.)
const FEW_TILES: usize = 2;

/// How the work is cut.
#[derive(Clone, Copy)]
pub(super) struct Plan {
    pub(super) grid: Grid,
    /// Whether all threads share one scratch and go through the steps together (see [`super::few`]); else each has its own.
    pub(super) together: bool,
    pub(super) tile_parts: usize,
    /// Vectors of outputs come in panels of two.
    pub(super) panels: usize,
    pub(super) panel_parts: usize,
    /// Input channels loaded at once, but for the last chunk's; and how many times.
    pub(super) chunk: usize,
    pub(super) chunks: usize,
    /// Between two tiles of a point in the loaded inputs.
    pub(super) stride: usize,
    /// Tiles of a pass, at most.
    pub(super) tiles: usize,
    /// Floats between points: loaded inputs, and products.
    pub(super) input_point: usize,
    pub(super) product_point: usize,
    /// Floats of one panel's products, and of one chunk's loaded inputs.
    pub(super) product_panel: usize,
    pub(super) inputs: usize,
    /// Floats of a task's scratch, or of all tasks' together.
    pub(super) scratch: usize,
    /// Padded outputs, and lanes.
    pub(super) columns: usize,
    pub(super) lanes: usize,
}

impl Plan {
    pub(super) fn new<S>(job: &Job<'_, S>) -> Plan {
        let form = job.weights.form();
        let (side, reach) = (form.algorithm.side(), form.algorithm.reach());
        let lanes = form.level.lanes();
        let grid = Grid::new(job.pictures, side);
        let threads = job.on.threads.count().max(1);
        let columns = padded(form.columns);
        let panels = columns.div_ceil(2 * lanes);
        // The plain sum's points share one product: its threads cannot each take some.
        let together =
            side > 1 && threads > 1 && (1..MAX_TILES.min(FEW_TILES * threads)).contains(&grid.tiles());
        let (tile_parts, panel_parts) = if together {
            let panel_parts = threads.min(panels);
            ((threads / panel_parts).clamp(1, grid.tiles()), panel_parts)
        } else {
            let tile_parts = threads.min(grid.tiles()).max(1);
            (tile_parts, (threads / tile_parts).clamp(1, panels))
        };

        let largest = STRIDES[STRIDES.len() - 1];
        let chunk = padded(form.depth.div_ceil(form.depth.div_ceil(largest)));
        let chunks = form.depth.div_ceil(chunk);
        let stride = STRIDES.into_iter().find(|stride| *stride >= chunk).unwrap_or(largest);
        let tiles = if together { grid.tiles() } else { tiles_per_pass(form.algorithm, lanes) };
        let rows = tiles + SPARE_ROWS;
        let input_point = rows * stride + 16;
        let product_point = rows * 2 * lanes + 16;
        let (points, products) = (reach * reach, if side == 1 { 1 } else { reach * reach });
        let product_panel = products * product_point;
        let inputs = points * input_point;
        let scratch = if together {
            chunks * inputs + panels * product_panel
        } else {
            let kept = if chunks > 1 { panels.div_ceil(panel_parts) } else { 1 };
            inputs + kept * product_panel
        };
        Plan {
            grid,
            together,
            tile_parts,
            panels,
            panel_parts,
            chunk,
            chunks,
            stride,
            tiles,
            input_point,
            product_point,
            product_panel,
            inputs,
            scratch,
            columns,
            lanes,
        }
    }

    /// Tasks that have outputs of their own.
    pub(super) fn tasks(&self) -> usize {
        self.tile_parts * self.panel_parts
    }

    /// The tiles and the panels whose outputs are a task's.
    pub(super) fn share(&self, task: usize) -> (Range<usize>, Range<usize>) {
        (
            part(self.grid.tiles(), self.tile_parts, task / self.panel_parts),
            part(self.panels, self.panel_parts, task % self.panel_parts),
        )
    }

    /// f64s of a task's sums: two rows of Σ, one of pivots, and the number of rows summed.
    pub(super) fn sums(&self) -> usize {
        3 * self.columns + 1
    }
}

fn tiles_per_pass(algorithm: Algorithm, lanes: usize) -> usize {
    match (algorithm, lanes) {
        (Algorithm::F4, 16) => 14,
        (Algorithm::F4, _) => 12,
        (_, 16) => 28,
        (_, _) => 24,
    }
}

/// What the tasks summed.
pub(super) struct Sums<'a> {
    pub(super) plan: Plan,
    pub(super) data: &'a [f64],
}

impl Sums<'_> {
    /// Of each task that had `column`: how many rows, the two sums, and the pivot.
    pub(super) fn of(&self, column: usize) -> impl Iterator<Item = (f64, f64, f64, f64)> + Clone + '_ {
        let plan = self.plan;
        let panel = column / (2 * plan.lanes);
        (0..plan.tasks()).filter(move |task| plan.share(*task).1.contains(&panel)).map(move |task| {
            let sums = &self.data[task * plan.sums()..][..plan.sums()];
            (
                sums[3 * plan.columns],
                sums[column],
                sums[plan.columns + column],
                sums[2 * plan.columns + column],
            )
        })
    }
}
