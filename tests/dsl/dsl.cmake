# SPDX-License-Identifier: Apache-2.0
# Memory that ends: see test_memory.c.
foreach(function malloc calloc realloc free fopencookie fopen fclose arena_alloc)
  target_link_options(test_dsl_memory PRIVATE -Wl,--wrap=${function})
endforeach()
# And while it is compiled: test_exhausted.c.
target_link_options(test_dsl_exhausted PRIVATE -Wl,--wrap=arena_alloc)
