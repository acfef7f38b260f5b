#include "launcher/program_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>

#include "base/error.h"
#include "base/unique_fd.h"
#include "launcher/exit_codes.h"

namespace ckpt::launcher {
namespace {

constexpr int kDeepestInterpreter = 5;  // as many as the kernel follows (BINPRM_MAX_RECURSION)

int executable_error(const std::string& path) {
  struct stat file {};
  if (::stat(path.c_str(), &file) != 0) return errno;
  if (!S_ISREG(file.st_mode)) return EACCES;
  return ::faccessat(AT_FDCWD, path.c_str(), X_OK, AT_EACCESS) == 0 ? 0 : errno;
}

[[noreturn]] void refuse(const std::string& program, int code) {
  const char* advice =
      code == ENOENT ? "check the name and PATH" : "it must be a file with execute permission";
  throw ExitError(fmt::format("{}: {}; {}", program, describe_errno(code), advice),
                  exit_code_for_exec_error(code));
}

std::string read_head(const std::string& path) {
  UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  std::array<char, 256> head{};  // BINPRM_BUF_SIZE
  ssize_t got = file ? ::read(file.get(), head.data(), head.size()) : -1;
  return {head.data(), got > 0 ? static_cast<std::size_t>(got) : 0};
}

// File capabilities make a program untraceable for an ordinary user only.
bool has_file_capabilities(const std::string& path) {
  return ::geteuid() != 0 && ::getxattr(path.c_str(), "security.capability", nullptr, 0) > 0;
}

}  // namespace

std::string find_program(const std::string& program) {
  if (program.empty()) refuse("''", ENOENT);
  if (program.find('/') != std::string::npos) {
    if (int code = executable_error(program); code != 0) refuse(program, code);
    return program;
  }
  const char* variable = std::getenv("PATH");
  std::string search = variable != nullptr ? variable : "/bin:/usr/bin";
  bool denied = false;
  for (std::size_t begin = 0; begin <= search.size();) {
    std::size_t end = std::min(search.find(':', begin), search.size());
    std::string folder = search.substr(begin, end - begin);
    std::string path = folder.empty() ? program : fmt::format("{}/{}", folder, program);
    int code = executable_error(path);
    if (code == 0) return path;
    denied = denied || code == EACCES;
    begin = end + 1;
  }
  refuse(program, denied ? EACCES : ENOENT);
}

std::vector<std::string> interpreter_line(std::string_view head) {
  if (!head.starts_with("#!")) return {};
  std::string_view line = head.substr(
      2, head.find('\n') == std::string_view::npos ? std::string_view::npos : head.find('\n') - 2);
  constexpr std::string_view kBlank = " \t";
  std::vector<std::string> words;
  std::size_t begin = line.find_first_not_of(kBlank);
  if (begin == std::string_view::npos) return {};
  std::size_t end = std::min(line.find_first_of(kBlank, begin), line.size());
  words.emplace_back(line.substr(begin, end - begin));
  begin = line.find_first_not_of(kBlank, end);
  if (begin == std::string_view::npos) return words;
  words.emplace_back(line.substr(begin, line.find_last_not_of(kBlank) + 1 - begin));
  return words;
}

void refuse_privileged(const std::string& path) {
  std::string file = path;
  for (int depth = 0; depth < kDeepestInterpreter; ++depth) {
    struct stat info {};
    if (::stat(file.c_str(), &info) != 0) return;  // exec reports it
    if ((info.st_mode & (S_ISUID | S_ISGID)) != 0 || has_file_capabilities(file)) {
      throw Error(
          fmt::format("{} gains privileges when it starts (set-uid, set-gid or capabilities) and cannot be "
                      "checkpointed; run it without ckptrun",
                      file));
    }
    std::vector<std::string> words = interpreter_line(read_head(file));
    if (words.empty()) return;
    file = words[0];
  }
}

}  // namespace ckpt::launcher
