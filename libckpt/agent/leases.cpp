#include "agent/leases.h"

#include <pthread.h>
#include <string.h>

#include "agent/hooks.h"
#include "agent/public.h"
#include "agent/table.h"
#include "ckpt/ckpt.h"

namespace ckpt::agent {
namespace {

struct Callbacks {
  ckpt_lease_establish establish;
  ckpt_lease_expire expire;
  void* argument;
};

pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
Callbacks callbacks[CKPT_MOST_LEASES];
static_assert(sizeof(AgentTable::leases) == CKPT_MOST_LEASES * sizeof(Lease));

void set_state(Lease& lease, ckpt_lease_state state) {
  __atomic_store_n(&lease.state, static_cast<uint32_t>(state), __ATOMIC_RELEASE);
}

// Copies the next of the blank-separated words at `from`; empty at the end. Returns what follows it.
const char* next_place(const char* from, std::array<char, 128>& place) {
  from += strspn(from, " ");
  size_t length = strcspn(from, " ");
  size_t kept = length < place.size() ? length : place.size() - 1;
  memcpy(place.data(), from, kept);
  place[kept] = '\0';
  return from + length;
}

// The places in their order; the first one that grants it holds it from now on.
void establish(Lease& lease, const Callbacks& with) {
  std::array<char, 128> place{};
  const char* rest = lease.places.data();
  for (;;) {
    rest = next_place(rest, place);
    if (place[0] == '\0') break;
    if (with.establish(lease.name.data(), place.data(), with.argument) != 0) continue;
    bool moved = lease.place != place;
    lease.place = place;
    return set_state(lease, moved ? CKPT_LEASE_MOVED : CKPT_LEASE_REESTABLISHED);
  }
  set_state(lease, CKPT_LEASE_LOST);
}

Lease* find(AgentTable& table, const char* name) {
  for (Lease& lease : table.leases) {
    if (lease.state != 0 && strcmp(lease.name.data(), name) == 0) return &lease;
  }
  return nullptr;
}

int add(AgentTable& table, const char* name, const char* places, const Callbacks& with) {
  if (find(table, name) != nullptr) return -EEXIST;
  for (Lease& lease : table.leases) {
    if (lease.state != 0) continue;
    memcpy(lease.name.data(), name, strlen(name) + 1);
    memcpy(lease.places.data(), places, strlen(places) + 1);
    next_place(places, lease.place);
    callbacks[&lease - table.leases.data()] = with;
    set_state(lease, CKPT_LEASE_ACTIVE);
    return 0;
  }
  return -ENOSPC;
}

}  // namespace

void expire_leases(AgentTable& table) {
  for (size_t i = table.leases.size(); i-- > 0;) {
    Lease& lease = table.leases[i];
    if (lease.state == 0 || lease.state == CKPT_LEASE_LOST) continue;
    if (callbacks[i].expire != nullptr)
      callbacks[i].expire(lease.name.data(), lease.place.data(), callbacks[i].argument);
    set_state(lease, CKPT_LEASE_EXPIRED);
  }
}

void establish_leases(AgentTable& table) {
  bool any = false;
  for (size_t i = 0; i < table.leases.size(); ++i) {
    if (table.leases[i].state == 0) continue;
    establish(table.leases[i], callbacks[i]);
    any = true;
  }
  if (any) wake_supervisor(table);
}

void establish_expired_leases(AgentTable& table) {
  for (size_t i = 0; i < table.leases.size(); ++i) {
    if (table.leases[i].state == CKPT_LEASE_EXPIRED) establish(table.leases[i], callbacks[i]);
  }
}

}  // namespace ckpt::agent

CKPT_PUBLIC int ckpt_lease(const char* name, const char* places, ckpt_lease_establish establish,
                           ckpt_lease_expire expire, void* argument) {
  using namespace ckpt::agent;
  bool fits = name != nullptr && places != nullptr && establish != nullptr && *name != '\0' &&
              strlen(name) < sizeof(Lease::name) && strlen(places) < sizeof(Lease::places) &&
              strspn(places, " ") != strlen(places);
  if (!fits) return -EINVAL;
  KeepsErrno keeps;
  AgentTable* joined = joined_table();
  if (joined == nullptr) return -ENOTCONN;
  if (int failure = need_hook_thread(*joined); failure != 0) return failure;
  pthread_mutex_lock(&mutex);
  int result = add(*joined, name, places, {establish, expire, argument});
  pthread_mutex_unlock(&mutex);
  if (result == 0) wake_supervisor(*joined);
  return result;
}

CKPT_PUBLIC int ckpt_lease_state_of(const char* name, const char** place) {
  using namespace ckpt::agent;
  KeepsErrno keeps;
  AgentTable* joined = joined_table();
  if (joined == nullptr) return -ENOTCONN;
  Lease* lease = name != nullptr ? find(*joined, name) : nullptr;
  if (lease == nullptr) return -ENOENT;
  if (place != nullptr) *place = lease->place.data();
  return static_cast<int>(__atomic_load_n(&lease->state, __ATOMIC_ACQUIRE));
}

CKPT_PUBLIC const char* ckpt_lease_name(size_t index) {
  using namespace ckpt::agent;
  KeepsErrno keeps;
  AgentTable* joined = joined_table();
  if (joined == nullptr || index >= joined->leases.size()) return nullptr;
  const Lease& lease = joined->leases[index];
  return lease.state != 0 ? lease.name.data() : nullptr;
}
