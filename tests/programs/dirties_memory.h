// What dirties_memory and whoever measures it say to each other: one page of a file that both have mapped, so
// that it costs the program no call, no descriptor and no signal. Every word is written by one side only.
//
// The measuring side makes the file anew, all zero, before it starts the program.
//
// A *window* is a span of time whose largest gap between two clock reads is wanted. The measuring side opens
// one by counting `window` up; the program answers with the largest gap of the window before.
#pragma once

#include <atomic>
#include <cstdint>

struct DirtierControl {
  // Written by the measuring side.
  std::atomic<std::uint64_t> bytes_per_second;  // to dirty, in scattered single pages
  std::atomic<std::uint32_t> window;
  std::atomic<std::uint32_t> say;    // counted up: print "said N" at once
  std::atomic<std::uint32_t> touch;  // counted up: read every page, then print "touched N, sum S"

  // Written by the program.
  std::atomic<std::uint32_t> window_answered;
  std::atomic<std::int64_t> largest_gap_ns;  // of window number `window_answered` - 1
  std::atomic<std::uint64_t> pages_dirtied;
};

static_assert(sizeof(DirtierControl) <= 4096);
static_assert(std::atomic<std::uint64_t>::is_always_lock_free);
