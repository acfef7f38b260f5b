# Fails the build if the restorer has an undefined symbol or a dynamic relocation: either would need a loader.
execute_process(COMMAND ${NM} --undefined-only ${FILE} OUTPUT_VARIABLE undefined RESULT_VARIABLE failed)
if(failed OR NOT undefined STREQUAL "")
  message(FATAL_ERROR "${FILE} has undefined symbols: ${undefined}")
endif()
execute_process(COMMAND ${READELF} --relocs ${FILE} OUTPUT_VARIABLE relocations RESULT_VARIABLE failed)
if(failed OR relocations MATCHES "R_X86_64")
  message(FATAL_ERROR "${FILE} has relocations: ${relocations}")
endif()
