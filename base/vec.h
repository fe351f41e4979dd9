// SPDX-License-Identifier: Apache-2.0
// vec: a growable array in an arena. `Vec(int) v = {0}; vec_push(arena, &v, 3);` then v.at[0], v.n.
#pragma once
#include "base/arena.h"
#include <string.h>

#define Vec(T)                                                                                                         \
    struct {                                                                                                           \
        T *at;                                                                                                         \
        int n, cap;                                                                                                    \
    }

#define vec_reserve(arena, v, count)                                                                                   \
    do {                                                                                                               \
        if ((count) > (v)->cap) {                                                                                      \
            int vec_cap_ = (v)->cap ? (v)->cap * 2 : 8;                                                                \
            while (vec_cap_ < (count)) vec_cap_ *= 2;                                                                  \
            void *vec_new_ = arena_alloc((arena), sizeof(*(v)->at) * (size_t)vec_cap_);                                \
            if ((v)->n) memcpy(vec_new_, (v)->at, sizeof(*(v)->at) * (size_t)(v)->n);                                  \
            (v)->at = vec_new_;                                                                                        \
            (v)->cap = vec_cap_;                                                                                       \
        }                                                                                                              \
    } while (0)

#define vec_push(arena, v, ...)                                                                                        \
    do {                                                                                                               \
        vec_reserve((arena), (v), (v)->n + 1);                                                                         \
        (v)->at[(v)->n++] = (__VA_ARGS__);                                                                             \
    } while (0)
