//! One case: every participant made ready, then asked in turn.

use super::case::{Case, Mode, Network};
use super::participants::{model, Participant, REFERENCE};
use super::record::{build, Figures, Measured, Row};
use super::Args;
use crate::peer::table::median;
use crate::peer::{self, in_turn_while, number, Peer};
use anyhow::{anyhow, Context, Result};
use densenet::measure::work::multiply_adds;
use densenet::tch::{self, nn, Device, Kind, Tensor};
use densenet::weights::WeightsSource;
use densenet::{checkpoint, runtime, DenseNet};
use serde_json::{json, Value};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Rounds that `--seconds` does not cut off.
const LEAST_ROUNDS: usize = 5;
/// A turn's passes take about so long, in milliseconds, of the participant in the middle.
const TURN_MS: f64 = 250.0;
const MOST_PASSES: f64 = 200.0;

/// What participants read, made once.
pub struct Files {
    folder: PathBuf,
    networks: HashMap<&'static str, (PathBuf, f64)>,
    /// The file, or why there is none.
    onnx: HashMap<&'static str, std::result::Result<PathBuf, String>>,
}

impl Files {
    pub fn new(folder: &Path) -> Files {
        Files { folder: folder.to_path_buf(), networks: HashMap::new(), onnx: HashMap::new() }
    }

    /// The network's weights, and its operations for one picture, in units of 10⁹.
    fn weights(&mut self, network: Network) -> Result<(PathBuf, f64)> {
        if let Some(known) = self.networks.get(network.name()) {
            return Ok(known.clone());
        }
        let vs = nn::VarStore::new(Device::Cpu);
        let net = match network {
            Network::Published(arch) => {
                tch::manual_seed(0);
                DenseNet::new(&vs.root(), &arch.config())?
            }
            Network::FashionMnist => WeightsSource::resolve(network.name())?.load(Device::Cpu)?.network,
        };
        let path = self.folder.join(format!("{}.safetensors", network.name()));
        checkpoint::write_safetensors(&path, &net.named_tensors(), HashMap::new())?;
        let gflop = 2e-9 * multiply_adds(&net, [network.side(); 2]) as f64;
        self.networks.insert(network.name(), (path.clone(), gflop));
        Ok((path, gflop))
    }

    fn input(&self, case: &Case) -> Result<PathBuf> {
        let path = self.folder.join("input.safetensors");
        let side = case.network.side();
        let shape = [case.batch_size, case.network.config().in_channels, side, side];
        tch::manual_seed(1);
        let batch = Tensor::randn(shape, (Kind::Float, Device::Cpu));
        checkpoint::write_safetensors(&path, &[("input".to_string(), batch)], HashMap::new())?;
        Ok(path)
    }

    /// The ONNX file; `exporter` has the packages.
    fn onnx(&mut self, network: Network, input: &Path, exporter: &mut Peer) -> Result<PathBuf> {
        if !self.onnx.contains_key(network.name()) {
            let path = self.folder.join(format!("{}.onnx", network.name()));
            let (weights, _) = self.weights(network)?;
            let mut question = json!({ "command": "export_onnx", "input": input, "path": path, "arch": null, "config": null });
            model(&mut question, network, &weights);
            let made = exporter.ask(&question).map(|_| path).map_err(|error| last_line(&error));
            self.onnx.insert(network.name(), made);
        }
        self.onnx[network.name()].clone().map_err(|reason| anyhow!("no ONNX file: {reason}"))
    }
}

