//! What comes out: values, gradients, none, second derivatives.

use super::{leaf, made, one, values, Exp, Power};
use densenet::autograd::{apply, backward, grad, gradcheck, AutogradError, Options, Tolerance};
use densenet::autograd::{BoxError, Context, Function};
use std::sync::{Arc, Mutex};
use tch::{no_grad, Kind, Tensor};

#[test]
fn any_number_of_inputs_and_outputs_each_with_its_gradient() {
    // Σᵢ (i+1)·xᵢ and Πᵢ sign: 300 inputs, two outputs.
    const COUNT: usize = 300;
    let inputs: Vec<Tensor> = (0..COUNT).map(|i| leaf(&[i as f64, 1.])).collect();
    let weighted = made(
        |_, inputs| {
            let mut sums = vec![inputs[0].zeros_like(), inputs[0].zeros_like()];
            for (i, input) in inputs.iter().enumerate() {
                sums[i % 2] += input * (i + 1) as f64;
            }
            Ok(sums)
        },
        |ctx, grads| {
            assert_eq!(grads.len(), 2);
            Ok((0..COUNT)
                .map(|i| {
                    assert!(ctx.needs_input_grad(i));
                    grads[i % 2].as_ref().map(|grad| grad * (i + 1) as f64)
                })
                .collect())
        },
    );
    let outputs = apply(weighted, &inputs).unwrap();
    assert_eq!(outputs.len(), 2);
    backward(&(&outputs[0] * 10. + &outputs[1]).sum(Kind::Double)).unwrap();
    for (i, input) in inputs.iter().enumerate() {
        let want = (i + 1) as f64 * if i % 2 == 0 { 10. } else { 1. };
        assert_eq!(values(&input.grad()), [want, want], "input {i}");
    }
}

#[test]
fn an_output_the_loss_does_not_depend_on_comes_as_none_or_as_zeros_of_its_shape() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&seen);
    let split = made(
        |_, inputs| Ok(vec![&inputs[0] * 2., inputs[0].unsqueeze(0).repeat([3, 1]) * 5.]),
        move |ctx, grads| {
            let zeros = ctx.zeros_like_output(1)?;
            record.lock().unwrap().push((
                grads[1].is_none(),
                zeros.size(),
                zeros.kind(),
                values(&zeros.sum(Kind::Double))[0],
            ));
            Ok(vec![grads[0].as_ref().map(|grad| grad * 2.)])
        },
    );
    let x = leaf(&[1., 2.]);
    let outputs = apply(split, &[&x]).unwrap();
    backward(&outputs[0].sum(Kind::Double)).unwrap();
    assert_eq!(values(&x.grad()), [2., 2.]);
    assert_eq!(*seen.lock().unwrap(), [(true, vec![3, 2], Kind::Double, 0.)]);
}

#[test]
fn a_gradient_of_none_leaves_the_input_without_one() {
    let first_only = made(
        |_, inputs| Ok(vec![&inputs[0] + &inputs[1]]),
        |_, grads| Ok(vec![grads[0].as_ref().map(Tensor::shallow_clone), None]),
    );
    let (a, b) = (leaf(&[1.]), leaf(&[2.]));
    backward(&one(apply(first_only, &[&a, &b]))).unwrap();
    assert_eq!(values(&a.grad()), [1.]);
    assert!(!b.grad().defined());
}

#[test]
fn needs_input_grad_says_who_takes_one_and_in_backward_who_is_asked_for() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (forward_seen, backward_seen) = (Arc::clone(&seen), Arc::clone(&seen));
    let ask = |ctx: &Context| (0..4).map(|i| ctx.needs_input_grad(i)).collect::<Vec<_>>();
    let product = made(
        move |ctx, inputs| {
            assert!(ctx.is_recorded());
            forward_seen.lock().unwrap().push(ask(ctx));
            ctx.save_for_backward(&[&inputs[0], &inputs[1], &inputs[2]]);
            Ok(vec![&inputs[0] * &inputs[1] * &inputs[2]])
        },
        move |ctx, grads| {
            backward_seen.lock().unwrap().push(ask(ctx));
            let [a, b, c] = [0, 1, 2].map(|i| ctx.saved(i).unwrap());
            let grad = grads[0].as_ref().unwrap();
            Ok(vec![Some(grad * &b * &c), None, Some(grad * a * b)])
        },
    );
    let (a, frozen, c) = (leaf(&[2.]), Tensor::from_slice(&[3f64]), leaf(&[5.]));
    let y = one(apply(product, &[&a, &frozen, &c]));
    let only_c = grad(&[&y], &[&c], &[None], Options { retain_graph: true, ..Options::default() }).unwrap();
    assert_eq!(values(only_c[0].as_ref().unwrap()), [6.]);
    backward(&y).unwrap();
    assert_eq!((values(&a.grad()), values(&c.grad())), (vec![15.], vec![6.]));
    let seen = seen.lock().unwrap();
    assert_eq!(seen[0], [true, false, true, false], "forward, and an index past the inputs");
    assert_eq!(seen[1], [false, false, true, false], "grad by c alone");
    assert_eq!(seen[2], [true, false, true, false], "backward");
}

