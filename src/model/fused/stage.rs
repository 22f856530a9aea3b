//! The stage as an autograd function.

use super::kept::{Kept, Size};
use super::plan::Plan;
use super::{fast, generic, SharedScratch};
use crate::autograd::{BoxError, Context, Function};
use crate::kernels::Level;
use std::sync::TryLockError;
use tch::Tensor;

/// What computes a fused network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kernels {
    /// Our own kernels, at the processor's best instruction set, for f32 on the CPU; ATen's for every other type and
    /// device.
    #[default]
    Best,
    /// As `Best`, at a given instruction set.
    At(Level),
    /// ATen's for everything.
    Aten,
}

impl Kernels {
    /// The instruction set of our own kernels, where they are to be used.
    pub(super) fn level(self) -> Option<Level> {
        match self {
            Kernels::Best => Some(Level::best()),
            Kernels::At(level) => Some(level),
            Kernels::Aten => None,
        }
    }
}

/// One application.
pub(super) struct Stage {
    plan: Plan,
    size: Size,
    /// For our kernels: their instruction set, and their memory.
    fast: Option<(Level, SharedScratch)>,
}

impl Stage {
    pub fn new(plan: Plan, inputs: &[Tensor], kernels: Kernels, scratch: &SharedScratch) -> Self {
        let (n, h, w) = match inputs[0].size()[..] {
            [n, _, h, w] => (n, h, w),
            _ => (0, 0, 0),
        };
        let fast = kernels.level().filter(|_| fast::takes(inputs)).map(|level| (level, scratch.clone()));
        Stage { plan, size: Size { n, h, w }, fast }
    }

    /// Runs `body` with our kernels' site and memory.
    fn with_scratch<R>(
        &self,
        (level, scratch): &(Level, SharedScratch),
        body: impl FnOnce(fast::Site, &mut fast::Scratch) -> R,
    ) -> R {
        let site = fast::Site { level: *level, size: self.size };
        match scratch.try_lock() {
            Ok(mut scratch) => body(site, &mut scratch),
            Err(TryLockError::Poisoned(poisoned)) => body(site, &mut poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => body(site, &mut fast::Scratch::default()),
        }
    }
}

/// The same memory as a tensor of its own: autograd lets nobody write in place to a function's output that is a view.
pub(super) fn not_a_view(output: &Tensor) -> Tensor {
    let mut own = Tensor::empty([0], (output.kind(), output.device()));
    own.set_data(output);
    own
}

/// There are no saved tensors of the number this plan asks for.
#[derive(Debug, thiserror::Error)]
#[error("a stage of {layers} layers found {found} saved tensors")]
struct WrongSaved {
    layers: usize,
    found: usize,
}

impl Function for Stage {
    const NAME: &'static str = "the fused stage (Memory::Fused, Memory::Minimal)";
    const TWICE_DIFFERENTIABLE: bool = false;

    fn forward(&mut self, ctx: &mut Context, inputs: &[Tensor]) -> Result<Vec<Tensor>, BoxError> {
        let keep = ctx.is_recorded();
        let (outputs, kept) = match &self.fast {
            Some(fast) => self
                .with_scratch(fast, |site, scratch| fast::forward(&self.plan, inputs, site, scratch, keep)),
            None => generic::forward(&self.plan, inputs, self.size, keep),
        }?;
        if self.plan.train {
            for (norm, batch) in self.plan.norms.iter().zip(&kept.statistics) {
                norm.move_by(batch, self.size.rows())?;
            }
        }
        let kept = kept.into_tensors();
        ctx.save_for_backward(&kept.iter().collect::<Vec<_>>());
        Ok(outputs.iter().map(not_a_view).collect())
    }

    fn backward(&self, ctx: &Context, grads: &[Option<Tensor>]) -> Result<Vec<Option<Tensor>>, BoxError> {
        let saved = ctx.saved_tensors()?;
        let found = saved.len();
        let kept =
            Kept::from_tensors(&self.plan, saved).ok_or(WrongSaved { layers: self.plan.layers, found })?;
        let needs = |index| ctx.needs_input_grad(index);
        match &self.fast {
            Some(fast) => Ok(self.with_scratch(fast, |site, scratch| {
                fast::backward(&self.plan, &kept, site, scratch, &needs, grads)
            })?),
            None => generic::backward(&self.plan, &kept, self.size, &needs, grads),
        }
    }
}
