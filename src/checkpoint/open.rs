//! Opens a state dict from a path, bytes or a reader.

use super::error::{CheckpointError, Result};
use super::find::{find, Found};
use super::foreign::ForeignFile;
use super::pickle::{self, Tree};
use super::read_error::{Origin, ReadError};
use super::recognize::{recognize, zip_content, Container, ZipContent};
use super::source::Source;
use super::state_dict::{Format, StateDict, TensorView};
use super::tensors::{self, Storages};
use super::zip_archive::{content, inflatable, Archive, Directory};
use super::{foreign_globals, legacy, limits, modules, safetensors_file};
use std::collections::HashSet;
use std::io::{Read, Seek};
use std::path::Path;
use std::sync::Arc;

/// The largest zipped legacy file that is inflated into memory.
const MAX_ZIPPED_LEGACY: u64 = 1 << 30;

/// How to read a file.
#[derive(Debug, Clone, Default)]
pub struct ReadOptions {
    /// The key path of the state dict inside the file (`"state_dict_ema"`, `"checkpoint.model"`; empty for the top
    /// object), instead of the one that looks most like a DenseNet's.
    pub root: Option<String>,
}

impl StateDict {
    /// Opens a file: torch's legacy and zip formats, TorchScript, safetensors, tch's `.ot`. It is memory-mapped, and no
    /// tensor's data is touched before [`TensorView::to_tensor`]. Nothing in the file is run.
    ///
    /// # Errors
    /// [`CheckpointError::Read`] with a [`ReadError`].
    pub fn open(path: impl AsRef<Path>) -> Result<StateDict> {
        Self::open_with(path, &ReadOptions::default())
    }

    /// As [`StateDict::open`], with options.
    pub fn open_with(path: impl AsRef<Path>, options: &ReadOptions) -> Result<StateDict> {
        let path = path.as_ref();
        let source = Source::open(path)
            .map_err(|error| CheckpointError::read(&Origin::Path(path.to_path_buf()), error))?;
        read(source, options)
    }

    /// As [`StateDict::open`], of a file's bytes in memory (a `Vec<u8>` or an `Arc<[u8]>`); they are kept, not copied.
    pub fn from_bytes(bytes: impl Into<CheckpointBytes>) -> Result<StateDict> {
        Self::from_bytes_with(bytes, &ReadOptions::default())
    }

    /// As [`StateDict::from_bytes`], with options.
    pub fn from_bytes_with(bytes: impl Into<CheckpointBytes>, options: &ReadOptions) -> Result<StateDict> {
        read(bytes.into().0, options)
    }

    /// As [`StateDict::open`], of a stream, which is read from its start to its end into memory.
    pub fn from_reader(reader: impl Read + Seek) -> Result<StateDict> {
        Self::from_reader_with(reader, &ReadOptions::default())
    }

    /// As [`StateDict::from_reader`], with options.
    pub fn from_reader_with(reader: impl Read + Seek, options: &ReadOptions) -> Result<StateDict> {
        let source = Source::read(reader).map_err(|error| CheckpointError::read(&Origin::Memory, error))?;
        read(source, options)
    }
}

/// A checkpoint file's bytes in memory.
pub struct CheckpointBytes(Source);

impl From<Vec<u8>> for CheckpointBytes {
    fn from(bytes: Vec<u8>) -> Self {
        CheckpointBytes(bytes.into())
    }
}

impl From<Arc<[u8]>> for CheckpointBytes {
    fn from(bytes: Arc<[u8]>) -> Self {
        CheckpointBytes(bytes.into())
    }
}

fn read(source: Source, options: &ReadOptions) -> Result<StateDict> {
    let source = Arc::new(source);
    let root = options.root.as_deref();
    let read = match recognize(&source) {
        Ok(Container::Zip) => read_zip(&source, root),
        Ok(Container::Legacy) => read_legacy(&source, root),
        Ok(Container::Safetensors) => safetensors_file::read(&source),
        Err(error) => Err(error),
    };
    read.map_err(|error| CheckpointError::read(source.origin(), error))
}

