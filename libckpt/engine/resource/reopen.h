// Opening again what a description referred to, the way it was opened.
#pragma once

#include <fcntl.h>

#include <string>

#include "base/unique_fd.h"
#include "image_generated.h"

namespace ckpt::engine::resource {

// Flags that F_SETFL can change, without O_ASYNC, which comes last (async_owner.h).
inline constexpr int kAllSettableFlags = O_APPEND | O_NONBLOCK | O_DIRECT | O_NOATIME;

// Flags for opening again what `description` is.
std::uint64_t reopen_flags(const image::DescriptionT& description);

// Opens `path` with the access mode and flags of `description`, and `extra_flags`.
UniqueFd open_again(const std::string& path, const image::DescriptionT& description, int extra_flags = 0);

// A new description of what `fd` refers to, with the access mode and flags of `description`.
UniqueFd reopen_own(int fd, const image::DescriptionT& description, int extra_flags = 0);

void seek_to_saved_offset(int fd, const image::DescriptionT& description, const std::string& path);

// 0, or why `path` cannot be opened with `flags` by this user.
int access_error(const std::string& path, int flags);

// Why `path` cannot be opened with the access mode of `description`; empty if it can.
std::string access_problem(const std::string& path, const image::DescriptionT& description);

}  // namespace ckpt::engine::resource
