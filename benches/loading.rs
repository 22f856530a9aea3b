//! From a checkpoint file to a ready network: `WeightsSource::load` against `torch.load` + `load_state_dict`; and to names
//! and shapes alone: `StateDict::open` and what `weights inspect` does with it, against the least that `torch.load` can do.
//!
//! ```text
//! cargo bench --bench loading -- --arch densenet161 --rounds 15
//! ```
//!
//! The file is as torchvision publishes it (names of the old form, no `num_batches_tracked`), in torch's legacy format and
//! in its zip format, and lies in the page cache. Every participant reads it once before it is measured.

mod peer;

use anyhow::{bail, Context, Result};
use clap::Parser;
use densenet::checkpoint::{self, NameOptions, StateDict};
use densenet::tch::Device;
use densenet::weights::WeightsSource;
use densenet::{runtime, Arch};
use peer::table::{self, median, Row};
use peer::{count, in_turn, number, serve_if_participant, text, Participant, Peer};
use serde_json::{json, Map, Value};
use std::path::Path;
use std::time::Instant;

/// Compares reading a checkpoint into a network: PyTorch, this crate.
#[derive(Parser)]
struct Args {
    /// The network
    #[arg(long, default_value = "densenet161")]
    arch: Arch,
    /// How often each participant is measured
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Only this format
    #[arg(long, value_parser = ["legacy", "zip"])]
    format: Option<String>,
    /// Threads of every participant [default: one a processor]
    #[arg(long)]
    threads: Option<usize>,
    /// Print one JSON object a participant
    #[arg(long)]
    json: bool,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

/// The row that ratios refer to: the file into a network that is already there.
const REFERENCE: &str = "PyTorch: torch.load, load_state_dict";
/// The row that ratios of names and shapes alone refer to.
const LOAD_ALONE: &str = "PyTorch: torch.load alone";

/// Name, and what `load` of peer.py is told.
const PYTORCH: [(&str, &str); 5] = [
    (REFERENCE, "built"),
    (LOAD_ALONE, "nothing"),
    ("PyTorch: and a new network first", "fresh"),
    ("PyTorch: and a new network on meta, assign", "meta"),
    // Mapped where that is possible (zip), else without copying to any device: no option reads less.
    ("PyTorch: names, dtypes, shapes alone", "names"),
];
/// Name, whether memory is kept, what is asked.
const DENSENET: [(&str, bool, &str); 4] = [
    ("densenet: a new network, filled", false, "load"),
    ("densenet: the same, memory kept", true, "load"),
    ("densenet: names, dtypes, shapes alone", false, "names"),
    ("densenet: and the configuration (inspect)", false, "inspect"),
];

fn main() -> Result<()> {
    if serve_if_participant(answer)? {
        return Ok(());
    }
    let args = Args::parse();
    let threads = peer::threads(args.threads)?;
    let folder = tempfile::tempdir()?;
    for (format, zip) in [("legacy", false), ("zip", true)] {
        if args.format.as_ref().is_some_and(|only| only != format) {
            continue;
        }
        let path = folder.path().join(format!("{format}.pth"));
        Peer::python("PyTorch")?.ask(
            &json!({ "command": "official_file", "arch": args.arch.name(), "path": path, "zip": zip }),
        )?;
        compare(&args, threads, &path, format)?;
    }
    Ok(())
}

fn compare(args: &Args, threads: usize, path: &Path, format: &str) -> Result<()> {
    let arch = args.arch.name();
    let mut participants = Vec::new();
    let mut version = Value::Null;
    for (name, into) in PYTORCH {
        let mut peer = Peer::python(name)?;
        let answer = peer.ask(&json!({ "command": "prepare_loading", "arch": arch, "threads": threads }))?;
        version = answer["version"].clone();
        let run = json!({ "command": "load", "arch": arch, "path": path, "into": into });
        participants.push(Participant { name: name.to_string(), peer, run });
    }
    for (name, keep, command) in DENSENET {
        let mut peer = Peer::this_binary(name)?;
        peer.ask(&json!({ "command": "prepare", "threads": threads, "keep_freed_memory": keep }))?;
        let run = json!({ "command": command, "path": path });
        participants.push(Participant { name: name.to_string(), peer, run });
    }
    in_turn(&mut participants, 2)?;
    let answers = in_turn(&mut participants, args.rounds as usize)?;

    let mut rows = Vec::new();
    for (participant, answers) in participants.iter().zip(&answers) {
        let milliseconds = |key| {
            let answers = answers.iter().map(|answer| Ok(1000.0 * number(answer, key)?));
            answers.collect::<Result<Vec<f64>>>()
        };
        let mut row = Row {
            name: participant.name.clone(),
            figures: milliseconds("seconds")?,
            note: String::new(),
            fields: Map::new(),
        };
        if let Ok(torch_load) = milliseconds("torch_load_seconds") {
            row.note = format!("torch.load {:.1}", median(&torch_load));
            row.fields.insert("torch_load_median".into(), median(&torch_load).into());
        }
        rows.push(row);
    }
    let place = |name| rows.iter().position(|row| row.name == name).context("no such row");
    let reference = place(REFERENCE)?;
    let load_alone = rows[place(LOAD_ALONE)?].figures.clone();
    for row in rows.iter_mut().filter(|row| row.name.contains("names") || row.name.contains("inspect")) {
        let ratio = table::ratio(&row.figures, &load_alone);
        row.note = format!("{ratio:.4} of torch.load alone");
        row.fields.insert("ratio_to_torch_load".into(), ratio.into());
    }
    let megabytes = std::fs::metadata(path)?.len() as f64 / 1e6;
    if !args.json {
        println!(
            "\n{arch}, {format} file of {megabytes:.1} MB, {threads} threads, {} rounds, torch {}: ms",
            args.rounds,
            version.as_str().unwrap_or("?")
        );
    }
    let fields = json!({
        "bench": "loading", "arch": arch, "format": format, "megabytes": megabytes, "threads": threads,
        "torch": version,
    });
    let Value::Object(fields) = fields else { bail!("not an object") };
    table::print(&rows, reference, "ms", &fields, args.json);
    Ok(())
}

/// This binary as a participant.
fn answer(command: &str, question: &Value) -> Result<Value> {
    if command == "prepare" {
        if question["keep_freed_memory"] == true && !runtime::keep_freed_memory() {
            bail!("this system's allocator has no such setting");
        }
        runtime::set_threads(count(question, "threads")?.try_into()?)?;
        return Ok(Value::Null);
    }
    let path = text(question, "path")?;
    let start = Instant::now();
    let seconds = match command {
        "load" => {
            let loaded = WeightsSource::File(path.into()).load(Device::Cpu)?;
            let seconds = start.elapsed();
            drop(loaded);
            seconds
        }
        "names" => {
            let dict = StateDict::open(path)?;
            let seconds = start.elapsed();
            drop(dict);
            seconds
        }
        "inspect" => {
            let dict = StateDict::open(path)?;
            let config = checkpoint::infer(&checkpoint::normalize(&dict, &NameOptions::default())?)?;
            let seconds = start.elapsed();
            drop((config, dict));
            seconds
        }
        _ => bail!("unknown command {command}"),
    };
    Ok(json!({ "seconds": seconds.as_secs_f64() }))
}
