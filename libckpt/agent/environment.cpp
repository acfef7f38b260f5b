#include "agent/environment.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/agent_table.h"
#include "agent/table.h"

namespace ckpt::agent {
namespace {

// The library's own path as it stood in LD_PRELOAD; empty if it was not preloaded.
char own_path[1024];

const char* value_in(const char* entry, const char* name) {
  size_t length = strlen(name);
  return strncmp(entry, name, length) == 0 && entry[length] == '=' ? entry + length + 1 : nullptr;
}

// ckptrun names the library last.
char* own_part(char* preload) {
  char* colon = strrchr(preload, ':');
  char* last = colon != nullptr ? colon + 1 : preload;
  constexpr char kName[] = "/libckpt.so";
  size_t length = strlen(last);
  bool own = length >= sizeof kName && strcmp(last + length - (sizeof kName - 1), kName) == 0;
  return own && length < sizeof own_path ? last : nullptr;
}

// Takes what ckptrun put in out again. True if the library was preloaded.
bool leave_environment() {
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    auto* preload = const_cast<char*>(value_in(*entry, kPreloadVariable));
    char* own = preload != nullptr ? own_part(preload) : nullptr;
    if (own == nullptr) continue;
    memcpy(own_path, own, strlen(own) + 1);
    if (own != preload) {
      own[-1] = '\0';
      return true;
    }
    for (; *entry != nullptr; ++entry) entry[0] = entry[1];  // the user had none
    return true;
  }
  return false;
}

// Constructors of other libraries that run before find no table, which is as if this were not there.
__attribute__((constructor)) void start_with_program() {
  KeepsErrno keeps;
  AgentTable* known = started_by_ckptrun() ? table() : nullptr;
  bool preloaded = leave_environment();
  if (known != nullptr && preloaded) known->intents.recording = 1;
}

}  // namespace

size_t environment_room(char* const* environment) {
  size_t count = 0;
  size_t preload_length = 0;
  for (char* const* entry = environment; entry != nullptr && *entry != nullptr; ++entry, ++count) {
    const char* preload = value_in(*entry, kPreloadVariable);
    if (preload != nullptr) preload_length = strlen(preload);
  }
  return (count + 3) * sizeof(char*) + sizeof kPreloadVariable + preload_length + sizeof own_path +
         sizeof kRunVariable + sizeof(AgentTable::directory) + 32;
}

char* const* with_library(char* const* environment, void* room) {
  const AgentTable* known = existing_table();
  if (own_path[0] == '\0' || known == nullptr || !is_owner(*known)) return environment;
  auto** entries = static_cast<char**>(room);
  const char* preload = "";
  size_t count = 0;
  for (char* const* entry = environment; entry != nullptr && *entry != nullptr; ++entry) {
    if (value_in(*entry, kRunVariable) != nullptr) continue;
    const char* value = value_in(*entry, kPreloadVariable);
    if (value == nullptr)
      entries[count++] = *entry;
    else
      preload = value;
  }
  char* text = reinterpret_cast<char*>(entries + count + 3);
  size_t left = environment_room(environment) - (count + 3) * sizeof(char*);
  entries[count++] = text;
  int length =
      snprintf(text, left, "%s=%s%s%s", kPreloadVariable, preload, *preload != '\0' ? ":" : "", own_path) + 1;
  text += length;
  left -= static_cast<size_t>(length);
  entries[count++] = text;
  snprintf(text, left, "%s=%d:%s", kRunVariable, known->owner, known->directory.data());
  entries[count] = nullptr;
  return entries;
}

}  // namespace ckpt::agent
