// Memfds and unlinked files: content goes to the store once, whoever finds the object first.
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <linux/memfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <vector>

#include "base/error.h"
#include "base/file_io.h"
#include "base/remote_addr.h"
#include "engine/resource/descriptors.h"
#include "engine/resource/object_content.h"

namespace ckpt::engine {
namespace {

// Linux 6.3; headers here are older.
constexpr unsigned kMemoryExecutable = 0x0010U;  // MFD_EXEC

unsigned huge_flags_of(int fd) {
  struct statfs filesystem {};
  if (::fstatfs(fd, &filesystem) != 0) throw_errno("statfs a memory file");
  if (filesystem.f_type != HUGETLBFS_MAGIC) return 0;
  auto shift = static_cast<unsigned>(std::countr_zero(static_cast<std::uint64_t>(filesystem.f_bsize)));
  return MFD_HUGETLB | (shift << MFD_HUGE_SHIFT);
}

UniqueFd lift(UniqueFd fd, int scratch_base) {
  if (fd.get() >= scratch_base) return fd;
  UniqueFd lifted(::fcntl(fd.get(), F_DUPFD_CLOEXEC, scratch_base));
  if (!lifted) {
    throw_errno(fmt::format("no descriptor is free from {} on; raise the limit on open files", scratch_base));
  }
  return lifted;
}

UniqueFd make_memfd(const image::SharedObjectT& object) {
  // Where the kernel knows the flag it wants to be told; execution is decided by the saved mode and seals.
  constexpr std::size_t kLongestName = 249;
  std::string name = object.name.substr(0, kLongestName);
  unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING | object.huge_flags;
  UniqueFd fd(::memfd_create(name.c_str(), flags | kMemoryExecutable));
  if (!fd) fd.reset(::memfd_create(name.c_str(), flags));
  if (!fd) throw_errno(fmt::format("make the memfd '{}'", name));
  return fd;
}

// In its former directory, so that it counts against the same filesystem; otherwise in memory.
UniqueFd make_unlinked_file(const image::SharedObjectT& object) {
  std::string directory = object.name.substr(0, object.name.rfind('/') + 1);
  UniqueFd fd(::open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  return fd ? std::move(fd) : make_memfd(object);
}

class MappedObject {
 public:
  MappedObject(int fd, std::uint64_t size)
      : size_(size), address_(::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)) {
    if (address_ == MAP_FAILED) throw_errno("map a memory file of huge pages");
  }
  ~MappedObject() { ::munmap(address_, size_); }
  MappedObject(const MappedObject&) = delete;
  MappedObject& operator=(const MappedObject&) = delete;

  std::span<std::byte> bytes() const { return {static_cast<std::byte*>(address_), size_}; }

 private:
  std::uint64_t size_;
  void* address_;
};

// Whoever may not give files away has none of others, but for what has changed its user since.
void give_to_owner(int fd, const image::SharedObjectT& object) {
  struct stat status {};
  if (!object.owner || ::fstat(fd, &status) != 0) return;
  if (status.st_uid == object.owner->uid && status.st_gid == object.owner->gid) return;
  static_cast<void>(::fchown(fd, object.owner->uid, object.owner->gid));
}

void fill(int fd, const image::SharedObjectT& object, const store::CheckpointReader& reader) {
  if (::ftruncate(fd, static_cast<off_t>(object.size)) != 0) {
    throw_errno(fmt::format("give {} its size of {} bytes", object.name, object.size));
  }
  if (object.huge_flags == 0) {
    for_each_piece(object, reader, [&](std::span<const std::byte> piece, std::uint64_t offset) {
      pwrite_all(fd, piece, offset, object.name);
    });
  } else if (object.size > 0) {  // hugetlbfs has no write(2)
    MappedObject mapped(fd, object.size);
    for_each_piece(object, reader, [&](std::span<const std::byte> piece, std::uint64_t offset) {
      std::ranges::copy(piece, mapped.bytes().subspan(offset).begin());
    });
  }
}

}  // namespace

std::int32_t ObjectTable::find(std::uint64_t device, std::uint64_t inode) const {
  auto found = std::ranges::find_if(
      objects_, [&](const auto& object) { return object->device == device && object->inode == inode; });
  return found == objects_.end() ? -1 : static_cast<std::int32_t>(found - objects_.begin());
}

std::int32_t ObjectTable::add(std::unique_ptr<image::SharedObjectT> object) {
  object->space = fresh_space();
  objects_.push_back(std::move(object));
  return static_cast<std::int32_t>(objects_.size() - 1);
}

std::int32_t save_object(SaveContext& context, image::ObjectKind kind, int fd, const std::string& name) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) throw_errno(fmt::format("stat {}", name));
  std::int32_t known = context.objects.find(status.st_dev, status.st_ino);
  if (known >= 0) return known;
  auto object = std::make_unique<image::SharedObjectT>();
  object->kind = kind;
  object->device = status.st_dev;
  object->inode = status.st_ino;
  object->name = name;
  object->size = static_cast<std::uint64_t>(status.st_size);
  object->mode = status.st_mode & 07777U;
  object->owner = std::make_unique<image::FileAccessT>();
  object->owner->uid = status.st_uid;
  object->owner->gid = status.st_gid;
  if (kind == image::ObjectKind::Memfd) {
    int seals = ::fcntl(fd, F_GET_SEALS);
    if (seals < 0) throw_errno(fmt::format("read the seals of {}", name));
    object->seals = static_cast<std::uint32_t>(seals);
  }
  object->huge_flags = huge_flags_of(fd);
  std::int32_t index = context.objects.add(std::move(object));
  const image::SharedObjectT& added = context.objects.at(index);
  put_content(context.writer, {.space = added.space, .size = added.size, .name = added.name}, fd);
  return index;
}

std::vector<int> create_objects(const image::CheckpointT& checkpoint, const store::CheckpointReader& reader,
                                int scratch_base) {
  std::vector<UniqueFd> made;
  for (const auto& object : checkpoint.objects) {
    UniqueFd fd;
    if (object->kind == image::ObjectKind::Memfd) fd = make_memfd(*object);
    if (object->kind == image::ObjectKind::DeletedFile) fd = make_unlinked_file(*object);
    if (fd) fill(fd.get(), *object, reader);
    made.push_back(fd ? lift(std::move(fd), scratch_base) : UniqueFd());
  }
  std::vector<int> numbers;
  std::ranges::transform(made, std::back_inserter(numbers), [](UniqueFd& fd) { return fd.release(); });
  return numbers;
}

void seal_objects(const image::CheckpointT& checkpoint, std::span<const int> object_descriptors) {
  for (std::size_t i = 0; i < checkpoint.objects.size() && i < object_descriptors.size(); ++i) {
    const image::SharedObjectT& object = *checkpoint.objects[i];
    int fd = object_descriptors[i];
    if (fd < 0) continue;
    give_to_owner(fd, object);
    if (::fchmod(fd, object.mode) != 0) throw_errno(fmt::format("set the mode of {}", object.name));
    if (object.kind != image::ObjectKind::Memfd || object.seals == 0) continue;
    if (::fcntl(fd, F_ADD_SEALS, object.seals) != 0)
      throw_errno(fmt::format("seal the memfd '{}'", object.name));
  }
}

}  // namespace ckpt::engine
