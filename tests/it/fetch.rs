//! Fetching as users do it: processes that share a cache with each other and with PyTorch, are killed, run out of disk.
//!
//! `downloads/small.pth` is `torch.save({"a": torch.tensor([1.0, 2.0, 3.0])}, …, _use_new_zipfile_serialization=False)`,
//! zeros, and eight bytes that were searched for until the SHA-256 began as densenet121-a639ec97.pth's does:
//! the real name and the real check, without 32 MB. PyTorch ignores what follows the data.

mod surroundings;

use crate::oracle::ask;
use crate::support::scratch;
use crate::web::{file, hold, sha256, status, Server};
use densenet::weights::imagenet_categories;
use serde_json::{json, Value};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const NAME: &str = "densenet121.imagenet1k_v1";
const FILE: &str = "densenet121-a639ec97.pth";
const SMALL: &[u8] = include_bytes!("downloads/small.pth");

/// A TORCH_HOME of its own.
struct Home(TempDir);

impl Home {
    fn new() -> Home {
        Home(scratch())
    }

    fn checkpoints(&self) -> PathBuf {
        self.0.path().join("hub/checkpoints")
    }

    fn path(&self) -> PathBuf {
        self.checkpoints().join(FILE)
    }

    fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.checkpoints()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn put(&self, file: &str, bytes: &[u8]) {
        std::fs::create_dir_all(self.checkpoints()).unwrap();
        std::fs::write(self.checkpoints().join(file), bytes).unwrap();
    }

    /// The command with this home and nothing else in its environment that says where to download from or through.
    fn densenet(&self, mirror: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_densenet"));
        self.environment(&mut command, mirror);
        command.args(arguments);
        command
    }

    fn environment(&self, command: &mut Command, mirror: &str) {
        for name in ["http_proxy", "https_proxy", "all_proxy", "no_proxy"] {
            command.env_remove(name).env_remove(name.to_uppercase());
        }
        command
            .env_remove("DENSENET_OFFLINE")
            .env("TORCH_HOME", self.0.path())
            .env("DENSENET_MIRROR", mirror);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
    }
}

fn small() -> Server {
    Server::start(|request, stream| file(request, stream, SMALL, "\"1\"", SMALL.len()))
}

#[track_caller]
fn succeeds(command: &mut Command) -> (String, String) {
    let (code, out, err) = run(command);
    assert_eq!(code, 0, "{out}{err}");
    (out, err)
}

#[track_caller]
fn fails(command: &mut Command) -> String {
    let (code, out, err) = run(command);
    assert_eq!((code, out.as_str()), (1, ""), "{err}");
    assert_eq!(err.trim_end().lines().count(), 1, "one line: {err}");
    err
}

fn run(command: &mut Command) -> (i32, String, String) {
    texts(command.output().unwrap())
}

fn texts(output: Output) -> (i32, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// Waits for what must come; panics if it does not come at all.
#[track_caller]
fn until(what: &str, come: impl Fn() -> bool) {
    let start = Instant::now();
    while !come() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what} does not come");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn fetch_puts_the_file_where_torch_hub_finds_it_and_asks_no_second_time() {
    assert!(sha256(SMALL).starts_with("a639ec97"));
    let (home, server) = (Home::new(), small());
    let base = server.url("/models/");
    let (out, err) = succeeds(&mut home.densenet(&base, &["weights", "fetch", NAME, "--json"]));
    let record: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(record, json!({ "name": NAME, "path": home.path() }));
    assert_eq!(err, "", "no bar where nobody looks");
    assert_eq!(server.requests()[0].path, format!("/models/{FILE}"));
    assert_eq!(home.files(), [FILE]);

    let (out, _) = succeeds(&mut home.densenet(&base, &["weights", "fetch", "DenseNet121_Weights.DEFAULT"]));
    assert_eq!(out, format!("{NAME}: {}\n", home.path().display()));
    assert_eq!(server.requests().len(), 1);

    // PyTorch asked for the official URL takes this file: its host cannot be reached from here, or need not be.
    let url = format!("https://download.pytorch.org/models/{FILE}");
    let theirs = ask("hub_load", json!({ "url": url, "torch_home": home.0.path() }));
    assert_eq!(theirs, json!({ "tensors": { "a": [1.0, 2.0, 3.0] }, "files": [FILE] }));
}

