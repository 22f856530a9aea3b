// What crosses between Rust and C++: failures, errors and tensors.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>

#include <atomic>
#include <cstdint>
#include <cstring>
#include <exception>
#include <memory>
#include <string>
#include <utility>
#include <vector>

using at::Tensor;
using variable_list = std::vector<Tensor>;

// Shared with src/autograd/ffi.rs, down to `Recipe`.

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

inline variable_list tensors_at(Tensor *const *pointers, size_t count) {
  variable_list tensors;
  tensors.reserve(count);
  for (size_t i = 0; i < count; ++i)
    tensors.push_back(pointers[i] ? *pointers[i] : Tensor());
  return tensors;
}

// A tensor that Rust will own; null for none.
inline Tensor *given(Tensor tensor) { return tensor.defined() ? new Tensor(std::move(tensor)) : nullptr; }

inline void give_all(variable_list tensors, Tensor **out) {
  // All or nothing: what is not handed over is freed.
  std::vector<std::unique_ptr<Tensor>> owned;
  owned.reserve(tensors.size());
  for (auto &tensor : tensors)
    owned.emplace_back(given(std::move(tensor)));
  for (auto &tensor : owned)
    *out++ = tensor.release();
}

} // namespace
