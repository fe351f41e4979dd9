// SPDX-License-Identifier: Apache-2.0
// dsl_ir: the IR of a .tgf text, for comparison with what the builder made. Apart from the tests: dsl.h and the
// compiler's headers both have an Axis and a Tensor.
#pragma once

// The IR before the first pass, without locations; messages when it does not compile. `strategy` may be NULL; `path`
// is shown in messages, and where files are used from. malloc's.
char *ir_of_text(const char *path, const char *text, const char *strategy);
// The same of a program that was built.
struct TgfProgram;
char *ir_of_program(struct TgfProgram *p, const char *strategy);
// What function eval of a text without inputs and parameters computes, by the reference interpreter; NaN after a
// mistake.
double loss_of_text(const char *text);
