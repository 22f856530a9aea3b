//! How long a prepared network takes for a picture, and where the time goes.
//!
//! ```text
//! cargo run --release --example inference_profile -- --arch densenet121 --batch-size 1,8 --threads 2
//! ```
//!
//! Random weights and pictures. Prints, for every batch size, the fastest and the median pass in milliseconds a picture, the
//! distance of its logits from exact ones, and the parts of a pass.

use anyhow::Result;
use clap::Parser;
use densenet::kernels::Level;
use densenet::model::{Kernels, Prepared, Stem, Threading};
use densenet::{DenseNet, DenseNetConfig};
use std::time::{Duration, Instant};
use tch::{nn, no_grad, Device, Kind, Tensor};

#[derive(Parser)]
struct Args {
    /// A published architecture (224×224), or one of the paper's small networks such as densenet-bc-100-12 (32×32).
    #[arg(long, default_value = "densenet121", value_parser = DenseNetConfig::named)]
    arch: DenseNetConfig,
    #[arg(long, value_delimiter = ',', default_value = "1,8,32")]
    batch_size: Vec<i64>,
    /// libtorch's threads; one runs as `Threading::Throughput`.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Seconds for each batch size.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// avx512, avx2 or portable; the best there is by default.
    #[arg(long)]
    level: Option<String>,
}

fn main() -> Result<()> {
    densenet::runtime::keep_freed_memory();
    let args = Args::parse();
    densenet::runtime::set_threads(args.threads)?;
    tch::manual_seed(0);
    let vs = nn::VarStore::new(Device::Cpu);
    let mut network = DenseNet::new(&vs.root(), &args.arch)?;
    let level = |name: &String| Level::available().into_iter().find(|level| level.name() == name);
    network.set_kernels(args.level.as_ref().and_then(level).map_or(Kernels::Best, Kernels::At));
    let threading = if args.threads == 1 { Threading::Throughput } else { Threading::Latency };
    let prepared = Prepared::new(&network)?.with_threads(threading);
    let side = if args.arch.stem == Stem::Small { 32 } else { 224 };
    for &batch in &args.batch_size {
        let xs = Tensor::randn([batch, args.arch.in_channels, side, side], (Kind::Float, Device::Cpu));
        let exact = no_grad(|| network.try_forward(&xs, false))?;
        let distance = (prepared.forward(&xs)? - &exact).abs().max().double_value(&[])
            / exact.abs().max().double_value(&[]);
        prepared.profile();
        let mut times = Vec::new();
        let begin = Instant::now();
        while times.len() < 3 || begin.elapsed().as_secs_f64() < args.seconds {
            let start = Instant::now();
            let _ = prepared.forward(&xs)?;
            times.push(start.elapsed().as_secs_f64() * 1e3 / batch as f64);
        }
        times.sort_by(f64::total_cmp);
        let (min, median) = (times[0], times[times.len() / 2]);
        println!("batch {batch}: {min:.2} ms a picture (median {median:.2}), {distance:.1e} from exact");
        for (part, took) in prepared.profile() {
            println!("    {part:22} {:6.2} ms", ms(took) / (times.len() as f64 * batch as f64));
        }
    }
    Ok(())
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
