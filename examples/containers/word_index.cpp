// A word count that outlives its process: Boost containers in a persistent heap.
//
//   word_index INDEX.heap add FILE...    counts the words of the files; each file is one commit
//   word_index INDEX.heap get WORD...    prints how often they were seen
//   word_index INDEX.heap top N          prints the N most frequent words
//
// The containers are those that work in any shared memory; only the memory is another.
#include <algorithm>
#include <boost/interprocess/allocators/allocator.hpp>
#include <boost/interprocess/containers/map.hpp>
#include <boost/interprocess/containers/string.hpp>
#include <cctype>
#include <cstdint>
#include <exception>
#include <fstream>
#include <functional>
#include <iostream>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "vmheap/heap.h"
#include "vmheap/managed.h"

namespace {

namespace bip = boost::interprocess;
using ckpt::vmheap::Heap;
using ckpt::vmheap::Managed;

template <typename T>
using Allocator = bip::allocator<T, Managed::segment_manager>;
using Word = bip::basic_string<char, std::char_traits<char>, Allocator<char>>;
using Counts = bip::map<Word, std::uint64_t, std::less<>, Allocator<std::pair<const Word, std::uint64_t>>>;

constexpr std::uint64_t kHeapBytes = 4ULL << 30;
constexpr std::uint64_t kManagedBytes = 3ULL << 30;
constexpr std::uint64_t kResidentBytes = 8ULL << 20;

class WordIndex {
 public:
  explicit WordIndex(const std::string& directory)
      : heap_(Heap::open_or_create(directory, {.size = kHeapBytes}, {.resident_limit = kResidentBytes})),
        managed_(*heap_, kManagedBytes),
        counts_(managed_.find_or_construct<Counts>("counts")(std::less<>(), managed_.get_segment_manager())) {
  }

  void add(const std::string& path) {
    std::ifstream file(path);
    if (!file) throw std::runtime_error("cannot read " + path);
    Word word(managed_.get_segment_manager());
    for (std::istreambuf_iterator<char> c(file), end; c != end; ++c) {
      if (std::isalnum(static_cast<unsigned char>(*c)) != 0) {
        word.push_back(static_cast<char>(std::tolower(static_cast<unsigned char>(*c))));
      } else if (!word.empty()) {
        ++(*counts_)[word];
        word.clear();
      }
    }
    if (!word.empty()) ++(*counts_)[word];
    word = Word(managed_.get_segment_manager());
    std::cout << path << ": version " << heap_->commit() << ", " << counts_->size() << " words" << std::endl;
  }

  std::uint64_t count(const std::string& text) const {
    auto found = counts_->find(Word(text.begin(), text.end(), managed_.get_segment_manager()));
    return found == counts_->end() ? 0 : found->second;
  }

  void print_top(std::size_t most) const {
    std::vector<std::pair<std::uint64_t, std::string>> all;
    for (const auto& [word, count] : *counts_) all.emplace_back(count, std::string(word.begin(), word.end()));
    std::sort(all.begin(), all.end(), std::greater<>());
    for (std::size_t i = 0; i < std::min(most, all.size()); ++i)
      std::cout << all[i].first << " " << all[i].second << "\n";
  }

 private:
  std::unique_ptr<Heap> heap_;
  mutable Managed managed_;
  Counts* counts_;
};

// As digits alone; 0 otherwise.
std::size_t number(const std::string& text) {
  bool digits = std::all_of(text.begin(), text.end(), [](unsigned char c) { return std::isdigit(c) != 0; });
  return digits && !text.empty() && text.size() < 10 ? std::stoul(text) : 0;
}

int run(const std::vector<std::string>& words) {
  bool known = words.size() >= 3 && (words[1] == "add" || words[1] == "get" || number(words[2]) > 0);
  if (!known || (words[1] != "add" && words[1] != "get" && words[1] != "top")) {
    std::cerr << "usage: word_index INDEX.heap add FILE... | get WORD... | top N\n";
    return 2;
  }
  WordIndex index(words[0]);
  for (std::size_t i = 2; i < words.size(); ++i) {
    if (words[1] == "add") index.add(words[i]);
    if (words[1] == "get") std::cout << words[i] << " " << index.count(words[i]) << "\n";
    if (words[1] == "top") index.print_top(number(words[i]));
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(std::vector<std::string>(argv + 1, argv + argc));
  } catch (const std::exception& error) {
    std::cerr << "word_index: " << error.what() << "\n";
    return 1;
  }
}
