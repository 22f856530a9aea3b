//! A forward pass: how long until the logits are there.

use super::memory::{peak_resident, resident};
use super::{at_least_one, median, peak, work, Result};
use crate::autograd::LibtorchThreads;
use crate::kernels::threads::{Scoped, Threads};
use crate::kernels::{Level, Machine};
use crate::model::{Numerics, Threading};
use crate::transforms::ImageClassification;
use crate::{DenseNet, DenseNetConfig, Predictor};
use std::sync::{Barrier, Mutex, PoisonError};
use std::time::Instant;
use tch::{nn, Device, Kind, Tensor};

/// Passes before the first that counts: they fill caches, libtorch's compiled primitives and the allocator's free lists.
const UNTIMED: usize = 2;
/// Where the number of passes is left open: as many as take about this long, in seconds, within [`PASSES`].
const SECONDS: f64 = 3.0;
const PASSES: std::ops::RangeInclusive<usize> = 10..=1000;

/// What to measure.
#[derive(Debug, Clone)]
pub struct InferOptions {
    /// The network.
    pub config: DenseNetConfig,
    /// Pictures a pass.
    pub batch_size: i64,
    /// Their height and width.
    pub size: i64,
    /// How it computes.
    pub numerics: Numerics,
    /// [`Threading::Latency`]: one pass after the other, each on all of libtorch's threads. [`Threading::Throughput`]:
    /// passes side by side, each on its caller's thread; with exact numerics that takes a process whose libtorch has one
    /// thread ([`crate::runtime::set_threads`]).
    pub threading: Threading,
    /// Threads that call at once; more than one make sense with [`Threading::Throughput`].
    pub callers: usize,
    /// Timed passes of each caller; `None` for as many as take about three seconds, 10 at least.
    pub passes: Option<usize>,
    /// Where to compute.
    pub device: Device,
}

/// A forward pass's time, and the process's memory. Serializes to the JSON of `densenet bench infer`.
#[derive(Debug, Clone, serde::Serialize)]
pub struct InferMeasurement {
    /// What ran: [`Numerics::Exact`] or [`Numerics::Fused`].
    pub numerics: Numerics,
    /// Wall time of all timed passes over the pictures in them, in milliseconds: callers side by side count together.
    pub ms_per_image: f64,
    /// Half of the passes were at most this long, in milliseconds.
    pub p50_ms: f64,
    /// 99 of 100 passes were at most this long.
    pub p99_ms: f64,
    /// Timed passes, of all callers.
    pub passes: usize,
    /// Arithmetic done a second, in units of 10⁹: a multiplication and an addition of the plain network's convolutions and
    /// classifier count as two, whatever the algorithm did.
    pub gflops: f64,
    /// What the processor can do at most, on as many threads ([`peak::gflops`]); `None` on other devices.
    pub peak_gflops: Option<f64>,
    /// From a network in memory to one that is ready to run, in milliseconds: with [`Numerics::Fused`], folding and packing.
    pub prepare_ms: f64,
    /// Resident memory of the process when the passes were done.
    pub rss_bytes: u64,
    /// Peak resident memory of the process.
    pub peak_rss_bytes: u64,
}

