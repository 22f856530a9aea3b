//! Operations of libtorch's that tch does not bind. They are recorded like any other.

use super::error::Result;
use super::ffi::{self, Fault};
use std::ptr;
use tch::Tensor;

/// How a 2-D convolution moves over its input: two numbers each, height first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Convolution {
    /// Steps.
    pub stride: [i64; 2],
    /// Zeros added on either side.
    pub padding: [i64; 2],
    /// Distance between a kernel's taps.
    pub dilation: [i64; 2],
    /// Groups of channels.
    pub groups: i64,
}

impl Default for Convolution {
    /// `stride` 1, no `padding`, `dilation` 1, one group.
    fn default() -> Self {
        Convolution { stride: [1, 1], padding: [0, 0], dilation: [1, 1], groups: 1 }
    }
}

/// The gradients of a 2-D convolution by input [N, C, H, W], weight [O, C/groups, h, w] and bias \[O\], those of them that
/// are `wanted`. torch: `aten::convolution_backward`.
///
/// # Errors
/// [`AutogradError::Torch`](super::AutogradError::Torch) where the shapes, types or devices do not fit.
pub fn convolution_backward(
    grad: &Tensor,
    input: &Tensor,
    weight: &Tensor,
    convolution: &Convolution,
    wanted: [bool; 3],
) -> Result<[Option<Tensor>; 3]> {
    let Convolution { stride, padding, dilation, groups } = convolution;
    three(|results, failure| {
        // SAFETY: the tensors live through the call; the arrays have the lengths that the shim reads.
        unsafe {
            ffi::dn_convolution_backward(
                grad.as_ptr(),
                input.as_ptr(),
                weight.as_ptr(),
                stride.as_ptr(),
                padding.as_ptr(),
                dilation.as_ptr(),
                *groups,
                wanted.as_ptr(),
                results,
                failure,
            )
        }
    })
}

/// What a batch norm's backward needs of its forward.
#[derive(Debug)]
pub struct BatchNorm<'a> {
    /// γ, \[C\].
    pub weight: Option<&'a Tensor>,
    /// \[C\]; what evaluation normalizes by.
    pub running_mean: Option<&'a Tensor>,
    /// \[C\]; what evaluation normalizes by.
    pub running_var: Option<&'a Tensor>,
    /// The batch's mean, \[C\], as `native_batch_norm` returns it; training needs it.
    pub saved_mean: Option<&'a Tensor>,
    /// The batch's 1/√(variance + ε), \[C\], as `native_batch_norm` returns it; training needs it.
    pub saved_invstd: Option<&'a Tensor>,
    /// Whether forward normalized by the batch's statistics.
    pub train: bool,
    /// Added to variances.
    pub eps: f64,
}

/// The gradients of a batch norm by input [N, C, …], weight \[C\] and bias \[C\], those of them that are `wanted`. torch:
/// `aten::native_batch_norm_backward`; forward is tch's `f_native_batch_norm`.
///
/// # Errors
/// [`AutogradError::Torch`](super::AutogradError::Torch) where the shapes, types or devices do not fit.
pub fn native_batch_norm_backward(
    grad: &Tensor,
    input: &Tensor,
    norm: &BatchNorm<'_>,
    wanted: [bool; 3],
) -> Result<[Option<Tensor>; 3]> {
    let optional = |tensor: Option<&Tensor>| tensor.map_or(ptr::null(), |tensor| tensor.as_ptr());
    three(|results, failure| {
        // SAFETY: the tensors live through the call, null stands for none; `wanted` has the length that the shim reads.
        unsafe {
            ffi::dn_native_batch_norm_backward(
                grad.as_ptr(),
                input.as_ptr(),
                optional(norm.weight),
                optional(norm.running_mean),
                optional(norm.running_var),
                optional(norm.saved_mean),
                optional(norm.saved_invstd),
                norm.train,
                norm.eps,
                wanted.as_ptr(),
                results,
                failure,
            )
        }
    })
}

/// An entry that gives three tensors, or none if it fails.
fn three(
    entry: impl FnOnce(*mut *mut torch_sys::C_tensor, *mut ffi::Failure) -> i32,
) -> Result<[Option<Tensor>; 3]> {
    let mut results = vec![ptr::null_mut(); 3];
    ffi::call(|failure| entry(results.as_mut_ptr(), failure)).map_err(Fault::plain)?;
    // SAFETY: the shim has written three pointers, each null or a tensor that is now ours.
    let mut tensors = unsafe { ffi::taken(results) }.into_iter();
    Ok(std::array::from_fn(|_| tensors.next().flatten()))
}
