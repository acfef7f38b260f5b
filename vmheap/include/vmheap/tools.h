// What can be done to a heap from outside, without mapping it: looked at, checked, set back, copied, made
// small.
//
// `directory` and `name` say which (OpenOptions::name). Those that change something refuse a heap that is
// open for writing (Error EBUSY). Errors: ckpt::Error.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "vmheap/heap.h"

namespace ckpt::vmheap {

// A heap that a process of this user has open for writing.
struct HeapInUse {
  std::int32_t pid = 0;
  Statistics statistics;  // now
};

struct HeapSummary {
  std::uint64_t base = 0;
  std::uint64_t size_bytes = 0;
  std::vector<HeapRegion> regions;
  std::uint64_t version = 0;        // the newest
  std::uint64_t content_bytes = 0;  // pages that are not zero, in it
  std::uint64_t disk_bytes = 0;     // of all versions
  std::vector<HeapVersion> versions;
  std::optional<HeapInUse> in_use;
};

HeapSummary summarize(const std::string& directory, const std::string& name = "heap");

struct HeapDamage {
  std::uint64_t version = 0;
  std::string cause;
};

struct HeapVerification {
  std::vector<std::uint64_t> sound;
  std::vector<HeapDamage> damaged;
  std::uint64_t pages = 0;  // that were read
};

// Reads every byte of all versions.
HeapVerification verify(const std::string& directory, const std::string& name = "heap");

// A new version with the content of an older one. Returns its number.
std::uint64_t roll_back(const std::string& directory, std::uint64_t version,
                        const std::string& name = "heap");

// The newest version as one sparse file: 4096 bytes that say what it is (the image of heap_format.h, then
// zeroes), then the heap's bytes. The file must not exist.
void export_heap(const std::string& directory, const std::string& file, const std::string& name = "heap");
// A new heap from such a file.
void import_heap(const std::string& directory, const std::string& file, const std::string& name = "heap");

// With all its versions.
void remove_heap(const std::string& directory, const std::string& name = "heap");

// As Heap::tag().
void tag(const std::string& directory, std::uint64_t version, const std::string& label,
         const std::string& name = "heap");
void untag(const std::string& directory, const std::string& label, const std::string& name = "heap");

// Removes the versions that were made for checkpoints of this application (HeapVersion::application), but
// those in `needed`, and the newest while the heap is open for writing, since that may build on it.
void retain_checkpoint_versions(const std::string& directory, const std::string& name,
                                const std::string& application, const std::set<std::uint64_t>& needed);

// Removes all versions but those with a tag, those of checkpoints, and the newest, which is written anew
// without what is unused in its segments. Returns its number.
std::uint64_t compact(const std::string& directory, const std::string& name = "heap");

}  // namespace ckpt::vmheap