/// Runs a fresh network on random pictures; `progress` hears how many passes are done and how many there will be.
///
/// Draws from libtorch's generator.
///
/// # Errors
/// [`super::MeasureError`]'s, each.
pub fn infer(options: &InferOptions, progress: impl FnMut(usize, usize) + Send) -> Result<InferMeasurement> {
    at_least_one("the batch size", options.batch_size)?;
    at_least_one("the number of callers", options.callers as i64)?;
    at_least_one("the number of passes", options.passes.map_or(1, |passes| passes as i64))?;
    let (predictor, prepare_ms, flops) = ready(options)?;
    let shape = [options.batch_size, options.config.in_channels, options.size, options.size];
    let pictures = Tensor::f_randn(shape, (Kind::Float, options.device))?;
    let pass = |pictures: &Tensor| -> Result<f64> {
        let start = Instant::now();
        let logits = predictor.predict_tensor(pictures)?;
        // Reading a value waits for the device.
        logits.f_double_value(&[0, 0])?;
        Ok(start.elapsed().as_secs_f64() * 1000.0)
    };
    let mut last = 0.0;
    for _ in 0..UNTIMED {
        last = pass(&pictures)?;
    }
    let fitting = || ((SECONDS * 1000.0 / last) as usize).clamp(*PASSES.start(), *PASSES.end());
    let passes = options.passes.unwrap_or_else(fitting);

    let (mut times, wall_ms) = side_by_side(options.callers, passes, &pictures, &pass, progress)?;
    times.sort_by(f64::total_cmp);
    let (rss_bytes, peak_rss_bytes) = (resident()?, peak_resident()?);
    let ms_per_image = wall_ms / (times.len() as f64 * options.batch_size as f64);
    let threads: &dyn Threads =
        if options.threading == Threading::Latency { &LibtorchThreads } else { &Scoped(options.callers) };
    Ok(InferMeasurement {
        numerics: predictor.numerics(),
        ms_per_image,
        p50_ms: median(&times),
        p99_ms: times[(times.len() * 99).div_ceil(100) - 1],
        passes: times.len(),
        gflops: flops / ms_per_image / 1e6,
        peak_gflops: (options.device == Device::Cpu)
            .then(|| peak::gflops(Machine { level: Level::best(), threads })),
        prepare_ms,
        rss_bytes,
        peak_rss_bytes,
    })
}

/// The predictor, the milliseconds it took to make it from a network, and the operations for one picture.
fn ready(options: &InferOptions) -> Result<(Predictor, f64, f64)> {
    let vs = nn::VarStore::new(options.device);
    let mut network = DenseNet::new(&vs.root(), &options.config)?;
    // Nobody else may hold what a predictor owns.
    drop(vs);
    network.set_numerics(options.numerics);
    let flops = 2.0 * work::multiply_adds(&network, [options.size; 2]) as f64;
    let channels = u32::try_from(options.config.in_channels).unwrap_or(u32::MAX);
    let transforms = ImageClassification { channels, ..ImageClassification::default() };
    let start = Instant::now();
    let mut predictor = Predictor::own(network, transforms, Vec::new())?;
    if predictor.numerics() == Numerics::Fused {
        predictor = predictor.with_threading(options.threading)?;
    }
    Ok((predictor, start.elapsed().as_secs_f64() * 1000.0, flops))
}

/// Milliseconds of every pass, and from the first one's beginning to the last one's end.
fn side_by_side(
    callers: usize,
    passes: usize,
    pictures: &Tensor,
    pass: &(dyn Fn(&Tensor) -> Result<f64> + Sync),
    progress: impl FnMut(usize, usize) + Send,
) -> Result<(Vec<f64>, f64)> {
    let progress = Mutex::new((progress, 0));
    let begin = Barrier::new(callers);
    let one = |pictures: Tensor| -> Result<(Vec<f64>, Instant, Instant)> {
        // Each thread's own caches and scratch.
        let warm = pass(&pictures);
        begin.wait();
        warm?;
        let (start, mut times) = (Instant::now(), Vec::with_capacity(passes));
        for _ in 0..passes {
            times.push(pass(&pictures)?);
            let mut progress = progress.lock().unwrap_or_else(PoisonError::into_inner);
            progress.1 += 1;
            let done = progress.1;
            (progress.0)(done, passes * callers);
        }
        Ok((times, start, Instant::now()))
    };
    let results: Vec<_> = std::thread::scope(|scope| {
        let workers: Vec<_> = (1..callers)
            .map(|_| {
                let pictures = pictures.copy();
                scope.spawn(|| one(pictures))
            })
            .collect();
        let own = one(pictures.shallow_clone());
        let join = |worker: std::thread::ScopedJoinHandle<'_, _>| match worker.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        [own].into_iter().chain(workers.into_iter().map(join)).collect()
    });
    let (mut times, mut span) = (Vec::new(), None::<(Instant, Instant)>);
    for result in results {
        let (own, start, end) = result?;
        times.extend(own);
        let (first, last) = span.unwrap_or((start, end));
        span = Some((first.min(start), last.max(end)));
    }
    let wall = span.map_or(0.0, |(start, end)| (end - start).as_secs_f64() * 1000.0);
    Ok((times, wall))
}
