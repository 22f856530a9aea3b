//! What a caller can say about weights that their file does not.

use crate::checkpoint::NameOptions;
use crate::model::{Memory, Numerics, Stem};

/// How a network is made from weights.
#[derive(Debug, Clone, Default)]
pub struct NetworkOptions {
    /// The memory mode of training.
    pub memory: Memory,
    /// How the network computes in evaluation mode ([`crate::DenseNet::set_numerics`]).
    pub numerics: Numerics,
    /// The key path of the state dict inside the file, instead of the one that looks most like a DenseNet's.
    pub root: Option<String>,
    /// Which network of the file, and renames that come before all rules.
    pub names: NameOptions,
    /// The stem, where tensors do not tell: [`Stem::Deep`] or [`Stem::DeepBlur`].
    pub stem: Option<Stem>,
}

/// What a network's outputs mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outputs {
    /// One of the classes is true: a softmax over all outputs.
    #[default]
    Classes,
    /// Each output is a label of its own, true or not: a sigmoid each. Probabilities need not add up to one.
    Labels,
}
