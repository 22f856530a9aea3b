//! `densenet weights`: a file a subcommand.

mod convert;
mod fetch;
mod init;
mod inspect;
mod list;

use super::output::Output;
use anyhow::Result;
use clap::Subcommand;
use densenet::tch::Kind;

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The weights there are by name: size, accuracy, whether they are in the cache
    List(list::Args),
    /// Download weights into torch.hub's cache folder, unless they are there; the SHA-256 is checked
    Fetch(fetch::Args),
    /// What a checkpoint holds and which network it belongs to; reads no tensor's data, runs nothing
    Inspect(inspect::Args),
    /// Write a checkpoint in another format, under other names, in another dtype, without its head
    Convert(convert::Args),
    /// Write a new network's weights: the bits of torch.manual_seed(S) and torchvision's constructor
    Init(init::Args),
}

pub fn run(args: &Args, output: &mut Output) -> Result<()> {
    match &args.command {
        Command::List(args) => list::run(args, output),
        Command::Fetch(args) => fetch::run(args, output),
        Command::Inspect(args) => inspect::run(args, output),
        Command::Convert(args) => convert::run(args, output),
        Command::Init(args) => init::run(args, output),
    }
}

/// torch's name of a dtype.
fn dtype_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Float => "float32",
        Kind::Double => "float64",
        Kind::Half => "float16",
        Kind::BFloat16 => "bfloat16",
        Kind::Int64 => "int64",
        Kind::Int => "int32",
        Kind::Int16 => "int16",
        Kind::Int8 => "int8",
        Kind::Uint8 => "uint8",
        Kind::Bool => "bool",
        _ => "other",
    }
}
