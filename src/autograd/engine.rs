//! Going backward, with typed errors.

use super::error::Result;
use super::ffi::{self, Fault};
use std::borrow::Borrow;
use std::ptr;
use tch::Tensor;

/// What a backward pass leaves behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// Keeps the graph's saved tensors, for another pass over it.
    pub retain_graph: bool,
    /// Records the pass itself, for second derivatives; also keeps the graph.
    pub create_graph: bool,
    /// For [`grad`]: an input that the outputs do not depend on has no gradient, instead of being an error.
    pub allow_unused: bool,
}

/// Adds the gradient of a scalar to the `grad` of every leaf it depends on. torch: `loss.backward()`.
///
/// As `Tensor::backward` of tch, but what a [`Function`](super::Function) fails with comes back as it was.
///
/// # Errors
/// A function's own; [`AutogradError::Torch`](super::AutogradError::Torch) for libtorch's.
pub fn backward(loss: &Tensor) -> Result<()> {
    run_backward(&[loss], &[None], Options::default())
}

/// Adds to the `grad` of every leaf what `grads`, the gradients of some loss by `outputs`, make of it; `None` is 1 for a
/// scalar. torch: `torch.autograd.backward`.
///
/// # Errors
/// Those of [`backward`]; also where the two slices differ in length.
pub fn run_backward<T: Borrow<Tensor>>(
    outputs: &[T],
    grads: &[Option<&Tensor>],
    options: Options,
) -> Result<()> {
    let outputs = outputs_and(outputs, grads)?;
    let grads = ffi::pointers(grads.iter().copied());
    let Options { retain_graph, create_graph, .. } = options;
    let retain_graph = retain_graph || create_graph;
    // SAFETY: both lists have `outputs.len()` pointers to live tensors (or null), which the shim copies.
    ffi::call(|failure| unsafe {
        ffi::dn_backward(outputs.as_ptr(), grads.as_ptr(), outputs.len(), retain_graph, create_graph, failure)
    })
    .map_err(Fault::plain)
}

/// The gradient by each of `inputs` instead, leaving every `grad` alone. torch: `torch.autograd.grad`.
///
/// `None` only with `allow_unused`, for an input that the outputs do not depend on.
///
/// # Errors
/// Those of [`run_backward`].
pub fn grad<T: Borrow<Tensor>, U: Borrow<Tensor>>(
    outputs: &[T],
    inputs: &[U],
    grads: &[Option<&Tensor>],
    options: Options,
) -> Result<Vec<Option<Tensor>>> {
    let outputs = outputs_and(outputs, grads)?;
    let inputs = ffi::pointers(inputs.iter().map(|input| Some(input.borrow())));
    let grads = ffi::pointers(grads.iter().copied());
    let mut results = vec![ptr::null_mut(); inputs.len()];
    let Options { retain_graph, create_graph, allow_unused } = options;
    let retain_graph = retain_graph || create_graph;
    // SAFETY: the lists point to live tensors (or null), which the shim copies; `results` has a place for each input, and
    // what is written there is ours, all of it or nothing.
    unsafe {
        ffi::call(|failure| {
            ffi::dn_grad(
                outputs.as_ptr(),
                grads.as_ptr(),
                outputs.len(),
                inputs.as_ptr(),
                inputs.len(),
                retain_graph,
                create_graph,
                allow_unused,
                results.as_mut_ptr(),
                failure,
            )
        })
        .map(|()| ffi::taken(results))
        .map_err(Fault::plain)
    }
}

fn outputs_and<T: Borrow<Tensor>>(
    outputs: &[T],
    grads: &[Option<&Tensor>],
) -> Result<Vec<*mut torch_sys::C_tensor>> {
    if outputs.len() != grads.len() {
        let message =
            format!("{} outputs and {} gradients: one each, None for 1", outputs.len(), grads.len());
        return Err(super::AutogradError::Torch { message });
    }
    Ok(ffi::pointers(outputs.iter().map(|output| Some(output.borrow()))))
}
