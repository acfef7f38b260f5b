// Bytes that wait inside a pseudo-terminal, in either direction.
//
// The kernel shows them to nobody but a reader, so they are read and written again while the program is
// stopped, with the modes that would change, echo or signal anything turned off meanwhile. Reading and
// polling make the kernel pass on at once what it still had in between (n_tty(4): tty_buffer_flush_work).
#pragma once

#include <cstdint>
#include <vector>

namespace ckpt::engine::resource {

struct PtyBytes {
  std::vector<std::uint8_t> to_slave;
  std::vector<std::uint8_t> to_master;
};

// `slave`: a non-blocking description of our own, or -1 where nobody has it open. Packet mode must be off.
PtyBytes take_bytes(int master, int slave);

// Both ends empty. `slave` may be blocking.
void put_bytes(int master, int slave, const PtyBytes& bytes);

}  // namespace ckpt::engine::resource
