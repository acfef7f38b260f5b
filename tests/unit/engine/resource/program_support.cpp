#include "resource/program_support.h"

#include <fcntl.h>
#include <linux/kcmp.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <climits>
#include <ctime>
#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "engine/resource/program_calls.h"

namespace ckpt::engine {
namespace {

// Ends and reaps a child, whatever the test does.
class Child {
 public:
  explicit Child(pid_t pid) : pid_(pid) {}
  ~Child() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

 private:
  pid_t pid_;
};

void report(int fd, const std::string& text) {
  if (::write(fd, text.data(), text.size()) < 0) ::_exit(3);
}

std::array<UniqueFd, 2> make_report_pipe() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) throw_errno("pipe");
  return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

std::string read_report(int fd) {
  std::string text;
  std::array<char, 4096> buffer{};
  for (ssize_t got = 0; (got = ::read(fd, buffer.data(), buffer.size())) > 0;) {
    text.append(buffer.data(), static_cast<std::size_t>(got));
  }
  return text;
}

[[noreturn]] void be_program(const std::function<void()>& open_things, const std::string& failure_file) {
  try {
    ::close_range(3, UINT_MAX, 0);
    open_things();
    ::raise(SIGSTOP);
  } catch (const std::exception& error) {
    std::ofstream(failure_file) << error.what();
  }
  ::_exit(0);
}

// The process itself in the place of a stopped program.
class CallingProcess : public ProgramCalls {
 public:
  pid_t pid() const override { return ::getpid(); }
  std::int32_t current_tid(std::int32_t) const override { return ::getpid(); }
  std::int32_t proc_tid(std::int32_t) const override { return ::getpid(); }
  std::int64_t call(long number, std::initializer_list<std::uint64_t> arguments) override {
    std::array<std::uint64_t, 6> all{};
    std::ranges::copy(arguments, all.begin());
    long result = ::syscall(number, all[0], all[1], all[2], all[3], all[4], all[5]);
    return result < 0 ? -errno : result;
  }
  RemoteAddr place(std::span<const std::byte> bytes) override {
    room_.assign(bytes.begin(), bytes.end());
    return {reinterpret_cast<std::uint64_t>(room_.data())};
  }
  void fetch(RemoteAddr, std::span<std::byte> out) override {
    std::ranges::copy(std::span(room_).first(out.size()), out.begin());
  }

 private:
  std::vector<std::byte> room_;
};

[[noreturn]] void be_restored(const SavedProgram& program, int report_fd, const std::function<void()>& look,
                              const std::function<void()>& prepare, const SocketPolicy& sockets) {
  int base = first_free_descriptor(*program.checkpoint.process);
  int out = ::fcntl(report_fd, F_DUPFD_CLOEXEC, base);
  try {
    if (prepare) prepare();
    RestoreObjects objects{create_objects(program.checkpoint, program.pages, base), sockets};
    std::vector<int> keep{out};
    std::ranges::copy_if(objects.object_descriptors, std::back_inserter(keep),
                         [](int fd) { return fd >= 0; });
    restore_descriptors(program.checkpoint, objects, base, keep);
    seal_objects(program.checkpoint, objects.object_descriptors);
    CallingProcess self;
    std::vector<std::string> notes;
    finish_descriptors(program.checkpoint, self, LockPolicy::kFail, notes);
    look();
  } catch (const std::exception& error) {
    report(out, error.what());
  }
  ::_exit(0);
}

}  // namespace

void PageMemory::put(store::SpaceId space, std::uint64_t first_page, std::span<const std::byte> bytes) {
  require(bytes.size() % store::kPageBytes == 0, "put() of a part of a page");
  for (; !bytes.empty(); bytes = bytes.subspan(store::kPageBytes), ++first_page) {
    auto page = bytes.first(store::kPageBytes);
    bool zero = std::ranges::all_of(page, [](std::byte byte) { return byte == std::byte{0}; });
    if (!zero) pages_[space][first_page].assign(page.begin(), page.end());
  }
}

void PageMemory::drop(store::SpaceId space, store::PageRun run) {
  for (std::uint64_t i = 0; i < run.page_count; ++i) pages_[space].erase(run.first_page + i);
}

void PageMemory::keep_only(store::SpaceId space, std::span<const store::PageRun> present) {
  std::erase_if(pages_[space], [&](const auto& page) {
    return std::ranges::none_of(present, [&](const store::PageRun& run) {
      return page.first >= run.first_page && page.first - run.first_page < run.page_count;
    });
  });
}

store::Version PageMemory::commit(store::VersionDescription&, std::span<const std::byte>) { return 1; }

