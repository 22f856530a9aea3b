//! Forward passes by everything people run a DenseNet with on a CPU, and by this crate, in one go.
//!
//! ```text
//! make bench-inference
//! cargo bench --bench inference -- --arch densenet121 --batch-size 1 --batch-size 8 --threads 2 --rounds 15
//! cargo bench --bench inference -- --arch fashion_mnist --batch-size 256 --only densenet --only ONNX
//! ```
//!
//! f32, no gradients, the same weights, input and thread count for all; each participant is a process of its own, set up as
//! its documentation says (`participants.rs`, `../peer_inference.py`), and stays up while all are asked in turn. Logits are
//! compared with PyTorch's in the same run. A participant that cannot be had here is named as not measured.
//!
//! Every case's figures go to a file (`--record`), where a run that was cut off finds them; `--page` makes a page's tables and
//! plots of the whole file.

#[path = "../peer/mod.rs"]
mod peer;

mod case;
mod compare;
mod ours;
mod page;
mod participants;
mod record;

use anyhow::Result;
use case::{Case, Mode};
use clap::Parser;
use peer::serve_if_participant;
use record::Record;
use std::path::PathBuf;

/// Compares forward passes: PyTorch in five ways, ONNX Runtime, OpenVINO, tch's own DenseNet, this crate.
#[derive(Parser)]
pub struct Args {
    /// densenet121, densenet161, densenet169, densenet201, or fashion_mnist, the embedded network; may be given several times
    #[arg(long, default_values_t = ["densenet121".to_string()])]
    arch: Vec<String>,
    /// Pictures a pass; may be given several times
    #[arg(long, default_values_t = [1, 8], value_parser = clap::value_parser!(i64).range(1..))]
    batch_size: Vec<i64>,
    /// Threads of every participant; may be given several times [default: one a processor]
    #[arg(long)]
    threads: Vec<usize>,
    /// latency: all threads on one pass; throughput: a pass on each thread, side by side; may be given several times
    #[arg(long, value_enum, default_values_t = [Mode::Latency])]
    mode: Vec<Mode>,
    /// How often each participant is measured in a case, at most
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// No further round after this many seconds of a case, if five are done
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Only participants whose name has this in it, in any case; may be given several times [default: all but the special ones]
    #[arg(long, value_name = "PART")]
    only: Vec<String>,
    /// Keep every case's figures in this file, and take from it those that are there
    #[arg(long, value_name = "FILE.jsonl")]
    record: Option<PathBuf>,
    /// Write the record's tables into this page, between its marks, and plots into its folder `images`
    #[arg(long, value_name = "PAGE.md", requires = "record")]
    page: Option<PathBuf>,
    /// Print one JSON object a participant
    #[arg(long)]
    json: bool,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let mut ours = None;
    if serve_if_participant(|command, question| ours::answer(&mut ours, command, question))? {
        return Ok(());
    }
    let args = Args::parse();
    let mut record = Record::open(args.record.as_deref())?;
    let cases = cases(&args)?;
    let wanted = participants::wanted(&args.only)?;
    let folder = tempfile::tempdir()?;
    let mut files = compare::Files::new(folder.path());
    for (number, case) in cases.iter().enumerate() {
        let names: Vec<&str> = wanted.iter().map(|participant| participant.name).collect();
        let (number, all) = (number + 1, cases.len());
        let measured = match record.find(case, &names)? {
            Some(measured) => {
                eprintln!("[{number}/{all}] {case}: in the record");
                measured
            }
            None => {
                eprintln!("[{number}/{all}] {case}");
                let measured = compare::run(&args, case, &wanted, &mut files)?;
                record.add(measured.clone())?;
                measured
            }
        };
        measured.print(args.json);
        if let Some(path) = &args.page {
            page::write(path, &record)?;
        }
    }
    Ok(())
}

/// Every combination that was asked for: quick ones first.
fn cases(args: &Args) -> Result<Vec<Case>> {
    let threads = if args.threads.is_empty() { vec![peer::threads(None)?] } else { args.threads.clone() };
    let mut cases = Vec::new();
    for &mode in &args.mode {
        for arch in &args.arch {
            for &threads in &threads {
                for &batch_size in &args.batch_size {
                    cases.push(Case { network: arch.parse()?, batch_size, threads, mode });
                }
            }
        }
    }
    Ok(cases)
}
