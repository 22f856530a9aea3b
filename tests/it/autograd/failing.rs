//! Errors and panics: they come back typed, and the process goes on.

use super::{leaf, made, one, values, Exp, Power};
use densenet::autograd::{apply, backward, run_backward, AutogradError, Options, Pass};
use std::error::Error;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Arc;
use tch::Tensor;

#[derive(Debug, PartialEq, thiserror::Error)]
#[error("number {0}")]
struct Numbered(i32);

/// The user's own error, back as it was.
fn own_error(error: &AutogradError, in_pass: Pass) -> &Numbered {
    let AutogradError::Failed { function: "Made", pass, source } = error else { panic!("{error:?}") };
    assert_eq!(*pass, in_pass);
    source.downcast_ref::<Numbered>().expect("the error that was returned")
}

fn identity() -> Vec<Option<Tensor>> {
    vec![None]
}

#[test]
fn an_error_or_panic_in_forward_comes_back_from_apply() {
    let x = leaf(&[1.]);
    let fails = made(|_, _| Err(Numbered(7).into()), |_, _| Ok(identity()));
    assert_eq!(own_error(&apply(fails, &[&x]).unwrap_err(), Pass::Forward), &Numbered(7));
    let panics = made(|_, _| panic!("over {}", 9), |_, _| Ok(identity()));
    match apply(panics, &[&x]) {
        Err(AutogradError::Panicked { function: "Made", pass: Pass::Forward, message }) => {
            assert_eq!(message, "over 9")
        }
        other => panic!("{other:?}"),
    }
    // libtorch's error in forward is the function's, with libtorch's words behind it.
    let shapes =
        made(|_, inputs| Ok(vec![inputs[0].f_matmul(&inputs[0].unsqueeze(0))?]), |_, _| Ok(identity()));
    let error = apply(shapes, &[&x.reshape([1, 1]).repeat([2, 3])]).unwrap_err();
    assert!(matches!(error, AutogradError::Failed { pass: Pass::Forward, .. }), "{error:?}");
    assert!(error.source().unwrap().to_string().contains("mat"), "{error:?}");
    assert!(
        x.requires_grad() && tch::Tensor::from(1f32).set_requires_grad(true).square().requires_grad(),
        "gradients are on again"
    );
}

#[test]
fn an_error_in_backward_comes_back_from_backward_as_it_was() {
    let x = leaf(&[1.]);
    let fails = made(|_, inputs| Ok(vec![&inputs[0] * 2.]), |_, _| Err(Numbered(8).into()));
    let y = one(apply(fails, &[&x])) * 3.;
    let error = backward(&y).unwrap_err();
    assert_eq!(own_error(&error, Pass::Backward), &Numbered(8));
    assert!(!x.grad().defined());
    // The engine is as before.
    backward(&one(apply(Power::of(2.), &[&x]))).unwrap();
    assert_eq!(values(&x.grad()), [2.]);
}

#[test]
fn a_panic_in_backward_comes_back_from_backward_with_its_words() {
    let x = leaf(&[1.]);
    let panics = made(|_, inputs| Ok(vec![&inputs[0] * 2.]), |_, _| panic!("under {}", 3));
    match backward(&one(apply(panics, &[&x]))) {
        Err(AutogradError::Panicked { function: "Made", pass: Pass::Backward, message }) => {
            assert_eq!(message, "under 3")
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_panic_whose_payload_panics_when_dropped_does_no_harm() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("the payload's own");
        }
    }
    let x = leaf(&[1.]);
    let panics = made(|_, inputs| Ok(vec![&inputs[0] * 2.]), |_, _| std::panic::panic_any(Bomb));
    let result = backward(&one(apply(panics, &[&x])));
    assert!(matches!(result, Err(AutogradError::Panicked { pass: Pass::Backward, .. })), "{result:?}");
    // A function that panics when the graph frees it.
    let bomb = Bomb;
    let armed = made(
        |_, inputs| Ok(vec![&inputs[0] * 2.]),
        move |_, _| {
            let _ = &bomb;
            Ok(vec![None])
        },
    );
    drop(apply(armed, &[&x]).unwrap());
}

