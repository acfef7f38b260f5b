// The heaps of this process and its checkpoints by ckptrun: what ckpt/keeper.h asks for, where the process
// has libckpt.so; else nothing.
//
// A heap takes part from the end of its opening to the beginning of its closing. While a checkpoint is made,
// functions of heaps that change more than a line (commit, discard, pin, grow, ...) wait: they run under a
// Gate::Pass.
#pragma once

#include <atomic>
#include <cstdint>

#include "ckpt/keeper.h"
#include "heap/line_store.h"

namespace ckpt::vmheap {

class HeapMemory;
class Pager;

// Of all heaps of the process.
class Gate {
 public:
  // Passes of one thread nest.
  class Pass {
   public:
    Pass();
    ~Pass();
    Pass(const Pass&) = delete;
    Pass& operator=(const Pass&) = delete;
  };

  // False if it is closed; else left() is owed.
  static bool try_enter();
  // For another thread, by one that has a pass: that work goes on counts like a pass, until left() is called.
  static void entered();
  static void left();

  static void close();  // waits until nobody is inside
  static void open();
  static bool is_open();
};

// Says that the calling thread belongs to a heap, as long as it lives.
class KeeperThread {
 public:
  KeeperThread();
  ~KeeperThread();
  KeeperThread(const KeeperThread&) = delete;
  KeeperThread& operator=(const KeeperThread&) = delete;

  // It may have another id than before.
  static void renew();
};

// A heap that takes part, as long as it lives. Both ends under a Gate::Pass.
class KeptHeap {
 public:
  KeptHeap(LineStore& store, HeapMemory& memory, Pager& pager, Sharing sharing);
  ~KeptHeap();
  KeptHeap(const KeptHeap&) = delete;
  KeptHeap& operator=(const KeptHeap&) = delete;

  void get_ready();
  bool settle();
  void go_on();
  void stand_in();
  void come_back();

 private:
  void describe();

  LineStore& store_;
  HeapMemory& memory_;
  Pager& pager_;
  Sharing sharing_;
  StoreLocation location_;     // absolute
  ckpt_kept* kept_ = nullptr;  // none: there is no room
};

}  // namespace ckpt::vmheap
