# SPDX-License-Identifier: Apache-2.0
# What makes the kit for a machine with a GPU (gpu_kit, see prepare), and what runs it there (gpu_runner, gpu_launch; there `run`
# builds them with a C compiler alone).
set(gpu ${CMAKE_CURRENT_LIST_DIR})
set(tools ${CMAKE_SOURCE_DIR}/tools)
file(GLOB gpu_kit_sources CONFIGURE_DEPENDS ${gpu}/kit*.c ${gpu}/../ops/case*.c ${tools}/common_*.c)
list(FILTER gpu_kit_sources EXCLUDE REGEX "common_(man|options|draw[a-z_]*|machine|events)[.]c$")
set(gpu_steps ${tools}/tgf_snapshot.c ${tools}/tgf_spread.c)
add_executable(gpu_kit ${gpu_kit_sources} ${gpu_steps} ${tools}/tgf_random.c)
target_link_libraries(gpu_kit PRIVATE tgf_frontend tgf_passes tgf_codegen tgf_runtime)
add_executable(gpu_runner ${gpu}/runner.c ${gpu}/kit_file.c ${gpu_steps})
target_link_libraries(gpu_runner PRIVATE tgf_runtime)
add_library(gpu_launch SHARED ${gpu}/launch.c ${gpu}/kit_file.c)
target_link_libraries(gpu_launch PRIVATE tgf_runtime)
