//! What becomes of the outputs: the forward's columns with their moments, and the input gradient's V with its sums.

use super::steps::Sink;
use crate::kernels::shared::Shared;
use crate::kernels::simd::Vector;

/// Adds the lanes of two f32 sums to `column` of a task's first two rows of f64 sums, `stride` apart.
///
/// # Safety
/// `sums` can be written there.
#[inline(always)]
unsafe fn add_sums<V: Vector>(a: V, b: V, column: usize, sums: *mut f64, stride: usize) {
    for (row, vector) in [a, b].into_iter().enumerate() {
        let mut lanes = [0.0f32; 16];
        // SAFETY: `lanes` holds the widest vector; the caller's.
        unsafe {
            vector.store(lanes.as_mut_ptr());
            let sums = sums.add(row * stride + column);
            for (lane, value) in lanes.iter().enumerate().take(V::LANES) {
                *sums.add(lane) += f64::from(*value);
            }
        }
    }
}

/// The forward's new columns.
pub(super) struct Columns {
    /// At the first new column of the first row.
    pub(super) to: Shared,
    pub(super) ld: usize,
    /// New columns.
    pub(super) count: usize,
    /// Columns written, zeros included.
    pub(super) end: usize,
    /// Padded count: between a task's rows of sums.
    pub(super) stride: usize,
}

/// Σ (x − pivot) and Σ (x − pivot)²; the pivot, in a task's third row of sums, is one of the task's first values: so that a
/// mean much larger than the deviation costs no digits.
pub(super) struct ColumnsState<V> {
    pivot: V,
    sum: V,
    squares: V,
    column: usize,
}

impl Sink for Columns {
    type State<V: Vector> = ColumnsState<V>;
    const PIVOTED: bool = true;

    #[inline(always)]
    unsafe fn begin<V: Vector>(&self, column: usize, sums: *mut f64, first: Option<V>) -> ColumnsState<V> {
        let mut lanes = [0.0f32; 16];
        // SAFETY: `lanes` holds the widest vector; the caller's.
        let pivot = unsafe {
            let pivots = sums.add(2 * self.stride + column);
            if let Some(first) = first {
                first.store(lanes.as_mut_ptr());
                for (lane, value) in lanes.iter().enumerate().take(V::LANES) {
                    *pivots.add(lane) = f64::from(*value);
                }
            } else {
                for (lane, value) in lanes.iter_mut().enumerate().take(V::LANES) {
                    *value = *pivots.add(lane) as f32;
                }
            }
            V::load(lanes.as_ptr())
        };
        ColumnsState { pivot, sum: V::zero(), squares: V::zero(), column }
    }

    #[inline(always)]
    unsafe fn put<V: Vector>(&self, state: &mut ColumnsState<V>, row: usize, value: V) {
        let deviation = value.sub(state.pivot);
        state.sum = state.sum.add(deviation);
        state.squares = deviation.mul_add(deviation, state.squares);
        let column = state.column;
        // SAFETY: only columns below `end` are written, which the row has; see `forward`.
        unsafe {
            let to = self.to.0.add(row * self.ld + column);
            if column + V::LANES <= self.count {
                value.store(to);
            } else {
                value.store_first(to, self.count.saturating_sub(column).min(V::LANES));
            }
            // The last of the vectors also clears what lies between the new columns and the padded row's end.
            if column < self.count && column + V::LANES >= self.count {
                let mut at = self.count;
                while at < self.end {
                    V::zero().store_first(self.to.0.add(row * self.ld + at), V::LANES.min(self.end - at));
                    at += V::LANES;
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn flush<V: Vector>(&self, state: &mut ColumnsState<V>, column: usize, sums: *mut f64) {
        // SAFETY: the caller's.
        unsafe { add_sums(state.sum, state.squares, column, sums, self.stride) }
        (state.sum, state.squares) = (V::zero(), V::zero());
    }
}

/// The input gradient's V. ADD: scale·V is added to what is there, else V is stored.
pub(super) struct Masked<const ADD: bool> {
    pub(super) input: *const f32,
    pub(super) ld_input: usize,
    pub(super) scale: *const f32,
    pub(super) shift: *const f32,
    pub(super) mean: *const f32,
    pub(super) invstd: *const f32,
    pub(super) to: Shared,
    pub(super) ld: usize,
    pub(super) stride: usize,
}

// SAFETY: the pointers are read only, from slices that outlive the call, but for `to`, of which tasks write apart.
unsafe impl<const ADD: bool> Sync for Masked<ADD> {}

/// One vector of channels.
pub(super) struct MaskedState<V> {
    scale: V,
    shift: V,
    mean: V,
    invstd: V,
    gamma_sum: V,
    beta_sum: V,
    column: usize,
}

impl<const ADD: bool> Sink for Masked<ADD> {
    type State<V: Vector> = MaskedState<V>;
    const PIVOTED: bool = false;

    #[inline(always)]
    unsafe fn begin<V: Vector>(&self, column: usize, _: *mut f64, _: Option<V>) -> MaskedState<V> {
        // SAFETY: the vectors are as long as the padded channels, and `column` + LANES is no more.
        unsafe {
            MaskedState {
                scale: V::load(self.scale.add(column)),
                shift: V::load(self.shift.add(column)),
                mean: V::load(self.mean.add(column)),
                invstd: V::load(self.invstd.add(column)),
                gamma_sum: V::zero(),
                beta_sum: V::zero(),
                column,
            }
        }
    }

    #[inline(always)]
    unsafe fn put<V: Vector>(&self, state: &mut MaskedState<V>, row: usize, value: V) {
        // SAFETY: the row and the column exist in both, and are this task's alone.
        unsafe {
            let x = V::load(self.input.add(row * self.ld_input + state.column));
            let v = value.keep_where_positive(x.mul_add(state.scale, state.shift));
            state.gamma_sum = v.mul_add(x.sub(state.mean).mul(state.invstd), state.gamma_sum);
            state.beta_sum = state.beta_sum.add(v);
            let to = self.to.0.add(row * self.ld + state.column);
            if ADD {
                state.scale.mul_add(v, V::load(to)).store(to);
            } else {
                v.store(to);
            }
        }
    }

    #[inline(always)]
    unsafe fn flush<V: Vector>(&self, state: &mut MaskedState<V>, column: usize, sums: *mut f64) {
        // SAFETY: the caller's.
        unsafe { add_sums(state.gamma_sum, state.beta_sum, column, sums, self.stride) }
        (state.gamma_sum, state.beta_sum) = (V::zero(), V::zero());
    }
}
