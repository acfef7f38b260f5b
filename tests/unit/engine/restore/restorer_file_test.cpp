#include "engine/restore/restorer_file.h"

#include <elf.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <string>

#include "base/error.h"
#include "base/file_io.h"
#include "resource/program_support.h"

namespace ckpt::engine {
namespace {

using testing::HasSubstr;

// A tree as the installation has it: PREFIX/bin and PREFIX/libexec/ckpt/ckpt-restorer with this content.
class Installation {
 public:
  explicit Installation(const std::string& content) {
    std::filesystem::create_directories(directory_.file("libexec/ckpt"));
    std::filesystem::create_directories(directory_.file("bin"));
    directory_.file_with("libexec/ckpt/ckpt-restorer", content);
  }
  std::string programs() const { return directory_.file("bin"); }
  std::string restorer() const { return directory_.file("libexec/ckpt/ckpt-restorer"); }

 private:
  TemporaryDirectory directory_;
};

std::string refusal_of(const std::string& content) {
  Installation installation(content);
  try {
    load_restorer_beside(installation.programs());
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr(installation.restorer()));
    return error.what();
  }
  return {};
}

template <typename Change>
std::string changed_header(std::string file, Change change) {
  Elf64_Ehdr header{};
  std::memcpy(&header, file.data(), sizeof(header));
  change(header);
  std::memcpy(file.data(), &header, sizeof(header));
  return file;
}

TEST(RestorerFile, IsFoundFromTheBuildTree) {
  RestorerCode code = load_restorer();
  EXPECT_TRUE(std::filesystem::path(code.path).filename() == "ckpt-restorer") << code.path;
  EXPECT_LT(code.entry_offset, code.bytes.size());
}

TEST(RestorerFile, IsFoundBesideTheProgramsDirectory) {
  RestorerCode built = load_restorer();
  Installation installation(read_file(built.path));
  RestorerCode installed = load_restorer_beside(installation.programs());
  EXPECT_EQ(installed.path, installation.restorer());
  EXPECT_EQ(installed.bytes, built.bytes);
  EXPECT_EQ(installed.entry_offset, built.entry_offset);
}

TEST(RestorerFile, MissingIsAnErrorThatNamesTheDirectory) {
  TemporaryDirectory empty;
  try {
    load_restorer_beside(empty.file("bin"));
    FAIL() << "found one";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("missing beside " + empty.file("bin")));
  }
}

TEST(RestorerFile, ThatIsNoElfFileIsRefused) {
  EXPECT_THAT(refusal_of(""), HasSubstr("is not an ELF file"));
  EXPECT_THAT(refusal_of(std::string(4096, 'x')), HasSubstr("is not an ELF file"));
}

TEST(RestorerFile, DamagedIsRefused) {
  std::string file = read_file(load_restorer().path);
  EXPECT_THAT(refusal_of(file.substr(0, sizeof(Elf64_Ehdr))), HasSubstr("is damaged"));
  EXPECT_THAT(refusal_of(file.substr(0, 600)), HasSubstr("is damaged"));
  EXPECT_THAT(refusal_of(changed_header(file, [](Elf64_Ehdr& header) { header.e_phoff = ~0ULL - 8; })),
              HasSubstr("is damaged"));
  EXPECT_THAT(refusal_of(changed_header(file, [](Elf64_Ehdr& header) { header.e_phnum = 0; })),
              HasSubstr("is damaged"));
  EXPECT_THAT(refusal_of(changed_header(file, [](Elf64_Ehdr& header) { header.e_entry = 1 << 30; })),
              HasSubstr("is damaged"));
}

}  // namespace
}  // namespace ckpt::engine
