// `ckpt send` and `ckpt receive`: a version as a stream.
#pragma once

#include <cstdint>
#include <string>

#include "launcher/naming.h"
#include "store/checkpoint_store.h"

namespace ckpt::launcher {

struct SendOptions {
  std::string since;         // version or label that the receiver has; empty: none
  std::string have;          // versions that the receiver has, separated by commas: the nearest one is used
  std::uint64_t offset = 0;  // bytes that the receiver has of an interrupted transfer
  std::string output;        // file; empty: standard output
};

std::string send_command(const store::Store& store, const Target& target, const SendOptions& options);

struct ReceiveOptions {
  std::string name;      // what the application is called here; empty: as there
  std::string input;     // file; empty: standard input
  bool partial = false;  // only tells what of interrupted transfers is here
};

std::string receive_command(store::Store& store, const ReceiveOptions& options, bool json);

}  // namespace ckpt::launcher
