//! `densenet bench`

mod infer;
mod train;

use super::output::Output;
use anyhow::Result;
use clap::Subcommand;
use densenet::model::{DenseNetConfig, Stem};
use densenet::tch::Device;

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// A forward pass's time: evaluation mode, no gradients, random pictures and weights
    Infer(infer::Args),
    /// A training step's time and memory: forward, cross entropy, backward, SGD, on random pictures
    Train(train::Args),
}

/// `threads` is the global option.
pub fn run(args: &Args, device: Device, threads: Option<u16>, output: &mut Output) -> Result<()> {
    match &args.command {
        Command::Infer(args) => infer::run(args, device, threads, output),
        Command::Train(args) => train::run(args, device, output),
    }
}

/// Height and width of the pictures such a network was published for.
fn side(config: &DenseNetConfig) -> i64 {
    if config.stem == Stem::Small {
        32
    } else {
        224
    }
}

fn megabytes(bytes: u64) -> String {
    format!("{:.0} MB", bytes as f64 / 1e6)
}
