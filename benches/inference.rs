//! A forward pass of one network by tch's own DenseNet, by PyTorch (eager, torchvision) and by this crate, in one go.
//!
//! ```text
//! cargo bench --bench inference -- --arch densenet121 --batch-size 1 --batch-size 8 --rounds 15
//! ```
//!
//! 224×224, f32, no gradients, the same weights, input and thread count for all. This crate runs twice: as a library finds
//! itself, and after `runtime::keep_freed_memory()`, which the `densenet` command calls. Logits are compared with PyTorch's
//! in the same run.

mod peer;

use anyhow::{bail, Context, Result};
use clap::Parser;
use densenet::model::{DenseNet, Init};
use densenet::tch::{nn, no_grad, vision, Device, Kind, Tensor};
use densenet::{checkpoint, runtime, Arch};
use peer::table::{self, Row};
use peer::{count, in_turn, number, serve_if_participant, text, Participant, Peer};
use serde_json::{json, Map, Value};
use std::collections::HashMap;
use std::path::Path;
use std::time::Instant;

/// Compares forward passes: tch's own DenseNet, PyTorch, this crate.
#[derive(Parser)]
struct Args {
    /// The network
    #[arg(long, default_value = "densenet121")]
    arch: Arch,
    /// Pictures a pass; may be given several times
    #[arg(long, default_values_t = [1, 8], value_parser = clap::value_parser!(i64).range(1..))]
    batch_size: Vec<i64>,
    /// How often each participant is measured
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Passes in one measurement [default: about eight pictures' worth]
    #[arg(long)]
    forwards: Option<i64>,
    /// Threads of every participant [default: one a processor]
    #[arg(long)]
    threads: Option<usize>,
    /// Print one JSON object a participant
    #[arg(long)]
    json: bool,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

/// Name, who runs it, channels-last, whether memory is kept.
const PARTICIPANTS: [(&str, Who, bool, bool); 8] = [
    (PYTORCH, Who::PyTorch, false, false),
    ("tch's vision::densenet", Who::Tch, false, false),
    ("densenet", Who::Densenet, false, false),
    ("densenet, memory kept", Who::Densenet, false, true),
    (PYTORCH_CHANNELS_LAST, Who::PyTorch, true, false),
    ("densenet, channels last", Who::Densenet, true, false),
    ("densenet, channels last, memory kept", Who::Densenet, true, true),
    ("tch's vision::densenet, memory kept", Who::Tch, false, true),
];
const PYTORCH: &str = "PyTorch eager";
const PYTORCH_CHANNELS_LAST: &str = "PyTorch eager, channels last";

#[derive(Clone, Copy, PartialEq)]
enum Who {
    PyTorch,
    Tch,
    Densenet,
}

fn main() -> Result<()> {
    let mut network: Option<Prepared> = None;
    if serve_if_participant(|command, question| answer(&mut network, command, question))? {
        return Ok(());
    }
    let args = Args::parse();
    let threads = peer::threads(args.threads)?;
    let folder = tempfile::tempdir()?;
    let weights = folder.path().join("weights.safetensors");
    densenet::tch::manual_seed(0);
    let vs = nn::VarStore::new(Device::Cpu);
    let network = DenseNet::new(&vs.root(), &args.arch.config())?;
    checkpoint::write_safetensors(&weights, &network.named_tensors(), HashMap::new())?;
    for &batch_size in &args.batch_size {
        compare(&args, threads, &weights, batch_size)?;
    }
    Ok(())
}

/// Runs all participants on one batch size, in processes of their own.
fn compare(args: &Args, threads: usize, weights: &Path, batch_size: i64) -> Result<()> {
    let input = weights.with_file_name("input.safetensors");
    let batch = Tensor::randn([batch_size, 3, 224, 224], (Kind::Float, Device::Cpu));
    checkpoint::write_safetensors(&input, &[("input".to_string(), batch)], HashMap::new())?;
    let forwards = args.forwards.unwrap_or_else(|| (8 / batch_size).max(1));

    let (mut participants, mut logits, mut version) = (Vec::new(), Vec::new(), Value::Null);
    for (name, who, channels_last, keep) in PARTICIPANTS {
        let mut question = json!({
            "command": "prepare", "arch": args.arch.name(), "weights": weights, "input": input,
            "channels_last": channels_last, "threads": threads,
        });
        let mut peer = match who {
            Who::PyTorch => Peer::python(name)?,
            Who::Tch | Who::Densenet => Peer::this_binary(name)?,
        };
        if who != Who::PyTorch {
            question["keep_freed_memory"] = keep.into();
            question["tch"] = (who == Who::Tch).into();
        }
        let answer = peer.ask(&question)?;
        logits.push(bits(&answer)?);
        version = answer.get("version").cloned().unwrap_or(version);
        participants.push(Participant {
            name: name.to_string(),
            peer,
            run: json!({ "command": "forward", "count": forwards }),
        });
    }
    // Warm-up: the allocator's and oneDNN's caches.
    in_turn(&mut participants, 2)?;
    let answers = in_turn(&mut participants, args.rounds as usize)?;

    let images = (forwards * batch_size) as f64;
    let place = |name| PARTICIPANTS.iter().position(|participant| participant.0 == name).context("none");
    let mut rows = Vec::new();
    for (index, answers) in answers.iter().enumerate() {
        let (name, who, channels_last, _) = PARTICIPANTS[index];
        let seconds = answers.iter().map(|answer| number(answer, "seconds")).collect::<Result<Vec<_>>>()?;
        let reference = place(if channels_last { PYTORCH_CHANNELS_LAST } else { PYTORCH })?;
        let (ulp, equal) = distance(&logits[index], &logits[reference])?;
        rows.push(Row {
            name: name.to_string(),
            figures: seconds.iter().map(|seconds| seconds * 1000.0 / images).collect(),
            note: match who {
                Who::PyTorch => String::new(),
                Who::Tch => "other logits: its last pooling sums".to_string(),
                Who::Densenet => format!("logits {ulp} ULP from {}'s", PARTICIPANTS[reference].0),
            },
            fields: Map::from_iter([("max_ulp".into(), ulp.into()), ("equal_bits".into(), equal.into())]),
        });
    }
    let fields = json!({
        "bench": "inference", "arch": args.arch.name(), "batch_size": batch_size, "threads": threads,
        "forwards": forwards, "torch": version,
    });
    if !args.json {
        println!(
            "\n{}, batch {batch_size}, 224×224, f32, {threads} threads, {forwards} passes a round, {} rounds, \
             torch {}: ms an image",
            args.arch,
            args.rounds,
            version.as_str().unwrap_or("?"),
        );
    }
    let Value::Object(fields) = fields else { bail!("not an object") };
    table::print(&rows, place(PYTORCH)?, "ms/image", &fields, args.json);
    Ok(())
}

fn bits(answer: &Value) -> Result<Vec<i32>> {
    let list = answer["logits"].as_array().context("no logits")?;
    list.iter().map(|bits| Ok(i32::try_from(bits.as_i64().context("no integer")?)?)).collect()
}

/// The most representable numbers between two logits, and whether all bits are equal.
fn distance(a: &[i32], b: &[i32]) -> Result<(i64, bool)> {
    if a.len() != b.len() {
        bail!("{} logits and {}", a.len(), b.len());
    }
    // The order of floats: negative ones count downwards.
    let place = |bits: i32| if bits < 0 { i64::from(i32::MIN) - i64::from(bits) } else { i64::from(bits) };
    let ulp = a.iter().zip(b).map(|(&a, &b)| (place(a) - place(b)).abs()).max().unwrap_or(0);
    Ok((ulp, a == b))
}

// --- the participants that are this binary ---

/// A network and its input.
struct Prepared {
    network: Box<dyn nn::ModuleT>,
    input: Tensor,
}

fn answer(prepared: &mut Option<Prepared>, command: &str, question: &Value) -> Result<Value> {
    match command {
        "prepare" => {
            let made = prepare(question)?;
            let logits = no_grad(|| made.network.forward_t(&made.input, false));
            let logits: Vec<f32> = Vec::try_from(logits.reshape([-1]))?;
            *prepared = Some(made);
            let bits: Vec<i32> = logits.iter().map(|logit| logit.to_bits() as i32).collect();
            Ok(json!({ "logits": bits }))
        }
        "forward" => {
            let Prepared { network, input } = prepared.as_ref().context("not prepared")?;
            let forwards = count(question, "count")?;
            no_grad(|| {
                let start = Instant::now();
                for _ in 0..forwards {
                    let _ = network.forward_t(input, false);
                }
                Ok(json!({ "seconds": start.elapsed().as_secs_f64() }))
            })
        }
        _ => bail!("unknown command {command}"),
    }
}

fn prepare(question: &Value) -> Result<Prepared> {
    if question["keep_freed_memory"] == true && !runtime::keep_freed_memory() {
        bail!("this system's allocator has no such setting");
    }
    runtime::set_threads(count(question, "threads")?.try_into()?)?;
    let (weights, arch) = (text(question, "weights")?, text(question, "arch")?.parse::<Arch>()?);
    let input = Tensor::read_safetensors(text(question, "input")?)?;
    let input = input.into_iter().next().context("no input")?.1;
    let mut vs = nn::VarStore::new(Device::Cpu);
    if question["tch"] == true {
        let network = tchs_own(arch, &vs.root())?;
        vs.load(weights)?;
        return Ok(Prepared { network, input });
    }
    let network = DenseNet::with_init(&vs.root(), &arch.config(), Init::Zeros)?;
    checkpoint::load(&network.named_tensors(), &checkpoint::StateDict::open(weights)?, &Default::default())?;
    let mut input = input;
    if question["channels_last"] == true {
        network.to_channels_last()?;
        input = input.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2]);
    }
    Ok(Prepared { network: Box::new(network), input })
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
