//! One attempt at one URL: ask for what is missing, append what comes.

use super::error::{DownloadError, TransferError};
use super::partial::Partial;
use super::{proxy, TransferOptions};
use crate::weights::progress::Progress;
use std::io::{self, Read};
use std::time::{Duration, SystemTime};
use ureq::http::header::{ACCEPT_ENCODING, CONTENT_RANGE, ETAG, IF_RANGE, RANGE, RETRY_AFTER};
use ureq::http::{HeaderMap, Response, StatusCode};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Body};

const MAX_REDIRECTS: u32 = 10;
const CHUNK: usize = 1 << 16;
const USER_AGENT: &str = concat!("densenet/", env!("CARGO_PKG_VERSION"), " (Rust)");

/// What ended an attempt.
pub(super) enum Stop {
    /// The URL's fault, or the network's.
    There(TransferError),
    /// Ours: no other URL would help.
    Here(DownloadError),
}

impl From<DownloadError> for Stop {
    fn from(error: DownloadError) -> Stop {
        Stop::Here(error)
    }
}

impl From<TransferError> for Stop {
    fn from(error: TransferError) -> Stop {
        Stop::There(error)
    }
}

/// A URL and the connection to it.
pub(super) struct Source<'a> {
    agent: Agent,
    pub(super) url: &'a str,
    options: &'a TransferOptions,
    /// The version of the file that the server gave last.
    etag: Option<String>,
}

impl<'a> Source<'a> {
    pub(super) fn new(url: &'a str, options: &'a TransferOptions) -> Result<Source<'a>, DownloadError> {
        let proxy = proxy::for_url(url, |name| std::env::var(name).ok())?;
        let mut config = Agent::config_builder()
            .user_agent(USER_AGENT)
            .proxy(proxy)
            .http_status_as_error(false)
            .max_redirects(MAX_REDIRECTS)
            .timeout_resolve(Some(options.connect_timeout))
            .timeout_connect(Some(options.connect_timeout))
            .timeout_recv_response(Some(options.stall_timeout))
            .timeout_per_read(Some(options.stall_timeout));
        if url.starts_with("https:") {
            config = config.tls_config(TlsConfig::builder().root_certs(root_certificates()).build());
        }
        Ok(Source { agent: config.build().into(), url, options, etag: None })
    }

    /// Appends what the server has to `partial`. `Ok` when the server says that this is all of the file.
    pub(super) fn attempt(
        &mut self,
        partial: &mut Partial,
        max_bytes: u64,
        file: &str,
        progress: &mut dyn Progress,
    ) -> Result<(), Stop> {
        let mut response = self.ask(partial).map_err(|error| self.transfer_error(error, partial.len()))?;
        let total = self.accept(&response, partial)?;
        if total.is_some_and(|total| total > max_bytes) {
            return Err(TransferError::TooLarge { max: max_bytes }.into());
        }
        self.etag = strong_etag(response.headers());
        progress.begin(file, partial.len(), total);
        let result = self.receive(response.body_mut(), partial, total, max_bytes, progress);
        progress.end();
        result
    }

    fn ask(&self, partial: &Partial) -> Result<Response<Body>, ureq::Error> {
        // Compressed on the way, a range would count other bytes than the file's.
        let mut request = self.agent.get(self.url).header(ACCEPT_ENCODING, "identity");
        if partial.len() > 0 {
            request = request.header(RANGE, format!("bytes={}-", partial.len()));
            if let Some(etag) = &self.etag {
                request = request.header(IF_RANGE, etag);
            }
        }
        request.call()
    }

    /// Checks the answer's head and makes `partial` fit it; returns the size of the whole file where the server tells.
    fn accept(&self, response: &Response<Body>, partial: &mut Partial) -> Result<Option<u64>, Stop> {
        let rest = response.body().content_length();
        match response.status() {
            StatusCode::OK => {
                // The whole file: ranges are ignored here, or this is another version.
                partial.clear()?;
                Ok(rest)
            }
            StatusCode::PARTIAL_CONTENT => {
                let range = response.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
                match range.and_then(content_range) {
                    Some((start, total)) if start == partial.len() => {
                        partial.pieced = partial.len() > 0;
                        Ok(total.or(rest.and_then(|rest| rest.checked_add(start))))
                    }
                    _ => {
                        let range = range.unwrap_or("none");
                        let words = format!("the server sends another range than asked for ({range})");
                        partial.clear()?;
                        Err(TransferError::Protocol(words).into())
                    }
                }
            }
            status => {
                if status == StatusCode::RANGE_NOT_SATISFIABLE {
                    // The file ends before what is here does: this is of another one.
                    partial.clear()?;
                }
                let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
                let retry_after = retry_after.and_then(|value| wait(value, SystemTime::now()));
                Err(TransferError::Status { code: status.as_u16(), retry_after }.into())
            }
        }
    }

    fn receive(
        &self,
        body: &mut Body,
        partial: &mut Partial,
        total: Option<u64>,
        max_bytes: u64,
        progress: &mut dyn Progress,
    ) -> Result<(), Stop> {
        let mut reader = body.as_reader();
        let mut buffer = [0; CHUNK];
        loop {
            let read = match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break_off(partial, total)?,
                Err(error) => return Err(self.transfer_error(error.into(), partial.len()).into()),
            };
            if partial.len() + read as u64 > max_bytes {
                partial.clear()?;
                return Err(TransferError::TooLarge { max: max_bytes }.into());
            }
            partial.append(&buffer[..read])?;
            progress.advance(read as u64);
        }
        match total {
            Some(total) if partial.len() < total => break_off(partial, Some(total)).map(|_| ()),
            _ => Ok(()),
        }
    }

    fn transfer_error(&self, error: ureq::Error, have: u64) -> TransferError {
        use ureq::Timeout;
        match error {
            ureq::Error::HostNotFound => TransferError::HostNotFound,
            ureq::Error::Timeout(Timeout::Resolve | Timeout::Connect) => {
                TransferError::ConnectTimeout(self.options.connect_timeout)
            }
            ureq::Error::Timeout(_) => TransferError::Stalled { after: self.options.stall_timeout, have },
            ureq::Error::TooManyRedirects => TransferError::Redirects(MAX_REDIRECTS),
            ureq::Error::ConnectProxyFailed(words) => TransferError::ProxyRefused(words),
            ureq::Error::Rustls(error) => TransferError::Tls(error.to_string()),
            ureq::Error::Tls(words) => TransferError::Tls(words.to_string()),
            ureq::Error::Io(error) => match tls_words(&error) {
                Some(words) => TransferError::Tls(words),
                None => TransferError::Connection(error),
            },
            error => TransferError::Protocol(error.to_string()),
        }
    }
}

