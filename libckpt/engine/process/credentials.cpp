#include "engine/process/credentials.h"

#include <fmt/format.h>
#include <linux/capability.h>
#include <linux/securebits.h>
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

// The securebit that takes no privilege: servers set it before they become another user, whoever they are.
constexpr std::uint32_t kFreeSecurebits = issecure_mask(SECURE_KEEP_CAPS);

constexpr std::uint64_t bit(unsigned capability) { return std::uint64_t{1} << capability; }

bool may_have_any(const image::CredentialsT& own) {
  constexpr std::uint64_t kNeeded = bit(CAP_SETUID) | bit(CAP_SETGID) | bit(CAP_SETPCAP);
  return own.uids[1] == 0 && (own.capabilities[kEffective] & kNeeded) == kNeeded;
}

// As execve leaves those of root.
image::CredentialsT after_exec(image::CredentialsT own) {
  own.capabilities[kPermitted] = own.capabilities[kInheritable] | own.capabilities[kBounding];
  own.capabilities[kEffective] = own.capabilities[kPermitted];
  own.capabilities[kAmbient] = 0;
  return own;
}

bool are_same(const image::CredentialsT& a, const image::CredentialsT& b) {
  return a.uids == b.uids && a.gids == b.gids && a.groups == b.groups && a.capabilities == b.capabilities &&
         a.securebits == b.securebits;
}

void plan_capabilities(std::uint64_t effective, std::uint64_t permitted, std::uint64_t inheritable,
                       PlanBuilder& plan) {
  constexpr std::uint64_t kLow = 0xffffffff;
  auto half = [&](unsigned shift) {
    return __user_cap_data_struct{.effective = static_cast<std::uint32_t>(effective >> shift & kLow),
                                  .permitted = static_cast<std::uint32_t>(permitted >> shift & kLow),
                                  .inheritable = static_cast<std::uint32_t>(inheritable >> shift & kLow)};
  };
  std::array<__user_cap_data_struct, 2> data{half(0), half(32)};
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  plan.expect("set capabilities", SYS_capset, {plan.data_of(header).value, plan.data_of(data).value}, 0);
}

// Only what differs: in a user namespace that forbids setgroups, even root may not set the groups that it
// has.
void plan_ids(const image::CredentialsT& wanted, const image::CredentialsT& now, PlanBuilder& plan) {
  const auto& groups = wanted.groups;
  if (groups != now.groups) {
    plan.expect("set supplementary groups", SYS_setgroups,
                {groups.size(), plan.data(std::as_bytes(std::span(groups))).value}, 0);
  }
  if (wanted.gids != now.gids) {
    plan.expect(fmt::format("become group {}", wanted.gids[1]), SYS_setresgid,
                {wanted.gids[0], wanted.gids[1], wanted.gids[2]}, 0);
    plan.attempt("set the group for files", SYS_setfsgid, {wanted.gids[3]});
  }
  if (wanted.uids != now.uids) {
    plan.expect(fmt::format("become user {}", wanted.uids[1]), SYS_setresuid,
                {wanted.uids[0], wanted.uids[1], wanted.uids[2]}, 0);
    plan.attempt("set the user for files", SYS_setfsuid, {wanted.uids[3]});
  }
}

// What this session lacks it cannot give (check_credentials() has told).
void plan_capability_sets(const image::CredentialsT& wanted, std::uint64_t available, PlanBuilder& plan) {
  const auto& sets = wanted.capabilities;
  std::uint64_t permitted = sets[kPermitted] & available;
  plan_capabilities(sets[kEffective] & permitted, permitted, sets[kInheritable], plan);
  plan.expect("clear ambient capabilities", SYS_prctl, {PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0},
              0);
  for (unsigned capability = 0; capability <= CAP_LAST_CAP; ++capability) {
    if ((sets[kAmbient] & permitted & bit(capability)) == 0) continue;
    plan.expect(fmt::format("raise ambient capability {}", capability), SYS_prctl,
                {PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0}, 0);
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
  if (may_have_any(own)) return std::nullopt;
  if (!all_equal(wanted.uids) || !all_equal(wanted.gids)) {
    return "the program uses several user or group ids at once (set-uid, or seteuid for a while)";
  }
  if (wanted.uids[1] != own.uids[1] || wanted.gids[1] != own.gids[1]) {
    return fmt::format("the program runs as user {} group {}, this session as user {} group {}",
                       wanted.uids[1], wanted.gids[1], own.uids[1], own.gids[1]);
  }
  if ((wanted.securebits & ~kFreeSecurebits) != (own.securebits & ~kFreeSecurebits))
    return "the program has changed its securebits";
  if (!same_capabilities(wanted, own)) return "the program has changed its capabilities";
  return std::nullopt;
}

OwnCredentials::OwnCredentials() : status(ProcStatus::of_self()), credentials(own_credentials(status)) {}

void save_credentials(std::span<const ProcStatus> threads, const OwnCredentials& own, RemoteQueries& queries,
                      image::ProcessT& process) {
  refuse_seccomp(threads.front(), own.status);
  refuse_different_threads(threads);
  process.credentials = std::make_unique<image::CredentialsT>(credentials_in(threads.front()));
  queries.expect(
      "read securebits", SYS_prctl, {PR_GET_SECUREBITS, 0, 0, 0, 0}, [&process, &own](std::int64_t bits) {
        process.credentials->securebits = static_cast<std::uint32_t>(bits);
        auto obstacle = credentials_obstacle(*process.credentials, own.credentials);
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

void plan_credentials(const image::ProcessT& process, const image::ThreadT& thread, PlanBuilder& plan) {
  if (!process.credentials) return;
  // An ordinary user has nothing else to set, and in a user namespace of its own could not: its groups show
  // as 65534 there.
  if (::geteuid() != 0) {
    if ((process.credentials->securebits & kFreeSecurebits) != 0)
      plan.expect("keep capabilities", SYS_prctl, {PR_SET_KEEPCAPS, 1, 0, 0, 0}, 0);
    return;
  }
  const image::CredentialsT& wanted = *process.credentials;
  require_complete(wanted);
  image::CredentialsT now = after_exec(own_credentials(ProcStatus::of_self()));
  if (are_same(wanted, now)) return;
  std::uint64_t available = now.capabilities[kPermitted];
  for (unsigned capability = 0; capability <= CAP_LAST_CAP; ++capability) {
    if ((now.capabilities[kBounding] & ~wanted.capabilities[kBounding] & bit(capability)) == 0) continue;
    plan.expect(fmt::format("drop capability {} from the bounding set", capability), SYS_prctl,
                {PR_CAPBSET_DROP, capability, 0, 0, 0}, 0);
  }
  plan.expect("keep capabilities for now", SYS_prctl, {PR_SET_KEEPCAPS, 1, 0, 0, 0}, 0);
  plan_ids(wanted, now, plan);
  plan_capabilities(available, available, now.capabilities[kInheritable], plan);
  plan.expect("set securebits", SYS_prctl, {PR_SET_SECUREBITS, wanted.securebits, 0, 0, 0}, 0);
  plan_capability_sets(wanted, available, plan);
  if (thread.parent_death_signal == 0) return;
  plan.expect("parent-death signal, which a change of user has cleared", SYS_prctl,
              {PR_SET_PDEATHSIG, static_cast<std::uint64_t>(thread.parent_death_signal), 0, 0, 0}, 0);
}

}  // namespace ckpt::engine
