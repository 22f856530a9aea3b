//! Stochastic gradient descent.

use super::{Active, Group, State};
use crate::autograd::updates;
use crate::train::error::in_range;
use crate::train::{Result, TrainError};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use tch::Tensor;

/// torch: `torch.optim.SGD`.
///
/// 1. g ← g + weight_decay·p
/// 2. b ← g the first time, then b ← momentum·b + (1 − dampening)·g
/// 3. g ← g + momentum·b (Nesterov), else g ← b
/// 4. p ← p − lr·g
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sgd {
    /// Share of the last update in the next; 0 for none.
    pub momentum: f64,
    /// What a new gradient loses of its weight in the momentum.
    pub dampening: f64,
    /// Sutskever's form of Nesterov's momentum.
    pub nesterov: bool,
}

impl Default for Sgd {
    /// Momentum 0.9, Nesterov: what the paper trains with.
    fn default() -> Self {
        Sgd { momentum: 0.9, dampening: 0.0, nesterov: true }
    }
}

impl Sgd {
    pub(super) fn check(&self) -> Result<()> {
        in_range("momentum", self.momentum, 0.0..=f64::MAX, "at least 0")?;
        if self.nesterov && (self.momentum <= 0.0 || self.dampening != 0.0) {
            return Err(TrainError::Option {
                option: "Nesterov momentum",
                value: format!("of {} with dampening {}", self.momentum, self.dampening),
                expected: "over 0, without dampening",
            });
        }
        Ok(())
    }

    pub(super) fn update(
        &self,
        group: &Group,
        active: &Active,
        state: &mut HashMap<String, State>,
    ) -> Result<()> {
        let Active { keys, parameters, gradients } = active;
        if group.weight_decay != 0.0 {
            updates::add_scaled(gradients, parameters, group.weight_decay)?;
        }
        if self.momentum == 0.0 {
            updates::add_scaled(parameters, gradients, -group.lr)?;
            return Ok(());
        }
        let mut buffers = Vec::with_capacity(keys.len());
        // Of parameters that have moved before.
        let (mut moving, mut theirs) = (Vec::new(), Vec::new());
        for (key, gradient) in keys.iter().zip(gradients) {
            if let Some(State { first, .. }) = state.get(key) {
                moving.push(first.shallow_clone());
                theirs.push(gradient.shallow_clone());
                buffers.push(first.shallow_clone());
                continue;
            }
            let first = gradient.f_detach_copy()?;
            buffers.push(first.shallow_clone());
            state.insert(key.clone(), State { steps: 0, first, second: Tensor::new() });
        }
        updates::scale(&moving, self.momentum)?;
        updates::add_scaled(&moving, &theirs, 1.0 - self.dampening)?;
        let steps = if self.nesterov {
            updates::add_scaled(gradients, &buffers, self.momentum)?;
            gradients
        } else {
            &buffers
        };
        updates::add_scaled(parameters, steps, -group.lr)?;
        Ok(())
    }
}