std::vector<store::PageRun> PageMemory::runs(store::SpaceId space) const {
  std::vector<store::PageRun> runs;
  auto found = pages_.find(space);
  if (found == pages_.end()) return runs;
  for (const auto& [page, content] : found->second) {
    if (runs.empty() || runs.back().first_page + runs.back().page_count != page) runs.push_back({page, 0});
    ++runs.back().page_count;
  }
  return runs;
}

void PageMemory::read(store::SpaceId space, store::PageRun run, std::span<std::byte> out) const {
  for (std::uint64_t i = 0; i < run.page_count; ++i) {
    std::ranges::copy(pages_.at(space).at(run.first_page + i), out.subspan(i * store::kPageBytes).begin());
  }
}

std::size_t PageMemory::page_count() const {
  std::size_t count = 0;
  for (const auto& [space, pages] : pages_) count += pages.size();
  return count;
}

const image::DescriptorT* SavedProgram::descriptor(int number) const {
  for (const auto& descriptor : checkpoint.process->descriptors) {
    if (descriptor->number == number) return descriptor.get();
  }
  return nullptr;
}

const image::DescriptionT& SavedProgram::description(int number) const {
  const image::DescriptorT* found = descriptor(number);
  require(found != nullptr, "descriptor " + std::to_string(number) + " was not saved");
  return *checkpoint.process->descriptions.at(static_cast<std::size_t>(found->description));
}

std::unique_ptr<SavedProgram> save_program(const std::function<void()>& open_things,
                                           const std::function<void(pid_t)>& look) {
  TemporaryDirectory failures;
  std::string failure_file = failures.file("failure");
  pid_t pid = ::fork();
  if (pid < 0) throw_errno("fork");
  if (pid == 0) be_program(open_things, failure_file);
  Child child(pid);
  int status = 0;
  if (::waitpid(pid, &status, WUNTRACED) != pid || !WIFSTOPPED(status)) {
    std::string cause;
    std::getline(std::ifstream(failure_file), cause);
    throw Error("the program did not come to its stop: " + cause);
  }
  auto saved = std::make_unique<SavedProgram>();
  saved->checkpoint.process = std::make_unique<image::ProcessT>();
  saved->checkpoint.process->pid = pid;
  saved->checkpoint.clocks = std::make_unique<image::ClocksT>();
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  saved->checkpoint.clocks->realtime_ns = now.tv_sec * 1'000'000'000 + now.tv_nsec;
  ObjectTable objects;
  SaveContext context{pid, saved->pages, objects, saved->notes, saved->files_to_sync};
  save_descriptors(context, *saved->checkpoint.process);
  saved->checkpoint.objects = objects.take();
  if (look) look(pid);
  return saved;
}

std::string refusal(const std::function<void()>& open_things) try {
  save_program(open_things);
  return {};
} catch (const Error& error) {
  return error.what();
}

std::string look_inside(const SavedProgram& program, const std::function<void()>& look,
                        const std::function<void()>& prepare, const SocketPolicy& sockets) {
  auto [in, out] = make_report_pipe();
  pid_t pid = ::fork();
  if (pid < 0) throw_errno("fork");
  if (pid == 0) be_restored(program, out.get(), look, prepare, sockets);
  Child child(pid);
  out.reset();
  return read_report(in.get());
}

void require(bool condition, const std::string& what) {
  if (!condition) throw Error(what);
}

int require_fd(int result, const std::string& what) {
  if (result < 0) throw_errno(what);
  return result;
}

void require_equal(long long found, long long expected, const std::string& what) {
  require(found == expected, what + ": " + std::to_string(found) + " instead of " + std::to_string(expected));
}

int put_at(int fd, int number) {
  if (fd == number) return fd;
  require_fd(fd, "descriptor to move");
  require_fd(::dup2(fd, number), "dup2");
  ::close(fd);
  return number;
}

bool is_open(int number) { return ::fcntl(number, F_GETFD) >= 0; }

std::string read_available(int fd, std::size_t most) {
  std::string text(most, '\0');
  ssize_t got = ::read(fd, text.data(), most);
  if (got < 0) throw_errno("read");
  text.resize(static_cast<std::size_t>(got));
  return text;
}

bool same_file_description(int left, int right) {
  pid_t self = ::getpid();
  return ::syscall(SYS_kcmp, self, self, KCMP_FILE, static_cast<unsigned long>(left),
                   static_cast<unsigned long>(right)) == 0;
}

TemporaryDirectory::TemporaryDirectory() {
  std::string pattern = std::filesystem::temp_directory_path() / "ckpt-resource-XXXXXX";
  if (::mkdtemp(pattern.data()) == nullptr) throw_errno("mkdtemp");
  path_ = std::filesystem::canonical(pattern);
}

TemporaryDirectory::~TemporaryDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::string TemporaryDirectory::file_with(const std::string& name, const std::string& content) const {
  std::ofstream(file(name)) << content;
  return file(name);
}

}  // namespace ckpt::engine
