// What reads bytes that somebody else may have written, one target each: readers_fuzz_test mutates them
// deterministically, libfuzzer_readers by what libFuzzer finds out.
//
//   manifest  the description of a version         node     a node of a page tree
//   image     everything about a program           stream   ckpt send
//   segment   the whole file of a version
//
// Digests would stop nearly every change at the door, so targets whose input has digests repair those first:
// what is tried is what an attacker, or a defect of the writer, could do.
//
// A target returns for every input: refused (Error) or taken. What is taken has to be consistent: written
// again it is read again, and what claims to be a version can be read as a whole.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

namespace ckpt::fuzz {

using Bytes = std::vector<std::byte>;

// The reader took what it should have refused.
struct Finding : std::logic_error {
  using std::logic_error::logic_error;
};

struct ReaderTarget {
  std::string name;
  std::function<void(const Bytes& input)> run;
  std::function<std::vector<Bytes>()> seeds;  // inputs that are taken
};

const std::vector<ReaderTarget>& reader_targets();

}  // namespace ckpt::fuzz
