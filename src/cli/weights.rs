//! `densenet weights inspect|init`

use super::output::Output;
use super::records::{Initialized, Inspected, InspectedTensor};
use anyhow::{bail, Result};
use clap::Subcommand;
use densenet::checkpoint::{self, NameOptions, StateDict};
use densenet::model::{Arch, DenseNet, DenseNetConfig};
use densenet::tch::{self, nn, Device, Kind};
use densenet::weights::WeightsSource;
use std::collections::HashMap;
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// What a checkpoint holds and which network it belongs to; reads no tensor's data, runs nothing
    Inspect(InspectArgs),
    /// Write a new network's weights: the bits of torch.manual_seed(S) and torchvision's constructor
    Init(InitArgs),
}

#[derive(clap::Args)]
struct InspectArgs {
    /// A checkpoint file, or the name of weights that come with the command
    #[arg(value_name = "FILE")]
    file: String,
}

#[derive(clap::Args)]
struct InitArgs {
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
    match &args.command {
        Command::Inspect(args) => inspect(args, output),
        Command::Init(args) => init(args, output),
    }
}

fn inspect(args: &InspectArgs, output: &mut Output) -> Result<()> {
    let source = WeightsSource::resolve(&args.file)?;
    let dict = source.open()?;
    let sidecar = source.sidecar()?;
    let normalized = checkpoint::normalize(&dict, &NameOptions::default());
    let inferred = match sidecar.as_ref().and_then(|sidecar| sidecar.config.clone()) {
        Some(config) => Ok(config),
        None => source.infer(&dict),
    };
    let (config, config_error) = match &inferred {
        Ok(config) => (Some(config), None),
        Err(error) => (None, Some(error.to_string())),
    };
    let normalized = normalized.as_ref().ok();
    let transforms = sidecar.as_ref().and_then(|sidecar| sidecar.transforms.as_ref());
    let record = Inspected {
        format: dict.format,
        root: dict.root.as_deref(),
        stripped_prefix: normalized.and_then(|normalized| normalized.stripped_prefix.as_deref()),
        origin: normalized.and_then(|normalized| normalized.origin()),
        renamed: normalized.map_or(0, |normalized| normalized.renamed),
        dropped: normalized.map_or(&[], |normalized| &normalized.dropped),
        foreign_globals: &dict.foreign_globals,
        preset: transforms.map(serde_json::to_value).transpose()?,
        config,
        config_error: config_error.as_deref(),
        tensors: dict
            .tensors
            .iter()
            .map(|(name, view)| InspectedTensor { name, dtype: dtype(view.kind()), shape: view.shape() })
            .collect(),
    };
    output.record(&record, || text(&record, &dict))
}

/// torch's name of a dtype.
fn dtype(kind: Kind) -> &'static str {
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

fn text(record: &Inspected, dict: &StateDict) -> String {
    let mut lines = Vec::new();
    let mut line = |name: &str, value: String| lines.push(format!("{name:<16}{value}"));
    let quoted = serde_json::to_string(&record.format).unwrap_or_default();
    line("format", quoted.trim_matches('"').to_string());
    line("state dict at", record.root.unwrap_or("the top").to_string());
    if let Some(prefix) = record.stripped_prefix {
        line("prefix", format!("{prefix} (left out)"));
    }
    let origin = record.origin.as_deref().unwrap_or("torchvision");
    line("names", format!("{origin}, {} renamed", record.renamed));
    if !record.dropped.is_empty() {
        let names: Vec<_> =
            record.dropped.iter().map(|dropped| format!("{} ({})", dropped.name, dropped.reason)).collect();
        line("left out", names.join(", "));
    }
    if !record.foreign_globals.is_empty() {
        line("not run", record.foreign_globals.join(", "));
    }
    match (record.config, record.config_error) {
        (Some(config), _) => line("network", describe(config)),
        (None, Some(error)) => line("network", format!("none: {error}")),
        (None, None) => {}
    }
    let numbers: i64 = dict.tensors.iter().map(|(_, view)| view.shape().iter().product::<i64>()).sum();
    line("tensors", format!("{} of {numbers} numbers", dict.tensors.len()));
    let width = record.tensors.iter().map(|tensor| tensor.name.len()).max().unwrap_or(0);
    for tensor in &record.tensors {
        lines.push(format!("  {:width$}  {:<8} {:?}", tensor.name, tensor.dtype, tensor.shape));
    }
    lines.join("\n")
}

fn describe(config: &DenseNetConfig) -> String {
    let name = config.arch().map_or("DenseNet".to_string(), |arch| arch.to_string());
    let bottleneck = config.bn_size.map_or("no bottleneck".to_string(), |size| format!("bottleneck {size}k"));
    format!(
        "{name}: k = {}, blocks {:?}, {} initial features, {bottleneck}, compression {}, {} input channels, {} classes, \
         {:?} stem",
        config.growth_rate,
        config.block_config,
        config.num_init_features,
        config.compression,
        config.in_channels,
        config.num_classes,
        config.stem,
    )
}

fn init(args: &InitArgs, output: &mut Output) -> Result<()> {
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
