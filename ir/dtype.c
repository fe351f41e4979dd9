// SPDX-License-Identifier: Apache-2.0
#include "ir/dtype.h"
#include <string.h>

static const struct {
    const char *name;
    int bytes;
} table[DT_COUNT] = {{"bool", 1}, {"i32", 4}, {"f32", 4}, {"f64", 8}, {"bf16", 2}, {"f16", 2}};

const char *dtype_name(DType t) { return table[t].name; }
int dtype_bytes(DType t) { return table[t].bytes; }

bool dtype_parse(const char *name, DType *out_dtype) {
    for (int i = 0; i < DT_COUNT; i++)
        if (!strcmp(table[i].name, name)) {
            *out_dtype = (DType)i;
            return true;
        }
    return false;
}
