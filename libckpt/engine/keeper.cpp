#include "engine/keeper.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <memory>
#include <thread>

#include "base/thread_list.h"
#include "engine/resource/open_description.h"
#include "engine/tracee/remote_memory.h"

namespace ckpt::engine {
namespace {

using Clock = std::chrono::steady_clock;
using Table = agent::AgentTable;

constexpr std::chrono::seconds kLongestPreparation{60};
constexpr std::chrono::milliseconds kLongestSettling{500};
constexpr std::chrono::microseconds kLookAgain{100};
constexpr unsigned kCommandBits = 2;

std::size_t place_of(std::size_t member) { return offsetof(Table, keeper) + member; }

template <std::size_t kSize>
std::string text_of(const char (&room)[kSize]) {  // NOLINT(modernize-avoid-c-arrays): of a C interface
  return {room, ::strnlen(room, kSize)};
}

// What `look` finds, looked for until then.
template <typename Look>
auto look_until(Clock::time_point deadline, const Look& look) {
  for (;;) {
    if (auto found = look()) return found;
    if (Clock::now() > deadline) return decltype(look())();
    std::this_thread::sleep_for(kLookAgain);
  }
}

}  // namespace

std::optional<Keeper> Keeper::of(pid_t pid, const AgentTables& tables) {
  for (const AgentTable& table : tables.all()) {
    std::unique_ptr<Table> now = table.read();
    if (now != nullptr && now->keeper.address != 0)
      return Keeper(pid, tables, table, RemoteAddr{now->keeper.address});
  }
  return std::nullopt;
}

ckpt_keeper Keeper::read() const {
  ckpt_keeper keeper;
  read_remote(pid_, address_, std::as_writable_bytes(std::span(&keeper, 1)));
  return keeper;
}

std::uint32_t Keeper::command(std::uint32_t what) const {
  std::unique_ptr<Table> now = table_.read();
  if (now == nullptr) throw Error("the program has just ended, or executed another one", ESRCH);
  std::uint32_t word = (((now->keeper.command >> kCommandBits) + 1) << kCommandBits) | what;
  table_.write(place_of(offsetof(agent::Keeper, command)), word);
  return word;
}

void Keeper::throw_failure(const Table& now) const {
  std::string failure = text_in(now.keeper.failure);
  if (!failure.empty()) throw Error(failure, EIO);
}

void Keeper::keep_off() const { await_done(command(agent::kKeepOff)); }
void Keeper::get_ready() const { await_done(command(agent::kGetReady)); }

void Keeper::await_done(std::uint32_t word) const {
  auto done = look_until(Clock::now() + kLongestPreparation, [&]() -> std::unique_ptr<Table> {
    std::unique_ptr<Table> now = table_.read();
    if (now == nullptr) throw Error("the program has just ended, or executed another one", ESRCH);
    return now->keeper.done == word ? std::move(now) : nullptr;
  });
  if (done == nullptr) {
    throw Error(
        fmt::format("the library that keeps memory elsewhere did not answer within {} s; try again later",
                    kLongestPreparation.count()),
        ETIMEDOUT);
  }
  throw_failure(*done);
}

void Keeper::settle() const {
  std::uint32_t word = command(agent::kSettle);
  auto done = look_until(Clock::now() + kLongestSettling, [&]() -> std::unique_ptr<Table> {
    std::unique_ptr<Table> now = table_.read();
    return now != nullptr && now->keeper.done == word ? std::move(now) : nullptr;
  });
  if (done == nullptr)
    throw NotSettled("memory that the program keeps elsewhere does not come to rest; try again later",
                     EAGAIN);
  std::string failure = text_in(done->keeper.failure);
  if (!failure.empty()) throw NotSettled(failure, EAGAIN);
}

void Keeper::go_on() const noexcept {
  try {
    command(agent::kGoOn);
  } catch (const Error&) {
    return;  // the program has just ended
  }
}

// Of a thread that the library names.
std::int32_t Keeper::kernel_id(std::int32_t seen) const {
  std::unique_ptr<agent::IdTable> ids = tables_.ids();
  return ids != nullptr ? agent::kernel_id(*ids, seen) : seen;
}

std::vector<pid_t> Keeper::threads() const {
  ckpt_keeper keeper = read();
  std::unique_ptr<Table> now = table_.read();
  std::vector<std::int32_t> inner(std::begin(keeper.threads), std::end(keeper.threads));
  if (now != nullptr) inner.push_back(now->keeper.thread);
  for (std::int32_t& id : inner) id = kernel_id(id);
  std::vector<pid_t> found;
  for (pid_t tid : list_threads(pid_)) {
    std::int32_t id = resource::innermost_id(tid);
    if (id != 0 && std::ranges::count(inner, id) != 0) found.push_back(tid);
  }
  return found;
}

KeptElsewhere Keeper::kept() const {
  ckpt_keeper keeper = read();
  KeptElsewhere kept;
  for (const ckpt_kept& each : keeper.kept) {
    std::string directory = text_of(each.directory);
    if (directory.empty()) continue;
    for (const auto& range : each.ranges) {
      if (range[0] < range[1]) kept.ranges.push_back({range[0], range[1]});
    }
    for (std::int32_t number : each.descriptors) {
      if (number >= 0) kept.descriptors.push_back(number);
    }
    kept.directories.push_back(directory);
    kept.versions.push_back({.directory = directory, .name = text_of(each.name), .version = each.version});
  }
  std::unique_ptr<Table> now = table_.read();
  if (now != nullptr && !kept.versions.empty()) kept.thread = kernel_id(now->keeper.thread);
  return kept;
}

void Keeper::expect() const { table_.write(place_of(offsetof(agent::Keeper, back)), std::uint32_t{0}); }

void Keeper::await_back(std::uint32_t step) const {
  auto back = look_until(Clock::now() + kLongestPreparation, [&]() -> std::unique_ptr<Table> {
    std::unique_ptr<Table> now = table_.read();
    if (now == nullptr) throw Error("the program ended before it had its memory again", ESRCH);
    return now->keeper.back >= step || now->keeper.failure[0] != '\0' ? std::move(now) : nullptr;
  });
  if (back == nullptr) {
    throw Error(fmt::format("memory that the program keeps elsewhere did not come back within {} s",
                            kLongestPreparation.count()),
                ETIMEDOUT);
  }
  throw_failure(*back);
}

void Keeper::await_stand_in() const { await_back(agent::kStoodIn); }
void Keeper::await_return() const { await_back(agent::kCameBack); }

}  // namespace ckpt::engine
