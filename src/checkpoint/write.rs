//! Writing state dicts.

use super::error::{CheckpointError, Result};
use safetensors::tensor::{Dtype, TensorView};
use std::collections::HashMap;
use std::io::Write;
use std::path::Path;
use tch::{Device, Kind, Tensor};

/// Writes named tensors as safetensors, with `metadata` in the header.
///
/// The file appears whole or not at all: written beside `path`, flushed to disk, then renamed. Names and metadata are
/// sorted, so equal tensors make equal files.
///
/// # Errors
/// [`CheckpointError::UnsupportedKind`] for a dtype safetensors has no name for, [`CheckpointError::Write`], or
/// libtorch's own.
pub fn write_safetensors(
    path: &Path,
    tensors: &[(String, Tensor)],
    metadata: HashMap<String, String>,
) -> Result<()> {
    let failed = |error: std::io::Error| CheckpointError::Write { path: path.to_path_buf(), source: error };
    let mut buffers = Vec::with_capacity(tensors.len());
    for (name, tensor) in tensors {
        let kind = tensor.kind();
        let dtype =
            dtype(kind).ok_or_else(|| CheckpointError::UnsupportedKind { tensor: name.clone(), kind })?;
        let tensor = tensor.f_detach()?.f_to(Device::Cpu)?.f_contiguous()?;
        let mut bytes = vec![0u8; tensor.numel() * kind.elt_size_in_bytes()];
        tensor.f_copy_data_u8(&mut bytes, tensor.numel())?;
        let shape: Vec<usize> = tensor.size().iter().map(|&length| length as usize).collect();
        buffers.push((name.as_str(), dtype, shape, bytes));
    }
    let mut views = Vec::with_capacity(buffers.len());
    for (name, dtype, shape, bytes) in &buffers {
        let view = TensorView::new(*dtype, shape.clone(), bytes)
            .map_err(|error| failed(std::io::Error::other(error)))?;
        views.push((*name, view));
    }
    let metadata = (!metadata.is_empty()).then_some(metadata);
    let bytes =
        safetensors::serialize(views, metadata).map_err(|error| failed(std::io::Error::other(error)))?;
    write_atomically(path, &bytes).map_err(failed)
}

/// Writes a whole file or leaves what was there: temporary file in the same folder, fsync, rename.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut file = tempfile::Builder::new().prefix(".densenet-").tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    // Readable as any file the user creates, not as private as a temporary one.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
    }
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
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
        _ => return None,
    })
}
