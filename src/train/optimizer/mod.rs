//! SGD and AdamW as `torch.optim` computes them, with a state that can be saved.

mod adamw;
mod sgd;

pub use adamw::AdamW;
pub use sgd::Sgd;

use super::{Result, TrainError};
use crate::autograd::updates;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use tch::{no_grad, Kind, Tensor};

/// What turns gradients into updates.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rule {
    /// Stochastic gradient descent.
    Sgd(Sgd),
    /// Adam with decoupled weight decay.
    AdamW(AdamW),
}

/// Parameters that share a learning rate and a weight decay. torch: an entry of `param_groups`.
#[derive(Debug)]
pub struct Group {
    /// The parameters under their names.
    pub parameters: Vec<(String, Tensor)>,
    /// The learning rate of the next step.
    pub lr: f64,
    /// Decay of the weights.
    pub weight_decay: f64,
}

/// Updates parameters by their gradients. torch: `torch.optim.SGD`, `torch.optim.AdamW`.
///
/// The operations and their order are those of torch's `_single_tensor_sgd` and `_single_tensor_adam`, so that on the CPU
/// parameters and state are PyTorch's to the bit.
#[derive(Debug)]
pub struct Optimizer {
    /// The groups; a schedule writes their learning rates.
    pub groups: Vec<Group>,
    rule: Rule,
    /// By the parameter's name, from its first gradient on.
    state: HashMap<String, State>,
}

/// What the rules keep of one parameter.
#[derive(Debug)]
struct State {
    /// Steps it has taken part in.
    steps: u32,
    /// torch's `momentum_buffer`, or `exp_avg`; undefined without momentum.
    first: Tensor,
    /// `exp_avg_sq`; undefined for SGD.
    second: Tensor,
}

/// Parameters of a group that have a gradient, with their gradients and states.
struct Active {
    keys: Vec<String>,
    parameters: Vec<Tensor>,
    gradients: Vec<Tensor>,
}

impl Optimizer {
    /// An optimizer without a state.
    ///
    /// # Errors
    /// [`TrainError::Option`] for a factor out of torch's range, [`TrainError::RepeatedParameter`].
    pub fn new(rule: Rule, groups: Vec<Group>) -> Result<Self> {
        match &rule {
            Rule::Sgd(sgd) => sgd.check()?,
            Rule::AdamW(adamw) => adamw.check()?,
        }
        let mut names = std::collections::HashSet::new();
        for group in &groups {
            for (option, value) in [("the learning rate", group.lr), ("the weight decay", group.weight_decay)]
            {
                super::error::in_range(option, value, 0.0..=f64::MAX, "at least 0")?;
            }
            for (name, _) in &group.parameters {
                if !names.insert(name) {
                    return Err(TrainError::RepeatedParameter { name: name.clone() });
                }
            }
        }
        Ok(Optimizer { groups, rule, state: HashMap::new() })
    }

    /// One update. Parameters without a gradient are left alone, their state too.
    ///
    /// Gradients are used up: what they hold afterwards is intermediate, [`zero_grad`](Self::zero_grad) forgets it.
    ///
    /// # Errors
    /// libtorch's own.
    pub fn step(&mut self) -> Result<()> {
        no_grad(|| {
            for group in &self.groups {
                let active = Active::of(group);
                if active.keys.is_empty() {
                    continue;
                }
                match &self.rule {
                    Rule::Sgd(sgd) => sgd.update(group, &active, &mut self.state)?,
                    Rule::AdamW(adamw) => adamw.update(group, &active, &mut self.state)?,
                }
            }
            Ok(())
        })
    }

    /// Forgets all gradients. torch: `zero_grad(set_to_none=True)`.
    ///
    /// # Errors
    /// libtorch's own.
    pub fn zero_grad(&self) -> Result<()> {
        for group in &self.groups {
            let parameters: Vec<Tensor> =
                group.parameters.iter().map(|(_, parameter)| parameter.shallow_clone()).collect();
            updates::clear_gradients(&parameters)?;
        }
        Ok(())
    }

    /// The gradients there are, in the order of the groups.
    pub fn gradients(&self) -> Vec<Tensor> {
        self.groups.iter().flat_map(|group| Active::of(group).gradients).collect()
    }