/// Measures one case.
pub fn run(args: &Args, case: &Case, wanted: &[Participant], files: &mut Files) -> Result<Measured> {
    let (weights, gflop_per_image) = files.weights(case.network)?;
    let input = files.input(case)?;
    let mut not_measured = Vec::new();
    let mut starting = Vec::new();
    let begun = Instant::now();
    // It is asked for its logits in any case.
    let reference = Participant::reference();
    let only_asked = Some(&reference).filter(|_| wanted.iter().all(|one| one.name != REFERENCE));
    for participant in wanted.iter().chain(only_asked) {
        if participant.cannot(case).is_some() {
            continue;
        }
        let started = participant.start().and_then(|mut peer| {
            let onnx = match participant.takes_onnx() {
                // A process of its own: theirs is to hold nothing but what runs.
                true => Some(files.onnx(case.network, &input, &mut participant.start()?)?),
                false => None,
            };
            peer.begin(&participant.question(case, &weights, &input, onnx.as_deref()))?;
            Ok(peer)
        });
        match started {
            Ok(peer) => starting.push((participant, peer)),
            Err(error) => not_measured.push((participant.name, error)),
        }
    }
    // All get ready at the same time: nothing is measured yet.
    let (mut participants, mut ready, mut reference) = (Vec::new(), Vec::new(), None);
    for (participant, mut peer) in starting {
        let answer = peer.answer();
        if participant.name == REFERENCE {
            reference = answer.as_ref().ok().map(bits).transpose()?;
        }
        match answer {
            Ok(_) if only_asked.is_some_and(|one| one.name == participant.name) => (),
            Ok(answer) => {
                ready.push((participant, answer));
                participants.push(peer::Participant {
                    name: participant.name.to_string(),
                    peer,
                    run: Value::Null,
                });
            }
            Err(error) => not_measured.push((participant.name, error)),
        }
    }
    for (name, error) in &not_measured {
        eprintln!("NOT MEASURED: {name}: {}", last_line(error));
    }
    let mut processor = Peer::this_binary("the peak")?;
    let mut peak = || processor.ask(&json!({ "command": "peak", "threads": case.threads }));
    let before = peak()?;
    eprintln!("  ready after {:.0} s; measuring", begun.elapsed().as_secs_f64());

    turns(case, &mut participants)?;
    let begun = Instant::now();
    let answers = in_turn_while(&mut participants, |done| {
        let seconds = begun.elapsed().as_secs();
        eprint!("\r  round {done} of {} at most, {seconds} s ", args.rounds);
        done < args.rounds as usize && (done < LEAST_ROUNDS || seconds < args.seconds)
    })?;
    eprintln!();
    let after = peak()?;

    let reference =
        reference.context("PyTorch did not run: its logits are what the others' are compared with")?;
    let mut rows = Vec::new();
    for (((participant, prepared), peer), answers) in ready.iter().zip(&mut participants).zip(&answers) {
        let memory = peer.peer.ask(&json!({ "command": "memory" }))?;
        let logits = bits(prepared)?;
        let figures = answers.iter().map(|answer| Figures::of(answer, case)).collect::<Result<Vec<_>>>()?;
        rows.push(Row {
            name: participant.name.to_string(),
            version: prepared["version"].as_str().unwrap_or("?").to_string(),
            rounds: figures.iter().map(|figures| figures.ms_per_image).collect(),
            passes: figures.into_iter().flat_map(|figures| figures.passes).collect(),
            ready_seconds: number(prepared, "seconds")?,
            resident_bytes: number(&memory, "resident")?,
            peak_bytes: number(&memory, "peak")?,
            max_ulp: participant.is_exact().then(|| ulp(&logits, &reference)),
            relative: relative(&logits, &reference)?,
        });
    }
    Ok(Measured {
        case: case.clone(),
        processor: processor_name(),
        level: before["level"].as_str().unwrap_or("?").to_string(),
        libtorch: runtime::libtorch_version().unwrap_or("?".to_string()),
        build: build()?,
        peak_gflops: number(&before, "gflops")?.max(number(&after, "gflops")?),
        gflop_per_image,
        rows,
        not_measured: not_measured.iter().map(|(name, error)| (name.to_string(), last_line(error))).collect(),
    })
}

/// Decides how many passes a turn has, by what a pass takes now; this is the warm-up too.
fn turns(case: &Case, participants: &mut [peer::Participant]) -> Result<()> {
    let command = if case.mode == Mode::Latency { "forward" } else { "together" };
    let turn = |count: i64| {
        let mut turn = json!({ "command": command, "count": count });
        match case.mode {
            // After another's turn caches are its: one pass brings the weights back, where a pass is short.
            Mode::Latency => turn["untimed"] = i64::from(count > 1).into(),
            Mode::Throughput => turn["threads"] = case.threads.into(),
        }
        turn
    };
    let mut times = Vec::new();
    for participant in participants.iter_mut() {
        participant.peer.ask(&turn(1))?;
        let answer = participant.peer.ask(&turn(1))?;
        times.push(answer["milliseconds"][0].as_f64().context("no time")?);
    }
    let count = (TURN_MS / median(&times)).round().clamp(1.0, MOST_PASSES) as i64;
    participants.iter_mut().for_each(|participant| participant.run = turn(count));
    Ok(())
}

fn bits(answer: &Value) -> Result<Vec<i32>> {
    let list = answer["logits"].as_array().context("no logits")?;
    list.iter().map(|bits| Ok(i32::try_from(bits.as_i64().context("no integer")?)?)).collect()
}

/// The most representable numbers between two logits.
fn ulp(a: &[i32], b: &[i32]) -> i64 {
    // The order of floats: negative ones count downwards.
    let place = |bits: i32| if bits < 0 { i64::from(i32::MIN) - i64::from(bits) } else { i64::from(bits) };
    a.iter().zip(b).map(|(&a, &b)| (place(a) - place(b)).abs()).max().unwrap_or(0)
}

/// The largest difference over the largest logit.
fn relative(a: &[i32], b: &[i32]) -> Result<f64> {
    anyhow::ensure!(a.len() == b.len(), "{} logits and {}", a.len(), b.len());
    let value = |bits: &i32| f64::from(f32::from_bits(*bits as u32));
    let differences = a.iter().zip(b).map(|(a, b)| (value(a) - value(b)).abs());
    let largest = b.iter().map(|logit| value(logit).abs()).fold(0.0, f64::max);
    // Not `max`, which passes over NaN.
    Ok(differences.fold(0.0, |most: f64, next| if next > most || next.is_nan() { next } else { most })
        / largest)
}

/// What Linux calls the processor.
pub fn processor_name() -> String {
    let file = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = file.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let name = model.map_or("an unnamed processor", |(_, name)| name.trim());
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{name}, {processors} processors")
}

/// Python's tracebacks say in their last line what it was.
fn last_line(error: &anyhow::Error) -> String {
    let text = format!("{error:#}");
    text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no reason given").trim().to_string()
}
