// Has sent a byte through a Unix connection (descriptor 77) that nobody has accepted: it is in nobody's
// reach. With the argument "urgent" another one, accepted, has received what is read out of turn. A
// checkpoint has to refuse it, and the connection must survive that.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "target.h"

enum { kNumber = 77 };

static int hold_urgent_data(const char* go_file) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof address;
  int listener = socket(AF_INET, SOCK_STREAM, 0);
  target_require(listener >= 0 && bind(listener, (struct sockaddr*)&address, length) == 0, "bind");
  target_require(listen(listener, 1) == 0, "listen");
  target_require(getsockname(listener, (struct sockaddr*)&address, &length) == 0, "getsockname");
  int client = socket(AF_INET, SOCK_STREAM, 0);
  target_require(client >= 0 && connect(client, (struct sockaddr*)&address, length) == 0, "connect");
  int server = accept(listener, NULL, NULL);
  target_require(server >= 0 && send(client, "before", 6, 0) == 6 && send(client, "!", 1, MSG_OOB) == 1,
                 "send");

  target_ready();
  target_wait(go_file);

  char bytes[8] = "";
  target_check_number("urgent data", recv(server, bytes, 1, MSG_OOB), 1);
  target_check_string("urgent data", bytes, "!");
  target_check_number("what was before", recv(server, bytes, sizeof bytes - 1, 0), 6);
  target_check_string("what was before", bytes, "before");
  return target_finish();
}

int main(int argc, char** argv) {
  const char* go_file = target_go_file(argc, argv);
  if (argc == 3) return hold_urgent_data(go_file);
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  socklen_t length = sizeof address;
  int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  // A name that the kernel chooses.
  target_require(listener >= 0 && bind(listener, (struct sockaddr*)&address, sizeof(sa_family_t)) == 0,
                 "bind");
  target_require(listen(listener, 1) == 0 && getsockname(listener, (struct sockaddr*)&address, &length) == 0,
                 "listen");
  int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  target_require(client >= 0 && connect(client, (struct sockaddr*)&address, length) == 0, "connect");
  target_require(dup2(client, kNumber) == kNumber && send(kNumber, "x", 1, 0) == 1, "send");
  close(client);

  target_ready();
  target_wait(go_file);

  char byte = 0;
  int server = accept(listener, NULL, NULL);
  target_require(server >= 0, "accept");
  target_check_number("recv", recv(server, &byte, 1, 0), 1);
  target_check_number("byte", byte, 'x');
  return target_finish();
}
