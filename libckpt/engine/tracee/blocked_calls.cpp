#include "engine/tracee/blocked_calls.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string_view>

#include "base/error.h"
#include "base/parse.h"
#include "base/unique_fd.h"

namespace ckpt::engine {
namespace {

using std::chrono::steady_clock;

std::string_view next_word(std::string_view& text) {
  std::size_t begin = text.find_first_not_of(" \n");
  if (begin == std::string_view::npos) return {};
  text.remove_prefix(begin);
  std::string_view word = text.substr(0, text.find_first_of(" \n"));
  text.remove_prefix(word.size());
  return word;
}

std::optional<std::uint64_t> next_hexadecimal(std::string_view& text) {
  std::string_view word = next_word(text);
  if (!word.starts_with("0x")) return std::nullopt;
  return parse_unsigned(word.substr(2), 16);
}

// "number 0xargument... 0xsp 0xip"
bool parse_call(std::string_view text, BlockedCall& call) {
  auto number = parse_unsigned(next_word(text));
  if (!number) return false;  // -1: blocked, but not in a system call
  std::array<std::uint64_t, 8> words{};
  for (std::uint64_t& word : words) {
    auto value = next_hexadecimal(text);
    if (!value) return false;
    word = *value;
  }
  call.number = static_cast<long>(*number);
  std::copy_n(words.begin(), call.site.arguments.size(), call.site.arguments.begin());
  call.site.sp = words[6];
  call.site.ip = words[7];
  return true;
}

}  // namespace

std::string BlockedCalls::read(pid_t tid, const char* file) {
  std::array<char, 4096> text{};
  auto path = fmt::format("{}/{}", tid, file);
  UniqueFd fd(::openat(threads_.descriptor(), path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return {};
  ssize_t size = ::read(fd.get(), text.data(), text.size());
  return size < 0 ? std::string() : std::string(text.data(), static_cast<std::size_t>(size));
}

Whereabouts BlockedCalls::look_at(pid_t tid, BlockedCall& call) {
  std::string text = read(tid, "syscall");
  if (text.empty()) return Whereabouts::kGone;
  if (text.starts_with("running")) return Whereabouts::kRunning;
  call.tid = tid;
  return parse_call(text, call) ? Whereabouts::kInCall : Whereabouts::kElsewhere;
}

std::optional<RunRecord> BlockedCalls::run_record(pid_t tid) { return parse_run_record(read(tid, "sched")); }

// Field 39 of `stat`; counted from behind the name, which may hold blanks.
int BlockedCalls::processor_of(pid_t tid) {
  constexpr int kFieldsFromName = 37;
  std::string stat = read(tid, "stat");
  std::string_view rest = stat;
  std::size_t name_end = rest.rfind(')');
  if (name_end == std::string_view::npos) return -1;
  rest.remove_prefix(name_end + 1);
  std::string_view word;
  for (int field = 0; field < kFieldsFromName; ++field) word = next_word(rest);
  auto processor = parse_unsigned(word);
  return processor ? static_cast<int>(*processor) : -1;
}

// Two rounds: see the hard rule of ProcessorClocks.
void BlockedCalls::read_history(std::vector<BlockedCall>& calls) {
  struct LastRan {
    int processor = -1;
    std::optional<RunRecord> record;
  };
  std::vector<LastRan> threads;
  threads.reserve(calls.size());
  for (const BlockedCall& call : calls) {
    std::optional<RunRecord> record = run_record(call.tid);
    threads.push_back({.processor = record ? processor_of(call.tid) : -1, .record = record});
  }
  ProcessorClocks clocks;
  for (std::size_t i = 0; i < calls.size(); ++i) {
    calls[i].since = steady_clock::now();
    if (!threads[i].record) continue;
    calls[i].voluntary_switches = threads[i].record->voluntary_switches;
    if (auto since = clocks.to_steady(threads[i].processor, threads[i].record->last_ran))
      calls[i].since = *since;
  }
}

}  // namespace ckpt::engine
