// Checkpoints a program that changes its memory at random (changes_memory_at_random, beside this file), at
// every step in another way of copying, and compares each version byte for byte with a full copy of the
// program, taken while it was stopped for that version. A version that is not the program at that moment ends
// the run with status 1. Some programs run with a limit of memory, where that is permitted: between the
// steps, what the last version has is discarded at random.
//
//   memory_fuzzer [--seed N] [--seconds N] [--steps-per-program N] [--program PATH]
//
// The seed decides what the program's threads do and which ways are taken; when the stops come is decided by
// the machine.
#include <fcntl.h>
#include <fmt/format.h>
#include <getopt.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <climits>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/file_io.h"
#include "engine/session.h"
#include "progress.h"
#include "snapshot.h"
#include "store/retention.h"
#include "support/temporary_directory.h"
#include "version_check.h"

namespace ckpt::fuzz {
namespace {

using Clock = std::chrono::steady_clock;

struct Arguments {
  unsigned seed = 0;
  std::chrono::seconds time{10};
  unsigned steps_per_program = 40;
  unsigned threads = 3;
  std::string program;
};

// What the program does at times and what no version can hold; it is refused, and the program runs on.
bool is_known_refusal(const std::string& message) {
  for (const char* known : {"a child process was killed", "became MADV_WIPEONFORK",
                            "kernel memory of a special descriptor", "an io_uring", "AIO", "aio"}) {
    if (message.find(known) != std::string::npos) return true;
  }
  return false;
}

// On a busy machine threads may also take too long to stop; the program goes on unharmed.
bool is_harmless(const Error& error) { return error.code() == ETIMEDOUT || is_known_refusal(error.what()); }

// The program, running; killed at the end.
class Program {
 public:
  Program(const Arguments& arguments, const tests::TemporaryDirectory& directory, unsigned seed)
      : progress_file_(directory.file("progress")) {
    UniqueFd file = open_or_throw(progress_file_, O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (::ftruncate(file.get(), sizeof(Progress)) != 0) throw_errno("make " + progress_file_);
    void* memory = ::mmap(nullptr, sizeof(Progress), PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
    if (memory == MAP_FAILED) throw_errno("map " + progress_file_);
    progress_ = static_cast<Progress*>(memory);
    pid_ = ::fork();
    if (pid_ < 0) throw_errno("fork");
    if (pid_ == 0)
      become(arguments.program, {arguments.program, std::to_string(seed), std::to_string(arguments.threads),
                                 directory.file("data"), progress_file_});
    wait_for_operations(1);
  }
  ~Program() {
    end();
    ::munmap(progress_, sizeof(Progress));
  }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  pid_t pid() const { return pid_; }

  void end() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
    if (namespace_init_ > 0) ::waitpid(namespace_init_, nullptr, 0);
    pid_ = namespace_init_ = 0;
  }

  // The same program, restored.
  void adopt(pid_t pid, pid_t namespace_init) {
    pid_ = pid;
    namespace_init_ = namespace_init;
  }

  // Until it has done that many more; throws if it ended.
  void wait_for_operations(std::uint64_t more) {
    const std::uint64_t wanted = progress_->operations + more;
    const Clock::time_point deadline = Clock::now() + std::chrono::seconds(60);
    while (progress_->operations < wanted) {
      check_alive();
      if (Clock::now() > deadline) throw Error("the program has come to a halt");
      std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
  }

  void check_alive() {
    int status = 0;
    if (::waitpid(pid_, &status, WNOHANG) != pid_) return;
    pid_ = 0;
    throw Error(WIFSIGNALED(status) ? fmt::format("the program was ended by signal {}", WTERMSIG(status))
                                    : fmt::format("the program ended with status {}", WEXITSTATUS(status)));
  }

 private:
  [[noreturn]] static void become(const std::string& path, const std::vector<std::string>& words) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::close_range(3, UINT_MAX, 0);
    std::vector<char*> arguments;
    arguments.reserve(words.size() + 1);
    for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
    arguments.push_back(nullptr);
    ::execv(path.c_str(), arguments.data());
    ::_exit(127);
  }

  std::string progress_file_;
  Progress* progress_;
  pid_t pid_ = 0;
  pid_t namespace_init_ = 0;
};

bool may_limit() {
  try {
    engine::Session::require_limits();
    return true;
  } catch (const Error&) {
    return false;
  }
}

struct Totals {
  std::map<std::string, unsigned> versions;  // by the way in which they were copied
  unsigned refused = 0;
  unsigned restored = 0;
  std::uint64_t evicted_bytes = 0;
  CheckTotals compared;
};

class Fuzzer {
 public:
  explicit Fuzzer(const Arguments& arguments) : arguments_(arguments), random_(arguments.seed) {}

