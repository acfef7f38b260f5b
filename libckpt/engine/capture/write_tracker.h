// Tells which pages of a program were written since they were last armed: a userfaultfd in WP_ASYNC mode,
// whose write faults the kernel resolves by itself, and PAGEMAP_SCAN, which reports and re-arms
// (userfaultfd(2), Linux 6.7, Documentation/admin-guide/mm/pagemap.rst).
//
// The userfaultfd is made inside the program, because it belongs to an address space, taken out and closed
// there: the program never holds it. It works from outside and without privilege; scans also while it runs.
//
// Hard rules:
//  1. A mapping that is not registered counts as written altogether. Registrations vanish with munmap,
//     mremap and exec; the scan itself finds that out.
//  2. Only pages with content are armed: arming reserved space costs page tables.
//  3. Memory that a device or another process writes through pages pinned before they were armed is not seen.
//     Pages that were armed while the program ran must therefore not be copied before every thread has been
//     stopped once: a stopped thread has no direct I/O in flight. (Asynchronous I/O is refused elsewhere.)
//  4. Mappings are registered while the program is stopped: a range that has changed meanwhile would be
//     split at the end of the registration, and mremap over it would fail.
//  5. What an arming scan reported is owed to the store until a version that has it is durable.
//
// Closing it ends all registrations, so it does no harm to outlive its use or to die with the supervisor.
#pragma once

#include <memory>
#include <optional>

#include "base/unique_fd.h"
#include "engine/capture/address_ranges.h"
#include "engine/capture/page_scan.h"
#include "engine/tracee/tracee.h"
#include "store/checkpoint_store.h"

namespace ckpt::engine {

// Made inside the stopped program, taken out and closed there. None if the kernel refuses.
UniqueFd take_userfaultfd(Tracee& tracee, std::uint64_t flags);

class WriteTracker {
 public:
  // Makes one for the stopped program; nullptr if the kernel cannot do this.
  static std::unique_ptr<WriteTracker> create(Tracee& tracee);

  // Of process `pid`, through a userfaultfd that has been started for writes, too, and stays the caller's.
  // What it has armed is unchanged since `base`.
  static std::unique_ptr<WriteTracker> of(int userfault, pid_t pid, store::Version base);

  // Another one of the same memory, which knows of no version.
  std::unique_ptr<WriteTracker> another() const;

  // False once the program has replaced its address space (exec).
  bool alive() const;

  // From now on writes to the mapping can be seen; its content counts as written until it is armed. False if
  // the kernel refuses (not writable for ever, already registered elsewhere, vanished).
  bool register_mapping(AddressRange range);

  // From now on pages of the mapping that are missing are waited for, too. False if the kernel refuses.
  bool serve_missing(AddressRange mapping);

  // Written pages reported by arming scans since the last settled().
  const AddressRanges& owed() const { return owed_; }
  void owe(const AddressRanges& ranges);
  // A version that contains all that was owed is durable.
  void settled(store::Version version);
  // The version that armed pages are unchanged from; 0 if there is none yet.
  store::Version base() const { return base_; }

 private:
  WriteTracker(UniqueFd userfault, UniqueFd pagemap);
  bool register_for(std::uint64_t mode, AddressRange mapping) const;

  UniqueFd userfault_;
  UniqueFd pagemap_;
  AddressRanges owed_;
  store::Version base_ = 0;
};

}  // namespace ckpt::engine
