//! Named tensors as a file holds them, before anything is copied.

use super::copy;
use super::error::{CheckpointError, Result};
use super::storage::{swap_unit, Storage};
use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;
use tch::{Device, Kind, Tensor};

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

/// One tensor of a state dict: its type and shape are known, its data may not have been touched yet. Cloning it copies no
/// data.
#[derive(Clone)]
pub struct TensorView {
    kind: Kind,
    shape: Vec<i64>,
    data: Data,
    order: Option<Order>,
}

/// Another order of one dimension than the data's: place i holds what lies at `index[i]`.
#[derive(Clone)]
struct Order {
    dimension: i64,
    index: Arc<[i64]>,
}

enum Data {
    Tensor(Tensor),
    Stored(Stored),
}

impl Clone for Data {
    fn clone(&self) -> Self {
        match self {
            Data::Tensor(tensor) => Data::Tensor(tensor.shallow_clone()),
            Data::Stored(stored) => Data::Stored(stored.clone()),
        }
    }
}

/// A view of a storage, proven to lie inside it.
#[derive(Clone)]
pub(super) struct Stored {
    pub(super) storage: Arc<Storage>,
    /// Bytes of the storage from the first to the last element.
    pub(super) range: Range<usize>,
    /// In elements, none negative, one for each dimension.
    pub(super) strides: Vec<i64>,
}

impl TensorView {
    pub(super) fn stored(kind: Kind, shape: Vec<i64>, stored: Stored) -> Self {
        TensorView { kind, shape, data: Data::Stored(stored), order: None }
    }

    /// The same tensor with another order of one dimension: place i holds what is now at `index[i]`. `index` must be a
    /// permutation of that dimension's places.
    pub(super) fn reordered(&self, dimension: i64, index: Arc<[i64]>) -> Self {
        TensorView { order: Some(Order { dimension, index }), ..self.clone() }
    }

    /// The same tensor as it lies in the file.
    pub(super) fn in_file_order(&self) -> Self {
        TensorView { order: None, ..self.clone() }
    }

    /// The dtype in the file.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The shape.
    pub fn shape(&self) -> &[i64] {
        &self.shape
    }

    /// The number of elements.
    pub fn numel(&self) -> usize {
        if self.shape.contains(&0) {
            return 0;
        }
        // Proven to fit the file when the view was made, or libtorch's own.
        self.shape.iter().product::<i64>() as usize
    }

    /// A contiguous tensor of this dtype and shape on the CPU, in memory libtorch allocated; the data is read now. A view
    /// of a tensor in memory ([`Format::Memory`]) gives that tensor.
    ///
    /// # Errors
    /// [`CheckpointError::Read`] if deflated data is damaged, [`CheckpointError::Torch`] if libtorch cannot allocate.
    pub fn to_tensor(&self) -> Result<Tensor> {
        let tensor = self.as_stored()?;
        match &self.order {
            None => Ok(tensor),
            Some(Order { dimension, index }) => {
                let index = Tensor::f_from_slice(index)?.f_to_device(tensor.device())?;
                Ok(tch::no_grad(|| tensor.f_index_select(*dimension, &index))?)
            }
        }
    }

    /// In the data's own order.
    fn as_stored(&self) -> Result<Tensor> {
        let stored = match &self.data {
            Data::Tensor(tensor) => return Ok(tensor.shallow_clone()),
            Data::Stored(stored) => stored,
        };
        let bytes = stored.bytes(self.kind)?;
        if is_contiguous(&self.shape, &stored.strides) {
            return from_bytes(&bytes, &self.shape, self.kind);
        }
        // The storage's part that the view spans, once, and the view of it.
        let length = (bytes.len() / self.kind.elt_size_in_bytes()) as i64;
        let flat = from_bytes(&bytes, &[length], self.kind)?;
        Ok(flat.f_as_strided(&self.shape, &stored.strides, 0)?.f_contiguous()?)
    }

    /// The elements' bytes where they lie in the file, in the order of a contiguous tensor and of this machine: `None` if
    /// they have to be inflated, reordered or swapped first.
    pub(super) fn in_place(&self) -> Option<&[u8]> {
        match &self.data {
            Data::Tensor(_) => None,
            Data::Stored(_) if self.order.is_some() => None,
            Data::Stored(stored) if !is_contiguous(&self.shape, &stored.strides) => None,
            Data::Stored(stored) => stored.storage.in_place(stored.range.clone(), swap_unit(self.kind)),
        }
    }

