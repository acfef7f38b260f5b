// ckpt_checkpoint(), ckpt_disable(), ckpt_enable(), ckpt_generation(), ckpt_args().
#include <stddef.h>
#include <stdint.h>

#include "agent/hooks.h"
#include "agent/public.h"
#include "agent/table.h"
#include "ckpt/ckpt.h"

namespace {

using namespace ckpt::agent;

constexpr unsigned kLookSeconds = 1;
constexpr unsigned kLongestYieldMs = 250;

// Critical sections of this thread: to wait for a checkpoint in one would be to wait for itself.
__attribute__((tls_model("initial-exec"))) thread_local unsigned own_sections = 0;

Request* claim_request(AgentTable& table) {
  for (Request& request : table.requests) {
    uint32_t free = kFree;
    if (__atomic_compare_exchange_n(&request.state, &free, kClaimed, false, __ATOMIC_ACQ_REL,
                                    __ATOMIC_RELAXED))
      return &request;
  }
  return nullptr;
}

// The supervisor may have been busy, or come to life again as another one, when it was woken first.
int wait_for_answer(AgentTable& table, Request& request) {
  for (;;) {
    uint32_t state = __atomic_load_n(&request.state, __ATOMIC_ACQUIRE);
    if (state == kAnswered) return request.result;
    wait_on(request.state, state, kLookSeconds);
    if (__atomic_load_n(&request.state, __ATOMIC_ACQUIRE) != state) continue;
    if (!supervisor_lives(table)) return -ENOTCONN;
    if (state == kRequested) wake_supervisor(table);
  }
}

// Where there is always some thread in a section, a checkpoint would never find its moment. But somebody who
// is in one may be waiting for this thread: hence the limit.
void let_checkpoint_go_first(AgentTable& table) {
  if (__atomic_load_n(&table.deferred, __ATOMIC_SEQ_CST) == 0 || in_hook_thread()) return;
  wait_on_ms(table.deferred, 1, kLongestYieldMs);
  if (!supervisor_lives(table)) __atomic_store_n(&table.deferred, 0, __ATOMIC_SEQ_CST);
}

int request_checkpoint(AgentTable& table, unsigned flags) {
  Request* request = claim_request(table);
  if (request == nullptr) return -EAGAIN;
  request->flags = flags;
  __atomic_store_n(&request->state, kRequested, __ATOMIC_RELEASE);
  bool heard = supervisor_lives(table) && wake_supervisor(table);
  int result = heard ? wait_for_answer(table, *request) : -ENOTCONN;
  __atomic_store_n(&request->state, kFree, __ATOMIC_RELEASE);
  if (result == 1) wait_for_restore_hooks(table);
  return result;
}

}  // namespace

CKPT_PUBLIC int ckpt_checkpoint(unsigned flags) {
  if ((flags & ~static_cast<unsigned>(CKPT_DURABLE)) != 0) return -EINVAL;
  KeepsErrno keeps;
  AgentTable* joined = joined_table();
  if (joined == nullptr) return -ENOTCONN;
  if (own_sections != 0 || in_hook_thread()) return -EDEADLK;
  return request_checkpoint(*joined, flags);
}

CKPT_PUBLIC int ckpt_disable(void) {
  KeepsErrno keeps;
  AgentTable* joined = joined_table();
  if (joined == nullptr) return -ENOTCONN;
  if (own_sections == 0) let_checkpoint_go_first(*joined);
  ++own_sections;
  __atomic_add_fetch(&joined->disabled, 1, __ATOMIC_SEQ_CST);
  return 0;
}

CKPT_PUBLIC int ckpt_enable(void) {
  KeepsErrno keeps;
  AgentTable* joined = joined_table();
  if (joined == nullptr) return -ENOTCONN;
  if (own_sections == 0) return -EINVAL;
  --own_sections;
  if (__atomic_sub_fetch(&joined->disabled, 1, __ATOMIC_SEQ_CST) != 0) return 0;
  if (__atomic_load_n(&joined->deferred, __ATOMIC_SEQ_CST) != 0) wake_supervisor(*joined);
  return 0;
}

CKPT_PUBLIC uint64_t ckpt_generation(void) {
  KeepsErrno keeps;
  AgentTable* joined = joined_table();
  return joined != nullptr ? joined->generation : 0;
}

CKPT_PUBLIC const char* const* ckpt_args(size_t* count) {
  KeepsErrno keeps;
  AgentTable* joined = joined_table();
  bool given = joined != nullptr && joined->arguments != 0;
  if (count != nullptr) *count = given ? joined->argument_count : 0;
  return given ? reinterpret_cast<const char* const*>(joined->arguments) : nullptr;
}
