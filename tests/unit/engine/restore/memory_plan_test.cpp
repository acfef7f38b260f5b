#include "engine/restore/memory_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/prctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "base/error.h"
#include "resource/program_support.h"
#include "restore/checkpoint_support.h"

namespace ckpt::engine {
namespace {

using image::MappingKind;
using image::ObjectKind;
using testing::ElementsAre;
using testing::IsEmpty;

constexpr std::uint64_t kStart = 0x10000000;
constexpr std::uint64_t kEnd = 0x10004000;
constexpr std::uint32_t kReadWrite = PROT_READ | PROT_WRITE;
constexpr int kScratchBase = 100;

// An image, what the new process has, and the plans made from both.
class MemoryPlan : public testing::Test {
 protected:
  MemoryPlan() : checkpoint_(empty_checkpoint()) {}

  image::MappingT& add(MappingKind kind, std::uint32_t protection, const std::string& name = {}) {
    return add_mapping(checkpoint_, kind, kStart, kEnd, protection, name);
  }
  void add_present(std::uint64_t start, std::uint64_t end, const std::string& path = {}) {
    present_.emplace_back();
    present_.back().start = start;
    present_.back().end = end;
    present_.back().path = path;
  }
  void add_content(std::uint64_t address) {
    runs_.push_back({.first_page = address / kPageSize, .page_count = 1});
  }

  PlanBuilder mappings() { return make(plan_mappings); }
  PlanBuilder completion() { return make(plan_memory_completion); }

  MemoryPlanInput input(const MappedFileSet& files) const {
    return {checkpoint_, runs_, present_, area_, files, object_descriptors_};
  }
  PlanBuilder make(void (*part)(const MemoryPlanInput&, PlanBuilder&)) {
    area_ = choose_work_area(checkpoint_, present_, kPageSize);
    MappedFileSet files(*checkpoint_.process, kScratchBase);
    PlanBuilder plan(area_.plan, area_.plan_data_offset);
    part(input(files), plan);
    return plan;
  }