    /// Copies the data into `target`, which has this shape, and may have another dtype or be on another device; on the
    /// CPU without a copy in between. Records nothing for autograd.
    ///
    /// # Errors
    /// As [`TensorView::to_tensor`]; [`CheckpointError::Torch`] if the shapes differ.
    pub fn copy_to(&self, target: &Tensor) -> Result<()> {
        if target.size() != self.shape {
            // `copy_` would broadcast.
            let shapes = format!("the file's tensor is {:?}, the target {:?}", self.shape, target.size());
            return Err(CheckpointError::Torch(tch::TchError::Shape(shapes)));
        }
        tch::no_grad(|| {
            if let (Data::Stored(stored), None) = (&self.data, &self.order) {
                let plain = target.device() == Device::Cpu && target.is_contiguous();
                if plain && is_contiguous(&self.shape, &stored.strides) {
                    return copy::bytes(&target.f_view([-1])?, &stored.bytes(self.kind)?, self.kind);
                }
            }
            target.shallow_clone().f_copy_(&self.to_tensor()?)?;
            Ok(())
        })
    }

    /// Bytes that [`TensorView::to_tensor`] touches: the tensor's, and of a strided one everything between its elements.
    pub(super) fn cost(&self) -> u64 {
        let bytes = (self.numel() as u64).saturating_mul(self.kind.elt_size_in_bytes() as u64);
        match &self.data {
            Data::Tensor(_) => bytes,
            Data::Stored(stored) => bytes.max(stored.range.len() as u64),
        }
    }

    pub(super) fn storage(&self) -> Option<&Arc<Storage>> {
        match &self.data {
            Data::Tensor(_) => None,
            Data::Stored(stored) => Some(&stored.storage),
        }
    }
}

impl Stored {
    fn bytes(&self, kind: Kind) -> Result<Cow<'_, [u8]>> {
        self.storage
            .read(self.range.clone(), swap_unit(kind))
            .map_err(|error| CheckpointError::read(self.storage.source().origin(), error))
    }
}

/// A tensor of these bytes, in memory of its own.
fn from_bytes(bytes: &[u8], shape: &[i64], kind: Kind) -> Result<Tensor> {
    let tensor = Tensor::f_empty(shape, (kind, Device::Cpu))?;
    copy::bytes(&tensor.f_view([-1])?, bytes, kind)?;
    Ok(tensor)
}

/// Whether elements lie one after the other; strides of dimensions of size 1 mean nothing.
fn is_contiguous(shape: &[i64], strides: &[i64]) -> bool {
    if shape.contains(&0) {
        return true;
    }
    let mut expected: i64 = 1;
    for (size, stride) in shape.iter().zip(strides).rev() {
        if *size != 1 && *stride != expected {
            return false;
        }
        expected = expected.saturating_mul(*size);
    }
    true
}

impl std::fmt::Debug for TensorView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TensorView({:?} {:?})", self.kind, self.shape)
    }
}

impl From<Tensor> for TensorView {
    fn from(tensor: Tensor) -> Self {
        TensorView { kind: tensor.kind(), shape: tensor.size(), data: Data::Tensor(tensor), order: None }
    }
}

/// An ordered list of named tensors, and what is known of the file they came from.
#[derive(Debug)]
pub struct StateDict {
    /// Where they came from.
    pub format: Format,
    /// The key path inside the file under which the tensors lay (`"state_dict"`, `"checkpoint.model"`), if any.
    pub root: Option<String>,
    /// Names of classes and functions in the file that were not run, sorted.
    pub foreign_globals: Vec<String>,
    /// Text the file carries beside the tensors (safetensors' `__metadata__`), sorted by key.
    pub metadata: Vec<(String, String)>,
    /// Short values that stood beside the state dict (`arch`, `epoch`), as text, sorted by key.
    pub beside: Vec<(String, String)>,
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
            metadata: Vec::new(),
            beside: Vec::new(),
            tensors: tensors.into_iter().map(|(name, tensor)| (name, tensor.into())).collect(),
        }
    }
}
