// The C++ behind densenet::autograd, compiled by build.rs against the libtorch in use.
//
// Rules of the boundary:
// - Every entry is noexcept: it catches everything and returns a Code, with what is known about the failure in `Failure`
//   (never in tch's thread-local error slot).
// - Every call into Rust goes through `Callbacks`; those never unwind. A Rust error comes back as an opaque pointer and
//   crosses libtorch inside `RustException`.
// - Tensors cross as `at::Tensor *`, which is what tch's `Tensor` holds. A pointer given to Rust as a result belongs to
//   Rust, a pointer that a callback wrote belongs to C++.

#include "boundary.h"
#include "kept.h"
#include "memory.h"
#include "node.h"

#include <ATen/Parallel.h>
#include <ATen/TensorIterator.h>
#include <ATen/autocast_mode.h>
#include <ATen/ops/convolution_backward.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/native_batch_norm_backward.h>
#include <torch/csrc/autograd/autograd.h>

#include <cstdlib>
#include <unordered_set>

extern "C" {

void dn_free_message(char *message) noexcept { free(message); }

// ------------------------------------------------------------------------------------------------ applying a function

// A node for a function of `inputs`, or null where nothing is recorded. It belongs to Rust until dn_node_finish or
// dn_node_discard.
int32_t dn_node_begin(Name function, bool once, const Callbacks *callbacks, Tensor *const *inputs, size_t input_count,
                      void **node, Failure *failure) noexcept {
  *node = nullptr;
  return guarded(failure, [&] {
    const variable_list tensors = tensors_at(inputs, input_count);
    if (!c10::GradMode::is_enabled() || !torch::autograd::any_variable_requires_grad(tensors))
      return;
    auto created = c10::make_intrusive<RustNode>(function, once, *callbacks);
    created->set_next_edges(torch::autograd::collect_next_edges(tensors));
    created->clear_input_metadata();
    created->remember_versions(tensors);
    *node = created.release();
  });
}

int32_t dn_node_discard(void *node, Failure *failure) noexcept {
  return guarded(failure, [&] { c10::intrusive_ptr<RustNode>::reclaim(node_at(node)); });
}

// Makes `outputs` the outputs of `node` (which, with `state`, it takes; both may be null) and gives them to `results`.
int32_t dn_node_finish(void *node, void *state, Tensor *const *inputs, size_t input_count, Tensor *const *outputs,
                       size_t output_count, Tensor *const *constants, size_t constant_count, Tensor *const *saved,
                       size_t saved_count, Tensor **results, Failure *failure) noexcept {
  return guarded(failure, [&] {
    c10::intrusive_ptr<RustNode> owned;
    if (node) {
      owned = c10::intrusive_ptr<RustNode>::reclaim(node_at(node));
      owned->own(state);
    }
    const variable_list input_vars = tensors_at(inputs, input_count);
    const variable_list raw = tensors_at(outputs, output_count);
    std::unordered_set<at::TensorImpl *> impls;
    for (size_t i = 0; i < raw.size(); ++i)
      if (raw[i].defined() && !impls.insert(raw[i].unsafeGetTensorImpl()).second)
        throw Refused(kRepeatedOutput, static_cast<int64_t>(i));
    std::unordered_set<at::TensorImpl *> not_differentiable;
    for (size_t i = 0; i < constant_count; ++i) {
      auto *impl = constants[i]->unsafeGetTensorImpl();
      if (impls.count(impl) == 0)
        throw Refused(kNotAnOutput, static_cast<int64_t>(i));
      not_differentiable.insert(impl);
    }
    if (owned)
      owned->check_versions(input_vars);
    std::vector<std::optional<Tensor>> optional;
    optional.reserve(raw.size());
    for (const auto &tensor : raw)
      optional.push_back(tensor.defined() ? std::optional<Tensor>(tensor) : std::nullopt);
    const auto wrapped = torch::autograd::_wrap_outputs(
        input_vars, not_differentiable, {}, optional, owned,
        [](const variable_list &, const variable_list &) -> variable_list {
          TORCH_CHECK(false, "forward-mode differentiation of a Rust function is not supported");
        },
        {}, [](const Tensor &tensor) { return tensor.view_as(tensor); }, /*pure_view=*/false);
    if (owned)
      owned->save(tensors_at(saved, saved_count));
    variable_list wrapped_tensors;
    wrapped_tensors.reserve(wrapped.size());
    for (const auto &tensor : wrapped)
      wrapped_tensors.push_back(tensor.value_or(Tensor()));
    give_all(std::move(wrapped_tensors), results);
  });
}

// In forward: whether the input takes a gradient. In backward: whether this pass asks for it.
bool dn_node_needs_input(const void *node, size_t index, bool in_backward) noexcept {
  const auto *rust_node = static_cast<const RustNode *>(node);
  return index < rust_node->num_outputs() &&
         (in_backward ? rust_node->task_should_compute_output(index) : rust_node->should_compute_output(index));
}

size_t dn_node_saved_count(const void *node) noexcept { return static_cast<const RustNode *>(node)->saved_count(); }

int32_t dn_node_saved(void *node, size_t index, Tensor **result, Failure *failure) noexcept {
  *result = nullptr;
  return guarded(failure, [&] { *result = given(node_at(node)->saved(index)); });
}

// Zeros of an output's shape, type and device, for a gradient that is none.
int32_t dn_node_zeros(const void *node, size_t index, Tensor **result, Failure *failure) noexcept {
  *result = nullptr;
  return guarded(failure, [&] {
    const auto *rust_node = static_cast<const RustNode *>(node);
    TORCH_CHECK(index < rust_node->num_inputs(), "output ", index, " of ", rust_node->num_inputs());
    *result = given(rust_node->input_metadata(index).zeros_like());
  });
}

// ------------------------------------------------------------------------------------------------------- the engine

bool dn_grad_mode() noexcept { return c10::GradMode::is_enabled(); }

int32_t dn_backward(Tensor *const *outputs, Tensor *const *grads, size_t count, bool retain_graph, bool create_graph,
                    Failure *failure) noexcept {
  return guarded(failure, [&] {
    torch::autograd::backward(tensors_at(outputs, count), tensors_at(grads, count), retain_graph, create_graph);
  });
}

int32_t dn_grad(Tensor *const *outputs, Tensor *const *grads, size_t count, Tensor *const *inputs, size_t input_count,
                bool retain_graph, bool create_graph, bool allow_unused, Tensor **results, Failure *failure) noexcept {
  return guarded(failure, [&] {
    give_all(torch::autograd::grad(tensors_at(outputs, count), tensors_at(inputs, input_count),
                                   tensors_at(grads, count), retain_graph, create_graph, allow_unused),
             results);
  });
}

// --------------------------------------------------------------------------------------------------- tensors made again

// Frees what the node behind `output` keeps, to be made again by `recipe` with `state` (taken if anything was replaced).
int32_t dn_kept_replace(const Tensor *output, int32_t which, const Recipe *recipe, void *state, bool *replaced,
                        Failure *failure) noexcept {
  *replaced = false;
  return guarded(failure, [&] {
    SavedVariable *kept = kept_by(*output, static_cast<Kept>(which));
    if (!kept)
      return;
    // Not kept at all where the gradients asked for do not need it.
    const auto raw = kept->get_raw_data();
    if (!raw || !raw->defined())
      return;
    auto hooks = std::make_unique<RustHooks>(*recipe, state);
    *replaced = true;
    kept->register_hooks(std::move(hooks));
  });
}

// The mean and 1/sqrt(variance + eps) that the batch norm behind `output` normalized by; null where no node keeps them.
int32_t dn_batch_statistics(const Tensor *output, Tensor **results, Failure *failure) noexcept {
  results[0] = results[1] = nullptr;
  return guarded(failure, [&] {
    const auto *node = batch_norm_of(*output);
    if (!node || !node->training)
      return;
    const auto mean = node->result1_.get_raw_data();
    const auto invstd = node->result2_.get_raw_data();
    if (mean && invstd && mean->defined() && invstd->defined())
      give_all({mean->detach(), invstd->detach()}, results);
  });
}

int32_t dn_version(const Tensor *tensor, int64_t *version, Failure *failure) noexcept {
  return guarded(failure, [&] { *version = tensor->_version(); });
}

// ------------------------------------------------------------------------------------------- operations tch does not bind

// Square in every direction: `stride` and `padding` hold two numbers.
int32_t dn_convolution_backward(const Tensor *grad, const Tensor *input, const Tensor *weight, const int64_t *stride,
                                const int64_t *padding, const int64_t *dilation, int64_t groups, const bool *wanted,
                                Tensor **results, Failure *failure) noexcept {
  return guarded(failure, [&] {
    const int64_t no_output_padding[2] = {0, 0};
    const int64_t bias_size[1] = {weight->size(0)};
    auto [input_grad, weight_grad, bias_grad] =
        at::convolution_backward(*grad, *input, *weight, at::OptionalIntArrayRef(at::IntArrayRef(bias_size, 1)),
                                 at::IntArrayRef(stride, 2), at::IntArrayRef(padding, 2), at::IntArrayRef(dilation, 2),
                                 /*transposed=*/false, at::IntArrayRef(no_output_padding, 2), groups,
                                 std::array<bool, 3>{wanted[0], wanted[1], wanted[2]});
    give_all({input_grad, weight_grad, bias_grad}, results);
  });
}

int32_t dn_native_batch_norm_backward(const Tensor *grad, const Tensor *input, const Tensor *weight,
                                      const Tensor *running_mean, const Tensor *running_var, const Tensor *mean,
                                      const Tensor *invstd, bool train, double eps, const bool *wanted,
                                      Tensor **results, Failure *failure) noexcept {
  return guarded(failure, [&] {
    const auto optional = [](const Tensor *tensor) {
      return tensor ? std::optional<Tensor>(*tensor) : std::nullopt;
    };
    auto [input_grad, weight_grad, bias_grad] = at::native_batch_norm_backward(
        *grad, *input, optional(weight), optional(running_mean), optional(running_var), optional(mean),
        optional(invstd), train, eps, std::array<bool, 3>{wanted[0], wanted[1], wanted[2]});
    give_all({input_grad, weight_grad, bias_grad}, results);
  });
}

// ------------------------------------------------------------------------------------------------------------ autocast

struct Autocast {
  bool enabled;
  int32_t dtype;
};

int32_t dn_autocast_get(int8_t device_type, Autocast *now, Failure *failure) noexcept {
  return guarded(failure, [&] {
    const auto device = static_cast<at::DeviceType>(device_type);
    now->enabled = at::autocast::is_autocast_enabled(device);
    now->dtype = static_cast<int32_t>(at::autocast::get_autocast_dtype(device));
  });
}

int32_t dn_autocast_set(int8_t device_type, Autocast wanted, Failure *failure) noexcept {
  return guarded(failure, [&] {
    const auto device = static_cast<at::DeviceType>(device_type);
    at::autocast::set_autocast_dtype(device, static_cast<at::ScalarType>(wanted.dtype));
    at::autocast::set_autocast_enabled(device, wanted.enabled);
  });
}

int32_t dn_autocast_enter(Failure *failure) noexcept {
  return guarded(failure, [&] { at::autocast::increment_nesting(); });
}

// Casts of weights are kept until the outermost region ends.
int32_t dn_autocast_leave(Failure *failure) noexcept {
  return guarded(failure, [&] {
    if (at::autocast::decrement_nesting() == 0)
      at::autocast::clear_cache();
  });
}

// ------------------------------------------------------------------------------------------------------- libtorch's threads

// Threads that dn_parallel would use here and now: 1 inside a parallel region.
size_t dn_num_threads() noexcept {
  return at::in_parallel_region() ? 1 : static_cast<size_t>(at::get_num_threads());
}

// Calls `body` once for each of 0..tasks, each of up to dn_num_threads() tasks on a thread of its own. OpenMP code
// compiled into this library could get an OpenMP runtime of its own, with threads of its own; TensorIterator's loop is
// compiled into libtorch, so it runs on libtorch's threads, whatever they are.
int32_t dn_parallel(size_t tasks, void (*body)(void *context, size_t task), void *context, Failure *failure) noexcept {
  return guarded(failure, [&] {
    const auto loop = [&](size_t begin, size_t end) {
      for (size_t task = begin; task < end; ++task)
        body(context, task);
    };
    if (tasks <= 1 || dn_num_threads() == 1)
      return loop(0, tasks);
    // The memory is never touched: only the addresses that TensorIterator computes are read.
    static char origin;
    const auto bytes = at::from_blob(&origin, {static_cast<int64_t>(tasks)}, at::kByte);
    auto iterator = at::TensorIteratorConfig()
                        .set_check_mem_overlap(false)
                        .check_all_same_dtype(false)
                        .resize_outputs(false)
                        .add_output(bytes)
                        .build();
    iterator.for_each(
        [&](char **data, const int64_t *strides, int64_t size0, int64_t size1) {
          for (int64_t row = 0; row < size1; ++row) {
            const auto begin = static_cast<size_t>(data[0] + row * strides[1] - &origin);
            loop(begin, begin + static_cast<size_t>(size0));
          }
        },
        /*grain_size=*/1);
  });
}

// -------------------------------------------------------------------------------------------------------------- memory

int32_t dn_memory_start(void **guard, const void **counter, Failure *failure) noexcept {
  return guarded(failure, [&] {
    auto created = std::make_unique<MemoryGuard>(std::make_shared<MemoryCounter>());
    *counter = created->counter.get();
    *guard = created.release();
  });
}

void dn_memory_stop(void *guard) noexcept { delete static_cast<MemoryGuard *>(guard); }

int64_t dn_memory_live(const void *counter) noexcept { return static_cast<const MemoryCounter *>(counter)->live; }

int64_t dn_memory_peak(const void *counter) noexcept { return static_cast<const MemoryCounter *>(counter)->peak; }

void dn_memory_restart_peak(void *counter) noexcept {
  auto *memory = static_cast<MemoryCounter *>(counter);
  memory->peak = memory->live.load();
}

} // extern "C"
