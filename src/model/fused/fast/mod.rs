//! The stage on our own kernels: f32 on the CPU.
//!
//! Features and conv1's outputs are tensors of libtorch's, so that what is kept is counted and checked for changes like any
//! saved tensor. Everything else is [`Scratch`], one for the network, used again by every layer, stage and step.

mod backward;
mod forward;
mod scratch;
mod vectors;

pub(super) use backward::backward;
pub(super) use forward::forward;
pub(super) use scratch::Scratch;
pub(super) use vectors::{second_stage, single, NormVectors};

use super::kept::Size;
use crate::autograd::LibtorchThreads;
use crate::kernels::conv3x3::Pictures;
use crate::kernels::{Level, Machine};
use std::borrow::Borrow;
use tch::{Device, Kind, TchError, Tensor};

/// A pass's size and what it runs on.
#[derive(Clone, Copy)]
pub(super) struct Site {
    pub level: Level,
    pub size: Size,
}

impl Site {
    pub fn rows(self) -> usize {
        self.size.rows() as usize
    }

    fn pictures(self) -> Pictures {
        Pictures { count: self.size.n as usize, height: self.size.h as usize, width: self.size.w as usize }
    }

    pub fn machine(self) -> Machine<'static> {
        Machine { level: self.level, threads: &LibtorchThreads }
    }
}

/// Whether these kernels take such inputs.
pub(super) fn takes<T: Borrow<Tensor>>(inputs: impl IntoIterator<Item = T>) -> bool {
    inputs.into_iter().all(|tensor| {
        let tensor = tensor.borrow();
        tensor.kind() == Kind::Float && tensor.device() == Device::Cpu && tensor.numel() > 0
    })
}

/// A parameter's numbers, in torch's order whatever its memory format.
fn contiguous(tensor: &Tensor) -> Result<Tensor, TchError> {
    tensor.f_detach()?.f_contiguous()
}