#[test]
fn tchs_own_backward_fails_with_the_functions_words() {
    let x = leaf(&[1.]);
    let fails = made(|_, inputs| Ok(vec![&inputs[0] * 2.]), |_, _| Err(Numbered(8).into()));
    let y = one(apply(fails, &[&x]));
    let error = Tensor::f_run_backward(&[&y], &[&x], false, false).unwrap_err();
    assert!(error.to_string().contains("Made: backward failed: number 8"), "{error}");
    let panics = made(|_, inputs| Ok(vec![&inputs[0] * 2.]), |_, _| panic!("under {}", 3));
    let y = one(apply(panics, &[&x]));
    let payload = catch_unwind(AssertUnwindSafe(|| y.backward())).unwrap_err();
    let message = payload.downcast_ref::<String>().expect("tch panics with its error");
    assert!(message.contains("Made: backward panicked: under 3"), "{message}");
}

#[test]
fn a_saved_input_or_output_that_is_changed_in_place_is_an_error_in_backward() {
    // An input that is no leaf, so that it may be changed.
    let x = leaf(&[2.]);
    let mut input = &x * 1.;
    let y = one(apply(Power::of(2.), &[&input]));
    input += 1.;
    match backward(&y) {
        Err(AutogradError::SavedTensorChanged { function: "Power", index: 0, saved: 0, now: 1 }) => (),
        other => panic!("{other:?}"),
    }
    let mut output = one(apply(Exp::new(), &[&x]));
    output *= 2.;
    let error = backward(&output).unwrap_err();
    assert!(
        matches!(error, AutogradError::SavedTensorChanged { function: "Exp", index: 0, .. }),
        "{error:?}"
    );
    assert!(error.to_string().contains("changed in place"), "{error}");
    // Through a view.
    let input = &x * 1.;
    let y = one(apply(Power::of(2.), &[&input]));
    let _ = input.view([1]).fill_(9.);
    assert!(matches!(backward(&y), Err(AutogradError::SavedTensorChanged { index: 0, .. })));
}

#[test]
fn a_saved_tensor_that_is_not_changed_is_not_an_error_however_often_the_others_are() {
    let x = leaf(&[2.]);
    let mut input = &x * 1.;
    input += 1.;
    let y = one(apply(Power::of(2.), &[&input]));
    let mut doubled = &y * 1.;
    doubled *= 2.;
    backward(&doubled).unwrap();
    assert_eq!(values(&x.grad()), [12.]);
}

#[test]
fn a_second_backward_needs_retain_graph() {
    let x = leaf(&[3.]);
    let y = one(apply(Power::of(2.), &[&x]));
    let retain = Options { retain_graph: true, ..Options::default() };
    run_backward(&[&y], &[None], retain).unwrap();
    backward(&y).unwrap();
    assert_eq!(values(&x.grad()), [12.], "both passes");
    let error = backward(&y).unwrap_err();
    assert!(matches!(error, AutogradError::Released { function: "Power" }), "{error:?}");
    assert!(error.to_string().contains("retain_graph"));
    assert_eq!(values(&x.grad()), [12.]);
    // A function that saved nothing has nothing to miss, as in PyTorch.
    let double = made(
        |_, inputs| Ok(vec![&inputs[0] * 2.]),
        |_, grads| Ok(vec![grads[0].as_ref().map(|grad| grad * 2.)]),
    );
    let y = one(apply(double, &[&x]));
    backward(&y).unwrap();
    backward(&y).unwrap();
    assert_eq!(values(&x.grad()), [16.]);
}

#[test]
fn gradients_of_the_wrong_number_shape_or_index_are_refused() {
    let x = leaf(&[1., 2.]);
    let two = made(|_, inputs| Ok(vec![&inputs[0] * 2.]), |_, _| Ok(vec![None, None]));
    let result = backward(&one(apply(two, &[&x])).sum(tch::Kind::Double));
    assert!(
        matches!(result, Err(AutogradError::GradientCount { function: "Made", got: 2, expected: 1 })),
        "{result:?}"
    );
    let shape = made(
        |_, inputs| Ok(vec![&inputs[0] * 2.]),
        |_, _| Ok(vec![Some(Tensor::from_slice(&[1f64, 2., 3.]))]),
    );
    let error = backward(&one(apply(shape, &[&x])).sum(tch::Kind::Double)).unwrap_err();
    assert!(
        matches!(&error, AutogradError::Torch { message } if message.contains("MadeBackward")),
        "{error:?}"
    );
    let index = made(
        |ctx, inputs| {
            ctx.save_for_backward(&[&inputs[0]]);
            Ok(vec![&inputs[0] * 2.])
        },
        |ctx, _| Ok(vec![Some(ctx.saved(1)?)]),
    );
    let result = backward(&one(apply(index, &[&x])).sum(tch::Kind::Double));
    assert!(matches!(result, Err(AutogradError::NoSuchSavedTensor { index: 1, count: 1, .. })), "{result:?}");
    let y = &x * 2.;
    let result = run_backward(&[&y], &[], Options::default());
    assert!(matches!(result, Err(AutogradError::Torch { .. })), "{result:?}");
}

