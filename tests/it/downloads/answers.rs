//! What servers answer: wrong bytes, wrong lengths, chunks, no end, redirections, no HTTP.

use super::{download, failure, fetch, fetch_to, options, ranges, ETAG, HALF, SIZE};
use crate::support::scratch;
use crate::web::{file, head, hold, noise, status, Request};
use std::io::Write;
use std::net::TcpStream;

#[test]
fn a_corrupted_file_never_takes_the_place() {
    let folder = scratch();
    let target = folder.path().join("net.pth");
    std::fs::write(&target, b"what was there before").unwrap();
    let corrupt = |request: &Request, stream: &mut TcpStream| {
        let mut bytes = noise(SIZE);
        bytes[HALF] ^= 1;
        file(request, stream, &bytes, ETAG, SIZE)
    };
    let (result, requests, _) = fetch_to(&target, corrupt, &options());
    let error = failure(result);
    assert!(error.contains("another file came: its SHA-256 begins"), "{error}");
    assert_eq!(requests.len(), 1);
    let left: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["net.pth"], "nothing of use was left");
}

#[test]
fn a_wrong_content_length_cannot_make_a_wrong_file() {
    let announce = |length: usize| {
        move |_: &Request, stream: &mut TcpStream| {
            head(stream, "200 OK", &[("Content-Length", &length.to_string())])?;
            stream.write_all(&noise(SIZE))
        }
    };
    // All of it is there, whatever was announced.
    let (result, requests, _) = fetch(announce(SIZE + 500), &options());
    result.unwrap();
    assert_eq!(requests.len(), 1);
    let (result, _, _) = fetch(announce(SIZE - 500), &options());
    assert!(failure(result).contains("another file came"), "cut");
    let (result, _, _) = fetch(
        |_, stream| {
            head(stream, "200 OK", &[])?;
            stream.write_all(&noise(SIZE))
        },
        &options(),
    );
    result.unwrap();
}

#[test]
fn chunks_are_put_together_and_chunks_that_break_off_are_noticed() {
    let chunked = |whole: bool| {
        move |request: &Request, stream: &mut TcpStream| {
            if request.number > 0 {
                return file(request, stream, &noise(SIZE), ETAG, SIZE);
            }
            head(stream, "200 OK", &[("Transfer-Encoding", "chunked")])?;
            for chunk in noise(SIZE).chunks(HALF) {
                write!(stream, "{:x}\r\n", chunk.len())?;
                stream.write_all(chunk)?;
                stream.write_all(b"\r\n")?;
                if !whole {
                    return Ok(());
                }
            }
            stream.write_all(b"0\r\n\r\n")
        }
    };
    let (result, requests, _) = fetch(chunked(true), &options());
    result.unwrap();
    assert_eq!(requests.len(), 1);
    let (result, requests, _) = fetch(chunked(false), &options());
    result.unwrap();
    assert_eq!(ranges(&requests), [None, Some(HALF)]);
}

#[test]
fn a_body_without_end_and_one_announced_too_large_are_refused() {
    let (result, requests, _) = fetch(
        |_, stream| {
            head(stream, "200 OK", &[])?;
            loop {
                stream.write_all(&[0; 65536])?;
            }
        },
        &options(),
    );
    assert!(failure(result).contains("more than 301000 bytes"), "endless");
    assert_eq!(requests.len(), 1);
    let (result, _, heard) = fetch(
        |_, stream| {
            head(stream, "200 OK", &[("Content-Length", "9223372036854775807")])?;
            hold(stream)
        },
        &options(),
    );
    assert!(failure(result).contains("more than 301000 bytes"), "announced");
    assert_eq!(heard.attempts, [], "not one byte was taken");
}

#[test]
fn redirections_are_followed_and_loops_end() {
    let (result, requests, _) = fetch(
        |request, stream| match request.path.as_str() {
            "/net.pth" => status(stream, "302 Found", &[("Location", "/moved?to=here")]),
            "/moved?to=here" => {
                let port = stream.local_addr()?.port();
                let there = format!("http://localhost:{port}/there");
                status(stream, "307 Temporary Redirect", &[("Location", &there)])
            }
            _ => file(request, stream, &noise(SIZE), ETAG, SIZE),
        },
        &options(),
    );
    result.unwrap();
    assert_eq!(requests.len(), 3);
    let circle = |request: &Request, stream: &mut TcpStream| {
        let to = if request.path == "/net.pth" { "/other" } else { "/net.pth" };
        status(stream, "302 Found", &[("Location", to)])
    };
    let (result, requests, _) = fetch(circle, &options());
    assert!(failure(result).contains("too many redirections"), "a circle");
    assert_eq!(requests.len(), 11);
}

#[test]
fn what_speaks_no_http_is_an_error() {
    let (result, ..) = fetch(|_, stream| stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), &options());
    failure(result);
    let (result, requests, _) = fetch(|_, _| Ok(()), &options());
    failure(result);
    assert_eq!(requests.len(), 3, "a connection that closes without an answer may be bad luck");
    let error = download(vec!["not a url".into(), "ftp://127.0.0.1/x".into()], b"")
        .to_file(&scratch().path().join("x"), &options(), &mut ())
        .unwrap_err()
        .to_string();
    assert!(error.contains("not a url: ") && error.contains("ftp://127.0.0.1/x: "), "{error}");
}
