// Memory that parent and child have in common since a fork, until one of them writes to it (copy on write),
// is in common again after a recover only if there is a fork again: the kernel knows no other way to share
// anonymous memory. So a child that has executed no other program since is not made by the builders
// (family_builder.h), but is forked by its parent when that has executed its program file, and has its
// mappings and those pages that are the same in both. The child is then given what it has of its own:
// descriptors, session and group, mappings, pages. From there on it is a process like all others.
//
// Here it is decided, from what the version says, which processes are made so, and what they keep.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <string_view>
#include <vector>

#include "engine/capture/address_ranges.h"
#include "engine/resource/descriptors.h"
#include "image_generated.h"
#include "store/checkpoint_store.h"

namespace ckpt::engine {

// A running process of the checkpoint.
struct TreeMember {
  const ProcessView* view;
  AddressRanges content;  // of its private memory: what the version has pages for

  const image::ProcessT& process() const { return *view->checkpoint.process; }
};

struct Tree {
  std::vector<TreeMember> running;  // the program first, parents before their children
  std::vector<const image::ProcessT*> ended;
  // Where two spaces of the version differ.
  std::function<std::vector<store::PageRun>(store::SpaceId, store::SpaceId)> differing;
};

// How the memory of a process comes to be.
struct MemberOrigin {
  std::optional<std::size_t> maker =
      {};                        // whose fork it is (index in Tree::running); none: a builder makes it
  std::vector<bool> kept = {};   // parallel to its mappings: they are there already
  AddressRanges shared = {};     // pages that are there already, and stay in common with the maker
  AddressRanges discarded = {};  // pages of the maker in kept mappings that are to go
  AddressRanges early = {};      // its own pages, but `shared`, that are to be there before it is forked
};

// Why a process cannot be made by a fork of its parent, whatever they have in common; empty if it can.
// `forked`: ids of those that are made so, as far as they descend from it.
std::string_view fork_obstacle(const Tree& tree, std::size_t child, const std::set<std::int32_t>& forked);

// Parallel to tree.running. Who has little in common with its parent is left to the builders.
std::vector<MemberOrigin> plan_forks(const Tree& tree);

// Those that have `maker` as their maker, their own forks, and so on: indices, ascending.
std::vector<std::size_t> forks_below(const std::vector<MemberOrigin>& origins, std::size_t maker);

}  // namespace ckpt::engine
