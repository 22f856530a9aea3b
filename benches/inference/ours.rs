//! The participants that are this binary: this crate's predictor, tch's own network.

use crate::peer::{count, text};
use anyhow::{bail, Context, Result};
use densenet::autograd::LibtorchThreads;
use densenet::kernels::{Level, Machine};
use densenet::measure::{memory, peak};
use densenet::model::{channels_last, Numerics, Threading};
use densenet::tch::{nn, no_grad, vision, Device, Tensor};
use densenet::transforms::ImageClassification;
use densenet::weights::{NetworkOptions, WeightsSource};
use densenet::{runtime, Arch, Predictor};
use serde_json::{json, Value};
use std::sync::Barrier;
use std::time::Instant;

/// A network and its input.
pub struct Ready {
    runs: Runs,
    input: Tensor,
}

enum Runs {
    Ours(Box<Predictor>),
    Tch(Box<dyn nn::ModuleT>),
}

impl Runs {
    fn run(&self, input: &Tensor) -> Result<Tensor> {
        Ok(match self {
            Runs::Ours(predictor) => predictor.predict_tensor(input)?,
            Runs::Tch(network) => no_grad(|| network.forward_t(input, false)),
        })
    }
}

/// Answers what `peer_inference.py` answers, and `peak`.
pub fn answer(ready: &mut Option<Ready>, command: &str, question: &Value) -> Result<Value> {
    match command {
        "prepare" => {
            let start = Instant::now();
            let made = prepare(question)?;
            let logits = made.runs.run(&made.input)?;
            let seconds = start.elapsed().as_secs_f64();
            let logits: Vec<f32> = Vec::try_from(logits.reshape([-1]))?;
            *ready = Some(made);
            let bits: Vec<i32> = logits.iter().map(|logit| logit.to_bits() as i32).collect();
            Ok(json!({ "logits": bits, "seconds": seconds, "version": env!("CARGO_PKG_VERSION") }))
        }
        "forward" => {
            let Ready { runs, input } = ready.as_ref().context("not prepared")?;
            passes(count(question, "untimed")?, || runs.run(input))?;
            Ok(json!({ "milliseconds": passes(count(question, "count")?, || runs.run(input))? }))
        }
        "together" => {
            let Ready { runs, input } = ready.as_ref().context("not prepared")?;
            let Runs::Ours(predictor) = runs else { bail!("cannot be shared between threads") };
            together(predictor, input, count(question, "count")?, count(question, "threads")?)
        }
        "memory" => Ok(json!({ "resident": memory::resident()?, "peak": memory::peak_resident()? })),
        "peak" => {
            runtime::set_threads(count(question, "threads")?.try_into()?)?;
            let on = Machine { level: Level::best(), threads: &LibtorchThreads };
            Ok(json!({ "gflops": peak::gflops(on), "level": on.level.name() }))
        }
        _ => bail!("unknown command {command}"),
    }
}

/// Milliseconds of each pass.
fn passes(count: i64, mut run: impl FnMut() -> Result<Tensor>) -> Result<Vec<f64>> {
    let once = |_| {
        let start = Instant::now();
        drop(run()?);
        Ok(start.elapsed().as_secs_f64() * 1000.0)
    };
    (0..count).map(once).collect()
}

/// `count` passes on each of `threads` threads at once, of one predictor.
fn together(predictor: &Predictor, input: &Tensor, count: i64, threads: i64) -> Result<Value> {
    let begin = Barrier::new(usize::try_from(threads)? + 1);
    let (results, wall) = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                let (input, begin) = (input.copy(), &begin);
                scope.spawn(move || {
                    let warm = predictor.predict_tensor(&input);
                    begin.wait();
                    drop(warm?);
                    passes(count, || Ok(predictor.predict_tensor(&input)?))
                })
            })
            .collect();
        begin.wait();
        let start = Instant::now();
        let results: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
        (results, start.elapsed().as_secs_f64() * 1000.0)
    });
    let mut milliseconds = Vec::new();
    for result in results {
        match result {
            Ok(passes) => milliseconds.extend(passes?),
            Err(_) => bail!("a thread panicked"),
        }
    }
    Ok(json!({ "milliseconds": milliseconds, "wall_ms": wall }))
}

fn prepare(question: &Value) -> Result<Ready> {
    if question["keep_freed_memory"] == true && !runtime::keep_freed_memory() {
        bail!("this system's allocator has no such setting");
    }
    let together = question["together"] == true;
    runtime::set_threads(if together { 1 } else { count(question, "threads")?.try_into()? })?;
    let input = Tensor::read_safetensors(text(question, "input")?)?;
    let mut input = input.into_iter().next().context("no input")?.1;
    let weights = text(question, "weights")?;
    if question["tch"] == true {
        let mut vs = nn::VarStore::new(Device::Cpu);
        let network = tchs_own(text(question, "arch")?.parse()?, &vs.root())?;
        vs.load(weights)?;
        return Ok(Ready { runs: Runs::Tch(network), input });
    }
    let source = WeightsSource::resolve(weights)?;
    let numerics: Numerics = text(question, "numerics")?.parse()?;
    let options = NetworkOptions { numerics, ..NetworkOptions::default() };
    let mut predictor = if question["channels_last"] == true {
        input = channels_last(&input)?;
        let network = source.load_with(Device::Cpu, &options)?.network;
        network.to_channels_last()?;
        Predictor::new(&network, ImageClassification::default(), Vec::new())?
    } else {
        Predictor::load_with(&source, Device::Cpu, &options)?
    };
    if together && numerics == Numerics::Fused {
        predictor = predictor.with_threading(Threading::Throughput)?;
    }
    Ok(Ready { runs: Runs::Ours(Box::new(predictor)), input })
}

fn tchs_own(arch: Arch, path: &nn::Path) -> Result<Box<dyn nn::ModuleT>> {
    use vision::densenet::{densenet121, densenet161, densenet169, densenet201};
    Ok(match arch {
        Arch::DenseNet121 => Box::new(densenet121(path, 1000)),
        Arch::DenseNet161 => Box::new(densenet161(path, 1000)),
        Arch::DenseNet169 => Box::new(densenet169(path, 1000)),
        Arch::DenseNet201 => Box::new(densenet201(path, 1000)),
        _ => bail!("tch and torchvision have no {arch}"),
    })
}
