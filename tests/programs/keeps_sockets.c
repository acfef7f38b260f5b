// Sockets whose both ends are in the program keep their connections and what waits in them; threads that are
// blocked in them stay so until there is something for them.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "target.h"

enum { kInFlight = 40000 };

static int listener;
static int unix_listener;
static int wake[2];
static int epoll;
static char accepted_text[64];
static char woken_text[64];
static int epoll_descriptor;
static unsigned char content[kInFlight];

static struct sockaddr_in loopback(void) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  return address;
}

static struct sockaddr_in address_of(int fd) {
  struct sockaddr_in address;
  socklen_t length = sizeof address;
  target_require(getsockname(fd, (struct sockaddr*)&address, &length) == 0, "getsockname");
  return address;
}

static int bound(int type) {
  struct sockaddr_in address = loopback();
  int fd = socket(AF_INET, type, 0);
  int on = 1;
  target_require(fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0, "socket");
  target_require(bind(fd, (struct sockaddr*)&address, sizeof address) == 0, "bind");
  return fd;
}

static int connected(int type, int to) {
  struct sockaddr_in address = address_of(to);
  int fd = socket(AF_INET, type, 0);
  target_require(fd >= 0 && connect(fd, (struct sockaddr*)&address, sizeof address) == 0, "connect");
  return fd;
}

// A name that the kernel chooses, different for every run.
static struct sockaddr_un autobound(int fd, socklen_t* length) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  target_require(bind(fd, (struct sockaddr*)&address, sizeof(sa_family_t)) == 0, "bind");
  *length = sizeof address;
  target_require(getsockname(fd, (struct sockaddr*)&address, length) == 0, "getsockname");
  return address;
}

static void* accept_one(void* unused) {
  (void)unused;
  int fd = accept(listener, NULL, NULL);
  if (fd < 0 || recv(fd, accepted_text, sizeof accepted_text - 1, 0) <= 0)
    target_differs("accept: %s", strerror(errno));
  return NULL;
}

static void* receive_one(void* unused) {
  (void)unused;
  if (recv(wake[0], woken_text, sizeof woken_text - 1, 0) <= 0) target_differs("recv: %s", strerror(errno));
  return NULL;
}

static void* wait_for_event(void* unused) {
  (void)unused;
  struct epoll_event event;
  int count = epoll_wait(epoll, &event, 1, -1);
  epoll_descriptor = count == 1 ? event.data.fd : -1;
  return NULL;
}

