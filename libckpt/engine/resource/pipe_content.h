// Bytes waiting in a pipe or FIFO: looked at without consuming them, and put into a new one.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace ckpt::engine::resource {

struct PipeContent {
  std::uint32_t capacity = 0;
  std::vector<std::uint8_t> bytes;
  std::vector<std::uint32_t> packets;  // lengths, in packet mode (O_DIRECT); else empty
};

// `read_end` is any descriptor that may read; what it refers to keeps its content. `packet_mode`: a write end
// has O_DIRECT, so every read ends at a packet's end.
PipeContent peek_pipe(int read_end, bool packet_mode, const std::string& what);

std::uint32_t pipe_capacity(int fd);

// Sets the capacity as near to `capacity` as this user may; returns the capacity reached.
std::uint32_t set_pipe_capacity(int fd, std::uint32_t capacity);

// What would keep `content` from being restored, empty if nothing; a lower capacity is not a problem but is
// noted.
std::string pipe_problem(const PipeContent& content, std::vector<std::string>* notes);

// Writes the content; the pipe is empty. Throws if it does not fit.
void fill_pipe(int write_end, const PipeContent& content, const std::string& what);

}  // namespace ckpt::engine::resource
