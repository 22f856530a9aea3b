//! What a download tells while it runs. The library never prints: whoever calls it does.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Hears how a download goes. `()` hears nothing.
pub trait Progress {
    /// A transfer of `file` begins: `have` of its bytes are here already, `total` is its size where the server tells.
    /// Called again for every new attempt, whose bytes may start over.
    fn begin(&mut self, file: &str, have: u64, total: Option<u64>);

    /// So many more bytes are here.
    fn advance(&mut self, bytes: u64);

    /// The transfer is over, well or not.
    fn end(&mut self) {}

    /// Something a person waiting should know.
    fn note(&mut self, note: &Note) {
        let _ = note;
    }
}

impl Progress for () {
    fn begin(&mut self, _file: &str, _have: u64, _total: Option<u64>) {}
    fn advance(&mut self, _bytes: u64) {}
}

/// What happened during a download that is no failure of the whole.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Note {
    /// The cache has a file of this name with other content; a good one will take its place.
    Damaged {
        /// The file.
        path: PathBuf,
        /// How its SHA-256 should begin.
        expected: &'static str,
        /// How it begins.
        found: String,
    },
    /// Another process is fetching the same file.
    Waiting {
        /// What it is writing to.
        path: PathBuf,
    },
    /// An attempt failed; the next one comes after a pause.
    Retrying {
        /// Where from.
        url: String,
        /// Why it failed.
        error: String,
        /// How long the pause is.
        pause: Duration,
    },
    /// What was here of an unfinished download does not belong to the file that the server has: from the start.
    StartingOver {
        /// Where from.
        url: String,
    },
    /// A URL was given up and another one is there.
    NextUrl {
        /// The one given up.
        url: String,
        /// Why.
        error: String,
    },
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Note::Damaged { path, expected, found } => write!(
                f,
                "{} is damaged or something else (its SHA-256 begins {found}, not {expected}): replacing it",
                path.display()
            ),
            Note::Waiting { path } => {
                write!(f, "another process is fetching {}: waiting for it", path.display())
            }
            Note::Retrying { url, error, pause } => {
                write!(f, "{url}: {error}; trying again in {:.1} s", pause.as_secs_f64())
            }
            Note::StartingOver { url } => {
                write!(f, "{url}: what an earlier attempt left does not fit: starting over")
            }
            Note::NextUrl { url, error } => write!(f, "{url}: {error}; trying the next one"),
        }
    }
}