#[test]
fn nothing_is_recorded_without_gradients_or_where_no_input_takes_one() {
    for with_gradients in [false, true] {
        let alive = Arc::new(());
        let x = leaf(&[2.]).set_requires_grad(!with_gradients);
        let function = Power { exponent: 3., _alive: Arc::clone(&alive) };
        let y = if with_gradients { apply(function, &[&x]) } else { no_grad(|| apply(function, &[&x])) };
        let y = one(y);
        assert_eq!(values(&y), [8.]);
        assert!(!y.requires_grad());
        assert_eq!(Arc::strong_count(&alive), 1, "nothing keeps the function");
    }
}

#[test]
fn an_input_may_be_left_out() {
    let optional = made(
        |_, inputs| {
            assert!(!inputs[1].defined());
            Ok(vec![&inputs[0] * 3.])
        },
        |ctx, grads| {
            assert!(!ctx.needs_input_grad(1));
            Ok(vec![grads[0].as_ref().map(|grad| grad * 3.), None])
        },
    );
    let x = leaf(&[1.]);
    backward(&one(apply(optional, &[&x, &Tensor::new()]))).unwrap();
    assert_eq!(values(&x.grad()), [3.]);
}

#[test]
fn marked_outputs_and_integers_have_no_gradient() {
    let sorted = made(
        |ctx, inputs| {
            let (values, indices) = inputs[0].sort(0, false);
            let ranks = indices.to_kind(Kind::Double);
            ctx.mark_non_differentiable(&ranks);
            ctx.save_for_backward(&[&indices]);
            Ok(vec![values, ranks, indices])
        },
        |ctx, grads| {
            assert!(grads[1].is_none() && grads[2].is_none());
            let grad = grads[0].as_ref().unwrap();
            Ok(vec![Some(grad.zeros_like().index_put(&[Some(ctx.saved(0)?)], grad, false))])
        },
    );
    let x = leaf(&[3., 1., 2.]);
    let outputs = apply(sorted, &[&x]).unwrap();
    let requires: Vec<bool> = outputs.iter().map(Tensor::requires_grad).collect();
    assert_eq!(requires, [true, false, false]);
    backward(&(&outputs[0] * Tensor::from_slice(&[1f64, 10., 100.])).sum(Kind::Double)).unwrap();
    assert_eq!(values(&x.grad()), [100., 1., 10.]);
}

#[test]
fn an_input_returned_as_it_is_becomes_an_output_of_its_own() {
    let identity = made(
        |_, inputs| Ok(vec![inputs[0].shallow_clone()]),
        |_, grads| Ok(vec![grads[0].as_ref().map(|grad| grad * 7.)]),
    );
    let x = leaf(&[1., 2.]);
    let y = one(apply(identity, &[&x]));
    assert!(x.is_leaf() && !y.is_leaf());
    backward(&y.sum(Kind::Double)).unwrap();
    assert_eq!(values(&x.grad()), [7., 7.], "through the function, not around it");
}

#[test]
fn gradients_pass_finite_differences_first_and_second() {
    let x = leaf(&[0.7, 1.3, -0.4]);
    let inputs = [x];
    type Step = fn(&Tensor) -> densenet::autograd::Result<Tensor>;
    let functions: [(&str, Step); 2] = [
        ("cube", |x| Ok(apply(Power::of(3.), &[x])?.remove(0))),
        ("exp", |x| Ok(apply(Exp::new(), &[x])?.remove(0))),
    ];
    for (name, function) in functions {
        gradcheck(|inputs| Ok(vec![function(&inputs[0])?]), &inputs, Tolerance::default())
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let first_derivative = |inputs: &[Tensor]| {
            let x = if inputs[0].requires_grad() {
                inputs[0].shallow_clone()
            } else {
                inputs[0].copy().set_requires_grad(true)
            };
            tch::with_grad(|| {
                let y = function(&x)?;
                let ones = y.ones_like();
                let options = Options { create_graph: true, ..Options::default() };
                let gradients = grad(&[&y], &[&x], &[Some(&ones)], options)?;
                Ok(gradients.into_iter().map(Option::unwrap).collect())
            })
        };
        gradcheck(first_derivative, &inputs, Tolerance::default())
            .unwrap_or_else(|error| panic!("{name}, second derivative: {error}"));
    }
}