  void run() {
    const Clock::time_point end = Clock::now() + arguments_.time;
    while (Clock::now() < end) run_program(end);
  }

  const Totals& totals() const { return totals_; }
  const std::string& moment() const { return moment_; }

 private:
  void run_program(Clock::time_point end) {
    const unsigned program_seed = static_cast<unsigned>(random_());
    Program program(arguments_, directory_, program_seed);
    engine::Session session(program.pid());
    auto application = store::Store::open(directory_.file("store"), true)
                           .create_application(fmt::format("fuzzed-{}", ++programs_));
    store::Version parent = 0;
    tracking_ = random_() % 4 == 0 ? engine::Tracking::kCompare : engine::Tracking::kKernel;
    if (may_limit_ && tracking_ == engine::Tracking::kKernel && random_() % 3 == 0) session.limit_memory();
    for (unsigned step = 0; step < arguments_.steps_per_program && Clock::now() < end; ++step) {
      program.wait_for_operations(random_() % 2000);
      moment_ = fmt::format("program {} (seed {}, {}), step {}", programs_, program_seed,
                            session.limited()                         ? "limited"
                            : tracking_ == engine::Tracking::kCompare ? "compared"
                                                                      : "tracked",
                            step);
      if (auto version = take_and_compare(session, *application, parent)) parent = *version;
      if (session.limited() && parent != 0) evict(session);
      application->retain({.last = 2}, "run");
      program.check_alive();
    }
    if (parent != 0) restore_and_compare(program, application->open(parent));
    store::Store::open(directory_.file("store"), false).remove_application(application->name());
  }

  void evict(engine::Session& session) {
    try {
      totals_.evicted_bytes += session.evict(random_() % (8U << 20U));
    } catch (const Error& error) {
      if (!is_harmless(error)) throw;
      ++totals_.refused;
    }
  }

  // The program as it comes back must be what the version says, before it runs on.
  void restore_and_compare(Program& program, const std::shared_ptr<const store::CheckpointReader>& version) {
    moment_ += ", restored";
    program.end();
    std::optional<std::string> found;
    engine::RestoreOptions options;
    options.before_release = [&](pid_t pid) {
      found = difference(Snapshot(pid), *version, totals_.compared);
    };
    options.fill = engine::FillPolicy::kEager;  // what is compared must be there
    engine::Restored restored = engine::restore(version, options);
    program.adopt(restored.session.pid(), restored.namespace_init);
    if (found) throw Error(*found);
    program.wait_for_operations(1);
    ++totals_.restored;
  }

  engine::CaptureOptions chosen_options(store::Version parent) {
    static constexpr std::array<engine::CopyMode, 4> kModes{engine::CopyMode::kCopy,
                                                            engine::CopyMode::kPrecopy,
                                                            engine::CopyMode::kFork, engine::CopyMode::kAuto};
    static constexpr std::array<std::chrono::microseconds, 3> kBudgets{
        {std::chrono::microseconds(100), std::chrono::milliseconds(2), std::chrono::milliseconds(10)}};
    engine::CaptureOptions options;
    options.mode = kModes[random_() % kModes.size()];
    options.tracking = tracking_;
    options.pause_budget = kBudgets[random_() % kBudgets.size()];
    options.parent = parent;
    return options;
  }

