#include "fuzz/reader_targets.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>
#include <memory>

#include "base/error.h"
#include "base/file_io.h"
#include "base/unique_fd.h"
#include "engine/image/image_file.h"
#include "store/application_files.h"
#include "store/checkpoint_store.h"
#include "store/digest.h"
#include "store/manifest.h"
#include "store/node_codec.h"
#include "store/segment_format.h"
#include "store/transfer.h"
#include "store/transfer_records.h"
#include "support/temporary_directory.h"

namespace ckpt::fuzz {
namespace {

using store::kPageBytes;
using store::Version;

constexpr Version kVersion = 1;

void require(bool condition, const char* what) {
  if (!condition) throw Finding(what);
}

// ---- stores in memory
// ---------------------------------------------------------------------------------------

// The store that inputs get into, and what they leave there.
class Scratch {
 public:
  static Scratch& get() {
    static Scratch scratch;
    return scratch;
  }

  store::Store& store() { return store_; }
  std::string application_path() const { return directory_.file("store/app"); }
  void clear() {
    for (const auto& entry : std::filesystem::directory_iterator(directory_.file("store")))
      std::filesystem::remove_all(entry.path());
  }

 private:
  Scratch()
      : directory_(tests::fast_directory()), store_(store::Store::open(directory_.file("store"), true)) {}

