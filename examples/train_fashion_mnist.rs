//! Trains the embedded network: DenseNet-BC (L = 40, k = 12) on Fashion-MNIST.
//!
//! ```text
//! apt-get install dataset-fashion-mnist
//! cargo run --release --example train_fashion_mnist -- --output weights/fashion_mnist.safetensors
//! ```
//!
//! SGD with Nesterov momentum, one cycle of the learning rate, random shifts and flips. Writes the weights after every
//! epoch and the test accuracy to `--output` with `.json`; the last epoch's file is the one to ship.

use anyhow::{ensure, Context, Result};
use clap::Parser;
use densenet::model::Cifar;
use densenet::transforms::ImageClassification;
use densenet::weights::Sidecar;
use densenet::{checkpoint, DenseNet};
use serde_json::{json, Map, Value};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Instant;
use tch::nn::OptimizerConfig;
use tch::{nn, no_grad, Device, Kind, Tensor};

/// Mean and standard deviation of the training pictures' pixels, in 0 to 1.
const MEAN: f64 = 0.2860;
const STD: f64 = 0.3530;
const CLASSES: [&str; 10] = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
];

#[derive(Parser)]
struct Args {
    /// Folder of Debian's package dataset-fashion-mnist.
    #[arg(long, default_value = "/usr/share/datasets/fashion-mnist")]
    data: PathBuf,
    #[arg(long)]
    output: PathBuf,
    #[arg(long, default_value_t = 5)]
    epochs: i64,
    #[arg(long, default_value_t = 64)]
    batch_size: i64,
    /// Highest learning rate of the cycle.
    #[arg(long, default_value_t = 0.1)]
    lr: f64,
    #[arg(long, default_value_t = 0)]
    seed: i64,
    #[arg(long)]
    threads: Option<i32>,
    /// What training keeps for its backward pass: standard, fused or minimal.
    #[arg(long, default_value = "standard")]
    memory: String,
    /// Stop after this many steps (to time a machine, to compare losses).
    #[arg(long)]
    steps: Option<i64>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    if let Some(threads) = args.threads {
        tch::set_num_threads(threads);
    }
    let (images, labels) = load(&args.data, "train")?;
    let (test_images, test_labels) = load(&args.data, "t10k")?;

    tch::manual_seed(args.seed);
    let vs = nn::VarStore::new(Device::Cpu);
    let mut config = Cifar::new(40, 12).bc().in_channels(1).num_classes(10).build()?;
    config.memory = serde_json::from_value(json!(args.memory)).context("--memory")?;
    let network = DenseNet::new(&vs.root(), &config)?;
    network.to_channels_last()?; // a quarter less time a step here
    let mut optimizer = nn::sgd(0.9, 0., 1e-4, true).build(&vs, args.lr)?;

    let count = images.size()[0];
    let steps_an_epoch = count / args.batch_size;
    let total = args.epochs * steps_an_epoch;
    let start = Instant::now();
    let mut step = 0;
    for epoch in 1..=args.epochs {
        let order = Tensor::randperm(count, (Kind::Int64, Device::Cpu));
        let mut loss_sum = 0.0;
        for batch in 0..steps_an_epoch {
            let chosen = order.narrow(0, batch * args.batch_size, args.batch_size);
            let xs = augment(&images.index_select(0, &chosen));
            let ys = labels.index_select(0, &chosen);
            optimizer.set_lr(args.lr * one_cycle(step as f64 / total as f64));
            let loss = network.try_forward(&normalize(&xs), true)?.cross_entropy_for_logits(&ys);
            ensure!(
                loss.isfinite().int64_value(&[]) == 1,
                "the loss is not finite at step {step}: lower --lr"
            );
            optimizer.backward_step(&loss);
            loss_sum += loss.double_value(&[]);
            step += 1;
            if step % 50 == 0 {
                eprintln!(
                    "epoch {epoch} step {step}/{total} loss {:.3} {:.0} s",
                    loss_sum / (batch + 1) as f64,
                    start.elapsed().as_secs_f64()
                );
            }
            if args.steps == Some(step) {
                return Ok(());
            }
        }
        let top1 = accuracy(&network, &test_images, &test_labels)?;
        println!(
            "epoch {epoch} loss {:.4} test top-1 {:.2} %",
            loss_sum / steps_an_epoch as f64,
            100.0 * top1
        );
        save(&args, &network, epoch, top1, start.elapsed().as_secs_f64())?;
    }
    Ok(())
}

