// Unix sockets whose file is not at the name that they were bound to: renamed when the server was ready,
// bound to a relative name in another directory, removed and replaced by a younger server's. Each is found
// where it was. Takes a directory to create and work in before the go file.
#include <fcntl.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "target.h"

static struct sockaddr_un named(const char* path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  target_require(strlen(path) < sizeof address.sun_path, "length of a path");
  strcpy(address.sun_path, path);
  return address;
}

static int bound(int type, const char* path) {
  struct sockaddr_un address = named(path);
  int fd = socket(AF_UNIX, type, 0);
  target_require(fd >= 0 && bind(fd, (struct sockaddr*)&address, sizeof address) == 0, "bind");
  return fd;
}

static int listening(const char* path) {
  int fd = bound(SOCK_STREAM, path);
  target_require(listen(fd, 5) == 0, "listen");
  return fd;
}

static int connected(int type, const char* path) {
  struct sockaddr_un address = named(path);
  int fd = socket(AF_UNIX, type, 0);
  if (connect(fd, (struct sockaddr*)&address, sizeof address) == 0) return fd;
  target_differs("connect to %s: %s", path, strerror(errno));
  close(fd);
  return -1;
}

static void check_name(const char* what, int fd, const char* expected) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  socklen_t length = sizeof address;
  target_require(getsockname(fd, (struct sockaddr*)&address, &length) == 0, "getsockname");
  target_check_string(what, address.sun_path, expected);
}

static void check_talk(const char* what, int from, int to) {
  char byte = 0;
  target_check_number(what, send(from, "x", 1, MSG_NOSIGNAL | MSG_DONTWAIT), 1);
  target_check_number(what, recv(to, &byte, 1, MSG_DONTWAIT), 1);
}

static void check_served(const char* what, int listener, const char* path) {
  int client = connected(SOCK_STREAM, path);
  if (client < 0) return;
  int server = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
  target_check_number(what, server >= 0, 1);
  check_talk(what, client, server);
  close(client);
  close(server);
}

int main(int argc, char** argv) {
  const char* go_file = target_go_file(argc, argv);
  target_require(argc == 3 && mkdir(argv[1], 0700) == 0 && chdir(argv[1]) == 0, "a directory of its own");

  int renamed = listening("being_made");
  target_require(rename("being_made", "made") == 0 && chmod("made", 0640) == 0, "rename");

  target_require(mkdir("below", 0700) == 0 && chdir("below") == 0, "directory");
  int elsewhere = listening("relative");
  int beside = open(".", O_RDONLY | O_DIRECTORY);
  target_require(beside >= 0 && chdir("..") == 0, "chdir");

  int old = listening("service");
  int old_client = connected(SOCK_STREAM, "service");
  int old_server = accept(old, NULL, NULL);
  target_require(old_server >= 0 && unlink("service") == 0, "unlink");
  int young = listening("service");
  int young_client = connected(SOCK_STREAM, "service");
  int young_server = accept(young, NULL, NULL);

  int receiver = bound(SOCK_DGRAM, "receiver");
  int sender = connected(SOCK_DGRAM, "receiver");
  target_require(rename("receiver", "moved_receiver") == 0 && send(sender, "y", 1, 0) == 1, "send");
  int alone = bound(SOCK_DGRAM, "alone");
  struct sockaddr_un itself = named("alone");
  target_require(connect(alone, (struct sockaddr*)&itself, sizeof itself) == 0, "connect with itself");
  target_require(send(alone, "z", 1, 0) == 1, "send");

  target_ready();
  target_wait(go_file);

  check_served("renamed", renamed, "made");
  check_name("name of the renamed", renamed, "being_made");
  struct stat status;
  target_check_number("mode of the renamed", stat("made", &status) == 0 ? status.st_mode & 0777 : 0, 0640);
  target_check_number("its former name", access("being_made", F_OK), -1);
  check_served("in another directory", elsewhere, "below/relative");
  check_name("name in another directory", elsewhere, "relative");
  check_talk("the older server's connection", old_client, old_server);
  check_talk("the younger server's connection", young_client, young_server);
  check_name("the older server's name", old_server, "service");
  check_served("younger", young, "service");
  fcntl(old, F_SETFL, O_NONBLOCK);
  target_check_number("the older server is asked", accept4(old, NULL, NULL, SOCK_NONBLOCK), -1);
  char byte = 0;
  target_check_number("a datagram that waited", recv(receiver, &byte, 1, MSG_DONTWAIT), 1);
  check_talk("datagrams to the moved receiver", sender, receiver);
  target_check_number("a datagram to itself that waited", recv(alone, &byte, 1, MSG_DONTWAIT), 1);
  check_talk("datagrams to itself", alone, alone);
  return target_finish();
}
