// SPDX-License-Identifier: Apache-2.0
#include "frontend/builtins.h"
#include <string.h>

static const Builtin table[] = {
#define MAP_1 "e"
#define MAP_2 "ee"
#define MAP_3 "eee"
#define MAP(name, n, ...) {#name, BUILTIN_MAP, OP_##name, MAP_##n, n, "", #name},
#include "ir/ops.def"
    {"sum", BUILTIN_SUM, 0, "ea*", 1, "", "sum(x, axis, ...)"},
    {"max", BUILTIN_MAX, 0, "ea*", 1, "", "max(x, axis, ...)"},
    {"min", BUILTIN_MIN, 0, "e*", 1, "", "min(number, ...)"},
    {"mean", BUILTIN_MEAN, 0, "ea*", 1, "", "mean(x, axis, ...)"},
    {"dot", BUILTIN_DOT, 0, "eea*", 3, "", "dot(x, y, axis, ...)"},
    {"take", BUILTIN_TAKE, 0, "eea", 3, "least ", "take(table, ids, axis)"},
    {"scatter", BUILTIN_SCATTER, 0, "eeaa*", 3, "", "scatter(ids, updates, axis, summed, ...)"},
    {"cumsum", BUILTIN_CUMSUM, 0, "ea", 2, "", "cumsum(x, axis)"},
    {"rank", BUILTIN_RANK, 0, "ea", 2, "", "rank(x, axis)"},
    {"index", BUILTIN_INDEX, 0, "a", 1, "", "index(axis)"},
    {"unstack", BUILTIN_UNSTACK, 0, "ea", 2, "", "unstack(x, axis)"},
    {"stack", BUILTIN_STACK, 0, "e*", 2, "before ", "stack(x, y, ..., axis)"},
    {"concat", BUILTIN_CONCAT, 0, "e*", 2, "", "concat(x, y, ..., axis)"},
    {"slice", BUILTIN_SLICE, 0, "eaa", 2, "at ", "slice(x, axis, part, at = n)"},
    {"random", BUILTIN_RANDOM, 0, "e*", 1, "", "random(axis, ...)"},
    {"attend", BUILTIN_ATTEND, 0, "eeeae", 4, "scale mask ",
     "attend(q, k, v, feature, over key, scale = s, causal(query, key), mask = m)"},
};

static const Builtin cast = {"cast", BUILTIN_CAST, 0, "et", 2, "", "cast(x, f32)"};

const Builtin *builtin_at(int i) {
    if (i < 0 || i >= (int)(sizeof table / sizeof *table)) return NULL;
    return table[i].kind == BUILTIN_MAP && table[i].op == OP_cast ? &cast : &table[i];
}

const Builtin *builtin_find(const char *name) {
    for (int i = 0; builtin_at(i); i++)
        if (!strcmp(builtin_at(i)->name, name)) return builtin_at(i);
    return NULL;
}

int builtin_most(const Builtin *b) { return strchr(b->pattern, '*') ? -1 : (int)strlen(b->pattern); }

bool builtin_has_key(const Builtin *b, const char *key) {
    size_t n = strlen(key);
    for (const char *k = b->keys; *k; k = strchr(k, ' ') + 1)
        if (!strncmp(k, key, n) && k[n] == ' ') return true;
    return false;
}
