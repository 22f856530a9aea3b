//! safetensors files: the header is the crate's own types, the tensors are written one after the other.
//!
//! Not the crate's `serialize_to_file`: it renames before anything is flushed to the disk, and a tensor that cannot be read
//! has no way to say so. Order and padding are its own, so files equal `safetensors.torch.save_file`'s to the byte.

use super::entry::Entry;
use super::Sink;
use crate::checkpoint::error::{CheckpointError, Result};
use safetensors::tensor::TensorInfo;
use safetensors::Dtype;
use std::collections::BTreeMap;
use tch::Kind;

/// The header's key for text.
const METADATA: &str = "__metadata__";
/// The header's length is a multiple of this.
const ALIGNMENT: usize = 8;

/// Writes the tensors with the largest elements first, then by name.
pub(super) fn write(sink: &mut Sink, entries: &[Entry], metadata: &BTreeMap<String, String>) -> Result<()> {
    let mut sorted = Vec::with_capacity(entries.len());
    for entry in entries {
        let (tensor, kind) = (entry.name.to_string(), entry.kind);
        if tensor == METADATA {
            let problem = "is the place for text in safetensors";
            return Err(CheckpointError::UnwritableName { tensor, problem });
        }
        let dtype =
            dtype(kind).ok_or(CheckpointError::UnsupportedKind { tensor, kind, format: "safetensors" })?;
        sorted.push((dtype, entry));
    }
    sorted.sort_by(|(dtype, a), (other, b)| other.cmp(dtype).then_with(|| a.name.cmp(&b.name)));

    let json = |error: serde_json::Error| sink.failed(error.into());
    let mut header = serde_json::Map::new();
    if !metadata.is_empty() {
        header.insert(METADATA.to_string(), serde_json::to_value(metadata).map_err(json)?);
    }
    let mut offset = 0usize;
    for (dtype, entry) in &sorted {
        // A tensor in memory, or one that a file of this machine holds: its bytes can be counted.
        let end = offset.saturating_add(entry.len() as usize);
        let shape = entry.shape().iter().map(|&size| size as usize).collect();
        let info = TensorInfo { dtype: *dtype, shape, data_offsets: (offset, end) };
        header.insert(entry.name.to_string(), serde_json::to_value(info).map_err(json)?);
        offset = end;
    }
    let mut header = serde_json::to_vec(&header).map_err(json)?;
    header.resize(header.len().next_multiple_of(ALIGNMENT), b' ');
    sink.put(&(header.len() as u64).to_le_bytes())?;
    sink.put(&header)?;
    sorted.iter().try_for_each(|(_, entry)| sink.put(&entry.bytes()?))
}

fn dtype(kind: Kind) -> Option<Dtype> {
    Some(match kind {
        Kind::Bool => Dtype::BOOL,
        Kind::Uint8 => Dtype::U8,
        Kind::Int8 => Dtype::I8,
        Kind::Int16 => Dtype::I16,
        Kind::Int => Dtype::I32,
        Kind::Int64 => Dtype::I64,
        Kind::Half => Dtype::F16,
        Kind::BFloat16 => Dtype::BF16,
        Kind::Float => Dtype::F32,
        Kind::Double => Dtype::F64,
        Kind::ComplexFloat => Dtype::C64,
        Kind::Float8e5m2 => Dtype::F8_E5M2,
        Kind::Float8e4m3fn => Dtype::F8_E4M3,
        _ => return None,
    })
}
