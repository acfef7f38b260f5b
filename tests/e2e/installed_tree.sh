#!/usr/bin/env bash
# An installed tree works wherever it is moved, and programs that take part are built against it by pkg-config and by
# CMake's find_package. So are programs with a persistent heap, in C and C++.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

build=$(dirname "$CKPT_BIN")
[[ -e $build/CMakeCache.txt ]] || skip "$CKPT_BIN is not in a build tree"
[[ -w $build ]] || skip "the build tree is not this user's, which cmake --install needs"
for tool in cmake pkg-config cc c++; do command -v "$tool" >/dev/null || skip "$tool is not installed"; done

cmake --install "$build" --prefix "$WORK/first" >install.log 2>&1 || fail "cmake --install: $(tail -n 1 install.log)"
mv first installed
installed=$WORK/installed
library=$(dirname "$(find "$installed" -name 'libckpt.so' | head -n 1)")

cat >takes_part.c <<'SOURCE'
#include <ckpt/ckpt.h>
#include <stdio.h>

int main(void) {
  printf("%s\n", ckpt_checkpoint(CKPT_DURABLE) < 0 ? "alone" : "taken");
  return 0;
}
SOURCE
PKG_CONFIG_PATH=$library/pkgconfig
export PKG_CONFIG_PATH
read -ra flags <<<"$(pkg-config --cflags --libs ckpt)"
cc takes_part.c "${flags[@]}" -Wl,-rpath,"$library" -o by_pkg_config

mkdir project
cat >project/CMakeLists.txt <<'PROJECT'
cmake_minimum_required(VERSION 3.20)
project(takes_part LANGUAGES C)
find_package(ckpt REQUIRED)
add_executable(by_cmake ../takes_part.c)
target_link_libraries(by_cmake PRIVATE ckpt::ckpt)
add_executable(by_cmake_static ../takes_part.c)
target_link_libraries(by_cmake_static PRIVATE ckpt::ckpt_static)
PROJECT
cmake -S project -B project/build -DCMAKE_PREFIX_PATH="$installed" >cmake.log 2>&1 || fail "find_package: $(cat cmake.log)"
cmake --build project/build >cmake.log 2>&1 || fail "building with ckpt::ckpt: $(cat cmake.log)"

for program in ./by_pkg_config project/build/by_cmake project/build/by_cmake_static; do
  expect_eq "$program without ckptrun" alone "$("$program" 2>err.alone)"
  CKPT_BIN=$installed/bin start_run --name "${program##*/}" -- "$program"
  expect_exit 0
  expect_eq "$program under the installed ckptrun" taken "$(cat "$OUT")"
  CKPT_BIN=$installed/bin recover "${program##*/}@1"
  expect_exit 0
  expect_eq "$program recovered" taken "$(tail -n 1 "$OUT")"
done

cat >heap.c <<'SOURCE'
#include <stdio.h>
#include <vmheap/vmheap.h>

int main(int argc, char** argv) {
  vmheap* heap = argc == 2 ? vmheap_open(argv[1], NULL) : NULL;
  if (heap == NULL) return 1;
  int* count = vmheap_root(heap, "count");
  if (count == NULL) {
    count = vmheap_allocate(heap, sizeof *count);
    *count = 0;
    if (vmheap_set_root(heap, "count", count) != 0) return 1;
  }
  printf("%d\n", ++*count);
  int status = vmheap_commit(heap) == 0;
  vmheap_close(heap);
  return status;
}
SOURCE
cat >heap.cpp <<'SOURCE'
#include <iostream>
#include <vmheap/commit_policy.h>
#include <vmheap/heap.h>
#include <vmheap/lines.h>

int main(int argc, char** argv) try {
  auto heap = ckpt::vmheap::Heap::open(argv[argc - 1]);
  std::cout << ++*static_cast<int*>(heap->root("count")) << '\n';
  ckpt::vmheap::CommitPolicy policy(*heap, {.when_idle = true});
  if (!policy.idle() || heap->wait_for_commit() == 0) return 1;
  ckpt::vmheap::Heap::open("/nowhere");
  return 1;
} catch (const ckpt::Error& error) {
  std::cout << "refused " << error.code() << '\n';
}
SOURCE
read -ra flags <<<"$(pkg-config --cflags --libs vmheap)"
cc -std=c11 -Wall -Wextra -pedantic -Werror heap.c "${flags[@]}" -Wl,-rpath,"$library" -o heap_in_c
cat >project/CMakeLists.txt <<'PROJECT'
cmake_minimum_required(VERSION 3.20)
project(has_heap LANGUAGES CXX)
find_package(ckpt REQUIRED)
add_executable(heap_by_cmake ../heap.cpp)
target_link_libraries(heap_by_cmake PRIVATE ckpt::vmheap)
PROJECT
rm -r project/build
cmake -S project -B project/build -DCMAKE_PREFIX_PATH="$installed" >cmake.log 2>&1 || fail "find_package: $(cat cmake.log)"
cmake --build project/build >cmake.log 2>&1 || fail "building with ckpt::vmheap: $(cat cmake.log)"
expect_eq "the heap's number" 1 "$(./heap_in_c here.heap)"
expect_eq "the heap's number" 2 "$(./heap_in_c here.heap)"
expect_eq "the heap's number in C++" "3 refused 2" "$(project/build/heap_by_cmake here.heap | xargs)"
expect_eq "the heap's number" 4 "$(./heap_in_c here.heap)"
