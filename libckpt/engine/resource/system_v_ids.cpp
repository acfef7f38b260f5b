#include "engine/resource/system_v_ids.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include "base/error.h"
#include "base/unique_fd.h"

namespace ckpt::engine::resource {
namespace {

constexpr unsigned kSlotBits = 15;  // IPCMNI_SHIFT of ipc/util.h
constexpr int kMostAttempts = 300'000;

bool choose_next(const std::string& file, std::int32_t id) {
  UniqueFd next(::open(("/proc/sys/kernel/" + file).c_str(), O_WRONLY | O_CLOEXEC));
  std::string text = fmt::format("{}", id);
  return next && ::write(next.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
}

int make_any(const SystemVMaker& maker, const image::SystemVObjectT& object) {
  int made = maker.make();
  if (made >= 0) return made;
  if (errno == EEXIST) {
    throw Error(fmt::format("key {:#x} belongs to another {} by now than number {}; remove that (ipcrm)",
                            static_cast<unsigned>(object.key), maker.what, object.id));
  }
  throw_errno(fmt::format("make {} {} again", maker.what, object.id));
}

}  // namespace

void make_with_id(const SystemVMaker& maker, const image::SystemVObjectT& object) {
  auto wanted = static_cast<unsigned>(object.id);
  bool chosen = choose_next(maker.next_id_file, object.id);
  for (int attempt = 0; attempt < kMostAttempts; ++attempt) {
    auto made = static_cast<unsigned>(make_any(maker, object));
    if (made == wanted) return;
    maker.remove(static_cast<int>(made));
    if (chosen || made >> kSlotBits > wanted >> kSlotBits) break;  // the slot is taken, or its round is over
  }
  throw Error(
      fmt::format("the program's {} had number {}, which cannot be had; recover with "
                  "CAP_CHECKPOINT_RESTORE, or remove what has that number (ipcrm)",
                  maker.what, object.id));
}

int make_with_some_id(const SystemVMaker& maker, const image::SystemVObjectT& object) {
  choose_next(maker.next_id_file, object.id);
  return make_any(maker, object);
}

}  // namespace ckpt::engine::resource
