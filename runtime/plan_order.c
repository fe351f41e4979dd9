// SPDX-License-Identifier: Apache-2.0
// plan_order: what may run at the same time. Instructions are done in order but for started collectives and copies: one
// has ended only where a wait for it stands. So from its start to its wait nothing else may touch the memory it writes,
// nor write what it reads.
//
// A walk over a function's instructions keeps, for each collective, whether it is under way: begun in this iteration of
// the loops around it and the instruction at hand, or in an earlier iteration of one of them (and then in any of the
// loops inside of that). A loop is walked until nothing new is under way at its beginning. Addresses are known up to
// iterations, so whether two instructions meet is arithmetic on intervals; where it is not exact (a kernel's operand is
// taken as all bytes from its first to its last) it errs towards waiting.
#include "base/checked.h"
#include "runtime/plan_tasks.h"
#include <stdlib.h>
#include <string.h>

__extension__ typedef __int128 Wide; // differences of sums of checked addresses

enum { UNDER_WAY = 1 }; // of the same iteration; 2 << d: of an earlier iteration of loop d

typedef struct Walk {
    const Plan *p;
    const PlanFunc *f;
    int n;
    int *start;     // instruction of each started collective or copy
    int *number;    // by instruction - f->first: which of them, or -1
    int *loop;      // by instruction - f->first: the innermost LOOP around it (its index - f->first), or -1
    uint8_t *state; // by collective
    uint8_t *save;  // [PLAN_LOOPS][n]: states at the beginning of loops
    bool *needed;   // by (instruction - f->first) * n + collective, the end included; NULL: checks
    int last;       // LOOP (its index - f->first) whose last iteration this is, which copies nothing ahead; or -1
    PlanNeed first; // the first found; at < 0: none
} Walk;

typedef struct Access {
    const PlanArg *arg;
    int64_t bytes;
    bool writes;
} Access;

void plan_comm_bytes(const Plan *p, const PlanInstr *in, int64_t *out_send, int64_t *out_receive) {
    int64_t ways = plan_ways(p, in->mesh), send = in->outer * in->middle * in->inner * plan_dtype_bytes(in->dtype);
    int64_t part = send / in->middle * ceil_div(in->middle, ways);
    *out_send = in->comm == COMM_RECV ? 0 : send;
    *out_receive = in->comm == COMM_SEND             ? 0
                   : in->comm == COMM_ALL_GATHER     ? send * ways
                   : in->comm == COMM_REDUCE_SCATTER ? part
                   : in->comm == COMM_ALL_TO_ALL     ? part * ways
                                                     : send;
}

static bool is_started(const PlanInstr *in) { return in->start && (in->kind == INSTR_COMM || in->kind == INSTR_COPY); }

// What a copy touches, or a collective: what it sends, what it receives and, where slots are counted, their counts.
static int accesses_of(const Plan *p, const PlanInstr *in, Access *out) {
    int64_t send, receive;
    if (in->kind == INSTR_COPY) {
        out[0] = (Access){&in->args[0], in->bytes, true};
        out[1] = (Access){&in->args[1], in->bytes, false};
        return 2;
    }
    plan_comm_bytes(p, in, &send, &receive);
    out[0] = (Access){&in->args[0], send, false};
    out[1] = (Access){&in->args[1], receive, true};
    if (!in->rows) return 2;
    int64_t rows = in->rows * in->row * plan_dtype_bytes(in->dtype); // bytes that have one count, of four
    out[2] = (Access){&in->args[2], send / rows * 4, false};
    out[3] = (Access){&in->args[3], receive / rows * 4, true};
    return 4;
}

static const PlanInstr *instr(const Walk *w, int at) { return &w->p->instrs[at]; }

// The loops around an instruction, outermost first.
static int nest_of(const Walk *w, int at, int *out_loops) {
    int depth = 0, reversed[PLAN_LOOPS];
    for (int l = w->loop[at - w->f->first]; l >= 0; l = w->loop[l]) reversed[depth++] = l + w->f->first;
    for (int i = 0; i < depth; i++) out_loops[i] = reversed[depth - 1 - i];
    return depth;
}

static void widen(Wide *low, Wide *high, Wide stride, int64_t count) {
    Wide span = stride * (count - 1);
    *(span < 0 ? low : high) += span;
}

static Wide floor_div(Wide a, Wide b) { // b > 0
    Wide q = a / b;
    return q - (a % b < 0);
}

