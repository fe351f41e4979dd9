# SPDX-License-Identifier: Apache-2.0
# Manual pages (BUILD/man) and the shells' completion (BUILD/completion), as the tools themselves print them. Included:
# the target `manpages`, a part of all, and where they are installed. As a script: writes them,
# cmake -DTGF=... -DTGFC=... -DTO=BUILD -P manpages.cmake
if(CMAKE_SCRIPT_MODE_FILE)
  function(write_form name) # TOOL WORDS... > NAME
    execute_process(COMMAND ${ARGN} OUTPUT_FILE ${TO}/${name} COMMAND_ERROR_IS_FATAL ANY)
  endfunction()
  file(REMOVE_RECURSE ${TO}/man ${TO}/completion)
  file(MAKE_DIRECTORY ${TO}/man ${TO}/completion)
  foreach(tool tgf tgfc)
    string(TOUPPER ${tool} program)
    write_form(man/${tool}.1 ${${program}} --help=man)
    write_form(completion/${tool}.bash ${${program}} --help=bash)
    write_form(completion/_${tool} ${${program}} --help=zsh)
  endforeach()
  execute_process(COMMAND ${TGF} --help=commands OUTPUT_VARIABLE commands OUTPUT_STRIP_TRAILING_WHITESPACE
    COMMAND_ERROR_IS_FATAL ANY)
  string(REPLACE "\n" ";" commands "${commands}")
  foreach(command IN LISTS commands)
    write_form(man/tgf-${command}.1 ${TGF} ${command} --help=man)
  endforeach()
  return()
endif()

include(GNUInstallDirs)
add_custom_command(OUTPUT ${CMAKE_BINARY_DIR}/manpages.stamp
  COMMAND ${CMAKE_COMMAND} -DTGF=$<TARGET_FILE:tgf> -DTGFC=$<TARGET_FILE:tgfc> -DTO=${CMAKE_BINARY_DIR}
    -P ${CMAKE_SOURCE_DIR}/cmake/manpages.cmake
  COMMAND ${CMAKE_COMMAND} -E touch ${CMAKE_BINARY_DIR}/manpages.stamp
  DEPENDS tgf tgfc cmake/manpages.cmake VERBATIM)
add_custom_target(manpages ALL DEPENDS ${CMAKE_BINARY_DIR}/manpages.stamp)
install(DIRECTORY ${CMAKE_BINARY_DIR}/man/ DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
foreach(tool tgf tgfc)
  install(FILES ${CMAKE_BINARY_DIR}/completion/${tool}.bash RENAME ${tool}
    DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
  install(FILES ${CMAKE_BINARY_DIR}/completion/_${tool} DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions)
endforeach()