  tests::TemporaryDirectory directory_;
  store::Store store_;
};

Bytes page_of(std::uint8_t seed) {
  Bytes page(kPageBytes);
  for (std::size_t i = 0; i < page.size(); ++i) page[i] = static_cast<std::byte>(seed * (i / 64 + 1) + 1);
  return page;
}

// A few pages in two spaces, some adjacent.
Version make_version(store::Application& application, Version parent, store::Compression compression) {
  auto writer = application.begin(parent, parent != 0 ? store::Base::kParent : store::Base::kEmpty,
                                  {.compression = compression});
  for (std::uint8_t i = 0; i < 4; ++i)
    writer->put(i % 2, std::uint64_t{i} * 600 + parent, page_of(static_cast<std::uint8_t>(i + parent)));
  store::VersionDescription description;
  description.created_realtime_ns = static_cast<std::int64_t>(parent + 5);
  description.run_id = "run";
  description.command = {"program", "argument"};
  description.working_directory = "/";
  return writer->commit(description, std::as_bytes(std::span("an image", 8)));
}

void read_everything(const store::CheckpointReader& reader) {
  for (store::SpaceId space : reader.spaces()) {
    for (store::PageRun run : reader.runs(space)) {
      require(run.page_count > 0, "an empty run of pages");
      Bytes bytes(std::min<std::uint64_t>(run.page_count, 64) * kPageBytes);
      reader.read(space, {run.first_page, bytes.size() / kPageBytes}, bytes);
    }
  }
}

// Every version that is listed can be read, or is refused; what is sound is read without complaint.
void look_at(const store::Application& application) {
  store::VerifyReport report = application.verify();
  for (const store::VersionEntry& entry : application.versions()) {
    Version version = entry.description.version;
    bool sound = std::ranges::count(report.sound, version) != 0;
    try {
      read_everything(*application.open(version));
    } catch (const Error& error) {
      if (sound) throw Finding(std::string("a version that was verified cannot be read: ") + error.what());
    }
  }
}

// ---- manifest
// -----------------------------------------------------------------------------------------------

std::vector<Bytes> manifest_seeds() {
  store::Manifest manifest;
  manifest.description.version = kVersion;
  manifest.description.run_id = "run";
  manifest.description.command = {"a", "b"};
  manifest.description.stats.stages = {{"stop", 5}};
  manifest.segments = {{.segment = 1, .nodes = 3, .pages = 9}};
  std::vector<Bytes> seeds{store::encode_manifest(manifest)};
  for (std::uint32_t id : {0U, 3U, 9U})
    manifest.spaces.push_back(
        {.id = id, .page_count = 3, .root = {.segment = 1, .unit = id, .digest = {5, 6}}});
  seeds.push_back(store::encode_manifest(manifest));
  return seeds;
}

void read_manifest(const Bytes& input) {
  store::Manifest manifest = store::decode_manifest(input, kVersion, "manifest");
  store::Manifest again = store::decode_manifest(store::encode_manifest(manifest), kVersion, "manifest");
  require(again.spaces.size() == manifest.spaces.size() &&
              again.segments.size() == manifest.segments.size() &&
              again.description.run_id == manifest.description.run_id,
          "a manifest does not come back as it was");
  require(std::ranges::is_sorted(manifest.spaces, {}, &store::SpaceRoot::id), "spaces are not sorted");
}

// ---- node
// ---------------------------------------------------------------------------------------------------

// The first 8 bytes hold the level; the others are the node.
Bytes node_input(std::uint64_t level, const Bytes& node) {
  Bytes input(sizeof level + node.size());
  std::memcpy(input.data(), &level, sizeof level);
  std::ranges::copy(node, input.begin() + sizeof level);
  return input;
}

std::vector<Bytes> node_seeds() {
  store::Table table{};
  std::vector<Bytes> seeds;
  for (std::uint32_t i = 0; i < store::kFanout; i += 50)
    table[i] = {.segment = 1, .unit = i, .digest = {i, 7}};
  for (unsigned level : {0U, 1U, 4U}) seeds.push_back(node_input(level, store::encode_whole(level, table)));
  std::array<std::uint16_t, 4> changed{0, 1, 50, 511};
  seeds.push_back(
      node_input(1, store::encode_delta(1, 2, {.segment = 1, .unit = 8, .digest = {1, 2}}, changed, table)));
  return seeds;
}

void read_node(const Bytes& input) {
  std::uint64_t level = 0;
  if (input.size() < sizeof level) return;
  std::memcpy(&level, input.data(), sizeof level);
  level %= store::kRootLevel + 1;
  // As big as the node, so that a read past its end is seen; from operator new, so it is aligned.
  Bytes bytes(input.begin() + sizeof level, input.end());
  if (bytes.size() < sizeof(store::NodeHeader)) return;
  auto node = store::parse_node(bytes, static_cast<unsigned>(level));
  if (!node) return;
  store::Table table{};
  store::apply_node(*node, table);
  if (table == store::Table{}) return;  // changes that only remove
  Bytes whole = store::encode_whole(static_cast<unsigned>(level), table);
  auto again = store::parse_node(whole, static_cast<unsigned>(level));
  require(again.has_value(), "a node that was parsed cannot be written and parsed again");
  store::Table same{};
  store::apply_node(*again, same);
  require(same == table, "a node does not come back as it was");
}

// ---- image
// --------------------------------------------------------------------------------------------------

std::vector<Bytes> image_seeds() {
  using namespace image;
  CheckpointT checkpoint;
  checkpoint.format = engine::kImageFormat;
  checkpoint.host = std::make_unique<HostT>();
  checkpoint.host->instruction_sets = {"avx", "sse"};
  checkpoint.clocks = std::make_unique<ClocksT>();
  checkpoint.process = std::make_unique<ProcessT>();
  ProcessT& process = *checkpoint.process;
  process.layout = std::make_unique<MemoryLayoutT>();
  process.credentials = std::make_unique<CredentialsT>();
  process.executable_file = std::make_unique<MappedFileT>();
  process.threads.push_back(std::make_unique<ThreadT>());
  process.mappings.push_back(std::make_unique<MappingT>());
  process.mappings[0]->guards.emplace_back(1, 2);
  process.descriptions.push_back(std::make_unique<DescriptionT>());
  process.descriptions[0]->detail.Set(PipeDetailT());
  process.descriptors.push_back(std::make_unique<DescriptorT>());
  return {engine::pack_image(checkpoint)};
}

void read_image(const Bytes& input) {
  auto checkpoint = engine::unpack_image(input);
  engine::unpack_image(engine::pack_image(*checkpoint));
}

// ---- stream
// -------------------------------------------------------------------------------------------------

Bytes sent(const store::Application& application, Version version, Version base) {
  Bytes stream;
  auto from = base != 0 ? application.open(base) : nullptr;
  store::send_version("app", *application.open(version), from.get(), 0,
                      [&stream](std::span<const std::byte> bytes) {
                        stream.insert(stream.end(), bytes.begin(), bytes.end());
                      });
  return stream;
}

std::vector<Bytes> stream_seeds() {
  Scratch& scratch = Scratch::get();
  scratch.clear();
  auto application = scratch.store().create_application("app");
  Version first = make_version(*application, 0, store::Compression::kNone);
  Version second = make_version(*application, first, store::Compression::kNone);
  return {sent(*application, first, 0), sent(*application, second, first)};
}

void repair_stream(Bytes& stream) {
  std::size_t at = sizeof store::kStreamMagic + sizeof store::kStreamFormat;
  store::RecordHeader header;
  while (at + sizeof header <= stream.size()) {
    std::memcpy(&header, stream.data() + at, sizeof header);
    std::uint64_t left = stream.size() - at - sizeof header;
    std::uint64_t claimed = header.bytes;
    auto bytes = std::span(stream).subspan(at + sizeof header, std::min(claimed, left));
    store::seal(header, bytes);
    std::memcpy(stream.data() + at, &header, sizeof header);
    at += sizeof header + bytes.size();
  }
}

void receive(const Bytes& stream) {
  std::span<const std::byte> left(stream);
  store::receive_version(Scratch::get().store(), "app", [&left](std::span<std::byte> out) {
    std::size_t size = std::min(out.size(), left.size());
    std::copy_n(left.begin(), size, out.begin());
    left = left.subspan(size);
    return size;
  });
}

void read_stream(const Bytes& input) {
  static const Bytes kWhole = stream_seeds().front();
  Scratch& scratch = Scratch::get();
  scratch.clear();
  receive(kWhole);  // what others are based on
  Bytes stream = input;
  repair_stream(stream);
  try {
    receive(stream);
  } catch (const Error&) {
  }
  require(!scratch.store().application("app")->versions().empty(), "the version that was there is gone");
  require(scratch.store().application("app")->verify().damaged.empty(), "a damaged version was committed");
  look_at(*scratch.store().application("app"));
}

// ---- segment
// ------------------------------------------------------------------------------------------------

std::vector<Bytes> segment_seeds() {
  std::vector<Bytes> seeds;
  for (auto compression : {store::Compression::kNone, store::Compression::kLz4}) {
    Scratch& scratch = Scratch::get();
    scratch.clear();
    make_version(*scratch.store().create_application("app"), 0, compression);
    std::string file = read_file(scratch.application_path() + "/" + store::visible_name(kVersion));
    auto bytes = std::as_bytes(std::span(file));
    seeds.emplace_back(bytes.begin(), bytes.end());
  }
  return seeds;
}

void repair_segment(Bytes& file) {
  store::Footer footer;
  if (file.size() < sizeof footer) return;
  std::byte* end = file.data() + file.size() - sizeof footer;
  std::memcpy(&footer, end, sizeof footer);
  auto digest_at = [&file](std::uint64_t offset, std::uint64_t size, store::Digest& digest) {
    if (offset <= file.size() && size <= file.size() - offset)
      digest = store::digest_of(std::span(file).subspan(offset, size));
  };
  std::uint64_t table = footer.page_bytes;
  std::uint64_t manifest = store::align_up(table + footer.table_bytes, 8) + footer.node_bytes;
  digest_at(table, footer.table_bytes, footer.table_digest);
  digest_at(manifest, footer.manifest_bytes, footer.manifest_digest);
  digest_at(store::align_up(manifest + footer.manifest_bytes, 8), footer.image_bytes, footer.image_digest);
  footer.footer_digest =
      store::digest_of(std::as_bytes(std::span(&footer, 1)).first(offsetof(store::Footer, footer_digest)));
  std::memcpy(end, &footer, sizeof footer);
}

void read_segment(const Bytes& input) {
  Scratch& scratch = Scratch::get();
  scratch.clear();
  auto application = scratch.store().create_application("app");
  Bytes file = input;
  repair_segment(file);
  UniqueFd fd = open_or_throw(scratch.application_path() + "/" + store::visible_name(kVersion),
                              O_WRONLY | O_CREAT | O_EXCL, 0600);
  pwrite_all(fd.get(), file, 0, "segment");
  fd.reset();
  look_at(*application);
}

// Refusing is always right.
std::function<void(const Bytes&)> refusing(void (*read)(const Bytes&)) {
  return [read](const Bytes& input) {
    try {
      read(input);
    } catch (const Error&) {
    }
  };
}

}  // namespace

const std::vector<ReaderTarget>& reader_targets() {
  static const std::vector<ReaderTarget> kTargets{{"manifest", refusing(read_manifest), manifest_seeds},
                                                  {"node", refusing(read_node), node_seeds},
                                                  {"image", refusing(read_image), image_seeds},
                                                  {"stream", refusing(read_stream), stream_seeds},
                                                  {"segment", refusing(read_segment), segment_seeds}};
  return kTargets;
}

}  // namespace ckpt::fuzz
