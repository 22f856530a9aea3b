//! Does memory stay flat? Classifies pictures of ever other sizes in batches of ever other sizes, and watches.
//!
//! ```text
//! cargo run --release --example soak -- --classifications 10000
//! cargo run --release --example soak -- --share 16 --minutes 5 --numerics fused
//! ```
//!
//! With `--share` many threads use one predictor at once, and every answer must have one thread's bits (`sharing.rs`).
//!
//! One [`Predictor`] without resizing or cropping, so that the network itself sees every size. Prints the resident memory
//! every so often, and at the end how much it grew after the warm-up, from the first quarter to the last: exit 1 if that
//! is more than `--max-growth`.
//!
//! The warm-up fills oneDNN's cache of 1,024 compiled convolutions, one for every layer and size, and malloc's heap. After
//! it, resident memory still creeps up by some per cent, because glibc's heap breaks into pieces of ever other sizes.
//! `MALLOC_MMAP_THRESHOLD_=65536` in the environment keeps tensors out of the heap: slower, and resident is then what the
//! process really holds, so that a leak of a kilobyte a classification shows.

mod sharing;

use anyhow::{bail, ensure, Result};
use clap::{Parser, ValueEnum};
use densenet::measure::memory;
use densenet::model::Numerics;
use densenet::tch::{nn, Device};
use densenet::transforms::{ImageClassification, RgbImage};
use densenet::{runtime, Arch, DenseNet, DenseNetConfig, Predictor};
use serde_json::json;
use std::process::ExitCode;
use std::time::Instant;

#[derive(Parser)]
struct Args {
    /// Calls of `predict`, each with one batch
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    classifications: u64,
    #[arg(long, value_enum, default_value_t = Network::Densenet121)]
    network: Network,
    /// Pixels a side, each drawn by itself
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(29..))]
    min_side: u32,
    #[arg(long, default_value_t = 160)]
    max_side: u32,
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    max_batch: u32,
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[arg(long)]
    threads: Option<usize>,
    /// Call `runtime::keep_freed_memory` first, as the command does
    #[arg(long)]
    keep_freed_memory: bool,
    /// Classifications between two looks at the memory
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..))]
    every: u64,
    /// Classifications that do not count [default: a quarter of all]
    #[arg(long)]
    warm_up: Option<u64>,
    /// How the network computes: exact, fused or auto
    #[arg(long, default_value_t)]
    numerics: Numerics,
    /// Instead: so many threads that share the predictor
    #[arg(long, value_name = "THREADS", value_parser = clap::value_parser!(u16).range(1..))]
    share: Option<u16>,
    /// How long they do
    #[arg(long, default_value_t = 5.0, requires = "share")]
    minutes: f64,
    /// Each on its own processor alone (fused only), instead of all on libtorch's threads
    #[arg(long, requires = "share")]
    throughput: bool,
    /// How much the last quarter's median may exceed the first's, in percent
    #[arg(long, default_value_t = 10.0)]
    max_growth: f64,
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Network {
    Densenet121,
    /// As deep in blocks, with two narrow layers in each: ten times faster.
    Small,
}

impl Network {
    fn config(self) -> DenseNetConfig {
        match self {
            Network::Densenet121 => Arch::DenseNet121.config(),
            Network::Small => DenseNetConfig {
                growth_rate: 12,
                block_config: vec![2, 2, 2, 2],
                num_init_features: 24,
                ..DenseNetConfig::default()
            },
        }
    }
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    ensure!(args.min_side <= args.max_side, "--min-side is over --max-side");
    if args.keep_freed_memory && !runtime::keep_freed_memory() {
        bail!("this system's allocator has no such setting");
    }
    if let Some(threads) = args.threads {
        runtime::set_threads(threads)?;
    }
    densenet::tch::manual_seed(args.seed as i64);
    let predictor = {
        let vs = nn::VarStore::new(Device::Cpu);
        let mut network = DenseNet::new(&vs.root(), &args.network.config())?;
        network.set_numerics(args.numerics);
        let transforms =
            ImageClassification { resize_size: None, crop_size: None, ..ImageClassification::default() };
        Predictor::new(&network, transforms, Vec::new())?
    };
    if let Some(threads) = args.share {
        return sharing::run(&args, predictor, threads.into());
    }
    let mut draw = Draw(args.seed);
    let (start, mut pictures) = (Instant::now(), 0);
    let warm_up = args.warm_up.unwrap_or(args.classifications / 4);
    let mut curve = Vec::new();
    for done in 1..=args.classifications {
        let sides = [0; 2].map(|_: u32| draw.between(args.min_side, args.max_side));
        let batch: Vec<RgbImage> =
            (0..draw.between(1, args.max_batch)).map(|_| draw.picture(sides)).collect();
        let predictions = predictor.predict(&batch, 5)?;
        ensure!(predictions.len() == batch.len(), "{} results for {}", predictions.len(), batch.len());
        pictures += batch.len();
        if done % args.every == 0 || done == args.classifications {
            let resident = resident_mb()?;
            if done > warm_up {
                curve.push(resident);
            }
            let seconds = start.elapsed().as_secs_f64();
            if args.json {
                println!(
                    "{}",
                    json!({ "classifications": done, "pictures": pictures, "resident_mb": resident, "seconds": seconds })
                );
            } else {
                println!("{done:>7} classifications, {pictures:>7} pictures, {seconds:>7.1} s: {resident:>7.1} MB resident");
            }
        }
    }
    verdict(&curve, &format!("{warm_up} classifications"), &args)
}

/// Whether memory stayed flat over these looks at it, which begin after `warm_up`.
fn verdict(curve: &[f64], warm_up: &str, args: &Args) -> Result<ExitCode> {
    ensure!(curve.len() >= 4, "{} looks at the memory after the warm-up: too few", curve.len());
    let quarter = curve.len() / 4;
    let (first, last) = (median(&curve[..quarter]), median(&curve[curve.len() - quarter..]));
    let growth = 100.0 * (last / first - 1.0);
    if args.json {
        println!(
            "{}",
            json!({ "warm_up": warm_up, "first_quarter_mb": first, "last_quarter_mb": last, "growth_percent": growth })
        );
    } else {
        println!(
            "after {warm_up}: median of the first quarter {first:.1} MB, of the last {last:.1} MB: {growth:+.1} % (allowed: \
             {:+.1} %)",
            args.max_growth
        );
    }
    Ok(if growth > args.max_growth { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Resident memory of this process, in MB.
fn resident_mb() -> Result<f64> {
    Ok(memory::resident()? as f64 / 1e6)
}

fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// SplitMix64 (Steele, Lea, Flood 2014): the same sizes and pictures on every run.
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Both ends included.
    fn between(&mut self, low: u32, high: u32) -> u32 {
        low + (self.next() % u64::from(high - low + 1)) as u32
    }

    fn picture(&mut self, [width, height]: [u32; 2]) -> RgbImage {
        let mut picture = RgbImage::new(width, height);
        picture.chunks_mut(8).for_each(|chunk| {
            let bytes = self.next().to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        });
        picture
    }
}
