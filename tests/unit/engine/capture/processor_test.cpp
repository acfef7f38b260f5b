#include "engine/capture/processor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"

namespace ckpt::engine {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

std::string refusal_of(const image::HostT& host) {
  std::vector<std::string> notes;
  try {
    check_processor(host, false, notes);
  } catch (const Error& error) {
    return error.what();
  }
  return {};
}

TEST(Processor, OffersInstructionSets) {
  EXPECT_THAT(instruction_sets(" sse2 fpu vme pti smep avx2 hypervisor\n"),
              ElementsAre("avx2", "fpu", "sse2"));
  EXPECT_THAT(instruction_sets(""), IsEmpty());
}

TEST(Processor, OfThisMachineHasWhatAllHave) {
  EXPECT_THAT(instruction_sets_here(), AllOf(Contains("fpu"), Contains("sse2"), Contains("cx8")));
}

TEST(Processor, LikeThatOfTheCheckpointSuffices) {
  image::HostT host;
  host.instruction_sets = instruction_sets_here();
  EXPECT_EQ(refusal_of(host), "");
  host.instruction_sets.erase(host.instruction_sets.begin());
  EXPECT_EQ(refusal_of(host), "") << "one with more";
  host.instruction_sets.clear();
  EXPECT_EQ(refusal_of(host), "") << "a checkpoint that does not say";
}

TEST(Processor, ThatLacksSomethingIsRefusedByName) {
  image::HostT host;
  host.name = "elsewhere";
  host.instruction_sets = instruction_sets_here();
  host.instruction_sets.emplace_back("avx1024");
  EXPECT_THAT(refusal_of(host), AllOf(HasSubstr("lacks avx1024"), HasSubstr("elsewhere"),
                                      HasSubstr("--force-cpu"), Not(HasSubstr("limited"))));
  host.cpu_baseline = "x86-64-v2";
  EXPECT_THAT(refusal_of(host), HasSubstr("its libc was limited to x86-64-v2"));
  std::vector<std::string> notes;
  check_processor(host, true, notes);
  EXPECT_THAT(notes, ElementsAre(HasSubstr("lacks avx1024")));
}

}  // namespace
}  // namespace ckpt::engine
