// What the program meant by its calls, where the kernel forgets it: written down by the functions that stand
// in front of those of libc (interposed_*.cpp), read by the supervisor when it makes a checkpoint.
//
// Rules for these functions and for those in front of libc's:
//  1. They may be called at any time: before the constructors have run, in a child of vfork(), with signals
//     blocked, by an allocator. So: no malloc, no locks, no thread-local memory, errno as it was.
//  2. Whatever they write down is a hint. The program may have avoided them by raw system calls, and two
//  threads
//     may write at once; the supervisor checks each hint against what the kernel says.
//  3. Only the process that takes part writes. In others its table is not read, and in a child of vfork() it
//  is
//     the parent's.
#pragma once

#include <netdb.h>
#include <stddef.h>
#include <sys/socket.h>

#include "agent/agent_table.h"

namespace ckpt::agent {

// `caller`: the address that the call returns to, by which the supervisor finds the library.
void note_opened(int descriptor, const char* path, const void* caller);
void note_socket_call(int descriptor, IntentCall call, const void* caller);
void note_connected(int descriptor, const sockaddr* peer, socklen_t size, const void* caller);
void note_resolved(const char* host, const addrinfo* found);
void note_closed(int descriptor);
void note_reserved(const void* start, size_t size_bytes, const void* caller);

}  // namespace ckpt::agent
