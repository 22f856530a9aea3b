//! Every file of tests/attacks: refused with the error its maker expects, or opened where that is the honest answer; at a
//! cost in proportion to the file; and nothing ran.

use crate::oracle::ask;
use crate::support::scratch;
use allocation_counter::{measure, AllocationInfo};
use densenet::checkpoint::{self, CheckpointError, NameOptions, ReadError, StateDict};
use serde::Deserialize;
use serde_json::json;
use std::path::{Path, PathBuf};

/// Memory that any file may take, however short: the rename rules' own is most of it.
const FREE: u64 = 4 << 20;
/// Bytes of memory for each byte of a file. A pickle's shortest values have one byte and are nodes of 32, in a vector that
/// doubles as it grows: the old and the new one are there together.
const A_BYTE: u64 = 160;
/// Allocations for each byte of a file: work is in proportion, too.
const ALLOCATIONS_A_BYTE: u64 = 4;
const FREE_ALLOCATIONS: u64 = 20_000;

#[derive(Deserialize)]
struct Attack {
    technique: u32,
    name: String,
    path: PathBuf,
    expected: String,
    canary: PathBuf,
    /// Which of Python's readers it fools.
    real: Option<String>,
    /// Memory it may take beside what any may.
    #[serde(default)]
    memory: u64,
}

fn attacks(folder: &Path, only_real: bool) -> Vec<Attack> {
    let question = json!({"folder": folder, "only_real": only_real});
    serde_json::from_value(ask("attack_files", question)).unwrap()
}

/// What an error is, beginning as the makers write it.
fn kind(error: &ReadError) -> String {
    match error {
        ReadError::ForbiddenGlobal { module, name, .. } => format!("ForbiddenGlobal {module}.{name}"),
        ReadError::Foreign(foreign) => format!("Foreign {foreign:?}"),
        ReadError::LimitExceeded { what, .. } => format!("LimitExceeded {what}"),
        ReadError::Pickle { problem, .. } => format!("Pickle {problem}"),
        ReadError::Zip { problem, .. } => format!("Zip {problem}"),
        ReadError::Legacy { problem, .. } => format!("Legacy {problem}"),
        ReadError::Truncated { what, .. } => format!("Truncated {what}"),
        ReadError::Member { member, problem } => format!("Member {member} {problem:?}"),
        ReadError::MissingMember { member } => format!("MissingMember {member}"),
        ReadError::DuplicateKey { key } => format!("DuplicateKey {key}"),
        ReadError::BadTensor { tensor, problem } => format!("BadTensor {tensor}: {problem}"),
        other => format!("{other:?}"),
    }
}

/// Opens a file and does with it what users do; "opens", or what went wrong. The error's whole text is looked at too.
fn answer(path: &Path) -> (String, AllocationInfo) {
    let mut answer = String::new();
    let used = measure(|| {
        let outcome = StateDict::open(path).map_err(|error| ("", error)).and_then(|dict| {
            for (_, view) in &dict.tensors {
                drop(view.to_tensor().map_err(|error| ("reads: ", error))?);
            }
            if let Ok(normalized) = checkpoint::normalize(&dict, &NameOptions::default()) {
                let _ = checkpoint::infer(&normalized);
            }
            Ok(())
        });
        answer = match outcome {
            Ok(()) => "opens".to_string(),
            Err((when, CheckpointError::Read { reason, .. })) => {
                let text = reason.to_string();
                assert!(text.len() < 10_000, "an error of {} bytes", text.len());
                // A terminal would take them for commands.
                assert!(!text.chars().any(char::is_control), "{text:?}");
                format!("{when}{}", kind(&reason))
            }
            Err((when, other)) => format!("{when}{other}"),
        };
    });
    (answer, used)
}

#[test]
fn every_attack_is_answered_as_its_maker_expects_and_nothing_runs() {
    let folder = scratch();
    let attacks = attacks(folder.path(), false);
    let mut wrong = Vec::new();
    for attack in &attacks {
        let (answer, used) = answer(&attack.path);
        let title = format!("{} {:?}", attack.technique, attack.name);
        if !answer.starts_with(&attack.expected) {
            wrong.push(format!("{title}: {answer}, expected {}", attack.expected));
        }
        let length = attack.path.metadata().unwrap().len();
        let memory = FREE + A_BYTE * length + attack.memory;
        if used.bytes_max > memory {
            wrong.push(format!("{title}: {} bytes of memory for {length}, {memory} allowed", used.bytes_max));
        }
        let allocations = FREE_ALLOCATIONS + ALLOCATIONS_A_BYTE * length;
        if used.count_total > allocations {
            wrong.push(format!("{title}: {} allocations for {length} bytes", used.count_total));
        }
        if attack.canary.exists() {
            wrong.push(format!("{title}: its code ran"));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), attacks.len(), wrong.join("\n"));
    // Every proposal of the README has its files.
    let readme = include_str!("../attacks/README.md");
    let proposals: Vec<u32> =
        readme.lines().filter_map(|line| line.strip_prefix("## ")?.split('.').next()?.parse().ok()).collect();
    let mut made: Vec<u32> = attacks.iter().map(|attack| attack.technique).collect();
    made.sort_unstable();
    made.dedup();
    assert_eq!(made, proposals);
}

#[test]
fn pythons_own_readers_run_the_canaries() {
    let folder = scratch();
    let (mut run, mut idle) = (0, Vec::new());
    for attack in attacks(folder.path(), true) {
        let Some(reader) = &attack.real else { continue };
        let question = json!({"path": attack.path, "reader": reader, "canary": attack.canary});
        if ask("attack_works", question) != true {
            idle.push(format!("{} {:?}", attack.technique, attack.name));
        }
        run += 1;
    }
    assert!(idle.is_empty() && run >= 25, "of {run}: {idle:?}");
}

#[test]
fn the_command_answers_in_one_line_and_never_commands_the_terminal() {
    let folder = scratch();
    let run = |path: &Path| {
        let command = std::process::Command::new(env!("CARGO_BIN_EXE_densenet"))
            .args(["weights", "inspect"])
            .arg(path)
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (command.status.code(), text(command.stdout), text(command.stderr))
    };
    let all = attacks(folder.path(), false);
    let find = |name: &str| &all.iter().find(|attack| attack.name == name).unwrap().path;
    let (code, out, error) = run(find("a key with a zero, a line feed and an escape"));
    assert_eq!(code, Some(0), "{error}");
    assert!(out.contains("\\u{1b}[31m") && !out.contains('\x1b') && !out.contains('\0'), "{out}");
    let (code, out, _) = run(find("a class with an escape in its name"));
    assert!(code == Some(0) && out.contains("Red") && !out.contains('\x1b'), "{out}");
    let (code, out, error) = run(find("a command beside weights"));
    assert_eq!((code, &*out, error.lines().count()), (Some(1), "", 1), "{error}");
    assert!(error.contains("os.system") && error.contains("Nothing was run here"), "{error}");
}
