// The C++ behind densenet::autograd, compiled by build.rs against the libtorch in use.
//
// Rules of the boundary:
// - Every entry is noexcept: it catches everything and returns a Code, with what is known about the failure in `Failure`
//   (never in tch's thread-local error slot).
// - Every call into Rust goes through `Callbacks`; those never unwind. A Rust error comes back as an opaque pointer and
//   crosses libtorch inside `RustException`.
// - Tensors cross as `at::Tensor *`, which is what tch's `Tensor` holds. A pointer given to Rust as a result belongs to
//   Rust, a pointer that a callback wrote belongs to C++.

#include <ATen/Parallel.h>
#include <ATen/TensorIterator.h>
#include <ATen/autocast_mode.h>
#include <ATen/ops/convolution_backward.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/native_batch_norm_backward.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/csrc/autograd/generated/Functions.h>

#include <c10/core/Allocator.h>
#include <c10/util/ThreadLocalDebugInfo.h>

#include <atomic>
#include <cstdint>
#include <cstring>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_set>
#include <utility>
#include <vector>

using at::Tensor;
using torch::autograd::Node;
using torch::autograd::SavedVariable;
using torch::autograd::variable_list;

// ------------------------------------------------------------------------------------------- shared with src/autograd/ffi.rs

enum Code : int32_t {
  kDone = 0,
  kTorch = 1,          // an exception of libtorch's: `message`
  kRust = 2,           // an error of Rust's: `rust`
  kSavedChanged = 3,   // a: version when saved, b: version now
  kReleased = 4,       // the saved tensors are gone: a second backward without retain_graph
  kInputChanged = 5,   // a: index
  kNotAnOutput = 6,    // a: index among the tensors marked
  kRepeatedOutput = 7, // a: index
};

struct Failure {
  char *message; // to be freed with dn_free_message, or null
  void *rust;    // a boxed error, or null
  int64_t a;
  int64_t b;
};

// An error that Rust gave to C++ (null: none), and its words, which live as long as it.
struct Raised {
  void *error;
  const char *message;
};

// A `&'static str`.
struct Name {
  const char *data;
  size_t length;
};

struct Callbacks {
  // From one gradient (owned, or null) an output to one (owned, or null) an input.
  Raised (*backward)(void *state, void *node, Tensor *const *grads, size_t grad_count, Tensor **out, size_t out_count);
  Raised (*differentiated_twice)(Name function);
  Raised (*reentered)(Name function);
  void (*drop_state)(void *state);
  void (*drop_error)(void *error);
};

// What libtorch's own nodes keep for backward and can be made again.
enum Kept : int32_t { kConvolutionInput = 0, kReluResult = 1, kBatchNormInput = 2 };

struct Recipe {
  Raised (*make)(void *state, Tensor **out); // a tensor, owned
  void (*drop_state)(void *state);
  void (*drop_error)(void *error);
};

