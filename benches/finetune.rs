//! An epoch of Fashion-MNIST by a plain PyTorch script and by `densenet finetune`, in turn: the same recipe, data and threads.
//!
//! ```text
//! cargo bench --bench finetune                     # 3 rounds of 2,000 pictures
//! cargo bench --bench finetune -- --images 60000   # whole epochs
//! ```
//!
//! Each measurement is a process of its own; its time is the training loop's, without starting and validating. A round runs
//! every participant once, beginning one later than the round before; ratios are taken within rounds. Data: Debian's package
//! dataset-fashion-mnist.

mod peer;

use anyhow::{ensure, Context, Result};
use clap::Parser;
use flate2::read::GzDecoder;
use peer::table::{self, Row};
use peer::{number, threads};
use serde_json::{json, Map, Value};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Compares an epoch of training: PyTorch with torchvision, this crate.
#[derive(Parser)]
struct Args {
    /// Folder of Debian's package dataset-fashion-mnist
    #[arg(long, default_value = "/usr/share/datasets/fashion-mnist")]
    data: PathBuf,
    /// The first so many pictures are an epoch
    #[arg(long, default_value_t = 2000)]
    images: usize,
    /// A small network of the paper
    #[arg(long, default_value = "densenet-bc-40-12")]
    arch: String,
    /// Pictures a step
    #[arg(long, default_value_t = 64)]
    batch_size: usize,
    /// How often each participant is measured
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
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

/// Participants: what the table calls them; the last part of the command line. The first is PyTorch's plain script.
const PARTICIPANTS: [(&str, &[&str]); 5] = [
    ("PyTorch", &[]),
    ("PyTorch, channels-last", &["--channels-last"]),
    ("densenet", &["--memory", "standard"]),
    ("densenet --memory fused", &["--memory", "fused"]),
    ("densenet --memory minimal", &["--memory", "minimal"]),
];
/// So many of them are PyTorch.
const PYTORCH: usize = 2;

fn main() -> Result<()> {
    let args = Args::parse();
    let threads = threads(args.threads)?;
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    fs::create_dir(&data)?;
    for (name, rank) in [("train-images-idx3-ubyte", 3), ("train-labels-idx1-ubyte", 1)] {
        shorten(&args.data, &data, name, rank, args.images)?;
    }
    let mut figures = vec![Vec::new(); PARTICIPANTS.len()];
    let mut losses = vec![0.0; PARTICIPANTS.len()];
    for round in 0..args.rounds as usize {
        for place in 0..PARTICIPANTS.len() {
            let index = (round + place) % PARTICIPANTS.len();
            let run = folder.path().join(format!("{round}-{index}"));
            let (seconds, loss) = measure(index, &args, &data, &run, threads)?;
            figures[index].push(seconds);
            losses[index] = loss;
        }
    }
    let rows: Vec<Row> = PARTICIPANTS
        .iter()
        .zip(figures.into_iter().zip(losses))
        .map(|((name, _), (figures, loss))| {
            let rate = args.images as f64 / table::median(&figures);
            let note = format!("{rate:.0} images/s, mean loss {loss:.3}");
            let fields = json!({ "images_per_second": rate, "loss": loss });
            let fields = fields.as_object().cloned().unwrap_or_default();
            Row { name: name.to_string(), figures, note, fields }
        })
        .collect();
    if !args.json {
        println!(
            "{}, {} pictures, batches of {}, {threads} threads; seconds",
            args.arch, args.images, args.batch_size
        );
    }
    table::print(&rows, 0, "s", &Map::new(), args.json);
    Ok(())
}

/// Seconds and mean loss of an epoch.
fn measure(index: usize, args: &Args, data: &Path, run: &Path, threads: usize) -> Result<(f64, f64)> {
    let mut command = if index < PYTORCH {
        let mut command = Command::new(peer::python());
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/finetune.py"));
        command
    } else {
        let mut command = Command::new(env!("CARGO_BIN_EXE_densenet"));
        command.args(
            "finetune --json --epochs 1 --no-validation --augment cifar --schedule one-cycle --lr 0.1"
                .split(' '),
        );
        command.arg("--output").arg(run);
        command
    };
    command.arg("--data").arg(data).args(["--arch", &args.arch, "--workers", "1"]);
    command.args(["--batch-size", &args.batch_size.to_string(), "--threads", &threads.to_string()]);
    command.args(PARTICIPANTS[index].1).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output =
        command.output().with_context(|| format!("cannot start {}", command.get_program().display()))?;
    let words = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {words}", PARTICIPANTS[index].0);
    let text = String::from_utf8(output.stdout)?;
    // Ours begins with the epoch's record, the script's is all it prints.
    let record: Value = serde_json::from_str(text.lines().next().context("no answer")?)?;
    if index < PYTORCH {
        return Ok((number(&record, "seconds")?, number(&record, "loss")?));
    }
    let (images, rate) = (number(&record["train"], "images")?, number(&record, "images_per_second")?);
    Ok((images / rate, number(&record["train"], "loss")?))
}

/// Copies the first `count` records of an idx file.
fn shorten(from: &Path, to: &Path, name: &str, rank: usize, count: usize) -> Result<()> {
    let path = from.join(format!("{name}.gz"));
    let file = File::open(&path).with_context(|| {
        format!("cannot open {} (Debian package dataset-fashion-mnist, or --data)", path.display())
    })?;
    let mut bytes = Vec::new();
    GzDecoder::new(file).read_to_end(&mut bytes)?;
    let header = 4 + 4 * rank;
    ensure!(bytes.len() > header, "{} is cut short", path.display());
    let size = |i: usize| u32::from_be_bytes([bytes[i], bytes[i + 1], bytes[i + 2], bytes[i + 3]]) as usize;
    let record: usize = (1..rank).map(|dimension| size(4 + 4 * dimension)).product();
    let count = count.min(size(4));
    let mut short = bytes[..header + count * record].to_vec();
    short[4..8].copy_from_slice(&u32::try_from(count)?.to_be_bytes());
    Ok(fs::write(to.join(name), short)?)
}
