//! The bytes of a checkpoint, from wherever they come; lazy tensor views keep them alive.

use super::foreign::ForeignFile;
use super::read_error::{Origin, ReadError};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

/// A whole checkpoint as bytes, and where they came from.
pub(super) struct Source {
    origin: Origin,
    bytes: Bytes,
}

enum Bytes {
    Mapped(memmap2::Mmap),
    Owned(Vec<u8>),
    Shared(Arc<[u8]>),
}

impl Source {
    /// Maps a file into memory.
    pub(super) fn open(path: &Path) -> Result<Source, ReadError> {
        let io = |action| move |source| ReadError::Io { action, source };
        let metadata = std::fs::metadata(path).map_err(io("open"))?;
        if metadata.is_dir() {
            return Err(ReadError::Foreign(ForeignFile::Directory));
        }
        // A pipe would block in `open`, and cannot be mapped.
        if !metadata.is_file() {
            return Err(ReadError::Foreign(ForeignFile::Special));
        }
        let file = File::open(path).map_err(io("open"))?;
        let bytes = map(&file).map_err(io("map"))?;
        Ok(Source { origin: Origin::Path(path.to_path_buf()), bytes })
    }

    /// Reads a stream from its start to its end into memory.
    pub(super) fn read(mut reader: impl Read + Seek) -> Result<Source, ReadError> {
        let io = |source| ReadError::Io { action: "read", source };
        let length = reader.seek(SeekFrom::End(0)).map_err(io)?;
        reader.seek(SeekFrom::Start(0)).map_err(io)?;
        let mut bytes = Vec::new();
        // The length is the stream's word: reserve what it says, but let a lie fail instead of abort.
        bytes
            .try_reserve_exact(usize::try_from(length).unwrap_or(usize::MAX))
            .map_err(|_| io(std::io::Error::from(std::io::ErrorKind::OutOfMemory)))?;
        reader.take(length).read_to_end(&mut bytes).map_err(io)?;
        Ok(Source::from(bytes))
    }

    /// Bytes that lay inside another source, compressed.
    pub(super) fn inside(outer: &Source, bytes: Vec<u8>) -> Source {
        Source { origin: outer.origin.clone(), bytes: Bytes::Owned(bytes) }
    }

    /// The file, for errors.
    pub(super) fn origin(&self) -> &Origin {
        &self.origin
    }
}

impl From<Vec<u8>> for Source {
    fn from(bytes: Vec<u8>) -> Self {
        Source { origin: Origin::Memory, bytes: Bytes::Owned(bytes) }
    }
}

impl From<Arc<[u8]>> for Source {
    fn from(bytes: Arc<[u8]>) -> Self {
        Source { origin: Origin::Memory, bytes: Bytes::Shared(bytes) }
    }
}

impl Deref for Source {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Mapped(map) => map,
            Bytes::Owned(bytes) => bytes,
            Bytes::Shared(bytes) => bytes,
        }
    }
}

/// The file's bytes, read by the kernel as they are touched: opening a checkpoint touches a few pages of it, and the
/// page cache is the only copy before the tensors' own.
fn map(file: &File) -> std::io::Result<Bytes> {
    if file.metadata()?.len() == 0 {
        // Linux refuses to map nothing.
        return Ok(Bytes::Owned(Vec::new()));
    }
    // SAFETY: the map is private and only read. Its bytes are never taken for more than numbers and text whose
    // validity is checked, each length against the map's own. What cannot be excluded is another process changing the
    // file meanwhile: overwritten bytes read as other numbers, and a file cut short kills this process with SIGBUS.
    // That is the price every mapped reader pays (torch.load(mmap=True), safetensors); writers that rename a finished
    // file into place, as ours does, never cause it. Suspect this reasoning first if a load dies.
    #[allow(unsafe_code)]
    let map = unsafe { memmap2::MmapOptions::new().map(file)? };
    Ok(Bytes::Mapped(map))
}
