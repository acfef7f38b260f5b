#include "engine/tracee/call_area.h"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <limits>

namespace ckpt::engine {
namespace {

// No system call returns it.
constexpr std::int64_t kNotYet = std::numeric_limits<std::int64_t>::min();

arch::LoopCall to_loop(const RemoteCall& from) {
  arch::LoopCall call{.number = static_cast<std::uint64_t>(from.number), .arguments = {}, .result = kNotYet};
  std::ranges::copy(from.arguments, std::begin(call.arguments));
  return call;
}

}  // namespace

static_assert(sizeof(RemoteCall) == sizeof(arch::LoopCall), "a thread's calls take as much room there");

CallArea::CallArea(std::span<const ThreadCalls> batch) : batch_(batch) {
  std::size_t offset = kCallsOffset;
  for (const ThreadCalls& thread : batch) offset += thread.calls.size_bytes();
  bytes_.resize(offset);
  std::ranges::copy(arch::call_loop_code(), bytes_.begin());
  offset = kCallsOffset;
  for (const ThreadCalls& thread : batch) {
    for (const RemoteCall& from : thread.calls) {
      arch::LoopCall call = to_loop(from);
      std::memcpy(&bytes_[offset], &call, sizeof(call));
      offset += sizeof(call);
    }
  }
}

arch::LoopCall CallArea::at(std::size_t index) const {
  arch::LoopCall call;
  std::memcpy(&call, &bytes_[kCallsOffset + index * sizeof(call)], sizeof(call));
  return call;
}

bool CallArea::is_complete() const {
  std::size_t end = 0;
  return std::ranges::all_of(batch_, [&](const ThreadCalls& thread) {
    end += thread.calls.size();
    return thread.calls.empty() || at(end - 1).result != kNotYet;
  });
}

void CallArea::hand_out_results() const {
  std::size_t index = 0;
  for (const ThreadCalls& thread : batch_) {
    for (RemoteCall& call : thread.calls) call.result = at(index++).result;
  }
}

}  // namespace ckpt::engine
