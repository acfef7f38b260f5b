#include "agent/keeper.h"

#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "agent/hooks.h"
#include "agent/public.h"
#include "agent/table.h"
#include "ckpt/keeper.h"

namespace ckpt::agent {
namespace {

// Nobody can wake this thread from outside. One command comes after the other, and others stand still while
// the answer is awaited.
constexpr timespec kLookAgain{.tv_sec = 0, .tv_nsec = 200'000};
constexpr timespec kLookAgainLater{.tv_sec = 0, .tv_nsec = 5'000'000};
constexpr unsigned kLooksAfterCommand = 500;  // before it looks less often
constexpr uint32_t kCommandMask = 3;

unsigned looks = 0;  // since the last command; may begin again
bool has_gone_on = true;
uint32_t obeying = 0;  // the thread knows of the keeper

// It may be about to sleep, or run a function of the program; then it looks when that has returned.
void have_thread_look(AgentTable& table) {
  constexpr unsigned kMostTries = 100;
  for (unsigned i = 0; i < kMostTries && __atomic_load_n(&obeying, __ATOMIC_ACQUIRE) == 0; ++i) {
    wake_waiters(table.hooks.command);
    nanosleep(&kLookAgain, nullptr);
  }
}

ckpt_keeper* keeper_of(const AgentTable& table) {
  return reinterpret_cast<ckpt_keeper*>(__atomic_load_n(&table.keeper.address, __ATOMIC_ACQUIRE));
}

void note_failure(AgentTable& table, const char* failure) {
  auto& room = table.keeper.failure;
  size_t length = failure == nullptr ? 0 : strnlen(failure, room.size() - 1);
  if (length != 0) memcpy(room.data(), failure, length);
  room[length] = '\0';
}

void obey(AgentTable& table, const ckpt_keeper& keeper, uint32_t command) {
  const char* failure = nullptr;
  if (command == kKeepOff) keeper.keep_off(keeper.argument);
  if (command == kGetReady) failure = keeper.get_ready(keeper.argument);
  if (command == kSettle) failure = keeper.settle(keeper.argument);
  if (command == kGoOn) keeper.go_on(keeper.argument);
  note_failure(table, failure);
  has_gone_on = command == kGoOn;
}

// A supervisor that was killed before it let the keeper go on never will.
void look_after_supervisor(AgentTable& table, const ckpt_keeper& keeper) {
  constexpr unsigned kLooksPerLook = 400;
  if (has_gone_on || looks % kLooksPerLook != 0 || supervisor_lives(table)) return;
  keeper.go_on(keeper.argument);
  has_gone_on = true;
}

}  // namespace

void adopt_keeper(AgentTable& table) {
  table.keeper.thread = static_cast<int32_t>(syscall(SYS_gettid));
  __atomic_store_n(&table.keeper.done, __atomic_load_n(&table.keeper.command, __ATOMIC_RELAXED),
                   __ATOMIC_RELAXED);
}

bool obey_keeper_commands(AgentTable& table) {
  const ckpt_keeper* keeper = keeper_of(table);
  if (keeper == nullptr) return false;
  __atomic_store_n(&obeying, 1, __ATOMIC_RELEASE);
  uint32_t command = __atomic_load_n(&table.keeper.command, __ATOMIC_ACQUIRE);
  if (command != table.keeper.done) {
    obey(table, *keeper, command & kCommandMask);
    __atomic_store_n(&table.keeper.done, command, __ATOMIC_RELEASE);
    looks = 0;
  }
  nanosleep(++looks < kLooksAfterCommand ? &kLookAgain : &kLookAgainLater, nullptr);
  look_after_supervisor(table, *keeper);
  return true;
}

void let_keeper_go_on(AgentTable& table) {
  const ckpt_keeper* keeper = keeper_of(table);
  if (keeper != nullptr) keeper->go_on(keeper->argument);
  has_gone_on = true;
}

void bring_keeper_back(AgentTable& table) {
  adopt_keeper(table);
  const ckpt_keeper* keeper = keeper_of(table);
  if (keeper == nullptr) return;
  const char* failure = keeper->stand_in(keeper->argument);
  note_failure(table, failure);
  __atomic_store_n(&table.keeper.back, kStoodIn, __ATOMIC_RELEASE);
  if (failure != nullptr) return;
  note_failure(table, keeper->come_back(keeper->argument));
  has_gone_on = true;
  __atomic_store_n(&table.keeper.back, kCameBack, __ATOMIC_RELEASE);
}

}  // namespace ckpt::agent

CKPT_PUBLIC int ckpt_keep(ckpt_keeper* keeper) {
  using namespace ckpt::agent;
  KeepsErrno keeps;
  AgentTable* joined = joined_table();
  if (joined == nullptr) return -ENOTCONN;
  if (int failure = need_hook_thread(*joined); failure != 0) return failure;
  uint64_t none = 0;
  keeper->application = joined->directory.data();  // another one after a recover
  auto address = reinterpret_cast<uint64_t>(keeper);
  bool first = __atomic_compare_exchange_n(&joined->keeper.address, &none, address, false, __ATOMIC_ACQ_REL,
                                           __ATOMIC_RELAXED);
  if (first) have_thread_look(*joined);
  return first ? 0 : -EEXIST;
}
