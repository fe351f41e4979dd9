// SPDX-License-Identifier: Apache-2.0
// Memory of a device and pinned memory of the host: filled with NaNs when made, and for every 16 bytes the last ops
// that touched them, by byte.
#include "sim_world.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { GRANULE = 16, TOUCHES = 6, PAGE = 4096, FRESH = 0xff, FREED = 0xfd };

typedef struct Touch { // stamp 0: unused
    uint32_t stamp;
    uint8_t lane, write;
    uint16_t bytes; // which of the granule
} Touch;
typedef struct Granule {
    Touch touch[TOUCHES];
} Granule;

static size_t shadow_bytes(size_t bytes) { return (bytes / GRANULE + 2) * sizeof(Granule); }

static char *pages(size_t bytes) {
    char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

char *memory_make(Context *c, size_t bytes, bool host) {
    size_t most = (size_t)world_number("TGF_CUDASIM_MEMORY_MIB", 16384) << 20;
    if (!bytes || bytes > most || (!host && c->used + bytes > most)) return NULL;
    Allocation *a = calloc(1, sizeof *a);
    char *p = pages(bytes + PAGE);
    Granule *shadow = (Granule *)pages(shadow_bytes(bytes));
    if (!a || !p || !shadow) abort();
    memset(p, FRESH, bytes);
    *a = (Allocation){(uintptr_t)p, bytes, host, c, shadow};
    if (c->nallocations == c->allocations_cap) {
        c->allocations_cap = c->allocations_cap ? 2 * c->allocations_cap : 16;
        c->allocation = realloc(c->allocation, (size_t)c->allocations_cap * sizeof *c->allocation);
        if (!c->allocation) abort();
    }
    int at = c->nallocations++;
    for (; at > 0 && c->allocation[at - 1]->at > a->at; at--) c->allocation[at] = c->allocation[at - 1];
    c->allocation[at] = a;
    if (!host) c->used += bytes;
    return p;
}

bool memory_free(Context *c, uintptr_t at, bool host) {
    for (int i = 0; i < c->nallocations; i++) {
        Allocation *a = c->allocation[i];
        if (a->at != at || a->host != host) continue;
        memset((void *)at, FREED, a->bytes);
        munmap((void *)at, a->bytes + PAGE);
        munmap(a->shadow, shadow_bytes(a->bytes));
        if (!host) c->used -= a->bytes;
        free(a);
        for (c->nallocations--; i < c->nallocations; i++) c->allocation[i] = c->allocation[i + 1];
        return true;
    }
    return false;
}

static int find(const Context *c, uintptr_t at) { // -1: none
    int low = 0, high = c->nallocations;
    while (low < high) {
        int middle = (low + high) / 2;
        if (c->allocation[middle]->at <= at) low = middle + 1;
        else high = middle;
    }
    return low && at - c->allocation[low - 1]->at < c->allocation[low - 1]->bytes ? low - 1 : -1;
}

const Allocation *memory_find(const Context *c, uintptr_t at) {
    int i = find(c, at);
    return i < 0 ? NULL : c->allocation[i];
}

// By whoever runs an op of it: remembers what was found last.
static const Allocation *find_running(Context *c, uintptr_t at) {
    int last = c->last_allocation;
    if (last >= c->nallocations || at - c->allocation[last]->at >= c->allocation[last]->bytes) last = find(c, at);
    if (last < 0) return NULL;
    c->last_allocation = last;
    return c->allocation[last];
}

bool memory_is_pinned(uintptr_t at, size_t bytes) {
    for (int d = 0; d < world_devices(); d++) {
        const Allocation *a = memory_find(world_device(d), at);
        if (a && a->host) return bytes <= a->bytes - (at - a->at);
    }
    return false;
}

// 0: in order; else the stamp of the touch that is not.
static const Touch *touch(Op *op, Granule *g, uint16_t bytes, bool write) {
    Touch *own = NULL, *unused = NULL;
    for (int i = 0; i < TOUCHES; i++) {
        Touch *t = &g->touch[i];
        if (!t->stamp) {
            unused = t;
            continue;
        }
        bool ordered = op->after[t->lane] >= t->stamp;
        if (!ordered && (write || t->write) && (t->bytes & bytes)) return t;
        if (t->lane == op->lane && t->stamp == op->stamp) {
            if (t->write == write) own = t;
        } else if (ordered && (write || (!t->write && t->lane == op->lane))) { // what comes later is compared with this
            t->bytes &= (uint16_t)~bytes;
            if (!t->bytes) t->stamp = 0, unused = t;
        }
    }
    if (own) own->bytes |= bytes;
    else {
        if (!unused) unused = &g->touch[sim_random(&op->context->random) % TOUCHES]; // one is forgotten
        *unused = (Touch){op->stamp, (uint8_t)op->lane, write, bytes};
    }
    return NULL;
}

bool memory_touch(Op *op, uintptr_t at, size_t bytes, bool write, char *why, size_t size) {
    Context *c = op->context;
    const Allocation *a = find_running(c, at);
    if (!a) {
        world_lock();
        const char *whose = "not memory of this device: never allocated, or freed";
        bool pinned = memory_is_pinned(at, bytes);
        for (int d = 0; !pinned && d < world_devices(); d++)
            if (memory_find(world_device(d), at)) whose = "memory of another device";
        world_unlock();
        if (!pinned) snprintf(why, size, "%s 0x%llx: %s", write ? "writes" : "reads", (unsigned long long)at, whose);
        return pinned;
    }
    if (bytes > a->bytes - (at - a->at)) {
        snprintf(why, size, "%s %zu bytes at 0x%llx: %zu bytes beyond the allocation's end", write ? "writes" : "reads",
                 bytes, (unsigned long long)at, bytes - (a->bytes - (at - a->at)));
        return false;
    }
    size_t first = at - a->at, end = first + bytes;
    for (size_t i = first / GRANULE; i * GRANULE < end; i++) {
        unsigned mask = 0xffff;
        if (i * GRANULE < first) mask &= 0xffffu << (first - i * GRANULE);
        if (end < (i + 1) * GRANULE) mask &= 0xffffu >> ((i + 1) * GRANULE - end);
        const Touch *t = touch(op, &a->shadow[i], (uint16_t)mask, write);
        if (!t) continue;
        snprintf(why, size, "race: %s 0x%llx (byte %zu of %zu), which %s %s: no event orders them",
                 write ? "writes" : "reads", (unsigned long long)(a->at + i * GRANULE), i * GRANULE, a->bytes,
                 lane_label(c, t->lane, t->stamp), t->write ? "wrote" : "reads");
        return false;
    }
    return true;
}
