//! A network made ready for inference on the CPU, f32: [`Prepared`].
//!
//! Every norm is a scale and a shift, known beforehand: `norm0` and each `norm2` are folded into the convolution before
//! them, `norm1`, the transitions' and `norm5` are applied, with their ReLU, while their reader packs its input. A block's
//! features lie in one buffer, channels last, to which each layer adds its columns: nothing is ever concatenated.
//! Transitions pool before they convolve. Convolutions are our own kernels ([`crate::kernels`]): the stem with its pooling
//! in one pass, 1×1 as a packed product, 3×3 by Winograd; weights are transformed and packed once.
//!
//! May use `kernels` on plain slices, and `tch` at both ends (`prepare`, this file). One invariant: a [`Prepared`] holds no
//! tensor and never changes what it computes. Sources: Huang et al. 2017; Lavin and Gray 2016 (Winograd).

mod fingerprint;
mod numerics;
mod parts;
mod pass;
mod prepare;
mod workspace;

pub use numerics::Numerics;

use super::clock::Clock;
use super::densenet::{DenseNet, Expected};
use super::error::{ModelError, Result};
use super::fused::Kernels;
use crate::autograd::{f32_slice, Buffer, LibtorchThreads};
use crate::kernels::threads::Serial;
use crate::kernels::{stem, Level, Machine, Threads};
use fingerprint::Fingerprint;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tch::Tensor;

/// Whose threads a pass of [`Prepared`] runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Threading {
    /// All of libtorch's threads work on one call: the shortest time to an answer.
    #[default]
    Latency,
    /// A call runs on the thread that makes it, and on no other: the most pictures a second from as many callers as there
    /// are processors.
    Throughput,
}

impl Threading {
    fn threads(self) -> &'static dyn Threads {
        match self {
            Threading::Latency => &LibtorchThreads,
            Threading::Throughput => &Serial,
        }
    }
}

/// A network's parameters, folded and packed. Holds no tensors: `Send` and `Sync`, one value for any number of threads.
///
/// Each call has memory of its own while it runs, which the next one uses again; as much stays as there are processors. It
/// grows with the size of the pictures and hardly with the batch, which goes through some pictures at a time. Outputs are
/// the same to the bit whoever calls, with one thread count; a picture's do not depend on its neighbours but for rounding
/// (the size of the batch chooses among algorithms). Autocast changes nothing.
///
/// ```
/// use densenet::model::{Cifar, Prepared};
/// use densenet::DenseNet;
/// use tch::{nn, Device, Kind, Tensor};
///
/// tch::manual_seed(0);
/// let vs = nn::VarStore::new(Device::Cpu);
/// let network = DenseNet::new(&vs.root(), &Cifar::new(22, 12).bc().build()?)?;
/// let prepared = Prepared::new(&network)?;
/// let pictures = Tensor::rand([2, 3, 32, 32], (Kind::Float, Device::Cpu));
/// let exact = tch::no_grad(|| network.try_forward(&pictures, false))?;
/// let difference = (prepared.forward(&pictures)? - &exact).abs().max() / exact.abs().max();
/// assert!(difference.double_value(&[]) < 1e-5);
/// # Ok::<(), densenet::model::ModelError>(())
/// ```
#[derive(Debug)]
pub struct Prepared {
    network: parts::Network,
    expected: Expected,
    /// Numbers a picture.
    outputs: usize,
    fingerprint: Fingerprint,
    threading: Threading,
    pool: workspace::Pool,
    timed: AtomicBool,
    clock: Mutex<Clock<pass::Part>>,
}