fn read_legacy(source: &Arc<Source>, root: Option<&str>) -> std::result::Result<StateDict, ReadError> {
    let (tree, mut storages) = legacy::read(source)?;
    assemble(&tree, find(&tree, root)?, &mut storages, Format::PthLegacy)
}

fn read_zip(source: &Arc<Source>, root: Option<&str>) -> std::result::Result<StateDict, ReadError> {
    let directory = Directory::read(source)?;
    let folder = match zip_content(&directory)? {
        ZipContent::Torch { root } => root,
        ZipContent::Legacy => {
            let member = &directory.members[0];
            let max = MAX_ZIPPED_LEGACY.min(inflatable(source.len(), limits::FREE_INFLATION));
            let bytes = content(source, member, max)?.into_owned();
            match recognize(&bytes).ok() {
                Some(Container::Legacy) => {}
                Some(_) => {
                    let first = member.name.clone();
                    return Err(ReadError::Foreign(ForeignFile::ZippedCheckpoints { count: 1, first }));
                }
                None => return Err(ReadError::Foreign(ForeignFile::OtherZip { first: member.name.clone() })),
            }
            return read_legacy(&Arc::new(Source::inside(source, bytes)), root);
        }
    };
    let archive = Archive::new(source.clone(), directory, folder)?;
    let bytes = archive.pickle()?;
    let (tree, _) = pickle::parse(&bytes, 0)?;
    let found = find(&tree, root)?;
    if !archive.is_script() {
        return assemble(&tree, found, &mut archive.storages(), Format::PthZip);
    }
    if found.tensors.is_empty() && archive.has_folder("constants") {
        return Err(ReadError::Foreign(ForeignFile::FrozenTorchScript));
    }
    let ot = modules::is_tch(&tree, found.id);
    let mut dict =
        assemble(&tree, found, &mut archive.storages(), if ot { Format::Ot } else { Format::Torchscript })?;
    if ot {
        // An attribute's name cannot hold a dot: tch writes a bar instead.
        dict.tensors.iter_mut().for_each(|(name, _)| *name = name.replace('|', "."));
    }
    Ok(dict)
}

/// Views of the tensors that were found.
fn assemble(
    tree: &Tree,
    found: Found,
    storages: &mut dyn Storages,
    format: Format,
) -> std::result::Result<StateDict, ReadError> {
    if found.tensors.is_empty() && format != Format::Torchscript {
        return Err(ReadError::NoStateDict { top: tree.describe(tree.root()) });
    }
    let mut names = HashSet::new();
    let mut tensors: Vec<(String, TensorView)> = Vec::with_capacity(found.tensors.len());
    let mut storage_sizes = HashSet::new();
    let (mut stored, mut wanted) = (0u64, 0u64);
    for (name, id) in found.tensors {
        if !names.insert(name.clone()) {
            return Err(ReadError::DuplicateKey { key: name });
        }
        let view = tensors::read(tree, id, &name, storages)?;
        wanted = wanted.saturating_add(view.cost());
        if let Some(storage) = view.storage() {
            if storage_sizes.insert(storage.key.clone()) {
                stored = stored.saturating_add(storage.len() as u64);
            }
        }
        tensors.push((name, view));
    }
    let max = stored.saturating_mul(limits::SHARING).max(limits::FREE_SHARING);
    if wanted > max {
        let what = "the size of all tensors, many times that of their storages,";
        return Err(ReadError::LimitExceeded { what, at: 0, value: wanted, max });
    }
    // Flags that a walk cut short did not see would have refused a tensor.
    tree.check_steps()?;
    let foreign_globals = foreign_globals::list(tree)?;
    let (root, metadata, beside) = (found.root, Vec::new(), found.beside);
    Ok(StateDict { format, root, foreign_globals, metadata, beside, tensors })
}
