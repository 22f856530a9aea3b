//! What of a set of weights is in a cache folder, looked at and not only asked by name.

use super::manifest::hash_prefix;
use super::Weights;
use crate::weights::digest;
use crate::weights::error::{Result, WeightsError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Whether a cache folder has a set of weights.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CacheState {
    /// Not needed there: part of the crate.
    Embedded,
    /// This file is the one, by its SHA-256.
    Good(PathBuf),
    /// This file has the name and other content. PyTorch would use it: `torch.hub` checks only what it downloads.
    Damaged {
        /// The file.
        path: PathBuf,
        /// How its SHA-256 should begin, in hexadecimal.
        expected: &'static str,
        /// Its SHA-256.
        found: String,
    },
    /// No file of these weights is there.
    Missing,
}

impl Weights {
    /// Looks in `folder` for today's file, then for earlier official ones, and checks the SHA-256 of what is there.
    ///
    /// # Errors
    /// [`WeightsError::Cache`] for a file that is there and cannot be read.
    pub fn cached_in(self, folder: &Path) -> Result<CacheState> {
        if self.is_embedded() {
            return Ok(CacheState::Embedded);
        }
        let mut state = CacheState::Missing;
        for file in self.entry().files() {
            let path = folder.join(file);
            // The manifest's tests hold that every file states its hash.
            let Some(expected) = hash_prefix(file) else { continue };
            match digest::of_file(&path) {
                Ok(found) if found.starts_with(expected) => return Ok(CacheState::Good(path)),
                Ok(found) if state == CacheState::Missing => {
                    state = CacheState::Damaged { path, expected, found };
                }
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(source) => return Err(WeightsError::Cache { path, source }),
            }
        }
        Ok(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_the_name_and_other_content_is_damaged_and_an_unreadable_one_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let weights = Weights::DenseNet121ImageNet1kV1;
        assert_eq!(weights.cached_in(folder.path()).unwrap(), CacheState::Missing);
        assert_eq!(weights.cached_in(&folder.path().join("not/there")).unwrap(), CacheState::Missing);
        assert_eq!(Weights::FashionMnist.cached_in(folder.path()).unwrap(), CacheState::Embedded);

        let path = folder.path().join("densenet121-a639ec97.pth");
        std::fs::write(&path, b"cut short").unwrap();
        let CacheState::Damaged { path: told, expected, found } = weights.cached_in(folder.path()).unwrap()
        else {
            panic!("not damaged");
        };
        assert_eq!((told, expected, found.len()), (path.clone(), "a639ec97", 64));

        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        let error = weights.cached_in(folder.path()).unwrap_err();
        assert!(error.to_string().contains("densenet121-a639ec97.pth"), "{error}");
    }
}