namespace {

// ------------------------------------------------------------------------------------------------------------- failures

// A Rust error on its way through libtorch, which hands exceptions from thread to thread by reference: whoever catches
// it on the Rust side takes the error out, and the last reference drops one that nobody took.
class RustException final : public std::exception {
public:
  RustException(Raised raised, void (*drop)(void *)) : shared_(std::make_shared<Shared>(raised, drop)) {}
  const char *what() const noexcept override { return shared_->message.c_str(); }
  void *take() const noexcept { return shared_->error.exchange(nullptr); }

private:
  struct Shared {
    Shared(Raised raised, void (*drop)(void *)) : message(raised.message), error(raised.error), drop(drop) {}
    Shared(const Shared &) = delete;
    Shared &operator=(const Shared &) = delete;
    ~Shared() {
      if (void *left = error.exchange(nullptr))
        drop(left);
    }
    std::string message;
    std::atomic<void *> error;
    void (*drop)(void *);
  };
  std::shared_ptr<Shared> shared_;
};

// A failure with a code of its own.
class Refused final : public std::exception {
public:
  explicit Refused(Code code, int64_t a = 0, int64_t b = 0) : code(code), a(a), b(b) {}
  Code code;
  int64_t a, b;
};

char *copied(const char *words) noexcept { return strdup(words); }

// Runs `body`, turning whatever it throws into a code and `failure`.
template <typename Body> int32_t guarded(Failure *failure, Body &&body) noexcept {
  *failure = Failure{nullptr, nullptr, 0, 0};
  try {
    body();
    return kDone;
  } catch (const RustException &error) {
    failure->message = copied(error.what());
    failure->rust = error.take();
    return failure->rust ? kRust : kTorch;
  } catch (const Refused &refused) {
    failure->a = refused.a;
    failure->b = refused.b;
    return refused.code;
  } catch (const c10::Error &error) {
    failure->message = copied(error.what_without_backtrace());
  } catch (const std::exception &error) {
    failure->message = copied(error.what());
  } catch (...) {
    failure->message = copied("an exception that is no std::exception");
  }
  return kTorch;
}

variable_list tensors_at(Tensor *const *pointers, size_t count) {
  variable_list tensors;
  tensors.reserve(count);
  for (size_t i = 0; i < count; ++i)
    tensors.push_back(pointers[i] ? *pointers[i] : Tensor());
  return tensors;
}

// A tensor that Rust will own; null for none.
Tensor *given(Tensor tensor) { return tensor.defined() ? new Tensor(std::move(tensor)) : nullptr; }

void give_all(variable_list tensors, Tensor **out) {
  // All or nothing: what is not handed over is freed.
  std::vector<std::unique_ptr<Tensor>> owned;
  owned.reserve(tensors.size());
  for (auto &tensor : tensors)
    owned.emplace_back(given(std::move(tensor)));
  for (auto &tensor : owned)
    *out++ = tensor.release();
}

// ---------------------------------------------------------------------------------------------------------------- nodes

// Stands before the gradients of a function whose backward must not be differentiated: raises when reached.
class RefusesTwice final : public Node {
public:
  RefusesTwice(Name function, const Callbacks &callbacks) : function_(function), callbacks_(callbacks) {}
  std::string name() const override {
    return std::string(function_.data, function_.length) + "BackwardOnce";
  }

private:
  variable_list apply(variable_list &&) override {
    throw RustException(callbacks_.differentiated_twice(function_), callbacks_.drop_error);
  }
  Name function_;
  Callbacks callbacks_;
};

// The graph's node of one application of a Rust `Function`. As torch::autograd::CppNode, but for any number of tensors.
class RustNode final : public Node {
public:
  RustNode(Name function, bool once, const Callbacks &callbacks)
      : function_(function), once_(once), callbacks_(callbacks) {}
  RustNode(const RustNode &) = delete;
  RustNode &operator=(const RustNode &) = delete;
  ~RustNode() override { drop_state(); }

  std::string name() const override { return std::string(function_.data, function_.length) + "Backward"; }

  void release_variables() override {
    std::lock_guard<std::mutex> lock(mutex_);
    for (auto &saved : saved_)
      saved.tensor.reset_data();
    released_ = true;
  }

  // The last strong reference is gone; weak ones may keep the memory of the node itself.
  void release_resources() override {
    Node::release_resources();
    saved_.clear();
    drop_state();
  }

  void own(void *state) { state_ = state; }

  void remember_versions(const variable_list &inputs) {
    for (const auto &input : inputs)
      versions_.push_back(input.defined() && input.requires_grad() ? input._version() : 0);
  }

  void check_versions(const variable_list &inputs) const {
    for (size_t i = 0; i < inputs.size(); ++i)
      if (inputs[i].defined() && inputs[i].requires_grad() && inputs[i]._version() != versions_[i])
        throw Refused(kInputChanged, static_cast<int64_t>(i));
  }

  void save(const variable_list &tensors) {
    saved_.reserve(tensors.size());
    for (const auto &tensor : tensors) {
      if (!tensor.defined()) {
        saved_.emplace_back();
        continue;
      }
      // An output refers to this node: libtorch's SavedVariable then keeps its data alone, so that there is no cycle.
      const bool is_output = tensor.grad_fn().get() == this;
      saved_.push_back(Saved{SavedVariable(tensor, is_output), tensor._version(), true});
    }
  }

