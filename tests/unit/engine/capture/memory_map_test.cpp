#include "engine/capture/memory_map.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <string>

#include "base/error.h"
#include "base/file_io.h"
#include "capture/mapping_support.h"
#include "resource/program_support.h"

namespace ckpt::engine {
namespace {

MapEntry own_entry(std::uint64_t address) { return entry_at(read_memory_map(::getpid()), address); }

UniqueFd file_of(const std::string& path, std::size_t pages) {
  UniqueFd fd = open_or_throw(path, O_RDWR | O_CREAT, 0600);
  if (::ftruncate(fd.get(), static_cast<off_t>(pages * kPageSize)) != 0) throw_errno("ftruncate");
  return fd;
}

// Flags of a mapping of ours as they are now.
MapFlags flags_of(const TestMapping& mapping) {
  return MapFlagsTable::read(::getpid()).of(own_entry(mapping.start()));
}

TEST(MemoryMap, TellsRangeProtectionAndSharing) {
  TestMapping above(8);  // neighbours that the kernel may merge with
  TestMapping code(3, PROT_READ | PROT_EXEC);
  TestMapping shared(2, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS);
  TestMapping closed(2, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE);
  MapEntry entry = own_entry(code.start());
  EXPECT_LE(entry.start, code.start());
  EXPECT_GE(entry.end, code.end());
  EXPECT_EQ(entry.protection, static_cast<std::uint32_t>(PROT_READ | PROT_EXEC));
  EXPECT_FALSE(entry.shared);
  EXPECT_EQ(entry.size_bytes(), entry.end - entry.start);
  EXPECT_EQ(own_entry(shared.start()).protection, static_cast<std::uint32_t>(PROT_READ | PROT_WRITE));
  EXPECT_TRUE(own_entry(shared.start()).shared);
  EXPECT_EQ(own_entry(shared.start()).path, "/dev/zero (deleted)");
  EXPECT_EQ(own_entry(closed.start()).protection, static_cast<std::uint32_t>(PROT_NONE));
}

TEST(MemoryMap, TellsFileInodeAndOffset) {
  TemporaryDirectory directory;
  std::string path = directory.file("mapped file");
  UniqueFd fd = file_of(path, 4);
  TestMapping mapping(2, PROT_READ, MAP_PRIVATE, fd.get(), 2 * kPageSize);
  struct stat status {};
  ASSERT_EQ(::fstat(fd.get(), &status), 0);
  MapEntry entry = own_entry(mapping.start());
  EXPECT_EQ(entry.start, mapping.start());
  EXPECT_EQ(entry.end, mapping.end());
  EXPECT_EQ(entry.path, path);
  EXPECT_EQ(entry.inode, status.st_ino);
  EXPECT_EQ(entry.offset, 2 * kPageSize);
}

TEST(MemoryMap, NamesContainNewlinesAndBlanksAsTheyAre) {
  TemporaryDirectory directory;
  std::string path = directory.file(" two\nlines, the second\n");
  UniqueFd fd = file_of(path, 1);
  TestMapping mapping(1, PROT_READ, MAP_PRIVATE, fd.get());
  EXPECT_EQ(own_entry(mapping.start()).path, path);
  EXPECT_EQ(MapFlagsTable::read(::getpid()).of(own_entry(mapping.start())).entry.path, path);
}

TEST(MemoryMap, DeletedFilesAreMarked) {
  TemporaryDirectory directory;
  std::string path = directory.file("gone");
  UniqueFd fd = file_of(path, 1);
  TestMapping mapping(1, PROT_READ, MAP_SHARED, fd.get());
  ASSERT_EQ(::unlink(path.c_str()), 0);
  EXPECT_EQ(own_entry(mapping.start()).path, path + " (deleted)");
}

TEST(MemoryMap, ListsTheKernelsOwnMappingsInOrder) {
  std::vector<MapEntry> maps = read_memory_map(::getpid());
  for (const char* name : {"[vdso]", "[stack]"}) {
    EXPECT_EQ(std::ranges::count(maps, name, &MapEntry::path), 1) << name;
  }
  EXPECT_TRUE(std::ranges::is_sorted(maps, {}, &MapEntry::start));
}

TEST(MemoryMap, OfNoProcessIsAnError) {
  EXPECT_THROW(read_memory_map(INT_MAX), Error);
  EXPECT_THROW(MapFlagsTable::read(INT_MAX), Error);
}

TEST(MapFlags, AreFoundByWholeCodes) {
  MapFlags flags;
  flags.set_codes(" rd wr mr ?? ");
  EXPECT_TRUE(flags.has("rd"));
  EXPECT_TRUE(flags.has("mr"));
  EXPECT_FALSE(flags.has("r"));
  EXPECT_FALSE(flags.has("ex"));
}

TEST(MapFlags, TellAdviceAndReservation) {
  TestMapping plain(2);
  TestMapping special(2, PROT_READ | PROT_WRITE, TestMapping::kPrivateMemory | MAP_NORESERVE | MAP_GROWSDOWN);
  ASSERT_EQ(::madvise(special.memory(), special.size_bytes(), MADV_DONTDUMP), 0);
  ASSERT_EQ(::madvise(special.memory(), special.size_bytes(), MADV_DONTFORK), 0);
  MapFlags found = flags_of(special);
  for (const char* code : {"rd", "wr", "dd", "dc", "gd"}) EXPECT_TRUE(found.has(code)) << code;
  for (const char* code : {"dd", "dc", "gd", "lo"}) EXPECT_FALSE(flags_of(plain).has(code)) << code;
}

TEST(MapFlags, TellLockedMemory) {
  TestMapping mapping(1);
  if (::syscall(SYS_mlock, mapping.memory(), mapping.size_bytes()) != 0)
    GTEST_SKIP() << "no memory may be locked here";
  EXPECT_TRUE(flags_of(mapping).has("lo"));
}

TEST(MapFlags, CoverOnlyWhatWasThereUnchanged) {
  TestMapping mapping(4);
  MapEntry before = own_entry(mapping.start());
  MapFlagsTable table = MapFlagsTable::read(::getpid());
  EXPECT_TRUE(table.covers({before}));
  ASSERT_EQ(::mprotect(mapping.memory(), kPageSize, PROT_NONE), 0);
  std::vector<MapEntry> now = read_memory_map(::getpid());
  EXPECT_FALSE(table.covers(now));
  EXPECT_FALSE(table.covers({entry_at(now, mapping.start())}));
}

TEST(MapFlags, OfAnUnknownMappingAreAnError) {
  MapEntry entry;
  entry.start = 0x1000;
  EXPECT_THROW(MapFlagsTable::read(::getpid()).of(entry), Error);
}

}  // namespace
}  // namespace ckpt::engine
