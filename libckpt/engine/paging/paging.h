// Keeps the memory of a program within a limit: what the last durable version has is discarded in the
// program, and comes back from there when it is touched (PageServer, which stays). Nothing in the program
// takes part.
//
// Hard rules:
//  1. Only pages that have not been written since they went into the version that is served from are
//  discarded, while
//     every thread stands still.
//  2. A version that is made meanwhile has every page that is missing: it keeps that of its parent, or, where
//  the program
//     has moved it or the parent is another version, a copy.
//  3. Nothing is discarded between the stop for a version and the moment when that is served from.
//  4. Without us the program would read zeroes: whatever happens to us, it ends (Guardian).
//
// Not seen: a page that was missing while it became a guard region and ceased to be one between two looks has
// its content again instead of zeroes.
//
// Only of the program that was started; children have all of their memory once a version has been made.
// Private memory without a file; not what is locked, excluded, or written by devices.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "engine/capture/address_ranges.h"
#include "engine/capture/write_tracker.h"
#include "engine/restore/lazy_fill.h"
#include "engine/tracee/tracee.h"
#include "store/checkpoint_store.h"

namespace ckpt::engine {

class Paging {
 public:
  // One call discards several ranges at once where nothing but zeroes and missing pages is between them.
  struct Discard {
    RemoteCall call;
    AddressRanges pages;
  };

  // Of copied pages, which would take the room that is to be saved.
  static constexpr std::size_t kBufferBytes = std::size_t{4} << 20;

  // Throws Error if this process may not do that, with what it takes.
  static void check_permission();
  // Of a program that has all of its memory. Call it while this process has no other threads.
  static std::unique_ptr<Paging> of_program(pid_t pid);
  // Of one that is restored from `reader`, if there is one; `fill` stays.
  Paging(std::unique_ptr<LazyFill> fill, std::shared_ptr<const store::CheckpointReader> reader,
         std::unique_ptr<WriteTracker> watched);

  // In a stop: what tells which pages of the program are written, and serves those that are missing. Nothing
  // if the kernel cannot do that, or does not permit it to the program.
  std::unique_ptr<WriteTracker> watch(Tracee& tracee);

  // In a stop, with no version being made. Returns how many bytes were discarded, at most about `bytes`.
  std::uint64_t evict(Tracee& tracee, WriteTracker& tracker, const AddressRanges& kept, std::uint64_t bytes);

  // In the stop for a version, before its pages are looked for (PageServer::settle).
  MissingState settle();
  // In the same stop: that comes now, because the version does not have it.
  void bring(const std::vector<store::PageRun>& excluded) { fill_->server().bring(excluded); }
  // Likewise: what has become a guard region (MADV_GUARD_INSTALL), of which nobody is told, is not missing.
  void forget(const std::vector<store::PageRun>& guards) { fill_->server().forget(guards); }
  // Its content of `piece`, in the version that is served from.
  void read(const store::PageRun& source, std::span<std::byte> out) const;
  // The version that was being made is durable. By any thread.
  void replace_version(std::shared_ptr<const store::CheckpointReader> reader);
  store::Version version() const { return version_; }  // 0: none yet

  LazyFill& fill() { return *fill_; }

 private:
  std::vector<Discard> choose(Tracee& tracee, WriteTracker& tracker, const AddressRanges& not_clean,
                              const AddressRanges& untouched, std::uint64_t bytes);
  std::vector<MissingPiece> pieces_of(const AddressRanges& pages) const;
  void serve_from(std::shared_ptr<const store::CheckpointReader> reader);
  static void discard(Tracee& tracee, std::vector<Discard>& discards);

  std::unique_ptr<LazyFill> fill_;
  std::unique_ptr<WriteTracker> watched_;  // the memory that the server knows; none: nothing yet
  std::shared_ptr<const store::CheckpointReader> reader_;
  std::atomic<store::Version> version_ = 0;
  AddressRanges stored_;    // by the version; what is not reads as zeroes
  std::uint64_t hand_ = 0;  // address behind what was discarded last
};

}  // namespace ckpt::engine
