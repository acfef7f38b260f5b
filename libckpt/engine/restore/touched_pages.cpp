#include "engine/restore/touched_pages.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <span>
#include <string>

#include "base/error.h"
#include "base/file_io.h"
#include "base/parse.h"
#include "store/application_files.h"
#include "store/digest.h"
#include "store/store_file.h"

namespace ckpt::engine {
namespace {

constexpr std::uint64_t kMagic = 0x3148435454504b43;  // "CKPTTCH1"
constexpr std::string_view kSuffix = ".touched";

struct Header {
  std::uint64_t magic;
  std::uint64_t part_count;
};
static_assert(sizeof(Header) == 16);

constexpr std::size_t kLongestFile =
    sizeof(Header) + kMostTouchedParts * sizeof(std::uint64_t) + sizeof(store::Digest);

std::string name_of(store::Version version) { return fmt::format("v{:010}{}", version, kSuffix); }

bool exists(int directory, store::Version version) {
  return ::faccessat(directory, store::visible_name(version).c_str(), F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

template <typename T>
void append(std::vector<std::byte>& bytes, const T& value) {
  auto raw = std::as_bytes(std::span(&value, 1));
  bytes.insert(bytes.end(), raw.begin(), raw.end());
}

std::vector<std::byte> encode(const TouchedParts& parts) {
  std::vector<std::byte> bytes;
  append(bytes, Header{.magic = kMagic, .part_count = parts.in_order().size()});
  for (std::uint64_t part : parts.in_order()) append(bytes, part);
  append(bytes, store::digest_of(bytes));
  return bytes;
}

TouchedParts decode(std::span<const std::byte> bytes) {
  TouchedParts parts;
  Header header{};
  store::Digest digest;
  if (bytes.size() < sizeof header + sizeof digest) return parts;
  std::span<const std::byte> body = bytes.first(bytes.size() - sizeof digest);
  std::memcpy(&header, body.data(), sizeof header);
  std::memcpy(&digest, body.data() + body.size(), sizeof digest);
  std::span<const std::byte> numbers = body.subspan(sizeof header);
  if (header.magic != kMagic || header.part_count > kMostTouchedParts ||
      numbers.size() != header.part_count * sizeof(std::uint64_t) || store::digest_of(body) != digest) {
    return parts;
  }
  for (std::size_t i = 0; i < header.part_count; ++i) {
    std::uint64_t part = 0;
    std::memcpy(&part, numbers.data() + i * sizeof part, sizeof part);
    parts.add_part(part);
  }
  return parts;
}

void write_file(int directory, const std::string& name, std::span<const std::byte> bytes) {
  std::string unfinished = ".tmp-" + name;
  UniqueFd fd(store::open_in(directory, unfinished, O_WRONLY | O_CREAT | O_TRUNC, 0600));
  if (!fd) throw_errno(fmt::format("create {}", unfinished));
  pwrite_all(fd.get(), bytes, 0, unfinished);
  if (::renameat(directory, unfinished.c_str(), directory, name.c_str()) != 0)
    throw_errno(fmt::format("rename {}", unfinished));
}

}  // namespace

void TouchedParts::add(std::uint64_t page) { add_part(page / kTouchedPartPages); }

void TouchedParts::add_part(std::uint64_t part) {
  if (order_.size() < kMostTouchedParts && known_.insert(part).second) order_.push_back(part);
}

TouchedParts load_touched(int directory, store::Version version) {
  UniqueFd fd(store::open_in(directory, name_of(version), O_RDONLY | O_NONBLOCK));
  struct stat status {};
  if (!fd || ::fstat(fd.get(), &status) != 0 || !S_ISREG(status.st_mode) ||
      static_cast<std::uint64_t>(status.st_size) > kLongestFile) {
    return {};
  }
  std::vector<std::byte> bytes(static_cast<std::size_t>(status.st_size));
  ssize_t got = ::pread(fd.get(), bytes.data(), bytes.size(), 0);
  return got == static_cast<ssize_t>(bytes.size()) ? decode(bytes) : TouchedParts{};
}

void save_touched(int directory, store::Version version, const TouchedParts& parts) noexcept {
  try {
    if (exists(directory, version)) write_file(directory, name_of(version), encode(parts));
  } catch (const std::exception&) {
    return;  // the next restore is a little slower
  }
}

void remove_stale_touched(int directory) noexcept {
  try {
    for (const std::string& name : store::directory_entries(directory, "the application's directory")) {
      if (!name.starts_with('v') || !name.ends_with(kSuffix)) continue;
      auto version = parse_unsigned(std::string_view(name).substr(1, name.size() - 1 - kSuffix.size()));
      if (version && name_of(*version) == name && !exists(directory, *version))
        ::unlinkat(directory, name.c_str(), 0);
    }
  } catch (const std::exception&) {
    return;  // they are small
  }
}

}  // namespace ckpt::engine
