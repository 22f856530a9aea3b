//! `densenet weights init`

use crate::cli::output::Output;
use crate::cli::records::Initialized;
use anyhow::{bail, Result};
use densenet::checkpoint;
use densenet::model::{Arch, DenseNet, DenseNetConfig};
use densenet::tch::{self, nn, Device};
use std::collections::HashMap;
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Args {
    /// densenet121, densenet161, densenet169, densenet201 or densenet264
    #[arg(long)]
    arch: Arch,
    /// Seed of libtorch's generator
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    seed: i64,
    /// The file to write (.safetensors)
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// Classes; 0 for a backbone without a head
    #[arg(long, default_value_t = 1000, value_name = "N")]
    num_classes: i64,
    /// Channels of the pictures
    #[arg(long, default_value_t = 3, value_name = "N")]
    in_channels: i64,
    /// Write over an existing file
    #[arg(long)]
    force: bool,
}

pub fn run(args: &Args, output: &mut Output) -> Result<()> {
    if args.output.extension().is_none_or(|ending| ending != "safetensors") {
        bail!("{} must end in .safetensors, the format that is written", args.output.display());
    }
    if args.output.exists() && !args.force {
        bail!("{} exists already: --force writes over it", args.output.display());
    }
    let config =
        DenseNetConfig { num_classes: args.num_classes, in_channels: args.in_channels, ..args.arch.config() };
    tch::manual_seed(args.seed);
    let vs = nn::VarStore::new(Device::Cpu);
    let network = DenseNet::new(&vs.root(), &config)?;
    let metadata = HashMap::from([
        ("format".to_string(), "pt".to_string()),
        ("arch".to_string(), args.arch.to_string()),
        ("seed".to_string(), args.seed.to_string()),
    ]);
    checkpoint::write_safetensors(&args.output, &network.named_tensors(), metadata)?;
    let parameters = network.num_parameters();
    let record = Initialized {
        output: args.output.display().to_string(),
        config: &config,
        seed: args.seed,
        parameters,
    };
    output.record(&record, || format!("{}: {} of {parameters} parameters", record.output, args.arch))
}
