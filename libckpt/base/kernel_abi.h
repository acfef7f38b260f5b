// Kernel interfaces that the system headers (6.1) lack; values from the kernel's include/uapi at the version
// named.
#pragma once

#include <linux/ioctl.h>

#include <cstdint>

namespace ckpt::kernel {

// PAGEMAP_SCAN, Linux 6.7 (Documentation/admin-guide/mm/pagemap.rst).
struct PageRegion {
  std::uint64_t start;
  std::uint64_t end;
  std::uint64_t categories;
};

struct PagemapScanArguments {
  std::uint64_t size;
  std::uint64_t flags;
  std::uint64_t start;
  std::uint64_t end;
  std::uint64_t walk_end;
  std::uint64_t vec;
  std::uint64_t vec_len;
  std::uint64_t max_pages;
  std::uint64_t category_inverted;
  std::uint64_t category_mask;
  std::uint64_t category_anyof_mask;
  std::uint64_t return_mask;
};
static_assert(sizeof(PagemapScanArguments) == 96);

inline constexpr unsigned long kPagemapScan = _IOWR('f', 16, PagemapScanArguments);

inline constexpr std::uint64_t kScanWriteProtectMatching = 1 << 0;
inline constexpr std::uint64_t kScanCheckWriteProtectAsync = 1 << 1;

inline constexpr std::uint64_t kPageIsWriteProtectAllowed = 1 << 0;
inline constexpr std::uint64_t kPageIsWritten = 1 << 1;
inline constexpr std::uint64_t kPageIsFile = 1 << 2;
inline constexpr std::uint64_t kPageIsPresent = 1 << 3;
inline constexpr std::uint64_t kPageIsSwapped = 1 << 4;
inline constexpr std::uint64_t kPageIsPfnZero = 1 << 5;
inline constexpr std::uint64_t kPageIsGuard = 1 << 8;  // Linux 6.15

// userfaultfd(2) features, Linux 6.4 and 6.7 (include/uapi/linux/userfaultfd.h).
inline constexpr std::uint64_t kUserfaultWriteProtectUnpopulated = 1 << 13;
inline constexpr std::uint64_t kUserfaultWriteProtectAsync = 1 << 15;

// UFFDIO_CONTINUE_MODE_WP, Linux 6.3 (the same header).
inline constexpr std::uint64_t kUserfaultContinueProtected = 1 << 1;

// UFFDIO_POISON, Linux 6.6 (the same header).
struct UserfaultPoison {
  std::uint64_t start;
  std::uint64_t size;
  std::uint64_t mode;
  std::int64_t updated;
};
inline constexpr unsigned long kUserfaultPoison = _IOWR(0xAA, 0x08, UserfaultPoison);
inline constexpr std::uint64_t kUserfaultPoisonFeature = 1 << 14;

// /proc/PID/pagemap entries (same document).
inline constexpr std::uint64_t kPagemapPresent = 1ULL << 63;
inline constexpr std::uint64_t kPagemapSwapped = 1ULL << 62;
inline constexpr std::uint64_t kPagemapExclusive = 1ULL << 56;  // mapped once
inline constexpr std::uint64_t kPagemapFileOrShared = 1ULL << 61;
inline constexpr std::uint64_t kPagemapGuard = 1ULL << 58;  // Linux 6.15

// Linux 6.13 (include/uapi/asm-generic/mman-common.h).
inline constexpr int kMadviseGuardInstall = 102;

// Linux 6.3 (include/uapi/linux/membarrier.h).
inline constexpr int kMembarrierGetRegistrations = 1 << 9;

// Linux 6.3 (include/uapi/linux/prctl.h).
inline constexpr int kSetDenyWriteExecute = 65;  // PR_SET_MDWE
inline constexpr int kGetDenyWriteExecute = 66;

// Linux 6.4 (include/uapi/linux/ptrace.h).
struct UserDispatch {
  std::uint64_t mode, selector, offset, length;  // mode 0: off
};
inline constexpr unsigned kGetUserDispatch = 0x4211;  // PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG

// Linux 6.10.
inline constexpr long kMseal = 462;

}  // namespace ckpt::kernel
