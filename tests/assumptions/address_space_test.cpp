// An address space can be replaced without privilege: a freshly executed program, stopped at its first
// instruction, gives up all its mappings, moves its vDSO and takes on new bounds.
#include <dlfcn.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/prctl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <ctime>
#include <filesystem>
#include <iterator>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "base/file_io.h"
#include "child_support.h"

namespace ckpt::assumptions {
namespace {

constexpr std::uint64_t kNewHome = 0x7000'0000'0000;  // where nothing of a fresh program lies
constexpr std::uint64_t kNewHomeBytes = 1 << 20;
constexpr std::uint64_t kPage = 4096;

struct Area {
  std::uint64_t start = 0;
  std::uint64_t end = 0;
  std::string name;
};

std::vector<Area> areas_of(pid_t pid) {
  std::vector<Area> areas;
  std::istringstream maps(read_file("/proc/" + std::to_string(pid) + "/maps"));
  for (std::string line; std::getline(maps, line);) {
    Area area;
    const char* text = line.data();
    auto after_start = std::from_chars(text, text + line.size(), area.start, 16);
    std::from_chars(after_start.ptr + 1, text + line.size(), area.end, 16);
    std::size_t name = line.find_first_of("[/");
    if (name != std::string::npos) area.name = line.substr(name);
    areas.push_back(area);
  }
  return areas;
}

bool is_kernels(const Area& area) {
  return area.name.starts_with("[v");
}  // [vvar], [vvar_vclock], [vdso], [vsyscall]
bool is_vdso_part(const Area& area) { return is_kernels(area) && area.name != "[vsyscall]"; }

// /bin/true as an ordinary user, stopped before its first instruction.
class FreshProgram : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(WIFSTOPPED(child_.wait_for_stop()));
    instruction_ = find_syscall_instruction();
    ASSERT_NE(instruction_, 0U);
  }

  std::uint64_t find_syscall_instruction() const {
    for (const Area& area : areas_of(child_.pid())) {
      if (area.name != "[vdso]") continue;
      std::string code(area.end - area.start, '\0');
      EXPECT_TRUE(transfer(area.start, code.data(), code.size(), process_vm_readv));
      std::size_t at = code.find("\x0f\x05");
      return at == std::string::npos ? 0 : area.start + at;
    }
    return 0;
  }

  using Transfer = ssize_t (*)(pid_t, const iovec*, unsigned long, const iovec*, unsigned long,
                               unsigned long);
  bool transfer(std::uint64_t remote, void* local, std::size_t size, Transfer copy) const {
    iovec here{.iov_base = local, .iov_len = size};
    iovec there{.iov_base = reinterpret_cast<void*>(remote), .iov_len = size};
    return copy(child_.pid(), &here, 1, &there, 1, 0) == static_cast<ssize_t>(size);
  }
  bool put(std::uint64_t remote, const void* local, std::size_t size) const {
    return transfer(remote, const_cast<void*>(local), size, process_vm_writev);
  }

  std::int64_t call(long number, std::initializer_list<std::uint64_t> arguments) const {
    return child_.remote_call(instruction_, number, arguments);
  }

  void map_new_home() const {
    ASSERT_EQ(call(SYS_mmap, {kNewHome, kNewHomeBytes, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, ~0ULL, 0}),
              static_cast<std::int64_t>(kNewHome));
  }

  void unmap_all_else() const {
    for (const Area& area : areas_of(child_.pid())) {
      if (is_kernels(area) || area.start == kNewHome) continue;
      ASSERT_EQ(call(SYS_munmap, {area.start, area.end - area.start}), 0) << area.name;
    }
  }

  Child child_{[] {
    if (!become_ordinary()) return 1;
    ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
    execl("/bin/true", "true", nullptr);
    return 1;
  }};
  std::uint64_t instruction_ = 0;
};

