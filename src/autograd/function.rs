//! The trait, and how libtorch's engine reaches it.

use super::context::Context;
use super::error::{self, AutogradError, BoxError, Pass};
use super::ffi::{self, Callbacks, Fault, Name, Raised};
use std::borrow::Borrow;
use std::ffi::c_void;
use std::ptr;
use tch::Tensor;
use torch_sys::C_tensor;

/// An operation with a gradient of its own. torch: `torch.autograd.Function`.
///
/// A value of the type is one application: its fields are the arguments that are no tensors, and whatever else forward
/// leaves there for backward. Tensors belong into [`Context::save_for_backward`]: in a field, a change to them goes
/// unnoticed, and an output there would keep itself alive for ever.
///
/// ```
/// use densenet::autograd::{apply, BoxError, Context, Function};
/// use densenet::tch::{Kind, Tensor};
///
/// /// x ↦ xⁿ
/// struct Power {
///     exponent: f64,
/// }
///
/// impl Function for Power {
///     const NAME: &'static str = "Power";
///
///     fn forward(&mut self, ctx: &mut Context, inputs: &[Tensor]) -> Result<Vec<Tensor>, BoxError> {
///         ctx.save_for_backward(&[&inputs[0]]);
///         Ok(vec![inputs[0].f_pow_tensor_scalar(self.exponent)?])
///     }
///
///     fn backward(&self, ctx: &Context, grads: &[Option<Tensor>]) -> Result<Vec<Option<Tensor>>, BoxError> {
///         let Some(grad) = &grads[0] else { return Ok(vec![None]) };
///         let slope = ctx.saved(0)?.f_pow_tensor_scalar(self.exponent - 1.)? * self.exponent;
///         Ok(vec![Some(grad.f_mul(&slope)?)])
///     }
/// }
///
/// let x = Tensor::from_slice(&[3f64]).set_requires_grad(true);
/// let y = apply(Power { exponent: 2. }, &[&x])?.remove(0);
/// densenet::autograd::backward(&y)?;
/// assert_eq!(x.grad().double_value(&[0]), 6.);
/// # Ok::<(), densenet::autograd::AutogradError>(())
/// ```
pub trait Function: Send + 'static {
    /// What errors call it.
    const NAME: &'static str;

    /// Whether [`backward`](Self::backward) is made of differentiable operations on its gradients and on saved inputs
    /// and outputs, so that it can be differentiated in turn. Where it is false, backward runs without recording and a
    /// second derivative is [`AutogradError::DifferentiatedTwice`]. torch: `once_differentiable`.
    const TWICE_DIFFERENTIABLE: bool = true;

    /// From the inputs of [`apply`] to its outputs, with gradients off. Must not change an input that takes a gradient.
    ///
    /// # Errors
    /// Anything; `apply` returns it as [`AutogradError::Failed`], a panic as [`AutogradError::Panicked`].
    fn forward(&mut self, ctx: &mut Context, inputs: &[Tensor]) -> Result<Vec<Tensor>, BoxError>;

    /// From the gradient of each output (`None`: the loss does not depend on it) to that of each input: `None` where
    /// there is none or [`Context::needs_input_grad`] is false. Must leave its arguments as they are.
    ///
    /// Runs on whatever thread autograd uses, once for each pass over the graph, never twice at once.
    ///
    /// # Errors
    /// Anything; [`super::backward`] and [`super::grad`] return it as [`AutogradError::Failed`], a panic as
    /// [`AutogradError::Panicked`]; tch's own `backward` has its words.
    fn backward(&self, ctx: &Context, grads: &[Option<Tensor>]) -> Result<Vec<Option<Tensor>>, BoxError>;
}

/// Applies `function` to any number of tensors. An undefined tensor stands for an input left out.
///
/// # Errors
/// What [`Function::forward`] returns or panics with; [`AutogradError::InputChanged`],
/// [`AutogradError::RepeatedOutput`], [`AutogradError::NotAnOutput`]; libtorch's own.
pub fn apply<F: Function, T: Borrow<Tensor>>(mut function: F, inputs: &[T]) -> error::Result<Vec<Tensor>> {
    let inputs: Vec<Tensor> = inputs.iter().map(|input| input.borrow().shallow_clone()).collect();
    let input_pointers = ffi::pointers(inputs.iter().map(Some));
    let node = Node::begin(F::NAME, !F::TWICE_DIFFERENTIABLE, &callbacks::<F>(), &input_pointers)?;
    // SAFETY: null or a node that lives until `finish`, after the context's last use.
    let mut ctx = unsafe { Context::new(F::NAME, node.0, false) };
    let outputs = ffi::guard(F::NAME, Pass::Forward, || {
        let _guard = tch::no_grad_guard();
        function.forward(&mut ctx, &inputs).map_err(|error| failed(F::NAME, Pass::Forward, error))
    })?;
    let state = if node.0.is_null() { ptr::null_mut() } else { Box::into_raw(Box::new(function)).cast() };
    node.finish(F::NAME, state, &input_pointers, &outputs, &ctx)
}

fn callbacks<F: Function>() -> Callbacks {
    Callbacks {
        backward: backward::<F>,
        differentiated_twice,
        reentered,
        drop_state: drop_state::<F>,
        drop_error: ffi::drop_error,
    }
}

/// A `RustNode` that is ours until [`finish`](Self::finish), or null.
struct Node(*mut c_void);

