// A real child process to save from, and one to rebuild in: it executes the planned operations itself.
#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/process/id_map.h"
#include "engine/restore/plan_builder.h"
#include "image_generated.h"

namespace ckpt::engine {

// Runs `setup` in a forked child, which then waits for its end; killed and reaped by the destructor.
class ChildProgram {
 public:
  // Returns once `setup` is through; throws std::runtime_error with what it threw.
  explicit ChildProgram(const std::function<void()>& setup);
  ~ChildProgram();
  ChildProgram(const ChildProgram&) = delete;
  ChildProgram& operator=(const ChildProgram&) = delete;

  pid_t pid() const { return pid_; }

 private:
  pid_t pid_;
};

void block_all_signals();

// Process state and that of all threads, the main thread first.
std::unique_ptr<image::ProcessT> save(pid_t pid);
// What saving throws; empty if nothing.
std::string refusal_to_save(pid_t pid);

// Operations that this process runs by itself, as the restorer would in the rebuilt one.
class PlanInPlace {
 public:
  PlanInPlace();
  ~PlanInPlace();
  PlanInPlace(const PlanInPlace&) = delete;
  PlanInPlace& operator=(const PlanInPlace&) = delete;

  PlanBuilder& builder() { return builder_; }
  void run();  // throws std::runtime_error with the label of the first unexpected result

 private:
  void* memory_;
  PlanBuilder builder_;
};

// A child that has been given the state in `saved`, one thread, all signals blocked.
std::unique_ptr<ChildProgram> rebuild(const image::ProcessT& saved);

// Lets the calling thread do without an effective capability for a while; no effect if it has none.
class WithoutCapability {
 public:
  explicit WithoutCapability(unsigned capability);
  ~WithoutCapability();
  WithoutCapability(const WithoutCapability&) = delete;
  WithoutCapability& operator=(const WithoutCapability&) = delete;

 private:
  unsigned capability_;
  bool had_it_;
};

}  // namespace ckpt::engine
