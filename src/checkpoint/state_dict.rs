//! Named tensors as a file holds them, before anything is copied.

use super::error::Result;
use tch::{Kind, Tensor};

/// What kind of file a state dict came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Format {
    /// torch's format before 1.6: five pickles, then the storages.
    PthLegacy,
    /// torch's zip archive.
    PthZip,
    /// A TorchScript archive.
    Torchscript,
    /// safetensors.
    Safetensors,
    /// tch's own archive (`VarStore::save`).
    Ot,
    /// Not a file: tensors given in memory.
    Memory,
}

/// One tensor of a state dict: its type and shape are known, its data may not have been touched yet.
pub struct TensorView {
    kind: Kind,
    shape: Vec<i64>,
    data: Data,
}

enum Data {
    Tensor(Tensor),
}

impl TensorView {
    /// The dtype in the file.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The shape.
    pub fn shape(&self) -> &[i64] {
        &self.shape
    }

    /// A tensor of this dtype and shape on the CPU; the data is read now.
    pub fn to_tensor(&self) -> Result<Tensor> {
        match &self.data {
            Data::Tensor(tensor) => Ok(tensor.shallow_clone()),
        }
    }
}

impl From<Tensor> for TensorView {
    fn from(tensor: Tensor) -> Self {
        TensorView { kind: tensor.kind(), shape: tensor.size(), data: Data::Tensor(tensor) }
    }
}

/// An ordered list of named tensors, and what is known of the file they came from.
pub struct StateDict {
    /// Where they came from.
    pub format: Format,
    /// The key path inside the file under which the tensors lay (`"state_dict"`, `"checkpoint.model"`), if any.
    pub root: Option<String>,
    /// Names of classes and functions in the file that were not run, sorted.
    pub foreign_globals: Vec<String>,
    /// Tensors in the file's order.
    pub tensors: Vec<(String, TensorView)>,
}

impl StateDict {
    /// A state dict of tensors in memory.
    pub fn from_tensors(tensors: impl IntoIterator<Item = (String, Tensor)>) -> Self {
        StateDict {
            format: Format::Memory,
            root: None,
            foreign_globals: Vec::new(),
            tensors: tensors.into_iter().map(|(name, tensor)| (name, tensor.into())).collect(),
        }
    }
}
