//! Whole processes: `densenet classify PHOTO --weights densenet121.pth` against the same in Python (`classify.py`).
//!
//! ```text
//! cargo bench --bench startup -- --rounds 10
//! ```
//!
//! Wall time from starting the process to its end, processor time, and the highest resident memory. The photograph (a
//! 1000×750 JPEG) and the weights file (as torchvision publishes it) are made first and lie in the page cache.

mod peer;

use anyhow::{Context, Result};
use clap::Parser;
use peer::table::{self, median, Row};
use peer::{in_turn, number, python, Participant, Peer};
use serde_json::{json, Map};

/// Compares whole processes that classify one photograph: Python, the densenet command.
#[derive(Parser)]
struct Args {
    /// How often each is run
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Print one JSON object a participant
    #[arg(long)]
    json: bool,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let folder = tempfile::tempdir()?;
    // The name by which torchvision's class names are found.
    let weights = folder.path().join("densenet121-a639ec97.pth");
    let photo = folder.path().join("photo.jpg");
    Peer::python("PyTorch")?
        .ask(&json!({ "command": "official_file", "arch": "densenet121", "path": weights, "zip": false }))?;
    Peer::python("Pillow")?
        .ask(&json!({ "command": "photograph", "path": photo, "width": 1000, "height": 750 }))?;

    let python_script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/classify.py");
    let (weights, photo) = (weights.to_str().context("path")?, photo.to_str().context("path")?);
    let python = python();
    let commands = [
        ("Python, torch, torchvision, Pillow", vec![python.as_str(), python_script, weights, photo]),
        ("densenet classify", vec![env!("CARGO_BIN_EXE_densenet"), "classify", photo, "--weights", weights]),
    ];
    let mut participants = Vec::new();
    for (name, arguments) in commands {
        // A process that has imported nothing starts the others.
        let peer = Peer::python("the starter")?;
        let run = json!({ "command": "run", "arguments": arguments });
        participants.push(Participant { name: name.to_string(), peer, run });
    }
    let warm_up = in_turn(&mut participants, 1)?;
    let printed: Vec<&str> = warm_up.iter().filter_map(|runs| runs[0]["output"].as_str()).collect();
    let answers = in_turn(&mut participants, args.rounds as usize)?;

    let mut rows = Vec::new();
    for (participant, answers) in participants.iter().zip(&answers) {
        let all = |key| answers.iter().map(|answer| number(answer, key)).collect::<Result<Vec<f64>>>();
        let (memory, cpu) = (median(&all("peak_rss_mb")?), median(&all("cpu_seconds")?));
        rows.push(Row {
            name: participant.name.clone(),
            figures: all("seconds")?,
            note: format!("peak resident {memory:.0} MB, processor time {cpu:.2} s"),
            fields: Map::from_iter([
                ("peak_rss_mb".into(), memory.into()),
                ("cpu_seconds".into(), cpu.into()),
            ]),
        });
    }
    if !args.json {
        println!("\none 1000×750 JPEG through densenet121, whole process, {} rounds: s", args.rounds);
    }
    let fields = Map::from_iter([("bench".into(), "startup".into())]);
    table::print(&rows, 0, "s", &fields, args.json);
    if !args.json {
        printed.iter().for_each(|line| print!("printed: {line}"));
    }
    Ok(())
}