  image::CheckpointT checkpoint_;
  std::vector<store::PageRun> runs_;
  std::vector<MapEntry> present_;
  WorkArea area_;
  std::vector<int> object_descriptors_;
};

// Operations with this system call.
std::vector<plan::Operation> operations(const PlanBuilder& plan, long number) {
  std::vector<plan::Operation> found;
  std::ranges::copy_if(plan.operations(), std::back_inserter(found),
                       [number](const auto& op) { return op.number == static_cast<std::uint32_t>(number); });
  return found;
}

// The only one.
plan::Operation operation(const PlanBuilder& plan, long number) {
  std::vector<plan::Operation> found = operations(plan, number);
  if (found.size() != 1)
    throw Error(std::to_string(found.size()) + " operations instead of one\n" + plan.dump());
  return found[0];
}

TEST_F(MemoryPlan, RemovesWhatTheNewProgramHasButTheWorkAreaAndTheKernelsPage) {
  area_ = choose_work_area(checkpoint_, {}, kPageSize);
  std::uint64_t code = area_.code.value;
  present_.clear();
  add_present(0x555500000000, 0x555500002000, "/bin/new");
  add_present(0xffffffffff600000, 0xffffffffff601000, "[vsyscall]");
  MapEntry executor{.start = code, .end = area_.parking.value, .path = {}};
  MappedFileSet files(*checkpoint_.process, kScratchBase);
  std::vector<MapEntry> with_executor = present_;
  with_executor.push_back(executor);
  PlanBuilder plan(area_.plan, area_.plan_data_offset);
  plan_mappings({checkpoint_, runs_, with_executor, area_, files, object_descriptors_}, plan);
  EXPECT_THAT(operation(plan, SYS_munmap).arguments, ElementsAre(0x555500000000, 0x2000, 0, 0, 0, 0));
  EXPECT_THAT(plan.labels(), ElementsAre("munmap 555500000000-555500002000 /bin/new"));
}

TEST_F(MemoryPlan, AnonymousMemoryComesBackAtItsPlace) {
  add(MappingKind::Anonymous, kReadWrite, "[heap]");
  PlanBuilder plan = mappings();
  plan::Operation map = operation(plan, SYS_mmap);
  EXPECT_THAT(map.arguments, ElementsAre(kStart, kEnd - kStart, kReadWrite,
                                         MAP_FIXED_NOREPLACE | MAP_PRIVATE | MAP_ANONYMOUS, ~0ULL, 0));
  EXPECT_EQ(map.check, plan::Check::kEqual);
  EXPECT_EQ(map.expected, static_cast<std::int64_t>(kStart));
  EXPECT_THAT(plan.labels(), ElementsAre("mmap 10000000-10004000 [heap]"));
}

TEST_F(MemoryPlan, PropertiesOfAMappingBecomeFlagsAndAdvice) {
  image::MappingT& mapping = add(MappingKind::Anonymous, PROT_NONE);
  mapping.grows_down = true;
  mapping.no_reserve = true;
  mapping.locked = true;
  mapping.advice = {MADV_DONTDUMP, MADV_NOHUGEPAGE};
  PlanBuilder plan = mappings();
  std::uint64_t flags = operation(plan, SYS_mmap).arguments[3];
  EXPECT_EQ(flags & (MAP_GROWSDOWN | MAP_NORESERVE),
            static_cast<std::uint64_t>(MAP_GROWSDOWN | MAP_NORESERVE));
  std::vector<plan::Operation> advice = operations(plan, SYS_madvise);
  ASSERT_EQ(advice.size(), 2U);
  EXPECT_THAT(advice[0].arguments, ElementsAre(kStart, kEnd - kStart, MADV_DONTDUMP, 0, 0, 0));
  EXPECT_EQ(advice[1].arguments[2], static_cast<std::uint64_t>(MADV_NOHUGEPAGE));
  EXPECT_THAT(operation(completion(), SYS_mlock).arguments, ElementsAre(kStart, kEnd - kStart, 0, 0, 0, 0));
}

TEST_F(MemoryPlan, MemoryThatGetsContentIsOpenUntilItHasIt) {
  add(MappingKind::Anonymous, PROT_NONE);
  add_content(kEnd - kPageSize);
  EXPECT_EQ(operation(mappings(), SYS_mmap).arguments[2], kReadWrite);
  EXPECT_THAT(operation(completion(), SYS_mprotect).arguments,
              ElementsAre(kStart, kEnd - kStart, PROT_NONE, 0, 0, 0));
}

TEST_F(MemoryPlan, MemoryWithoutContentHasItsProtectionAtOnce) {
  add(MappingKind::Anonymous, PROT_READ);
  add_content(kStart - kPageSize);  // the pages before and behind it
  add_content(kEnd);
  EXPECT_EQ(operation(mappings(), SYS_mmap).arguments[2], static_cast<std::uint64_t>(PROT_READ));
  EXPECT_THAT(operations(completion(), SYS_mprotect), IsEmpty());
}

TEST_F(MemoryPlan, PrivateFileIsMappedByDescriptorAndOffset) {
  TemporaryDirectory directory;
  std::string path = directory.file_with("library", "content");
  checkpoint_.process->mapped_files.push_back(std::make_unique<image::MappedFileT>());
  checkpoint_.process->mapped_files[0]->path = path;
  image::MappingT& mapping = add(MappingKind::PrivateFile, PROT_READ | PROT_EXEC, path);
  mapping.file = 0;
  mapping.offset = 0x3000;
  plan::Operation map = operation(mappings(), SYS_mmap);
  EXPECT_EQ(map.arguments[2], static_cast<std::uint64_t>(PROT_READ | PROT_EXEC));
  EXPECT_EQ(map.arguments[3], static_cast<std::uint64_t>(MAP_FIXED_NOREPLACE | MAP_PRIVATE));
  EXPECT_GE(map.arguments[4], static_cast<std::uint64_t>(kScratchBase));
  EXPECT_LT(map.arguments[4], static_cast<std::uint64_t>(kScratchBase + 100));
  EXPECT_EQ(map.arguments[5], 0x3000U);
}

TEST_F(MemoryPlan, SharedFileIsSharedAndNeverOpenedForContent) {
  TemporaryDirectory directory;
  std::string path = directory.file_with("shared", "content");
  checkpoint_.process->mapped_files.push_back(std::make_unique<image::MappedFileT>());
  checkpoint_.process->mapped_files[0]->path = path;
  add(MappingKind::SharedFile, PROT_READ, path).file = 0;
  add_content(kStart);
  plan::Operation map = operation(mappings(), SYS_mmap);
  EXPECT_EQ(map.arguments[2], static_cast<std::uint64_t>(PROT_READ));
  EXPECT_EQ(map.arguments[3], static_cast<std::uint64_t>(MAP_FIXED_NOREPLACE | MAP_SHARED));
}

TEST_F(MemoryPlan, ObjectWithADescriptorIsMappedByIt) {
  add_object(checkpoint_, ObjectKind::Memfd, 0x8000);
  object_descriptors_ = {123};
  image::MappingT& mapping = add(MappingKind::SharedObject, kReadWrite, "/memfd:name (deleted)");
  mapping.object = 0;
  mapping.offset = 0x1000;
  EXPECT_THAT(operation(mappings(), SYS_mmap).arguments,
              ElementsAre(kStart, kEnd - kStart, kReadWrite, MAP_FIXED_NOREPLACE | MAP_SHARED, 123, 0x1000));
  EXPECT_THAT(operations(completion(), SYS_mprotect), IsEmpty());
}

TEST_F(MemoryPlan, SharedAnonymousMemoryIsAViewOfOneObject) {
  add_object(checkpoint_, ObjectKind::SharedAnonymous, 0x8000);
  object_descriptors_ = {-1};
  image::MappingT& mapping = add(MappingKind::SharedObject, PROT_READ, "/dev/zero (deleted)");
  mapping.object = 0;
  mapping.offset = 0x2000;
  PlanBuilder plan = mappings();
  plan::Operation object = operation(plan, SYS_mmap);
  EXPECT_EQ(object.arguments[0], area_.objects[0].value);
  EXPECT_EQ(object.arguments[1], 0x8000U);
  EXPECT_THAT(operation(plan, SYS_mremap).arguments,
              ElementsAre(area_.objects[0].value + 0x2000, 0, kEnd - kStart, MREMAP_MAYMOVE | MREMAP_FIXED,
                          kStart, 0));
  EXPECT_THAT(operation(completion(), SYS_mprotect).arguments,
              ElementsAre(kStart, kEnd - kStart, PROT_READ, 0, 0, 0));
}

TEST_F(MemoryPlan, KernelPagesMoveByWayOfTheParkingPlace) {
  // The vDSO's old place is where the new data page is now.
  add_present(0x20000000, 0x20004000, "[vvar]");
  add_present(0x20004000, 0x20006000, "[vdso]");
  add_mapping(checkpoint_, MappingKind::Vvar, 0x1fffe000, 0x20002000, PROT_READ, "[vvar]");
  add_mapping(checkpoint_, MappingKind::Vdso, 0x20002000, 0x20004000, PROT_READ | PROT_EXEC, "[vdso]");
  PlanBuilder plan = mappings();
  std::uint64_t parking = area_.parking.value;
  std::vector<plan::Operation> moves = operations(plan, SYS_mremap);
  ASSERT_EQ(moves.size(), 4U);
  EXPECT_THAT(moves[0].arguments,
              ElementsAre(0x20000000, 0x4000, 0x4000, MREMAP_MAYMOVE | MREMAP_FIXED, parking, 0));
  EXPECT_EQ(moves[1].arguments[4], parking + 0x4000);
  EXPECT_EQ(moves[2].arguments[0], parking);
  EXPECT_EQ(moves[2].arguments[4], 0x1fffe000U);
  EXPECT_EQ(moves[3].arguments[0], parking + 0x4000);
  EXPECT_EQ(moves[3].arguments[4], 0x20002000U);
  EXPECT_THAT(operations(plan, SYS_munmap), IsEmpty());
}

TEST_F(MemoryPlan, KernelPagesOfAnotherSizeAreRefused) {
  add_present(0x20000000, 0x20004000, "[vvar]");
  add_mapping(checkpoint_, MappingKind::Vvar, 0x30000000, 0x30002000, PROT_READ, "[vvar]");
  EXPECT_THROW(mappings(), Error);
}

TEST_F(MemoryPlan, KernelPagesThatTheProgramDidNotHaveGo) {
  add_present(0x20000000, 0x20004000, "[vvar]");
  EXPECT_EQ(operation(mappings(), SYS_munmap).arguments[0], 0x20000000U);
}

TEST_F(MemoryPlan, GivenNamesComeBack) {
  add(MappingKind::Anonymous, kReadWrite, "[anon:my arena]");
  PlanBuilder plan = completion();
  EXPECT_EQ(std::ranges::count(plan.labels(), "name mapping my arena"), 1);
  plan::Operation name = operations(plan, SYS_prctl).at(0);
  EXPECT_EQ(name.arguments[0], static_cast<std::uint64_t>(PR_SET_VMA));
  EXPECT_EQ(name.arguments[2], kStart);
  std::uint64_t at = name.arguments[4] - plan.data_base().value;
  ASSERT_LT(at + 8, plan.data_bytes().size());
  EXPECT_STREQ(reinterpret_cast<const char*>(plan.data_bytes().data()) + at, "my arena");
}

TEST_F(MemoryPlan, TheKernelLearnsTheOldLayoutLast) {
  image::MemoryLayoutT& layout = *checkpoint_.process->layout;
  layout.start_brk = 0x1000;
  layout.brk = 0x3000;
  layout.arg_end = 0x7000;
  layout.auxv = {6, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0};
  add(MappingKind::Anonymous, kReadWrite);
  PlanBuilder plan = completion();
  auto label = std::ranges::find_if(plan.labels(),
                                    [](const auto& text) { return text.starts_with("prctl PR_SET_MM_MAP"); });
  ASSERT_NE(label, plan.labels().end()) << plan.dump();
  plan::Operation set = plan.operations()[static_cast<std::size_t>(label - plan.labels().begin())];
  prctl_mm_map map{};
  std::size_t at = set.arguments[2] - plan.data_base().value;
  ASSERT_LE(at + sizeof(map), plan.data_bytes().size());
  std::memcpy(&map, plan.data_bytes().data() + at, sizeof(map));
  EXPECT_EQ(map.start_brk, 0x1000U);
  EXPECT_EQ(map.brk, 0x3000U);
  EXPECT_EQ(map.arg_end, 0x7000U);
  EXPECT_EQ(map.auxv_size, 16U);
  std::size_t auxv = reinterpret_cast<std::uintptr_t>(map.auxv) - plan.data_base().value;
  ASSERT_LE(auxv + 16, plan.data_bytes().size());
  EXPECT_EQ(std::memcmp(plan.data_bytes().data() + auxv, layout.auxv.data(), 16), 0);
}

}  // namespace
}  // namespace ckpt::engine
