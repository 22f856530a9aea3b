//! Files from the network, checked before they take their place.
//!
//! One unfinished file a target, shared by all processes and locked by the one that writes ([`partial`]); an attempt
//! asks for what is missing ([`http`]); attempts at a URL repeat after a pause while there is hope, then comes the next
//! URL. Whatever happens, the target is what it was or the whole file with the right SHA-256.

mod error;
mod http;
mod partial;
mod proxy;

pub use error::{DownloadError, TransferError};

use super::digest;
use super::progress::{Note, Progress};
use http::{Source, Stop};
use partial::Partial;
use std::path::Path;
use std::time::Duration;

/// A file to fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Download {
    /// Where it may be, tried in turn.
    pub urls: Vec<String>,
    /// How its SHA-256 begins, in lower-case hexadecimal.
    pub sha256: String,
    /// It is not larger than this, in bytes: what a server may make this machine store.
    pub max_bytes: u64,
}

/// How patient a download is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TransferOptions {
    /// Until there is a connection (10 s).
    pub connect_timeout: Duration,
    /// Between one piece of the answer and the next (30 s).
    pub stall_timeout: Duration,
    /// Attempts at one URL that bring nothing before the next URL's turn (5); at least 1.
    pub attempts: u32,
    /// The pause before the second attempt (0.5 s); it doubles with each further one.
    pub first_pause: Duration,
    /// No pause is longer (60 s), and a server that asks for a longer one (`Retry-After`) is given up.
    pub longest_pause: Duration,
}

impl Default for TransferOptions {
    fn default() -> Self {
        TransferOptions {
            connect_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(30),
            attempts: 5,
            first_pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(60),
        }
    }
}

/// An attempt that brought this many bytes was worth it: failures before it do not count any more.
const WORTH_IT: u64 = 1 << 20;

impl Download {
    /// Fetches the file to `target`, whose folder is made. What `target` was before is replaced by the good file, or stays.
    ///
    /// Another process that fetches the same target is waited for, and its file taken. An earlier attempt's unfinished
    /// file beside `target` is continued.
    ///
    /// # Errors
    /// [`DownloadError::AllFailed`] lists every URL with its reason; the others are about this machine.
    pub fn to_file(
        &self,
        target: &Path,
        options: &TransferOptions,
        progress: &mut dyn Progress,
    ) -> Result<(), DownloadError> {
        if let Some(folder) = target.parent() {
            std::fs::create_dir_all(folder)
                .map_err(|source| DownloadError::Folder { path: folder.to_path_buf(), source })?;
        }
        let mut partial = Partial::lock(target, |path| {
            progress.note(&Note::Waiting { path: path.to_path_buf() });
        })?;
        // Another process may have finished it while this one waited.
        if digest::of_file(target).is_ok_and(|found| found.starts_with(&self.sha256)) {
            return partial.remove();
        }
        // Killed between the last byte and the rename?
        if partial.len() > 0 && self.is_whole(&partial) {
            return partial.place(target);
        }
        let file = target.file_name().unwrap_or_default().to_string_lossy();
        let mut failures = Vec::new();
        for (index, url) in self.urls.iter().enumerate() {
            let mut source = Source::new(url, options)?;
            match self.fetch_from(&mut source, &mut partial, options, &file, progress) {
                Ok(()) => return partial.place(target),
                Err(Stop::Here(error)) => return Err(error),
                Err(Stop::There(error)) => {
                    if index + 1 < self.urls.len() {
                        progress.note(&Note::NextUrl { url: url.clone(), error: error.to_string() });
                    }
                    failures.push((url.clone(), error));
                }
            }
        }
        if partial.len() == 0 {
            partial.remove()?;
        }
        Err(DownloadError::AllFailed { failures })
    }

    /// Until the whole file is in `partial`, or the URL is given up.
    fn fetch_from(
        &self,
        source: &mut Source,
        partial: &mut Partial,
        options: &TransferOptions,
        file: &str,
        progress: &mut dyn Progress,
    ) -> Result<(), Stop> {
        let mut failed = 0;
        // Once: a server could send pieces that do not fit for ever.
        let mut started_over = false;
        loop {
            let before = partial.len();
            let error = match source.attempt(partial, self.max_bytes, file, progress) {
                // Even where the server had announced more: the hash knows better.
                Ok(()) | Err(Stop::There(_)) if partial.len() > 0 && self.is_whole(partial) => return Ok(()),
                Ok(()) => {
                    let (found, bytes) = (partial.sha256(), partial.len());
                    let pieced = partial.pieced;
                    partial.clear()?;
                    if pieced && !started_over {
                        started_over = true;
                        progress.note(&Note::StartingOver { url: source.url.to_string() });
                        continue;
                    }
                    let found = found.chars().take(self.sha256.len()).collect();
                    let expected = self.sha256.clone();
                    return Err(TransferError::OtherContent { expected, found, bytes }.into());
                }
                Err(Stop::There(error)) => error,
                Err(stop) => return Err(stop),
            };
            let dropped = before > 0 && partial.len() == 0;
            if dropped && !started_over {
                started_over = true;
                progress.note(&Note::StartingOver { url: source.url.to_string() });
                continue;
            }
            failed = if partial.len() >= before.saturating_add(WORTH_IT) { 1 } else { failed + 1 };
            let pause = pause(options, failed, error.retry_after());
            if !error.is_transient() || failed >= options.attempts || pause > options.longest_pause {
                return Err(error.into());
            }
            let (url, words) = (source.url.to_string(), error.to_string());
            progress.note(&Note::Retrying { url, error: words, pause });
            std::thread::sleep(pause);
        }
    }

    fn is_whole(&self, partial: &Partial) -> bool {
        partial.sha256().starts_with(&self.sha256)
    }
}

/// Doubling with each failure, but as long as the server asks.
fn pause(options: &TransferOptions, failed: u32, retry_after: Option<Duration>) -> Duration {
    let doubled =
        options.first_pause.saturating_mul(1u32.checked_shl(failed.saturating_sub(1)).unwrap_or(u32::MAX));
    retry_after.unwrap_or(doubled.min(options.longest_pause))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_unless_the_server_asks_for_another() {
        let options = TransferOptions::default();
        let pauses: Vec<f64> = (1..=9).map(|failed| pause(&options, failed, None).as_secs_f64()).collect();
        assert_eq!(pauses, [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]);
        assert_eq!(pause(&options, 200, None), options.longest_pause);
        let asked = Duration::from_secs(90);
        assert_eq!(pause(&options, 1, Some(asked)), asked);
    }
}
