// SPDX-License-Identifier: Apache-2.0
// twins: the programs of examples/, built in C. Two forms each: one that reads like the text, call for line, and one as
// a C author would write a family of models (family_*.c). Each gives the IR of its text byte for byte but for
// locations.
#pragma once
#include "include/tgf/dsl.h"

#ifdef __cplusplus
extern "C" {
#endif

TgfProgram *bert_program(void);
TgfProgram *gpt1t_program(void);
TgfProgram *gpt2_program(void);
TgfProgram *gpt3_program(void);
TgfProgram *llama_program(void);
TgfProgram *moe_program(void);
TgfProgram *novel_program(void);

TgfProgram *bert_family(void);
TgfProgram *gpt1t_family(void);
TgfProgram *gpt2_family(void);
TgfProgram *gpt3_family(void);
TgfProgram *llama_family(void);
TgfProgram *moe_family(void);
TgfProgram *novel_family(void);

typedef struct Twin {
    const char *name; // of examples/NAME.tgf and tests/dsl/NAME.c
    TgfProgram *(*program)(void), *(*family)(void);
} Twin;
enum { TWINS = 7 };
extern const Twin twins[TWINS];

#ifdef __cplusplus
}
#endif
