#include "engine/restore/fork_again.h"

#include <unistd.h>

#include <algorithm>
#include <array>

#include "engine/restore/forked_descriptors.h"
#include "engine/restore/kept_memory.h"

namespace ckpt::engine {
namespace {

constexpr std::uint64_t kWorthWhile = 1 << 20;

// What is asked of a process and the one that would fork it.
struct Question {
  const Tree& tree;
  const image::ProcessT& parent;
  const image::ProcessT& child;
  const ProcessView& view;  // of the child
  const std::set<std::int32_t>& forked;
};

bool leads(const image::ProcessT& process, std::int32_t group_or_session) {
  return process.pid == group_or_session;
}

template <typename Predicate>
bool any_process(const Tree& tree, const Predicate& predicate) {
  return std::ranges::any_of(tree.running, [&](const auto& member) { return predicate(member.process()); }) ||
         std::ranges::any_of(tree.ended, [&](const auto* process) { return predicate(*process); });
}

// All that descends from a fork is forks, by the obstacle below.
bool descends_from(const Tree& tree, const image::ProcessT& process, std::int32_t ancestor) {
  const image::ProcessT* next = &process;
  for (std::size_t i = 0; next != nullptr && i <= tree.running.size(); ++i) {
    if (next->pid == ancestor) return true;
    auto parent = std::ranges::find_if(
        tree.running, [&](const auto& member) { return member.process().pid == next->parent; });
    next = parent == tree.running.end() ? nullptr : &parent->process();
  }
  return false;
}

bool runs_another_program(const Question& asked) {
  return asked.parent.executable != asked.child.executable || !asked.parent.layout || !asked.child.layout;
}

// A fork has them where its parent has them, and no other program has them there.
bool has_vdso_elsewhere(const Question& asked) {
  auto places = [](const image::ProcessT& process) {
    std::vector<AddressRange> found;
    for (const auto& mapping : process.mappings) {
      if (mapping->kind == image::MappingKind::Vvar || mapping->kind == image::MappingKind::Vdso)
        found.push_back({mapping->start, mapping->end});
    }
    return found;
  };
  return places(asked.parent) != places(asked.child);
}

bool has_other_credentials(const Question& asked) {
  const auto& one = asked.parent.credentials;
  const auto& other = asked.child.credentials;
  if (!one || !other) return one != other;
  return one->uids != other->uids || one->gids != other->gids || one->groups != other->groups ||
         one->capabilities != other->capabilities || one->securebits != other->securebits;
}

// It takes a privilege to make a process with an id of one's choice.
bool is_of_another_user(const Question& asked) {
  return asked.child.credentials && asked.child.credentials->uids.at(1) != ::geteuid();
}

bool has_other_limits(const Question& asked) {
  return !std::ranges::equal(asked.parent.limits, asked.child.limits, [](const auto& one, const auto& other) {
    return one->resource == other->resource && one->soft == other->soft && one->hard == other->hard;
  });
}

bool has_other_attributes(const Question& asked) {
  const image::ProcessT& one = asked.parent;
  const image::ProcessT& other = asked.child;
  return one.personality != other.personality || one.oom_score_adj != other.oom_score_adj ||
         one.no_new_privileges != other.no_new_privileges || one.root_directory != other.root_directory ||
         one.coredump_filter != other.coredump_filter;
}

// It is in those of its parent, or starts its own.
bool is_in_another_session(const Question& asked) {
  const image::ProcessT& child = asked.child;
  if (leads(child, child.session)) return !leads(child, child.process_group);
  return child.session != asked.parent.session ||
         (child.process_group != asked.parent.process_group && !leads(child, child.process_group));
}

bool leads_others(const Question& asked) {
  return any_process(asked.tree, [&](const image::ProcessT& process) {
    bool led = leads(asked.child, process.session) || leads(asked.child, process.process_group);
    return led && !descends_from(asked.tree, process, asked.child.pid);
  });
}

bool has_own_terminal(const Question& asked) {
  return leads(asked.child, asked.child.session) && asked.child.controlling_pty >= 0;
}

bool has_children_of_builders(const Question& asked) {
  return any_process(asked.tree, [&](const image::ProcessT& process) {
    return process.parent == asked.child.pid && !asked.forked.contains(process.pid);
  });
}

struct Obstacle {
  bool (*stands)(const Question&);
  std::string_view reason;
};

constexpr std::array kObstacles{
    Obstacle{runs_another_program, "it has executed another program"},
    Obstacle{has_vdso_elsewhere, "it has executed its program anew"},
    Obstacle{has_other_credentials, "it has other credentials than its parent"},
    Obstacle{is_of_another_user, "it runs as another user than ckptrun"},
    Obstacle{has_other_limits, "it has other limits than its parent"},
    Obstacle{has_other_attributes, "it has other attributes than its parent, which a fork inherits"},
    Obstacle{is_in_another_session, "it is in a session or group that is neither its parent's nor its own"},
    Obstacle{leads_others, "it leads a session or group that others are in"},
    Obstacle{has_own_terminal, "it has a controlling terminal of its own"},
    Obstacle{[](const Question& asked) { return asked.child.stopped; }, "it is stopped by job control"},
    Obstacle{[](const Question& asked) { return asked.child.keeper_thread != 0; },
             "it keeps memory elsewhere, which comes back by itself"},
    Obstacle{has_children_of_builders, "it has children that cannot be made by fork, or that have ended"},
    Obstacle{[](const Question& asked) { return !can_plan_descriptors(asked.view); },
             "it has an epoll instance whose state takes more than to register again"},
};

std::optional<std::size_t> parent_of(const Tree& tree, std::size_t child) {
  const image::ProcessT& process = tree.running[child].process();
  for (std::size_t i = 0; i < child && process.parent != 0; ++i) {
    if (tree.running[i].process().pid == process.parent) return i;
  }
  return std::nullopt;
}

MemberOrigin origin_by_fork(const Tree& tree, std::size_t maker, std::size_t child) {
  const TreeMember& parent = tree.running[maker];
  const TreeMember& member = tree.running[child];
  MemberOrigin origin{.maker = maker};
  origin.kept = kept_mappings(parent.process(), member.process());
  AddressRanges both = intersect(parent.content, member.content);
  AddressRanges differing = ranges_of(tree.differing(parent.process().space, member.process().space));
  origin.shared = intersect(subtract(both, differing), kept_ranges(member.process(), origin.kept));
  return origin;
}

}  // namespace

std::string_view fork_obstacle(const Tree& tree, std::size_t child, const std::set<std::int32_t>& forked) {
  std::optional<std::size_t> parent = parent_of(tree, child);
  if (!parent) return "its parent is gone";
  const TreeMember& member = tree.running[child];
  Question asked{tree, tree.running[*parent].process(), member.process(), *member.view, forked};
  auto found = std::ranges::find_if(kObstacles, [&](const Obstacle& each) { return each.stands(asked); });
  return found == kObstacles.end() ? std::string_view() : found->reason;
}

std::vector<MemberOrigin> plan_forks(const Tree& tree) {
  std::vector<MemberOrigin> origins(tree.running.size());
  std::set<std::int32_t> forked;
  // Children first: what is made of them decides about their parents.
  for (std::size_t i = origins.size(); i-- > 1;) {
    if (!fork_obstacle(tree, i, forked).empty()) continue;
    MemberOrigin origin = origin_by_fork(tree, *parent_of(tree, i), i);
    if (total_bytes(origin.shared) < kWorthWhile) continue;
    origins[i] = std::move(origin);
    forked.insert(tree.running[i].process().pid);
  }
  for (const MemberOrigin& origin : origins) {
    if (!origin.maker) continue;
    MemberOrigin& maker = origins[*origin.maker];
    maker.early = unite(maker.early, subtract(origin.shared, maker.shared));
  }
  for (std::size_t i = 1; i < origins.size(); ++i) {
    MemberOrigin& origin = origins[i];
    if (!origin.maker) continue;
    const MemberOrigin& maker = origins[*origin.maker];
    AddressRanges there = unite(maker.shared, maker.early);
    AddressRanges kept = kept_ranges(tree.running[i].process(), origin.kept);
    origin.discarded = subtract(intersect(there, kept), origin.shared);
  }
  return origins;
}

std::vector<std::size_t> forks_below(const std::vector<MemberOrigin>& origins, std::size_t maker) {
  std::vector<std::size_t> below;
  for (std::size_t i = maker + 1; i < origins.size(); ++i) {
    std::optional<std::size_t> made_by = origins[i].maker;
    if (made_by && (*made_by == maker || std::ranges::count(below, *made_by) != 0)) below.push_back(i);
  }
  return below;
}

}  // namespace ckpt::engine
