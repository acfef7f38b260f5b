#include "power_loss_support.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <set>

#include "base/error.h"
#include "base/file_io.h"
#include "base/unique_fd.h"

namespace ckpt::store {
namespace {

using Kind = Recording::Call::Kind;

constexpr std::uint64_t kSector = 512;

Recording* recording = nullptr;

ino_t inode_of(int fd) {
  struct stat status {};
  return ::fstat(fd, &status) == 0 ? status.st_ino : 0;
}

int open_and_record(int directory, const char* path, int flags, mode_t mode) {
  struct stat before {};
  bool creates = (flags & O_CREAT) != 0 && ::fstatat(directory, path, &before, AT_SYMLINK_NOFOLLOW) != 0;
  int fd = recording->real.openat(directory, path, flags, mode);
  if (fd >= 0 && creates)
    recording->add({.kind = Kind::kCreate,
                    .directory = inode_of(directory),
                    .name = path,
                    .file = recording->new_file(fd)});
  return fd;
}

ssize_t write_and_record(int fd, const void* bytes, std::size_t size, off_t offset) {
  ssize_t written = recording->real.pwrite(fd, bytes, size, offset);
  if (written > 0) {
    const auto* begin = static_cast<const std::byte*>(bytes);
    recording->add({.kind = Kind::kWrite,
                    .file = recording->file_of(fd),
                    .offset = static_cast<std::uint64_t>(offset),
                    .bytes = std::vector<std::byte>(begin, begin + written)});
  }
  return written;
}

int sync_data_and_record(int fd) {
  recording->add({.kind = Kind::kSyncFile, .file = recording->file_of(fd)});
  return 0;
}

int sync_and_record(int fd) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) return -1;
  if (S_ISDIR(status.st_mode)) {
    recording->add({.kind = Kind::kSyncDirectory, .directory = status.st_ino});
  } else {
    recording->add({.kind = Kind::kSyncFile, .file = recording->file_of(fd)});
  }
  return 0;
}

int rename_and_record(int old_directory, const char* old_path, int new_directory, const char* new_path) {
  int result = recording->real.renameat(old_directory, old_path, new_directory, new_path);
  if (result == 0)
    recording->add({.kind = Kind::kRename,
                    .directory = inode_of(new_directory),
                    .name = old_path,
                    .new_name = new_path});
  return result;
}

int unlink_and_record(int directory, const char* path, int flags) {
  int result = recording->real.unlinkat(directory, path, flags);
  if (result == 0) recording->add({.kind = Kind::kUnlink, .directory = inode_of(directory), .name = path});
  return result;
}

struct Disk {
  struct File {
    std::vector<std::byte> synced;
    std::vector<const Recording::Call*> pending;  // writes
  };
  struct Directory {
    std::map<std::string, std::uint64_t> now;
    std::map<std::string, std::uint64_t> synced;
    // Changes since, each of which happens as a whole: name -> file, 0: gone.
    std::vector<std::vector<std::pair<std::string, std::uint64_t>>> pending;
  };
  std::map<std::uint64_t, File> files;
  std::map<ino_t, Directory> directories;
};

void apply(std::vector<std::byte>& content, std::uint64_t offset, std::span<const std::byte> bytes) {
  if (content.size() < offset + bytes.size()) content.resize(offset + bytes.size());
  std::ranges::copy(bytes, content.begin() + static_cast<std::ptrdiff_t>(offset));
}

void change(Disk::Directory& directory, std::vector<std::pair<std::string, std::uint64_t>> changes) {
  for (const auto& [name, file] : changes) {
    if (file == 0) {
      directory.now.erase(name);
    } else {
      directory.now[name] = file;
    }
  }
  directory.pending.push_back(std::move(changes));
}

