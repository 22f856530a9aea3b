//! From a name to a checked file: the cache's, else a download.

use super::manifest::file_name;
use super::{CacheState, Weights};
use crate::runtime;
#[cfg(feature = "download")]
use crate::weights::download::{Download, TransferOptions};
use crate::weights::error::{Result, WeightsError};
use crate::weights::progress::{Note, Progress};
use std::path::PathBuf;

/// Environment variable: `1` forbids downloads; weights then come from the cache folder alone.
pub const OFFLINE: &str = "DENSENET_OFFLINE";
/// Environment variable: a base URL that files are fetched from instead of the registry's URLs, by the same file names.
pub const MIRROR: &str = "DENSENET_MIRROR";

/// Where weights are kept and where they may come from. Hashes are checked whatever is set here.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct FetchOptions {
    /// The cache folder; `None` for torch.hub's (see [`runtime::checkpoint_cache`]).
    pub folder: Option<PathBuf>,
    /// Never download.
    pub offline: bool,
    /// A base URL to use instead of the registry's URLs.
    pub mirror: Option<String>,
    /// Timeouts and retries.
    #[cfg(feature = "download")]
    pub transfer: TransferOptions,
}

impl FetchOptions {
    /// The defaults, with what [`OFFLINE`] and [`MIRROR`] say.
    pub fn from_env() -> FetchOptions {
        let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let offline = set(OFFLINE)
            .is_some_and(|value| ["1", "true", "yes", "on"].contains(&value.to_ascii_lowercase().as_str()));
        FetchOptions { offline, mirror: set(MIRROR), ..FetchOptions::default() }
    }

    /// The folder to look and write in.
    ///
    /// # Errors
    /// [`WeightsError::NoCacheFolder`].
    pub fn folder(&self) -> Result<PathBuf> {
        let default = || runtime::checkpoint_cache_folder();
        self.folder.clone().or_else(default).ok_or(WeightsError::NoCacheFolder)
    }
}

impl Weights {
    /// The file of these weights, checked: the cache's, else downloaded there first. `None` for weights that are part of
    /// the crate. A file that torchvision fetched is used, and torchvision uses what was fetched here.
    ///
    /// The SHA-256 is checked every time. A file of the right name and other content is told to `progress`, never used,
    /// and replaced by the good one.
    ///
    /// # Errors
    /// [`WeightsError::NotCached`] or [`WeightsError::DamagedCache`] where downloads are not allowed or not compiled
    /// in, [`WeightsError::Download`], [`WeightsError::Cache`], [`WeightsError::NoCacheFolder`].
    pub fn fetch(self, options: &FetchOptions, progress: &mut dyn Progress) -> Result<Option<PathBuf>> {
        let (Some(url), false) = (self.url(), self.is_embedded()) else {
            return Ok(None);
        };
        let folder = options.folder()?;
        let state = self.cached_in(&folder)?;
        let path = folder.join(file_name(url));
        match state {
            CacheState::Good(path) => return Ok(Some(path)),
            CacheState::Damaged { path, expected, found } => {
                let found = found.chars().take(expected.len()).collect();
                if let Some(reason) = reason_not_to_download(options) {
                    return Err(WeightsError::DamagedCache { weights: self, path, expected, found, reason });
                }
                progress.note(&Note::Damaged { path, expected, found });
            }
            CacheState::Missing | CacheState::Embedded => {
                if let Some(reason) = reason_not_to_download(options) {
                    return Err(WeightsError::NotCached { weights: self, path, reason });
                }
            }
        }
        // Without the feature there was a reason not to download.
        #[cfg(feature = "download")]
        self.download(options, &path, progress)?;
        Ok(Some(path))
    }

    #[cfg(feature = "download")]
    fn download(
        self,
        options: &FetchOptions,
        path: &std::path::Path,
        progress: &mut dyn Progress,
    ) -> Result<()> {
        let entry = self.entry();
        let urls = match &options.mirror {
            Some(base) => {
                let base = base.trim_end_matches('/');
                entry.urls.iter().take(1).map(|url| format!("{base}/{}", file_name(url))).collect()
            }
            None => entry.urls.clone(),
        };
        let sha256 = entry.files().next().and_then(super::manifest::hash_prefix).unwrap_or_default();
        let download = Download { urls, sha256: sha256.to_string(), max_bytes: entry.max_file_size() };
        download.to_file(path, &options.transfer, progress).map_err(|source| WeightsError::Download {
            weights: self,
            path: path.to_path_buf(),
            source,
        })
    }
}

fn reason_not_to_download(options: &FetchOptions) -> Option<&'static str> {
    if options.offline {
        return Some("downloads are off (DENSENET_OFFLINE)");
    }
    (!cfg!(feature = "download")).then_some("this build cannot download (cargo feature `download`)")
}
