// connect(), bind(), listen(), getaddrinfo(): which addresses a program uses, and by which names it knows
// them. See intent.h for the rules.
#include <netdb.h>
#include <sys/socket.h>

#include "agent/intent.h"
#include "agent/next_function.h"
#include "agent/public.h"

using ckpt::agent::next_function;

// Before the call, which may take long: a checkpoint in between shall see it too.
CKPT_PUBLIC int connect(int descriptor, const sockaddr* peer, socklen_t size) {
  static int (*next)(int, const sockaddr*, socklen_t) = nullptr;
  ckpt::agent::note_connected(descriptor, peer, size, __builtin_return_address(0));
  return next_function(next, "connect")(descriptor, peer, size);
}

CKPT_PUBLIC int bind(int descriptor, const sockaddr* address, socklen_t size) noexcept {
  static int (*next)(int, const sockaddr*, socklen_t) = nullptr;
  int result = next_function(next, "bind")(descriptor, address, size);
  if (result == 0) ckpt::agent::note_socket_call(descriptor, ckpt::agent::kBind, __builtin_return_address(0));
  return result;
}

CKPT_PUBLIC int listen(int descriptor, int backlog) noexcept {
  static int (*next)(int, int) = nullptr;
  int result = next_function(next, "listen")(descriptor, backlog);
  if (result == 0)
    ckpt::agent::note_socket_call(descriptor, ckpt::agent::kListen, __builtin_return_address(0));
  return result;
}

CKPT_PUBLIC int getaddrinfo(const char* host, const char* service, const addrinfo* wanted, addrinfo** found) {
  static int (*next)(const char*, const char*, const addrinfo*, addrinfo**) = nullptr;
  int result = next_function(next, "getaddrinfo")(host, service, wanted, found);
  if (result == 0) ckpt::agent::note_resolved(host, *found);
  return result;
}
