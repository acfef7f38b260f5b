#include "engine/process/credentials.h"

#include <fmt/format.h>
#include <grp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "base/error.h"

namespace ckpt::engine {
namespace {

enum Capability : std::size_t { kInheritable, kPermitted, kEffective, kBounding, kAmbient, kCapabilitySets };

constexpr std::array<const char*, kCapabilitySets> kCapabilityFields = {"CapInh", "CapPrm", "CapEff",
                                                                        "CapBnd", "CapAmb"};

// Attributes of a thread for the kernel, of the process for a program.
constexpr std::array kSameInAllThreads = {"Uid",     "Gid",        "Groups",         "CapInh",
                                          "CapPrm",  "CapEff",     "CapBnd",         "CapAmb",
                                          "Seccomp", "NoNewPrivs", "Seccomp_filters"};

bool all_equal(const std::vector<std::uint32_t>& ids) {
  return std::ranges::all_of(ids, [&](std::uint32_t id) { return id == ids.front(); });
}

void require_complete(const image::CredentialsT& credentials) {
  if (credentials.uids.size() == 4 && credentials.gids.size() == 4 &&
      credentials.capabilities.size() == kCapabilitySets) {
    return;
  }
  throw Error("the credentials in the checkpoint are malformed");
}

image::CredentialsT own_credentials(const ProcStatus& status) {
  image::CredentialsT own = credentials_in(status);
  int bits = ::prctl(PR_GET_SECUREBITS, 0, 0, 0, 0);
  if (bits < 0) throw_errno("read securebits");
  own.securebits = static_cast<std::uint32_t>(bits);
  return own;
}

// What execve grants is what the process has.
bool capabilities_follow_from_user(const image::CredentialsT& wanted) {
  const auto& sets = wanted.capabilities;
  if (sets[kAmbient] != 0) return false;
  if (wanted.uids[1] != 0) return sets[kPermitted] == 0 && sets[kEffective] == 0;
  return sets[kPermitted] == (sets[kInheritable] | sets[kBounding]) && sets[kEffective] == sets[kPermitted];
}

bool same_capabilities(const image::CredentialsT& a, const image::CredentialsT& b) {
  return std::ranges::all_of(std::array{kInheritable, kPermitted, kEffective, kAmbient},
                             [&](Capability set) { return a.capabilities[set] == b.capabilities[set]; });
}

// The lines from one key to another, both included, as they are; much faster than field by field.
bool same_lines(const ProcStatus& left, const ProcStatus& right) {
  std::string_view ids = left.lines("Uid", "Groups");
  std::string_view rights = left.lines("CapInh", "Seccomp_filters");
  return !ids.empty() && !rights.empty() && ids == right.lines("Uid", "Groups") &&
         rights == right.lines("CapInh", "Seccomp_filters");
}

void refuse_different_threads(std::span<const ProcStatus> threads) {
  std::array<std::string_view, kSameInAllThreads.size()> expected;
  std::ranges::transform(kSameInAllThreads, expected.begin(),
                         [&](const char* field) { return threads.front().text(field); });
  for (const ProcStatus& thread : threads.subspan(1)) {
    if (same_lines(thread, threads.front())) continue;
    for (std::size_t i = 0; i < expected.size(); ++i) {
      std::string_view found = thread.text(kSameInAllThreads[i]);
      if (found == expected[i]) continue;
      throw Error(fmt::format(
          "thread {} ({}) has {} '{}', the main thread '{}'; give all threads the same credentials",
          thread.text("Pid"), thread.name(), kSameInAllThreads[i], found, expected[i]));
    }
  }
}

void refuse_seccomp(const ProcStatus& status, const ProcStatus& own) {
  if (status.text("Seccomp") == own.text("Seccomp") &&
      status.text("Seccomp_filters") == own.text("Seccomp_filters")) {
    return;
  }
  throw Error(
      "the program has installed seccomp filters, which cannot be carried over; run it without its sandbox");
}

void drop_from_bounding_set(std::uint64_t capabilities) {
  for (unsigned capability = 0; capability < 64; ++capability) {
    if ((capabilities >> capability & 1) == 0) continue;
    if (::prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0) {
      throw_errno(fmt::format("drop capability {} from the bounding set", capability));
    }
  }
}

}  // namespace

image::CredentialsT credentials_in(const ProcStatus& status) {
  image::CredentialsT credentials;
  credentials.uids = status.numbers("Uid");
  credentials.gids = status.numbers("Gid");
  credentials.groups = status.numbers("Groups");
  for (const char* field : kCapabilityFields) credentials.capabilities.push_back(status.number(field, 16));
  require_complete(credentials);
  return credentials;
}

std::optional<std::string> credentials_obstacle(const image::CredentialsT& wanted,
                                                const image::CredentialsT& own) {
  if (!all_equal(wanted.uids) || !all_equal(wanted.gids)) {
    return "the program uses several user or group ids at once (set-uid, or seteuid for a while)";
  }
  bool other_user = wanted.uids[1] != own.uids[1] || wanted.gids[1] != own.gids[1];
  if (other_user && own.uids[1] != 0) {
    return fmt::format("the program runs as user {} group {}, this session as user {} group {}",
                       wanted.uids[1], wanted.gids[1], own.uids[1], own.gids[1]);
  }
  if (wanted.securebits != own.securebits) return "the program has changed its securebits";
  if (!other_user && same_capabilities(wanted, own)) return std::nullopt;
  if (!capabilities_follow_from_user(wanted)) return "the program has changed its capabilities";
  return std::nullopt;
}

void save_credentials(std::span<const ProcStatus> threads, RemoteQueries& queries, image::ProcessT& process) {
  ProcStatus self = ProcStatus::of_self();
  refuse_seccomp(threads.front(), self);
  refuse_different_threads(threads);
  process.credentials = std::make_unique<image::CredentialsT>(credentials_in(threads.front()));
  queries.expect(
      "read securebits", SYS_prctl, {PR_GET_SECUREBITS, 0, 0, 0, 0},
      [&process, self = std::move(self)](std::int64_t bits) {
        process.credentials->securebits = static_cast<std::uint32_t>(bits);
        auto obstacle = credentials_obstacle(*process.credentials, own_credentials(self));
        if (!obstacle) return;
        throw Error(fmt::format("{}, which cannot be carried over; run it without that", *obstacle));
      });
}

void check_credentials(const image::ProcessT& process, std::vector<std::string>& notes) {
  if (!process.credentials) return;
  const image::CredentialsT& wanted = *process.credentials;
  require_complete(wanted);
  image::CredentialsT own = own_credentials(ProcStatus::of_self());
  if (auto obstacle = credentials_obstacle(wanted, own)) {
    throw Error(fmt::format("{}; recover as the user that ran it", *obstacle));
  }
  if (own.uids[1] != 0 && wanted.groups != own.groups) {
    notes.push_back("the program keeps the supplementary groups of this session, which differ from its own");
  }
  std::uint64_t missing =
      wanted.capabilities[kPermitted] & ~(own.capabilities[kPermitted] | own.capabilities[kBounding]);
  if (missing != 0) {
    notes.push_back(
        fmt::format("the program loses capabilities that this session lacks (mask {:#x})", missing));
  }
}

void apply_credentials(const image::ProcessT& process) {
  // An ordinary user has nothing to set, and in a user namespace of its own could not: its groups show as
  // 65534 there.
  if (!process.credentials || ::geteuid() != 0) return;
  const image::CredentialsT& wanted = *process.credentials;
  require_complete(wanted);
  image::CredentialsT own = credentials_in(ProcStatus::of_self());
  drop_from_bounding_set(own.capabilities[kBounding] & ~wanted.capabilities[kBounding]);
  if (wanted.groups != own.groups && ::setgroups(wanted.groups.size(), wanted.groups.data()) != 0) {
    throw_errno("set supplementary groups");
  }
  if (wanted.gids != own.gids && ::setresgid(wanted.gids[0], wanted.gids[1], wanted.gids[2]) != 0) {
    throw_errno(fmt::format("become group {}", wanted.gids[1]));
  }
  if (wanted.uids != own.uids && ::setresuid(wanted.uids[0], wanted.uids[1], wanted.uids[2]) != 0) {
    throw_errno(fmt::format("become user {}", wanted.uids[1]));
  }
}

}  // namespace ckpt::engine