  size_t saved_count() const { return saved_.size(); }

  Tensor saved(size_t index) {
    const Saved &saved = saved_.at(index);
    if (!saved.defined)
      return Tensor();
    if (released_)
      throw Refused(kReleased);
    // No raw data: hooks on saved tensors, which keep no version.
    const auto raw = saved.tensor.get_raw_data();
    if (raw && raw->defined() && raw->_version() != saved.version)
      throw Refused(kSavedChanged, saved.version, raw->_version());
    return saved.tensor.unpack(getptr());
  }

private:
  struct Saved {
    SavedVariable tensor;
    int64_t version = 0;
    bool defined = false;
  };

  void drop_state() {
    if (void *state = std::exchange(state_, nullptr))
      callbacks_.drop_state(state);
  }

  variable_list apply(variable_list &&grads) override {
    // A backward that runs this same node again on this thread would wait for itself.
    if (running_.load() == std::this_thread::get_id())
      throw RustException(callbacks_.reentered(function_), callbacks_.drop_error);
    std::lock_guard<std::mutex> lock(mutex_);
    struct Running {
      explicit Running(std::atomic<std::thread::id> &slot) : slot(slot) { slot = std::this_thread::get_id(); }
      ~Running() { slot = std::thread::id(); }
      std::atomic<std::thread::id> &slot;
    } running(running_);

    const bool recorded = c10::GradMode::is_enabled();
    variable_list results = call(grads, recorded && !once_);
    if (recorded && once_)
      refuse_twice(grads, results);
    return results;
  }

  variable_list call(const variable_list &grads, bool record) {
    torch::autograd::AutoGradMode mode(record);
    std::vector<Tensor *> in(grads.size(), nullptr);
    give_all(grads, in.data());
    std::vector<Tensor *> out(num_outputs(), nullptr);
    const Raised raised = callbacks_.backward(state_, this, in.data(), in.size(), out.data(), out.size());
    if (raised.error)
      throw RustException(raised, callbacks_.drop_error);
    variable_list results(out.size());
    for (size_t i = 0; i < out.size(); ++i)
      if (const std::unique_ptr<Tensor> owned{out[i]})
        results[i] = std::move(*owned);
    return results;
  }

  void refuse_twice(const variable_list &grads, variable_list &results) {
    // With edges to everything the gradients depend on, so that the engine does not prune it and call them constant.
    auto edges = torch::autograd::collect_next_edges(grads);
    edges.insert(edges.end(), next_edges().begin(), next_edges().end());
    c10::intrusive_ptr<Node> refusal = c10::make_intrusive<RefusesTwice>(function_, callbacks_);
    refusal->set_next_edges(std::move(edges));
    for (auto &result : results) {
      if (!result.defined() || !torch::autograd::isDifferentiableType(result.scalar_type()))
        continue;
      result = result.detach();
      torch::autograd::create_gradient_edge(result, refusal);
    }
  }

