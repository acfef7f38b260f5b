# ckpt_flatbuffers(TARGET SCHEMA): an interface target that carries SCHEMA's generated header
# (object API included) and the include paths it needs.
find_program(FLATC flatc REQUIRED)

add_custom_target(generated_headers)

function(ckpt_flatbuffers target schema)
  get_filename_component(name ${schema} NAME_WE)
  set(out ${CMAKE_CURRENT_BINARY_DIR}/generated)
  set(header ${out}/${name}_generated.h)
  add_custom_command(
    OUTPUT ${header}
    COMMAND ${FLATC} --cpp --cpp-std c++17 --gen-object-api --scoped-enums --filename-suffix _generated
            -o ${out} ${CMAKE_CURRENT_SOURCE_DIR}/${schema}
    DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${schema}
    COMMENT "flatc ${schema}")
  add_custom_target(${target}_generate DEPENDS ${header})
  add_dependencies(generated_headers ${target}_generate)
  add_library(${target} INTERFACE)
  add_dependencies(${target} ${target}_generate)
  target_include_directories(${target} SYSTEM INTERFACE ${out})
endfunction()
