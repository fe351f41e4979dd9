# SPDX-License-Identifier: Apache-2.0
# Writes the bytes of one file, or of several one behind the other, as a C array:
# cmake -DFROM=std.tgf -DTO=std_tgf.c -DNAME=std_tgf -P embed.cmake
set(bytes "")
foreach(file IN LISTS FROM)
  file(READ ${file} more HEX)
  string(APPEND bytes "${more}")
endforeach()
string(LENGTH "${bytes}" digits)
math(EXPR size "${digits} / 2")
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${bytes}")
file(WRITE ${TO} "#include <stddef.h>\nextern const char ${NAME}[];\nextern const size_t ${NAME}_size;\nconst char ${NAME}[] = {${bytes}0};\nconst size_t ${NAME}_size = ${size};\n")
