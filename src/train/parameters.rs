//! Which parameters are trained, how fast, and with what decay.

use super::optimizer::Group;
use super::{Result, TrainError};
use crate::DenseNet;
use serde::{Deserialize, Serialize};
use tch::Tensor;

/// What is left as it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub enum Freeze {
    /// Everything is trained.
    #[default]
    Nothing,
    /// All but the classifier.
    Backbone,
    /// Everything from the stem to the end of the named module, in torchvision's order: `denseblock2` freezes `conv0`,
    /// `norm0`, `denseblock1`, `transition1` and `denseblock2`.
    UpTo(String),
    /// The named modules and parameters.
    Modules(Vec<String>),
    /// First all but the classifier; every so many epochs the next block (with what lies between it and the one after
    /// it) is trained too, from the last to the first, the stem at the end. (Howard and Ruder 2018, "gradual unfreezing".)
    Gradual {
        /// Epochs a block, at least 1.
        epochs: usize,
    },
}

/// Learning rates and decay of parameters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub struct Rates {
    /// Decay of weights. As in torch it goes for every parameter, unless the next field says otherwise.
    pub weight_decay: f64,
    /// Decay of batch norms' parameters and of biases.
    pub norm_weight_decay: Option<f64>,
    /// Factors of the learning rate by module or parameter; the longest name that fits counts.
    pub factors: Vec<(String, f64)>,
    /// Each block learns this much slower than the one after it, the last as much slower than the classifier.
    pub layer_decay: Option<f64>,
}