void carry_out(Disk& disk, const Recording::Call& call) {
  Disk::Directory& directory = disk.directories[call.directory];
  switch (call.kind) {
    case Kind::kCreate:
      return change(directory, {{call.name, call.file}});
    case Kind::kRename:
      return change(directory, {{call.new_name, directory.now.at(call.name)}, {call.name, 0}});
    case Kind::kUnlink:
      return change(directory, {{call.name, 0}});
    case Kind::kSyncDirectory:
      directory.synced = directory.now;
      directory.pending.clear();
      return;
    case Kind::kWrite:
      disk.files[call.file].pending.push_back(&call);
      return;
    case Kind::kSyncFile:
      Disk::File& file = disk.files[call.file];
      for (const Recording::Call* write : file.pending) apply(file.synced, write->offset, write->bytes);
      file.pending.clear();
      return;
  }
}

bool happens(Leftover leftover, std::mt19937_64& random) {
  return leftover == Leftover::kAll || (leftover == Leftover::kSome && random() % 2 == 0);
}

std::vector<std::byte> content_after(const Disk::File& file, Leftover leftover, std::mt19937_64& random) {
  std::vector<std::byte> content = file.synced;
  std::vector<const Recording::Call*> writes = file.pending;
  if (leftover == Leftover::kSome) std::ranges::shuffle(writes, random);
  for (const Recording::Call* write : writes) {
    if (!happens(leftover, random)) continue;
    bool torn = leftover == Leftover::kSome && random() % 2 == 0;
    std::span<const std::byte> bytes(write->bytes);
    for (std::uint64_t at = 0; at < bytes.size(); at += kSector) {
      if (torn && random() % 2 == 0) continue;
      apply(content, write->offset + at, bytes.subspan(at, std::min(kSector, bytes.size() - at)));
    }
  }
  return content;
}

void make_directory(const Disk& disk, ino_t inode, const std::string& path, Leftover leftover,
                    std::mt19937_64& random) {
  if (::mkdir(path.c_str(), 0700) != 0) throw_errno("make " + path);
  auto found = disk.directories.find(inode);
  if (found == disk.directories.end()) return;
  std::map<std::string, std::uint64_t> names = found->second.synced;
  for (const auto& changes : found->second.pending) {
    if (!happens(leftover, random)) continue;
    for (const auto& [name, file] : changes) {
      if (file == 0) {
        names.erase(name);
      } else {
        names[name] = file;
      }
    }
  }
  for (const auto& [name, number] : names) {
    UniqueFd fd = open_or_throw(fmt::format("{}/{}", path, name), O_WRONLY | O_CREAT | O_EXCL, 0600);
    auto file = disk.files.find(number);
    if (file != disk.files.end())
      pwrite_all(fd.get(), content_after(file->second, leftover, random), 0, name);
  }
}

ino_t inode_at(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) throw_errno("stat " + path);
  return status.st_ino;
}

}  // namespace

Recording::Recording(const std::string& store)
    : real(system_calls()),
      store_directory_(inode_at(store)),
      application_directory_(inode_at(store + "/app")) {
  recording = this;
  SystemCalls& calls = system_calls();
  calls.openat = open_and_record;
  calls.pwrite = write_and_record;
  calls.fdatasync = sync_data_and_record;
  calls.fsync = sync_and_record;
  calls.renameat = rename_and_record;
  calls.unlinkat = unlink_and_record;
}

Recording::~Recording() {
  system_calls() = real;
  recording = nullptr;
}

void Recording::add(Call call) {
  std::lock_guard lock(mutex_);
  calls_.push_back(std::move(call));
}

std::uint64_t Recording::file_of(int fd) const {
  std::lock_guard lock(mutex_);
  auto found = files_.find(inode_of(fd));
  return found == files_.end() ? 0 : found->second;
}

std::uint64_t Recording::new_file(int fd) {
  std::lock_guard lock(mutex_);
  return files_[inode_of(fd)] = ++last_file_;
}

std::size_t Recording::call_count() const {
  std::lock_guard lock(mutex_);
  return calls_.size();
}

void Recording::state_after(std::size_t calls, Leftover leftover, std::mt19937_64& random,
                            const std::string& store) const {
  std::lock_guard lock(mutex_);
  Disk disk;
  for (std::size_t i = 0; i < calls; ++i) carry_out(disk, calls_[i]);
  make_directory(disk, store_directory_, store, leftover, random);
  make_directory(disk, application_directory_, store + "/app", leftover, random);
}

}  // namespace ckpt::store
