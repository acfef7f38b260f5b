#include "agent/intent.h"

#include <netinet/in.h>
#include <string.h>

#include "agent/table.h"

namespace ckpt::agent {
namespace {

constexpr size_t kLeastReservation = size_t{1} << 20;

// Nothing is made here: a table that is missing means that nobody looks.
Intents* intents() {
  AgentTable* known = existing_table();
  return known != nullptr && known->intents.recording != 0 && is_owner(*known) ? &known->intents : nullptr;
}

Origin* origin_of(Intents* known, int descriptor) {
  if (known == nullptr || descriptor < 0) return nullptr;
  return static_cast<size_t>(descriptor) < known->origins.size() ? &known->origins[descriptor] : nullptr;
}

// The end of it, which is what distinguishes paths.
template <size_t kSize>
void copy_end(std::array<char, kSize>& to, const char* text) {
  size_t length = strlen(text);
  size_t kept = length < kSize ? length : kSize - 1;
  memcpy(to.data(), text + length - kept, kept);
  memset(to.data() + kept, 0, kSize - kept);
}

struct Address {
  std::array<uint8_t, 16> bytes{};  // IPv4 as ::ffff:a.b.c.d
  bool known = false;
};

Address address_of(const sockaddr* from) {
  Address address;
  if (from == nullptr) return address;
  if (from->sa_family == AF_INET) {
    address.bytes[10] = address.bytes[11] = 0xff;
    memcpy(&address.bytes[12], &reinterpret_cast<const sockaddr_in*>(from)->sin_addr, 4);
    address.known = true;
  } else if (from->sa_family == AF_INET6) {
    memcpy(address.bytes.data(), &reinterpret_cast<const sockaddr_in6*>(from)->sin6_addr, 16);
    address.known = true;
  }
  return address;
}

template <typename Ring>
auto& next_of(Ring& ring, uint32_t& count) {
  return ring[__atomic_fetch_add(&count, 1, __ATOMIC_RELAXED) % ring.size()];
}

}  // namespace

void note_opened(int descriptor, const char* path, const void* caller) {
  KeepsErrno keeps;
  Origin* origin = origin_of(intents(), descriptor);
  if (origin == nullptr || path == nullptr) return;
  origin->caller = reinterpret_cast<uint64_t>(caller);
  origin->call = kOpen;
  const char* slash = strrchr(path, '/');
  copy_end(origin->name, slash != nullptr ? slash + 1 : path);
}

void note_socket_call(int descriptor, IntentCall call, const void* caller) {
  KeepsErrno keeps;
  Origin* origin = origin_of(intents(), descriptor);
  if (origin == nullptr) return;
  *origin = {};
  origin->caller = reinterpret_cast<uint64_t>(caller);
  origin->call = call;
}

void note_connected(int descriptor, const sockaddr* peer, socklen_t size, const void* caller) {
  KeepsErrno keeps;
  if (size < sizeof(sa_family_t)) return;
  note_socket_call(descriptor, kConnect, caller);
  Intents* known = intents();
  Origin* origin = origin_of(known, descriptor);
  Address address = size >= sizeof(sockaddr_in) ? address_of(peer) : Address{};
  if (origin == nullptr || !address.known) return;
  for (const Resolution& resolution : known->resolutions) {
    if (resolution.address != address.bytes || resolution.host[0] == '\0') continue;
    origin->host = resolution.host;
    return;
  }
}

void note_resolved(const char* host, const addrinfo* found) {
  KeepsErrno keeps;
  Intents* known = intents();
  if (known == nullptr || host == nullptr) return;
  for (const addrinfo* each = found; each != nullptr; each = each->ai_next) {
    Address address = address_of(each->ai_addr);
    if (!address.known) continue;
    Resolution* place = nullptr;
    for (Resolution& resolution : known->resolutions) {
      if (resolution.address == address.bytes) place = &resolution;
    }
    if (place == nullptr) place = &next_of(known->resolutions, known->resolution_count);
    place->address = address.bytes;
    copy_end(place->host, host);
  }
}

void note_closed(int descriptor) {
  KeepsErrno keeps;
  Origin* origin = origin_of(intents(), descriptor);
  if (origin != nullptr && origin->call != kNone) *origin = {};
}

void note_reserved(const void* start, size_t size_bytes, const void* caller) {
  KeepsErrno keeps;
  if (size_bytes < kLeastReservation) return;
  Intents* known = intents();
  if (known == nullptr) return;
  auto first = reinterpret_cast<uint64_t>(start);
  next_of(known->reservations, known->reservation_count) = {first, first + size_bytes,
                                                            reinterpret_cast<uint64_t>(caller)};
}

}  // namespace ckpt::agent