/// Whether `key` is the module or parameter `name`, or lies below it: whole parts of the name count, so `denselayer1` is
/// not above `denselayer10.conv1.weight`.
pub fn is_below(key: &str, name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    key.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// The network's parameters under torchvision's names and in its order (`model.named_parameters()`), frozen ones included.
pub fn parameters(network: &DenseNet) -> Vec<(String, Tensor)> {
    let buffer = |key: &str| {
        [".running_mean", ".running_var", ".num_batches_tracked"].iter().any(|end| key.ends_with(end))
    };
    network.named_tensors().into_iter().filter(|(key, _)| !buffer(key)).collect()
}

/// A module as a person names it, with or without `features.`, and that it exists.
fn resolve(name: &str, parameters: &[(String, Tensor)]) -> Result<String> {
    for full in [name.to_string(), format!("features.{name}")] {
        if !name.is_empty() && parameters.iter().any(|(key, _)| is_below(key, &full)) {
            return Ok(full);
        }
    }
    let mut known: Vec<&str> = Vec::new();
    for (key, _) in parameters {
        let module = key.strip_prefix("features.").unwrap_or(key).split('.').next().unwrap_or(key);
        if known.last() != Some(&module) {
            known.push(module);
        }
    }
    known.push("denseblock1.denselayer1");
    Err(TrainError::UnknownPrefix { prefix: name.to_string(), known: known.join(", ") })
}

/// 0 for the stem, n for `denseblock{n}` with its transition or `norm5`, one more for the classifier.
fn stage(key: &str, blocks: usize) -> usize {
    let number = |prefix: &str| {
        let rest = key.strip_prefix("features.")?.strip_prefix(prefix)?;
        rest.split('.').next()?.parse::<usize>().ok()
    };
    match key {
        _ if is_below(key, "classifier") => blocks + 1,
        _ if is_below(key, "features.norm5") => blocks,
        _ => number("denseblock").or_else(|| number("transition")).unwrap_or(0),
    }
}

impl Freeze {
    /// Makes exactly those parameters record gradients that epoch number `epoch` (from 0) trains; the others' gradients are
    /// forgotten. Returns how many tensors are trained.
    ///
    /// # Errors
    /// [`TrainError::UnknownPrefix`], [`TrainError::NothingTrainable`], [`TrainError::Option`].
    pub fn apply(&self, network: &DenseNet, epoch: usize) -> Result<usize> {
        let parameters = parameters(network);
        let frozen = self.frozen(&parameters, network.features.blocks.len(), epoch)?;
        let trained = frozen.iter().filter(|frozen| !**frozen).count();
        if trained == 0 {
            return Err(TrainError::NothingTrainable { frozen: self.describe() });
        }
        let mut forgotten = Vec::new();
        for ((_, parameter), frozen) in parameters.into_iter().zip(frozen) {
            let parameter = parameter.f_set_requires_grad(!frozen)?;
            if frozen {
                forgotten.push(parameter);
            }
        }
        crate::autograd::updates::clear_gradients(&forgotten)?;
        Ok(trained)
    }

    /// Whether each parameter is frozen in an epoch.
    fn frozen(&self, parameters: &[(String, Tensor)], blocks: usize, epoch: usize) -> Result<Vec<bool>> {
        let each = |frozen: &dyn Fn(&str) -> bool| parameters.iter().map(|(key, _)| frozen(key)).collect();
        Ok(match self {
            Freeze::Nothing => each(&|_| false),
            Freeze::Backbone => each(&|key| !is_below(key, "classifier")),
            Freeze::Modules(names) => {
                let names: Vec<String> =
                    names.iter().map(|name| resolve(name, parameters)).collect::<Result<_>>()?;
                each(&|key| names.iter().any(|name| is_below(key, name)))
            }
            Freeze::UpTo(name) => {
                let name = resolve(name, parameters)?;
                let last = parameters.iter().rposition(|(key, _)| is_below(key, &name)).unwrap_or(0);
                (0..parameters.len()).map(|place| place <= last).collect()
            }
            Freeze::Gradual { epochs: 0 } => {
                let (option, value) = ("epochs of gradual unfreezing", "0".to_string());
                return Err(TrainError::Option { option, value, expected: "at least 1" });
            }
            Freeze::Gradual { epochs } => {
                let first = (blocks + 1).saturating_sub(epoch / epochs);
                each(&|key| stage(key, blocks) < first)
            }
        })
    }

    fn describe(&self) -> String {
        match self {
            Freeze::Nothing => "nothing".to_string(),
            Freeze::Backbone => "backbone".to_string(),
            Freeze::UpTo(name) => format!("up to {name}"),
            Freeze::Modules(names) => names.join(", "),
            Freeze::Gradual { epochs } => format!("gradual, {epochs} epochs a block"),
        }
    }
}

impl Rates {
    /// The network's parameters in groups of one learning rate and one decay, in torchvision's order within a group.
    ///
    /// # Errors
    /// [`TrainError::UnknownPrefix`], [`TrainError::Option`].
    pub fn groups(&self, network: &DenseNet, lr: f64) -> Result<Vec<Group>> {
        let positive = 0.0..=f64::MAX;
        let parameters = parameters(network);
        let mut factors = Vec::new();
        for (name, factor) in &self.factors {
            super::error::in_range("a factor of the learning rate", *factor, positive.clone(), "at least 0")?;
            factors.push((resolve(name, &parameters)?, *factor));
        }
        if let Some(decay) = self.layer_decay {
            super::error::in_range("the layers' decay", decay, f64::MIN_POSITIVE..=1.0, "over 0, at most 1")?;
        }
        let blocks = network.features.blocks.len();
        let mut groups: Vec<Group> = Vec::new();
        for (key, parameter) in parameters {
            let named = factors.iter().filter(|(name, _)| is_below(&key, name));
            let mut factor = named.max_by_key(|(name, _)| name.len()).map_or(1.0, |(_, factor)| *factor);
            if let Some(decay) = self.layer_decay {
                factor *= decay.powi((blocks + 1 - stage(&key, blocks)) as i32);
            }
            let weight_decay = match self.norm_weight_decay {
                Some(own) if parameter.dim() == 1 => own,
                _ => self.weight_decay,
            };
            let lr = lr * factor;
            match groups.iter_mut().find(|group| group.lr == lr && group.weight_decay == weight_decay) {
                Some(group) => group.parameters.push((key, parameter)),
                None => groups.push(Group { parameters: vec![(key, parameter)], lr, weight_decay }),
            }
        }
        Ok(groups)
    }
}