TEST_F(FreshProgram, TakesOnNewBoundsWithoutPrivilege) {
  ASSERT_NO_FATAL_FAILURE(map_new_home());
  ASSERT_NO_FATAL_FAILURE(unmap_all_else());
  constexpr std::string_view kArguments("restored\0argument\0", 18);
  constexpr std::uint64_t kBounds = kNewHome + kPage;
  constexpr std::uint64_t kAuxiliary = kNewHome + 2 * kPage;
  constexpr std::uint64_t kBreak = 0x1000'0000;
  std::array<std::uint64_t, 4> auxiliary{3 /* AT_PHDR */, 0x400040, 0, 0};
  prctl_mm_map bounds{};
  bounds.start_code = 0x400000;
  bounds.end_code = bounds.start_data = 0x500000;  // code may not be empty
  bounds.end_data = 0x600000;
  bounds.start_brk = bounds.brk = kBreak;
  bounds.start_stack = kNewHome + kNewHomeBytes / 2;
  bounds.arg_start = kNewHome;
  bounds.arg_end = bounds.env_start = bounds.env_end = kNewHome + kArguments.size();
  bounds.auxv = reinterpret_cast<__u64*>(kAuxiliary);
  bounds.auxv_size = sizeof auxiliary;
  bounds.exe_fd = ~0U;
  ASSERT_TRUE(put(kNewHome, kArguments.data(), kArguments.size()));
  ASSERT_TRUE(put(kAuxiliary, auxiliary.data(), sizeof auxiliary));
  ASSERT_TRUE(put(kBounds, &bounds, sizeof bounds));

  ASSERT_EQ(call(SYS_prctl, {PR_SET_MM, PR_SET_MM_MAP, kBounds, sizeof bounds, 0}), 0);

  std::string process = "/proc/" + std::to_string(child_.pid());
  EXPECT_EQ(read_file(process + "/cmdline"), kArguments);
  EXPECT_EQ(read_link(process + "/exe"), std::filesystem::canonical("/bin/true").string());
  EXPECT_EQ(call(SYS_brk, {kBreak + 16 * kPage}), static_cast<std::int64_t>(kBreak + 16 * kPage));
}

TEST_F(FreshProgram, MovesItsVdsoPartByPart) {
  std::vector<Area> parts;
  std::ranges::copy_if(areas_of(child_.pid()), std::back_inserter(parts), is_vdso_part);
  ASSERT_FALSE(parts.empty());
  std::uint64_t old_start = parts.front().start;
  // The instruction that makes the calls moves with the last part.
  for (const Area& part : parts) {
    std::uint64_t size = part.end - part.start;
    std::uint64_t target = kNewHome + (part.start - old_start);
    ASSERT_EQ(call(SYS_mremap, {part.start, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, target}),
              static_cast<std::int64_t>(target))
        << part.name;
  }
  std::vector<Area> moved;
  std::ranges::copy_if(areas_of(child_.pid()), std::back_inserter(moved), is_vdso_part);
  ASSERT_EQ(moved.size(), parts.size());
  for (std::size_t i = 0; i < parts.size(); ++i) {
    EXPECT_EQ(moved[i].name, parts[i].name);
    EXPECT_EQ(moved[i].start, kNewHome + (parts[i].start - old_start));
  }
}

TEST(MovedVdso, TellsTheTimeAtItsNewAddress) {
  Child child([] {
    void* vdso = dlopen("linux-vdso.so.1", RTLD_LAZY | RTLD_NOLOAD);
    void* symbol = vdso != nullptr ? dlsym(vdso, "__vdso_clock_gettime") : nullptr;
    if (symbol == nullptr) return 2;
    std::vector<Area> parts;
    std::ranges::copy_if(areas_of(getpid()), std::back_inserter(parts), is_vdso_part);
    std::uint64_t shift = kNewHome - parts.front().start;
    for (const Area& part : parts) {
      std::uint64_t size = part.end - part.start;
      if (mremap(reinterpret_cast<void*>(part.start), size, size, MREMAP_MAYMOVE | MREMAP_FIXED,
                 reinterpret_cast<void*>(part.start + shift)) == MAP_FAILED) {
        return 3;
      }
    }
    auto moved =
        reinterpret_cast<int (*)(clockid_t, timespec*)>(reinterpret_cast<std::uint64_t>(symbol) + shift);
    timespec before{};
    timespec now{};
    timespec after{};
    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &before);
    if (moved(CLOCK_MONOTONIC, &now) != 0) return 4;
    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &after);
    auto nanoseconds = [](const timespec& time) { return time.tv_sec * 1'000'000'000L + time.tv_nsec; };
    return nanoseconds(before) <= nanoseconds(now) && nanoseconds(now) <= nanoseconds(after) ? 0 : 5;
  });
  int code = child.exit_code();
  if (code == 2) GTEST_SKIP() << "the vDSO of this kernel has no __vdso_clock_gettime";
  EXPECT_EQ(code, 0);
}

}  // namespace
}  // namespace ckpt::assumptions
