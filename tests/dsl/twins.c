// SPDX-License-Identifier: Apache-2.0
#include "tests/dsl/twins.h"

const Twin twins[TWINS] = {
    {"bert", bert_program, bert_family},    {"gpt1t", gpt1t_program, gpt1t_family}, {"gpt2", gpt2_program, gpt2_family},
    {"gpt3", gpt3_program, gpt3_family},    {"llama", llama_program, llama_family}, {"moe", moe_program, moe_family},
    {"novel", novel_program, novel_family},
};
