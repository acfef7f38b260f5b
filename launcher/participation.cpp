#include "launcher/participation.h"

#include <fmt/format.h>
#include <sys/random.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "ckpt/ckpt.h"
#include "engine/process/proc_status.h"

namespace ckpt::launcher {
namespace {

using agent::Request;
using engine::AgentTable;
using Table = agent::AgentTable;

std::size_t place_of(std::size_t request) { return offsetof(Table, requests) + request * sizeof(Request); }

void set_state(const AgentTable& table, std::size_t request, std::uint32_t state) {
  table.write(place_of(request) + offsetof(Request, state), state);
}

void answer(const AgentTable& table, std::size_t request, std::int32_t result) {
  table.write(place_of(request) + offsetof(Request, result), result);
  set_state(table, request, agent::kAnswered);
}

// True if it was not answered yet.
bool answer(const ProgramCall& call, std::int32_t result) {
  std::unique_ptr<Table> now = call.table.read();
  if (now == nullptr || now->requests.at(call.index).state != agent::kAccepted) return false;
  answer(call.table, call.index, result);
  return true;
}

// False if there is nobody to run hooks.
bool command(const AgentTable& table, const Table& now, std::uint32_t event) {
  if (now.hooks.thread == 0) return false;
  std::uint32_t number = (now.hooks.command >> agent::kEventBits) + 1;
  std::uint32_t word = (number << agent::kEventBits) | event;
  table.write(offsetof(Table, hooks) + offsetof(agent::Hooks, command), word);
  return true;
}

std::uint64_t fresh_generation() {
  std::uint64_t random = 0;
  while (random == 0) {
    if (::getrandom(&random, sizeof random, 0) != static_cast<ssize_t>(sizeof random))
      throw_errno("get random bytes");
  }
  return random;
}

// A char*[] with its strings behind it, as they will lie at `address` in the program.
std::vector<std::byte> argument_block(const std::vector<std::string>& arguments, std::uint64_t address) {
  std::size_t at = (arguments.size() + 1) * sizeof(std::uint64_t);
  std::size_t size = at;
  for (const std::string& argument : arguments) size += argument.size() + 1;
  if (size > agent::kMostArgumentBytes) {
    throw Error(
        fmt::format("the arguments after -- take {} bytes, and {} is the most that a program can be "
                    "given; put them into a file",
                    size, agent::kMostArgumentBytes));
  }
  std::vector<std::byte> block(size);
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    std::uint64_t place = address + at;
    std::memcpy(block.data() + i * sizeof place, &place, sizeof place);
    std::memcpy(block.data() + at, arguments[i].c_str(), arguments[i].size() + 1);
    at += arguments[i].size() + 1;
  }
  return block;
}

void hand_over(const AgentTable& table, const std::vector<std::string>& arguments) {
  std::uint64_t place = 0;
  if (!arguments.empty()) {
    place = table.address().value + offsetof(Table, argument_room);
    table.write(offsetof(Table, argument_room), std::span<const std::byte>(argument_block(arguments, place)));
  }
  table.write(offsetof(Table, arguments), place);
  table.write(offsetof(Table, argument_count), static_cast<std::uint32_t>(arguments.size()));
}

void set_directory(const AgentTable& table, const std::string& directory) {
  std::array<char, sizeof(Table::directory)> text{};
  if (directory.size() < text.size()) std::ranges::copy(directory, text.begin());
  table.write(offsetof(Table, directory), text);
}

}  // namespace

std::vector<ProgramCall> Participation::look() {
  std::vector<ProgramCall> calls;
  try {
    tables_ = session_.agent_tables();
  } catch (const Error&) {
    tables_ = {};  // it has just ended
  }
  for (const AgentTable& table : tables_.all()) {
    std::unique_ptr<Table> now = table.read();
    for (std::size_t i = 0; now != nullptr && i < now->requests.size(); ++i) {
      if (now->requests.at(i).state != agent::kRequested) continue;
      set_state(table, i, agent::kAccepted);
      calls.push_back({table, i, (now->requests.at(i).flags & CKPT_DURABLE) != 0});
    }
  }
  return calls;
}

