//! What a function's two passes share.

use super::error::{AutogradError, Result};
use super::ffi::{self, Fault};
use std::ffi::c_void;
use std::ptr;
use tch::Tensor;

/// What [`Function::forward`](super::Function::forward) saves and declares, and
/// [`Function::backward`](super::Function::backward) reads. torch: the `ctx` of `torch.autograd.Function`.
#[derive(Debug)]
pub struct Context {
    function: &'static str,
    /// the shim's `RustNode`; null where nothing is recorded.
    node: *mut c_void,
    in_backward: bool,
    pub(super) saved: Vec<Tensor>,
    pub(super) constants: Vec<Tensor>,
}

impl Context {
    /// # Safety
    /// `node` is null or a `RustNode` that outlives the context; in backward, its backward is running on this thread.
    pub(super) unsafe fn new(function: &'static str, node: *mut c_void, in_backward: bool) -> Context {
        Context { function, node, in_backward, saved: Vec::new(), constants: Vec::new() }
    }

    /// Whether the input of that index takes a gradient; in backward, whether this very pass asks for it.
    ///
    /// False for an index past the inputs. torch: `ctx.needs_input_grad`.
    pub fn needs_input_grad(&self, index: usize) -> bool {
        // SAFETY: `node` is a live RustNode (see `new`); its edges do not change once it is made, and the shim checks
        // the index.
        !self.node.is_null() && unsafe { ffi::dn_node_needs_input(self.node, index, self.in_backward) }
    }

    /// Whether a backward may follow: some input takes a gradient and gradients are enabled. Where it is false, what is
    /// saved is dropped.
    pub fn is_recorded(&self) -> bool {
        !self.node.is_null()
    }

    /// In backward: whether operations on tensors are recorded, for a second derivative (`create_graph`).
    pub fn create_graph(&self) -> bool {
        self.in_backward && grad_enabled()
    }

    /// In forward: saves tensors for backward, after those saved earlier. Does nothing in backward.
    ///
    /// Inputs and outputs keep their place in the graph, so that a backward made of differentiable operations can be
    /// differentiated again; any other tensor is a constant there. A tensor that is changed in place after this is an
    /// error in backward. torch: `ctx.save_for_backward`.
    pub fn save_for_backward(&mut self, tensors: &[&Tensor]) {
        if !self.in_backward && self.is_recorded() {
            self.saved.extend(tensors.iter().map(|tensor| tensor.shallow_clone()));
        }
    }

    /// The saved tensor of that index, in the order they were saved.
    ///
    /// # Errors
    /// [`AutogradError::SavedTensorChanged`], [`AutogradError::Released`], [`AutogradError::NoSuchSavedTensor`].
    pub fn saved(&self, index: usize) -> Result<Tensor> {
        let count = self.saved_count();
        if index >= count {
            return Err(AutogradError::NoSuchSavedTensor { function: self.function, index, count });
        }
        if !self.in_backward {
            return Ok(self.saved[index].shallow_clone());
        }
        let mut result = ptr::null_mut();
        // SAFETY: `node` is a live RustNode whose backward runs on this thread (see `new`), so no other thread uses its
        // saved tensors; `result` is written with null or a tensor that is now ours.
        let tensor = unsafe {
            ffi::call(|failure| ffi::dn_node_saved(self.node, index, &mut result, failure))
                .map(|()| ffi::taken(vec![result]).pop().flatten())
        };
        match tensor {
            Ok(tensor) => Ok(tensor.unwrap_or_default()),
            Err(Fault::SavedChanged { saved, now }) => {
                Err(AutogradError::SavedTensorChanged { function: self.function, index, saved, now })
            }
            Err(Fault::Released) => Err(AutogradError::Released { function: self.function }),
            Err(fault) => Err(fault.plain()),
        }
    }

    /// All saved tensors, in the order they were saved.
    ///
    /// # Errors
    /// Those of [`saved`](Self::saved).
    pub fn saved_tensors(&self) -> Result<Vec<Tensor>> {
        (0..self.saved_count()).map(|index| self.saved(index)).collect()
    }

    /// How many tensors are saved.
    pub fn saved_count(&self) -> usize {
        if self.in_backward {
            // SAFETY: `node` is a live RustNode (see `new`); the count does not change after forward.
            unsafe { ffi::dn_node_saved_count(self.node) }
        } else {
            self.saved.len()
        }
    }

    /// In forward: declares that an output has no gradient, as an index or a mask has none (integer types never have
    /// one). torch: `ctx.mark_non_differentiable`.
    pub fn mark_non_differentiable(&mut self, output: &Tensor) {
        if !self.in_backward {
            self.constants.push(output.shallow_clone());
        }
    }

    /// In backward: zeros like the output of that index, for a gradient that is `None`. torch: what
    /// `set_materialize_grads(True)` passes.
    ///
    /// # Errors
    /// [`AutogradError::Torch`] past the outputs, for an output without gradient, and in forward.
    pub fn zeros_like_output(&self, index: usize) -> Result<Tensor> {
        if !self.in_backward {
            return Err(AutogradError::Torch {
                message: "there are no outputs before forward is done".to_string(),
            });
        }
        let mut result = ptr::null_mut();
        // SAFETY: `node` is a live RustNode (see `new`); `result` is written with null or a tensor that is now ours.
        let tensor = unsafe {
            ffi::call(|failure| ffi::dn_node_zeros(self.node, index, &mut result, failure))
                .map(|()| ffi::taken(vec![result]).pop().flatten())
        };
        tensor.map(Option::unwrap_or_default).map_err(Fault::plain)
    }
}

/// Whether operations on tensors that require gradients are recorded, on this thread. torch: `is_grad_enabled`.
pub(crate) fn grad_enabled() -> bool {
    // SAFETY: reads a thread-local flag.
    unsafe { ffi::dn_grad_mode() }
}