#[test]
fn a_file_that_torch_hub_fetched_is_used() {
    let (home, server) = (Home::new(), small());
    let url = server.url(&format!("/models/{FILE}"));
    let theirs = ask("hub_load", json!({ "url": url, "torch_home": home.0.path() }));
    assert_eq!(theirs["files"], json!([FILE]));
    assert_eq!(server.requests().len(), 1, "PyTorch fetched it");
    let mut fetch = home.densenet("", &["weights", "fetch", NAME]);
    let (out, _) = succeeds(fetch.env("DENSENET_OFFLINE", "1"));
    assert_eq!(out, format!("{NAME}: {}\n", home.path().display()));
}

#[test]
fn a_file_of_an_earlier_official_upload_counts_and_one_that_only_has_its_name_does_not() {
    const EARLIER: &str = "densenet121-241335ed.pth";
    let (home, server) = (Home::new(), small());
    // The same with eight other bytes at its end, for the earlier hash.
    let earlier = [&SMALL[..SMALL.len() - 8], &0x1_c212_a386_u64.to_le_bytes()].concat();
    assert!(sha256(&earlier).starts_with("241335ed"));
    home.put(EARLIER, &earlier);
    let place = home.checkpoints().join(EARLIER);
    let (out, _) = succeeds(&mut home.densenet(&server.url(""), &["weights", "fetch", NAME]));
    assert_eq!(out, format!("{NAME}: {}\n", place.display()));
    home.put(FILE, b"damaged");
    let (out, _) = succeeds(&mut home.densenet(&server.url(""), &["weights", "fetch", NAME]));
    assert_eq!(out, format!("{NAME}: {}\n", place.display()), "a good file is there");
    assert_eq!(server.requests().len(), 0);

    home.put(EARLIER, SMALL);
    let (out, _) = succeeds(&mut home.densenet(&server.url(""), &["weights", "fetch", NAME]));
    assert_eq!(out, format!("{NAME}: {}\n", home.path().display()));
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_damaged_file_in_the_cache_is_told_and_replaced_and_never_used() {
    let (home, server) = (Home::new(), small());
    let damaged = [&SMALL[..100], b"!", &SMALL[101..]].concat();
    home.put(FILE, &damaged);
    let listed = |home: &Home| {
        let (out, _) = succeeds(&mut home.densenet("", &["weights", "list", "--json"]));
        serde_json::from_str::<Value>(out.lines().next().unwrap()).unwrap()["cache"].clone()
    };
    assert_eq!(listed(&home), "damaged");
    for arguments in [&["weights", "fetch", NAME][..], &["weights", "inspect", NAME]] {
        let error = fails(home.densenet("", arguments).env("DENSENET_OFFLINE", "1"));
        for part in [home.path().to_str().unwrap(), &sha256(&damaged)[..8], "a639ec97", "https://download"] {
            assert!(error.contains(part), "{part}: {error}");
        }
    }
    // A server that has no better one leaves it.
    let none = Server::start(|_, stream| status(stream, "404 Not Found", &[]));
    let (code, out, err) = run(&mut home.densenet(&none.url(""), &["weights", "fetch", NAME]));
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains("404") && err.contains("damaged"), "{err}");
    assert!(std::fs::read(home.path()).unwrap() == damaged);

    let (_, err) = succeeds(&mut home.densenet(&server.url(""), &["weights", "fetch", NAME]));
    assert!(err.contains("damaged or something else") && err.contains("replacing it"), "{err}");
    assert!(std::fs::read(home.path()).unwrap() == SMALL);
    assert_eq!(home.files(), [FILE]);
    assert_eq!(listed(&home), "cached");
}

