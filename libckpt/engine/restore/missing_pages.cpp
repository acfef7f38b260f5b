#include "engine/restore/missing_pages.h"

#include <algorithm>
#include <iterator>

namespace ckpt::engine {
namespace {

// The part of `piece` in [first, end) of the address space.
MissingPiece cut(const MissingPiece& piece, std::uint64_t first, std::uint64_t end) {
  std::uint64_t begin = std::max(piece.page, first);
  std::uint64_t stop = std::min(piece.page + piece.page_count, end);
  return {.page = begin, .source = piece.source + (begin - piece.page), .page_count = stop - begin};
}

// The element that covers `key` if one does, else the first behind it.
template <typename Map>
auto covering_or_next(Map& map, std::uint64_t key, auto end_of) {
  auto found = map.upper_bound(key);
  if (found == map.begin()) return found;
  auto before = std::prev(found);
  return end_of(before) > key ? before : found;
}

}  // namespace

void MissingPages::add(const MissingPiece& piece) {
  if (piece.page_count == 0) return;
  by_page_.emplace_hint(by_page_.end(), piece.page, piece);
  page_by_source_.emplace_hint(page_by_source_.end(), piece.source, piece.page);
  page_count_ += piece.page_count;
}

void MissingPages::add_joined(const MissingPiece& piece) {
  auto next = by_page_.lower_bound(piece.page);
  if (next != by_page_.begin()) {
    MissingPiece& before = std::prev(next)->second;
    bool goes_on =
        before.page + before.page_count == piece.page && before.source + before.page_count == piece.source;
    if (goes_on) {
      before.page_count += piece.page_count;
      page_count_ += piece.page_count;
      return;
    }
  }
  add(piece);
}

std::vector<MissingPiece> MissingPages::take(std::uint64_t page, std::uint64_t page_count) {
  std::vector<MissingPiece> taken;
  std::uint64_t end = page + page_count;
  auto at = covering_or_next(by_page_, page, [](auto it) { return it->first + it->second.page_count; });
  while (at != by_page_.end() && at->first < end) {
    MissingPiece whole = at->second;
    page_by_source_.erase(whole.source);
    at = by_page_.erase(at);
    page_count_ -= whole.page_count;
    taken.push_back(cut(whole, page, end));
    if (whole.page < page) add(cut(whole, whole.page, page));
    if (whole.page + whole.page_count > end) add(cut(whole, end, whole.page + whole.page_count));
  }
  return taken;
}

void MissingPages::remove(std::uint64_t page, std::uint64_t page_count) { take(page, page_count); }

void MissingPages::move(std::uint64_t from, std::uint64_t to, std::uint64_t page_count) {
  std::vector<MissingPiece> moved = take(from, page_count);
  remove(to, page_count);
  for (MissingPiece& piece : moved) {
    piece.page = piece.page - from + to;
    add(piece);
  }
}

std::optional<MissingPiece> MissingPages::find(std::uint64_t page) const {
  auto found = by_page_.upper_bound(page);
  if (found == by_page_.begin()) return std::nullopt;
  const MissingPiece& piece = std::prev(found)->second;
  if (piece.page + piece.page_count <= page) return std::nullopt;
  return piece;
}

std::uint64_t MissingPages::next(std::uint64_t page) const {
  if (find(page)) return page;
  auto found = by_page_.upper_bound(page);
  return found == by_page_.end() ? ~std::uint64_t{0} : found->first;
}

std::vector<MissingPiece> MissingPages::from_source(std::uint64_t source, std::uint64_t page_count) const {
  std::vector<MissingPiece> found;
  std::uint64_t end = source + page_count;
  auto at = covering_or_next(page_by_source_, source,
                             [this](auto it) { return it->first + by_page_.at(it->second).page_count; });
  for (; at != page_by_source_.end() && at->first < end; ++at) {
    const MissingPiece& piece = by_page_.at(at->second);
    std::uint64_t begin = std::max(piece.source, source);
    std::uint64_t stop = std::min(piece.source + piece.page_count, end);
    found.push_back(
        {.page = piece.page + (begin - piece.source), .source = begin, .page_count = stop - begin});
  }
  return found;
}

}  // namespace ckpt::engine
