// SPDX-License-Identifier: Apache-2.0
#include "ir/pipeline.h"

Section section_of(const Node *leaf) {
    switch (leaf->op) {
    case OP_buffer: return (Section)leaf->attr.i;
    case OP_param: return SECTION_CHUNK;
    case OP_state: return leaf->attr.s2 && *leaf->attr.s2 ? SECTION_CHUNK : SECTION_RANK;
    case OP_output: return leaf->args[0]->type.rank ? SECTION_CHUNK : SECTION_RANK;
    default: return leaf->results[0]->type.rank ? SECTION_CHUNK : SECTION_RANK;
    }
}