#[test]
fn without_a_network_the_error_names_the_url_and_the_place() {
    let home = Home::new();
    let error = fails(home.densenet("", &["weights", "fetch", NAME]).env("DENSENET_OFFLINE", "1"));
    for part in
        ["https://download.pytorch.org/models/densenet121-a639ec97.pth", home.path().to_str().unwrap()]
    {
        assert!(error.contains(part), "{part}: {error}");
    }
    // A host that is not there.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut fetch = home.densenet(&format!("http://{closed}"), &["weights", "fetch", NAME]);
    let (code, _, err) = run(&mut fetch);
    assert_eq!(code, 1);
    let last = err.trim_end().lines().last().unwrap();
    let url = format!("http://{closed}/{FILE}");
    for part in [url.as_str(), "no connection", home.path().to_str().unwrap()] {
        assert!(last.contains(part), "{part}: {err}");
    }
    assert_eq!(home.files(), [""; 0]);
}

#[test]
fn two_processes_that_fetch_at_once_end_with_one_good_file_from_one_request() {
    let home = Home::new();
    let go_on = Arc::new(AtomicBool::new(false));
    let waited_for = go_on.clone();
    let server = Server::start(move |request, stream| {
        file(request, stream, SMALL, "\"1\"", SMALL.len() / 2)?;
        while !waited_for.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(2));
        }
        stream.write_all(&SMALL[SMALL.len() / 2..])
    });
    let first = home.densenet(&server.url(""), &["weights", "fetch", NAME]).spawn().unwrap();
    until("the first request", || !server.requests().is_empty());
    let mut second = home.densenet(&server.url(""), &["weights", "fetch", NAME]).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(second.stderr.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("another process is fetching") && line.contains(FILE), "{line}");
    go_on.store(true, Ordering::SeqCst);
    for process in [first, second] {
        let (code, out, err) = texts(process.wait_with_output().unwrap());
        assert_eq!((code, out), (0, format!("{NAME}: {}\n", home.path().display())), "{err}");
    }
    assert_eq!(server.requests().len(), 1);
    assert!(std::fs::read(home.path()).unwrap() == SMALL);
    assert_eq!(home.files(), [FILE]);
}

#[test]
fn a_killed_download_leaves_no_file_and_the_next_one_goes_on_from_its_bytes() {
    let home = Home::new();
    let half = SMALL.len() / 2;
    let server = Server::start(move |request, stream| {
        if request.number == 0 {
            file(request, stream, SMALL, "\"1\"", half)?;
            return hold(stream);
        }
        file(request, stream, SMALL, "\"1\"", SMALL.len())
    });
    let partial = home.checkpoints().join(format!("{FILE}.densenet.partial"));
    let mut killed = home.densenet(&server.url(""), &["weights", "fetch", NAME]).spawn().unwrap();
    until("half of the file", || partial.metadata().is_ok_and(|partial| partial.len() == half as u64));
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert_eq!(home.files(), [format!("{FILE}.densenet.partial")]);

    succeeds(&mut home.densenet(&server.url(""), &["weights", "fetch", NAME]));
    assert_eq!(server.requests()[1].range(), Some(half));
    assert!(std::fs::read(home.path()).unwrap() == SMALL);
    assert_eq!(home.files(), [FILE]);
}

#[test]
fn list_shows_every_entry_as_a_table_and_as_json() {
    let home = Home::new();
    let (out, _) = succeeds(&mut home.densenet("", &["weights", "list"]));
    let lines: Vec<Vec<&str>> = out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["NAME", "PARAMETERS", "FILE", "ACC@1", "ACC@5", "CACHE"]);
    assert_eq!(lines[1], [NAME, "7.98", "M", "30.8", "MiB", "74.434", "91.972", "missing"]);
    assert_eq!(lines.len(), 6);
    let (out, _) = succeeds(&mut home.densenet("", &["weights", "list", "--json"]));
    let records: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(records.len(), 5);
    assert_eq!(records[3]["name"], "densenet201.imagenet1k_v1");
    assert_eq!(records[3]["metrics"]["ImageNet-1K"]["acc@1"], 76.896);
    assert_eq!(records[4]["cache"], "embedded");
}

