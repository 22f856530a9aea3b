//! `densenet bench train`

use super::{megabytes, side};
use crate::cli::memory::MemoryArg;
use crate::cli::output::Output;
use crate::cli::progress::steps;
use anyhow::Result;
use densenet::measure::train::{train, TrainMeasurement, TrainOptions};
use densenet::model::DenseNetConfig;
use densenet::tch::{self, Device};

#[derive(clap::Args)]
pub struct Args {
    /// densenet121, densenet161, densenet169, densenet201, densenet264, or the paper's small networks by depth and growth
    /// rate: densenet-bc-100-12, densenet-40-12
    #[arg(long, default_value = "densenet121", value_parser = DenseNetConfig::named, value_name = "ARCH")]
    arch: DenseNetConfig,
    /// Pictures a step
    #[arg(long, default_value_t = 8, value_name = "B", value_parser = clap::value_parser!(i64).range(1..))]
    batch_size: i64,
    /// Height and width of the pictures [default: 224, or 32 for the small networks]
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(i64).range(1..))]
    size: Option<i64>,
    /// What a step keeps for its backward pass
    #[arg(long, value_enum, default_value_t = MemoryArg::Standard)]
    memory: MemoryArg,
    /// Steps to time, after one that is not
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    steps: u32,
    /// Lay weights and pictures out channels-last
    #[arg(long)]
    channels_last: bool,
    /// Seed of weights and pictures
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    seed: i64,
}

pub fn run(args: &Args, device: Device, output: &mut Output) -> Result<()> {
    let config = DenseNetConfig { memory: args.memory.into(), ..args.arch.clone() };
    let size = args.size.unwrap_or(side(&config));
    let options = TrainOptions {
        config,
        batch_size: args.batch_size,
        size,
        steps: args.steps as usize,
        channels_last: args.channels_last,
        device,
    };
    tch::manual_seed(args.seed);
    let bar = steps(output, "step", u64::from(args.steps) + 1);
    let measured = train(&options, |done| bar.set_position(done as u64));
    bar.finish_and_clear();
    let measured = measured?;
    output.record(&measured, || text(&measured, args, size))
}

fn text(measured: &TrainMeasurement, args: &Args, size: i64) -> String {
    let TrainMeasurement { step_ms, step_ms_min, .. } = measured;
    let images = 1000.0 * args.batch_size as f64 / step_ms;
    [
        format!(
            "step         {step_ms:.0} ms (fastest {step_ms_min:.0}), {images:.1} images/s at {size}×{size}"
        ),
        format!("activations  {} over what was there before", megabytes(measured.activation_bytes)),
        format!("kept         {}", measured.kept_bytes.map_or("not counted".to_string(), megabytes)),
        format!(
            "tensors      {} at most",
            measured.peak_tensor_bytes.map_or("not counted".to_string(), megabytes)
        ),
        format!("peak         {} resident", megabytes(measured.peak_rss_bytes)),
        format!(
            "loss         {:.4}, {:.4} after {} steps on the same pictures",
            measured.first_loss, measured.loss, args.steps
        ),
    ]
    .join("\n")
}
