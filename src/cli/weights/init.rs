//! `densenet weights init`

use crate::cli::output::Output;
use crate::cli::records::Initialized;
use anyhow::{bail, Result};
use densenet::checkpoint::{self, Entry, WriteFormat};
use densenet::model::{Arch, DenseNet, DenseNetConfig};
use densenet::tch::{self, nn, Device};
use std::collections::BTreeMap;
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Args {
    /// densenet121, densenet161, densenet169, densenet201 or densenet264
    #[arg(long)]
    arch: Arch,
    /// Seed of libtorch's generator
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    seed: i64,
    /// The file to write: .safetensors, .pth or .ot
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
    let format = WriteFormat::of_path(&args.output)?;
    if args.output.exists() && !args.force {
        bail!("{} exists already: --force writes over it", args.output.display());
    }
    let config =
        DenseNetConfig { num_classes: args.num_classes, in_channels: args.in_channels, ..args.arch.config() };
    tch::manual_seed(args.seed);
    let vs = nn::VarStore::new(Device::Cpu);
    let network = DenseNet::new(&vs.root(), &config)?;
    let metadata = BTreeMap::from([
        ("format".to_string(), "pt".to_string()),
        ("arch".to_string(), args.arch.to_string()),
        ("seed".to_string(), args.seed.to_string()),
    ]);
    let tensors = network.named_tensors();
    let entries: Vec<Entry> = tensors.iter().map(|(name, tensor)| Entry::of_tensor(name, tensor)).collect();
    checkpoint::write(&args.output, format, &entries, &metadata)?;
    let parameters = network.num_parameters();
    let record = Initialized {
        output: args.output.display().to_string(),
        config: &config,
        seed: args.seed,
        parameters,
    };
    output.record(&record, || format!("{}: {} of {parameters} parameters", record.output, args.arch))
}
