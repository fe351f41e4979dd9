// SPDX-License-Identifier: Apache-2.0
// A table by address, of 16 bytes an entry, with what happened to each byte: nothing, read by one block, by several, or
// written by one.
#include "sim_owner.h"
#include <stdlib.h>
#include <string.h>

enum { GRANULE = 16, SEVERAL = 1, FIRST_BITS = 12 };

typedef struct Owner {
    uintptr_t granule;
    uint32_t launch;         // the entry is of an earlier one: unused
    uint32_t state[GRANULE]; // 0: untouched; SEVERAL; else 2 * (block + 1) + is it written
} Owner;

struct SimOwners {
    Owner *entry;
    int bits;
    size_t used;
    uint32_t launch;
    Owner *last;
};

SimOwners *owners_make(void) {
    SimOwners *o = calloc(1, sizeof *o);
    if (!o) return NULL;
    o->bits = FIRST_BITS;
    o->launch = 1;
    o->entry = calloc((size_t)1 << o->bits, sizeof *o->entry);
    if (o->entry) return o;
    free(o);
    return NULL;
}

void owners_free(SimOwners *o) {
    if (o) free(o->entry);
    free(o);
}

void owners_forget(SimOwners *o) {
    if (!++o->launch) { // once round: nothing may look new
        memset(o->entry, 0, sizeof *o->entry << o->bits);
        o->launch = 1;
    }
    o->used = 0;
    o->last = NULL;
}

static Owner *find(SimOwners *o, uintptr_t granule) {
    size_t mask = ((size_t)1 << o->bits) - 1;
    size_t at = (size_t)(granule * 0x9E3779B97F4A7C15u >> (64 - o->bits));
    while (o->entry[at].launch == o->launch && o->entry[at].granule != granule) at = (at + 1) & mask;
    return &o->entry[at];
}

static void grow(SimOwners *o) {
    Owner *old = o->entry;
    size_t n = (size_t)1 << o->bits++;
    o->entry = calloc(2 * n, sizeof *o->entry);
    if (!o->entry) abort();
    for (size_t i = 0; i < n; i++)
        if (old[i].launch == o->launch) *find(o, old[i].granule) = old[i];
    free(old);
    o->last = NULL;
}

static Owner *owner_of(SimOwners *o, uintptr_t granule) {
    if (o->last && o->last->granule == granule) return o->last;
    Owner *e = find(o, granule);
    if (e->launch != o->launch) {
        if (2 * ++o->used > (size_t)1 << o->bits) {
            grow(o);
            e = find(o, granule);
        }
        memset(e, 0, sizeof *e);
        e->granule = granule;
        e->launch = o->launch;
    }
    return o->last = e;
}

bool owners_touch(SimOwners *o, uintptr_t at, size_t bytes, bool write, uint32_t block, int64_t *out_other) {
    uint32_t mine = 2 * (block + 1);
    for (size_t i = 0; i < bytes;) {
        Owner *e = owner_of(o, (at + i) / GRANULE);
        for (size_t b = (at + i) % GRANULE; b < GRANULE && i < bytes; b++, i++) {
            uint32_t *s = &e->state[b];
            if ((*s & ~1u) == mine || !*s) *s |= mine | write;
            else if (!write && (*s == SEVERAL || !(*s & 1))) *s = SEVERAL;
            else {
                *out_other = *s == SEVERAL ? -1 : (int64_t)(*s / 2) - 1;
                return false;
            }
        }
    }
    return true;
}
