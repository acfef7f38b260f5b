#include "engine/image/image_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstddef>
#include <string>
#include <vector>

#include "base/error.h"

namespace ckpt::engine {
namespace {

using testing::HasSubstr;

// Something in every kind of field: numbers, texts, byte strings, tables, lists of tables, unions.
image::CheckpointT make_checkpoint() {
  image::CheckpointT checkpoint;
  checkpoint.format = kImageFormat;
  checkpoint.host = std::make_unique<image::HostT>();
  checkpoint.host->kernel = "6.1";
  checkpoint.clocks = std::make_unique<image::ClocksT>();
  checkpoint.clocks->monotonic_offset_ns = -5;
  checkpoint.objects.push_back(std::make_unique<image::SharedObjectT>());
  checkpoint.objects[0]->kind = image::ObjectKind::Memfd;
  checkpoint.process = std::make_unique<image::ProcessT>();
  image::ProcessT& process = *checkpoint.process;
  process.pid = 77;
  process.executable = "/bin/program";
  process.layout = std::make_unique<image::MemoryLayoutT>();
  process.layout->auxv = {1, 2, 3};
  process.credentials = std::make_unique<image::CredentialsT>();
  process.credentials->groups = {4, 5};
  process.executable_file = std::make_unique<image::MappedFileT>();
  process.executable_file->build_id = {9, 8, 7};
  process.threads.push_back(std::make_unique<image::ThreadT>());
  process.threads[0]->xsave.assign(512, 0x5a);
  for (std::uint64_t i = 0; i < 5; ++i) {
    process.mappings.push_back(std::make_unique<image::MappingT>());
    process.mappings[i]->start = i << 20;
    process.mappings[i]->end = (i << 20) + 4096;
    process.mappings[i]->name = "mapping " + std::to_string(i);
    process.mappings[i]->advice = {MADV_DONTDUMP};
  }
  process.descriptions.push_back(std::make_unique<image::DescriptionT>());
  image::PipeDetailT pipe;
  pipe.content = {'a', 'b'};
  process.descriptions[0]->detail.Set(std::move(pipe));
  process.descriptors.push_back(std::make_unique<image::DescriptorT>());
  return checkpoint;
}

std::string refusal_of(std::span<const std::byte> bytes) {
  try {
    unpack_image(bytes);
  } catch (const Error& error) {
    return error.what();
  }
  return {};
}

TEST(ImageFile, ComesBackAsItWas) {
  image::CheckpointT checkpoint = make_checkpoint();
  std::vector<std::byte> bytes = pack_image(checkpoint);
  auto back = unpack_image(bytes);
  EXPECT_EQ(back->clocks->monotonic_offset_ns, -5);
  EXPECT_EQ(back->objects.at(0)->kind, image::ObjectKind::Memfd);
  EXPECT_EQ(back->process->pid, 77);
  EXPECT_EQ(back->process->mappings.at(3)->name, "mapping 3");
  EXPECT_EQ(back->process->mappings.at(3)->file, -1);
  EXPECT_EQ(back->process->threads.at(0)->xsave.size(), 512U);
  ASSERT_NE(back->process->descriptions.at(0)->detail.AsPipeDetail(), nullptr);
  EXPECT_EQ(back->process->descriptions[0]->detail.AsPipeDetail()->content,
            (std::vector<std::uint8_t>{'a', 'b'}));
  EXPECT_EQ(pack_image(*back), bytes);
}

TEST(ImageFile, OfANewerFormatIsRefused) {
  image::CheckpointT checkpoint = make_checkpoint();
  checkpoint.format = kImageFormat + 1;
  EXPECT_THAT(refusal_of(pack_image(checkpoint)), HasSubstr("image format 2"));
}

TEST(ImageFile, WithoutAPartThatEveryReaderNeedsIsRefused) {
  for (auto remove :
       {+[](image::CheckpointT& c) { c.host.reset(); }, +[](image::CheckpointT& c) { c.clocks.reset(); },
        +[](image::CheckpointT& c) { c.process.reset(); },
        +[](image::CheckpointT& c) { c.process->layout.reset(); },
        +[](image::CheckpointT& c) { c.process->credentials.reset(); },
        +[](image::CheckpointT& c) { c.process->executable_file.reset(); },
        +[](image::CheckpointT& c) { c.process->threads.clear(); }}) {
    image::CheckpointT checkpoint = make_checkpoint();
    remove(checkpoint);
    EXPECT_THAT(refusal_of(pack_image(checkpoint)), HasSubstr("incomplete"));
  }
}

TEST(ImageFile, ThatIsNoneIsRefused) {
  EXPECT_THAT(refusal_of(std::span<const std::byte>()), HasSubstr("damaged"));
  EXPECT_THAT(refusal_of(std::vector<std::byte>(4096)), HasSubstr("damaged"));
}

TEST(ImageFile, CutOffAnywhereIsRefused) {
  std::vector<std::byte> bytes = pack_image(make_checkpoint());
  for (std::size_t size = 0; size + 8 < bytes.size(); ++size) {
    // An allocation of exactly this size, so that a sanitizer sees a read behind it.
    std::vector<std::byte> part(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size));
    ASSERT_NE(refusal_of(part), "") << "cut to " << size << " of " << bytes.size() << " bytes";
  }
}

// What a flipped bit does to a number only the store's digest can tell; here it must never lead outside.
TEST(ImageFile, WithAnyBitFlippedIsRefusedOrWhole) {
  const std::vector<std::byte> bytes = pack_image(make_checkpoint());
  for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    std::vector<std::byte> damaged = bytes;
    damaged[bit / 8] ^= std::byte{1} << (bit % 8);
    try {
      auto checkpoint = unpack_image(damaged);
      ASSERT_EQ(checkpoint->format, kImageFormat);
      ASSERT_FALSE(checkpoint->process->threads.empty());
      unpack_image(pack_image(*checkpoint));
    } catch (const Error&) {
    }
  }
}

}  // namespace
}  // namespace ckpt::engine
