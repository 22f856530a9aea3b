//! Adam with decoupled weight decay.

use super::{Active, Group, State};
use crate::autograd::updates;
use crate::train::error::in_range;
use crate::train::Result;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use tch::Tensor;

/// torch: `torch.optim.AdamW` (without `amsgrad`).
///
/// 1. p ← p·(1 − lr·weight_decay)
/// 2. m ← lerp(m, g, 1 − β₁); v ← β₂·v + (1 − β₂)·g²
/// 3. d ← √v / √(1 − β₂ᵗ) + ε
/// 4. p ← p − lr/(1 − β₁ᵗ) · m/d
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdamW {
    /// Decay of the mean of gradients.
    pub beta1: f64,
    /// Decay of the mean of their squares.
    pub beta2: f64,
    /// Added to the denominator.
    pub eps: f64,
}

impl Default for AdamW {
    /// torch's: β 0.9 and 0.999, ε 1e-8.
    fn default() -> Self {
        AdamW { beta1: 0.9, beta2: 0.999, eps: 1e-8 }
    }
}

impl AdamW {
    pub(super) fn check(&self) -> Result<()> {
        for (option, value) in [("beta1", self.beta1), ("beta2", self.beta2)] {
            in_range(option, value, 0.0..=1.0 - f64::EPSILON, "at least 0 and below 1")?;
        }
        in_range("eps", self.eps, 0.0..=f64::MAX, "at least 0")
    }

    pub(super) fn update(
        &self,
        group: &Group,
        active: &Active,
        state: &mut HashMap<String, State>,
    ) -> Result<()> {
        let Active { keys, parameters, gradients } = active;
        let (mut first, mut second, mut steps) = (Vec::new(), Vec::new(), Vec::new());
        for (key, parameter) in keys.iter().zip(parameters) {
            if !state.contains_key(key) {
                let zeros = || parameter.f_detach()?.f_zeros_like();
                state.insert(key.clone(), State { steps: 0, first: zeros()?, second: zeros()? });
            }
            let Some(own) = state.get_mut(key) else { continue };
            own.steps += 1;
            steps.push(f64::from(own.steps));
            first.push(own.first.shallow_clone());
            second.push(own.second.shallow_clone());
        }
        if group.weight_decay != 0.0 {
            updates::scale(parameters, 1.0 - group.lr * group.weight_decay)?;
        }
        updates::lerp(&first, gradients, 1.0 - self.beta1)?;
        updates::scale(&second, self.beta2)?;
        updates::addcmul(&second, gradients, gradients, 1.0 - self.beta2)?;
        let correction = |beta: f64, steps: f64| 1.0 - beta.powf(steps);
        let mut denominators: Vec<Tensor> = Vec::with_capacity(second.len());
        let mut factors = Vec::with_capacity(second.len());
        for (second, &steps) in second.iter().zip(&steps) {
            let mut denominator = second.f_sqrt()?.f_div_scalar(correction(self.beta2, steps).powf(0.5))?;
            denominators.push(denominator.f_add_scalar_(self.eps)?);
            factors.push(-(group.lr / correction(self.beta1, steps)));
        }
        updates::addcdiv(parameters, &first, &denominators, &factors)?;
        Ok(())
    }
}
