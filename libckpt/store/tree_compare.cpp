#include "store/tree_compare.h"

#include <memory>

#include "store/page_runs.h"

namespace ckpt::store {
namespace {

class Comparison {
 public:
  Comparison(const PageTreeReader* one, const PageTreeReader* other) : one_(one), other_(other) {}

  // Equal digests: equal bytes, and so equal pages below.
  void compare(const Reference& one, const Reference& other, unsigned level, std::uint64_t prefix) {
    if (one.present() == other.present() && one.digest == other.digest) return;
    Table left = table(one_, one, level);
    Table right = table(other_, other, level);
    for (std::size_t i = 0; i < kFanout; ++i) {
      std::uint64_t child = prefix << kIndexBits | i;
      if (level > 0) {
        compare(left[i], right[i], level - 1, child);
      } else if (left[i].present() != right[i].present() || left[i].digest != right[i].digest) {
        append_page(result_, child);
      }
    }
  }

  std::vector<PageRun> take_result() { return std::move(result_); }

 private:
  static Table table(const PageTreeReader* tree, const Reference& node, unsigned level) {
    return node.present() ? *tree->load(node, level) : Table{};
  }

  const PageTreeReader* one_;
  const PageTreeReader* other_;
  std::vector<PageRun> result_;
};

Reference root_of(const SpaceTree& space) { return space.root != nullptr ? space.root->root : Reference{}; }

}  // namespace

std::vector<PageRun> differing_pages(const SpaceTree& one, const SpaceTree& other) {
  Comparison comparison(one.tree, other.tree);
  comparison.compare(root_of(one), root_of(other), kRootLevel, 0);
  return comparison.take_result();
}

}  // namespace ckpt::store
