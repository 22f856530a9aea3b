//! What a call needs beside its arguments, kept from call to call.

use crate::kernels::Aligned;
use std::sync::{Mutex, PoisonError};

/// Working memory of the 1×1 convolutions: grows to what the largest call needs and stays. Holds no results.
#[derive(Debug, Default)]
pub struct Scratch {
    slots: Vec<Mutex<Slot>>,
    /// The weight's gradient as packed panels, one for each part of the rows.
    dweight: Aligned,
}

/// One part's own buffers.
#[derive(Debug, Default)]
pub(super) struct Slot {
    /// Packed rows of the input (forward), or its panel (backward).
    pub input: Aligned,
    /// The output gradient, row by row.
    pub gradient: Aligned,
    /// The output gradient in groups of channels.
    pub groups: Aligned,
    /// Panels of the weight.
    pub weight: Aligned,
    /// Sums over a block of rows.
    pub sums: Aligned,
    /// Sums over all rows.
    pub totals: Vec<f64>,
}

impl Scratch {
    /// Slots for so many parts, and room for the weight's gradient. Each slot is locked by the one part that uses it: the
    /// lock is never waited for.
    pub(super) fn take(&mut self, parts: usize, dweight: usize) -> (&mut [Mutex<Slot>], &mut [f32]) {
        if self.slots.len() < parts {
            self.slots.resize_with(parts, Mutex::default);
        }
        (&mut self.slots[..parts], self.dweight.take(dweight))
    }
}

/// Runs `body` with a part's slot. A slot that a panic left behind is as good as any: nothing in it is read before it is
/// written.
pub(super) fn with_slot<R>(slot: &Mutex<Slot>, body: impl FnOnce(&mut Slot) -> R) -> R {
    body(&mut slot.lock().unwrap_or_else(PoisonError::into_inner))
}