static void check_shut(const char* what, int fd, bool sends) {
  struct pollfd state = {.fd = fd, .events = POLLRDHUP};
  poll(&state, 1, 0);
  target_check_number(what, state.revents & POLLRDHUP, POLLRDHUP);
  ssize_t sent = send(fd, "x", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
  target_check_number(what, sends ? sent : errno, sends ? 1 : EPIPE);
}

static void check_option(const char* what, int fd, int level, int name, int expected) {
  int value = -1;
  socklen_t length = sizeof value;
  if (getsockopt(fd, level, name, &value, &length) != 0) target_differs("%s: %s", what, strerror(errno));
  target_check_number(what, value, expected);
}

static void put(int fd, const void* bytes, size_t size) {
  target_require(send(fd, bytes, size, MSG_NOSIGNAL) == (ssize_t)size, "send");
}

static void check_received(const char* what, int fd, const void* expected, size_t size) {
  static unsigned char got[kInFlight];
  size_t total = 0;
  while (total < size) {
    ssize_t count = recv(fd, got + total, size - total, MSG_DONTWAIT);
    if (count <= 0) break;
    total += (size_t)count;
  }
  target_check_number(what, (long long)total, (long long)size);
  target_check_bytes(what, got, expected, total);
}

static void send_descriptor(int through, int fd) {
  char byte = 'd';
  union {
    struct cmsghdr header;
    char space[CMSG_SPACE(sizeof(int))];
  } control = {
      .header = {.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
  memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
  struct iovec piece = {&byte, 1};
  struct msghdr message = {
      .msg_iov = &piece, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
  target_require(sendmsg(through, &message, 0) == 1, "sendmsg");
}

static int receive_descriptor(int through) {
  char byte = 0;
  union {
    struct cmsghdr header;
    char space[CMSG_SPACE(sizeof(int))];
  } control;
  struct iovec piece = {&byte, 1};
  struct msghdr message = {
      .msg_iov = &piece, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
  if (recvmsg(through, &message, MSG_DONTWAIT) != 1 || CMSG_FIRSTHDR(&message) == NULL) return -1;
  int fd = -1;
  memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
  return fd;
}

static const struct sockaddr_un kFirstName = {AF_UNIX, "first-name"}, kLastName = {AF_UNIX, "last-name"};

// As servers do that are not to be found before they answer.
static void listen_at_renamed_file(void) {
  int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  target_require(bind(fd, (const struct sockaddr*)&kFirstName, sizeof kFirstName) == 0, "bind");
  target_require(listen(fd, 5) == 0, "listen");
  target_require(rename(kFirstName.sun_path, kLastName.sun_path) == 0, "rename");
}

static void check_renamed_file(void) {
  int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  target_check_number("first name of a socket", access(kFirstName.sun_path, F_OK), -1);
  target_check_number("connect to its last name",
                      connect(fd, (const struct sockaddr*)&kLastName, sizeof kLastName), 0);
}

int main(int argc, char** argv) {
  const char* go_file = target_go_file(argc, argv);
  target_fill(content, sizeof content, 3);

  listener = bound(SOCK_STREAM);
  target_require(listen(listener, 5) == 0, "listen");
  struct sockaddr_in listening_at = address_of(listener);
  int own_listener = bound(SOCK_STREAM);
  target_require(listen(own_listener, 5) == 0, "listen");
  int client = connected(SOCK_STREAM, own_listener);
  int server = accept(own_listener, NULL, NULL);
  put(client, content, kInFlight);
  put(server, "answer", 6);

  int datagrams = bound(SOCK_DGRAM);
  int sender = connected(SOCK_DGRAM, datagrams);
  put(sender, "one", 3);
  put(sender, "three", 5);

  int shut = connected(SOCK_DGRAM, datagrams);
  int deaf = connected(SOCK_DGRAM, datagrams);
  target_require(shutdown(shut, SHUT_RDWR) == 0 && shutdown(deaf, SHUT_RD) == 0, "shutdown");
  int service_type = 0x10;
  int priority = 3;
  target_require(setsockopt(shut, IPPROTO_IP, IP_TOS, &service_type, sizeof service_type) == 0, "IP_TOS");
  target_require(setsockopt(shut, SOL_SOCKET, SO_PRIORITY, &priority, sizeof priority) == 0, "SO_PRIORITY");

  // Not in every kernel.
  int many_paths = socket(AF_INET, SOCK_STREAM, IPPROTO_MPTCP);
  int many_paths_client = socket(AF_INET, SOCK_STREAM, IPPROTO_MPTCP);
  int many_paths_server = -1;
  struct sockaddr_in many_paths_at = loopback();
  if (many_paths >= 0) {
    target_require(bind(many_paths, (struct sockaddr*)&many_paths_at, sizeof many_paths_at) == 0, "bind");
    target_require(listen(many_paths, 5) == 0, "listen");
    many_paths_at = address_of(many_paths);
    target_require(connect(many_paths_client, (struct sockaddr*)&many_paths_at, sizeof many_paths_at) == 0,
                   "connect");
    many_paths_server = accept(many_paths, NULL, NULL);
    put(many_paths_client, content, 1000);
  }

  int pair[2];
  target_require(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0, "socketpair");
  int passed[2];
  target_require(pipe(passed) == 0 && write(passed[1], "through", 7) == 7, "pipe");
  put(pair[0], content, 1000);
  send_descriptor(pair[1], passed[0]);

  unix_listener = socket(AF_UNIX, SOCK_SEQPACKET, 0);
  socklen_t length = 0;
  struct sockaddr_un name = autobound(unix_listener, &length);
  target_require(listen(unix_listener, 2) == 0, "listen");
  int packets = socket(AF_UNIX, SOCK_SEQPACKET, 0);
  target_require(connect(packets, (struct sockaddr*)&name, length) == 0, "connect");
  int packet_server = accept(unix_listener, NULL, NULL);
  put(packets, "first", 5);
  put(packets, "second", 6);

  listen_at_renamed_file();
  target_require(socketpair(AF_UNIX, SOCK_STREAM, 0, wake) == 0, "socketpair");
  int event_pair[2];
  target_require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, event_pair) == 0, "socketpair");
  epoll = epoll_create1(EPOLL_CLOEXEC);
  struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.fd = event_pair[0]};
  target_require(epoll_ctl(epoll, EPOLL_CTL_ADD, event_pair[0], &event) == 0, "epoll_ctl");
  pthread_t threads[3];
  target_require(pthread_create(&threads[0], NULL, accept_one, NULL) == 0, "thread");
  target_require(pthread_create(&threads[1], NULL, receive_one, NULL) == 0, "thread");
  target_require(pthread_create(&threads[2], NULL, wait_for_event, NULL) == 0, "thread");

  target_ready();
  target_wait(go_file);

  target_check_number("port", address_of(listener).sin_port, listening_at.sin_port);
  int late = connected(SOCK_STREAM, listener);
  put(late, "accepted", 8);
  put(wake[1], "woken", 5);
  put(event_pair[1], "x", 1);
  for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
  target_check_string("text of the thread in accept", accepted_text, "accepted");
  target_check_string("text of the thread in recv", woken_text, "woken");
  target_check_number("descriptor of the thread in epoll_wait", epoll_descriptor, event_pair[0]);

  check_received("bytes in a TCP connection", server, content, kInFlight);
  check_received("the other direction", client, "answer", 6);
  put(server, "more", 4);
  check_received("new bytes", client, "more", 4);
  check_received("a datagram", datagrams, "one", 3);
  check_received("another", datagrams, "three", 5);
  check_shut("a datagram socket shut down", shut, false);
  check_shut("a datagram socket that receives no more", deaf, true);
  check_option("SO_PRIORITY beside IP_TOS", shut, SOL_SOCKET, SO_PRIORITY, priority);
  if (many_paths >= 0) {
    check_received("bytes in MPTCP", many_paths_server, content, 1000);
    put(many_paths_server, "back", 4);
    target_sleep_ms(20);
    check_received("new bytes in MPTCP", many_paths_client, "back", 4);
    close(connected(SOCK_STREAM, many_paths));
    target_check_number("listening for MPTCP", accept(many_paths, NULL, NULL) >= 0, 1);
  }
  check_received("bytes in a pair", pair[1], content, 1000);
  int received = receive_descriptor(pair[0]);
  char text[8] = "";
  target_check_number("read through a received descriptor", read(received, text, 7), 7);
  target_check_string("what it reads", text, "through");
  check_renamed_file();
  check_received("a packet", packet_server, "first", 5);
  check_received("the next one", packet_server, "second", 6);
  return target_finish();
}
