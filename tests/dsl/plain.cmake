# SPDX-License-Identifier: Apache-2.0
# The program in docs/embedded.md runs as it stands there.
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/docs/embedded.md)
file(READ ${CMAKE_SOURCE_DIR}/docs/embedded.md page)
string(FIND "${page}" "```c\n" begin)
math(EXPR begin "${begin} + 5")
string(SUBSTRING "${page}" ${begin} -1 page)
string(FIND "${page}" "\n```" end)
string(SUBSTRING "${page}" 0 ${end} page)
file(CONFIGURE OUTPUT embedded_page.c CONTENT "${page}\n" @ONLY)
add_executable(test_dsl_page ${CMAKE_CURRENT_BINARY_DIR}/embedded_page.c)
target_include_directories(test_dsl_page PRIVATE ${CMAKE_SOURCE_DIR}/include)
target_link_libraries(test_dsl_page PRIVATE tgf_embedded)
add_test(NAME dsl.page COMMAND test_dsl_page)

# test_plain.c once more, as C++17: the functions of dsl.h without macros are what C++ has.
set(plain_cpp ${CMAKE_CURRENT_BINARY_DIR}/plain_cpp.o)
add_custom_command(OUTPUT ${plain_cpp}
  COMMAND ${TGF_CXX} -x c++ -std=c++17 -Wall -Wextra -Wpedantic -Werror -I${CMAKE_SOURCE_DIR} -c ${CMAKE_CURRENT_LIST_DIR}/test_plain.c -o ${plain_cpp}
  DEPENDS ${CMAKE_CURRENT_LIST_DIR}/test_plain.c ${CMAKE_CURRENT_LIST_DIR}/twins.h ${CMAKE_SOURCE_DIR}/include/tgf/dsl.h
    ${CMAKE_SOURCE_DIR}/include/tgf/tgf.h)
add_executable(test_dsl_plain_cpp ${plain_cpp})
set_target_properties(test_dsl_plain_cpp PROPERTIES LINKER_LANGUAGE C)
target_link_libraries(test_dsl_plain_cpp PRIVATE helpers_dsl tgf_frontend tgf_passes tgf_codegen tgf_runtime)
add_test(NAME dsl.plain_cpp COMMAND test_dsl_plain_cpp WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
