// Sizes and times as people read them in tables.
#pragma once

#include <cstdint>
#include <string>

namespace ckpt::launcher {

std::string human_bytes(std::uint64_t size_bytes);           // "512 B", "3.1 MiB"
std::string human_age(std::int64_t age_ns);                  // "12s", "5m", "3h", "2d"
std::string human_time(std::int64_t realtime_ns);            // "2026-11-20 10:22:37", local time
std::string human_microseconds(std::uint64_t microseconds);  // "3.214 ms"

std::int64_t realtime_now_ns();

}  // namespace ckpt::launcher
