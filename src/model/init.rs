//! PyTorch's initializers, draw for draw.
//!
//! Values come from libtorch's CPU generator whatever the device, as in PyTorch when a network is built on the CPU and
//! moved afterwards, so a seed gives the same weights on every machine.

use super::error::Result;
use tch::{no_grad, Device, Tensor};

/// How a new network's tensors start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Init {
    /// As torchvision's constructor leaves them: after `tch::manual_seed(s)`, bit for bit the weights of
    /// `torch.manual_seed(s)` followed by the constructor.
    #[default]
    Torchvision,
    /// Zeros, drawing nothing: for a network that a checkpoint fills next. (Batch norms still start as PyTorch's do.)
    Zeros,
    /// Whatever the memory held, drawing nothing: for a network all of which a checkpoint fills next, at no cost. (Batch
    /// norms still start as PyTorch's do.)
    Empty,
}

/// `nn.init.kaiming_uniform_(weight, a=sqrt(5))`: what `nn.Conv2d` and `nn.Linear` draw when constructed.
pub(super) fn kaiming_uniform_sqrt5(weight: &Tensor) -> Result<()> {
    let fan_in = fan_in(weight);
    let gain = (2.0 / (1.0 + 5f64.sqrt().powi(2))).sqrt();
    let bound = 3f64.sqrt() * (gain / fan_in.sqrt());
    draw(weight, |tensor| tensor.f_uniform_(-bound, bound))
}

/// The bias that `nn.Linear` draws when constructed: uniform within 1/√fan_in of the weight.
pub(super) fn linear_bias(bias: &Tensor, weight: &Tensor) -> Result<()> {
    let bound = 1.0 / fan_in(weight).sqrt();
    draw(bias, |tensor| tensor.f_uniform_(-bound, bound))
}

/// `nn.init.kaiming_normal_(weight)`: what torchvision's constructor draws for every convolution at its end.
pub(super) fn kaiming_normal(weight: &Tensor) -> Result<()> {
    let std = 2f64.sqrt() / fan_in(weight).sqrt();
    draw(weight, |tensor| tensor.f_normal_(0.0, std))
}

/// Overwrites `tensor` with a constant.
pub(super) fn constant(tensor: &Tensor, value: f64) -> Result<()> {
    let _ = no_grad(|| tensor.shallow_clone().f_fill_(value))?;
    Ok(())
}

/// Inputs of one output value: all dimensions of the weight but the first.
fn fan_in(weight: &Tensor) -> f64 {
    weight.size()[1..].iter().product::<i64>() as f64
}

fn draw(
    target: &Tensor,
    fill: impl FnOnce(&mut Tensor) -> std::result::Result<Tensor, tch::TchError>,
) -> Result<()> {
    no_grad(|| {
        let mut target = target.shallow_clone();
        if target.device() == Device::Cpu {
            let _ = fill(&mut target)?;
        } else {
            let mut drawn = Tensor::f_empty(target.size(), (target.kind(), Device::Cpu))?;
            let _ = fill(&mut drawn)?;
            target.f_copy_(&drawn)?;
        }
        Ok(())
    })
}
