#include "agent/ids.h"

#include <string.h>
#include <unistd.h>

#include "agent/id_table.h"
#include "agent/table.h"

extern "C" {
__attribute__((visibility("hidden"))) uint32_t ckpt_ids_in_use = ckpt::agent::kNotLooked;
}

namespace ckpt::agent {
namespace {

constexpr size_t kSeenDigits = 8;
constexpr size_t kKernelDigits = 6;

// -1 if these are none.
int32_t take_number(const char*& text, size_t digits) {
  int32_t number = 0;
  for (size_t i = 0; i < digits; ++i, ++text) {
    int digit = *text >= '0' && *text <= '9'   ? *text - '0'
                : *text >= 'a' && *text <= 'f' ? *text - 'a' + 10
                                               : -1;
    if (digit < 0) return -1;
    number = number << 4 | digit;
  }
  return number;
}

char* put_number(char* at, int32_t number, size_t digits) {
  constexpr char kDigits[] = "0123456789abcdef";
  for (size_t i = digits; i-- > 0; number >>= 4) at[i] = kDigits[number & 0xf];
  return at + digits;
}

// They come sorted by what is seen.
bool read_ids(const char* text, IdTable& ids) {
  uint32_t count = 0;
  for (; *text != '\0' && count < kMostIds; ++count) {
    int32_t seen = take_number(text, kSeenDigits);
    int32_t kernel = seen > 0 ? take_number(text, kKernelDigits) : -1;
    if (kernel <= 0) return false;
    ids.by_seen[count] = {.seen = seen, .kernel = kernel};
    uint32_t place = count;
    for (; place > 0 && ids.by_kernel[place - 1].kernel > kernel; --place)
      ids.by_kernel[place] = ids.by_kernel[place - 1];
    ids.by_kernel[place] = {.seen = seen, .kernel = kernel};
  }
  ids.count = count;
  return count != 0;
}

const IdTable* ids() {
  const AgentTable* known = existing_table();
  return known != nullptr ? &known->ids : nullptr;
}

}  // namespace

uint32_t look_for_ids() {
  KeepsErrno keeps;
  // First, since whoever makes the table asks for its own id.
  __atomic_store_n(&ckpt_ids_in_use, uint32_t{0}, __ATOMIC_RELEASE);
  const char* text = variable(kIdsVariable);
  AgentTable* known = text != nullptr && started_by_ckptrun() ? table() : nullptr;
  if (known == nullptr || !read_ids(text, known->ids)) return 0;
  __atomic_store_n(&ckpt_ids_in_use, uint32_t{1}, __ATOMIC_RELEASE);
  learn_supervisor(*known);  // which names this process by the id that it sees
  return 1;
}

pid_t seen_by_table(pid_t kernel) {
  const IdTable* known = ids();
  return known != nullptr ? seen_id(*known, kernel) : kernel;
}

pid_t seen_across_recover(pid_t kernel) {
  const IdTable* known = ids();
  const IdPair* pair =
      known != nullptr ? find_id(known->by_kernel, known->count, &IdPair::kernel, kernel) : nullptr;
  return pair != nullptr ? pair->seen : kernel;
}

pid_t kernel_by_table(pid_t seen) {
  const IdTable* known = ids();
  return known != nullptr ? kernel_id(*known, seen) : seen;
}

void see_sender(siginfo_t* info) {
  if (info == nullptr || !ids_differ()) return;
  bool sent = info->si_code == SI_USER || info->si_code == SI_QUEUE || info->si_code == SI_TKILL ||
              info->si_code == SI_MESGQ;
  if (sent || (info->si_signo == SIGCHLD && info->si_code > 0)) info->si_pid = seen_by_table(info->si_pid);
}

size_t ids_room() {
  const IdTable* known = ids_differ() ? ids() : nullptr;
  if (known == nullptr) return 0;
  return sizeof kIdsVariable + 1 + known->count * (kSeenDigits + kKernelDigits);
}

void put_ids(char* room) {
  memcpy(room, kIdsVariable, sizeof kIdsVariable - 1);
  room += sizeof kIdsVariable - 1;
  *room++ = '=';
  const IdTable& known = *ids();
  for (uint32_t i = 0; i < known.count && i < kMostIds; ++i) {
    room = put_number(room, known.by_seen[i].seen, kSeenDigits);
    room = put_number(room, known.by_seen[i].kernel, kKernelDigits);
  }
  *room = '\0';
}

}  // namespace ckpt::agent
