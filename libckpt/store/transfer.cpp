#include "store/transfer.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <string_view>

#include "base/error.h"
#include "store/segment_format.h"
#include "store/store_file.h"
#include "store/system_calls.h"
#include "store/transfer_records.h"

namespace ckpt::store {
namespace {

constexpr std::string_view kPartial = ".receive-";

// --- sending
// --------------------------------------------------------------------------------------------------------

// The body, without what the receiver has.
class Body {
 public:
  Body(std::uint64_t skip, const ByteSink& sink) : skip_(skip), sink_(sink) {}

  // `read` is called only if the bytes are wanted.
  template <typename Read>
  void add(RecordHeader header, Read read) {
    std::uint64_t end = position_ + sizeof header + header.bytes;
    if (position_ < skip_ && end > skip_)
      throw Error(fmt::format(
          "{} bytes are not a part that a receiver has kept; 'ckpt receive --partial' shows how many",
          skip_));
    if (end > skip_) {
      std::span<const std::byte> bytes = read();
      seal(header, bytes);
      sink_(std::as_bytes(std::span(&header, 1)));
      sink_(bytes);
    }
    position_ = end;
  }

  void end() {
    add({.kind = RecordKind::kEnd, .bytes = 0}, [] { return std::span<const std::byte>(); });
    if (position_ < skip_)
      throw Error(
          fmt::format("the stream has only {} bytes; nothing is left to send after {}", position_, skip_));
  }

 private:
  std::uint64_t skip_;
  const ByteSink& sink_;
  std::uint64_t position_ = 0;
};

void send_space(const CheckpointReader& version, const CheckpointReader* base, SpaceId space, Body& body) {
  std::vector<PageRun> present = version.runs(space);
  body.add({.kind = RecordKind::kPresent, .space = space, .bytes = present.size() * sizeof(PageRun)},
           [&] { return std::as_bytes(std::span(present)); });
  std::vector<PageRun> changed = base != nullptr ? version.differing(space, *base) : present;
  std::vector<std::byte> bytes(kMostPages * kPageBytes);
  auto kept = present.begin();
  for (const PageRun& run : changed) {
    std::uint64_t end = run.first_page + run.page_count;
    for (std::uint64_t page = run.first_page; page < end;) {
      // What only the base has is told by its absence.
      while (kept != present.end() && kept->first_page + kept->page_count <= page) ++kept;
      if (kept == present.end()) return;
      page = std::max(page, kept->first_page);
      if (page >= end) break;
      std::uint64_t count =
          std::min({end - page, kept->first_page + kept->page_count - page, std::uint64_t{kMostPages}});
      body.add({.kind = RecordKind::kPages, .space = space, .number = page, .bytes = count * kPageBytes},
               [&] {
                 std::span<std::byte> out(bytes.data(), count * kPageBytes);
                 version.read(space, {.first_page = page, .page_count = count}, out);
                 return std::span<const std::byte>(out);
               });
      page += count;
    }
  }
}

// --- receiving

std::string part_name(const StreamHead& head) {
  Digest digest = digest_of(head.bytes);
  return fmt::format("{}{:016x}{:016x}", kPartial, digest.high, digest.low);
}

// What of a stream has arrived, in a file of the store: the head, then whole records of the body.
class ArrivedPart {
 public:
  ArrivedPart(const Store& store, const StreamHead& head)
      : directory_(store.directory()),
        name_(part_name(head)),
        path_(fmt::format("{}/{}", store.path(), name_)),
        head_bytes_(head.bytes.size()),
        fd_(open_in(directory_, name_, O_RDWR | O_CREAT, 0600)) {
    if (!fd_) throw write_error(fmt::format("create {}", path_), errno);
    lock();
    struct stat status {};
    if (system_calls().fstat(fd_.get(), &status) != 0) throw_errno(fmt::format("fstat {}", path_));
    check_private(status, path_);
    end_ = static_cast<std::uint64_t>(status.st_size);
    if (end_ < head_bytes_) {
      end_ = 0;
      append(head.bytes);
    }
  }

  std::uint64_t body_bytes() const { return end_ - head_bytes_; }
  void start_anew() { end_ = head_bytes_; }

  void append(const Record& record) {
    append(std::as_bytes(std::span(&record.header, 1)));
    append(record.bytes);
  }

  // The body from its start.
  ByteSource source() const {
    return [this, position = head_bytes_](std::span<std::byte> out) mutable {
      std::size_t size = std::min<std::uint64_t>(out.size(), end_ - position);
      if (size > 0) read_exactly(fd_.get(), out.first(size), position, path_);
      position += size;
      return size;
    };
  }