impl Prepared {
    /// Folds and packs `network`'s parameters as they are now, for the instruction set of
    /// [`DenseNet::set_kernels`] (the processor's best, unless told otherwise).
    ///
    /// # Errors
    /// [`ModelError::NotFusable`] for a network that is not f32 on the CPU, whose layers were changed into others, or on a
    /// processor without AVX2 or AVX-512; or libtorch's own.
    pub fn new(network: &DenseNet) -> Result<Prepared> {
        let level = match network.engine.kernels {
            Kernels::At(level) => level,
            Kernels::Best | Kernels::Aten => {
                let level = Level::best();
                if level == Level::portable() {
                    let found = "this processor has neither AVX2 nor AVX-512".to_string();
                    let todo = "choose Kernels::At(Level::portable()) to run it all the same, slowly";
                    return Err(ModelError::NotFusable { found, todo });
                }
                level
            }
        };
        let fingerprint = Fingerprint::of(network);
        let parts = prepare::prepare(network, Machine { level, threads: &LibtorchThreads })?;
        let outputs = parts.outputs();
        let expected = network.expected();
        if parts.stem.first.inputs() as i64 != expected.channels {
            let found = format!("conv0 takes {} channels", parts.stem.first.inputs());
            let todo = "build the network from its configuration";
            return Err(ModelError::NotFusable { found, todo });
        }
        Ok(Prepared {
            network: parts,
            expected,
            outputs,
            fingerprint,
            threading: Threading::default(),
            pool: workspace::Pool::default(),
            timed: AtomicBool::new(false),
            clock: Mutex::default(),
        })
    }

    /// The same on other threads.
    #[must_use]
    pub fn with_threads(mut self, threading: Threading) -> Prepared {
        self.threading = threading;
        self
    }

    /// Whose threads its passes run on.
    pub fn threading(&self) -> Threading {
        self.threading
    }

    /// Whether `network` is another than it was made from: by its tensors' addresses and libtorch's version counters, and by
    /// its layers' settings. What is not seen is a write past libtorch (through a raw pointer), and a tensor whose memory was
    /// freed and given to its successor.
    pub fn stale(&self, network: &DenseNet) -> bool {
        self.fingerprint != Fingerprint::of(network)
    }

    /// Pictures [N, in_channels, H, W], f32 on the CPU, of any strides, to logits [N, num_classes] (pooled features [N, C]
    /// where there is no head), contiguous and without a graph. N may be 0.
    ///
    /// # Errors
    /// [`ModelError::InputShape`], [`ModelError::InputKind`] or [`ModelError::InputDevice`] say what input this network
    /// takes; or libtorch's own.
    pub fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        self.forward_on(xs, self.threading)
    }

    /// [`forward`](Self::forward) on other threads than [`with_threads`](Self::with_threads) said, this once.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn forward_on(&self, xs: &Tensor, threading: Threading) -> Result<Tensor> {
        self.expected.check(xs)?;
        let xs = xs.f_detach()?.f_contiguous()?;
        let (n, _, h, w) = xs.size4()?;
        let Some(data) = f32_slice(&xs) else {
            let found = "the input is not a dense tensor".to_string();
            return Err(ModelError::NotFusable { found, todo: "convert it with to_dense" });
        };
        let input = stem::Input { data, count: n as usize, height: h as usize, width: w as usize };
        let mut logits = Buffer::new(&[n, self.outputs as i64])?;
        let timed = self.timed.load(Ordering::Relaxed);
        let mut clock = if timed { Clock::started() } else { Clock::default() };
        self.pool.with(|work| {
            pass::run(&self.network, threading.threads(), work, input, logits.as_mut_slice(), &mut clock);
        });
        if timed {
            let mut total = self.clock.lock().unwrap_or_else(PoisonError::into_inner);
            clock.take().into_iter().for_each(|(part, took)| total.add(part, took));
        }
        Ok(logits.into_tensor())
    }

    /// Where the time of its passes went since the last call, part by part and block by block, for those who tune the
    /// kernels. The first call turns the clock on.
    pub fn profile(&self) -> Vec<(String, Duration)> {
        self.timed.store(true, Ordering::Relaxed);
        let parts = self.clock.lock().unwrap_or_else(PoisonError::into_inner).take();
        let name = |(part, block): pass::Part| match block {
            0 => part.to_string(),
            _ => format!("block {block} {part}"),
        };
        parts.into_iter().map(|(part, took)| (name(part), took)).collect()
    }
}
