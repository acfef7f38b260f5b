# Flags that every hosted target of the project shares; link `ckpt_flags` to get them.
add_library(ckpt_flags INTERFACE)
target_compile_options(ckpt_flags INTERFACE
  -Wall -Wextra -Wconversion -Wshadow $<$<COMPILE_LANGUAGE:CXX>:-Wnon-virtual-dtor>)
if(CMAKE_UNITY_BUILD)
  # Which sees the anonymous namespace of one source in another.
  target_compile_options(ckpt_flags INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Wno-subobject-linkage>)
endif()
if(CKPT_WERROR)
  target_compile_options(ckpt_flags INTERFACE -Werror)
endif()
if(CKPT_SANITIZE)
  # AddressSanitizer finds null pointers and accesses outside of objects anyway; checking them twice takes long to compile.
  target_compile_options(ckpt_flags INTERFACE -fsanitize=address,undefined -fno-sanitize-recover=undefined
    -fno-sanitize=null,object-size,vptr)
  target_link_options(ckpt_flags INTERFACE -fsanitize=address,undefined)
endif()
if(CKPT_LIBFUZZER)
  target_compile_options(ckpt_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()
if(CKPT_TSAN)
  target_compile_options(ckpt_flags INTERFACE -fsanitize=thread)
  target_link_options(ckpt_flags INTERFACE -fsanitize=thread)
endif()
