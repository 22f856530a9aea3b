//! Updates of many tensors at once, in place and unrecorded: what `torch.optim` and `torch.amp` do after a backward pass.
//!
//! tch binds `addcmul_` and `addcdiv_` without their factor, `add_` without `alpha`, and none of the `_foreach_` forms. On
//! the CPU these run the plain operation on one tensor after the other, so their bits are those of PyTorch's
//! `_single_tensor_*` optimizers; on CUDA a list is a few kernels.

use super::error::{AutogradError, Result};
use super::ffi::{self, Failure, Fault};
use tch::{Device, Kind, Tensor};
use torch_sys::C_tensor;

// libtorch refuses lists without a tensor; here they are nothing to do.

extern "C" {
    fn dn_foreach_add(
        targets: *const *mut C_tensor,
        others: *const *mut C_tensor,
        count: usize,
        alpha: f64,
        failure: *mut Failure,
    ) -> i32;
    fn dn_foreach_mul(targets: *const *mut C_tensor, count: usize, factor: f64, failure: *mut Failure)
        -> i32;
    fn dn_foreach_lerp(
        targets: *const *mut C_tensor,
        ends: *const *mut C_tensor,
        count: usize,
        weight: f64,
        failure: *mut Failure,
    ) -> i32;
    fn dn_foreach_addcmul(
        targets: *const *mut C_tensor,
        a: *const *mut C_tensor,
        b: *const *mut C_tensor,
        count: usize,
        value: f64,
        failure: *mut Failure,
    ) -> i32;
    fn dn_foreach_addcdiv(
        targets: *const *mut C_tensor,
        a: *const *mut C_tensor,
        b: *const *mut C_tensor,
        count: usize,
        values: *const f64,
        failure: *mut Failure,
    ) -> i32;
    fn dn_unscale(
        grads: *const *mut C_tensor,
        count: usize,
        found: *mut C_tensor,
        inverse_scale: *const C_tensor,
        failure: *mut Failure,
    ) -> i32;
    fn dn_clear_grads(tensors: *const *mut C_tensor, count: usize, failure: *mut Failure) -> i32;
    fn dn_generator_get(device_type: i8, index: i8, result: *mut *mut C_tensor, failure: *mut Failure)
        -> i32;
    fn dn_generator_set(device_type: i8, index: i8, state: *const C_tensor, failure: *mut Failure) -> i32;
}

/// `targets[i] += alpha · others[i]`. torch: `torch._foreach_add_`.
///
/// # Errors
/// [`AutogradError::Torch`] where the lists do not fit each other.
pub fn add_scaled(targets: &[Tensor], others: &[Tensor], alpha: f64) -> Result<()> {
    let count = same_length(targets, &[others])?;
    if count == 0 {
        return Ok(());
    }
    let (to, from) = (list(targets), list(others));
    // SAFETY: every list has `count` pointers to live tensors, which the shim reads and does not keep.
    call(|failure| unsafe { dn_foreach_add(to.as_ptr(), from.as_ptr(), count, alpha, failure) })
}

/// `targets[i] *= factor`. torch: `torch._foreach_mul_`.
///
/// # Errors
/// [`AutogradError::Torch`].
pub fn scale(targets: &[Tensor], factor: f64) -> Result<()> {
    if targets.is_empty() {
        return Ok(());
    }
    let to = list(targets);
    // SAFETY: as in `add_scaled`.
    call(|failure| unsafe { dn_foreach_mul(to.as_ptr(), to.len(), factor, failure) })
}

/// `targets[i] += weight · (ends[i] − targets[i])`. torch: `torch._foreach_lerp_`.
///
/// # Errors
/// [`AutogradError::Torch`] where the lists do not fit each other.
pub fn lerp(targets: &[Tensor], ends: &[Tensor], weight: f64) -> Result<()> {
    let count = same_length(targets, &[ends])?;
    if count == 0 {
        return Ok(());
    }
    let (to, from) = (list(targets), list(ends));
    // SAFETY: as in `add_scaled`.
    call(|failure| unsafe { dn_foreach_lerp(to.as_ptr(), from.as_ptr(), count, weight, failure) })
}

/// `targets[i] += value · a[i] · b[i]`. torch: `torch._foreach_addcmul_`.
///
/// # Errors
/// [`AutogradError::Torch`] where the lists do not fit each other.
pub fn addcmul(targets: &[Tensor], a: &[Tensor], b: &[Tensor], value: f64) -> Result<()> {
    let count = same_length(targets, &[a, b])?;
    if count == 0 {
        return Ok(());
    }
    let (to, a, b) = (list(targets), list(a), list(b));
    // SAFETY: as in `add_scaled`.
    call(|failure| unsafe { dn_foreach_addcmul(to.as_ptr(), a.as_ptr(), b.as_ptr(), count, value, failure) })
}

