#include "agent/environment.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/agent_table.h"
#include "agent/ids.h"
#include "agent/table.h"
#include "base/takes_preload.h"

namespace ckpt::agent {
namespace {

// The library's own path as it stood in LD_PRELOAD; empty if it was not preloaded.
char own_path[1024];

const char* value_in(const char* entry, const char* name) {
  size_t length = strlen(name);
  return strncmp(entry, name, length) == 0 && entry[length] == '=' ? entry + length + 1 : nullptr;
}

// ckptrun names the library last.
const char* own_part(const char* preload) {
  const char* colon = strrchr(preload, ':');
  const char* last = colon != nullptr ? colon + 1 : preload;
  constexpr char kName[] = "/libckpt.so";
  size_t length = strlen(last);
  bool own = length >= sizeof kName && strcmp(last + length - (sizeof kName - 1), kName) == 0;
  return own && length < sizeof own_path ? last : nullptr;
}

void remove_entry(char** entry) {
  for (; *entry != nullptr; ++entry) entry[0] = entry[1];
}

// Takes what ckptrun put in out again. True if the library was preloaded.
bool leave_environment() {
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const char* preload = value_in(*entry, kPreloadVariable);
    const char* own = preload != nullptr ? own_part(preload) : nullptr;
    if (own == nullptr) continue;
    memcpy(own_path, own, strlen(own) + 1);
    if (own == preload)
      remove_entry(entry);  // the user had none
    else
      const_cast<char*>(own)[-1] = '\0';
    return true;
  }
  return false;
}

void leave_ids() {
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    if (value_in(*entry, kIdsVariable) != nullptr) return remove_entry(entry);
  }
}

// Constructors of other libraries that run before find no table, which is as if this were not there.
__attribute__((constructor)) void start_with_program() {
  KeepsErrno keeps;
  AgentTable* known = started_by_ckptrun() ? table() : nullptr;
  bool preloaded = leave_environment();
  static_cast<void>(ids_in_use());
  leave_ids();
  if (known == nullptr || !preloaded) return;
  find_waiting_functions();
  known->ids.in_use = reinterpret_cast<uint64_t>(&ckpt_ids_in_use);
  if (is_owner(*known)) known->intents.recording = 1;
}

// What an environment has of ours.
struct Found {
  const char* preload = "";
  bool run = false;  // kRunVariable
  size_t count = 0;  // of all entries
};

Found look_at(char* const* environment) {
  Found found;
  for (char* const* entry = environment; entry != nullptr && *entry != nullptr; ++entry, ++found.count) {
    if (value_in(*entry, kRunVariable) != nullptr) found.run = true;
    const char* preload = value_in(*entry, kPreloadVariable);
    if (preload != nullptr) found.preload = preload;
  }
  return found;
}

// As execvp() looks for it: the first one in PATH that can be executed.
bool takes_library_in_path(const char* name) {
  const char* left = variable("PATH");
  if (left == nullptr) left = "/bin:/usr/bin";
  for (;; ++left) {
    size_t length = strcspn(left, ":");
    char path[4096];
    if (length + strlen(name) + 2 <= sizeof path) {
      memcpy(path, left, length);
      path[length] = '/';
      memcpy(path + (length != 0 ? length + 1 : 0), name, strlen(name) + 1);
      if (faccessat(AT_FDCWD, path, X_OK, 0) == 0) return takes_preload(path);
    }
    left += length;
    if (*left == '\0') return false;
  }
}

bool takes_library(const char* program, Program how) {
  KeepsErrno keeps;
  if (program == nullptr) return false;
  return how == Program::kNameInPath && strchr(program, '/') == nullptr ? takes_library_in_path(program)
                                                                        : takes_preload(program);
}

}  // namespace

size_t environment_room(char* const* environment) {
  Found found = look_at(environment);
  return (found.count + 4) * sizeof(char*) + sizeof kPreloadVariable + strlen(found.preload) +
         sizeof own_path + sizeof kRunVariable + sizeof(AgentTable::directory) + 32 + ids_room();
}

char* const* with_library(const char* program, Program how, char* const* environment, void* room) {
  const AgentTable* known = existing_table();
  if (own_path[0] == '\0' || known == nullptr) return environment;
  Found found = look_at(environment);
  bool owner = is_owner(*known);
  if ((!owner && !found.run) || !takes_library(program, how)) return environment;
  auto** entries = static_cast<char**>(room);
  size_t count = 0;
  for (char* const* entry = environment; entry != nullptr && *entry != nullptr; ++entry) {
    bool ours = value_in(*entry, kPreloadVariable) != nullptr || value_in(*entry, kIdsVariable) != nullptr ||
                (owner && value_in(*entry, kRunVariable) != nullptr);
    if (!ours) entries[count++] = *entry;
  }
  char* text = reinterpret_cast<char*>(entries + count + 4);
  size_t left = environment_room(environment) - (count + 4) * sizeof(char*);
  auto add = [&](int length) {
    entries[count++] = text;
    text += length + 1;
    left -= static_cast<size_t>(length) + 1;
  };
  // A ckptrun within has put it in itself.
  bool there = own_part(found.preload) != nullptr;
  add(snprintf(text, left, "%s=%s%s%s", kPreloadVariable, found.preload,
               *found.preload != '\0' && !there ? ":" : "", there ? "" : own_path));
  if (owner) add(snprintf(text, left, "%s=%d:%s", kRunVariable, known->owner, known->directory.data()));
  if (ids_room() != 0) {
    put_ids(text);
    entries[count++] = text;
  }
  entries[count] = nullptr;
  return entries;
}

}  // namespace ckpt::agent
