#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/unique_fd.h"

namespace ckpt {

// Opens or throws Error naming the path. O_CLOEXEC is always added.
UniqueFd open_or_throw(const std::string& path, int flags, unsigned mode = 0);

// Whole content of a (small or procfs) file.
std::string read_file(const std::string& path);
std::string read_file_at(int directory, const std::string& path);  // relative to an open directory

// Exactly `out.size()` bytes at `offset`, or throws (end of file included); `what` names the file.
void pread_exactly(int fd, std::span<std::byte> out, std::uint64_t offset, const std::string& what);

// All of `bytes` at `offset`, short writes continued, or throws.
void pwrite_all(int fd, std::span<const std::byte> bytes, std::uint64_t offset, const std::string& what);

// What poll(2) tells of a descriptor right now, without waiting. Throws Error if it cannot be polled.
short poll_now(int fd, short events);

// A second descriptor of the same description, close-on-exec; `what` names it if that fails.
UniqueFd duplicate(int fd, const std::string& what);

// Target of a symbolic link, of any length.
std::string read_link(const std::string& path);
std::string read_link_at(int directory, const std::string& path);  // relative to an open directory

}  // namespace ckpt
