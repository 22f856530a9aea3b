//! A training step by PyTorch with torchvision and by this crate, in turn: time, activations, what is kept.
//!
//! ```text
//! cargo bench --bench training -- --arch densenet121 --batch-size 8 --batch-size 16 --rounds 5
//! cargo bench --bench training -- --arch densenet-bc-100-12 --batch-size 64
//! cargo bench --bench training -- --plots docs/images
//! ```
//!
//! Each measurement is a process of its own, as users start it: `densenet bench train`, and `training_peer.py`. A round
//! runs every participant once, beginning one later than the round before; ratios are taken within rounds.

mod peer;

use anyhow::{bail, Context, Result};
use clap::Parser;
use densenet::report::{line_chart, Chart, Line};
use peer::table::{self, Row};
use peer::{number, threads};
use serde_json::{json, Map, Value};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Compares training steps: PyTorch with torchvision, this crate.
#[derive(Parser)]
struct Args {
    /// densenet121 … densenet201, or densenet-bc-L-k; may be given several times
    #[arg(long, default_values_t = ["densenet121".to_string()])]
    arch: Vec<String>,
    /// Pictures a step; may be given several times
    #[arg(long, default_values_t = [8])]
    batch_size: Vec<i64>,
    /// How often each participant is measured
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Steps a measurement times, after one that it does not
    #[arg(long, default_value_t = 4)]
    steps: u32,
    /// Threads of every participant [default: one a processor]
    #[arg(long)]
    threads: Option<usize>,
    /// Only participants whose name has this in it (the reference always runs)
    #[arg(long)]
    only: Option<String>,
    /// Instead: memory against depth and against batch size, drawn into this folder
    #[arg(long, value_name = "FOLDER")]
    plots: Option<PathBuf>,
    /// Print one JSON object a participant
    #[arg(long)]
    json: bool,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy)]