fn break_off(partial: &Partial, total: Option<u64>) -> Result<usize, Stop> {
    Err(TransferError::Truncated { have: partial.len(), total }.into())
}

/// rustls' complaint inside an I/O error.
fn tls_words(error: &io::Error) -> Option<String> {
    let inner = error.get_ref()?;
    let words = inner.to_string();
    (error.kind() == io::ErrorKind::InvalidData).then_some(words)
}

/// The system's certificates (`SSL_CERT_FILE` and `SSL_CERT_DIR` count); Mozilla's where the system has none, as in many
/// containers.
fn root_certificates() -> RootCerts {
    let found = rustls_native_certs::load_native_certs().certs;
    if found.is_empty() {
        return RootCerts::WebPki;
    }
    RootCerts::new_with_certs(
        &found.iter().map(|certificate| Certificate::from_der(certificate).to_owned()).collect::<Vec<_>>(),
    )
}

/// A version that `If-Range` may name: weak ones may not (RFC 9110, 13.1.5).
fn strong_etag(headers: &HeaderMap) -> Option<String> {
    let etag = headers.get(ETAG)?.to_str().ok()?;
    etag.starts_with('"').then(|| etag.to_string())
}

/// `bytes 5-9/10` or `bytes 5-9/*`: where the bytes start, and the size of all of it.
fn content_range(value: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = value.strip_prefix("bytes ")?.split_once('/')?;
    let (start, end) = range.split_once('-')?;
    let (start, end) = (start.parse().ok()?, end.parse().ok()?);
    let total = if total == "*" { None } else { Some(total.parse().ok()?) };
    (start <= end && total.is_none_or(|total| end < total)).then_some((start, total))
}

/// `Retry-After`: seconds, or the date to wait for.
fn wait(value: &str, now: SystemTime) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = httpdate::parse_http_date(value.trim()).ok()?;
    Some(at.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_range_tells_start_and_total() {
        assert_eq!(content_range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(content_range("bytes 5-9/*"), Some((5, None)));
        for bad in
            ["bytes 5-9", "bytes */10", "items 5-9/10", "bytes 9-5/10", "bytes 5-10/10", "bytes -1-9/10"]
        {
            assert_eq!(content_range(bad), None, "{bad}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!(wait("120", at(0)), Some(Duration::from_secs(120)));
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        assert_eq!(wait(date, at(784111777 - 90)), Some(Duration::from_secs(90)));
        assert_eq!(wait(date, at(784111777 + 90)), Some(Duration::ZERO));
        assert_eq!(wait("soon", at(0)), None);
        assert_eq!(wait("-1", at(0)), None);
    }

    #[test]
    fn only_a_strong_etag_names_a_version() {
        let etag = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(ETAG, value.parse().unwrap());
            strong_etag(&headers)
        };
        assert_eq!(etag("\"abc\"").as_deref(), Some("\"abc\""));
        assert_eq!(etag("W/\"abc\""), None);
    }
}
