// Lua whose whole state lives in a persistent heap:
//
//   plua APP.heap SCRIPT.lua [ARGUMENT...]
//
// runs the script on the state as it was committed last: globals, suspended coroutines, everything.
// heap.commit() makes all that happened so far durable; so does the end of the script. A run that is killed,
// or ends with an error, leaves what was committed. heap.stats() returns the heap's statistics as JSON.
// PLUA_RESIDENT and PLUA_SIZE, in bytes, say how much memory the state may take, and how much address space a
// new heap gets.
//
// How: Debian's liblua5.4 as it is, its allocation function being that of the heap. The state has pointers to
// itself, which stay valid because a heap never moves, and pointers to C functions, which stay valid because
// this program is linked at fixed addresses, the library's archive included; another build of it refuses the
// heap.
//
// Hard rules:
//   1. The script runs in a coroutine of its own. A commit is made while it runs, so in the committed state
//   that coroutine
//      is in the middle of a call that no C stack belongs to any more; nobody refers to it, and it is
//      collected. The main state must be idle in every commit.
//   2. Files do not live in the heap: those that were open are closed when the state is opened again, and
//   standard streams
//      are those of the new process (StreamTable).
#include <elf.h>
#include <link.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <lua.hpp>
#include <memory>
#include <stdexcept>
#include <string>

#include "stream_table.h"
#include "vmheap/heap.h"

namespace {

using ckpt::vmheap::Heap;

Heap* current_heap = nullptr;  // C functions of Lua have no other way to it that survives a commit

void* allocate(void*, void* memory, std::size_t, std::size_t size) {
  if (size == 0) {
    current_heap->deallocate(memory);
    return nullptr;
  }
  return current_heap->reallocate(memory, size);
}

int commit(lua_State* lua) {
  std::uint64_t version = 0;
  try {
    version = current_heap->commit();
  } catch (const std::exception& error) {
    lua_pushstring(lua, error.what());
  }
  if (version == 0) return lua_error(lua);
  lua_pushinteger(lua, static_cast<lua_Integer>(version));
  return 1;
}

int stats(lua_State* lua) {
  lua_pushstring(lua, current_heap->statistics().json().c_str());
  return 1;
}

// Parts of a note begin at multiples of 4.
std::size_t padded(std::size_t size) { return (size + 3) / 4 * 4; }

// The identity of this build: the note that the linker made from all of its content.
std::string build_id() {
  std::string id;
  ::dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t, void* result) {
        for (int i = 0; i < info->dlpi_phnum; ++i) {
          const ElfW(Phdr)& header = info->dlpi_phdr[i];
          if (header.p_type != PT_NOTE) continue;
          const auto* at = reinterpret_cast<const char*>(info->dlpi_addr + header.p_vaddr);
          for (const char* end = at + header.p_memsz; at < end;) {
            ElfW(Nhdr) note;
            std::memcpy(&note, at, sizeof note);
            const char* name = at + sizeof note;
            const char* content = name + padded(note.n_namesz);
            if (note.n_type == NT_GNU_BUILD_ID && std::string(name, 3) == "GNU")
              static_cast<std::string*>(result)->assign(content, note.n_descsz);
            at = content + padded(note.n_descsz);
          }
        }
        return 1;  // only the first object: the program itself
      },
      &id);
  if (id.empty()) throw std::runtime_error("this program has no build id; link it with --build-id");
  return id;
}

void check_build(Heap& heap) {
  std::string own = build_id();
  if (void* stored = heap.root("plua.build")) {
    if (std::memcmp(stored, own.data(), own.size()) != 0)
      throw std::runtime_error("the heap belongs to another build of plua; use that one");
    return;
  }
  void* memory = heap.allocate_zeroed(own.size());
  std::memcpy(memory, own.data(), own.size());
  heap.set_root("plua.build", memory);
}

lua_State* make_state(Heap& heap) {
  lua_State* lua = lua_newstate(allocate, nullptr);
  if (lua == nullptr) throw std::runtime_error("the heap is too small for Lua; set PLUA_SIZE");
  luaL_openlibs(lua);
  plua::track_streams(lua);
  lua_newtable(lua);
  lua_pushcfunction(lua, commit);
  lua_setfield(lua, -2, "commit");
  lua_pushcfunction(lua, stats);
  lua_setfield(lua, -2, "stats");
  lua_setglobal(lua, "heap");
  heap.set_root("plua.state", lua);
  return lua;
}

lua_State* open_state(Heap& heap) {
  check_build(heap);
  void* stored = heap.root("plua.state");
  if (stored == nullptr) return make_state(heap);
  auto* lua = static_cast<lua_State*>(stored);
  plua::reopen_streams(lua);
  return lua;
}

// The coroutine is on the main state's stack while it runs, so that it is not collected.
bool run(lua_State* lua, const char* script, char** arguments) {
  int top = lua_gettop(lua);
  lua_State* thread = lua_newthread(lua);
  int status = luaL_loadfile(thread, script);
  if (status == LUA_OK) {
    int count = 0;
    for (; arguments[count] != nullptr; ++count) lua_pushstring(thread, arguments[count]);
    int results = 0;
    status = lua_resume(thread, lua, count, &results);
  }
  if (status == LUA_YIELD) std::fprintf(stderr, "plua: the script yielded outside of a coroutine\n");
  if (status != LUA_OK && status != LUA_YIELD) {
    const char* message = lua_tostring(thread, -1);
    luaL_traceback(thread, thread, message != nullptr ? message : "(error object is not a string)", 0);
    std::fprintf(stderr, "plua: %s\n", lua_tostring(thread, -1));
  }
  lua_settop(lua, top);
  return status == LUA_OK;
}

std::uint64_t bytes_from(const char* variable, std::uint64_t otherwise) {
  const char* text = std::getenv(variable);
  return text != nullptr ? std::strtoull(text, nullptr, 10) : otherwise;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: plua APP.heap SCRIPT.lua [ARGUMENT...]\n");
    return 2;
  }
  try {
    auto heap = Heap::open_or_create(argv[1], {.size = bytes_from("PLUA_SIZE", 16ULL << 30)},
                                     {.resident_limit = bytes_from("PLUA_RESIDENT", 64ULL << 20)});
    current_heap = heap.get();
    lua_State* lua = open_state(*heap);
    // A run that is killed later leaves versions in which main state and stack are as they are here. What the
    // coroutine left there is removed.
    lua_settop(lua, 0);
    bool succeeded = run(lua, argv[2], argv + 3);
    std::fflush(nullptr);
    if (succeeded) heap->commit();
    return succeeded ? 0 : 1;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "plua: %s\n", error.what());
    return 1;
  }
}
