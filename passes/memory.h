// SPDX-License-Identifier: Apache-2.0
// memory: the parts of the memory pass.
#pragma once
#include "ir/op.h"
#include "ir/storage.h"

// Where a value lies in a buffer. Strides and offsets as in Place, relative to the buffer.
typedef struct Ref {
    int buf; // -1: not in memory
    int64_t offset, micro, loop[LOOP_MAX], dim[RANK_MAX];
} Ref;

// A piece of memory that is allocated as one. A buffer can become part of another: at the beginning of each of its
// slices along a repeat (loop >= 0) or of the whole.
typedef struct Buf {
    int64_t bytes;
    const Block *home; // the block whose every execution needs it anew; NULL: lives always (leaves)
    int first, last;   // times, inclusive
    int into;          // the buffer it is part of, or -1
    int loop;          // depth of the repeat whose iterations it has a slice for, or -1
    int64_t loop_stride;
    bool open; // part of something that holds nothing else before it is written
    Section section;
    int64_t offset; // roots: from the section's start
} Buf;

typedef struct RepeatTime {
    const Node *node;
    int begin, end, depth;
} RepeatTime;

// A stacked operand of a repeat that lies on the host: the body's parameter has memory of its own; while one iteration
// runs, the slice of the next one is fetched to buffer `ahead`.
typedef struct Fetch {
    const Node *repeat;
    const Value *param;
    int ahead;
} Fetch;

typedef struct Memory {
    Unit *u;
    Func *f;
    int variant; // whose function it is
    Storage *storage;
    Arena *a;
    Ref *ref; // by value id
    int nrefs;
    Vec(Buf) bufs;
    Vec(RepeatTime) repeats;
    Vec(Fetch) fetches;
    int *leaf_buf; // by leaf number: its buffer in this function
    int clock;
} Memory;

int64_t memory_bytes(const Unit *u, const Type *t); // on each rank, padding included
int memory_leaf_kind(const Node *n);                // LeafKind, or -1
int memory_root(const Memory *m, int buf);
bool memory_is_whole(const Memory *m, const Value *v); // v is all of its buffer, row-major
bool memory_is_dense(const Memory *m, const Value *v);
RepeatTime *memory_repeat(Memory *m, const Node *n);

// memory_leaves.c: the leaves of all functions, and where they lie in their sections.
bool memory_place_leaves(Unit *u, Storage *s);
// memory_stages.c: where the sections lie in each stage's slab. After every function's activations are known.
bool memory_place_stages(const Unit *u, Storage *s);
// memory_prepare.c: copies (`stop`) where a value must lie in memory of its own.
bool memory_prepare(Unit *u, Func *f);
// memory_layout.c: refs and buffers of all values.
bool memory_layout(Memory *m);
// memory_overlap.c: the buffers that collectives on their way would keep alive longer, smallest first, and how many
// bytes more the function may need for it.
typedef struct Window {
    int buf, last;
    int64_t bytes;
} Window;
typedef Vec(Window) Windows;
Windows memory_windows(Memory *m, int64_t *out_allowed);
void memory_open_windows(Memory *m, const Windows *w, int n, const int *last); // the first n; last: without any
// memory_host.c: what lies on the host. Fetches of whole values, and copies of what is to go there and has no memory of
// its own; in front of memory_layout.
bool memory_fetch(Unit *u, Func *f);
bool memory_on_host(const Memory *m, const Value *v);
bool memory_is_stashed(const Unit *u, const Value *v); // stacked by a forward repeat, for the host
void memory_fetch_slices(Memory *m, const Node *repeat, const Value *param, int ahead);
void memory_share_host(Memory *m); // behind lifetimes, in front of everything else that is shared
// memory_share.c: lifetimes; buffers that can be one become one.
void memory_share(Memory *m);
