// What a program and its supervisor tell each other, in memory of the program.
//
// The table is private memory of the program. The page in front of it is mapped from an empty memory file,
// whose name the supervisor looks for in /proc/PID/maps. So it needs no descriptor and no connection, is
// copied on write into forked children, and comes back with all other memory after a recover.
//
// The program tells its supervisor to look by setting the times of the symbolic link DIRECTORY/wake, which
// needs no descriptor either; the link's text is the supervisor's process id. The supervisor writes into the
// table from outside, in a stop of the program, after which FUTEX_WAIT looks at its word again; so the
// supervisor needs no futex, and whoever waits in a process that is recovered needs no wake-up.
//
// Rules:
//  1. Words that both write change hands: who may write which value is said beside each.
//  2. The supervisor trusts nothing in here: a table that makes no sense counts as none.
//  3. Nothing moves within a release; another layout gets another magic number.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "agent/id_table.h"

namespace ckpt::agent {

inline constexpr char kTableName[] = "ckpt-agent-table";
inline constexpr std::uint64_t kTableMagic = 0x33454c4254504b43;  // "CKPTBLE3"
inline constexpr char kWakeFile[] = "wake";

// In the environment of a program that ckptrun starts: "PID:DIRECTORY", its process id and where `wake` is.
// Other processes that inherit it are not the one that takes part.
inline constexpr char kRunVariable[] = "CKPT_RUN";

// A call of ckpt_checkpoint() that waits. The program takes kFree -> kClaimed -> kRequested and, once it has
// read `result`, kAnswered -> kFree; the supervisor kRequested -> kAccepted -> kAnswered.
enum RequestState : std::uint32_t { kFree, kClaimed, kRequested, kAccepted, kAnswered };
struct Request {
  std::uint32_t state = kFree;  // waited for
  std::uint32_t flags = 0;      // CKPT_DURABLE
  std::int32_t result = 0;
};

// The supervisor writes `command`, an event in the low bits and a number that makes it different from the one
// before, and the thread of the library runs the functions for that event; then it writes `result` and
// `done`.
// In place of CKPT_BEFORE_CHECKPOINT where the program is going to be suspended.
inline constexpr std::uint32_t kBeforeSuspend = 4;
inline constexpr std::uint32_t kEventBits = 3;
struct Hooks {
  std::uint32_t thread = 0;   // the program: there is somebody who runs them
  std::uint32_t command = 0;  // the supervisor; waited for
  std::uint32_t done = 0;     // the program: the command it ran last; waited for
  std::int32_t result = 0;    // the program: what a before-hook failed with
};

// What a library that keeps memory elsewhere is asked to do (ckpt/keeper.h), by the thread that runs hooks.
// The supervisor writes `command`, one of these in the low bits and a number that makes it different from the
// one before; the thread looks at it now and then, and all the time when there was one a moment ago, and
// writes `failure` and, last, `done`. After a recover nobody commands it: it writes its steps into `back`.
enum KeeperCommand : std::uint32_t { kGoOn, kKeepOff, kGetReady, kSettle };
enum KeeperBack : std::uint32_t { kStoodIn = 1, kCameBack = 2 };  // or failed to
struct Keeper {
  std::uint64_t address = 0;        // the program: of the ckpt_keeper; 0: none
  std::int32_t thread = 0;          // the program: id of the thread that runs it
  std::uint32_t command = 0;        // the supervisor
  std::uint32_t done = 0;           // the program
  std::uint32_t back = 0;           // the program; the supervisor sets it to 0 before the program runs
  std::array<char, 256> failure{};  // the program; empty: none
};

// The program writes all of it; `state`, a ckpt_lease_state or 0 where there is none, last.
struct Lease {
  std::array<char, 64> name{};
  std::array<char, 256> places{};  // separated by blanks
  std::array<char, 128> place{};   // where it is held, or was last
  std::uint32_t state = 0;
};

struct ExcludedRange {
  std::uint64_t start = 0;  // 0: free
  std::uint64_t end = 0;
};

// Readers may look in the middle of a change: `changing` tells them not to rely on the ranges.
struct ExcludedRanges {
  std::uint32_t changing = 0;
  std::uint32_t count = 0;
  std::array<ExcludedRange, 255> ranges{};
};

// ---- what the program meant (intent.h): hints, checked against what the kernel says

enum IntentCall : std::uint8_t { kNone, kOpen, kConnect, kBind, kListen };

// By descriptor number.
struct Origin {
  std::uint64_t caller = 0;     // an address in the library or program that made the call
  std::array<char, 64> host{};  // kConnect: the name that the address was found by; its end, if it is long
  std::array<char, 39> name{};  // kOpen: the end of the last component of the path
  IntentCall call = kNone;
};
static_assert(sizeof(Origin) == 112);

struct Resolution {
  std::array<std::uint8_t, 16> address{};  // IPv4 as ::ffff:a.b.c.d
  std::array<char, 64> host{};
};

struct Reservation {
  std::uint64_t start = 0;
  std::uint64_t end = 0;
  std::uint64_t caller = 0;
};

struct Intents {
  std::uint32_t recording = 0;         // the program: 1 where the functions that write this are in use
  std::uint32_t resolution_count = 0;  // ever; the newest overwrite the oldest
  std::uint32_t reservation_count = 0;
  std::array<Resolution, 64> resolutions{};
  std::array<Reservation, 64> reservations{};
  std::array<Origin, 1024> origins{};
};

inline constexpr std::size_t kMostArgumentBytes = std::size_t{128} << 10;

struct AgentTable {
  std::uint64_t magic = kTableMagic;
  std::uint64_t self = 0;      // its own address
  std::int32_t owner = 0;      // id of the process that takes part, as it sees itself; 0: none
  std::uint32_t disabled = 0;  // the program: how many critical sections there are
  std::uint32_t called = 0;    // the program: 1 once it has called a function of ckpt.h
  // The supervisor: 1: a checkpoint waits for `disabled` to be 0; wake me then, and do not begin new sections
  // yet; 0: it does not wait any more. The program: 0 if the supervisor is gone. Waited for.
  std::uint32_t deferred = 0;
  std::uint32_t argument_count = 0;  // the supervisor, before the program runs
  std::uint64_t arguments = 0;       // the supervisor: where in this table a char*[] is; 0: none
  std::uint64_t generation = 0;
  Hooks hooks;
  std::array<Request, 64> requests{};
  std::array<char, 2048> directory{};  // where `wake` is; empty: there is no supervisor
  ExcludedRanges excluded;
  std::array<Lease, 8> leases{};
  Keeper keeper;
  // From here on nothing is read unless it is needed.
  alignas(4096) Intents intents;
  alignas(4096) std::array<std::byte, kMostArgumentBytes> argument_room{};
  alignas(4096) IdTable ids;
};
static_assert(offsetof(AgentTable, intents) == 12288);
static_assert(sizeof(AgentTable) % 4096 == 0);

}  // namespace ckpt::agent
