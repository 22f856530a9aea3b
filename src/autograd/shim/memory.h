// Counts what libtorch's CPU allocator gives out.
#pragma once

#include <c10/core/Allocator.h>
#include <c10/util/ThreadLocalDebugInfo.h>

#include <atomic>
#include <cstdint>
#include <memory>

namespace {

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

} // namespace
