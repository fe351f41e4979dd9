// SPDX-License-Identifier: Apache-2.0
#include "suite.h"

int main(void) { return comm_suite("comm_local", comm_local_make); }