/// Share of the peak learning rate at `progress` (0 to 1) of the run: up over the first 30 %, then down to 0 (cosine).
fn one_cycle(progress: f64) -> f64 {
    const WARM_UP: f64 = 0.3;
    if progress < WARM_UP {
        return 0.04 + 0.96 * progress / WARM_UP;
    }
    0.5 * (1.0 + (std::f64::consts::PI * (progress - WARM_UP) / (1.0 - WARM_UP)).cos())
}

/// u8 [N, 1, 28, 28] to normalized f32.
fn normalize(images: &Tensor) -> Tensor {
    (images.to_kind(Kind::Float) / 255.0 - MEAN) / STD
}

/// Shifts a batch by up to two pixels and mirrors half of its pictures (u8, [N, 1, 28, 28]).
fn augment(images: &Tensor) -> Tensor {
    let offset = |i| Tensor::randint(5, [2], (Kind::Int64, Device::Cpu)).int64_value(&[i]);
    let padded = images.constant_pad_nd([2, 2, 2, 2]);
    let shifted = padded.narrow(2, offset(0), 28).narrow(3, offset(1), 28);
    let mirror = Tensor::rand([images.size()[0], 1, 1, 1], (Kind::Float, Device::Cpu)).lt(0.5);
    shifted.flip([3]).where_self(&mirror, &shifted)
}

fn accuracy(network: &DenseNet, images: &Tensor, labels: &Tensor) -> Result<f64> {
    no_grad(|| {
        let mut right = 0;
        for (xs, ys) in images.split(500, 0).iter().zip(labels.split(500, 0)) {
            let predicted = network.try_forward(&normalize(xs), false)?.argmax(1, false);
            right += predicted.eq_tensor(&ys).sum(Kind::Int64).int64_value(&[]);
        }
        Ok(right as f64 / labels.size()[0] as f64)
    })
}

fn save(args: &Args, network: &DenseNet, epoch: i64, top1: f64, seconds: f64) -> Result<()> {
    checkpoint::write_safetensors(&args.output, &network.named_tensors(), Default::default())?;
    let sidecar = Sidecar {
        config: Some(network.config.clone()),
        categories: CLASSES.map(str::to_string).to_vec(),
        transforms: Some(ImageClassification {
            resize_size: Some(28),
            crop_size: Some(28),
            mean: vec![MEAN],
            std: vec![STD],
            channels: 1,
            ..ImageClassification::default()
        }),
        metrics: object(json!({ "test_top1": top1, "test_images": 10000 })),
        provenance: object(json!({
            "data": "Fashion-MNIST (MIT licence, Zalando SE), 60,000 training images",
            "recipe": format!(
                "examples/train_fashion_mnist.rs --epochs {} --batch-size {} --lr {} --seed {}",
                args.epochs, args.batch_size, args.lr, args.seed
            ),
            "epoch": epoch,
            "seconds": seconds.round(),
        })),
        ..Sidecar::default()
    };
    Ok(sidecar.write_beside(&args.output)?)
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

/// Images u8 [N, 1, 28, 28] and labels int64 [N] from gzipped idx files.
fn load(folder: &Path, part: &str) -> Result<(Tensor, Tensor)> {
    let images = idx(&folder.join(format!("{part}-images-idx3-ubyte.gz")), 3)?;
    let labels = idx(&folder.join(format!("{part}-labels-idx1-ubyte.gz")), 1)?;
    ensure!(images.size()[0] == labels.size()[0], "{part}: as many labels as images are needed");
    Ok((images.unsqueeze(1), labels.to_kind(Kind::Int64)))
}

/// A gzipped idx file of bytes: `00 00 08 rank`, big-endian u32 sizes, data.
fn idx(path: &Path, rank: usize) -> Result<Tensor> {
    let file = std::fs::File::open(path).with_context(|| {
        format!("cannot open {} (Debian package dataset-fashion-mnist, or --data)", path.display())
    })?;
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(file).read_to_end(&mut bytes)?;
    let header = 4 + 4 * rank;
    ensure!(
        bytes.len() >= header && bytes[..4] == [0, 0, 8, rank as u8],
        "{} is no idx file of {rank} dimensions",
        path.display()
    );
    let sizes: Vec<i64> =
        bytes[4..header].chunks(4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]) as i64).collect();
    ensure!(
        sizes.iter().product::<i64>() as usize == bytes.len() - header,
        "{} is cut short",
        path.display()
    );
    Ok(Tensor::from_slice(&bytes[header..]).reshape(&sizes))
}