std::vector<ProgramLease> Participation::leases() const {
  std::vector<ProgramLease> found;
  for (const AgentTable& table : tables_.all()) {
    std::unique_ptr<Table> now = table.read();
    if (now == nullptr) continue;
    for (const agent::Lease& lease : now->leases) {
      if (lease.state < CKPT_LEASE_ACTIVE || lease.state > CKPT_LEASE_LOST) continue;
      // The states of the log, in the same order.
      found.push_back({.name = engine::text_in(lease.name),
                       .place = engine::text_in(lease.place),
                       .state = static_cast<LeaseState>(lease.state - CKPT_LEASE_ACTIVE)});
    }
  }
  return found;
}

bool Participation::deferred() const {
  bool deferred = false;
  for (const AgentTable& table : tables_.all()) {
    std::unique_ptr<Table> now = table.read();
    if (now == nullptr || now->disabled == 0) continue;
    table.write(offsetof(Table, deferred), std::uint32_t{1});
    // It may have left the section before it could see that.
    now = table.read();
    deferred = deferred || (now != nullptr && now->disabled != 0);
  }
  return deferred;
}

bool Participation::start_before_hooks(bool suspend) {
  std::uint32_t event = suspend ? agent::kBeforeSuspend : static_cast<std::uint32_t>(CKPT_BEFORE_CHECKPOINT);
  for (const AgentTable& table : tables_.all()) {
    std::unique_ptr<Table> now = table.read();
    if (now != nullptr && command(table, *now, event)) prepared_ = true;
  }
  if (!prepared_) return false;
  bool somebody_waits = permit_sections();
  if (somebody_waits || !session_.hooks_look_again()) session_.look_again();
  return true;
}

std::optional<int> Participation::before_hooks_result() const {
  int result = 0;
  for (const AgentTable& table : tables_.all()) {
    std::unique_ptr<Table> now = table.read();
    if (now == nullptr || now->hooks.thread == 0) continue;
    if (now->hooks.done != now->hooks.command) return std::nullopt;
    if (result == 0) result = now->hooks.result;
  }
  return result;
}

bool Participation::start_after_hooks() {
  if (!std::exchange(prepared_, false)) return false;
  for (const AgentTable& table : tables_.all()) {
    std::unique_ptr<Table> now = table.read();
    if (now != nullptr) command(table, *now, CKPT_AFTER_CHECKPOINT);
  }
  return true;
}

// True if any may wait for that.
bool Participation::permit_sections() const {
  bool any = false;
  for (const AgentTable& table : tables_.all()) {
    std::unique_ptr<Table> now = table.read();
    if (now == nullptr || now->deferred == 0) continue;
    table.write(offsetof(Table, deferred), std::uint32_t{0});
    any = true;
  }
  return any;
}

void Participation::captured(const std::vector<ProgramCall>& calls) {
  for (const ProgramCall& call : calls) {
    if (!call.durable) answer(call, 0);
  }
  permit_sections();
  start_after_hooks();
}

void Participation::put_off() {
  if (start_after_hooks()) have_program_look();
}

void Participation::have_program_look() {
  try {
    session_.look_again();
  } catch (const Error&) {
    return;  // it has ended, or cannot be stopped now: callers look again by themselves every second
  }
}

void Participation::finished(const std::vector<ProgramCall>& calls, int result) {
  bool somebody_waits = start_after_hooks();
  somebody_waits = permit_sections() || somebody_waits;
  for (const ProgramCall& call : calls) somebody_waits = answer(call, result) || somebody_waits;
  if (somebody_waits) have_program_look();
}

void tell_recovered(const engine::AgentTables& tables, const RecoverNews& news, pid_t program) {
  std::uint64_t generation = fresh_generation();
  std::int32_t owner = tables.seen_id(engine::ProcStatus::of_process(program).innermost("NSpid"));
  bool takes_arguments = false;
  for (const AgentTable& table : tables.all()) {
    std::unique_ptr<Table> now = table.read();
    if (now == nullptr) continue;
    takes_arguments = takes_arguments || now->called != 0;
    set_directory(table, news.directory);
    hand_over(table, news.arguments);
    table.write(offsetof(Table, owner), owner);
    table.write(offsetof(Table, generation), generation);
    table.write(offsetof(Table, deferred), std::uint32_t{0});
    command(table, *now, CKPT_AFTER_RESTORE);
    for (std::size_t i = 0; i < now->requests.size(); ++i) {
      std::uint32_t state = now->requests.at(i).state;
      if (state == agent::kRequested || state == agent::kAccepted) answer(table, i, 1);
    }
  }
  if (!news.arguments.empty() && !takes_arguments) {
    throw Error("the program never called libckpt and would not see the arguments after --; leave them out");
  }
}

}  // namespace ckpt::launcher
