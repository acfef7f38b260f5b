// Doubly linked lists and search trees whose nodes are spread over many pages and move from one to another
// all the time: a page that is older or newer than the others breaks a link, loses a node or shows it twice.
// Takes the go file; see changes_all_the_time.h.
#include <map>
#include <memory>
#include <mutex>

#include "changes_all_the_time.h"

namespace {

constexpr std::size_t kNodes = 16384;
constexpr std::size_t kKeys = 8192;
constexpr std::size_t kParts = 8;  // lists, and trees
constexpr unsigned kThreads = 4;

struct alignas(512) Node {
  Node* previous;
  Node* next;
  std::uint64_t list;
  std::uint64_t moves;
  std::uint64_t check;
};

// The two locks that moving something from one part to another takes, always in the same order.
class TwoLocks {
 public:
  TwoLocks(std::array<std::mutex, kParts>& locks, std::size_t a, std::size_t b)
      : first_(locks[std::min(a, b)]) {
    if (a != b) second_ = std::unique_lock(locks[std::max(a, b)]);
  }

 private:
  std::unique_lock<std::mutex> first_;
  std::unique_lock<std::mutex> second_;
};

class AllLocks {
 public:
  explicit AllLocks(std::array<std::mutex, kParts>& locks) {
    for (std::size_t i = 0; i < kParts; ++i) held_[i] = std::unique_lock(locks[i]);
  }

 private:
  std::array<std::unique_lock<std::mutex>, kParts> held_;
};

// Rings with a head that is no member.
class Lists {
 public:
  Lists() : nodes_(kNodes) {
    for (std::size_t i = 0; i < kParts; ++i) {
      heads_[i].previous = heads_[i].next = &heads_[i];
      heads_[i].list = i;
      seal(heads_[i]);
    }
    for (std::size_t i = 0; i < kNodes; ++i) insert(nodes_[i], heads_[i % kParts]);
  }

  // A node from the front of one list goes behind some node of the other, so that neighbours become
  // strangers.
  void move(TargetRandom& random) {
    const std::size_t from = random.below(kParts);
    const std::size_t to = random.below(kParts);
    TwoLocks locks(locks_, from, to);
    Node* node = &heads_[from];
    for (std::uint64_t steps = random.below(8) + 1; steps > 0; --steps) node = verified(node->next);
    if (node == &heads_[from]) return;
    take_out(*node);
    Node* behind = &nodes_[random.below(kNodes)];
    insert(*node, behind != node && owner_of(*behind) == to ? *verified(behind) : heads_[to]);
  }

  void check() {
    AllLocks all(locks_);
    std::vector<bool> seen(kNodes);
    std::size_t found = 0;
    for (Node& head : heads_) {
      verified(&head);
      for (Node* node = head.next; node != &head; node = node->next) {
        verified(node);
        const auto number = static_cast<std::size_t>(node - nodes_.data());
        if (number >= kNodes || seen[number]) target_violated("node %zu is met twice or is none", number);
        if (node->previous->next != node || node->next->previous != node || node->list != head.list)
          target_violated("node %zu at %p does not fit its neighbours", number, static_cast<void*>(node));
        seen[number] = true;
        ++found;
      }
    }
    if (found != kNodes) target_violated("the lists have %zu nodes instead of %zu", found, kNodes);
  }

 private:
  // Another thread may be moving the node, if it is in a list that we have not locked.
  static std::uint64_t owner_of(Node& node) { return __atomic_load_n(&node.list, __ATOMIC_RELAXED); }

  static std::uint64_t checksum(const Node& node) {
    return target_mix(reinterpret_cast<std::uintptr_t>(node.previous) ^ node.moves,
                      reinterpret_cast<std::uintptr_t>(node.next) + node.list);
  }
  static void seal(Node& node) { node.check = checksum(node); }
  static Node* verified(Node* node) {
    if (node->check != checksum(*node))
      target_violated("the node at %p, moved %llu times, does not fit its checksum", static_cast<void*>(node),
                      static_cast<unsigned long long>(node->moves));
    return node;
  }

  static void take_out(Node& node) {
    node.previous->next = node.next;
    node.next->previous = node.previous;
    seal(*node.previous);
    seal(*node.next);
  }

  static void insert(Node& node, Node& behind) {
    node.previous = &behind;
    node.next = behind.next;
    __atomic_store_n(&node.list, behind.list, __ATOMIC_RELAXED);
    ++node.moves;
    behind.next->previous = &node;
    seal(*node.next);
    behind.next = &node;
    seal(behind);
    seal(node);
  }

  std::vector<Node> nodes_;
  std::array<Node, kParts> heads_{};
  std::array<std::mutex, kParts> locks_;
};

struct Leaf {
  std::uint64_t moves = 0;
  std::uint64_t check = 0;
  std::array<std::uint64_t, 28> padding{};
};

// Nodes move between the trees as they are: nothing is allocated, only relinked and rotated.
class Trees {
 public:
  Trees() {
    for (std::uint64_t key = 0; key < kKeys; ++key) {
      Leaf leaf;
      leaf.check = target_mix(key, 0);
      trees_[key % kParts].emplace(key, leaf);
    }
  }

  void move(TargetRandom& random) {
    const std::size_t from = random.below(kParts);
    const std::size_t to = random.below(kParts);
    TwoLocks locks(locks_, from, to);
    auto found = trees_[from].lower_bound(random.below(kKeys));
    if (found == trees_[from].end()) return;
    auto node = trees_[from].extract(found);
    verify(node.key(), node.mapped());
    node.mapped().check = target_mix(node.key(), ++node.mapped().moves);
    if (!trees_[to].insert(std::move(node)).inserted) target_violated("a key is in two trees");
  }

  void check() {
    AllLocks all(locks_);
    std::size_t found = 0;
    for (auto& tree : trees_) {
      const std::uint64_t* before = nullptr;
      for (auto& [key, leaf] : tree) {
        if (before != nullptr && *before >= key)
          target_violated("key %llu comes after %llu", static_cast<unsigned long long>(key),
                          static_cast<unsigned long long>(*before));
        verify(key, leaf);
        before = &key;
        ++found;
      }
    }
    if (found != kKeys) target_violated("the trees have %zu keys instead of %zu", found, kKeys);
  }

 private:
  static void verify(std::uint64_t key, const Leaf& leaf) {
    if (leaf.check != target_mix(key, leaf.moves))
      target_violated("the leaf %llu at %p, moved %llu times, does not fit its checksum",
                      static_cast<unsigned long long>(key), static_cast<const void*>(&leaf),
                      static_cast<unsigned long long>(leaf.moves));
  }

  std::array<std::map<std::uint64_t, Leaf>, kParts> trees_;
  std::array<std::mutex, kParts> locks_;
};

}  // namespace

int main(int argc, char** argv) {
  const char* go_file = target_go_file(argc, argv);
  auto lists = std::make_unique<Lists>();
  auto trees = std::make_unique<Trees>();
  return change_all_the_time(
      go_file, kThreads,
      [&](unsigned, TargetRandom& random) {
        lists->move(random);
        trees->move(random);
      },
      [&] {
        lists->check();
        trees->check();
      });
}
