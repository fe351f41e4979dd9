# SPDX-License-Identifier: Apache-2.0
# package: what `cmake --install` lays out, for find_package(tgf CONFIG) and for pkg-config. Nothing of it names a folder
# of this machine: the installed tree may be moved. Included by the top folder's CMakeLists.txt.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

# A library as users link it, tgf_NAME_static and tgf_NAME_shared: an archive and a shared library from the objects of
# PARTS. The archive's are made one object in which all names but tgf_* are local: a program may have an arena_new of its
# own.
find_program(TGF_OBJCOPY NAMES objcopy ${CMAKE_OBJCOPY} REQUIRED) # GNU's first: LLVM's breaks clang's sanitized objects
function(tgf_package_library name exports)
  set(parts ${ARGN})
  list(TRANSFORM parts REPLACE "(.+)" "$<TARGET_OBJECTS:\\1>" OUTPUT_VARIABLE objects)
  set(object ${CMAKE_BINARY_DIR}/package/tgf_${name}.o)
  add_custom_command(OUTPUT ${object}
    COMMAND ${CMAKE_COMMAND} -E make_directory ${CMAKE_BINARY_DIR}/package
    COMMAND ${CMAKE_LINKER} -r -o ${object}.all ${objects}
    COMMAND ${TGF_OBJCOPY} --wildcard --keep-global-symbol=tgf_* ${object}.all ${object}
    COMMAND ${CMAKE_COMMAND} -E rm ${object}.all
    DEPENDS ${parts} COMMAND_EXPAND_LISTS VERBATIM)
  add_library(tgf_${name}_static STATIC ${object})
  add_library(tgf_${name}_shared SHARED ${objects})
  foreach(kind static shared)
    set_target_properties(tgf_${name}_${kind} PROPERTIES OUTPUT_NAME tgf_${name} LINKER_LANGUAGE C
      ARCHIVE_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/package LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/package)
    target_include_directories(tgf_${name}_${kind} INTERFACE $<BUILD_INTERFACE:${CMAKE_CURRENT_SOURCE_DIR}/include>
      $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
    target_link_libraries(tgf_${name}_${kind} PRIVATE m Threads::Threads ${CMAKE_DL_LIBS})
  endforeach()
  # Before 1.0 a minor version may change the interface, and so the soname has it.
  set_target_properties(tgf_${name}_shared PROPERTIES VERSION ${PROJECT_VERSION}
    SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR} LINK_DEPENDS ${exports})
  target_link_options(tgf_${name}_shared PRIVATE -Wl,--version-script=${exports} -Wl,--as-needed)
endfunction()

set(tgf_exports ${CMAKE_CURRENT_SOURCE_DIR}/cmake/tgf_runtime.map)
tgf_package_library(runtime ${tgf_exports} tgf_runtime tgf_base)
# The embedded language: the compiler and the runtime. LLVM stays a shared library.
tgf_package_library(dsl ${CMAKE_CURRENT_SOURCE_DIR}/cmake/tgf_dsl.map
  tgf_embedded tgf_frontend tgf_passes tgf_codegen tgf_ir tgf_runtime tgf_base)
foreach(kind static shared)
  target_link_directories(tgf_dsl_${kind} PUBLIC $<BUILD_INTERFACE:${LLVM_LIB}>)
  target_link_libraries(tgf_dsl_${kind} PRIVATE LLVM-19)
endforeach()

if(TARGET tgf_mpi)
  set_target_properties(tgf_mpi PROPERTIES LINK_DEPENDS ${tgf_exports})
  target_link_options(tgf_mpi PRIVATE -Wl,--version-script=${tgf_exports})
endif()

# The names users know, also for a project that takes this one in by add_subdirectory.
set_target_properties(tgf_runtime_static PROPERTIES EXPORT_NAME runtime)
set_target_properties(tgf_runtime_shared PROPERTIES EXPORT_NAME runtime_shared)
set_target_properties(tgfc PROPERTIES EXPORT_NAME compiler)
set_target_properties(tgf_dsl_static PROPERTIES EXPORT_NAME dsl)
set_target_properties(tgf_dsl_shared PROPERTIES EXPORT_NAME dsl_shared)
add_library(tgf::dsl ALIAS tgf_dsl_static)
add_library(tgf::dsl_shared ALIAS tgf_dsl_shared)
add_library(tgf::runtime ALIAS tgf_runtime_static)
add_library(tgf::runtime_shared ALIAS tgf_runtime_shared)
add_executable(tgf::compiler ALIAS tgfc)
include(${CMAKE_CURRENT_SOURCE_DIR}/cmake/tgfGenerate.cmake)

set(tgf_cmake_folder ${CMAKE_INSTALL_LIBDIR}/cmake/tgf)
install(TARGETS tgfc tgf_runtime_static tgf_runtime_shared tgf_dsl_static tgf_dsl_shared EXPORT tgfTargets
  RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(TARGETS tgf RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
if(TARGET tgf_mpi)
  install(TARGETS tgf_mpi LIBRARY DESTINATION lib/tgf) # beside bin, where runtime/launch.c looks
endif()
install(DIRECTORY include/tgf DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")
install(FILES LICENSE README.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(DIRECTORY docs/ DESTINATION ${CMAKE_INSTALL_DOCDIR}/docs FILES_MATCHING PATTERN "*.md" PATTERN "*.svg")
install(DIRECTORY examples DESTINATION ${CMAKE_INSTALL_DOCDIR} FILES_MATCHING PATTERN "*.tgf")

install(EXPORT tgfTargets NAMESPACE tgf:: DESTINATION ${tgf_cmake_folder})
configure_package_config_file(cmake/tgfConfig.cmake.in ${CMAKE_BINARY_DIR}/package/tgfConfig.cmake
  INSTALL_DESTINATION ${tgf_cmake_folder} NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file(${CMAKE_BINARY_DIR}/package/tgfConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/package/tgfConfig.cmake ${CMAKE_BINARY_DIR}/package/tgfConfigVersion.cmake
  cmake/tgfGenerate.cmake DESTINATION ${tgf_cmake_folder})

if(IS_ABSOLUTE "${CMAKE_INSTALL_LIBDIR}" OR IS_ABSOLUTE "${CMAKE_INSTALL_BINDIR}" OR IS_ABSOLUTE "${CMAKE_INSTALL_INCLUDEDIR}")
  message(FATAL_ERROR "CMAKE_INSTALL_LIBDIR, BINDIR and INCLUDEDIR are relative to the prefix")
endif()
file(RELATIVE_PATH tgf_pc_prefix /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
string(REGEX REPLACE "/$" "" tgf_pc_prefix "${tgf_pc_prefix}")
foreach(name tgf tgf-dsl)
  configure_file(cmake/${name}.pc.in ${CMAKE_BINARY_DIR}/package/${name}.pc @ONLY)
endforeach()
install(FILES ${CMAKE_BINARY_DIR}/package/tgf.pc ${CMAKE_BINARY_DIR}/package/tgf-dsl.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
