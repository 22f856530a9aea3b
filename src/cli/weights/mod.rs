//! `densenet weights`: a file a subcommand.

mod init;
mod inspect;

use super::output::Output;
use anyhow::Result;
use clap::Subcommand;

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// What a checkpoint holds and which network it belongs to; reads no tensor's data, runs nothing
    Inspect(inspect::Args),
    /// Write a new network's weights: the bits of torch.manual_seed(S) and torchvision's constructor
    Init(init::Args),
}

pub fn run(args: &Args, output: &mut Output) -> Result<()> {
    match &args.command {
        Command::Inspect(args) => inspect::run(args, output),
        Command::Init(args) => init::run(args, output),
    }
}
