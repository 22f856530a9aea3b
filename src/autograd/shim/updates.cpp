// What training needs of libtorch and tch does not bind: updates of many tensors at once, and the generators' state.
// shim.cpp has the rules of the boundary.

#include "boundary.h"

#include <ATen/Context.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_amp_foreach_non_finite_check_and_unscale.h>
#include <ATen/ops/_foreach_add.h>
#include <ATen/ops/_foreach_addcdiv.h>
#include <ATen/ops/_foreach_addcmul.h>
#include <ATen/ops/_foreach_lerp.h>
#include <ATen/ops/_foreach_mul.h>

#include <mutex>

extern "C" {

// ------------------------------------------------------------------------------------- many tensors, in place, unrecorded

// `targets` += alpha · `others`
int32_t dn_foreach_add(Tensor *const *targets, Tensor *const *others, size_t count, double alpha,
                       Failure *failure) noexcept {
  return guarded(failure, [&] {
    const at::NoGradGuard unrecorded;
    at::_foreach_add_(tensors_at(targets, count), tensors_at(others, count), alpha);
  });
}

int32_t dn_foreach_mul(Tensor *const *targets, size_t count, double factor, Failure *failure) noexcept {
  return guarded(failure, [&] {
    const at::NoGradGuard unrecorded;
    at::_foreach_mul_(tensors_at(targets, count), factor);
  });
}

int32_t dn_foreach_lerp(Tensor *const *targets, Tensor *const *ends, size_t count, double weight,
                        Failure *failure) noexcept {
  return guarded(failure, [&] {
    const at::NoGradGuard unrecorded;
    at::_foreach_lerp_(tensors_at(targets, count), tensors_at(ends, count), weight);
  });
}

// `targets` += value · `a` · `b`
int32_t dn_foreach_addcmul(Tensor *const *targets, Tensor *const *a, Tensor *const *b, size_t count, double value,
                           Failure *failure) noexcept {
  return guarded(failure, [&] {
    const at::NoGradGuard unrecorded;
    at::_foreach_addcmul_(tensors_at(targets, count), tensors_at(a, count), tensors_at(b, count), value);
  });
}

// `targets`[i] += values[i] · `a`[i] / `b`[i]
int32_t dn_foreach_addcdiv(Tensor *const *targets, Tensor *const *a, Tensor *const *b, size_t count,
                           const double *values, Failure *failure) noexcept {
  return guarded(failure, [&] {
    const at::NoGradGuard unrecorded;
    const std::vector<at::Scalar> scalars(values, values + count);
    at::_foreach_addcdiv_(tensors_at(targets, count), tensors_at(a, count), tensors_at(b, count), scalars);
  });
}

// Multiplies every gradient by `inverse_scale` and sets `found` (f32, one number) to 1 where one of them is not finite.
int32_t dn_unscale(Tensor *const *grads, size_t count, Tensor *found, const Tensor *inverse_scale,
                   Failure *failure) noexcept {
  return guarded(failure, [&] {
    const at::NoGradGuard unrecorded;
    at::_amp_foreach_non_finite_check_and_unscale_(tensors_at(grads, count), *found, *inverse_scale);
  });
}

// torch: `grad = None`.
int32_t dn_clear_grads(Tensor *const *tensors, size_t count, Failure *failure) noexcept {
  return guarded(failure, [&] {
    for (size_t i = 0; i < count; ++i)
      tensors[i]->mutable_grad().reset();
  });
}

// ------------------------------------------------------------------------------------------------------------ generators

at::Generator generator_of(int8_t device_type, int8_t index) {
  return at::globalContext().defaultGenerator(at::Device(static_cast<at::DeviceType>(device_type), index));
}

int32_t dn_generator_get(int8_t device_type, int8_t index, Tensor **result, Failure *failure) noexcept {
  *result = nullptr;
  return guarded(failure, [&] {
    auto generator = generator_of(device_type, index);
    const std::lock_guard<std::mutex> lock(generator.mutex());
    *result = given(generator.get_state());
  });
}

int32_t dn_generator_set(int8_t device_type, int8_t index, const Tensor *state, Failure *failure) noexcept {
  return guarded(failure, [&] {
    auto generator = generator_of(device_type, index);
    const std::lock_guard<std::mutex> lock(generator.mutex());
    generator.set_state(*state);
  });
}

} // extern "C"
