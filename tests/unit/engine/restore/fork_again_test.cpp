#include "engine/restore/fork_again.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <unistd.h>

#include <deque>
#include <map>

#include "base/remote_addr.h"
#include "restore/checkpoint_support.h"

namespace ckpt::engine {
namespace {

using image::MappingKind;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr std::uint64_t kFirst = 1000;
constexpr std::uint64_t kCount = 2000;  // pages: worth while

AddressRange pages(std::uint64_t first, std::uint64_t end) { return {first * kPageSize, end * kPageSize}; }

// A tree of processes that are forks of one another, all alike at first: 1 is the program, with the children
// 2 and 3; 4 is a child of 3.
class ForkAgain : public testing::Test {
 protected:
  ForkAgain() {
    add(1, 0);
    add(2, 1);
    add(3, 1);
    add(4, 3);
  }

  image::ProcessT& add(std::int32_t pid, std::int32_t parent) {
    image::CheckpointT& checkpoint = checkpoints_.emplace_back(empty_checkpoint());
    image::ProcessT& process = *checkpoint.process;
    process.pid = pid;
    process.space = static_cast<store::SpaceId>(pid);
    process.parent = parent;
    process.session = process.process_group = 1;
    process.executable = "/bin/server";
    process.root_directory = "/";
    process.working_directory = "/";
    process.credentials = std::make_unique<image::CredentialsT>();
    process.credentials->uids = {::geteuid(), ::geteuid(), ::geteuid(), ::geteuid()};
    process.limits.push_back(std::make_unique<image::ResourceLimitT>());
    add_mapping(checkpoint, MappingKind::Anonymous, kFirst * kPageSize, (kFirst + kCount) * kPageSize,
                PROT_READ | PROT_WRITE);
    add_mapping(checkpoint, MappingKind::Vdso, 9000 * kPageSize, 9001 * kPageSize, PROT_READ);
    views_.emplace_back(checkpoint, 1, std::set<std::size_t>{});
    content_[pid] = {run(kFirst, kCount, 0)};
    return process;
  }

  // As in the first process if `unit` is 0.
  static store::StoredRun run(std::uint64_t first_page, std::uint64_t page_count, std::uint64_t unit) {
    return {.run = {.first_page = first_page, .page_count = page_count},
            .segment = 1,
            .unit = unit == 0 ? first_page : unit};
  }

  AddressRanges content_of(std::int32_t pid) {
    AddressRanges content;
    for (const store::StoredRun& run : content_[pid]) append(content, range_of(run.run));
    return content;
  }
  // By page, where its content is.
  std::map<std::uint64_t, std::uint64_t> units_of(store::SpaceId space) {
    std::map<std::uint64_t, std::uint64_t> units;
    for (const store::StoredRun& run : content_[static_cast<std::int32_t>(space)]) {
      for (std::uint64_t i = 0; i < run.run.page_count; ++i) units[run.run.first_page + i] = run.unit + i;
    }
    return units;
  }
  std::vector<store::PageRun> differing(store::SpaceId one, store::SpaceId other) {
    std::map<std::uint64_t, std::uint64_t> here = units_of(one);
    std::map<std::uint64_t, std::uint64_t> there = units_of(other);
    AddressRanges ranges;
    for (std::uint64_t page = kFirst; page < kFirst + kCount; ++page) {
      bool same =
          here.contains(page) == there.contains(page) && (!here.contains(page) || here[page] == there[page]);
      if (!same) append(ranges, pages(page, page + 1));
    }
    return runs_of(ranges);
  }

  image::ProcessT& process(std::int32_t pid) {
    for (image::CheckpointT& checkpoint : checkpoints_) {
      if (checkpoint.process->pid == pid) return *checkpoint.process;
    }
    throw std::out_of_range("no such process");
  }

  Tree tree() {
    Tree tree;
    tree.differing = [this](store::SpaceId one, store::SpaceId other) { return differing(one, other); };
    for (const ProcessView& view : views_)
      tree.running.push_back({.view = &view, .content = content_of(view.checkpoint.process->pid)});
    for (const image::ProcessT& process : ended_) tree.ended.push_back(&process);
    return tree;
  }
  // Of process 3, whose child is made by a fork.
  std::string obstacle() { return std::string(fork_obstacle(tree(), 2, {4})); }
  std::vector<std::optional<std::size_t>> makers() {
    std::vector<std::optional<std::size_t>> makers;
    for (const MemberOrigin& origin : plan_forks(tree())) makers.push_back(origin.maker);
    return makers;
  }

