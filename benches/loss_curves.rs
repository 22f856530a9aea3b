//! Whether training in less memory learns the same: losses on Fashion-MNIST, exact against fused, from the same weights over
//! the same batches, for several seeds.
//!
//! ```text
//! apt-get install dataset-fashion-mnist
//! cargo bench --bench loss_curves -- --plots docs/images
//! ```
//!
//! Two runs that differ by roundings drift apart within a few dozen steps, exact ones on other thread counts as well.
//! What can be asked is whether they drift no further than two seeds are apart: that is what is printed, and drawn.

mod peer;

use anyhow::{ensure, Context, Result};
use clap::Parser;
use densenet::autograd::backward;
use densenet::data::{Idx, Loader, LoaderOptions};
use densenet::model::{Cifar, Memory};
use densenet::report::{line_chart, Chart, Line};
use densenet::tch::nn::{self, OptimizerConfig};
use densenet::tch::{self, Device};
use densenet::transforms::ImageClassification;
use densenet::{runtime, DenseNet, DenseNetConfig};
use std::path::PathBuf;
use std::sync::Arc;

/// Compares losses of exact and of fused training.
#[derive(Parser)]
struct Args {
    /// The folder of Debian's package dataset-fashion-mnist
    #[arg(long, default_value = "/usr/share/datasets/fashion-mnist")]
    data: PathBuf,
    /// Depth of the network, a DenseNet-BC of growth rate 12
    #[arg(long, default_value_t = 40)]
    depth: i64,
    /// Steps of each run
    #[arg(long, default_value_t = 300)]
    steps: usize,
    /// Pictures a step
    #[arg(long, default_value_t = 32)]
    batch_size: usize,
    /// Learning rate of SGD with Nesterov momentum 0.9 and weight decay 1e-4
    #[arg(long, default_value_t = 0.1)]
    lr: f64,
    /// How many seeds, from 0 on
    #[arg(long, default_value_t = 3)]
    seeds: u64,
    /// Threads [default: one a processor]
    #[arg(long)]
    threads: Option<usize>,
    /// Draw loss_curves.svg into this folder
    #[arg(long, value_name = "FOLDER")]
    plots: Option<PathBuf>,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

/// Steps whose losses are averaged to one point.
const WINDOW: usize = 20;
const MODES: [(&str, Memory); 3] =
    [("exact", Memory::Standard), ("fused", Memory::Fused), ("minimal", Memory::Minimal)];

fn main() -> Result<()> {
    let args = Args::parse();
    tch::set_num_threads(peer::threads(args.threads)? as i32);
    runtime::keep_freed_memory();
    let data = Idx::open(&args.data, "train").context("Debian package dataset-fashion-mnist, or --data")?;
    let data = Arc::new(data);
    ensure!(args.steps >= WINDOW, "--steps must be at least {WINDOW}");
    ensure!(args.seeds >= 2, "--seeds must be at least 2: two seeds say how much chance alone does");

    // curves[mode][seed]
    let mut curves: [Vec<Vec<f64>>; 3] = Default::default();
    for seed in 0..args.seeds {
        for ((name, memory), curves) in MODES.into_iter().zip(&mut curves) {
            let losses = train(&args, &data, memory, seed)?;
            let means: Vec<f64> = losses
                .chunks_exact(WINDOW)
                .map(|losses| losses.iter().sum::<f64>() / WINDOW as f64)
                .collect();
            eprintln!("seed {seed}, {name}: {:.3} at the end", means.last().unwrap_or(&f64::NAN));
            curves.push(means);
        }
    }
    report(&args, &curves);
    if let Some(folder) = &args.plots {
        draw(&args, &curves, folder.join("loss_curves.svg"))?;
    }
    Ok(())
}

/// The loss of every step.
fn train(args: &Args, data: &Arc<Idx>, memory: Memory, seed: u64) -> Result<Vec<f64>> {
    let transforms = ImageClassification {
        resize_size: Some(28),
        crop_size: Some(28),
        mean: vec![0.2860],
        std: vec![0.3530],
        channels: 1,
        ..ImageClassification::default()
    };
    let options = LoaderOptions {
        batch_size: args.batch_size,
        shuffle: true,
        seed,
        drop_last: true,
        ..LoaderOptions::default()
    };
    let data = Arc::clone(data);
    let loader = Loader::new(data, Arc::new(move |picture, _| transforms.apply(picture)), options)?;
    ensure!(args.steps <= loader.len(), "--steps: an epoch has {}", loader.len());

    tch::manual_seed(seed as i64);
    let vs = nn::VarStore::new(Device::Cpu);
    let config = Cifar::new(args.depth, 12).bc().in_channels(1).num_classes(10).build()?;
    let network = DenseNet::new(&vs.root(), &DenseNetConfig { memory, ..config })?;
    let mut optimizer = nn::sgd(0.9, 0.0, 1e-4, true).build(&vs, args.lr)?;
    let mut losses = Vec::new();
    for batch in loader.epoch(0, 0)?.take(args.steps) {
        let batch = batch?;
        let loss = network.try_forward(&batch.images, true)?.cross_entropy_for_logits(&batch.targets);
        optimizer.zero_grad();
        backward(&loss)?;
        optimizer.step();
        losses.push(loss.double_value(&[]));
    }
    Ok(losses)
}

fn report(args: &Args, curves: &[Vec<Vec<f64>>; 3]) {
    let [exact, others @ ..] = curves;
    println!(
        "\nDenseNet-BC-{}-12, Fashion-MNIST, batch {}, {} steps, seeds 0 to {}; losses are means over {WINDOW} steps",
        args.depth,
        args.batch_size,
        args.steps,
        args.seeds - 1
    );
    println!("\nat the end    {}", MODES.map(|(name, _)| format!("{name:>8}")).concat());
    let last = |curve: &Vec<f64>| *curve.last().unwrap_or(&f64::NAN);
    for seed in 0..args.seeds as usize {
        println!(
            "seed {seed:<9}{}",
            curves.each_ref().map(|mode| format!("{:8.3}", last(&mode[seed]))).concat()
        );
    }
    let mean = |mode: &Vec<Vec<f64>>| mode.iter().map(last).sum::<f64>() / mode.len() as f64;
    println!("mean          {}", curves.each_ref().map(|mode| format!("{:8.3}", mean(mode))).concat());

    // Root mean square of the distance between two curves, over the points and over pairs.
    let distance = |pairs: Vec<(&Vec<f64>, &Vec<f64>)>| {
        let squares: Vec<f64> =
            pairs.into_iter().flat_map(|(a, b)| a.iter().zip(b).map(|(a, b)| (a - b) * (a - b))).collect();
        (squares.iter().sum::<f64>() / squares.len() as f64).sqrt()
    };
    let seeds = (0..exact.len()).flat_map(|a| (0..a).map(move |b| (&exact[a], &exact[b]))).collect();
    println!("\ndistance between curves (root mean square)");
    println!("exact, seed against seed              {:.3}", distance(seeds));
    for (other, (name, _)) in others.iter().zip(&MODES[1..]) {
        let same = exact.iter().zip(other).collect();
        println!("{:<38}{:.3}", format!("{name} against exact, same seed"), distance(same));
    }
}

fn draw(args: &Args, curves: &[Vec<Vec<f64>>; 3], path: PathBuf) -> Result<()> {
    let mut lines = Vec::new();
    for ((name, _), curves) in MODES.iter().zip(curves) {
        for (seed, curve) in curves.iter().enumerate() {
            let points =
                curve.iter().enumerate().map(|(i, loss)| (((i + 1) * WINDOW) as f64, *loss)).collect();
            lines.push(Line::new(format!("{name}, seed {seed}"), points));
        }
    }
    let x_label = format!("step (batch {}, DenseNet-BC-{}-12, Fashion-MNIST)", args.batch_size, args.depth);
    let title = "Training loss, mean over 20 steps";
    let chart = Chart { title, x_label: &x_label, y_label: "cross entropy", from_zero: true, lines: &lines };
    std::fs::write(&path, line_chart(&chart)).with_context(|| format!("cannot write {}", path.display()))
}
