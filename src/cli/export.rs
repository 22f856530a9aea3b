//! `densenet export`

use super::output::Output;
use super::reading;
use super::records::Exported;
use super::source;
use anyhow::{bail, Context, Result};
use densenet::export::{torchscript, ScriptOptions};
use densenet::model::Memory;
use densenet::tch::{Device, Kind};
use std::path::PathBuf;

/// The file inside the archive that holds what a sidecar holds: configuration, class names, transforms.
const DESCRIPTION: &str = "densenet.json";

#[derive(clap::Args)]
pub struct Args {
    /// The TorchScript file to write: torch.jit.load, torch::jit::load and Triton's PyTorch backend read it
    #[arg(long, value_name = "OUT")]
    torchscript: PathBuf,
    /// A checkpoint file, or a name from `weights list`, downloaded on first use
    #[arg(long, default_value = "fashion_mnist", value_name = "WEIGHTS")]
    weights: String,
    /// The dtype of weights, inputs and outputs
    #[arg(long, value_enum, default_value_t = KindArg::F32, value_name = "DTYPE")]
    dtype: KindArg,
    #[command(flatten)]
    reading: reading::Args,
    /// Write over an existing file
    #[arg(long)]
    force: bool,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum KindArg {
    F32,
    F16,
    Bf16,
}

pub fn run(args: &Args, device: Device, output: &mut Output) -> Result<()> {
    if args.torchscript.exists() && !args.force {
        bail!("{} exists already: --force writes over it", args.torchscript.display());
    }
    let loaded = source::weights(&args.weights, None, output)?
        .load_with(device, &args.reading.options(Memory::Standard))?;
    let description = serde_json::to_vec_pretty(&loaded.description.sidecar())?;
    let options = ScriptOptions {
        kind: match args.dtype {
            KindArg::F32 => Kind::Float,
            KindArg::F16 => Kind::Half,
            KindArg::Bf16 => Kind::BFloat16,
        },
        extra_files: vec![(DESCRIPTION, description)],
    };
    let max_abs = torchscript(&loaded.network, &args.torchscript, &options)?;
    let bytes =
        std::fs::metadata(&args.torchscript).with_context(|| args.torchscript.display().to_string())?.len();
    let config = &loaded.network.config;
    let record = Exported {
        output: args.torchscript.display().to_string(),
        bytes,
        config,
        input: [-1, config.in_channels, -1, -1],
        min_size: config.min_input_size(),
        max_abs,
        extra_files: [DESCRIPTION],
    };
    output.record(&record, || {
        format!(
            "{}: {bytes} bytes; takes [N, {}, H, W], H and W at least {}; logits {max_abs:e} from this network's; \
             {DESCRIPTION} inside",
            record.output, config.in_channels, record.min_size
        )
    })
}
