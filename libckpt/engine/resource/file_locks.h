// Locks on files: record locks (fcntl F_SETLK), open-file-description locks (F_OFD_SETLK) and flock(2), as
// fdinfo shows them. They are acquired again by the program itself and last: closing any descriptor of a file
// gives up the record locks that the process has on it (fcntl(2)).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "engine/resource/resource_kinds.h"

namespace ckpt::engine::resource {

// The locks of one fdinfo text. Throws Error for a lease, `what` says of what.
std::vector<image::FileLockT> parse_locks(const std::string& info, const std::string& what);

// Record locks belong to the program, not to a description: the first that can have them again takes them.
void save_locks(SaveState& state, const OpenDescription& description, image::DescriptionT& saved);

// Those that the process took by a descriptor of a description that another process has first.
void save_own_locks(SaveState& state, const OpenDescription& description,
                    const OpenDescription::Number& number, image::DescriptorT& saved);

void finish_locks(FinishState& state, const image::DescriptionT& description, int number);
void finish_own_locks(FinishState& state, const image::DescriptorT& descriptor);

// Who holds a lock on the file, from the text of /proc/locks; 0 if that does not tell.
pid_t find_holder(const std::string& locks, dev_t device, std::uint64_t inode);

}  // namespace ckpt::engine::resource