  std::optional<store::Version> take_and_compare(engine::Session& session, store::Application& application,
                                                 store::Version parent) {
    std::unique_ptr<Snapshot> snapshot;
    store::VersionDescription description;
    description.run_id = "run";
    store::Version version = 0;
    engine::CaptureOptions options = chosen_options(parent);
    auto missing = session.limited() ? Snapshot::Missing::kComes : Snapshot::Missing::kNone;
    options.while_stopped = [&](pid_t pid) { snapshot = std::make_unique<Snapshot>(pid, missing); };
    try {
      auto writer = application.begin(parent, parent == 0 ? store::Base::kEmpty : store::Base::kParent);
      engine::CaptureResult result = session.capture(*writer, options);
      description.stats = result.stats;
      version = writer->commit(description, result.image);
      if (session.limited()) session.serve_from(application.open(version));
      session.committed(version);
    } catch (const Error& error) {
      if (!is_harmless(error)) throw;
      ++totals_.refused;
      return std::nullopt;
    }
    moment_ += fmt::format(", version {} by {}", version, description.stats.mode);
    if (auto found = difference(*snapshot, *application.open(version), totals_.compared)) throw Error(*found);
    ++totals_.versions[description.stats.mode];
    return version;
  }

  Arguments arguments_;
  std::mt19937 random_;
  tests::TemporaryDirectory directory_;
  Totals totals_;
  engine::Tracking tracking_ = engine::Tracking::kKernel;
  const bool may_limit_ = may_limit();
  unsigned programs_ = 0;
  std::string moment_;
};

Arguments parse(int argc, char** argv) {
  static const option options[] = {{"seed", required_argument, nullptr, 's'},
                                   {"seconds", required_argument, nullptr, 't'},
                                   {"steps-per-program", required_argument, nullptr, 'n'},
                                   {"program", required_argument, nullptr, 'p'},
                                   {nullptr, 0, nullptr, 0}};
  Arguments arguments;
  arguments.seed = std::random_device()();
  arguments.program =
      std::filesystem::path(read_link("/proc/self/exe")).parent_path() / "changes_memory_at_random";
  for (int code = 0; (code = ::getopt_long(argc, argv, "", options, nullptr)) != -1;) {
    if (code == 's')
      arguments.seed = static_cast<unsigned>(std::stoul(optarg));
    else if (code == 't')
      arguments.time = std::chrono::seconds(std::stoul(optarg));
    else if (code == 'n')
      arguments.steps_per_program = static_cast<unsigned>(std::stoul(optarg));
    else if (code == 'p')
      arguments.program = optarg;
    else
      throw Error(fmt::format("usage: {} [--seed N] [--seconds N] [--steps-per-program N] [--program PATH]",
                              argv[0]));
  }
  return arguments;
}

void report(const Totals& totals) {
  std::string versions;
  unsigned count = 0;
  for (const auto& [mode, number] : totals.versions) {
    versions += fmt::format("{}{} by {}", versions.empty() ? "" : ", ", number, mode);
    count += number;
  }
  fmt::print("{} versions ({}), {} refused, {} restored; {} mappings and {} pages compared, all equal\n",
             count, versions, totals.refused, totals.restored, totals.compared.mappings_compared,
             totals.compared.pages_compared);
  if (totals.evicted_bytes > 0) fmt::print("{} MiB were discarded in between\n", totals.evicted_bytes >> 20U);
}

int run(int argc, char** argv) {
  const Arguments arguments = parse(argc, argv);
  fmt::print("seed {}\n", arguments.seed);
  std::fflush(stdout);
  Fuzzer fuzzer(arguments);
  try {
    fuzzer.run();
  } catch (const std::exception& error) {
    fmt::print("FAILED at {}: {}\nrepeat with --seed {}\n", fuzzer.moment(), error.what(), arguments.seed);
    return 1;
  }
  report(fuzzer.totals());
  if (!fuzzer.totals().versions.empty()) return 0;
  fmt::print("FAILED: not one version was taken\n");
  return 1;
}

}  // namespace
}  // namespace ckpt::fuzz

int main(int argc, char** argv) {
  try {
    return ckpt::fuzz::run(argc, argv);
  } catch (const std::exception& error) {
    fmt::print(stderr, "memory_fuzzer: {}\n", error.what());
    return 2;
  }
}
