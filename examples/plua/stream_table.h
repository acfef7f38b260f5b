// Keeps track of Lua's file handles, which refer to streams of the C library outside of the heap.
#pragma once

#include <lua.hpp>

namespace plua {

// For a new state: from now on every handle that the io library gives out is known.
void track_streams(lua_State* lua);

// For a state from an earlier process: its files are closed, its standard streams are those of this process.
void reopen_streams(lua_State* lua);

}  // namespace plua
