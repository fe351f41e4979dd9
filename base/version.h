// SPDX-License-Identifier: Apache-2.0
// version: of compiler and runtime. CMakeLists.txt reads it here; tests/gpu/run builds the runtime without CMake.
#pragma once
#define TGF_VERSION "0.1.0"
