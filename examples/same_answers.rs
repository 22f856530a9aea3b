//! Does `Numerics::Fused` give `Numerics::Exact`'s answers? All test pictures of Fashion-MNIST through both.
//!
//! ```text
//! apt-get install dataset-fashion-mnist
//! cargo run --release --example same_answers
//! ```
//!
//! Exits with 1 if a picture's likeliest class differs, or a logit by more than 1e-5 of its picture's largest.

use anyhow::{Context, Result};
use clap::Parser;
use densenet::data::{Dataset, Idx, Target};
use densenet::model::Numerics;
use densenet::tch::{Device, Kind, Tensor};
use densenet::transforms;
use densenet::weights::{NetworkOptions, WeightsSource};
use densenet::Predictor;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

#[derive(Parser)]
struct Args {
    /// Folder of Debian's package dataset-fashion-mnist
    #[arg(long, default_value = "/usr/share/datasets/fashion-mnist")]
    data: PathBuf,
    #[arg(long, default_value = "fashion_mnist")]
    weights: String,
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..))]
    batch_size: u32,
    #[arg(long)]
    threads: Option<usize>,
}

/// What is allowed, of a picture's largest logit.
const TOLERANCE: f64 = 1e-5;

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    densenet::runtime::keep_freed_memory();
    if let Some(threads) = args.threads {
        densenet::runtime::set_threads(threads)?;
    }
    let pictures = Idx::open(&args.data, "t10k").context("the test pictures of Fashion-MNIST")?;
    let source = WeightsSource::resolve(&args.weights)?;
    let predictors = [Numerics::Exact, Numerics::Fused].map(|numerics| {
        let options = NetworkOptions { numerics, ..NetworkOptions::default() };
        Predictor::load_with(&source, Device::Cpu, &options)
    });
    let [exact, fused] = predictors;
    let (exact, fused) = (exact?, fused?);

    let (mut right, mut times) = ([0, 0], [Duration::ZERO; 2]);
    let (mut same, mut furthest) = (0, 0.0f64);
    let all: Vec<usize> = (0..pictures.len()).collect();
    for indices in all.chunks(args.batch_size as usize) {
        let inputs = indices.iter().map(|&index| Ok(exact.transforms().apply(&pictures.picture(index)?)?));
        let batch = transforms::batch(&inputs.collect::<Result<Vec<Tensor>>>()?)?;
        let mut logits = Vec::new();
        for (predictor, time) in [&exact, &fused].into_iter().zip(&mut times) {
            let start = Instant::now();
            logits.push(predictor.predict_tensor(&batch)?);
            *time += start.elapsed();
        }
        let [exact, fused] = [&logits[0], &logits[1]].map(|logits| logits.to_kind(Kind::Double));
        let (largest, _) = exact.abs().max_dim(1, true);
        let off = ((&fused - &exact).abs() / largest).max().double_value(&[]);
        // Not `max`, which passes over NaN.
        furthest = if off <= furthest { furthest } else { off };
        let classes: Vec<Vec<i64>> = [exact, fused]
            .iter()
            .map(|logits| Vec::try_from(logits.argmax(1, false)))
            .collect::<Result<_, _>>()?;
        for (place, &index) in indices.iter().enumerate() {
            same += usize::from(classes[0][place] == classes[1][place]);
            for (right, classes) in right.iter_mut().zip(&classes) {
                *right += usize::from(*pictures.target(index) == Target::Class(classes[place] as usize));
            }
        }
    }
    let count = pictures.len();
    let share = right.map(|right| 100.0 * right as f64 / count as f64);
    let rate = times.map(|time| count as f64 / time.as_secs_f64());
    println!("exact  {:.2} % of {count} pictures right, {:.0} images/s", share[0], rate[0]);
    println!("fused  {:.2} % right, {:.0} images/s", share[1], rate[1]);
    println!("the same likeliest class on {same} of {count}; logits differ by at most {furthest:.1e} of a picture's largest");
    Ok(if same == count && furthest <= TOLERANCE { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
