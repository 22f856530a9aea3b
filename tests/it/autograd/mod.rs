//! Custom functions: what they promise, and what PyTorch's own do.

mod differentiating;
mod failing;
mod keeping;
mod operations;
mod pytorch;
mod threads;

use densenet::autograd::{BoxError, Context, Function};
use std::sync::Arc;
use tch::{Kind, Tensor};

type Grads = Result<Vec<Option<Tensor>>, BoxError>;
type Outputs = Result<Vec<Tensor>, BoxError>;

/// xⁿ, made of differentiable operations; `_alive` counts the applications that still exist.
struct Power {
    exponent: f64,
    _alive: Arc<()>,
}

impl Power {
    fn of(exponent: f64) -> Power {
        Power { exponent, _alive: Arc::new(()) }
    }
}

impl Function for Power {
    const NAME: &'static str = "Power";

    fn forward(&mut self, ctx: &mut Context, inputs: &[Tensor]) -> Outputs {
        ctx.save_for_backward(&[&inputs[0]]);
        Ok(vec![inputs[0].f_pow_tensor_scalar(self.exponent)?])
    }

    fn backward(&self, ctx: &Context, grads: &[Option<Tensor>]) -> Grads {
        let grad = grads[0].as_ref().expect("the only output");
        let slope = ctx.saved(0)?.f_pow_tensor_scalar(self.exponent - 1.)? * self.exponent;
        Ok(vec![Some(grad.f_mul(&slope)?)])
    }
}

/// eˣ, which saves its own output.
struct Exp {
    _alive: Arc<()>,
}

impl Exp {
    fn new() -> Exp {
        Exp { _alive: Arc::new(()) }
    }
}

impl Function for Exp {
    const NAME: &'static str = "Exp";

    fn forward(&mut self, ctx: &mut Context, inputs: &[Tensor]) -> Outputs {
        let output = inputs[0].f_exp()?;
        ctx.save_for_backward(&[&output]);
        Ok(vec![output])
    }

    fn backward(&self, ctx: &Context, grads: &[Option<Tensor>]) -> Grads {
        Ok(vec![Some(grads[0].as_ref().expect("the only output").f_mul(&ctx.saved(0)?)?)])
    }
}

/// A function made of two closures.
struct Made<F, B>(F, B);

impl<F, B> Function for Made<F, B>
where
    F: FnMut(&mut Context, &[Tensor]) -> Outputs + Send + 'static,
    B: Fn(&Context, &[Option<Tensor>]) -> Grads + Send + 'static,
{
    const NAME: &'static str = "Made";

    fn forward(&mut self, ctx: &mut Context, inputs: &[Tensor]) -> Outputs {
        self.0(ctx, inputs)
    }

    fn backward(&self, ctx: &Context, grads: &[Option<Tensor>]) -> Grads {
        self.1(ctx, grads)
    }
}

/// Lets closures be written without their types.
fn made<F, B>(forward: F, backward: B) -> Made<F, B>
where
    F: FnMut(&mut Context, &[Tensor]) -> Outputs + Send + 'static,
    B: Fn(&Context, &[Option<Tensor>]) -> Grads + Send + 'static,
{
    Made(forward, backward)
}

/// A leaf that takes a gradient.
fn leaf(values: &[f64]) -> Tensor {
    Tensor::from_slice(values).set_requires_grad(true)
}

fn values(tensor: &Tensor) -> Vec<f64> {
    Vec::<f64>::try_from(tensor.detach().to_kind(Kind::Double).flatten(0, -1)).unwrap()
}

/// The only output.
fn one(outputs: densenet::autograd::Result<Vec<Tensor>>) -> Tensor {
    let mut outputs = outputs.expect("apply works");
    assert_eq!(outputs.len(), 1);
    outputs.remove(0)
}