// Do `a` of an instruction begun earlier and `b` of a later one meet? The first `same` loops of their nests are the
// same iteration; loop `same` too is common when `later`, and b is in a later iteration of it; beyond that any.
static bool meet(const Walk *w, const Access *a, const int *a_nest, int a_depth, const Access *b, const int *b_nest,
                 int b_depth, int same, bool later) {
    if (a->arg->section != b->arg->section || !a->bytes || !b->bytes) return false;
    Wide low = (Wide)b->arg->offset - a->arg->offset, high = low, step = 0;
    widen(&low, &high, (Wide)b->arg->micro - a->arg->micro, w->p->microbatches);
    for (int i = 0; i < same; i++)
        widen(&low, &high, (Wide)b->arg->stride[i] - a->arg->stride[i], instr(w, a_nest[i])->count);
    int free_from = same;
    int64_t times = 0;
    if (later) {
        const PlanInstr *l = instr(w, a_nest[same]);
        times = l->count - 1;
        if (!times) return false;
        if (a->arg->stride[same] == b->arg->stride[same]) {
            step = l->reverse ? -(Wide)a->arg->stride[same] : a->arg->stride[same];
            free_from++;
        }
    }
    for (int i = free_from; i < a_depth; i++) widen(&low, &high, -(Wide)a->arg->stride[i], instr(w, a_nest[i])->count);
    for (int i = free_from; i < b_depth; i++) widen(&low, &high, b->arg->stride[i], instr(w, b_nest[i])->count);
    if (!step) return low < a->bytes && high > -(Wide)b->bytes;
    if (step < 0) { // mirrored
        Wide swap = -low + a->bytes - b->bytes;
        low = -high + a->bytes - b->bytes;
        high = swap;
        step = -step;
    }
    // Is there a k in [1, times] with low + k step < a->bytes and high + k step > -b->bytes?
    Wide least = floor_div(-(Wide)b->bytes - high, step) + 1, most = -floor_div(-(a->bytes - low), step) - 1;
    if (least < 1) least = 1;
    if (most > times) most = times;
    return least <= most;
}

static bool meets(const Walk *w, int start, uint8_t state, const Access *b, int at) {
    const PlanInstr *in = instr(w, start);
    int a_nest[PLAN_LOOPS], b_nest[PLAN_LOOPS], a_depth = nest_of(w, start, a_nest), b_depth = nest_of(w, at, b_nest);
    int common = 0;
    Access own[4];
    int count = accesses_of(w->p, in, own);
    while (common < a_depth && common < b_depth && a_nest[common] == b_nest[common]) common++;
    for (int i = 0; i < count; i++) {
        if (!own[i].writes && !b->writes) continue;
        if (state & UNDER_WAY && meet(w, &own[i], a_nest, a_depth, b, b_nest, b_depth, common, false)) return true;
        for (int d = 0; d < common; d++)
            if (state >> (d + 1) & 1 && meet(w, &own[i], a_nest, a_depth, b, b_nest, b_depth, d, true)) return true;
    }
    return false;
}

static bool collides(const Walk *w, int s, uint8_t state, int at) {
    const PlanInstr *in = instr(w, at);
    Access own[4];
    int count;
    switch (in->kind) {
    case INSTR_KERNEL:
        for (int i = 0; i < in->nargs; i++)
            if (meets(w, w->start[s], state, &(Access){&in->args[i], in->args[i].bytes, !in->args[i].reads}, at))
                return true;
        return false;
    case INSTR_COPY:
    case INSTR_COMM:
        count = accesses_of(w->p, in, own);
        for (int i = 0; i < count; i++)
            if (meets(w, w->start[s], state, &own[i], at)) return true;
        return false;
    case INSTR_ZERO: return meets(w, w->start[s], state, &(Access){&in->args[0], in->bytes, true}, at);
    default: return false;
    }
}

static void need(Walk *w, int at, int s) {
    if (w->first.at < 0) w->first = (PlanNeed){at, w->start[s]};
    if (w->needed) w->needed[(int64_t)(at - w->f->first) * w->n + s] = true;
    w->state[s] = 0;
}

// What is under way and touched anywhere inside the loop is waited for once, in front of it.
static void wait_before(Walk *w, int loop) {
    for (int s = 0; s < w->n; s++) {
        bool inside = w->start[s] > loop && w->start[s] < instr(w, loop)->end, hit = false;
        if (inside || !w->state[s]) continue;
        for (int at = loop + 1; at < instr(w, loop)->end && !hit; at++) hit = collides(w, s, w->state[s], at);
        if (hit) need(w, loop, s);
    }
}

static void walk(Walk *w, int from, int to, int depth);

