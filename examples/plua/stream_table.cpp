#include "stream_table.h"

#include <cstdio>
#include <initializer_list>

namespace plua {
namespace {

constexpr const char* kTable = "plua.streams";  // in the registry: handle -> true, weak keys

void remember(lua_State* lua, int index) {
  if (luaL_testudata(lua, index, LUA_FILEHANDLE) == nullptr) return;
  index = lua_absindex(lua, index);
  lua_getfield(lua, LUA_REGISTRYINDEX, kTable);
  lua_pushvalue(lua, index);
  lua_pushboolean(lua, 1);
  lua_rawset(lua, -3);
  lua_pop(lua, 1);
}

// Upvalue 1: a function of the io library. Whatever handles it returns are remembered.
int call_and_remember(lua_State* lua) {
  lua_pushvalue(lua, lua_upvalueindex(1));
  lua_insert(lua, 1);
  lua_call(lua, lua_gettop(lua) - 1, LUA_MULTRET);
  int count = lua_gettop(lua);
  luaL_checkstack(lua, 4, nullptr);
  for (int i = 1; i <= count; ++i) remember(lua, i);
  return count;
}

void set_stream(lua_State* lua, const char* name, std::FILE* stream) {
  lua_getfield(lua, -1, name);
  if (auto* handle = static_cast<luaL_Stream*>(luaL_testudata(lua, -1, LUA_FILEHANDLE))) handle->f = stream;
  lua_pop(lua, 1);
}

constexpr const char* kStandard = "plua.standard_streams";  // in the registry: {stdin, stdout, stderr}

}  // namespace

void track_streams(lua_State* lua) {
  lua_newtable(lua);
  lua_newtable(lua);
  lua_pushstring(lua, "k");
  lua_setfield(lua, -2, "__mode");
  lua_setmetatable(lua, -2);
  lua_setfield(lua, LUA_REGISTRYINDEX, kTable);

  lua_getglobal(lua, "io");
  for (const char* name : {"open", "popen", "tmpfile", "lines", "input", "output"}) {
    lua_getfield(lua, -1, name);
    lua_pushcclosure(lua, call_and_remember, 1);
    lua_setfield(lua, -2, name);
  }
  lua_newtable(lua);
  for (const char* name : {"stdin", "stdout", "stderr"}) {
    lua_getfield(lua, -2, name);
    lua_setfield(lua, -2, name);
  }
  lua_setfield(lua, LUA_REGISTRYINDEX, kStandard);
  lua_pop(lua, 1);
}

void reopen_streams(lua_State* lua) {
  lua_getfield(lua, LUA_REGISTRYINDEX, kTable);
  for (lua_pushnil(lua); lua_next(lua, -2) != 0; lua_pop(lua, 1)) {
    // The library's own sign of a closed file (liolib.c).
    auto* handle = static_cast<luaL_Stream*>(lua_touserdata(lua, -2));
    handle->closef = nullptr;
  }
  lua_pop(lua, 1);
  lua_getfield(lua, LUA_REGISTRYINDEX, kStandard);
  set_stream(lua, "stdin", stdin);
  set_stream(lua, "stdout", stdout);
  set_stream(lua, "stderr", stderr);
  lua_pop(lua, 1);
}

}  // namespace plua