#[test]
fn forward_may_not_change_an_input_repeat_an_output_or_mark_another_tensor() {
    let x = leaf(&[1., 2.]);
    let input = &x * 1.;
    let in_place = made(|_, inputs| Ok(vec![inputs[0].shallow_clone().relu_() * 2.]), |_, _| Ok(vec![None]));
    let result = apply(in_place, &[&input]);
    assert!(matches!(result, Err(AutogradError::InputChanged { function: "Made", index: 0 })), "{result:?}");
    // One that takes no gradient is nobody's business.
    let buffer = Tensor::from_slice(&[1f64]);
    let counting = made(
        |_, inputs| {
            let _ = inputs[1].shallow_clone().f_add_scalar_(1.)?;
            Ok(vec![&inputs[0] * 2.])
        },
        |_, _| Ok(vec![None, None]),
    );
    apply(counting, &[&x, &buffer]).unwrap();
    assert_eq!(values(&buffer), [2.]);
    let twice = made(
        |_, inputs| {
            let output = &inputs[0] * 2.;
            Ok(vec![output.shallow_clone(), output])
        },
        |_, _| Ok(vec![None]),
    );
    let result = apply(twice, &[&x]);
    assert!(matches!(result, Err(AutogradError::RepeatedOutput { index: 1, .. })), "{result:?}");
    let marks = made(
        |ctx, inputs| {
            ctx.mark_non_differentiable(&inputs[0]);
            Ok(vec![&inputs[0] * 2.])
        },
        |_, _| Ok(vec![None]),
    );
    let result = apply(marks, &[&x]);
    assert!(matches!(result, Err(AutogradError::NotAnOutput { index: 0, .. })), "{result:?}");
}

#[test]
fn an_error_in_a_backward_inside_a_backward_keeps_its_way() {
    let nested = made(
        |_, inputs| Ok(vec![&inputs[0] * 2.]),
        |_, _| {
            let inner = leaf(&[1.]);
            let fails = made(|_, inputs| Ok(vec![&inputs[0] * 2.]), |_, _| Err(Numbered(5).into()));
            tch::with_grad(|| backward(&one(apply(fails, &[&inner]))))?;
            Ok(vec![None])
        },
    );
    let error = backward(&one(apply(nested, &[&leaf(&[1.])]))).unwrap_err();
    let AutogradError::Failed { pass: Pass::Backward, source, .. } = &error else { panic!("{error:?}") };
    let inner = source.downcast_ref::<AutogradError>().expect("the inner error");
    assert_eq!(own_error(inner, Pass::Backward), &Numbered(5));
}

#[test]
fn a_backward_that_comes_back_to_its_own_node_is_an_error_and_no_deadlock() {
    let x = leaf(&[2.]);
    let itself: Arc<std::sync::Mutex<Option<Tensor>>> = Arc::default();
    let own_output = Arc::clone(&itself);
    let circular = made(
        |_, inputs| Ok(vec![&inputs[0] * 2.]),
        move |_, _| {
            let output = own_output.lock().unwrap().as_ref().map(Tensor::shallow_clone);
            backward(&output.expect("put there below"))?;
            Ok(vec![None])
        },
    );
    let y = one(apply(circular, &[&x]));
    *itself.lock().unwrap() = Some(y.shallow_clone());
    let error =
        run_backward(&[&y], &[None], Options { retain_graph: true, ..Options::default() }).unwrap_err();
    *itself.lock().unwrap() = None;
    let AutogradError::Failed { source, .. } = &error else { panic!("{error:?}") };
    assert!(
        matches!(source.downcast_ref(), Some(AutogradError::Reentered { function: "Made" })),
        "{error:?}"
    );
}
