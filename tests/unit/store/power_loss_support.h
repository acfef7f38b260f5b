// What a power failure may leave of the files of a store.
//
// While it exists, a Recording logs every system call of the store that changes files (SystemCalls), in
// order, and lets them happen. state_after() then makes the files that a disk may hold if the power fails
// after a call: what was synced is there; of what was not, any part may be: writes in any order and torn at
// 512 bytes, changes of directories in any subset. Each rename happens or does not (rename(2)); what a
// directory has durably is decided by fsync of it alone.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "store/system_calls.h"

namespace ckpt::store {

// How much of what was not synced is there.
enum class Leftover { kNone, kAll, kSome };

class Recording {
 public:
  // `store` has one application directory, "app"; both are durable with what they hold now, which must be
  // nothing.
  explicit Recording(const std::string& store);
  ~Recording();
  Recording(const Recording&) = delete;
  Recording& operator=(const Recording&) = delete;

  std::size_t call_count() const;
  // Makes `store` (which must not exist) as it may be found after the first `calls` calls.
  void state_after(std::size_t calls, Leftover leftover, std::mt19937_64& random,
                   const std::string& store) const;

  struct Call {
    enum class Kind { kCreate, kWrite, kSyncFile, kSyncDirectory, kRename, kUnlink };
    Kind kind;
    ino_t directory = 0;
    std::string name{};      // kCreate, kRename: the old one, kUnlink
    std::string new_name{};  // kRename
    std::uint64_t file = 0;
    std::uint64_t offset = 0;
    std::vector<std::byte> bytes{};
  };
  void add(Call call);
  std::uint64_t file_of(int fd) const;  // 0: not one of the store's
  std::uint64_t new_file(int fd);
  SystemCalls real;

 private:
  mutable std::mutex mutex_;
  std::vector<Call> calls_;
  std::map<ino_t, std::uint64_t> files_;  // by inode, which is used again when a file is gone
  std::uint64_t last_file_ = 0;
  ino_t store_directory_ = 0;
  ino_t application_directory_ = 0;
};

}  // namespace ckpt::store
