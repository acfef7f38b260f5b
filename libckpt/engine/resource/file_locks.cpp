#include "engine/resource/file_locks.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <sstream>
#include <thread>

#include "base/error.h"
#include "base/file_io.h"
#include "base/parse.h"
#include "base/proc_stat.h"
#include "engine/resource/fdinfo_lines.h"

namespace ckpt::engine::resource {
namespace {

constexpr std::chrono::milliseconds kRetryEvery{20};

// "1: POSIX  ADVISORY  WRITE 1779 fe:00:10986700 5 14", as in /proc/locks; "->" marks one that waits.
struct LockLine {
  std::string number, kind, strictness, access, holder, file, start, end;
};

std::optional<LockLine> parse_line(std::string_view text) {
  std::istringstream words{std::string(text)};
  LockLine line;
  words >> line.number >> line.kind >> line.strictness >> line.access >> line.holder >> line.file >>
      line.start >> line.end;
  if (!words || line.kind == "->") return std::nullopt;
  return line;
}

std::optional<image::LockKind> kind_named(const std::string& name) {
  if (name == "POSIX") return image::LockKind::Record;
  if (name == "OFDLCK") return image::LockKind::OpenDescription;
  if (name == "FLOCK") return image::LockKind::WholeFile;
  return std::nullopt;
}

std::optional<image::FileLockT> read_lock(const LockLine& line) {
  std::optional<image::LockKind> kind = kind_named(line.kind);
  auto start = parse_unsigned(line.start);
  auto end = parse_unsigned(line.end);
  if (!kind || !start || (!end && line.end != "EOF")) return std::nullopt;
  image::FileLockT lock;
  lock.kind = *kind;
  lock.exclusive = line.access == "WRITE";
  lock.start = *start;
  lock.length = end ? *end - *start + 1 : 0;
  return lock;
}

// A record lock needs a descriptor that is open for what it keeps others from (fcntl(2)).
bool can_take(const OpenDescription& description, const image::FileLockT& lock) {
  int mode = description.access_mode();
  return mode == O_RDWR || mode == (lock.exclusive ? O_WRONLY : O_RDONLY);
}

// A record lock that has not been saved with another description of the file.
bool is_new(SaveState& state, const OpenDescription& description, const image::FileLockT& lock) {
  auto key = std::tuple(description.status.st_dev, description.status.st_ino, lock.start);
  return can_take(description, lock) && state.record_locks_saved.insert(key).second;
}

std::string describe(const image::FileLockT& lock) {
  std::string_view access = lock.exclusive ? "exclusive" : "shared";
  if (lock.kind == image::LockKind::WholeFile) return fmt::format("an {} lock (flock)", access);
  std::string range = lock.length == 0 ? fmt::format("from byte {} on", lock.start)
                                       : fmt::format("on {} bytes from {}", lock.length, lock.start);
  return fmt::format("an {} lock {}", access, range);
}

std::int64_t try_lock(ProgramCalls& program, int number, const image::FileLockT& lock) {
  auto fd = static_cast<std::uint64_t>(number);
  if (lock.kind == image::LockKind::WholeFile)
    return program.call(SYS_flock,
                        {fd, static_cast<std::uint64_t>((lock.exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB)});
  struct flock range {};
  range.l_type = lock.exclusive ? F_WRLCK : F_RDLCK;
  range.l_whence = SEEK_SET;
  range.l_start = static_cast<off_t>(lock.start);
  range.l_len = static_cast<off_t>(lock.length);
  RemoteAddr address = program.place(std::as_bytes(std::span(&range, 1)));
  bool record = lock.kind == image::LockKind::Record;
  return program.call(SYS_fcntl,
                      {fd, static_cast<std::uint64_t>(record ? F_SETLK : F_OFD_SETLK), address.value});
}

std::string holder_of(const FinishState& state, int number) {
  struct stat file {};
  std::string path = fmt::format("/proc/{}/fd/{}", state.program.pid(), number);
  if (::stat(path.c_str(), &file) != 0) throw_errno(fmt::format("stat {}", path));
  pid_t pid = find_holder(read_file("/proc/locks"), file.st_dev, file.st_ino);
  if (pid <= 0) return "another process";
  try {
    return fmt::format("process {} ({})", pid, name_of_process(pid));
  } catch (const Error&) {
    return fmt::format("process {}", pid);  // ended meanwhile
  }
}

bool asked_to_end() {
  sigset_t pending{};
  if (::sigpending(&pending) != 0) throw_errno("look for pending signals");
  return std::ranges::any_of(std::array{SIGINT, SIGTERM, SIGHUP},
                             [&](int signal) { return ::sigismember(&pending, signal) == 1; });
}

std::int64_t wait_for_lock(FinishState& state, int number, const image::FileLockT& lock) {
  std::int64_t result = 0;
  while ((result = try_lock(state.program, number, lock)) == -EAGAIN || result == -EACCES) {
    if (asked_to_end()) throw Error("interrupted while waiting for a file lock");
    std::this_thread::sleep_for(kRetryEvery);
  }
  return result;
}

void take(FinishState& state, int number, const image::FileLockT& lock) {
  std::int64_t result = try_lock(state.program, number, lock);
  bool taken = result == -EAGAIN || result == -EACCES;
  if (taken && state.locks == LockPolicy::kWait) {
    result = wait_for_lock(state, number, lock);
    taken = false;
  }
  std::string path = read_link(fmt::format("/proc/{}/fd/{}", state.program.pid(), number));
  std::string what = fmt::format("{} of {}", describe(lock), path);
  std::string holder = taken ? holder_of(state, number) : std::string();
  if (taken && state.locks != LockPolicy::kIgnore) {
    throw Error(
        fmt::format("it held {}, which {} holds now; end that, or recover with --locks wait or "
                    "--locks ignore",
                    what, holder));
  }
  if (result < 0 && !taken) throw_errno(fmt::format("take {} again", what), static_cast<int>(-result));
  if (taken)
    state.notes.push_back(fmt::format("descriptor {} has lost {}: {} holds it now", number, what, holder));
  state.file_locks.push_back({.path = std::move(path), .holder = std::move(holder)});
}

void take_all(FinishState& state, const image::DescriptionT& description, int number,
              const std::vector<std::unique_ptr<image::FileLockT>>& locks) {
  bool inherited = description.detail.type == image::DescriptionDetail::InheritedDetail;
  for (const auto& lock : locks) {
    if (inherited) {
      state.notes.push_back(fmt::format("descriptor {} is the session's; {} that it held is not taken again",
                                        number, describe(*lock)));
    } else {
      take(state, number, *lock);
    }
  }
}

}  // namespace

std::vector<image::FileLockT> parse_locks(const std::string& info, const std::string& what) {
  std::vector<image::FileLockT> locks;
  for_each_line(info, "lock:", [&](std::string_view text) {
    text.remove_prefix(std::string_view("lock:").size());
    std::optional<LockLine> line = parse_line(text);
    if (line && (line->kind == "LEASE" || line->kind == "DELEG")) {
      throw Error(fmt::format(
          "{} holds a lease on its file, which cannot be saved; give it up before the checkpoint", what));
    }
    std::optional<image::FileLockT> lock = line ? read_lock(*line) : std::nullopt;
    if (!lock)
      throw Error(fmt::format("the kernel describes a lock of {} in an unknown way: {}", what, text));
    locks.push_back(*lock);
  });
  return locks;
}

void save_locks(SaveState& state, const OpenDescription& description, image::DescriptionT& saved) {
  for (const image::FileLockT& lock : parse_locks(description.info, description.what())) {
    if (lock.kind != image::LockKind::Record || is_new(state, description, lock))
      saved.locks.push_back(std::make_unique<image::FileLockT>(lock));
  }
}

void save_own_locks(SaveState& state, const OpenDescription& description,
                    const OpenDescription::Number& number, image::DescriptorT& saved) {
  for (const image::FileLockT& lock : parse_locks(number.locks, description.what())) {
    if (lock.kind == image::LockKind::Record && is_new(state, description, lock))
      saved.locks.push_back(std::make_unique<image::FileLockT>(lock));
  }
}

void finish_locks(FinishState& state, const image::DescriptionT& description, int number) {
  take_all(state, description, number, description.locks);
}

void finish_own_locks(FinishState& state, const image::DescriptorT& descriptor) {
  auto index = static_cast<std::size_t>(descriptor.description);
  take_all(state, *state.checkpoint.process->descriptions.at(index), descriptor.number, descriptor.locks);
}

pid_t find_holder(const std::string& locks, dev_t device, std::uint64_t inode) {
  std::string file = fmt::format("{:02x}:{:02x}:{}", major(device), minor(device), inode);
  pid_t holder = 0;
  for_each_line(locks, "", [&](std::string_view text) {
    std::optional<LockLine> line = parse_line(text);
    if (!line || line->file != file || holder > 0) return;
    const std::string& digits = line->holder;
    std::from_chars(digits.data(), digits.data() + digits.size(), holder);
  });
  return holder;
}

}  // namespace ckpt::engine::resource
