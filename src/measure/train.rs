//! A training step: forward, cross entropy, backward, SGD.

use super::memory::{forget_peak, peak_resident, resident};
use super::{at_least_one, median, MeasureError, Result};
use crate::autograd::count_cpu_memory;
use crate::model::channels_last;
use crate::{DenseNet, DenseNetConfig};
use std::time::Instant;
use tch::nn::OptimizerConfig;
use tch::{nn, Device, Kind, Reduction, Tensor};

/// torch's default `ignore_index`.
const IGNORE_NO_CLASS: i64 = -100;

/// What to measure.
#[derive(Debug, Clone)]
pub struct TrainOptions {
    /// The network, its [`crate::model::Memory`] included.
    pub config: DenseNetConfig,
    /// Pictures a step.
    pub batch_size: i64,
    /// Their height and width.
    pub size: i64,
    /// Steps timed, after one that is not.
    pub steps: usize,
    /// Weights and pictures channels-last.
    pub channels_last: bool,
    /// Where to compute.
    pub device: Device,
}

/// A training step's time and memory. Serializes to the JSON of `densenet bench train`.
#[derive(Debug, Clone, serde::Serialize)]
pub struct TrainMeasurement {
    /// Median of the timed steps, in milliseconds.
    pub step_ms: f64,
    /// The fastest of them.
    pub step_ms_min: f64,
    /// Peak resident memory over all steps less what was resident before the first, with network, pictures and optimizer
    /// made: what the step keeps, its scratch, and the gradients.
    pub activation_bytes: u64,
    /// Bytes of tensors that a forward pass leaves allocated for its backward pass, as libtorch's allocator counts them
    /// (CPU only; `null` elsewhere).
    pub kept_bytes: Option<u64>,
    /// The most that tensors made in a forward and a backward pass, gradients included, take at once (counted likewise).
    /// Unlike `activation_bytes` it knows nothing of oneDNN's scratch and of holes in the allocator's heap.
    pub peak_tensor_bytes: Option<u64>,
    /// Peak resident memory of the process.
    pub peak_rss_bytes: u64,
    /// Loss of the first step.
    pub first_loss: f64,
    /// Loss of the last step: all steps see the same pictures, so it falls.
    pub loss: f64,
    /// Numbers in the trainable tensors.
    pub parameters: i64,
}

/// Trains a fresh network on random pictures for `steps` + 1 steps with plain SGD; `progress` hears of each step done, the
/// first, which is not timed, included.
///
/// Measures the process as it is: in a process that has done other work, memory freed before is used again and
/// `activation_bytes` is too small. Draws from libtorch's generator.
///
/// # Errors
/// [`MeasureError`]'s, each.
pub fn train(options: &TrainOptions, mut progress: impl FnMut(usize)) -> Result<TrainMeasurement> {
    at_least_one("the batch size", options.batch_size)?;
    at_least_one("the number of steps", options.steps as i64)?;
    let config = &options.config;
    let vs = nn::VarStore::new(options.device);
    let network = DenseNet::new(&vs.root(), config)?;
    let shape = [options.batch_size, config.in_channels, options.size, options.size];
    let mut pictures = Tensor::f_randn(shape, (Kind::Float, options.device))?;
    if options.channels_last {
        network.to_channels_last()?;
        pictures = channels_last(&pictures)?;
    }
    let classes =
        Tensor::f_randint(config.num_classes.max(1), [options.batch_size], (Kind::Int64, options.device))?;
    // A rate at which no published network diverges within a few steps on one batch.
    let mut optimizer = nn::Sgd::default().build(&vs, 1e-3)?;
    let forward = || -> Result<Tensor> {
        let logits = network.try_forward(&pictures, true)?;
        Ok(logits.f_cross_entropy_loss::<Tensor>(&classes, None, Reduction::Mean, IGNORE_NO_CLASS, 0.0)?)
    };

    let before = resident()?;
    forget_peak()?;
    let mut times = Vec::with_capacity(options.steps);
    let (mut first_loss, mut loss_value) = (None, f64::NAN);
    let (mut kept_bytes, mut peak_tensor_bytes) = (None, None);
    for step in 0..=options.steps {
        let start = Instant::now();
        optimizer.zero_grad();
        let loss = if step == 0 && options.device == Device::Cpu {
            count_cpu_memory(|memory| -> Result<Tensor> {
                let loss = forward()?;
                kept_bytes = u64::try_from(memory.live()).ok();
                loss.f_backward()?;
                peak_tensor_bytes = u64::try_from(memory.peak()).ok();
                Ok(loss)
            })??
        } else {
            let loss = forward()?;
            loss.f_backward()?;
            loss
        };
        optimizer.step();
        // Reading the loss waits for the device.
        loss_value = loss.f_double_value(&[])?;
        first_loss.get_or_insert(loss_value);
        let seconds = start.elapsed().as_secs_f64();
        if !loss_value.is_finite() {
            return Err(MeasureError::Loss { loss: loss_value, step: step + 1 });
        }
        // The first step fills caches: libtorch's compiled primitives, the allocator's free lists.
        if step > 0 {
            times.push(seconds * 1000.0);
        }
        progress(step + 1);
    }
    times.sort_by(f64::total_cmp);
    let peak = peak_resident()?;
    Ok(TrainMeasurement {
        step_ms: median(&times),
        step_ms_min: times[0],
        activation_bytes: peak.saturating_sub(before),
        kept_bytes,
        peak_tensor_bytes,
        peak_rss_bytes: peak,
        first_loss: first_loss.unwrap_or(f64::NAN),
        loss: loss_value,
        parameters: network.num_parameters(),
    })
}
