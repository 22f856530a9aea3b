//! The unfinished file of a download: one for all processes, locked, hashed as it grows, renamed when it is whole.

use super::error::DownloadError;
use crate::weights::digest;
use same_file::Handle;
use sha2::{Digest, Sha256};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Appended to the file's name. torch's own partial files have 32 hexadecimal digits before it, so neither takes the
/// other's.
const SUFFIX: &str = ".densenet.partial";

/// An unfinished file that this process alone writes to while the value lives. A killed process leaves it, unlocked.
pub(super) struct Partial {
    file: File,
    path: PathBuf,
    hash: Sha256,
    length: u64,
    /// Bytes of more than one answer: a wrong hash may mean that they do not belong together.
    pub(super) pieced: bool,
}

impl Partial {
    /// Opens the unfinished file for `target`, or makes one; `waiting` is called once if another process has it.
    pub(super) fn lock(target: &Path, waiting: impl FnOnce(&Path)) -> Result<Partial, DownloadError> {
        let mut name = target.as_os_str().to_os_string();
        name.push(SUFFIX);
        let path = PathBuf::from(name);
        let folder = target.parent().unwrap_or(Path::new(""));
        let no_file = |source| DownloadError::Folder { path: folder.to_path_buf(), source };
        let no_lock = |source| DownloadError::Lock { path: path.clone(), source };
        let mut waiting = Some(waiting);
        let file = loop {
            let mut open = OpenOptions::new();
            let file =
                open.create(true).truncate(false).read(true).write(true).open(&path).map_err(no_file)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    if let Some(waiting) = waiting.take() {
                        waiting(&path);
                    }
                    file.lock().map_err(no_lock)?;
                }
                Err(TryLockError::Error(error)) => return Err(no_lock(error)),
            }
            // Whoever held the lock may have moved the file into its place, or removed it.
            if is_at(&file, &path).map_err(no_lock)? {
                break file;
            }
        };
        let mut partial = Partial { file, path, hash: Sha256::new(), length: 0, pieced: false };
        let read = partial.file.try_clone().and_then(|file| digest::update(&mut partial.hash, file));
        partial.length = read.map_err(|source| partial.failed(source))?;
        partial.pieced = partial.length > 0;
        Ok(partial)
    }

    /// How many bytes are here.
    pub(super) fn len(&self) -> u64 {
        self.length
    }

    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), DownloadError> {
        self.file.write_all(bytes).map_err(|source| self.failed(source))?;
        self.hash.update(bytes);
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Forgets what is here.
    pub(super) fn clear(&mut self) -> Result<(), DownloadError> {
        let cleared = self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0)));
        cleared.map_err(|source| self.failed(source))?;
        (self.hash, self.length, self.pieced) = (Sha256::new(), 0, false);
        Ok(())
    }

    /// The SHA-256 of what is here, in hexadecimal.
    pub(super) fn sha256(&self) -> String {
        digest::hex(self.hash.clone())
    }

    /// Flushes it to disk and gives it its name, in place of whatever had that.
    pub(super) fn place(self, target: &Path) -> Result<(), DownloadError> {
        self.file.sync_all().map_err(|source| self.failed(source))?;
        let placed = std::fs::rename(&self.path, target).and_then(|()| sync_folder(target));
        placed.map_err(|source| DownloadError::Place { path: target.to_path_buf(), source })
    }

    /// Removes it: another process has finished the file meanwhile, or nothing of it is of use.
    pub(super) fn remove(self) -> Result<(), DownloadError> {
        std::fs::remove_file(&self.path).map_err(|source| self.failed(source))
    }

    fn failed(&self, source: io::Error) -> DownloadError {
        let kept = self.file.metadata().map_or(self.length, |metadata| metadata.len());
        DownloadError::Write { path: self.path.clone(), kept, source }
    }
}

fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    match Handle::from_path(path) {
        Ok(there) => Ok(there == Handle::from_file(file.try_clone()?)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// The new name survives a power cut too.
fn sync_folder(target: &Path) -> io::Result<()> {
    #[cfg(unix)]
    if let Some(folder) = target.parent() {
        File::open(folder)?.sync_all()?;
    }
    #[cfg(not(unix))]
    let _ = target;
    Ok(())
}
