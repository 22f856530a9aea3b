//! `densenet bench infer`

use super::{megabytes, side};
use crate::cli::numerics::NumericsArg;
use crate::cli::output::Output;
use crate::cli::progress::steps;
use anyhow::Result;
use clap::ValueEnum;
use densenet::measure::infer::{infer, InferMeasurement, InferOptions};
use densenet::model::{DenseNetConfig, Threading};
use densenet::runtime;
use densenet::tch::{self, Device};

#[derive(clap::Args)]
pub struct Args {
    /// densenet121, densenet161, densenet169, densenet201, densenet264, or the paper's small networks by depth and growth
    /// rate: densenet-bc-100-12, densenet-40-12
    #[arg(long, default_value = "densenet121", value_parser = DenseNetConfig::named, value_name = "ARCH")]
    arch: DenseNetConfig,
    /// Pictures a pass
    #[arg(long, default_value_t = 1, value_name = "B", value_parser = clap::value_parser!(i64).range(1..))]
    batch_size: i64,
    /// Height and width of the pictures [default: 224, or 32 for the small networks]
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(i64).range(1..))]
    size: Option<i64>,
    #[command(flatten)]
    numerics: NumericsArg,
    /// What the threads do
    #[arg(long, value_enum, default_value_t = Mode::Latency)]
    mode: Mode,
    /// Passes to time, of each thread in throughput mode [default: as many as take three seconds, 10 at least]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    passes: Option<u32>,
    /// Seed of weights and pictures
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    seed: i64,
}

#[derive(Clone, Copy, PartialEq, ValueEnum, serde::Serialize)]
#[serde(rename_all = "snake_case")]
enum Mode {
    /// All threads work on one pass, passes follow each other
    Latency,
    /// Every thread runs passes of its own, of one network that all share
    Throughput,
}

/// The JSON line: what was asked, and what was measured.
#[derive(serde::Serialize)]
struct Measured<'a> {
    mode: Mode,
    threads: usize,
    batch_size: i64,
    size: i64,
    #[serde(flatten)]
    measured: &'a InferMeasurement,
}

pub fn run(args: &Args, device: Device, threads: Option<u16>, output: &mut Output) -> Result<()> {
    let throughput = args.mode == Mode::Throughput;
    let threads = match threads {
        Some(threads) => usize::from(threads),
        None if throughput => std::thread::available_parallelism()?.get(),
        None => usize::try_from(runtime::threads().intra_op)?,
    };
    if throughput {
        // Each caller brings the one thread it runs on.
        runtime::set_threads(1)?;
    }
    let size = args.size.unwrap_or(side(&args.arch));
    let options = InferOptions {
        config: args.arch.clone(),
        batch_size: args.batch_size,
        size,
        numerics: args.numerics.get(),
        threading: if throughput { Threading::Throughput } else { Threading::Latency },
        callers: if throughput { threads } else { 1 },
        passes: args.passes.map(|passes| passes as usize),
        device,
    };
    tch::manual_seed(args.seed);
    let bar = steps(output, "pass", 0);
    let measured = infer(&options, |done, all| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
    });
    bar.finish_and_clear();
    let measured = measured?;
    let record =
        Measured { mode: args.mode, threads, batch_size: args.batch_size, size, measured: &measured };
    output.record(&record, || text(&record))
}

fn text(record: &Measured) -> String {
    let Measured { measured, threads, batch_size, size, .. } = record;
    let InferMeasurement { ms_per_image, p50_ms, p99_ms, passes, gflops, .. } = measured;
    let how = match record.mode {
        Mode::Latency => "on one pass",
        Mode::Throughput => "with passes of their own",
    };
    let share = measured.peak_gflops.map_or(String::new(), |peak| {
        format!(", {:.0} % of the {peak:.0} GFLOP/s these threads can do at most", 100.0 * gflops / peak)
    });
    [
        format!(
            "an image     {ms_per_image:.2} ms, {:.1} images/s at {size}×{size}, {threads} threads {how}, numerics {}",
            1000.0 / ms_per_image,
            measured.numerics
        ),
        format!("a pass       {p50_ms:.2} ms (half of {passes}), {p99_ms:.2} ms (99 of 100), batch {batch_size}"),
        format!("arithmetic   {gflops:.0} GFLOP/s of the plain network's{share}"),
        format!("made ready   in {:.0} ms", measured.prepare_ms),
        format!(
            "memory       {} resident, {} at most",
            megabytes(measured.rss_bytes),
            megabytes(measured.peak_rss_bytes)
        ),
    ]
    .join("\n")
}
