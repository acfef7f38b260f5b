#include "fuzz/mutation.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>

namespace ckpt::fuzz {
namespace {

constexpr std::size_t kMostBytes = 1 << 17;
constexpr std::array<std::uint64_t, 12> kLimits{
    0,     1,         0x7f, 0xff, 0x7fff, 0xffff, 0x7fff'ffff, 0xffff'ffff, 0x7fff'ffff'ffff'ffff,
    ~0ULL, ~0ULL - 7, 4096};

std::size_t below(std::size_t limit, std::mt19937_64& random) { return limit == 0 ? 0 : random() % limit; }

void flip_bit(Bytes& bytes, std::mt19937_64& random) {
  if (bytes.empty()) return;
  bytes[below(bytes.size(), random)] ^= std::byte{1} << below(8, random);
}

// A number of 1, 2, 4 or 8 bytes becomes one at a limit, or a little more or less than it was.
void change_number(Bytes& bytes, std::mt19937_64& random) {
  std::size_t size = std::size_t{1} << below(4, random);
  if (bytes.size() < size) return;
  std::size_t at = below(bytes.size() - size + 1, random);
  if (random() % 2 == 0) at -= at % size;  // most are aligned
  std::uint64_t value = 0;
  std::memcpy(&value, bytes.data() + at, size);
  value = random() % 2 == 0 ? kLimits[below(kLimits.size(), random)] : value + below(33, random) - 16;
  std::memcpy(bytes.data() + at, &value, size);
}

void cut_out(Bytes& bytes, std::mt19937_64& random) {
  std::size_t begin = below(bytes.size() + 1, random);
  std::size_t size = std::min(below(64, random) + 1, bytes.size() - begin);
  if (random() % 8 == 0) size = bytes.size() - begin;
  auto first = bytes.begin() + static_cast<std::ptrdiff_t>(begin);
  bytes.erase(first, first + static_cast<std::ptrdiff_t>(size));
}

void insert_from(const Bytes& other, Bytes& bytes, std::mt19937_64& random) {
  std::size_t begin = below(other.size(), random);
  std::size_t size = std::min({below(200, random) + 1, other.size() - begin, kMostBytes - bytes.size()});
  Bytes piece(other.begin() + static_cast<std::ptrdiff_t>(begin),
              other.begin() + static_cast<std::ptrdiff_t>(begin + size));
  auto at = bytes.begin() + static_cast<std::ptrdiff_t>(below(bytes.size() + 1, random));
  bytes.insert(at, piece.begin(), piece.end());
}

// What stands at one place also stands at another.
void overwrite(Bytes& bytes, std::mt19937_64& random) {
  if (bytes.empty()) return;
  std::size_t from = below(bytes.size(), random);
  std::size_t to = below(bytes.size(), random);
  std::size_t size = std::min(below(64, random) + 1, bytes.size() - std::max(from, to));
  std::memmove(bytes.data() + to, bytes.data() + from, size);
}

}  // namespace

Bytes mutated(const std::vector<Bytes>& seeds, std::mt19937_64& random) {
  Bytes bytes = seeds[below(seeds.size(), random)];
  for (std::size_t left = below(6, random) + 1; left > 0; --left) {
    switch (random() % 8) {
      case 0:
      case 1:
        flip_bit(bytes, random);
        break;
      case 2:
        cut_out(bytes, random);
        break;
      case 3:
        insert_from(seeds[below(seeds.size(), random)], bytes, random);
        break;
      case 4:
        overwrite(bytes, random);
        break;
      default:
        change_number(bytes, random);
    }
  }
  return bytes;
}

}  // namespace ckpt::fuzz
