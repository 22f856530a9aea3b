// The nodes of the graph that are ours.
#pragma once

#include "boundary.h"

#include <torch/csrc/autograd/custom_function.h>

#include <mutex>
#include <thread>

using torch::autograd::Node;
using torch::autograd::SavedVariable;

namespace {

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

RustNode *node_at(void *node) { return static_cast<RustNode *>(node); }

} // namespace