/// `targets[i] += values[i] · a[i] / b[i]`. torch: `torch._foreach_addcdiv_`.
///
/// # Errors
/// [`AutogradError::Torch`] where the lists do not fit each other.
pub fn addcdiv(targets: &[Tensor], a: &[Tensor], b: &[Tensor], values: &[f64]) -> Result<()> {
    let count = same_length(targets, &[a, b])?;
    if count == 0 {
        return Ok(());
    }
    if values.len() != count {
        return Err(unequal());
    }
    let (to, a, b) = (list(targets), list(a), list(b));
    // SAFETY: as in `add_scaled`; `values` has `count` numbers.
    call(|failure| unsafe {
        dn_foreach_addcdiv(to.as_ptr(), a.as_ptr(), b.as_ptr(), count, values.as_ptr(), failure)
    })
}

/// Divides gradients by the `scale` their loss was multiplied with; whether all of them are finite. torch:
/// `torch.amp.GradScaler.unscale_`.
///
/// # Errors
/// [`AutogradError::Torch`].
pub fn unscale(grads: &[Tensor], scale: f64) -> Result<bool> {
    let Some(first) = grads.first() else { return Ok(true) };
    let on = |value: f64| Tensor::f_full([1i64; 1], value, (Kind::Float, first.device())).map_err(torch);
    // As torch rounds it: the reciprocal in f64, then to f32.
    let (found, inverse) = (on(0.0)?, on(1.0 / scale)?);
    let list = list(grads);
    // SAFETY: as in `add_scaled`; `found` and `inverse` live through the call.
    call(|failure| unsafe {
        dn_unscale(list.as_ptr(), list.len(), ffi::pointer(&found), ffi::pointer(&inverse), failure)
    })?;
    Ok(found.f_double_value(&[0]).map_err(torch)? == 0.0)
}

/// Forgets the tensors' gradients: the next backward pass writes new ones. torch: `zero_grad(set_to_none=True)`.
///
/// # Errors
/// libtorch's own.
pub fn clear_gradients(tensors: &[Tensor]) -> Result<()> {
    let list = list(tensors);
    // SAFETY: as in `add_scaled`.
    call(|failure| unsafe { dn_clear_grads(list.as_ptr(), list.len(), failure) })
}

/// The state of libtorch's generator on a device, uint8. torch: `torch.get_rng_state()`, `torch.cuda.get_rng_state()`.
///
/// # Errors
/// [`AutogradError::Torch`] for a device without one.
pub fn generator_state(device: Device) -> Result<Tensor> {
    let (kind, index) = numbers(device);
    let mut result = std::ptr::null_mut();
    // SAFETY: the shim writes one pointer to a tensor, which is then ours.
    call(|failure| unsafe { dn_generator_get(kind, index, &mut result, failure) })?;
    // SAFETY: as above.
    let state = unsafe { ffi::taken(vec![result]) }.pop().flatten();
    state.ok_or_else(|| AutogradError::Torch { message: "the generator gave no state".to_string() })
}

/// Puts back what [`generator_state`] gave. torch: `torch.set_rng_state`.
///
/// # Errors
/// [`AutogradError::Torch`] for a tensor that is no state.
pub fn set_generator_state(device: Device, state: &Tensor) -> Result<()> {
    let (kind, index) = numbers(device);
    // SAFETY: `state` lives through the call.
    call(|failure| unsafe { dn_generator_set(kind, index, ffi::pointer(state), failure) })
}

/// c10::DeviceType and the device's index.
pub(super) fn numbers(device: Device) -> (i8, i8) {
    match device {
        Device::Cpu => (0, -1),
        Device::Cuda(index) => (1, index as i8),
        Device::Mps => (13, 0),
        Device::Vulkan => (10, 0),
    }
}

fn list(tensors: &[Tensor]) -> Vec<*mut C_tensor> {
    ffi::pointers(tensors.iter().map(Some))
}

fn same_length(targets: &[Tensor], others: &[&[Tensor]]) -> Result<usize> {
    if others.iter().any(|other| other.len() != targets.len()) {
        return Err(unequal());
    }
    Ok(targets.len())
}

fn unequal() -> AutogradError {
    AutogradError::Torch { message: "lists of tensors of unequal lengths".to_string() }
}

fn torch(error: tch::TchError) -> AutogradError {
    AutogradError::Torch { message: error.to_string() }
}

fn call(entry: impl FnOnce(*mut Failure) -> i32) -> Result<()> {
    ffi::call(entry).map_err(Fault::plain)
}
