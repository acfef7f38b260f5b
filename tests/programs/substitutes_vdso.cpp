// Makes another version of a version: one that says of itself that it was made under another kernel, whose
// vDSO has another build id, and whose data is laid out differently.
//
//   substitutes_vdso STORE NAME VERSION
#include <xxhash.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "base/error.h"
#include "engine/image/image_file.h"
#include "store/checkpoint_store.h"

namespace {

using namespace ckpt;

void substitute(image::HostT& host) {
  constexpr std::string_view kNote("GNU\0", 4);
  auto note = std::search(host.vdso.begin(), host.vdso.end(), kNote.begin(), kNote.end());
  if (host.vdso.end() - note < 8) throw Error("the vDSO has no build id");
  note[4] ^= 0xffU;
  XXH128_hash_t hash = XXH3_128bits(host.vdso.data(), host.vdso.size());
  host.vdso_digest_low = hash.low64;
  host.vdso_digest_high = hash.high64;
  host.kernel = "5.0.0-another";
}

void leave_second_data_out(image::ProcessT& process) {
  std::erase_if(process.mappings, [](const auto& mapping) { return mapping->name == "[vvar_vclock]"; });
}

void run(const char* directory, const char* name, store::Version version) {
  store::Store store = store::Store::open(directory, false);
  auto application = store.application(name);
  auto reader = application->open(version);
  auto checkpoint = engine::unpack_image(reader->image());
  substitute(*checkpoint->host);
  leave_second_data_out(*checkpoint->process);
  for (auto& relative : checkpoint->relatives) leave_second_data_out(*relative);
  store::VersionDescription description = reader->description();
  auto writer = application->begin(version, store::Base::kParent);
  std::printf("%llu\n",
              static_cast<unsigned long long>(writer->commit(description, engine::pack_image(*checkpoint))));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: %s STORE NAME VERSION\n", argv[0]);
    return 2;
  }
  try {
    run(argv[1], argv[2], std::strtoull(argv[3], nullptr, 10));
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s: %s\n", argv[0], error.what());
    return 1;
  }
}
