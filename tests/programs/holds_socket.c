// Has sent a byte through a Unix connection (descriptor 77) that nobody has accepted: it is in nobody's
// reach. A checkpoint has to refuse it, and the connection must survive that.
#include <sys/socket.h>
#include <sys/un.h>

#include "target.h"

enum { kNumber = 77 };

int main(int argc, char** argv) {
  const char* go_file = target_go_file(argc, argv);
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
