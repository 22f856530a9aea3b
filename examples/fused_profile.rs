//! Where a training step's time goes in each memory mode.
//!
//! ```text
//! cargo run --release --example fused_profile -- --arch densenet121 --batch-size 8
//! ```
//!
//! Modes take turns, step by step. Prints each mode's fastest step, and the parts of our own kernels' passes on average
//! ("rest" is the stem, the classifier, the loss and SGD).

use anyhow::Result;
use clap::Parser;
use densenet::kernels::Level;
use densenet::model::{Cifar, Kernels, Memory};
use densenet::{Arch, DenseNet, DenseNetConfig};
use serde_json::json;
use std::time::{Duration, Instant};
use tch::nn::{Optimizer, OptimizerConfig};
use tch::{nn, Device, Kind, Tensor};

#[derive(Parser)]
struct Args {
    /// A published architecture (224×224), or one of the paper's small networks such as densenet-bc-100-12 (32×32).
    #[arg(long, default_value = "densenet121")]
    arch: String,
    #[arg(long, default_value_t = 8)]
    batch_size: i64,
    /// Steps of each mode; the first is not counted.
    #[arg(long, default_value_t = 5)]
    steps: u32,
    #[arg(long, value_delimiter = ',', default_value = "standard,fused,minimal")]
    memory: Vec<String>,
    /// avx512, avx2 or portable; the best there is by default.
    #[arg(long)]
    level: Option<String>,
}

struct Candidate {
    name: String,
    network: DenseNet,
    optimizer: Optimizer,
    fastest: Duration,
    total: Duration,
}

impl Candidate {
    fn new(name: &str, config: &DenseNetConfig, kernels: Kernels) -> Result<Self> {
        let vs = nn::VarStore::new(Device::Cpu);
        let memory: Memory = serde_json::from_value(json!(name))?;
        let mut network = DenseNet::new(&vs.root(), &DenseNetConfig { memory, ..config.clone() })?;
        network.set_kernels(kernels);
        let optimizer = nn::sgd(0.9, 0., 0., false).build(&vs, 0.01)?;
        let (fastest, total) = (Duration::MAX, Duration::ZERO);
        Ok(Candidate { name: name.to_string(), network, optimizer, fastest, total })
    }

    fn step(&mut self, xs: &Tensor, target: &Tensor) -> Result<Duration> {
        let start = Instant::now();
        self.optimizer.zero_grad();
        self.network.try_forward(xs, true)?.cross_entropy_for_logits(target).backward();
        self.optimizer.step();
        Ok(start.elapsed())
    }
}

fn main() -> Result<()> {
    densenet::runtime::keep_freed_memory();
    let args = Args::parse();
    let (config, side) = match args.arch.parse::<Arch>() {
        Ok(arch) => (arch.config(), 224),
        Err(_) => (args.arch.parse::<Cifar>()?.build()?, 32),
    };
    let level = |name: &String| Level::available().into_iter().find(|level| level.name() == name);
    let kernels = args.level.as_ref().and_then(level).map_or(Kernels::Best, Kernels::At);
    let mut candidates =
        args.memory.iter().map(|name| Candidate::new(name, &config, kernels)).collect::<Result<Vec<_>>>()?;
    let xs = Tensor::randn([args.batch_size, config.in_channels, side, side], (Kind::Float, Device::Cpu));
    let target = Tensor::randint(config.num_classes, [args.batch_size], (Kind::Int64, Device::Cpu));
    for step in 0..=args.steps {
        for candidate in &mut candidates {
            let took = candidate.step(&xs, &target)?;
            if step == 0 {
                candidate.network.fused_profile();
                continue;
            }
            candidate.total += took;
            candidate.fastest = candidate.fastest.min(took);
        }
    }
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    for candidate in &candidates {
        println!("{}: {:.0} ms", candidate.name, ms(candidate.fastest));
        let mut rest = candidate.total / args.steps;
        for (part, time) in candidate.network.fused_profile() {
            println!("    {part:22} {:6.1} ms", ms(time / args.steps));
            rest = rest.saturating_sub(time / args.steps);
        }
        println!("    {:22} {:6.1} ms", "rest", ms(rest));
    }
    Ok(())
}
