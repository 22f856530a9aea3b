//! The same functions in `torch.autograd.Function`, and the same facts found out about both.

use super::{leaf, made, one, values, Exp, Outputs};
use crate::oracle::ask;
use densenet::autograd::{
    apply, backward, grad, run_backward, AutogradError, BoxError, Context, Function, Options,
};
use serde_json::{json, Value};
use std::sync::{Arc, Mutex};
use tch::{no_grad, Kind, Tensor};

/// The words PyTorch uses for the same refusal.
fn raised(result: densenet::autograd::Result<()>) -> Value {
    match result {
        Ok(()) => Value::Null,
        Err(AutogradError::SavedTensorChanged { .. }) => json!("modified by an inplace"),
        Err(AutogradError::Released { .. }) => json!("second time"),
        Err(AutogradError::DifferentiatedTwice { .. }) => json!("once_differentiable"),
        Err(_) => json!(""),
    }
}

/// a·b·c, and a comparison; tells what its backward is asked for.
struct Product(Arc<Mutex<Vec<Value>>>);

impl Function for Product {
    const NAME: &'static str = "Product";

    fn forward(&mut self, ctx: &mut Context, inputs: &[Tensor]) -> Outputs {
        let [a, b, c] = inputs else { return Err("three inputs".into()) };
        ctx.save_for_backward(&[a, b, c]);
        let larger = a.gt_tensor(b).to_kind(Kind::Double);
        ctx.mark_non_differentiable(&larger);
        Ok(vec![a * b * c, larger, a.copy()])
    }

    fn backward(&self, ctx: &Context, grads: &[Option<Tensor>]) -> Result<Vec<Option<Tensor>>, BoxError> {
        let saved = ctx.saved_tensors()?;
        let [a, b, c] = &saved[..] else { return Err("three tensors".into()) };
        let needs: Vec<bool> = (0..3).map(|i| ctx.needs_input_grad(i)).collect();
        self.0.lock().unwrap().push(json!([needs, grads[1].is_none(), grads[2].is_none()]));
        let grad = grads[0].as_ref().unwrap();
        Ok(vec![Some(grad * b * c), Some(grad * a * c), None])
    }
}

struct Once;

impl Function for Once {
    const NAME: &'static str = "Once";
    const TWICE_DIFFERENTIABLE: bool = false;

    fn forward(&mut self, ctx: &mut Context, inputs: &[Tensor]) -> Outputs {
        ctx.save_for_backward(&[&inputs[0]]);
        Ok(vec![&inputs[0] * &inputs[0]])
    }

    fn backward(&self, ctx: &Context, grads: &[Option<Tensor>]) -> Result<Vec<Option<Tensor>>, BoxError> {
        Ok(vec![Some(ctx.saved(0)? * 2. * grads[0].as_ref().unwrap())])
    }
}

fn itself(x: &Tensor) -> Tensor {
    let function = made(
        |_, inputs| Ok(vec![inputs[0].shallow_clone()]),
        |_, grads| Ok(vec![grads[0].as_ref().map(|grad| grad * 7.)]),
    );
    one(apply(function, &[x]))
}

fn exp(x: &Tensor) -> Tensor {
    one(apply(Exp::new(), &[x]))
}

fn grad_of(tensor: &Tensor) -> Value {
    let grad = tensor.grad();
    if grad.defined() {
        json!(values(&grad))
    } else {
        Value::Null
    }
}

fn our_facts() -> Value {
    let mut facts = json!({});
    let total = |x: &Tensor| x.sum(Kind::Double);
    let create_graph = Options { create_graph: true, ..Options::default() };
    let by = |y: &Tensor, x: &Tensor| grad(&[y], &[x], &[None], create_graph).unwrap().remove(0).unwrap();

    let asked = Arc::default();
    let (a, b, c) = (leaf(&[2., 3.]), Tensor::from_slice(&[5f64, 1.]), leaf(&[7., 11.]));
    let outputs = apply(Product(Arc::clone(&asked)), &[&a, &b, &c]).unwrap();
    let (product, larger) = (&outputs[0], &outputs[1]);
    facts["requires_grad"] = json!([product.requires_grad(), larger.requires_grad()]);
    facts["is_leaf"] = json!([product.is_leaf(), larger.is_leaf()]);
    run_backward(&[total(product)], &[None], Options { retain_graph: true, ..Options::default() }).unwrap();
    backward(&total(product)).unwrap();
    facts["asked"] = json!(*asked.lock().unwrap());
    facts["grads"] = json!([values(&a.grad()), grad_of(&b), grad_of(&c)]);
    facts["third_backward"] = raised(backward(&total(product)));

    let x = leaf(&[0.5, -1.5]);
    let y = exp(&x);
    let first = by(&total(&y), &x);
    let second = by(&total(&(&first * &first)), &x);
    facts["exp"] = json!([values(&y), values(&first), values(&second)]);

    let x = leaf(&[3.]);
    let first = by(&one(apply(Once, &[&x])).square(), &x);
    facts["once"] = json!([values(&first), raised(backward(&first))]);

    let mut y = exp(&(leaf(&[1., 2.]) * 1.));
    y *= 2.;
    facts["changed_output"] = raised(backward(&total(&y)));

    let x = leaf(&[1.]);
    let y = itself(&x);
    backward(&y).unwrap();
    facts["itself"] = json!([x.is_leaf(), y.is_leaf(), values(&x.grad())]);

    let y = no_grad(|| exp(&leaf(&[1.])));
    facts["no_grad"] = json!([y.requires_grad(), y.is_leaf()]);

    let view = itself(&leaf(&[1., 2., 3.]).narrow(0, 1, 2));
    facts["view"] = json!([values(&view), view.requires_grad()]);
    facts
}

#[test]
fn our_functions_behave_as_torch_autograd_function_does() {
    let theirs = ask("autograd_facts", json!({}));
    let ours = our_facts();
    for (fact, want) in theirs.as_object().unwrap() {
        assert_eq!(&ours[fact], want, "{fact}");
    }
    assert_eq!(ours.as_object().unwrap().len(), theirs.as_object().unwrap().len());
}
