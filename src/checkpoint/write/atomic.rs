//! Files that appear whole or not at all.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// Bytes gathered before the operating system is asked.
const BUFFER: usize = 1 << 20;

/// A file being written beside the one it will replace. Dropped before [`AtomicFile::commit`], it is removed and what was
/// there stays; a process that is killed leaves it behind as `.densenet-*`, never a half-written file under the real name.
///
/// Whoever has the old file open or mapped, this process too, keeps the old bytes.
pub(crate) struct AtomicFile {
    out: BufWriter<NamedTempFile>,
    target: PathBuf,
}

impl AtomicFile {
    /// Starts a file that will become `path`. A symbolic link stays one: the file it leads to is replaced.
    pub(crate) fn create(path: &Path) -> io::Result<AtomicFile> {
        let target = match std::fs::symlink_metadata(path) {
            Ok(metadata) if metadata.is_symlink() => std::fs::canonicalize(path)?,
            _ => path.to_path_buf(),
        };
        let old = std::fs::metadata(&target).ok();
        if let Some(metadata) = old.as_ref().filter(|metadata| !metadata.is_file()) {
            // A rename would put a file in the place of a device.
            let what = if metadata.is_dir() { "a folder" } else { "a device or pipe" };
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("it is {what}, not a file")));
        }
        let mut builder = tempfile::Builder::new();
        builder.prefix(".densenet-");
        // As any file the user creates, not as private as a temporary one.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let file = builder.tempfile_in(folder(&target))?;
        if let Some(old) = old {
            file.as_file().set_permissions(old.permissions())?;
        }
        Ok(AtomicFile { out: BufWriter::with_capacity(BUFFER, file), target })
    }

    /// Where the file is for now, with all that was written.
    pub(crate) fn temporary(&mut self) -> io::Result<&Path> {
        self.out.flush()?;
        Ok(self.out.get_ref().path())
    }

    /// Puts the file in its place once all of it is on the disk.
    pub(crate) fn commit(mut self) -> io::Result<()> {
        self.out.flush()?;
        let file = self.out.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.as_file().sync_all()?;
        file.persist(&self.target).map_err(|error| error.error)?;
        // The name is in place; that it stays there after a power cut is the folder's to write down. Some file systems
        // do not let a folder be synced, and what could be done about that has been done.
        #[cfg(unix)]
        File::open(folder(&self.target)).and_then(|folder| folder.sync_all()).ok();
        Ok(())
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Writes a whole file or leaves what was there.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = AtomicFile::create(path)?;
    file.write_all(bytes)?;
    file.commit()
}
