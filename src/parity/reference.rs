//! What PyTorch saved, and where.

use super::error::{ParityError, Result};
use crate::checkpoint::StateDict;
use crate::runtime;
use crate::transforms::RgbImage;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::Path;
use tch::{Device, Kind, Tensor};

/// The tensors PyTorch saved, and what the file says of where they were made.
pub struct Reference {
    tensors: HashMap<String, Tensor>,
    about: BTreeMap<String, String>,
}

/// Something that was different where the reference was made, and that makes results round differently.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Condition {
    /// `torch`, `cpu_capability`, `threads` or `device`, as the reference's metadata call it.
    pub what: &'static str,
    /// There.
    pub reference: String,
    /// Here.
    pub here: String,
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.what {
            "torch" => "libtorch",
            "cpu_capability" => "instruction set",
            what => what,
        };
        write!(f, "the reference was made with another {what}: {} there, {} here", self.reference, self.here)
    }
}

impl Reference {
    /// Reads all tensors of a file.
    ///
    /// # Errors
    /// [`ParityError::Reference`].
    pub fn open(path: &Path) -> Result<Reference> {
        let read = || -> crate::checkpoint::Result<Reference> {
            let dict = StateDict::open(path)?;
            let tensors = dict.tensors.iter().map(|(name, view)| Ok((name.clone(), view.to_tensor()?)));
            let tensors = tensors.collect::<crate::checkpoint::Result<_>>()?;
            Ok(Reference { tensors, about: dict.metadata.into_iter().collect() })
        };
        read().map_err(|source| ParityError::Reference { name: path.display().to_string(), source })
    }

    /// Tensors in memory.
    pub fn from_tensors(tensors: impl IntoIterator<Item = (String, Tensor)>) -> Reference {
        Reference { tensors: tensors.into_iter().collect(), about: BTreeMap::new() }
    }

    /// What the file says of itself (safetensors' metadata), by key.
    pub fn about(&self) -> &BTreeMap<String, String> {
        &self.about
    }

    /// Conditions that were others where the reference was made. Only what it states is compared: see
    /// [`Reference::states_conditions`].
    pub fn other_conditions(&self, device: Device) -> Vec<Condition> {
        let here = [
            ("torch", runtime::libtorch_version()),
            ("cpu_capability", runtime::cpu_capability().map(str::to_string)),
            ("threads", Some(tch::get_num_threads().to_string())),
            ("device", Some(device_kind(device).to_string())),
        ];
        let other = |(what, here): (&'static str, Option<String>)| {
            let (reference, here) = (self.about.get(what)?.clone(), here?);
            // `+cpu`, `+cu130` is where it was built, not what it computes.
            let bare = |version: &str| version.split('+').next().unwrap_or_default().to_string();
            (bare(&reference) != bare(&here)).then_some(Condition { what, reference, here })
        };
        // On another device the processor's instructions and threads matter little.
        here.into_iter().filter_map(other).collect()
    }

    /// Whether the file says with which libtorch it was made.
    pub fn states_conditions(&self) -> bool {
        self.about.contains_key("torch")
    }

    pub(super) fn get(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name)
    }

    pub(super) fn need(&self, name: &'static str) -> Result<&Tensor> {
        self.get(name).ok_or_else(|| {
            let mut found: Vec<String> = self.tensors.keys().cloned().collect();
            found.sort();
            ParityError::Missing { missing: name, found }
        })
    }

    /// The file of the picture, byte for byte.
    pub(super) fn image_bytes(&self) -> Result<Option<Vec<u8>>> {
        let Some(tensor) = self.get("image_bytes") else { return Ok(None) };
        if tensor.kind() != Kind::Uint8 || tensor.dim() != 1 {
            return Err(unexpected("image_bytes", tensor, "the picture's file as uint8 of one dimension"));
        }
        Ok(Some(bytes(tensor)?))
    }

    /// A picture of pixels, gray ones thrice.
    pub(super) fn pixels(&self, name: &'static str) -> Result<Option<RgbImage>> {
        let Some(tensor) = self.get(name) else { return Ok(None) };
        let wrong = || unexpected(name, tensor, "pixels as uint8 [3 or 1, H, W]");
        let (&[channels @ (1 | 3), height, width], Kind::Uint8) = (&tensor.size()[..], tensor.kind()) else {
            return Err(wrong());
        };
        let tensor =
            if channels == 1 { tensor.f_expand([3, height, width], false)? } else { tensor.shallow_clone() };
        let pixels = bytes(&tensor.f_permute([1, 2, 0])?.f_contiguous()?)?;
        let size = u32::try_from(width).ok().zip(u32::try_from(height).ok());
        let picture = size.and_then(|(width, height)| RgbImage::from_raw(width, height, pixels));
        picture.map(Some).ok_or_else(wrong)
    }
}

fn bytes(tensor: &Tensor) -> Result<Vec<u8>> {
    Ok(Vec::try_from(tensor.f_contiguous()?.f_reshape([-1])?)?)
}

fn unexpected(name: &'static str, tensor: &Tensor, expected: &'static str) -> ParityError {
    ParityError::Picture { name, found: format!("{:?} {:?}", tensor.kind(), tensor.size()), expected }
}

fn device_kind(device: Device) -> &'static str {
    match device {
        Device::Cpu => "cpu",
        Device::Cuda(_) => "cuda",
        Device::Mps => "mps",
        Device::Vulkan => "vulkan",
    }
}