#[test]
fn gradcheck_names_the_element_of_a_wrong_gradient() {
    let wrong = |inputs: &[Tensor]| {
        apply(
            made(
                |_, inputs| Ok(vec![&inputs[0] * &inputs[1]]),
                |_, grads| {
                    // Right by the first input (all ones) at the values below, wrong in one element by the second.
                    let grad = grads[0].as_ref().unwrap();
                    Ok(vec![Some(grad.shallow_clone()), Some(grad * Tensor::from_slice(&[3f64, 4.5]))])
                },
            ),
            inputs,
        )
    };
    let inputs = [leaf(&[3., 4.]), leaf(&[1., 1.])];
    match gradcheck(wrong, &inputs, Tolerance::default()) {
        Err(AutogradError::WrongGradient {
            output: 0,
            input: 1,
            output_element: 1,
            input_element: 1,
            analytic,
            numeric,
        }) => {
            assert_eq!(analytic, 4.5);
            assert!((numeric - 4.).abs() < 1e-6);
        }
        other => panic!("{other:?}"),
    }
    let single = [leaf(&[1.]).to_kind(Kind::Float).detach().set_requires_grad(true)];
    let refused = gradcheck(|inputs| Ok(vec![inputs[0].shallow_clone()]), &single, Tolerance::default());
    assert!(matches!(refused, Err(AutogradError::NotCheckable { index: 0, .. })), "f32");
    let constant = [Tensor::from_slice(&[1f64])];
    let refused = gradcheck(|inputs| Ok(vec![inputs[0].shallow_clone()]), &constant, Tolerance::default());
    assert!(matches!(refused, Err(AutogradError::NotCheckable { .. })), "nothing to check");
}

/// As `Power` with exponent 2, in an operation that no second derivative can see through.
struct Once;

impl Function for Once {
    const NAME: &'static str = "Once";
    const TWICE_DIFFERENTIABLE: bool = false;

    fn forward(&mut self, ctx: &mut Context, inputs: &[Tensor]) -> Result<Vec<Tensor>, BoxError> {
        ctx.save_for_backward(&[&inputs[0]]);
        Ok(vec![&inputs[0] * &inputs[0]])
    }

    fn backward(&self, ctx: &Context, grads: &[Option<Tensor>]) -> Result<Vec<Option<Tensor>>, BoxError> {
        assert!(!ctx.create_graph(), "runs without recording");
        Ok(vec![Some(ctx.saved(0)? * 2. * grads[0].as_ref().unwrap())])
    }
}

#[test]
fn a_function_that_is_differentiable_once_says_so_when_it_is_differentiated_twice() {
    let x = leaf(&[3.]);
    let options = Options { create_graph: true, ..Options::default() };
    // The loss is linear in the function: the gradient that reaches it is a constant, and must not make its own one.
    let y = one(apply(Once, &[&x]));
    let first = grad(&[&y], &[&x], &[None], options).unwrap().remove(0).unwrap();
    assert_eq!(values(&first), [6.], "the first derivative is there");
    let second = grad(&[&first], &[&x], &[None], Options::default());
    assert!(matches!(second, Err(AutogradError::DifferentiatedTwice { function: "Once" })), "{second:?}");
    // Beside another path: an error, not the other path's part alone.
    let penalty = &first * &first + &x * 5.;
    let second = backward(&penalty);
    assert!(matches!(second, Err(AutogradError::DifferentiatedTwice { function: "Once" })), "{second:?}");
    assert!(!x.grad().defined(), "no half of a gradient");
    // Without a second derivative, create_graph does no harm.
    let y = one(apply(Once, &[&x]));
    drop(grad(&[&y], &[&x], &[None], options).unwrap());
    backward(&y).unwrap();
    assert_eq!(values(&x.grad()), [6.]);
}

#[test]
fn second_and_third_derivatives_are_the_power_rules() {
    let x = leaf(&[2.]);
    let options = Options { create_graph: true, ..Options::default() };
    let mut value = one(apply(Power::of(4.), &[&x]));
    for want in [32., 48., 48.] {
        value = grad(&[&value], &[&x], &[None], options).unwrap().remove(0).unwrap();
        assert_eq!(values(&value), [want]);
    }
    // Through a saved output.
    let mut value = one(apply(Exp::new(), &[&x]));
    for _ in 0..3 {
        value = grad(&[&value], &[&x], &[None], options).unwrap().remove(0).unwrap();
        assert_eq!(values(&value), [2f64.exp()]);
    }
}
