#pragma once

#include <cstdint>
#include <string>

namespace ckpt::bench {

// Bytes per second at which as many threads as there are processors read `bytes` of the file into fresh
// anonymous memory of small pages, in the faster of two ways: through the page cache or past it.
double bare_fill_rate(const std::string& path, std::uint64_t bytes);

// So that what is measured next does, or does not, find the file in the page cache.
void warm_page_cache(const std::string& path);
void drop_from_page_cache(const std::string& path);

}  // namespace ckpt::bench
