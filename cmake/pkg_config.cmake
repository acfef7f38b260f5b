# ckpt_install_pkg_config(NAME): installs NAME.pc, from NAME.pc.in beside the caller. @pc_prefix@ is where the tree begins,
# relative to the installed file, so that the tree can be moved.
function(ckpt_install_pkg_config name)
  file(RELATIVE_PATH pc_prefix ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
  configure_file(${name}.pc.in ${CMAKE_CURRENT_BINARY_DIR}/${name}.pc @ONLY)
  install(FILES ${CMAKE_CURRENT_BINARY_DIR}/${name}.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endfunction()