static void walk_loop(Walk *w, int loop, int depth) {
    int end = instr(w, loop)->end, n = w->n;
    if (w->needed) wait_before(w, loop);
    uint8_t *entry = w->save + (int64_t)depth * n;
    memcpy(entry, w->state, (size_t)n);
    for (bool again = true; again;) {
        memcpy(w->state, entry, (size_t)n);
        walk(w, loop + 1, end, depth + 1);
        again = false;
        for (int s = 0; s < n; s++) {
            bool inside = w->start[s] > loop && w->start[s] < end;
            uint8_t next = w->state[s];
            if (inside && next & UNDER_WAY) next = (uint8_t)((next & ~UNDER_WAY) | 2 << depth);
            again |= (next | entry[s]) != entry[s];
            entry[s] |= next;
        }
    }
    int before = w->last;
    w->last = loop - w->f->first;
    memcpy(w->state, entry, (size_t)n);
    walk(w, loop + 1, end, depth + 1);
    w->last = before;
    for (int s = 0; s < n; s++) // behind the loop all its iterations are earlier: of any
        if (w->start[s] > loop && w->start[s] < end && w->state[s])
            w->state[s] = (uint8_t)((w->state[s] & ~(2 << depth)) | UNDER_WAY);
}

static void walk(Walk *w, int from, int to, int depth) {
    for (int at = from; at < to; at++) {
        const PlanInstr *in = instr(w, at);
        if (in->kind == INSTR_LOOP) {
            walk_loop(w, at, depth);
            at = in->end;
            continue;
        }
        if (in->kind == INSTR_WAIT) {
            w->state[w->number[in->of - w->f->first]] = 0;
            continue;
        }
        for (int s = 0; s < w->n; s++)
            if (w->state[s] && collides(w, s, w->state[s], at)) need(w, at, s);
        bool begins = is_started(in) && !(in->ahead && w->loop[at - w->f->first] == w->last);
        if (begins) w->state[w->number[at - w->f->first]] |= UNDER_WAY;
    }
}

// False: no memory.
static bool walk_func(Walk *w, bool collect) {
    int count = w->f->count, depth = 0, open[PLAN_LOOPS + 1] = {-1};
    w->first.at = w->last = -1;
    w->number = calloc((size_t)count + 1, sizeof *w->number);
    w->loop = calloc((size_t)count + 1, sizeof *w->loop);
    w->start = calloc((size_t)count + 1, sizeof *w->start);
    if (!w->number || !w->loop || !w->start) return false;
    for (int i = 0; i < count; i++) {
        const PlanInstr *in = instr(w, w->f->first + i);
        if (in->kind == INSTR_END) depth--;
        w->loop[i] = open[depth];
        w->number[i] = -1;
        if (in->kind == INSTR_LOOP) open[++depth] = i;
        if (!is_started(in)) continue;
        w->number[i] = w->n;
        w->start[w->n++] = w->f->first + i;
    }
    w->state = calloc((size_t)w->n + 1, 1);
    w->save = calloc((size_t)w->n * PLAN_LOOPS + 1, 1);
    if (collect) w->needed = calloc((size_t)w->n * ((size_t)count + 1) + 1, sizeof *w->needed);
    if (!w->state || !w->save || (collect && !w->needed)) return false;
    int end = w->f->first + count;
    if (w->n) walk(w, w->f->first, end, 0);
    for (int s = 0; s < w->n; s++)
        if (w->state[s]) need(w, end, s);
    return true;
}

static void walk_end(Walk *w) {
    free(w->number);
    free(w->loop);
    free(w->start);
    free(w->state);
    free(w->save);
    free(w->needed);
}

Status plan_check_order(const Plan *p, const PlanFunc *f) {
    Walk w = {.p = p, .f = f, .first.at = -1};
    Status s = status_ok();
    bool good = walk_func(&w, false);
    const char *what = w.first.at >= 0 && p->instrs[w.first.of].kind == INSTR_COPY ? "copy" : "collective";
    if (!good) s = status_make(STATUS_MEMORY, "plan: no memory to check '%s'", f->name);
    else if (w.first.at == f->first + f->count)
        s = status_make(STATUS_CORRUPT, "plan: function '%s' ends before %s %d has", f->name, what, w.first.of);
    else if (w.first.at >= 0)
        s = status_make(STATUS_CORRUPT, "plan: step %d touches memory of %s %d, which nothing waited for", w.first.at,
                        what, w.first.of);
    walk_end(&w);
    return s;
}

int plan_needs(const Plan *p, const PlanFunc *f, PlanNeed *out, int most) {
    Walk w = {.p = p, .f = f, .first.at = -1};
    int count = 0;
    if (!walk_func(&w, true)) count = -1;
    for (int at = 0; at <= f->count && count >= 0; at++)
        for (int s = 0; s < w.n; s++) {
            if (!w.needed[(int64_t)at * w.n + s]) continue;
            if (count < most) out[count] = (PlanNeed){f->first + at, w.start[s]};
            count++;
        }
    walk_end(&w);
    return count;
}
