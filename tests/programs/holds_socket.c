// Holds a connected TCP socket at descriptor 77; a checkpoint has to refuse it, and the connection must
// survive that.
#include <netinet/in.h>
#include <sys/socket.h>

#include "target.h"

enum { kNumber = 77 };

int main(int argc, char** argv) {
  const char* go_file = target_go_file(argc, argv);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof address;
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  target_require(listener >= 0 && bind(listener, (struct sockaddr*)&address, length) == 0, "bind");
  target_require(listen(listener, 1) == 0 && getsockname(listener, (struct sockaddr*)&address, &length) == 0,
                 "listen");
  int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  target_require(client >= 0 && connect(client, (struct sockaddr*)&address, length) == 0, "connect");
  int server = accept(listener, NULL, NULL);
  target_require(server >= 0 && dup2(client, kNumber) == kNumber, "accept");
  close(client);
  close(listener);

  target_ready();
  target_wait(go_file);

  char byte = 0;
  target_check_number("send", send(kNumber, "x", 1, 0), 1);
  target_check_number("recv", recv(server, &byte, 1, 0), 1);
  target_check_number("byte", byte, 'x');
  return target_finish();
}
