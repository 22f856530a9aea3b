//! Downloads against a server on loopback that misbehaves in every way seen in the field.

mod answers;

use crate::support::scratch;
use crate::web::{file, head, hold, noise, sha256, status, Request, Server};
use densenet::weights::download::{Download, DownloadError, TransferOptions};
use densenet::weights::{Note, Progress};
use std::io::{self, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

const ETAG: &str = "\"v1\"";
const SIZE: usize = 300_000;
/// Where transfers break off.
const HALF: usize = 150_000;

/// Patient enough for a busy machine where nothing is wrong, else milliseconds.
fn options() -> TransferOptions {
    let mut options = TransferOptions::default();
    options.stall_timeout = Duration::from_secs(20);
    options.attempts = 3;
    options.first_pause = Duration::from_millis(2);
    options.longest_pause = Duration::from_millis(1500);
    options
}

fn impatient() -> TransferOptions {
    let mut options = options();
    options.stall_timeout = Duration::from_millis(800);
    options
}

/// Keeps what it hears.
#[derive(Default)]
struct Heard {
    notes: Vec<Note>,
    /// For each attempt: what was there, the total, what came.
    attempts: Vec<(u64, Option<u64>, u64)>,
}

impl Progress for Heard {
    fn begin(&mut self, _file: &str, have: u64, total: Option<u64>) {
        self.attempts.push((have, total, 0));
    }
    fn advance(&mut self, bytes: u64) {
        self.attempts.last_mut().unwrap().2 += bytes;
    }
    fn note(&mut self, note: &Note) {
        self.notes.push(note.clone());
    }
}

fn download(urls: Vec<String>, content: &[u8]) -> Download {
    Download { urls, sha256: sha256(content)[..8].to_string(), max_bytes: SIZE as u64 + 1000 }
}

fn partial_of(target: &Path) -> PathBuf {
    PathBuf::from(format!("{}.densenet.partial", target.display()))
}

/// Fetches `/net.pth` from a server with this handler; checks that the target is whole or as it was.
fn fetch(
    handler: impl Fn(&Request, &mut TcpStream) -> io::Result<()> + Send + Sync + 'static,
    options: &TransferOptions,
) -> (Result<(), DownloadError>, Vec<Request>, Heard) {
    let folder = scratch();
    let target = folder.path().join("a/b/net.pth");
    fetch_to(&target, handler, options)
}

fn fetch_to(
    target: &Path,
    handler: impl Fn(&Request, &mut TcpStream) -> io::Result<()> + Send + Sync + 'static,
    options: &TransferOptions,
) -> (Result<(), DownloadError>, Vec<Request>, Heard) {
    let before = std::fs::read(target).ok();
    let server = Server::start(handler);
    let mut heard = Heard::default();
    let result = download(vec![server.url("/net.pth")], &noise(SIZE)).to_file(target, options, &mut heard);
    let after = std::fs::read(target).ok();
    match &result {
        Ok(()) => {
            assert!(after.unwrap() == noise(SIZE), "the target is the whole file");
            assert!(!partial_of(target).exists(), "nothing is left beside it");
        }
        Err(_) => assert!(after == before, "the target is as it was"),
    }
    (result, server.requests(), heard)
}

#[track_caller]
fn failure(result: Result<(), DownloadError>) -> String {
    let error = result.unwrap_err();
    assert!(matches!(error, DownloadError::AllFailed { .. }), "{error}");
    error.to_string()
}

fn ranges(requests: &[Request]) -> Vec<Option<usize>> {
    requests.iter().map(Request::range).collect()
}

#[test]
fn a_good_server_is_asked_once_and_the_progress_adds_up() {
    let (result, requests, heard) =
        fetch(|request, stream| file(request, stream, &noise(SIZE), ETAG, SIZE), &options());
    result.unwrap();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].path, "/net.pth");
    assert_eq!(heard.attempts, [(0, Some(SIZE as u64), SIZE as u64)]);
    assert_eq!(heard.notes, []);
}

#[test]
fn a_transfer_that_breaks_off_is_continued_from_where_it_broke() {
    let (result, requests, heard) = fetch(
        |request, stream| {
            let end = [1000, HALF, SIZE][request.number];
            file(request, stream, &noise(SIZE), ETAG, end)
        },
        &options(),
    );
    result.unwrap();
    assert_eq!(ranges(&requests), [None, Some(1000), Some(HALF)]);
    let versions: Vec<_> = requests.iter().map(|request| request.headers.get("if-range")).collect();
    assert_eq!(versions, [None, Some(&ETAG.to_string()), Some(&ETAG.to_string())]);
    let (half, all) = (HALF as u64, SIZE as u64);
    let parts = [(0, Some(all), 1000), (1000, Some(all), half - 1000), (half, Some(all), all - half)];
    assert_eq!(heard.attempts, parts);
    assert!(heard.notes.iter().all(|note| matches!(note, Note::Retrying { error, .. }
        if error.contains("the transfer ended after"))));
    assert_eq!(heard.notes.len(), 2);
}

