//! Where a fused training step's time goes.
use densenet::model::{Cifar, DenseNetConfig, Kernels, Memory};
use densenet::{Arch, DenseNet};
use std::time::{Duration, Instant};
use tch::nn::OptimizerConfig;
use tch::{nn, Device, Kind, Tensor};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    densenet::runtime::keep_freed_memory();
    let args: Vec<String> = std::env::args().collect();
    let batch: i64 = args[2].parse()?;
    let rounds: usize = args[3].parse()?;
    let (config, side) = match args[1].parse::<Arch>() {
        Ok(arch) => (arch.config(), 224),
        Err(_) => (args[1].parse::<Cifar>()?.build()?, 32),
    };
    let modes: Vec<Memory> = args[4]
        .chars()
        .map(|c| match c {
            's' => Memory::Standard,
            'f' => Memory::Fused,
            _ => Memory::Minimal,
        })
        .collect();
    let level = densenet::kernels::Level::available()
        .into_iter()
        .find(|l| Some(l.name()) == args.get(5).map(String::as_str));
    let networks: Vec<_> = modes
        .iter()
        .map(|&memory| {
            let vs = nn::VarStore::new(Device::Cpu);
            let mut network =
                DenseNet::new(&vs.root(), &DenseNetConfig { memory, ..config.clone() }).unwrap();
            if let Some(level) = level {
                network.set_kernels(Kernels::At(level));
            }
            let sgd = nn::Sgd { momentum: 0.9, ..Default::default() }.build(&vs, 0.01).unwrap();
            (memory, vs, network, sgd)
        })
        .collect();
    let xs = Tensor::randn([batch, config.in_channels, side, side], (Kind::Float, Device::Cpu));
    let target = Tensor::randint(config.num_classes, [batch], (Kind::Int64, Device::Cpu));
    let mut networks = networks;
    let mut best = vec![[Duration::MAX; 4]; networks.len()];
    for round in 0..rounds {
        for (i, (_, _, network, sgd)) in networks.iter_mut().enumerate() {
            if round == 1 {
                network.fused_profile();
            }
            let mut t = [Duration::ZERO; 4];
            let start = Instant::now();
            sgd.zero_grad();
            let loss = network.try_forward(&xs, true)?.cross_entropy_for_logits(&target);
            t[0] = start.elapsed();
            loss.backward();
            t[1] = start.elapsed() - t[0];
            sgd.step();
            t[3] = start.elapsed();
            t[2] = t[3] - t[1] - t[0];
            if t[3] < best[i][3] {
                best[i] = t;
            }
        }
    }
    for ((memory, _, network, _), t) in networks.iter().zip(&best) {
        let ms = |d: Duration| format!("{:.1}", d.as_secs_f64() * 1e3);
        println!(
            "{memory:?}: step {} (forward {}, backward {}, sgd {})",
            ms(t[3]),
            ms(t[0]),
            ms(t[1]),
            ms(t[2])
        );
        for (part, time) in network.fused_profile() {
            println!("   {part:24} {}", ms(time / (rounds as u32 - 1).max(1)));
        }
    }
    Ok(())
}
