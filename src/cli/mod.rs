//! The command line: parse, call the library, print. One file a subcommand.

mod bench;
mod categories;
mod classify;
mod doctor;
mod evaluate;
mod explain;
mod export;
mod features;
mod finetune;
mod memory;
mod output;
mod parity;
mod pictures;
mod progress;
mod reading;
mod records;
mod report;
mod source;
mod weights;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use densenet::runtime::{self, DeviceSpec};
use output::Output;
use std::process::ExitCode;

/// torchvision's DenseNet on libtorch: classify pictures, inspect checkpoints, prove parity with PyTorch.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    global: Global,
}

#[derive(Args)]
struct Global {
    /// Print one JSON object a line on standard output; messages go to standard error.
    #[arg(long, global = true)]
    json: bool,
    /// Where to compute: auto, cpu, cuda, cuda:N or mps.
    #[arg(long, global = true, default_value = "auto", value_name = "DEVICE")]
    device: DeviceSpec,
    /// Threads an operation may use [default: libtorch's choice, usually one a core]
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
}

#[derive(Subcommand)]
enum Command {
    /// The likeliest classes of each picture
    Classify(classify::Args),
    /// A page about a run of `finetune`: curves, who is taken for whom, the worst mistakes
    Report(report::Args),
    /// How good a network is on labelled pictures, with a report to look at
    Evaluate(evaluate::Args),
    /// Where in a picture a network sees a class: heat maps (Grad-CAM)
    Explain(explain::Args),
    /// Pooled features of pictures, for retrieval and linear probes
    Features(features::Args),
    /// Look into checkpoint files, make new weights
    Weights(weights::Args),
    /// Compare a network's output with what PyTorch saved, to the bit
    Parity(parity::Args),
    /// Write a network for programs that know nothing of this crate: TorchScript
    Export(export::Args),
    /// Train a network on your pictures, from weights or from scratch
    Finetune(Box<finetune::Args>),
    /// What training steps cost on this machine
    Bench(bench::Args),
    /// What this machine and this libtorch can do
    Doctor(doctor::Args),
}

/// Exit codes: 0 done, 1 failed, 2 bad usage (clap's own).
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut output = Output::new(cli.global.json);
    let result = run(&cli, &mut output);
    output.exit_code(result)
}

fn run(cli: &Cli, output: &mut Output) -> Result<()> {
    if let Some(threads) = cli.global.threads {
        runtime::set_threads(threads.into())?;
    }
    let device = || runtime::device(cli.global.device);
    match &cli.command {
        Command::Classify(args) => classify::run(args, device()?, output),
        Command::Report(args) => report::run(args, device()?, output),
        Command::Evaluate(args) => evaluate::run(args, device()?, output),
        Command::Explain(args) => explain::run(args, device()?, output),
        Command::Features(args) => features::run(args, device()?, output),
        Command::Weights(args) => weights::run(args, output),
        Command::Parity(args) => parity::run(args, || Ok(device()?), output),
        Command::Export(args) => export::run(args, device()?, output),
        Command::Finetune(args) => finetune::run(args, device()?, cli.global.threads.is_some(), output),
        Command::Bench(args) => bench::run(args, device()?, output),
        Command::Doctor(args) => doctor::run(args, cli.global.device, output),
    }
}
