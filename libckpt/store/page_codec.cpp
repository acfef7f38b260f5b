#include "store/page_codec.h"

#include <fmt/format.h>
#include <lz4.h>
#include <lz4hc.h>
#include <zstd.h>

#include <cstring>
#include <new>
#include <vector>

#include "base/error.h"

namespace ckpt::store {
namespace {

const char* chars(std::span<const std::byte> bytes) { return reinterpret_cast<const char*>(bytes.data()); }
char* chars(std::span<std::byte> bytes) { return reinterpret_cast<char*>(bytes.data()); }

struct FreeContext {
  void operator()(ZSTD_CCtx* context) const { ZSTD_freeCCtx(context); }
};

int size_of(std::span<const std::byte> bytes) { return static_cast<int>(bytes.size()); }

}  // namespace

struct BlockCompressor::State {
  std::unique_ptr<ZSTD_CCtx, FreeContext> zstd;
  std::vector<std::byte> lz4;
};

BlockCompressor::BlockCompressor(const WriteOptions& options)
    : codec_(options.compression == Compression::kZstd ? Codec::kZstd : Codec::kLz4),
      level_(options.level),
      state_(std::make_unique<State>()) {
  int most = codec_ == Codec::kZstd ? ZSTD_maxCLevel() : LZ4HC_CLEVEL_MAX;
  if (options.compression == Compression::kNone || level_ < 0 || level_ > most) {
    throw Error(
        fmt::format("there is no compression level {}; use 1 to {}, or 0 for the default", level_, most));
  }
  if (codec_ == Codec::kZstd) {
    state_->zstd.reset(ZSTD_createCCtx());
    if (!state_->zstd) throw std::bad_alloc();
  } else {
    state_->lz4.resize(static_cast<std::size_t>(level_ > 1 ? LZ4_sizeofStateHC() : LZ4_sizeofState()));
  }
}

BlockCompressor::~BlockCompressor() = default;

std::optional<std::size_t> BlockCompressor::compress(std::span<const std::byte> block,
                                                     std::span<std::byte> out) noexcept {
  std::size_t size = 0;
  if (codec_ == Codec::kZstd) {
    size = ZSTD_compressCCtx(state_->zstd.get(), out.data(), out.size(), block.data(), block.size(), level_);
    if (ZSTD_isError(size) != 0) return std::nullopt;
  } else {
    void* state = state_->lz4.data();
    int result = level_ > 1 ? LZ4_compress_HC_extStateHC(state, chars(block), chars(out), size_of(block),
                                                         size_of(out), level_)
                            : LZ4_compress_fast_extState(state, chars(block), chars(out), size_of(block),
                                                         size_of(out), 1);
    size = static_cast<std::size_t>(result);  // 0: it does not fit
  }
  if (size == 0 || size >= block.size()) return std::nullopt;
  return size;
}

bool decompress(Codec codec, std::span<const std::byte> stored, std::span<std::byte> block) noexcept {
  switch (codec) {
    case Codec::kRaw:
      if (stored.size() != block.size()) return false;
      std::memcpy(block.data(), stored.data(), block.size());
      return true;
    case Codec::kLz4:
      return LZ4_decompress_safe(chars(stored), chars(block), size_of(stored), size_of(block)) ==
             size_of(block);
    case Codec::kZstd:
      return ZSTD_decompress(block.data(), block.size(), stored.data(), stored.size()) == block.size();
  }
  return false;
}

}  // namespace ckpt::store
