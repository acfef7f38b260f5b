// Files and directories of a store: opened without following links, checked for owner and permissions, errors
// that name the path.
#pragma once

#include <sys/stat.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/unique_fd.h"

namespace ckpt::store {

// "<path> is damaged: <what>; use another version", with code EBADMSG.
Error damaged(const std::string& path, const std::string& what);

// Error for a failed write-side call, with what to do about a full store or missing permission.
Error write_error(const std::string& attempt, int code);

// openat with O_CLOEXEC | O_NOFOLLOW, repeated on EINTR; -1 and errno on failure.
int open_in(int directory, const std::string& name, int flags, mode_t mode = 0);

// Throws unless `status` belongs to the caller and nobody else can write it.
void check_private(const struct stat& status, const std::string& path);

// Opens an existing directory and checks it.
UniqueFd open_private_directory(int parent, const std::string& name, const std::string& path);

// Exactly out.size() bytes; a file that ends early is damage.
void read_exactly(int fd, std::span<std::byte> out, std::uint64_t offset, const std::string& path);

// All of `bytes` at `offset`, short writes continued; 0, or the errno of what failed.
int write_exactly(int fd, std::span<const std::byte> bytes, std::uint64_t offset);

// Names in a directory, without "." and "..", unsorted.
std::vector<std::string> directory_entries(int directory, const std::string& path);

void sync_directory(int directory, const std::string& path);

}  // namespace ckpt::store
