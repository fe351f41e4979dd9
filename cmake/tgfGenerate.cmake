# SPDX-License-Identifier: Apache-2.0
# tgf_generate: models as sources of a target.
#
#   tgf_generate(TARGET app MODELS gpt2.tgf ... [NAME name] [STRATEGY name] [DEFINES layer=2 ...] [TARGET_CPU native] [CUDA sm_90a])
#
# Compiles each model by tgf::compiler into an object that becomes part of the target, which must be of this folder, and
# a header of the model's name (gpt2.h) that the target's sources may include. Compiled again when the .tgf, a file that
# it uses, or the compiler changes. Link tgf::runtime or tgf::runtime_shared beside it.
#   STRATEGY    of the model, by name; without it, one rank
#   DEFINES     axes with other extents than the model says
#   TARGET_CPU  a processor as LLVM names it; without it, the one that compiles
#   CUDA        the GPU's architecture; not with TARGET_CPU
#   NAME        of one model's object and header and of what they declare, instead of the file's and the model's: for
#               the same model twice in one program, in two layouts
cmake_policy(PUSH)
cmake_policy(VERSION 3.20...3.25) # depfiles by CMP0116
function(tgf_generate)
  cmake_parse_arguments(PARSE_ARGV 0 arg "" "TARGET;NAME;STRATEGY;TARGET_CPU;CUDA" "MODELS;DEFINES")
  if(arg_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "tgf_generate: no such argument: ${arg_UNPARSED_ARGUMENTS}")
  elseif(arg_KEYWORDS_MISSING_VALUES)
    message(FATAL_ERROR "tgf_generate: ${arg_KEYWORDS_MISSING_VALUES} without a value")
  elseif(NOT arg_TARGET OR NOT arg_MODELS)
    message(FATAL_ERROR "tgf_generate needs TARGET and MODELS")
  elseif(NOT TARGET ${arg_TARGET})
    message(FATAL_ERROR "tgf_generate: '${arg_TARGET}' is no target")
  elseif(arg_TARGET_CPU AND arg_CUDA)
    message(FATAL_ERROR "tgf_generate: TARGET_CPU names a processor, CUDA a GPU; give one")
  endif()
  list(LENGTH arg_MODELS models)
  if(DEFINED arg_NAME AND models GREATER 1)
    message(FATAL_ERROR "tgf_generate: NAME is for one model, MODELS has ${models}")
  elseif(DEFINED arg_NAME AND NOT arg_NAME MATCHES "^[A-Za-z][A-Za-z0-9_]*$")
    message(FATAL_ERROR "tgf_generate: NAME: '${arg_NAME}' is no name in C")
  endif()
  get_target_property(of ${arg_TARGET} SOURCE_DIR)
  if(NOT of STREQUAL CMAKE_CURRENT_SOURCE_DIR)
    message(FATAL_ERROR "tgf_generate: '${arg_TARGET}' is a target of ${of}; call tgf_generate there")
  endif()

  set(flags "")
  foreach(define IN LISTS arg_DEFINES)
    list(APPEND flags -D ${define})
  endforeach()
  if(DEFINED arg_NAME)
    list(APPEND flags --name ${arg_NAME})
  endif()
  if(arg_STRATEGY)
    list(APPEND flags --strategy=${arg_STRATEGY})
  endif()
  if(arg_TARGET_CPU)
    list(APPEND flags -mcpu=${arg_TARGET_CPU})
  elseif(arg_CUDA)
    list(APPEND flags --target=cuda:${arg_CUDA})
  endif()

  set(folder ${CMAKE_CURRENT_BINARY_DIR}/tgf/${arg_TARGET})
  file(MAKE_DIRECTORY ${folder})
  foreach(model IN LISTS arg_MODELS)
    if(NOT model MATCHES "\\.tgf$")
      message(FATAL_ERROR "tgf_generate: MODELS: '${model}' is no .tgf file")
    endif()
    get_filename_component(path ${model} ABSOLUTE)
    get_filename_component(name ${model} NAME_WLE)
    if(DEFINED arg_NAME)
      set(name ${arg_NAME})
    endif()
    get_target_property(before ${arg_TARGET} TGF_MODELS)
    if(name IN_LIST before)
      message(FATAL_ERROR "tgf_generate: '${arg_TARGET}' already has a model ${name}.tgf; give one of them a NAME")
    endif()
    set_property(TARGET ${arg_TARGET} APPEND PROPERTY TGF_MODELS ${name})
    set(object ${folder}/${name}.o)
    set(header ${folder}/${name}.h)
    add_custom_command(OUTPUT ${object} ${header}
      COMMAND tgf::compiler ${path} ${flags} -o ${object} --header ${header} -MF ${object}.d
      DEPENDS ${path} $<TARGET_FILE:tgf::compiler>
      DEPFILE ${object}.d COMMENT "Compiling model ${name}.tgf for ${arg_TARGET}" VERBATIM)
    set_source_files_properties(${object} PROPERTIES EXTERNAL_OBJECT TRUE GENERATED TRUE)
    target_sources(${arg_TARGET} PRIVATE ${object} ${header})
  endforeach()
  target_include_directories(${arg_TARGET} PRIVATE ${folder})
endfunction()
cmake_policy(POP)
