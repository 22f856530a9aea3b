//! Tensors that libtorch's own operations keep for backward, forgotten and made again when backward wants them. The
//! nodes, their formulas and the graph stay libtorch's: only where a tensor comes from changes. torch:
//! `saved_tensors_hooks`, which `torch.utils.checkpoint` is made of.

use super::error::{AutogradError, BoxError, Pass, Result};
use super::ffi::{self, Fault, Raised, Recipe};
use std::ffi::c_void;
use std::ptr;
use tch::Tensor;

/// What a node keeps, named by the operation whose output is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    /// A convolution's input.
    ConvolutionInput,
    /// A ReLU's own output.
    ReluResult,
    /// The input of a batch norm, named by its output or by the ReLU's after it.
    BatchNormInput,
}

impl Kept {
    fn code(self) -> i32 {
        match self {
            Kept::ConvolutionInput => 0,
            Kept::ReluResult => 1,
            Kept::BatchNormInput => 2,
        }
    }
}

/// Makes the node behind `output` forget what it keeps and ask `make` instead, each time backward wants it. False where
/// there is no such node or it keeps nothing.
///
/// `make` must give the same values in the same memory format; it runs without recording, on whatever thread autograd
/// uses, never twice at once for one node. `operation` names it in errors, which reach the caller of backward as a
/// function's own do.
pub(crate) fn make_again<M>(operation: &'static str, output: &Tensor, kept: Kept, make: M) -> Result<bool>
where
    M: Fn() -> std::result::Result<Tensor, BoxError> + Send + 'static,
{
    let state = Box::into_raw(Box::new(State { operation, make }));
    let recipe = Recipe { make: made::<M>, drop_state: drop_state::<M>, drop_error: ffi::drop_error };
    let mut replaced = false;
    // SAFETY: `output` lives through the call; the shim copies `recipe` and owns `state` where it says `replaced`.
    let result = ffi::call(|failure| unsafe {
        ffi::dn_kept_replace(output.as_ptr(), kept.code(), &recipe, state.cast(), &mut replaced, failure)
    });
    if !replaced {
        // SAFETY: the box leaked above, which nobody took.
        drop(unsafe { Box::from_raw(state) });
    }
    result.map(|()| replaced).map_err(Fault::plain)
}

/// The mean and 1/√(variance + ε) by which the batch norm behind `output` (or behind the ReLU that it is) normalized, each
/// \[C\]; `None` where no node keeps them: without gradients, in evaluation, on a device with a batch norm of its own.
pub(crate) fn batch_statistics(output: &Tensor) -> Result<Option<[Tensor; 2]>> {
    let mut results = vec![ptr::null_mut(); 2];
    // SAFETY: `output` lives through the call; the shim writes two pointers, null or tensors that are ours.
    let tensors = unsafe {
        ffi::call(|failure| ffi::dn_batch_statistics(output.as_ptr(), results.as_mut_ptr(), failure))
            .map(|()| ffi::taken(results))
    };
    let mut tensors = tensors.map_err(Fault::plain)?.into_iter().flatten();
    Ok(tensors.next().zip(tensors.next()).map(|(mean, invstd)| [mean, invstd]))
}

/// A tensor's values, without its graph, that must be as they were.
#[derive(Debug)]
pub(crate) struct Snapshot {
    tensor: Tensor,
    version: i64,
}

impl Snapshot {
    /// Shares the tensor's memory.
    pub(crate) fn of(tensor: &Tensor) -> Result<Snapshot> {
        Ok(Snapshot { tensor: tensor.f_detach()?, version: version(tensor)? })
    }

    /// The tensor.
    ///
    /// # Errors
    /// [`AutogradError::SavedTensorChanged`] of `operation` with `index` if it was written to.
    pub(crate) fn get(&self, operation: &'static str, index: usize) -> Result<&Tensor> {
        let (saved, now) = (self.version, version(&self.tensor)?);
        if saved == now {
            return Ok(&self.tensor);
        }
        Err(AutogradError::SavedTensorChanged { function: operation, index, saved, now })
    }
}

/// How often the tensor's memory was written to, through whatever view.
pub(crate) fn version(tensor: &Tensor) -> Result<i64> {
    let mut version = 0;
    // SAFETY: `tensor` lives through the call, which writes `version`.
    ffi::call(|failure| unsafe { ffi::dn_version(tensor.as_ptr(), &mut version, failure) })
        .map_err(Fault::plain)?;
    Ok(version)
}

struct State<M> {
    operation: &'static str,
    make: M,
}

unsafe extern "C" fn made<M>(state: *mut c_void, out: *mut *mut torch_sys::C_tensor) -> Raised
where
    M: Fn() -> std::result::Result<Tensor, BoxError> + Send + 'static,
{
    // SAFETY: the box that `make_again` leaked, alive as long as the hooks that call this; a node unpacks what it keeps
    // under its own mutex, so on one thread at a time.
    let State { operation, make } = unsafe { &*state.cast::<State<M>>() };
    let tensor = ffi::guard(operation, Pass::Backward, || {
        let _guard = tch::no_grad_guard();
        make().map_err(|error| super::function::failed(operation, Pass::Backward, error))
    });
    match tensor {
        Ok(tensor) => {
            // SAFETY: the shim passes a place for one pointer, and owns what is written there.
            unsafe { *out = ffi::given(tensor) };
            Raised::NONE
        }
        Err(error) => ffi::raise(error),
    }
}

unsafe extern "C" fn drop_state<M>(state: *mut c_void) {
    // SAFETY: the box that `make_again` leaked, given back once; its closure is Send.
    ffi::dropped(unsafe { Box::from_raw(state.cast::<State<M>>()) });
}