#[test]
fn a_server_that_always_breaks_off_is_given_up_and_the_next_download_goes_on() {
    let folder = scratch();
    let target = folder.path().join("net.pth");
    let (result, requests, _) =
        fetch_to(&target, |request, stream| file(request, stream, &noise(SIZE), ETAG, HALF), &options());
    let error = failure(result);
    assert!(error.contains("ended after 150000 bytes of 300000"), "{error}");
    assert_eq!(ranges(&requests), [None, Some(HALF), Some(HALF)]);
    assert_eq!(std::fs::read(partial_of(&target)).unwrap().len(), HALF);

    let (result, requests, heard) =
        fetch_to(&target, |request, stream| file(request, stream, &noise(SIZE), ETAG, SIZE), &options());
    result.unwrap();
    assert_eq!(ranges(&requests), [Some(HALF)]);
    assert_eq!(heard.attempts, [(HALF as u64, Some(SIZE as u64), (SIZE - HALF) as u64)]);
}

#[test]
fn a_server_that_ignores_ranges_or_sends_other_ones_ends_with_the_good_file() {
    type Second = fn(&mut TcpStream) -> io::Result<()>;
    let whole: Second = |stream| {
        head(stream, "200 OK", &[("Content-Length", &SIZE.to_string())])?;
        stream.write_all(&noise(SIZE))
    };
    let other: Second = |stream| {
        head(stream, "206 Partial Content", &[("Content-Range", "bytes 0-299999/300000")])?;
        stream.write_all(&noise(SIZE))
    };
    let untold: Second = |stream| {
        head(stream, "206 Partial Content", &[])?;
        stream.write_all(&noise(SIZE)[HALF..])
    };
    let refused: Second = |stream| status(stream, "416 Range Not Satisfiable", &[]);
    for (second, want) in [
        (whole, vec![None, Some(HALF)]),
        (other, vec![None, Some(HALF), None]),
        (untold, vec![None, Some(HALF), None]),
        (refused, vec![None, Some(HALF), None]),
    ] {
        let (result, requests, _) = fetch(
            move |request, stream| match request.number {
                0 => file(request, stream, &noise(SIZE), ETAG, HALF),
                1 => second(stream),
                _ => file(request, stream, &noise(SIZE), ETAG, SIZE),
            },
            &options(),
        );
        result.unwrap();
        assert_eq!(ranges(&requests), want);
    }
}

#[test]
fn a_file_that_changes_between_two_attempts_is_fetched_from_the_start() {
    let old = || noise(2 * SIZE)[SIZE..].to_vec();
    // The server that knows versions sends the new one whole.
    let (result, requests, _) = fetch(
        move |request, stream| match request.number {
            0 => file(request, stream, &old(), "\"v0\"", HALF),
            _ => file(request, stream, &noise(SIZE), ETAG, SIZE),
        },
        &options(),
    );
    result.unwrap();
    assert_eq!(ranges(&requests), [None, Some(HALF)]);
    // The one that knows none sends the new one's end: only the hash tells.
    let blind = move |request: &Request, stream: &mut TcpStream| {
        let mut request = request.clone();
        request.headers.remove("if-range");
        match request.number {
            0 => file(&request, stream, &old(), "", HALF),
            _ => file(&request, stream, &noise(SIZE), "", SIZE),
        }
    };
    let (result, requests, heard) = fetch(blind, &options());
    result.unwrap();
    assert_eq!(ranges(&requests), [None, Some(HALF), None]);
    assert!(
        matches!(heard.notes[..], [Note::Retrying { .. }, Note::StartingOver { .. }]),
        "{:?}",
        heard.notes
    );
}

#[test]
fn what_an_earlier_download_left_is_continued_or_dropped_or_just_put_in_place() {
    let good = |request: &Request, stream: &mut TcpStream| file(request, stream, &noise(SIZE), ETAG, SIZE);
    let folder = scratch();
    let longer = [noise(SIZE), b"more".to_vec()].concat();
    for (index, (left, want)) in [
        (noise(SIZE)[..HALF].to_vec(), vec![Some(HALF)]),
        (vec![7; HALF], vec![Some(HALF), None]),
        (longer, vec![Some(SIZE + 4), None]),
        (noise(SIZE), vec![]),
        (vec![], vec![None]),
    ]
    .into_iter()
    .enumerate()
    {
        let target = folder.path().join(format!("{index}.pth"));
        std::fs::write(partial_of(&target), left).unwrap();
        let (result, requests, _) = fetch_to(&target, good, &options());
        result.unwrap();
        assert_eq!(ranges(&requests), want, "{index}");
    }
}

#[test]
fn a_stall_before_or_within_the_answer_is_a_failure_that_is_tried_again() {
    for headers_first in [false, true] {
        let (result, requests, heard) = fetch(
            move |request, stream| {
                if request.number > 0 {
                    return file(request, stream, &noise(SIZE), ETAG, SIZE);
                }
                if headers_first {
                    file(request, stream, &noise(SIZE), ETAG, HALF)?;
                }
                hold(stream)
            },
            &impatient(),
        );
        result.unwrap();
        assert_eq!(ranges(&requests), [None, headers_first.then_some(HALF)]);
        let [Note::Retrying { error, .. }] = &heard.notes[..] else { panic!("{:?}", heard.notes) };
        let have = if headers_first { HALF } else { 0 };
        assert!(error.contains(&format!("nothing came for 0.8 s ({have} bytes")), "{error}");
    }
}

