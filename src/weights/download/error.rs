//! What can go wrong in a download: with a URL, so that the next one is tried, or here, so that none is.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;

/// Why a download failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DownloadError {
    /// No URL gave the file.
    #[error("{}", list(failures))]
    AllFailed {
        /// Each URL, in the order they were tried, with why.
        failures: Vec<(String, TransferError)>,
    },
    /// The folder could not be made, or no file in it.
    #[error("cannot write to the folder {}: {source}; TORCH_HOME names another one", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// The unfinished file could not be locked against other processes.
    #[error("cannot lock {}: {source}; TORCH_HOME names a folder on another file system", path.display())]
    Lock {
        /// The unfinished file.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// The unfinished file could not be written.
    #[error("cannot write {}: {source} ({kept} bytes of the download are there, and the next one goes on from them)", path.display())]
    Write {
        /// The unfinished file.
        path: PathBuf,
        /// How many bytes it holds.
        kept: u64,
        /// The system's words.
        source: std::io::Error,
    },
    /// The finished file could not take its place.
    #[error("cannot put the finished {} in its place: {source}", path.display())]
    Place {
        /// The place.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// A proxy variable that names no proxy.
    #[error("{variable}={value:?} names no proxy (such as http://proxy.example:3128 or socks5://proxy.example:1080): correct or unset it")]
    Proxy {
        /// The environment variable.
        variable: &'static str,
        /// What it says, without user and password.
        value: String,
    },
}

/// Why a URL gave no file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransferError {
    /// The server's answer was not the file.
    #[error("the server answers {code}{}{}", reason(*code), asked(*retry_after))]
    Status {
        /// The HTTP status code.
        code: u16,
        /// How long the server asks to wait (`Retry-After`).
        retry_after: Option<Duration>,
    },
    /// No address for the host.
    #[error("the host is not known (no network, or a proxy is needed: HTTPS_PROXY)")]
    HostNotFound,
    /// No connection, or none that lasted.
    #[error("no connection: {0}")]
    Connection(std::io::Error),
    /// No connection in time.
    #[error("no connection within {:.1} s", .0.as_secs_f64())]
    ConnectTimeout(Duration),
    /// A proxy refused.
    #[error("the proxy refuses: {0}")]
    ProxyRefused(String),
    /// The server could not prove who it is, or spoke no TLS.
    #[error("no secure connection: {0}")]
    Tls(String),
    /// Nothing came for too long.
    #[error("nothing came for {:.1} s ({have} bytes had come)", after.as_secs_f64())]
    Stalled {
        /// How long.
        after: Duration,
        /// How many bytes of the file are here.
        have: u64,
    },
    /// The transfer ended before the file did.
    #[error("the transfer ended after {have} bytes{}", of_total(*total))]
    Truncated {
        /// How many bytes of the file are here.
        have: u64,
        /// How many there should be, where the server told.
        total: Option<u64>,
    },
    /// More came than the file can have.
    #[error("more than {max} bytes came: this is not the file")]
    TooLarge {
        /// The most it can have.
        max: u64,
    },
    /// The file came whole and is another one.
    #[error("another file came: its SHA-256 begins {found}, not {expected} ({bytes} bytes)")]
    OtherContent {
        /// How the SHA-256 should begin.
        expected: String,
        /// How it begins.
        found: String,
        /// How many bytes came.
        bytes: u64,
    },
    /// Redirections without an end.
    #[error("too many redirections (more than {0})")]
    Redirects(u32),
    /// The server does not speak HTTP as it should, or the URL is none.
    #[error("{0}")]
    Protocol(String),
}

impl TransferError {
    /// Whether the same URL may give the file a moment later.
    pub fn is_transient(&self) -> bool {
        match self {
            TransferError::Status { code, .. } => matches!(code, 408 | 425 | 429 | 500..=599),
            // Nobody there, or no network: a moment later neither.
            TransferError::Connection(error) => !matches!(
                error.kind(),
                ErrorKind::ConnectionRefused | ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable
            ),
            TransferError::ConnectTimeout(_)
            | TransferError::Stalled { .. }
            | TransferError::Truncated { .. } => true,
            TransferError::HostNotFound
            | TransferError::ProxyRefused(_)
            | TransferError::Tls(_)
            | TransferError::TooLarge { .. }
            | TransferError::OtherContent { .. }
            | TransferError::Redirects(_)
            | TransferError::Protocol(_) => false,
        }
    }

    /// How long the server asks to wait.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            TransferError::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

fn reason(code: u16) -> String {
    let status = ureq::http::StatusCode::from_u16(code).ok();
    status.and_then(|status| status.canonical_reason()).map_or(String::new(), |reason| format!(" ({reason})"))
}

fn asked(retry_after: Option<Duration>) -> String {
    retry_after.map_or(String::new(), |wait| format!(" and asks to wait {} s", wait.as_secs()))
}

fn of_total(total: Option<u64>) -> String {
    total.map_or(String::new(), |total| format!(" of {total}"))
}

fn list(failures: &[(String, TransferError)]) -> String {
    let each = failures.iter().map(|(url, error)| format!("{url}: {error}"));
    each.collect::<Vec<_>>().join("; ")
}
