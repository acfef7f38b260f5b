// exec() and its family, posix_spawn(): the library stays with the process that takes part, and with what
// descends from it. See intent.h for the rules; a child of vfork() may call all of this.
#include <alloca.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "agent/environment.h"
#include "agent/ids.h"
#include "agent/next_function.h"
#include "agent/public.h"

namespace {

using ckpt::agent::environment_room;
using ckpt::agent::next_function;
using ckpt::agent::Program;
using ckpt::agent::with_library;

using Execute = int(const char*, char* const*, char* const*);
using ExecuteDescriptor = int(int, char* const*, char* const*);

int execute(const char* path, char* const* arguments, char* const* environment) {
  static Execute* next = nullptr;
  void* room = alloca(environment_room(environment));
  return next_function(next, "execve")(path, arguments,
                                       with_library(path, Program::kPath, environment, room));
}

int execute_found(const char* file, char* const* arguments, char* const* environment) {
  static Execute* next = nullptr;
  void* room = alloca(environment_room(environment));
  return next_function(next, "execvpe")(file, arguments,
                                        with_library(file, Program::kNameInPath, environment, room));
}

size_t count_words(const char* first, va_list rest) {
  if (first == nullptr) return 0;
  size_t count = 1;
  while (va_arg(rest, char*) != nullptr) ++count;
  return count;
}

// The words of an execl() as a vector, with its NULL; `rest` stands behind that NULL then.
void collect_words(char** words, const char* first, va_list rest) {
  *words = const_cast<char*>(first);
  while (*words != nullptr) *++words = va_arg(rest, char*);
}

}  // namespace

CKPT_PUBLIC int execve(const char* path, char* const* arguments, char* const* environment) noexcept {
  return execute(path, arguments, environment);
}

CKPT_PUBLIC int execv(const char* path, char* const* arguments) noexcept {
  return execute(path, arguments, environ);
}

CKPT_PUBLIC int execvp(const char* file, char* const* arguments) noexcept {
  return execute_found(file, arguments, environ);
}

CKPT_PUBLIC int execvpe(const char* file, char* const* arguments, char* const* environment) noexcept {
  return execute_found(file, arguments, environment);
}

CKPT_PUBLIC int fexecve(int file, char* const* arguments, char* const* environment) noexcept {
  static ExecuteDescriptor* next = nullptr;
  void* room = alloca(environment_room(environment));
  char path[32];
  snprintf(path, sizeof path, "/proc/self/fd/%d", file);
  return next_function(next, "fexecve")(file, arguments,
                                        with_library(path, Program::kPath, environment, room));
}

CKPT_PUBLIC int execl(const char* path, const char* first, ...) noexcept {
  va_list rest;
  va_start(rest, first);
  auto** words = static_cast<char**>(alloca((1 + count_words(first, rest)) * sizeof(char*)));
  va_end(rest);
  va_start(rest, first);
  collect_words(words, first, rest);
  va_end(rest);
  return execute(path, words, environ);
}

CKPT_PUBLIC int execlp(const char* file, const char* first, ...) noexcept {
  va_list rest;
  va_start(rest, first);
  auto** words = static_cast<char**>(alloca((1 + count_words(first, rest)) * sizeof(char*)));
  va_end(rest);
  va_start(rest, first);
  collect_words(words, first, rest);
  va_end(rest);
  return execute_found(file, words, environ);
}

CKPT_PUBLIC int execle(const char* path, const char* first, ...) noexcept {
  va_list rest;
  va_start(rest, first);
  auto** words = static_cast<char**>(alloca((1 + count_words(first, rest)) * sizeof(char*)));
  va_end(rest);
  va_start(rest, first);
  collect_words(words, first, rest);
  char* const* environment = va_arg(rest, char* const*);
  va_end(rest);
  return execute(path, words, environment);
}

namespace {

using Spawn = int(pid_t*, const char*, const posix_spawn_file_actions_t*, const posix_spawnattr_t*,
                  char* const*, char* const*);

int see_child(int error, pid_t* child) {
  if (error == 0 && child != nullptr) *child = ckpt::agent::seen_id(*child);
  return error;
}

}  // namespace

CKPT_PUBLIC int posix_spawn(pid_t* child, const char* path, const posix_spawn_file_actions_t* actions,
                            const posix_spawnattr_t* attributes, char* const* arguments,
                            char* const* environment) {
  static Spawn* next = nullptr;
  void* room = alloca(environment_room(environment));
  return see_child(next_function(next, "posix_spawn")(child, path, actions, attributes, arguments,
                                                      with_library(path, Program::kPath, environment, room)),
                   child);
}

CKPT_PUBLIC int posix_spawnp(pid_t* child, const char* file, const posix_spawn_file_actions_t* actions,
                             const posix_spawnattr_t* attributes, char* const* arguments,
                             char* const* environment) {
  static Spawn* next = nullptr;
  void* room = alloca(environment_room(environment));
  return see_child(
      next_function(next, "posix_spawnp")(child, file, actions, attributes, arguments,
                                          with_library(file, Program::kNameInPath, environment, room)),
      child);
}
