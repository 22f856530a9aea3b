//! A tensor on its way into a file.

use crate::checkpoint::error::{CheckpointError, Result};
use crate::checkpoint::state_dict::TensorView;
use crate::checkpoint::storage::swap_unit;
use std::borrow::Cow;
use tch::{Device, Kind, Tensor};

/// A tensor to be written: its name and dtype in the file, and where its numbers come from. They are read when they are
/// written, one tensor after the other.
///
/// Views of one storage are written apart, each with its own numbers.
#[derive(Debug, Clone)]
pub struct Entry<'a> {
    /// The name in the file.
    pub name: Cow<'a, str>,
    /// The dtype in the file.
    pub kind: Kind,
    numbers: Numbers<'a>,
}

#[derive(Debug, Clone)]
enum Numbers<'a> {
    View(Cow<'a, TensorView>),
    Tensor(&'a Tensor),
}

impl<'a> Entry<'a> {
    /// A tensor of a state dict, as it is there.
    pub fn of_view(name: impl Into<Cow<'a, str>>, view: &'a TensorView) -> Self {
        Self::of(name.into(), Cow::Borrowed(view))
    }

    pub(in crate::checkpoint) fn of(name: Cow<'a, str>, view: Cow<'a, TensorView>) -> Self {
        Entry { name, kind: view.kind(), numbers: Numbers::View(view) }
    }

    /// A tensor in memory, on any device.
    pub fn of_tensor(name: impl Into<Cow<'a, str>>, tensor: &'a Tensor) -> Self {
        Entry { name: name.into(), kind: tensor.kind(), numbers: Numbers::Tensor(tensor) }
    }

    /// The same under another name.
    pub fn named(self, name: impl Into<Cow<'a, str>>) -> Self {
        Entry { name: name.into(), ..self }
    }

    /// The same in another dtype, if it holds floating-point numbers; counters stay counters.
    pub fn in_kind(self, kind: Kind) -> Self {
        match self.kind {
            Kind::Half | Kind::BFloat16 | Kind::Float | Kind::Double => Entry { kind, ..self },
            _ => self,
        }
    }

    /// The shape.
    pub fn shape(&self) -> Vec<i64> {
        match &self.numbers {
            Numbers::View(view) => view.shape().to_vec(),
            Numbers::Tensor(tensor) => tensor.size(),
        }
    }

    /// Bytes it takes in the file.
    pub(super) fn len(&self) -> u64 {
        let numel = match &self.numbers {
            Numbers::View(view) => view.numel(),
            Numbers::Tensor(tensor) => tensor.numel(),
        };
        (numel as u64).saturating_mul(self.kind.elt_size_in_bytes() as u64)
    }

    /// The numbers as bytes, contiguous, little-endian; where they lie already, if they lie so in the source.
    pub(super) fn bytes(&self) -> Result<Cow<'_, [u8]>> {
        let tensor = match &self.numbers {
            Numbers::View(view) => {
                let in_place = view.in_place().filter(|_| view.kind() == self.kind);
                if let (Some(bytes), true) = (in_place, cfg!(target_endian = "little")) {
                    return Ok(Cow::Borrowed(bytes));
                }
                view.to_tensor()?
            }
            Numbers::Tensor(tensor) => tensor.shallow_clone(),
        };
        let tensor = tensor.f_detach()?.f_to(Device::Cpu)?.f_contiguous()?;
        let tensor = self.converted(tensor)?;
        let numel = tensor.numel();
        let mut bytes = vec![0u8; numel * self.kind.elt_size_in_bytes()];
        tensor.f_copy_data_u8(&mut bytes, numel)?;
        if cfg!(target_endian = "big") {
            bytes.chunks_exact_mut(swap_unit(self.kind)).for_each(<[u8]>::reverse);
        }
        Ok(Cow::Owned(bytes))
    }

    /// The tensor in the dtype wanted; a finite number that becomes infinite there is an error, not a value.
    fn converted(&self, tensor: Tensor) -> Result<Tensor> {
        if tensor.kind() == self.kind {
            return Ok(tensor);
        }
        let converted = tensor.f_to_kind(self.kind)?;
        let lost = tensor.f_isfinite()?.f_logical_and(&converted.f_isinf()?)?;
        if bool::try_from(lost.f_any()?)? {
            let largest = f64::try_from(tensor.f_masked_select(&lost)?.f_abs()?.f_max()?)?;
            let (tensor, kind) = (self.name.to_string(), self.kind);
            return Err(CheckpointError::Overflow { tensor, value: largest, kind });
        }
        Ok(converted)
    }
}