#[test]
fn fetch_goes_on_after_a_name_that_fails() {
    let (home, server) = (Home::new(), small());
    let names = ["weights", "fetch", "densnet161", NAME, "fashion_mnist", "--json"];
    let (code, out, err) = run(&mut home.densenet(&server.url(""), &names));
    let records: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(code, 1);
    let error = records[0]["error"].as_str().unwrap();
    assert!(error.contains("nearest first: densenet161.imagenet1k_v1"), "{error}");
    assert_eq!(records[1]["path"], json!(home.path()));
    assert_eq!(records[2], json!({ "name": "fashion_mnist", "path": null }));
    assert_eq!(err.lines().count(), 1, "{err}");
}

/// A densenet121 in safetensors' format whose every tensor is zero but the running variances and the classifier's bias,
/// which rises with the class; the last two biases were searched for until the SHA-256 began as the official file's.
fn densenet121() -> Vec<u8> {
    use densenet::tch::{nn, Device};
    use densenet::{Arch, DenseNet};
    let vs = nn::VarStore::new(Device::Cpu);
    let network =
        DenseNet::with_init(&vs.root(), &Arch::DenseNet121.config(), densenet::model::Init::Empty).unwrap();
    let mut tensors = network.named_tensors();
    tensors.retain(|(name, _)| !name.ends_with("num_batches_tracked"));
    tensors.sort_by_key(|(name, _)| name == "classifier.bias");
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, tensor) in &tensors {
        let start = data.len();
        match name.as_str() {
            "classifier.bias" => {
                data.extend((0..998).flat_map(|class| (class as f32 / 1024.0).to_le_bytes()));
                data.extend([0x3ffdaae2_u32, 0x3f800031].into_iter().flat_map(u32::to_le_bytes));
            }
            name => {
                let value = if name.ends_with("running_var") { 1f32 } else { 0.0 };
                data.extend(std::iter::repeat_n(value.to_le_bytes(), tensor.numel()).flatten());
            }
        }
        let fields = json!({ "dtype": "F32", "shape": tensor.size(), "data_offsets": [start, data.len()] });
        header.insert(name.clone(), fields);
    }
    let mut header = Value::Object(header).to_string();
    while (8 + header.len() + data.len()) % 64 != 40 {
        header.push(' ');
    }
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat()
}

#[test]
fn classify_fetches_weights_by_name_and_takes_class_names_and_transforms_from_the_registry() {
    let content = densenet121();
    assert!(sha256(&content).starts_with("a639ec97"), "{}", sha256(&content));
    let size = content.len();
    let server = Server::start(move |request, stream| file(request, stream, &content, "\"1\"", size));
    let home = Home::new();
    let picture = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/images/bag_1.png");
    let classify = ["classify", picture, "--json", "--top-k", "2"];
    let weights = |home: &Home, more: &[&str]| {
        let (out, err) = succeeds(&mut home.densenet(&server.url(""), &[&classify, more].concat()));
        assert_eq!(err, "");
        serde_json::from_str::<Value>(&out).unwrap()["predictions"].clone()
    };
    let first = weights(&home, &["--weights", "imagenet1k_v1", "--arch", "densenet121"]);
    let names = imagenet_categories();
    assert_eq!((&first[0]["index"], &first[0]["label"]), (&json!(998), &json!(names[998])));
    assert_eq!((&first[1]["index"], &first[1]["label"]), (&json!(999), &json!(names[999])));
    assert_eq!(weights(&home, &["--weights", NAME]), first);
    assert_eq!(server.requests().len(), 1);
    let (out, _) = succeeds(&mut home.densenet("", &["weights", "inspect", NAME, "--json"]));
    let inspected: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(inspected["preset"]["crop_size"], 224);
    assert_eq!(inspected["config"]["num_classes"], 1000);
    let error =
        fails(&mut home.densenet("", &["classify", picture, "--weights", NAME, "--arch", "densenet169"]));
    assert!(error.contains("densenet121") && error.contains("densenet169"), "{error}");
}
