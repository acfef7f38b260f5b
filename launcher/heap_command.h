// ckpt heap: looks at persistent heaps and changes them while nobody uses them.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace ckpt::launcher {

class HeapCommand {
 public:
  // Adds "heap" and its subcommands to `app`, which must outlive this.
  explicit HeapCommand(CLI::App& app);

  bool was_given() const { return heap_->parsed(); }
  // What to print. Throws Error; also if a version is damaged.
  std::string run() const;

 private:
  struct Action;
  static const Action kActions[];
  CLI::App* heap_;
  std::string directory_;
  std::string argument_, label_;
  std::string name_ = "heap";
  bool json_ = false;
};

}  // namespace ckpt::launcher