enum Who {
    /// `training_peer.py --variant`
    PyTorch(&'static str),
    /// The same with glibc told to keep freed memory, as the `densenet` command tells it.
    PyTorchMemoryKept(&'static str),
    /// `densenet bench train --memory`
    Densenet(&'static str),
}

const REFERENCE: &str = "torchvision";
const PARTICIPANTS: [(&str, Who); 10] = [
    (REFERENCE, Who::PyTorch("plain")),
    ("torchvision, channels last", Who::PyTorch("channels_last")),
    ("torchvision, memory_efficient", Who::PyTorch("memory_efficient")),
    ("torchvision, memory kept", Who::PyTorchMemoryKept("plain")),
    ("torchvision, memory_efficient, memory kept", Who::PyTorchMemoryKept("memory_efficient")),
    ("reference implementation, efficient", Who::PyTorch("reference")),
    ("densenet, standard", Who::Densenet("standard")),
    ("densenet, efficient", Who::Densenet("efficient")),
    ("densenet, fused", Who::Densenet("fused")),
    ("densenet, minimal", Who::Densenet("minimal")),
];

/// What `runtime::keep_freed_memory()` sets, for a process that cannot call it.
const MEMORY_KEPT: &str =
    "glibc.malloc.mmap_threshold=1073741824:glibc.malloc.trim_threshold=1099511627776:glibc.malloc.arena_max=1";

fn main() -> Result<()> {
    let args = Args::parse();
    let threads = threads(args.threads)?;
    if let Some(folder) = &args.plots {
        return plots(folder, threads);
    }
    for arch in &args.arch {
        for &batch_size in &args.batch_size {
            compare(&args, arch, batch_size, threads)?;
        }
    }
    Ok(())
}

/// Runs the participants of one case in turn and prints four tables.
fn compare(args: &Args, arch: &str, batch_size: i64, threads: usize) -> Result<()> {
    let wanted = |name: &str| args.only.as_ref().is_none_or(|part| name.contains(part.as_str()));
    let participants: Vec<_> =
        PARTICIPANTS.into_iter().filter(|(name, _)| *name == REFERENCE || wanted(name)).collect();
    let mut answers = vec![Vec::new(); participants.len()];
    for round in 0..args.rounds as usize {
        for place in 0..participants.len() {
            let index = (round + place) % participants.len();
            answers[index].push(measure(participants[index].1, arch, batch_size, args.steps, threads)?);
        }
    }
    if !args.json {
        println!(
            "\n{arch}, batch {batch_size}, f32, {threads} threads, {} steps a round, {} rounds",
            args.steps, args.rounds
        );
    }
    for (key, unit, factor) in [
        ("step_ms", "ms/step", 1.0),
        ("activation_bytes", "MB, peak over start", 1e-6),
        ("kept_bytes", "MB, kept", 1e-6),
        ("peak_tensor_bytes", "MB, tensors at most", 1e-6),
    ] {
        let mut rows = Vec::new();
        for ((name, _), answers) in participants.iter().zip(&answers) {
            let figures: Result<Vec<f64>> =
                answers.iter().map(|answer| Ok(number(answer, key)? * factor)).collect();
            rows.push(Row {
                name: name.to_string(),
                figures: figures?,
                note: String::new(),
                fields: Map::new(),
            });
        }
        let fields = json!({"bench": "training", "arch": arch, "batch_size": batch_size, "threads": threads, "figure": key});
        let Value::Object(fields) = fields else { bail!("not an object") };
        if !args.json {
            println!("\n{unit}");
        }
        table::print(&rows, 0, unit, &fields, args.json);
    }
    Ok(())
}

/// One process's answer.
fn measure(who: Who, arch: &str, batch_size: i64, steps: u32, threads: usize) -> Result<Value> {
    let mut command = match who {
        Who::PyTorch(variant) | Who::PyTorchMemoryKept(variant) => {
            let mut command = Command::new(peer::python());
            command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/training_peer.py"));
            command.args(["--variant", variant, "--kept"]);
            if let Who::PyTorchMemoryKept(_) = who {
                command.env("GLIBC_TUNABLES", MEMORY_KEPT);
            }
            command
        }
        Who::Densenet(memory) => {
            let mut command = Command::new(env!("CARGO_BIN_EXE_densenet"));
            command.args(["bench", "train", "--json", "--memory", memory]);
            command
        }
    };
    command.args(["--arch", arch]);
    for (option, value) in [
        ("--batch-size", batch_size.to_string()),
        ("--steps", steps.to_string()),
        ("--threads", threads.to_string()),
    ] {
        command.args([option, &value]);
    }
    let output =
        command.stderr(Stdio::piped()).output().with_context(|| format!("cannot start {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    serde_json::from_slice(&output.stdout).with_context(|| format!("{command:?} printed no JSON"))
}

/// As figures 3 and 4 of the technical report on memory-efficient DenseNets (Pleiss et al., 2017): memory against depth
/// and against batch size.
fn plots(folder: &Path, threads: usize) -> Result<()> {
    const BATCH: i64 = 8;
    let depths = [40, 70, 100, 130, 160, 190, 220, 250];
    draw(
        folder,
        "memory_against_depth.svg",
        "depth L (DenseNet-BC, k = 12, 32×32, batch 8)",
        &depths,
        |who, depth| measure(who, &format!("densenet-bc-{depth}-12"), BATCH, 1, threads),
    )?;
    let batches = [1, 2, 4, 8, 16];
    draw(
        folder,
        "memory_against_batch_size.svg",
        "batch size (densenet121, 224×224)",
        &batches,
        |who, batch| measure(who, "densenet121", batch, 1, threads),
    )
}

fn draw(
    folder: &Path,
    file: &str,
    x_label: &str,
    xs: &[i64],
    run: impl Fn(Who, i64) -> Result<Value>,
) -> Result<()> {
    let mut lines = Vec::new();
    // What is kept does not depend on the allocator or the memory format.
    let kept = |(name, _): &(&str, Who)| !name.contains("memory kept") && !name.contains("channels last");
    for (name, who) in PARTICIPANTS.into_iter().filter(kept) {
        let mut points = Vec::new();
        for &x in xs {
            let answer = run(who, x)?;
            let megabytes = number(&answer, "kept_bytes")? / 1e6;
            eprintln!("{name}, {x}: {megabytes:.1} MB");
            points.push((x as f64, megabytes));
        }
        lines.push(Line::new(name, points));
    }
    let title = "Kept between forward and backward";
    let path = folder.join(file);
    let chart = Chart { title, x_label, y_label: "MB", from_zero: true, lines: &lines };
    std::fs::write(&path, line_chart(&chart)).with_context(|| format!("cannot write {}", path.display()))
}
