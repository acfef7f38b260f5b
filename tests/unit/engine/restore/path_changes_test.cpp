#include "engine/restore/path_changes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstring>

#include "base/error.h"
#include "checkpoint_support.h"

namespace ckpt::engine {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::string changed(const std::string& path, const std::vector<PathChange>& changes) {
  return changed_path(path, changes);
}

TEST(ChangedPath, IsWhatLiesBelow) {
  std::vector<PathChange> changes{{"/old", "/new/place"}};
  EXPECT_EQ(changed("/old", changes), "/new/place");
  EXPECT_EQ(changed("/old/file", changes), "/new/place/file");
  EXPECT_EQ(changed("/older/file", changes), "/older/file");
  EXPECT_EQ(changed("/", changes), "/");
  EXPECT_EQ(changed("[heap]", changes), "[heap]");
  EXPECT_EQ(changed("", changes), "");
}

TEST(ChangedPath, FollowsTheLongestChange) {
  std::vector<PathChange> changes{{"/a", "/x"}, {"/a/b/c", "/z"}, {"/a/b", "/y"}};
  EXPECT_EQ(changed("/a/f", changes), "/x/f");
  EXPECT_EQ(changed("/a/b/f", changes), "/y/f");
  EXPECT_EQ(changed("/a/b/c/f", changes), "/z/f");
}

TEST(ChangedPath, GoesToTheRootAndBack) {
  EXPECT_EQ(changed("/a/f", {{"/", "/copy"}}), "/copy/a/f");
  EXPECT_EQ(changed("/", {{"/", "/copy"}}), "/copy");
  EXPECT_EQ(changed("/copy/a/f", {{"/copy", "/"}}), "/a/f");
  EXPECT_EQ(changed("/copy", {{"/copy", "/"}}), "/");
}

std::vector<std::uint8_t> socket_address(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(&address);
  return {bytes, bytes + offsetof(sockaddr_un, sun_path) + path.size() + 1};
}

template <typename Detail>
Detail* add_description(image::CheckpointT& checkpoint, Detail detail) {
  auto description = std::make_unique<image::DescriptionT>();
  description->detail.Set(std::move(detail));
  checkpoint.process->descriptions.push_back(std::move(description));
  return static_cast<Detail*>(checkpoint.process->descriptions.back()->detail.value);
}

class PathsOfACheckpoint : public testing::Test {
 protected:
  PathsOfACheckpoint() : checkpoint_(empty_checkpoint()), process_(*checkpoint_.process) {
    process_.executable_file = std::make_unique<image::MappedFileT>();
  }

  std::vector<std::string> change(const std::vector<PathChange>& changes) {
    return change_paths(checkpoint_, changes);
  }

  image::CheckpointT checkpoint_;
  image::ProcessT& process_;
};

TEST_F(PathsOfACheckpoint, AllChange) {
  process_.executable = process_.executable_file->path = "/old/program";
  process_.working_directory = "/old";
  process_.mapped_files.push_back(std::make_unique<image::MappedFileT>());
  process_.mapped_files[0]->path = "/old/library";
  process_.written_files.push_back(std::make_unique<image::WrittenFileT>());
  process_.written_files[0]->path = "/old/log";
  process_.embedded_files.push_back(std::make_unique<image::EmbeddedFileT>());
  process_.embedded_files[0]->path = "/old/data";
  auto& mapping = add_mapping(checkpoint_, image::MappingKind::PrivateFile, 0, 4096, 0, "/old/library");
  image::RegularFileDetailT regular;
  regular.path = "/old/file";
  auto* file = add_description(checkpoint_, std::move(regular));
  image::DirectoryDetailT folder;
  folder.path = "/old/directory";
  auto* directory = add_description(checkpoint_, std::move(folder));
  image::FifoDetailT pipe;
  pipe.path = "/old/fifo";
  auto* fifo = add_description(checkpoint_, std::move(pipe));
  image::UnixSocketDetailT unix_socket;
  unix_socket.name = socket_address("/old/socket");
  auto* socket = add_description(checkpoint_, std::move(unix_socket));
  image::InotifyDetailT watches;
  watches.watches.push_back(std::make_unique<image::InotifyWatchT>());
  watches.watches[0]->path = "/old/watched";
  auto* inotify = add_description(checkpoint_, std::move(watches));

  EXPECT_THAT(change({{"/old", "/new"}}), IsEmpty());
  EXPECT_EQ(process_.executable, "/new/program");
  EXPECT_EQ(process_.executable_file->path, "/new/program");
  EXPECT_EQ(process_.working_directory, "/new");
  EXPECT_EQ(process_.mapped_files[0]->path, "/new/library");
  EXPECT_EQ(process_.written_files[0]->path, "/new/log");
  EXPECT_EQ(process_.embedded_files[0]->path, "/new/data");
  EXPECT_EQ(mapping.name, "/new/library");
  EXPECT_EQ(file->path, "/new/file");
  EXPECT_EQ(directory->path, "/new/directory");
  EXPECT_EQ(fifo->path, "/new/fifo");
  EXPECT_EQ(socket->name, socket_address("/new/socket"));
  EXPECT_EQ(inotify->watches[0]->path, "/new/watched");
}

TEST_F(PathsOfACheckpoint, ThatNoneBeginsWithIsTold) {
  process_.executable = "/bin/program";
  EXPECT_THAT(change({{"/bin", "/usr/bin"}, {"/opt", "/srv"}}),
              ElementsAre(HasSubstr("no path of the checkpoint begins with /opt")));
  EXPECT_EQ(process_.executable, "/usr/bin/program");
}

TEST_F(PathsOfACheckpoint, MustSuitTheKernel) {
  image::UnixSocketDetailT socket;
  socket.name = socket_address("/old/socket");
  add_description(checkpoint_, std::move(socket));
  try {
    change({{"/old", "/" + std::string(101, 'x')}});
    FAIL() << "took the path of a socket with 108 bytes";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("longer than the path of a socket may be (107 bytes)"));
  }
}

TEST_F(PathsOfACheckpoint, OfAbstractSocketsAreNone) {
  std::vector<std::uint8_t> name = socket_address(std::string("\0/old/socket", 12));
  image::UnixSocketDetailT socket;
  socket.name = name;
  auto* kept = add_description(checkpoint_, std::move(socket));
  change({{"/old", "/new"}});
  EXPECT_EQ(kept->name, name);
}

}  // namespace
}  // namespace ckpt::engine