#[test]
fn busy_servers_are_asked_again_after_the_pause_they_name() {
    for code in ["429 Too Many Requests", "503 Service Unavailable", "500 Internal Server Error"] {
        let (result, requests, heard) = fetch(
            move |request, stream| match request.number {
                0 => status(stream, code, &[("Retry-After", "1")]),
                1 => status(stream, code, &[]),
                _ => file(request, stream, &noise(SIZE), ETAG, SIZE),
            },
            &options(),
        );
        result.unwrap();
        assert_eq!(requests.len(), 3);
        let pauses: Vec<Duration> = heard
            .notes
            .iter()
            .map(|note| match note {
                Note::Retrying { pause, .. } => *pause,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(pauses, [Duration::from_secs(1), Duration::from_millis(4)]);
    }
    // Longer than anybody wants to wait.
    let hour = |_: &Request, stream: &mut TcpStream| {
        status(stream, "429 Too Many Requests", &[("Retry-After", "3600")])
    };
    let (result, requests, _) = fetch(hour, &options());
    let error = failure(result);
    assert!(error.contains("429 (Too Many Requests)") && error.contains("3600"), "{error}");
    assert_eq!(requests.len(), 1);
}

#[test]
fn a_server_that_stays_broken_is_asked_so_often_and_one_that_says_no_once() {
    for (answer, times) in [
        ("500 Internal Server Error", 3),
        ("502 Bad Gateway", 3),
        ("404 Not Found", 1),
        ("403 Forbidden", 1),
        ("410 Gone", 1),
        ("204 No Content", 1),
    ] {
        let (result, requests, _) = fetch(move |_, stream| status(stream, answer, &[]), &options());
        let error = failure(result);
        assert!(error.contains(&answer[..3]) && error.contains("/net.pth"), "{error}");
        assert_eq!(requests.len(), times, "{answer}");
    }
}

#[test]
fn urls_are_tried_in_turn_and_the_error_lists_each_with_its_reason() {
    let server = Server::start(|request, stream| match request.path.as_str() {
        "/gone" => status(stream, "404 Not Found", &[]),
        "/corrupt" => file(request, stream, &noise(1000), ETAG, SIZE),
        "/circle" => status(stream, "301 Moved Permanently", &[("Location", "/circle")]),
        "/half" => file(request, stream, &noise(SIZE), ETAG, HALF),
        _ => file(request, stream, &noise(SIZE), ETAG, SIZE),
    });
    // A port that nobody listens on any more.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut urls: Vec<String> =
        ["/gone", "/corrupt", "/circle", "/half"].map(|path| server.url(path)).to_vec();
    urls.push(format!("http://{closed}/x"));
    let folder = scratch();
    let target = folder.path().join("net.pth");

    let error = download(urls.clone(), &noise(SIZE)).to_file(&target, &options(), &mut ()).unwrap_err();
    let DownloadError::AllFailed { failures } = &error else { panic!("{error}") };
    assert_eq!(failures.iter().map(|(url, _)| url.clone()).collect::<Vec<_>>(), urls);
    let text = error.to_string();
    for part in ["404 (Not Found)", "another file", "redirections", "ended after 150000", "no connection"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!target.exists());

    // What /half gave is good, and the last URL gives the rest.
    urls.push(server.url("/good"));
    let mut heard = Heard::default();
    let before = server.requests().len();
    download(urls, &noise(SIZE)).to_file(&target, &options(), &mut heard).unwrap();
    assert!(std::fs::read(&target).unwrap() == noise(SIZE));
    assert!(server.requests().len() > before);
    let given_up = heard.notes.iter().filter(|note| matches!(note, Note::NextUrl { .. })).count();
    assert_eq!(given_up, 5, "{:?}", heard.notes);
}

#[test]
fn two_threads_that_fetch_one_file_end_with_one_good_file_from_one_request() {
    let server = Server::start(|request, stream| file(request, stream, &noise(SIZE), ETAG, SIZE));
    let folder = scratch();
    let target = folder.path().join("net.pth");
    let download = download(vec![server.url("/net.pth")], &noise(SIZE));
    std::thread::scope(|scope| {
        let fetch = || download.to_file(&target, &options(), &mut ()).unwrap();
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(fetch)).collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
    assert!(std::fs::read(&target).unwrap() == noise(SIZE));
    assert_eq!(server.requests().len(), 1);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left");
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let folder = scratch();
    std::fs::write(folder.path().join("file"), b"").unwrap();
    let target = folder.path().join("file/checkpoints/net.pth");
    let error = download(vec![], b"").to_file(&target, &options(), &mut ()).unwrap_err();
    assert!(matches!(error, DownloadError::Folder { .. }), "{error}");
    assert!(
        error.to_string().contains("file/checkpoints") && error.to_string().contains("TORCH_HOME"),
        "{error}"
    );
}
