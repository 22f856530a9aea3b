//! An operation with a gradient of its own: Mish, x·tanh(softplus(x)), that keeps its input alone.
//!
//! Written with tensor operations, autograd keeps a tensor of the input's size beside input and output; this one keeps
//! the input alone and computes the rest again. Its slope is made of differentiable operations, so second derivatives work too.
//! Source: Misra 2019, *Mish: A Self Regularized Non-Monotonic Activation Function*.
//!
//! `cargo run --release --example custom_function` prints, for instance:
//!
//! ```text
//! gradient and second derivative agree with finite differences
//! kept for backward, of an input of 4 MB: 8.0 MB as operations, 4.0 MB as a function (the output included)
//! ```

use densenet::autograd::{apply, backward, count_cpu_memory, grad, gradcheck};
use densenet::autograd::{BoxError, Context, Function, Options, Result, Tolerance};
use densenet::tch::{self, Device, Kind, Tensor};

/// x ↦ x·tanh(softplus(x)), elementwise.
struct Mish;

impl Function for Mish {
    const NAME: &'static str = "Mish";

    fn forward(
        &mut self,
        ctx: &mut Context,
        inputs: &[Tensor],
    ) -> std::result::Result<Vec<Tensor>, BoxError> {
        let x = &inputs[0];
        // Saved tensors are watched: changing x before backward is an error, not a wrong gradient.
        ctx.save_for_backward(&[x]);
        Ok(vec![x.f_softplus()?.f_tanh_()?.f_mul_(x)?])
    }

    fn backward(
        &self,
        ctx: &Context,
        grads: &[Option<Tensor>],
    ) -> std::result::Result<Vec<Option<Tensor>>, BoxError> {
        // None: the loss does not depend on the output.
        let Some(grad) = &grads[0] else { return Ok(vec![None]) };
        let x = ctx.saved(0)?;
        let tanh = x.f_softplus()?.f_tanh()?;
        // d/dx = t + x·(1 - t²)·σ(x), as 1 - t² is tanh's slope and σ softplus's.
        let slope = &tanh + &x * (1. - tanh.f_square()?) * x.f_sigmoid()?;
        Ok(vec![Some(grad.f_mul(&slope)?)])
    }
}

/// What users of the operation call.
fn mish(x: &Tensor) -> Result<Tensor> {
    Ok(apply(Mish, &[x])?.remove(0))
}

/// The same as tensor operations.
fn mish_of_operations(x: &Tensor) -> Result<Tensor> {
    Ok(x * x.f_softplus()?.f_tanh()?)
}

/// The derivative, itself differentiable.
fn mish_slope(x: &Tensor) -> Result<Tensor> {
    tch::with_grad(|| {
        let x = if x.requires_grad() { x.shallow_clone() } else { x.copy().set_requires_grad(true) };
        let sum = mish(&x)?.f_sum(Kind::Double)?;
        let options = Options { create_graph: true, ..Options::default() };
        Ok(grad(&[&sum], &[&x], &[None], options)?.remove(0).unwrap_or_default())
    })
}

/// Bytes that are in use after a forward pass and were not before it.
fn kept(function: impl Fn(&Tensor) -> Result<Tensor>, x: &Tensor) -> Result<i64> {
    count_cpu_memory(|memory| {
        let y = function(x)?;
        let live = memory.live();
        backward(&y.f_sum(Kind::Float)?)?;
        Ok(live)
    })?
}

fn main() -> Result<()> {
    let x = [Tensor::from_slice(&[-3., -0.5, 0., 0.1, 2.]).set_requires_grad(true)];
    gradcheck(|inputs| Ok(vec![mish(&inputs[0])?]), &x, Tolerance::default())?;
    gradcheck(|inputs| Ok(vec![mish_slope(&inputs[0])?]), &x, Tolerance::default())?;
    println!("gradient and second derivative agree with finite differences");

    let x = Tensor::f_randn([1 << 20], (Kind::Float, Device::Cpu))?.set_requires_grad(true);
    let megabytes = |bytes: i64| bytes as f64 / f64::from(1 << 20);
    println!(
        "kept for backward, of an input of 4 MB: {:.1} MB as operations, {:.1} MB as a function (the output included)",
        megabytes(kept(mish_of_operations, &x)?),
        megabytes(kept(mish, &x)?)
    );
    Ok(())
}
