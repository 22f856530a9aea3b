//! An HTTP server on loopback that answers as badly as a test asks it to.

use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// What a client asked.
#[derive(Clone, Debug)]
pub struct Request {
    /// 0 for the server's first.
    pub number: usize,
    pub method: String,
    pub path: String,
    /// Names in lower case.
    pub headers: HashMap<String, String>,
}

impl Request {
    /// N of `Range: bytes=N-`.
    pub fn range(&self) -> Option<usize> {
        let range = self.headers.get("range")?;
        Some(range.strip_prefix("bytes=").and_then(|range| range.strip_suffix('-')).unwrap().parse().unwrap())
    }
}

type Handler = dyn Fn(&Request, &mut TcpStream) -> io::Result<()> + Send + Sync;

/// Answers one request a connection, each in a thread of its own; stops when dropped.
pub struct Server {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    stop: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl Server {
    pub fn start(
        handler: impl Fn(&Request, &mut TcpStream) -> io::Result<()> + Send + Sync + 'static,
    ) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (requests, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let handler: Arc<Handler> = Arc::new(handler);
        let (log, stopped) = (requests.clone(), stop.clone());
        let accepting = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let (log, handler) = (log.clone(), handler.clone());
                // A client that is killed breaks the connection: no failure of the server's.
                std::thread::spawn(move || stream.and_then(|stream| answer(stream, &log, &*handler)));
            }
        });
        Server { address, requests, stop, accepting: Some(accepting) }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        let _ = self.accepting.take().unwrap().join();
    }
}

/// A certificate for `localhost` and who signed it.
pub struct Identity {
    key: rcgen::KeyPair,
    certificate: rcgen::Certificate,
    authority: rcgen::Certificate,
}

impl Identity {
    /// Signed by an authority of its own; over since 2020 if `expired`.
    pub fn new(expired: bool) -> Identity {
        let (authority_key, key) = (rcgen::KeyPair::generate().unwrap(), rcgen::KeyPair::generate().unwrap());
        let mut authority = rcgen::CertificateParams::new(vec![]).unwrap();
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let mut host = rcgen::CertificateParams::new(vec!["localhost".to_string()]).unwrap();
        if expired {
            host.not_after = rcgen::date_time_ymd(2020, 1, 1);
        }
        let issuer = rcgen::Issuer::from_params(&authority, &authority_key);
        let certificate = host.signed_by(&key, &issuer).unwrap();
        Identity { authority: authority.self_signed(&authority_key).unwrap(), certificate, key }
    }

    /// What trusts the authority.
    pub fn authority(&self) -> String {
        self.authority.pem()
    }
}

/// Speaks TLS for a server; returns the URL that takes the place of the server's. Runs until the tests end.
pub fn with_tls(server: &Server, identity: &Identity) -> String {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(identity.key.serialize_der()).into();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![identity.certificate.der().clone()], key)
        .unwrap();
    let (config, plain) = (Arc::new(config), server.address);
    let listener = TcpListener::bind("localhost:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            // A client that does not like the certificate goes away.
            let _ = stream.and_then(|stream| relay(stream, config.clone(), plain));
        }
    });
    format!("https://localhost:{port}")
}

/// One request and its answer.
fn relay(stream: TcpStream, config: Arc<rustls::ServerConfig>, plain: SocketAddr) -> io::Result<()> {
    let connection = rustls::ServerConnection::new(config).map_err(io::Error::other)?;
    let mut stream = rustls::StreamOwned::new(connection, stream);
    let mut server = TcpStream::connect(plain)?;
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        request.push(byte[0]);
    }
    server.write_all(&request)?;
    io::copy(&mut server, &mut stream)?;
    stream.conn.send_close_notify();
    stream.flush()
}

fn answer(mut stream: TcpStream, log: &Mutex<Vec<Request>>, handler: &Handler) -> io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let first = lines.next().unwrap_or(Ok(String::new()))?;
    let mut words = first.split(' ').map(str::to_string);
    let (Some(method), Some(path)) = (words.next(), words.next()) else { return Ok(()) };
    let mut headers = HashMap::new();
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_string());
    }
    let request = {
        let mut log = log.lock().unwrap();
        let number = log.len();
        log.push(Request { number, method, path, headers });
        log[log.len() - 1].clone()
    };
    handler(&request, &mut stream)
}

/// Status line and headers; the connection closes after the answer.
pub fn head(stream: &mut TcpStream, status: &str, headers: &[(&str, &str)]) -> io::Result<()> {
    write!(stream, "HTTP/1.1 {status}\r\nConnection: close\r\n")?;
    for (name, value) in headers {
        write!(stream, "{name}: {value}\r\n")?;
    }
    stream.write_all(b"\r\n")
}

/// A status without a body.
pub fn status(stream: &mut TcpStream, status: &str, headers: &[(&str, &str)]) -> io::Result<()> {
    head(stream, status, &[headers, &[("Content-Length", "0")]].concat())
}

/// A file as a good server gives it, range and all, but no further than byte `end`.
pub fn file(
    request: &Request,
    stream: &mut TcpStream,
    body: &[u8],
    etag: &str,
    end: usize,
) -> io::Result<()> {
    let same = request.headers.get("if-range").is_none_or(|wanted| wanted == etag);
    let start = request.range().filter(|_| same).unwrap_or(0);
    if start > 0 && start >= body.len() {
        return status(stream, "416 Range Not Satisfiable", &[]);
    }
    let length = (body.len() - start).to_string();
    let range = format!("bytes {start}-{}/{}", body.len() - 1, body.len());
    let headers = [("ETag", etag), ("Content-Length", length.as_str()), ("Content-Range", range.as_str())];
    if start > 0 {
        head(stream, "206 Partial Content", &headers)?;
    } else {
        head(stream, "200 OK", &headers[..2])?;
    }
    stream.write_all(&body[start..end.clamp(start, body.len())])
}

/// Waits until the client has gone.
pub fn hold(stream: &mut TcpStream) -> io::Result<()> {
    stream.read_to_end(&mut Vec::new()).map(|_| ())
}

/// Bytes that differ everywhere and compress to nothing smaller.
pub fn noise(length: usize) -> Vec<u8> {
    let block = |index: usize| Sha256::digest(index.to_le_bytes());
    (0..length.div_ceil(32)).flat_map(block).take(length).collect()
}

pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
