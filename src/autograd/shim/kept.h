// Tensors that libtorch's own nodes keep, made again when backward wants them.
#pragma once

#include "boundary.h"

#include <torch/csrc/autograd/generated/Functions.h>

using torch::autograd::Node;
using torch::autograd::SavedVariable;

namespace {

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

} // namespace