impl Node {
    fn begin(
        function: &'static str,
        once: bool,
        callbacks: &Callbacks,
        inputs: &[*mut C_tensor],
    ) -> error::Result<Node> {
        let mut node = ptr::null_mut();
        // SAFETY: the pointers are of live tensors (or null) and the shim copies them; it copies `callbacks` too.
        ffi::call(|failure| unsafe {
            let name = Name::of(function);
            ffi::dn_node_begin(name, once, callbacks, inputs.as_ptr(), inputs.len(), &mut node, failure)
        })
        .map_err(Fault::plain)?;
        Ok(Node(node))
    }

    /// `state` is null where the node is, else a leaked box of the type that the node's callbacks are for.
    fn finish(
        self,
        function: &'static str,
        state: *mut c_void,
        inputs: &[*mut C_tensor],
        outputs: &[Tensor],
        ctx: &Context,
    ) -> error::Result<Vec<Tensor>> {
        let node = std::mem::ManuallyDrop::new(self).0;
        let outputs = ffi::pointers(outputs.iter().map(Some));
        let constants = ffi::pointers(ctx.constants.iter().map(Some));
        let saved = ffi::pointers(ctx.saved.iter().map(Some));
        let mut results = vec![ptr::null_mut(); outputs.len()];
        // SAFETY: all pointers are of live tensors, and the shim copies the tensors; it takes `node` and `state` whatever
        // happens (we gave `node` up above), and fills `results` with tensors that are ours, all of them or none.
        let results = unsafe {
            ffi::call(|failure| {
                ffi::dn_node_finish(
                    node,
                    state,
                    inputs.as_ptr(),
                    inputs.len(),
                    outputs.as_ptr(),
                    outputs.len(),
                    constants.as_ptr(),
                    constants.len(),
                    saved.as_ptr(),
                    saved.len(),
                    results.as_mut_ptr(),
                    failure,
                )
            })
            .map(|()| ffi::taken(results))
        };
        match results {
            Ok(results) => Ok(results.into_iter().map(Option::unwrap_or_default).collect()),
            Err(Fault::InputChanged { index }) => Err(AutogradError::InputChanged { function, index }),
            Err(Fault::NotAnOutput { index }) => Err(AutogradError::NotAnOutput { function, index }),
            Err(Fault::RepeatedOutput { index }) => Err(AutogradError::RepeatedOutput { function, index }),
            Err(fault) => Err(fault.plain()),
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: a node from dn_node_begin that was not finished, given back once. Nothing is left to do with a
            // failure to free it.
            let _ = ffi::call(|failure| unsafe { ffi::dn_node_discard(self.0, failure) });
        }
    }
}

/// Errors of the context keep their type on the way through a function's `?`.
pub(super) fn failed(function: &'static str, pass: Pass, source: BoxError) -> AutogradError {
    match source.downcast::<AutogradError>() {
        Ok(own) => match *own {
            error @ (AutogradError::SavedTensorChanged { .. }
            | AutogradError::Released { .. }
            | AutogradError::NoSuchSavedTensor { .. }) => error,
            other => AutogradError::Failed { function, pass, source: other.into() },
        },
        Err(source) => AutogradError::Failed { function, pass, source },
    }
}

/// What a node's backward calls, with the box that [`apply`] leaked.
unsafe extern "C" fn backward<F: Function>(
    state: *mut c_void,
    node: *mut c_void,
    grads: *const *mut C_tensor,
    grad_count: usize,
    out: *mut *mut C_tensor,
    out_count: usize,
) -> Raised {
    // SAFETY: the shim passes `grad_count` pointers, null or tensors that it hands over.
    let grads = unsafe { ffi::taken((0..grad_count).map(|i| *grads.add(i)).collect()) };
    let results = ffi::guard(F::NAME, Pass::Backward, || {
        // SAFETY: `state` is the box of an F, alive as long as the node, which is running; the node's mutex keeps other
        // threads away from it (F need not be Sync).
        let function = unsafe { &*state.cast::<F>() };
        // SAFETY: the node is running its backward on this thread, and the context ends before it does.
        let ctx = unsafe { Context::new(F::NAME, node, true) };
        let results =
            function.backward(&ctx, &grads).map_err(|error| failed(F::NAME, Pass::Backward, error))?;
        if results.len() != out_count {
            return Err(AutogradError::GradientCount {
                function: F::NAME,
                got: results.len(),
                expected: out_count,
            });
        }
        Ok(results)
    });
    ffi::dropped(grads);
    match results {
        Ok(results) => {
            for (i, result) in results.into_iter().enumerate() {
                let pointer = result.map_or(ptr::null_mut(), ffi::given);
                // SAFETY: `out` has `out_count` places, and `i` is below it; the shim frees what is written.
                unsafe { *out.add(i) = pointer };
            }
            Raised::NONE
        }
        Err(error) => ffi::raise(error),
    }
}

unsafe extern "C" fn differentiated_twice(function: Name) -> Raised {
    // SAFETY: the shim gives back the name that `Node::begin` gave it.
    ffi::raise(AutogradError::DifferentiatedTwice { function: unsafe { function.get() } })
}

unsafe extern "C" fn reentered(function: Name) -> Raised {
    // SAFETY: the shim gives back the name that `Node::begin` gave it.
    ffi::raise(AutogradError::Reentered { function: unsafe { function.get() } })
}

unsafe extern "C" fn drop_state<F: Function>(state: *mut c_void) {
    // SAFETY: the box that `apply` leaked, given back once, when the node is done with. F is Send: any thread may be last.
    ffi::dropped(unsafe { Box::from_raw(state.cast::<F>()) });
}
