# SPDX-License-Identifier: Apache-2.0
# package: what `cmake --install` lays out, for find_package(tgf CONFIG) and for pkg-config. Nothing of it names a folder
# of this machine: the installed tree may be moved. Included by the top folder's CMakeLists.txt.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

# The runtime as users link it, with base/ inside: an archive and a shared library from the same objects. The archive's
# are made one object in which all names but tgf_* are local: a program may have an arena_new of its own.
set(tgf_objects $<TARGET_OBJECTS:tgf_runtime> $<TARGET_OBJECTS:tgf_base>)
find_program(TGF_OBJCOPY NAMES objcopy ${CMAKE_OBJCOPY} REQUIRED) # GNU's first: LLVM's breaks clang's sanitized objects
set(tgf_object ${CMAKE_BINARY_DIR}/package/tgf_runtime.o)
add_custom_command(OUTPUT ${tgf_object}
  COMMAND ${CMAKE_COMMAND} -E make_directory ${CMAKE_BINARY_DIR}/package
  COMMAND ${CMAKE_LINKER} -r -o ${tgf_object}.all ${tgf_objects}
  COMMAND ${TGF_OBJCOPY} --wildcard --keep-global-symbol=tgf_* ${tgf_object}.all ${tgf_object}
  COMMAND ${CMAKE_COMMAND} -E rm ${tgf_object}.all
  DEPENDS tgf_runtime tgf_base COMMAND_EXPAND_LISTS VERBATIM)
add_library(tgf_runtime_static STATIC ${tgf_object})
add_library(tgf_runtime_shared SHARED ${tgf_objects})
foreach(name static shared)
  set_target_properties(tgf_runtime_${name} PROPERTIES OUTPUT_NAME tgf_runtime LINKER_LANGUAGE C
    ARCHIVE_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/package LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/package)
  target_include_directories(tgf_runtime_${name} INTERFACE $<BUILD_INTERFACE:${CMAKE_CURRENT_SOURCE_DIR}/include>
    $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  target_link_libraries(tgf_runtime_${name} PRIVATE m Threads::Threads ${CMAKE_DL_LIBS})
endforeach()
set(tgf_exports ${CMAKE_CURRENT_SOURCE_DIR}/cmake/tgf_runtime.map)
# Before 1.0 a minor version may change the interface, and so the soname has it.
set_target_properties(tgf_runtime_shared PROPERTIES VERSION ${PROJECT_VERSION}
  SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR} LINK_DEPENDS ${tgf_exports})
target_link_options(tgf_runtime_shared PRIVATE -Wl,--version-script=${tgf_exports} -Wl,--as-needed)
if(TARGET tgf_mpi)
  set_target_properties(tgf_mpi PROPERTIES LINK_DEPENDS ${tgf_exports})
  target_link_options(tgf_mpi PRIVATE -Wl,--version-script=${tgf_exports})
endif()

# The embedded language: the same with the compiler inside. LLVM stays a shared library.
set(tgf_dsl_objects "")
foreach(part tgf_embedded tgf_frontend tgf_passes tgf_codegen tgf_ir tgf_runtime tgf_base)
  list(APPEND tgf_dsl_objects $<TARGET_OBJECTS:${part}>)
endforeach()
set(tgf_dsl_exports ${CMAKE_CURRENT_SOURCE_DIR}/cmake/tgf_dsl.map)
foreach(kind STATIC SHARED)
  string(TOLOWER ${kind} name)
  add_library(tgf_dsl_${name} ${kind} ${tgf_dsl_objects})
  set_target_properties(tgf_dsl_${name} PROPERTIES OUTPUT_NAME tgf_dsl LINKER_LANGUAGE C
    ARCHIVE_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/package LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/package)
  target_include_directories(tgf_dsl_${name} INTERFACE $<BUILD_INTERFACE:${CMAKE_CURRENT_SOURCE_DIR}/include>
    $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  target_link_directories(tgf_dsl_${name} PUBLIC $<BUILD_INTERFACE:${LLVM_LIB}>)
  target_link_libraries(tgf_dsl_${name} PRIVATE LLVM-19 m Threads::Threads ${CMAKE_DL_LIBS})
endforeach()
set_target_properties(tgf_dsl_shared PROPERTIES VERSION ${PROJECT_VERSION}
  SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR} LINK_DEPENDS ${tgf_dsl_exports})
target_link_options(tgf_dsl_shared PRIVATE -Wl,--version-script=${tgf_dsl_exports} -Wl,--as-needed)

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