    /// Momentum, or Adam's β₁, for the next step: what a one-cycle schedule moves.
    pub fn set_momentum(&mut self, momentum: f64) {
        match &mut self.rule {
            Rule::Sgd(sgd) => sgd.momentum = momentum,
            Rule::AdamW(adamw) => adamw.beta1 = momentum,
        }
    }

    /// The state as named tensors: torch's `state_dict()["state"]`, with parameters' names for numbers
    /// (`classifier.weight.momentum_buffer`, or `.exp_avg`, `.exp_avg_sq` and `.step`).
    pub fn state(&self) -> Vec<(String, Tensor)> {
        let mut named = Vec::new();
        for (name, _) in self.groups.iter().flat_map(|group| &group.parameters) {
            let Some(State { steps, first, second }) = self.state.get(name) else { continue };
            if let Rule::AdamW(_) = self.rule {
                named.push((format!("{name}.step"), Tensor::from(*steps as f32)));
                named.push((format!("{name}.exp_avg"), first.shallow_clone()));
                named.push((format!("{name}.exp_avg_sq"), second.shallow_clone()));
            } else if first.defined() {
                named.push((format!("{name}.momentum_buffer"), first.shallow_clone()));
            }
        }
        named
    }

    /// Puts a state back that [`state`](Self::state) gave, copying the tensors.
    ///
    /// # Errors
    /// [`TrainError::OptimizerState`] for names or shapes that are not this optimizer's; the state is then as it was.
    pub fn load_state(&mut self, named: &[(String, Tensor)]) -> Result<()> {
        let tensors: HashMap<&str, &Tensor> =
            named.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        let mut state = HashMap::new();
        let mut used = 0;
        for (name, parameter) in self.groups.iter().flat_map(|group| &group.parameters) {
            let copied = |part: &str| -> Result<Option<Tensor>> {
                let key = format!("{name}.{part}");
                let Some(tensor) = tensors.get(key.as_str()) else { return Ok(None) };
                if tensor.size() != parameter.size() {
                    return Err(TrainError::OptimizerState { key, problem: "has another shape" });
                }
                // The parameter's own layout, so that every later operation is the one it would have been.
                let mut copy = parameter.f_detach()?.f_empty_like()?;
                copy.f_copy_(tensor)?;
                Ok(Some(copy))
            };
            let missing = |part: &str| TrainError::OptimizerState {
                key: format!("{name}.{part}"),
                problem: "is missing",
            };
            let own = match self.rule {
                Rule::Sgd(_) => copied("momentum_buffer")?.map(|first| {
                    used += 1;
                    State { steps: 0, first, second: Tensor::new() }
                }),
                Rule::AdamW(_) => match tensors.get(format!("{name}.step").as_str()) {
                    None => None,
                    Some(steps) => {
                        used += 3;
                        let steps = steps.f_to_kind(Kind::Double)?.f_double_value(&[])? as u32;
                        let first = copied("exp_avg")?.ok_or_else(|| missing("exp_avg"))?;
                        let second = copied("exp_avg_sq")?.ok_or_else(|| missing("exp_avg_sq"))?;
                        Some(State { steps, first, second })
                    }
                },
            };
            if let Some(own) = own {
                state.insert(name.clone(), own);
            }
        }
        if used != named.len() {
            let known = |key: &str| key.rsplit_once('.').is_some_and(|(name, _)| state.contains_key(name));
            let key = named.iter().map(|(key, _)| key).find(|key| !known(key)).cloned().unwrap_or_default();
            return Err(TrainError::OptimizerState { key, problem: "belongs to no parameter" });
        }
        self.state = state;
        Ok(())
    }
}

impl Active {
    fn of(group: &Group) -> Active {
        let mut active = Active { keys: Vec::new(), parameters: Vec::new(), gradients: Vec::new() };
        for (name, parameter) in &group.parameters {
            let gradient = parameter.grad();
            if gradient.defined() {
                active.keys.push(name.clone());
                active.parameters.push(parameter.shallow_clone());
                active.gradients.push(gradient);
            }
        }
        active
    }
}