  const Name function_;
  const bool once_;
  const Callbacks callbacks_;
  void *state_ = nullptr;
  std::vector<Saved> saved_;
  std::vector<int64_t> versions_;
  bool released_ = false;
  std::atomic<std::thread::id> running_{std::thread::id()};
};

// -------------------------------------------------------------------------------------------------- tensors made again

// Hooks that forget the tensor and ask Rust for it when backward wants it.
class RustHooks final : public torch::autograd::SavedVariableHooks {
public:
  RustHooks(const Recipe &recipe, void *state) : recipe_(recipe), state_(state) {}
  RustHooks(const RustHooks &) = delete;
  RustHooks &operator=(const RustHooks &) = delete;
  ~RustHooks() override { recipe_.drop_state(state_); }
  void call_pack_hook(const Tensor &) override {}
  Tensor call_unpack_hook() override {
    Tensor *made = nullptr;
    const Raised raised = recipe_.make(state_, &made);
    if (raised.error)
      throw RustException(raised, recipe_.drop_error);
    const std::unique_ptr<Tensor> owned{made};
    return std::move(*owned);
  }

private:
  const Recipe recipe_;
  void *const state_;
};

template <typename T> T *node_of(const Tensor &output) { return dynamic_cast<T *>(output.grad_fn().get()); }

// The batch norm behind `output`, or behind the ReLU that `output` is.
torch::autograd::generated::NativeBatchNormBackward0 *batch_norm_of(const Tensor &output) {
  using namespace torch::autograd::generated;
  Node *node = output.grad_fn().get();
  if (const auto *relu = dynamic_cast<ReluBackward0 *>(node))
    node = relu->next_edge(0).function.get();
  return dynamic_cast<NativeBatchNormBackward0 *>(node);
}

SavedVariable *kept_by(const Tensor &output, Kept which) {
  using namespace torch::autograd::generated;
  switch (which) {
  case kConvolutionInput:
    if (auto *node = node_of<ConvolutionBackward0>(output))
      return &node->input_;
    return nullptr;
  case kReluResult:
    if (auto *node = node_of<ReluBackward0>(output))
      return &node->result_;
    return nullptr;
  case kBatchNormInput:
    if (auto *node = batch_norm_of(output))
      return &node->input_;
    return nullptr;
  }
  return nullptr;
}

// ------------------------------------------------------------------------------------------------------------ memory

// What libtorch's CPU allocator reports on one thread while this is that thread's profiler. Atomic, because a backward
// pass takes it along to autograd's threads.
class MemoryCounter final : public c10::MemoryReportingInfoBase {
public:
  MemoryCounter()
      : outer_(c10::ThreadLocalDebugInfo::current()),
        outer_reporter_(dynamic_cast<c10::MemoryReportingInfoBase *>(
            c10::ThreadLocalDebugInfo::get(c10::DebugInfoKind::PROFILER_STATE))) {}
  void reportMemoryUsage(void *block, int64_t size, size_t allocated, size_t reserved, c10::Device device) override {
    if (outer_reporter_ && outer_reporter_->memoryProfilingEnabled())
      outer_reporter_->reportMemoryUsage(block, size, allocated, reserved, device);
    if (!device.is_cpu())
      return;
    const int64_t now = live.fetch_add(size) + size;
    int64_t highest = peak.load();
    while (now > highest && !peak.compare_exchange_weak(highest, now)) {
    }
  }
  bool memoryProfilingEnabled() const override { return true; }
  std::atomic<int64_t> live{0};
  std::atomic<int64_t> peak{0};

private:
  // What was there before goes on hearing of everything; the first keeps the second alive.
  std::shared_ptr<c10::ThreadLocalDebugInfo> outer_;
  c10::MemoryReportingInfoBase *outer_reporter_;
};

struct MemoryGuard {
  explicit MemoryGuard(const std::shared_ptr<MemoryCounter> &counter)
      : counter(counter), guard(c10::DebugInfoKind::PROFILER_STATE, counter) {}
  std::shared_ptr<MemoryCounter> counter;
  c10::DebugInfoGuard guard;
};

RustNode *node_at(void *node) { return static_cast<RustNode *>(node); }

} // namespace

extern "C" {

void dn_free_message(char *message) noexcept { free(message); }

void dn_free_tensor(Tensor *tensor) noexcept { delete tensor; }

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

// -------------------------------------------------------------------------------------------------------- CPU autocast

struct Autocast {
  bool enabled;
  int32_t dtype;
};

int32_t dn_autocast_get(Autocast *now, Failure *failure) noexcept {
  return guarded(failure, [&] {
    now->enabled = at::autocast::is_autocast_enabled(at::kCPU);
    now->dtype = static_cast<int32_t>(at::autocast::get_autocast_dtype(at::kCPU));
  });
}

int32_t dn_autocast_set(Autocast wanted, Failure *failure) noexcept {
  return guarded(failure, [&] {
    at::autocast::set_autocast_dtype(at::kCPU, static_cast<at::ScalarType>(wanted.dtype));
    at::autocast::set_autocast_enabled(at::kCPU, wanted.enabled);
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