  std::deque<image::CheckpointT> checkpoints_;
  std::deque<ProcessView> views_;
  std::deque<image::ProcessT> ended_;
  std::map<std::int32_t, std::vector<store::StoredRun>> content_;
};

constexpr std::nullopt_t kBuilt = std::nullopt;

TEST_F(ForkAgain, IsWhatChildrenAreMadeBy) { EXPECT_THAT(makers(), ElementsAre(kBuilt, 0U, 0U, 2U)); }

TEST_F(ForkAgain, TakesTheSameProgram) {
  process(3).executable = "/bin/other";
  EXPECT_THAT(obstacle(), HasSubstr("another program"));
  EXPECT_THAT(makers(), ElementsAre(kBuilt, 0U, kBuilt, kBuilt));
}

TEST_F(ForkAgain, TakesTheSameExecutionOfIt) {
  process(3).mappings[1]->start += kPageSize;
  EXPECT_THAT(obstacle(), HasSubstr("anew"));
}

TEST_F(ForkAgain, TakesAParent) {
  process(3).parent = 0;
  EXPECT_THAT(obstacle(), HasSubstr("parent is gone"));
}

TEST_F(ForkAgain, TakesWhatAForkInherits) {
  process(3).credentials->groups = {7};
  EXPECT_THAT(obstacle(), HasSubstr("credentials"));
  process(3).credentials->groups = {};
  process(3).limits[0]->soft = 5;
  EXPECT_THAT(obstacle(), HasSubstr("limits"));
  process(3).limits[0]->soft = 0;
  process(3).oom_score_adj = 5;
  EXPECT_THAT(obstacle(), HasSubstr("attributes"));
  process(3).oom_score_adj = 0;
  process(3).umask = 077;
  process(3).working_directory = "/tmp";
  EXPECT_THAT(obstacle(), IsEmpty());
}

TEST_F(ForkAgain, TakesThePrivilegeToChooseIds) {
  for (std::int32_t pid : {1, 3}) process(pid).credentials->uids = {4711, 4711, 4711, 4711};
  EXPECT_THAT(obstacle(), HasSubstr("another user"));
}

TEST_F(ForkAgain, MayStartASessionOrAGroup) {
  process(3).session = process(3).process_group = 3;
  process(4).session = process(4).process_group = 3;
  EXPECT_THAT(obstacle(), IsEmpty());
  EXPECT_THAT(makers(), ElementsAre(kBuilt, 0U, 0U, 2U));
  process(3).session = 1;
  process(4).session = 1;
  process(4).process_group = 4;
  EXPECT_THAT(makers(), ElementsAre(kBuilt, 0U, 0U, 2U));
}

TEST_F(ForkAgain, DoesNotJoinAGroup) {
  process(3).process_group = 2;
  EXPECT_THAT(obstacle(), HasSubstr("neither"));
  process(3).process_group = 1;
  process(3).session = 7;
  EXPECT_THAT(obstacle(), HasSubstr("neither"));
}

TEST_F(ForkAgain, DoesNotLeadOthers) {
  process(3).process_group = 3;
  process(4).process_group = 3;
  process(2).process_group = 3;
  EXPECT_THAT(obstacle(), HasSubstr("leads"));
  EXPECT_THAT(makers(), ElementsAre(kBuilt, kBuilt, kBuilt, 2U));
}

TEST_F(ForkAgain, LeavesChildrenOfBuildersToBuilders) {
  process(4).executable = "/bin/other";
  EXPECT_THAT(makers(), ElementsAre(kBuilt, 0U, kBuilt, kBuilt));
}

TEST_F(ForkAgain, LeavesChildrenThatHaveEndedToBuilders) {
  ended_.emplace_back();
  ended_.back().pid = 5;
  ended_.back().parent = 3;
  ended_.back().session = ended_.back().process_group = 1;
  EXPECT_THAT(obstacle(), HasSubstr("ended"));
  EXPECT_THAT(makers(), ElementsAre(kBuilt, 0U, kBuilt, 2U));
}

TEST_F(ForkAgain, LeavesWhatNeedsMoreCareToBuilders) {
  process(3).stopped = true;
  EXPECT_THAT(obstacle(), HasSubstr("stopped"));
  process(3).stopped = false;
  process(3).keeper_thread = 3;
  EXPECT_THAT(obstacle(), HasSubstr("elsewhere"));
  process(3).keeper_thread = 0;
  process(3).session = process(3).process_group = 3;
  process(4).session = process(4).process_group = 3;
  process(3).controlling_pty = 0;
  EXPECT_THAT(obstacle(), HasSubstr("terminal"));
}

TEST_F(ForkAgain, RegistersAgainWithEpollWhatIsPlain) {
  image::EpollDetailT detail;
  detail.entries.push_back(std::make_unique<image::EpollEntryT>());
  detail.entries[0]->events = EPOLLIN;
  auto description = std::make_unique<image::DescriptionT>();
  description->detail.Set(std::move(detail));
  process(3).descriptions.push_back(std::move(description));
  process(3).descriptors.push_back(std::make_unique<image::DescriptorT>());
  EXPECT_THAT(obstacle(), IsEmpty());
  image::EpollEntryT& entry = *process(3).descriptions[0]->detail.AsEpollDetail()->entries[0];
  entry.source = 4;
  EXPECT_THAT(obstacle(), HasSubstr("epoll"));
  entry.source = -1;
  entry.events = EPOLLONESHOT;
  EXPECT_THAT(obstacle(), HasSubstr("epoll"));
}

TEST_F(ForkAgain, IsOnlyForWhoHasMuchInCommon) {
  content_[2] = {run(kFirst, 200, 0), run(kFirst + 200, kCount - 200, 77'000)};
  EXPECT_THAT(makers(), ElementsAre(kBuilt, kBuilt, 0U, 2U));
}

TEST_F(ForkAgain, HasWhatIsInCommonThereBefore) {
  // 2 lacks some pages and has changed some; 3 has changed others, which 4 has in common with it but for the
  // first.
  content_[2] = {run(kFirst, 500, 0), run(kFirst + 500, 100, 70'000), run(kFirst + 700, kCount - 700, 0)};
  content_[3] = {run(kFirst, 100, 80'000), run(kFirst + 100, kCount - 100, 0)};
  content_[4] = {run(kFirst, 1, 90'000), run(kFirst + 1, 99, 80'001), run(kFirst + 100, kCount - 100, 0)};
  std::vector<MemberOrigin> origins = plan_forks(tree());
  EXPECT_THAT(origins[0].early, ElementsAre(pages(kFirst, kFirst + kCount)));
  EXPECT_THAT(origins[1].shared,
              ElementsAre(pages(kFirst, kFirst + 500), pages(kFirst + 700, kFirst + kCount)));
  EXPECT_THAT(origins[1].discarded, ElementsAre(pages(kFirst + 500, kFirst + 700)));
  EXPECT_THAT(origins[2].discarded, ElementsAre(pages(kFirst, kFirst + 100)));
  EXPECT_THAT(origins[2].early, ElementsAre(pages(kFirst + 1, kFirst + 100)));
  EXPECT_THAT(origins[3].shared, ElementsAre(pages(kFirst + 1, kFirst + kCount)));
  EXPECT_THAT(origins[3].discarded, IsEmpty());
  EXPECT_THAT(origins[3].early, IsEmpty());
}

TEST_F(ForkAgain, HasNothingThereBeforeThatNobodyNeeds) {
  for (std::int32_t pid : {2, 3, 4})
    content_[pid] = {run(kFirst, 1000, 0), run(kFirst + 1000, kCount - 1000, 70'000)};
  std::vector<MemberOrigin> origins = plan_forks(tree());
  EXPECT_THAT(origins[0].early, ElementsAre(pages(kFirst, kFirst + 1000)));
  EXPECT_THAT(origins[1].discarded, IsEmpty());
}

TEST_F(ForkAgain, KnowsWhoDescendsFromWhom) {
  std::vector<MemberOrigin> origins = plan_forks(tree());
  EXPECT_THAT(forks_below(origins, 0), ElementsAre(1U, 2U, 3U));
  EXPECT_THAT(forks_below(origins, 2), ElementsAre(3U));
  EXPECT_THAT(forks_below(origins, 1), IsEmpty());
}

}  // namespace
}  // namespace ckpt::engine
