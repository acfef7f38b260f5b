#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "store/checkpoint_store.h"

namespace ckpt::store {

// What an application has, found out by reading everything once.
struct Inventory {
  std::vector<VersionEntry> versions;        // as Application::versions()
  std::vector<std::string> damaged;          // as Application::damaged()
  std::vector<std::uint64_t> content_pages;  // of each version, in that order; pages of zeroes do not count
  std::uint64_t stored_bytes = 0;  // on disk, segments of removed versions that others need included

  // Of all pages of all versions, each counted for itself.
  std::uint64_t content_bytes() const;
  // By storing equal pages once, and by compressing.
  std::uint64_t saved_bytes() const;
};

Inventory take_inventory(const Application& application);

}  // namespace ckpt::store
