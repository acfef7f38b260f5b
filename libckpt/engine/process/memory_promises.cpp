#include "engine/process/memory_promises.h"

#include <fmt/format.h>
#include <linux/membarrier.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <array>
#include <bit>
#include <cerrno>

#include "base/error.h"
#include "base/file_io.h"
#include "base/kernel_abi.h"
#include "base/parse.h"
#include "base/remote_addr.h"
#include "engine/capture/memory_map.h"

namespace ckpt::engine {
namespace {

struct Barrier {
  int command;
  int registration;
};

constexpr std::array<Barrier, 3> kBarriers{
    {{MEMBARRIER_CMD_PRIVATE_EXPEDITED, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED},
     {MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE},
     {MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ}}};

std::int64_t membarrier(Tracee& tracee, int command) {
  return tracee.remote_syscall(SYS_membarrier, {static_cast<std::uint64_t>(command), 0, 0});
}

// Before Linux 6.3 nothing tells of registrations, but a barrier without one is refused.
std::uint32_t try_barriers(Tracee& tracee) {
  std::uint32_t found = 0;
  for (const Barrier& barrier : kBarriers) {
    if (membarrier(tracee, barrier.command) == 0) found |= static_cast<std::uint32_t>(barrier.registration);
  }
  return found;
}

// The scratch area is a mapping made just now: it has the flags that any later one gets.
std::uint32_t future_lock(const Tracee& tracee) {
  RemoteAddr latest = tracee.scratch_address();
  MapFlagsTable flags = MapFlagsTable::read(tracee.pid());
  for (const MapEntry& entry : read_memory_map(tracee.pid())) {
    if (entry.start != latest.value || !flags.of(entry).has("lo")) continue;
    bool on_fault = flags.of(entry).has("lf");
    return static_cast<std::uint32_t>(MCL_FUTURE | (on_fault ? MCL_ONFAULT : 0));
  }
  return 0;
}

// Memory that is locked cannot be discarded.
void ask_for_future_lock(Tracee& tracee, RemoteQueries& queries, image::ProcessT& process) {
  std::uint64_t last_page = tracee.scratch().value + Tracee::kScratchBytes - kPageSize;
  queries.ask(SYS_madvise, {last_page, kPageSize, MADV_DONTNEED}, [&](std::int64_t told) {
    if (told == -EINVAL) process.future_lock = future_lock(tracee);
  });
}

void refuse_own_segments(std::int64_t size) {
  if (size <= 0) return;  // none, or a kernel without
  throw Error(
      "the program has segments of its own (modify_ldt), which cannot be carried over; run a program that "
      "does not use 16- or 32-bit code");
}

// Of a mapping that may only be executed the kernel chooses the key itself, and allocates it with the first.
bool has_key_of_kernel(const image::MappingT& mapping) {
  return mapping.protection == PROT_EXEC && mapping.protection_key != 0;
}

std::uint8_t key_of_kernel(const image::ProcessT& process) {
  for (const auto& mapping : process.mappings) {
    if (has_key_of_kernel(*mapping)) return mapping->protection_key;
  }
  return 0;
}

// In a process that has none: keys are given out in order. Those not wanted are given back.
void plan_protection_keys(const image::ProcessT& process, PlanBuilder& plan) {
  std::uint8_t taken = key_of_kernel(process);
  auto end = static_cast<std::uint64_t>(std::bit_width(process.protection_keys));
  for (std::uint64_t key = 1; key < end; ++key) {
    if (key == taken) continue;
    plan.expect("allocate a protection key", SYS_pkey_alloc, {0, 0}, static_cast<std::int64_t>(key));
  }
  for (std::uint64_t key = 1; key < end; ++key) {
    if ((process.protection_keys >> key & 1U) == 0)
      plan.expect("free a protection key", SYS_pkey_free, {key}, 0);
  }
  for (const auto& mapping : process.mappings) {
    if (mapping->protection_key == 0 || has_key_of_kernel(*mapping)) continue;
    plan.expect("set a protection key", SYS_pkey_mprotect,
                {mapping->start, mapping->end - mapping->start, mapping->protection, mapping->protection_key},
                0);
  }
}

// Asked about memory that no program can have, the kernel first says whether it knows the key.
void save_protection_keys(RemoteQueries& queries, image::ProcessT& process) {
  constexpr std::uint64_t kBeyondAll = 0xffff'8000'0000'0000;  // the kernel's half
  constexpr std::uint64_t kKeys = 16;
  for (std::uint64_t key = 1; key < kKeys; ++key) {
    queries.ask(SYS_pkey_mprotect, {kBeyondAll, kPageSize, PROT_NONE, key},
                [&process, key](std::int64_t told) {
                  if (told == -ENOMEM) process.protection_keys |= 1U << key;
                });
  }
}

}  // namespace

void refuse_key_out_of_order(const image::ProcessT& process) {
  if (key_of_kernel(process) <= 1) return;
  throw Error(
      "the program has protection keys (pkey_alloc) that are older than its memory that may only be "
      "executed, "
      "which cannot be carried over; run it without");
}

void save_memory_promises(Tracee& tracee, RemoteQueries& queries, image::ProcessT& process) {
  constexpr std::uint64_t kRead = 0;
  constexpr std::uint64_t kBytes = 8;
  queries.ask(SYS_modify_ldt, {kRead, kAnswer, kBytes}, refuse_own_segments, kBytes);
  queries.ask(SYS_membarrier, {kernel::kMembarrierGetRegistrations, 0, 0}, [&](std::int64_t told) {
    process.membarrier_registrations = told >= 0 ? static_cast<std::uint32_t>(told) : try_barriers(tracee);
  });
  save_protection_keys(queries, process);
  ask_for_future_lock(tracee, queries, process);
}

void plan_memory_promises(const image::ProcessT& process, PlanBuilder& plan) {
  for (std::uint32_t rest = process.membarrier_registrations; rest != 0; rest &= rest - 1) {
    std::uint32_t registration = rest & (~rest + 1);
    plan.expect(fmt::format("membarrier {:#x}", registration), SYS_membarrier, {registration, 0, 0}, 0);
  }
  if (process.future_lock != 0) {
    plan.attempt("lock later mappings (mlockall)", SYS_mlockall, {process.future_lock});
  }
  plan_protection_keys(process, plan);
  for (const auto& mapping : process.mappings) {
    if (mapping->sealed)
      plan.expect("seal", kernel::kMseal, {mapping->start, mapping->end - mapping->start, 0}, 0);
  }
}

}  // namespace ckpt::engine
