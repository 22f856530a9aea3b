//! Writing state dicts: torch's zip and legacy formats, safetensors, tch's `.ot`.
//!
//! A file appears whole or not at all ([`atomic`]), and tensors pass through memory one at a time.

mod atomic;
mod entry;
mod pth;
mod safetensors;
mod script;
mod zip;

pub(crate) use atomic::write_atomically;
pub use entry::Entry;
pub(crate) use script::{ScriptModule, ScriptSource};

use super::error::{CheckpointError, Result};
use super::state_dict::Format;
use atomic::AtomicFile;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{self, Write};
use std::path::Path;
use tch::Tensor;

/// Names are counted with 32 bits in pickles and their lengths limited by whoever reads them; none that long is honest.
const MAX_NAME: usize = 1024;

/// A format that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WriteFormat {
    /// torch's zip archive, as `torch.save(state_dict, path)` writes it.
    PthZip,
    /// torch's format before 1.6, for readers that are that old.
    PthLegacy,
    /// safetensors.
    Safetensors,
    /// tch's own archive, for `VarStore::load`.
    Ot,
}

impl WriteFormat {
    /// All of them.
    pub const ALL: [WriteFormat; 4] =
        [WriteFormat::PthZip, WriteFormat::PthLegacy, WriteFormat::Safetensors, WriteFormat::Ot];

    /// The format that a file's ending stands for: `.pth`, `.pt`, `.bin` and `.ckpt` are [`WriteFormat::PthZip`].
    ///
    /// # Errors
    /// [`CheckpointError::UnknownEnding`].
    pub fn of_path(path: &Path) -> Result<WriteFormat> {
        let ending = path.extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase);
        Ok(match ending.as_deref() {
            Some("pth" | "pt" | "bin" | "ckpt") => WriteFormat::PthZip,
            Some("safetensors") => WriteFormat::Safetensors,
            Some("ot") => WriteFormat::Ot,
            _ => return Err(CheckpointError::UnknownEnding { path: path.to_path_buf() }),
        })
    }

    /// What [`super::StateDict::open`] says of a file of this format.
    pub fn read_as(self) -> Format {
        match self {
            WriteFormat::PthZip => Format::PthZip,
            WriteFormat::PthLegacy => Format::PthLegacy,
            WriteFormat::Safetensors => Format::Safetensors,
            WriteFormat::Ot => Format::Ot,
        }
    }

    /// Whether files of this format carry text beside the tensors.
    pub fn has_metadata(self) -> bool {
        self == WriteFormat::Safetensors
    }
}

/// Writes tensors, in their order where the format keeps one, with `metadata` where it carries any.
///
/// The file appears whole or not at all: written beside `path`, flushed to the disk, then renamed over what was there. So
/// it may be the very file the tensors are being read from.
///
/// # Errors
/// [`CheckpointError::Write`]; [`CheckpointError::UnsupportedKind`], [`CheckpointError::UnwritableName`] and
/// [`CheckpointError::DuplicateEntry`] for what the format cannot hold; [`CheckpointError::Overflow`]; what reading a
/// tensor can fail with.
pub fn write(
    path: &Path,
    format: WriteFormat,
    entries: &[Entry],
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    let mut names = HashSet::with_capacity(entries.len());
    for entry in entries {
        if !names.insert(&entry.name) {
            return Err(CheckpointError::DuplicateEntry { name: entry.name.to_string() });
        }
        if entry.name.len() > MAX_NAME {
            let tensor = entry.name.chars().take(64).chain("…".chars()).collect();
            return Err(CheckpointError::UnwritableName { tensor, problem: "is longer than 1024 bytes" });
        }
    }
    let mut sink = Sink::begin(path)?;
    match format {
        WriteFormat::PthZip => pth::write_zip(&mut sink, entries),
        WriteFormat::PthLegacy => pth::write_legacy(&mut sink, entries),
        WriteFormat::Safetensors => safetensors::write(&mut sink, entries, metadata),
        WriteFormat::Ot => script::write_ot(&mut sink, entries),
    }?;
    sink.commit()
}

/// Writes named tensors as `torch.save` does in its zip format: `torch.load(path, weights_only=True)` gives an
/// `OrderedDict` of them, in this order.
///
/// # Errors
/// As [`write`].
pub fn write_pth(path: &Path, tensors: &[(String, Tensor)]) -> Result<()> {
    write(path, WriteFormat::PthZip, &of_tensors(tensors), &BTreeMap::new())
}

/// Writes named tensors as safetensors, with `metadata` in the header.
///
/// Names and metadata are sorted, so equal tensors make equal files.
///
/// # Errors
/// As [`write`].
pub fn write_safetensors(
    path: &Path,
    tensors: &[(String, Tensor)],
    metadata: HashMap<String, String>,
) -> Result<()> {
    write(path, WriteFormat::Safetensors, &of_tensors(tensors), &metadata.into_iter().collect())
}

fn of_tensors(tensors: &[(String, Tensor)]) -> Vec<Entry<'_>> {
    tensors.iter().map(|(name, tensor)| Entry::of_tensor(name, tensor)).collect()
}

/// Writes a TorchScript archive that is still to be tried, then committed.
pub(crate) fn begin_script<'a>(
    path: &'a Path,
    root: &ScriptModule,
    sources: &[ScriptSource],
    extra: &[(&str, &[u8])],
) -> Result<Sink<'a>> {
    let mut sink = Sink::begin(path)?;
    script::write(&mut sink, root, sources, extra)?;
    Ok(sink)
}

/// A file in the making, whose errors name it.
pub(crate) struct Sink<'a> {
    file: AtomicFile,
    path: &'a Path,
}

impl<'a> Sink<'a> {
    fn begin(path: &'a Path) -> Result<Self> {
        match AtomicFile::create(path) {
            Ok(file) => Ok(Sink { file, path }),
            Err(source) => Err(CheckpointError::Write { path: path.to_path_buf(), source }),
        }
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(|source| self.failed(source))
    }

    /// Where the file is for now.
    pub(crate) fn temporary(&mut self) -> Result<&Path> {
        let path = self.path;
        self.file.temporary().map_err(|source| CheckpointError::Write { path: path.to_path_buf(), source })
    }

    /// Puts the file in its place.
    pub(crate) fn commit(self) -> Result<()> {
        let path = self.path;
        self.file.commit().map_err(|source| CheckpointError::Write { path: path.to_path_buf(), source })
    }

    fn failed(&self, source: io::Error) -> CheckpointError {
        CheckpointError::Write { path: self.path.to_path_buf(), source }
    }
}