  void remove() { system_calls().unlinkat(directory_, name_.c_str(), 0); }

 private:
  void lock() {
    struct flock range {};
    range.l_type = F_WRLCK;
    range.l_whence = SEEK_SET;
    if (system_calls().lock(fd_.get(), F_OFD_SETLK, &range) != 0)
      throw Error("the same checkpoint is being received already; wait for it to end", EBUSY);
  }

  // A record that is cut short by a failure is overwritten by the next one.
  void append(std::span<const std::byte> bytes) {
    if (int error = write_exactly(fd_.get(), bytes, end_); error != 0)
      throw write_error(fmt::format("write {}", path_), error);
    end_ += bytes.size();
  }

  int directory_;
  std::string name_;
  std::string path_;
  std::uint64_t head_bytes_;
  UniqueFd fd_;
  std::uint64_t end_ = 0;
};

void collect(const ByteSource& source, const StreamHead& head, ArrivedPart& part) {
  bool first = true;
  try {
    for (RecordKind kind = RecordKind::kSkip; kind != RecordKind::kEnd;) {
      Record record = read_record(source);
      kind = record.header.kind;
      if (first && kind == RecordKind::kSkip) {
        if (record.header.number != part.body_bytes())
          throw Error(fmt::format("{} bytes of this checkpoint are here, not {}; send it with --offset {}",
                                  part.body_bytes(), record.header.number, part.body_bytes()));
      } else {
        if (first) part.start_anew();
        part.append(record);
      }
      first = false;
    }
  } catch (const StreamEnd&) {
    throw Error(
        fmt::format("the stream ended before its end; what arrived is kept: go on with "
                    "'ckpt send {}@{}{} --offset {}'",
                    head.name, head.version.version,
                    head.base ? fmt::format(" --since {}", head.base->version) : "", part.body_bytes()),
        ENODATA);
  }
}

std::optional<Version> find_checkpoint(const std::vector<VersionEntry>& versions,
                                       const VersionDescription& wanted) {
  for (const VersionEntry& entry : versions) {
    if (same_checkpoint(entry.description, wanted)) return entry.description.version;
  }
  return std::nullopt;
}

Version find_base(const std::vector<VersionEntry>& versions, const StreamHead& head) {
  if (!head.base) return 0;
  if (auto base = find_checkpoint(versions, *head.base)) return *base;
  throw Error(
      fmt::format(
          "the stream holds only what changed since {}@{}, which is not here; send that first, or send "
          "without --since",
          head.name, head.base->version),
      ENOENT);
}

[[noreturn]] void out_of_order() {
  throw Error("the stream is damaged: its records are out of order; send it again", EBADMSG);
}

void put_present(CheckpointWriter& writer, const Record& record) {
  std::vector<PageRun> runs(record.bytes.size() / sizeof(PageRun));
  if (runs.size() * sizeof(PageRun) != record.bytes.size()) out_of_order();
  if (!runs.empty()) std::memcpy(runs.data(), record.bytes.data(), record.bytes.size());
  std::uint64_t end = 0;
  for (const PageRun& run : runs) {
    bool within = run.first_page < kPageNumberLimit && run.page_count <= kPageNumberLimit - run.first_page;
    if (!within || run.page_count == 0 || run.first_page < end) out_of_order();
    end = run.first_page + run.page_count;
  }
  writer.keep_only(record.header.space, runs);
}

Version apply(Application& application, Version base, const StreamHead& head, const ArrivedPart& part) {
  std::unique_ptr<CheckpointWriter> writer =
      application.begin(base, base != 0 ? Base::kParent : Base::kEmpty,
                        {.compression = Compression::kNone, .level = 0, .at_least = head.version.version});
  for (SpaceId space : writer->parent_spaces()) {
    if (!std::ranges::binary_search(head.spaces, space)) writer->keep_only(space, {});
  }
  ByteSource source = part.source();
  std::vector<std::byte> image;
  for (;;) {
    Record record = read_record(source);
    if (record.header.kind == RecordKind::kEnd) break;
    if (record.header.kind == RecordKind::kImage) {
      image = std::move(record.bytes);
    } else if (record.header.kind == RecordKind::kPresent) {
      put_present(*writer, record);
    } else if (record.header.kind == RecordKind::kPages && record.header.number < kPageNumberLimit &&
               record.bytes.size() % kPageBytes == 0) {
      writer->put(record.header.space, record.header.number, record.bytes);
    } else {
      out_of_order();
    }
  }
  VersionDescription description = head.version;
  return writer->commit(description, image);
}

// To its end, so that the sender is not told of a failure.
void drain(const ByteSource& source) {
  std::vector<std::byte> buffer(kMostPages * kPageBytes);
  while (source(buffer) > 0) {
  }
}

StreamHead head_of(const Store& store, const std::string& file) {
  UniqueFd fd(open_in(store.directory(), file, O_RDONLY | O_NONBLOCK));
  if (!fd) throw_errno(fmt::format("open {}/{}", store.path(), file));
  std::uint64_t position = 0;
  return read_head([&](std::span<std::byte> out) {
    ssize_t size = system_calls().pread(fd.get(), out.data(), out.size(), static_cast<off_t>(position));
    if (size < 0) throw_errno(fmt::format("read {}/{}", store.path(), file));
    position += static_cast<std::uint64_t>(size);
    return static_cast<std::size_t>(size);
  });
}

}  // namespace

bool same_checkpoint(const VersionDescription& one, const VersionDescription& other) {
  return one.run_id == other.run_id && one.created_realtime_ns == other.created_realtime_ns;
}

void send_version(const std::string& name, const CheckpointReader& version, const CheckpointReader* base,
                  std::uint64_t skip, const ByteSink& sink) {
  std::vector<std::byte> head = encode_head(name, version, base);
  if (skip > 0) append_record(head, {.kind = RecordKind::kSkip, .number = skip}, {});
  sink(head);
  Body body(skip, sink);
  body.add({.kind = RecordKind::kImage, .bytes = version.image().size()}, [&] { return version.image(); });
  for (SpaceId space : version.spaces()) send_space(version, base, space, body);
  body.end();
}

Received receive_version(Store& store, const std::optional<std::string>& name, const ByteSource& source) {
  std::uint64_t bytes = 0;
  ByteSource counted = [&](std::span<std::byte> out) {
    std::size_t size = source(out);
    bytes += size;
    return size;
  };
  StreamHead head;
  try {
    head = read_head(counted);
  } catch (const StreamEnd&) {
    throw Error("the stream ended before it said what it holds; send it again", ENODATA);
  }
  Received received{.name = name.value_or(head.name), .version = 0, .was_there = false, .bytes = 0};
  Store::check_name(received.name);
  bool is_new = !store.contains(received.name);
  Version base = 0;
  if (!is_new) {
    std::unique_ptr<Application> application = store.application(received.name);
    std::vector<VersionEntry> versions = application->versions();
    if (auto there = find_checkpoint(versions, head.version)) {
      drain(counted);
      // Left by a receiver that ended after its commit, or could not remove it.
      system_calls().unlinkat(store.directory(), part_name(head).c_str(), 0);
      received.version = *there;
      received.was_there = true;
      received.bytes = bytes;
      return received;
    }
    base = find_base(versions, head);
  } else if (head.base) {
    throw Error(
        fmt::format(
            "the stream holds only what changed since {}@{}, and there is no application {} here; send "
            "that version first, or send without --since",
            head.name, head.base->version, received.name),
        ENOENT);
  }
  ArrivedPart part(store, head);
  collect(counted, head, part);
  std::unique_ptr<Application> application = store.create_application(received.name);
  try {
    received.version = apply(*application, base, head, part);
  } catch (const StreamEnd&) {
    part.remove();
    throw Error("what had arrived of the stream is damaged; send it again, whole", EBADMSG);
  } catch (const Error& error) {
    if (error.code() == EBADMSG) part.remove();
    if (is_new && application->versions().empty()) store.remove_application(received.name);
    throw;
  }
  part.remove();
  received.bytes = bytes;
  return received;
}

std::vector<PartialTransfer> partial_transfers(const Store& store) {
  std::vector<PartialTransfer> found;
  for (const std::string& file : directory_entries(store.directory(), store.path())) {
    if (!file.starts_with(kPartial)) continue;
    struct stat status {};
    if (system_calls().fstatat(store.directory(), file.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) continue;
    try {
      StreamHead head = head_of(store, file);
      found.push_back({.name = head.name,
                       .version = head.version.version,
                       .base = head.base ? head.base->version : 0,
                       .body_bytes = static_cast<std::uint64_t>(status.st_size) - head.bytes.size()});
    } catch (const StreamEnd&) {
      continue;  // begun, and interrupted at once
    }
  }
  std::ranges::sort(
      found, {}, [](const PartialTransfer& transfer) { return std::pair(transfer.name, transfer.version); });
  return found;
}

}  // namespace ckpt::store
