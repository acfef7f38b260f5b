#include "agent/hooks.h"

#include <pthread.h>
#include <signal.h>
#include <stdint.h>

#include "agent/keeper.h"
#include "agent/leases.h"
#include "agent/public.h"
#include "agent/table.h"
#include "ckpt/ckpt.h"

namespace ckpt::agent {
namespace {

constexpr unsigned kMostHooks = CKPT_MOST_HOOKS;
constexpr unsigned kLookSeconds = 1;
constexpr unsigned kObeyedPerLook = 400;
constexpr size_t kStackBytes = size_t{256} << 10;
constexpr uint32_t kEventMask = (1U << kEventBits) - 1;

struct Hook {
  ckpt_event event;
  ckpt_hook function;
  void* argument;
};

pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
Hook hooks[kMostHooks];
unsigned hook_count = 0;  // grows only; written with `mutex` held
pthread_t hook_thread;
uint32_t runs_hooks = 0;

// Functions that clean up run in the opposite order, so that what was set up first goes last.
int run_hooks(ckpt_event event) {
  unsigned count = __atomic_load_n(&hook_count, __ATOMIC_ACQUIRE);
  for (unsigned i = 0; i < count; ++i) {
    const Hook& hook = hooks[event == CKPT_BEFORE_CHECKPOINT ? i : count - 1 - i];
    if (hook.event != event) continue;
    int result = hook.function(event, hook.argument);
    if (result != 0 && event == CKPT_BEFORE_CHECKPOINT) return result;
  }
  return 0;
}

bool is_before(uint32_t command) {
  uint32_t event = command & kEventMask;
  return event == CKPT_BEFORE_CHECKPOINT || event == kBeforeSuspend;
}

int handle(AgentTable& table, uint32_t event) {
  if (event == CKPT_AFTER_RESTORE) {
    bring_keeper_back(table);
    establish_leases(table);
  }
  if (event == CKPT_AFTER_CHECKPOINT) {
    let_keeper_go_on(table);
    establish_expired_leases(table);
  }
  if (event != kBeforeSuspend) return run_hooks(static_cast<ckpt_event>(event));
  int result = run_hooks(CKPT_BEFORE_CHECKPOINT);
  if (result == 0) expire_leases(table);
  return result;
}

uint32_t wait_for_command(AgentTable& table, uint32_t last) {
  bool prepared = is_before(last);
  unsigned obeyed = 0;
  for (;;) {
    uint32_t command = __atomic_load_n(&table.hooks.command, __ATOMIC_ACQUIRE);
    if (command != last) return command;
    bool obeys = obey_keeper_commands(table);
    bool looks = prepared && (!obeys || ++obeyed % kObeyedPerLook == 0);
    // A supervisor that died before it told how the checkpoint went never will.
    if (looks && !supervisor_lives(table)) return (last & ~kEventMask) | CKPT_AFTER_CHECKPOINT;
    if (!obeys) wait_on(table.hooks.command, last, prepared ? kLookSeconds : 0);
  }
}

void* serve(void* argument) {
  AgentTable& table = *static_cast<AgentTable*>(argument);
  adopt_keeper(table);
  uint32_t last = __atomic_load_n(&table.hooks.done, __ATOMIC_RELAXED);
  for (;;) {
    uint32_t command = wait_for_command(table, last);
    table.hooks.result = handle(table, command & kEventMask);
    __atomic_store_n(&table.hooks.command, command, __ATOMIC_RELAXED);
    __atomic_store_n(&table.hooks.done, command, __ATOMIC_RELEASE);
    wake_waiters(table.hooks.done);
    if (is_before(command)) wake_supervisor(table);
    last = command;
  }
  return nullptr;
}

int start_thread(AgentTable& table) {
  __atomic_store_n(&table.hooks.done, __atomic_load_n(&table.hooks.command, __ATOMIC_RELAXED),
                   __ATOMIC_RELAXED);
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  pthread_attr_setstacksize(&attributes, kStackBytes);
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);  // signals are for the program's own threads
  int failure = pthread_create(&hook_thread, &attributes, serve, &table);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  pthread_attr_destroy(&attributes);
  if (failure != 0) return -failure;
  pthread_setname_np(hook_thread, "ckpt-hooks");
  __atomic_store_n(&runs_hooks, 1, __ATOMIC_RELEASE);
  __atomic_store_n(&table.hooks.thread, 1, __ATOMIC_RELEASE);
  return 0;
}

int add_hook(const Hook& hook) {
  if (hook_count == kMostHooks) return -ENOSPC;
  hooks[hook_count] = hook;
  __atomic_store_n(&hook_count, hook_count + 1, __ATOMIC_RELEASE);
  return 0;
}

}  // namespace

int need_hook_thread(AgentTable& table) {
  pthread_mutex_lock(&mutex);
  int result = table.hooks.thread == 0 ? start_thread(table) : 0;
  pthread_mutex_unlock(&mutex);
  return result;
}

bool in_hook_thread() {
  return __atomic_load_n(&runs_hooks, __ATOMIC_ACQUIRE) != 0 && pthread_equal(pthread_self(), hook_thread);
}

void wait_for_restore_hooks(AgentTable& table) {
  if (__atomic_load_n(&table.hooks.thread, __ATOMIC_ACQUIRE) == 0) return;
  for (;;) {
    uint32_t command = __atomic_load_n(&table.hooks.command, __ATOMIC_ACQUIRE);
    uint32_t done = __atomic_load_n(&table.hooks.done, __ATOMIC_ACQUIRE);
    if (done == command || (command & kEventMask) != CKPT_AFTER_RESTORE) return;
    wait_on(table.hooks.done, done, 0);
  }
}

}  // namespace ckpt::agent

CKPT_PUBLIC int ckpt_on(ckpt_event event, ckpt_hook function, void* argument) {
  using namespace ckpt::agent;
  if (event < CKPT_BEFORE_CHECKPOINT || event > CKPT_AFTER_RESTORE || function == nullptr) return -EINVAL;
  KeepsErrno keeps;
  AgentTable* joined = joined_table();
  if (joined == nullptr) return -ENOTCONN;
  if (int failure = need_hook_thread(*joined); failure != 0) return failure;
  pthread_mutex_lock(&mutex);
  int result = add_hook({event, function, argument});
  pthread_mutex_unlock(&mutex);
  return result;
}
