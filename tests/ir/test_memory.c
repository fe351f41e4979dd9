// SPDX-License-Identifier: Apache-2.0
// Does every value lie undisturbed in memory from its making to its last use? Whole functions are run on the contents'
// identities instead of numbers: a node stamps a new tag on each element it makes, at the element's address in the
// slab; a reader looks whether each element it reads still bears the tag it should, which is followed through the graph
// without regard to memory: views permute tags, repeats carry, slice and stack them. Copies are made where codegen
// makes them. Then: schedules keep dependences, and the peak is what it should be on known graphs.
#include "ir/op.h"
#include "ir/storage.h"
#include "ir/strategy.h"
#include "ir/text.h"
#include "ir/verify.h"
#include "passes/memory.h"
#include "passes/pass.h"
#include <stdlib.h>

typedef struct Run {
    Arena *arena, *scratch;
    Unit *u;
    const FuncStorage *places;
    int64_t *slab;  // a tag per byte
    int64_t **tags; // by value id: of its elements, row-major
    int64_t fresh;  // the last tag used
    int64_t iteration[LOOP_MAX];
    int depth;
    const char *what;
    bool failed;
} Run;

static int failures;
static void fail(Run *r, const Node *n, const Value *v, const char *message) {
    if (r->failed) return;
    fprintf(stderr, "FAIL %s: %s\n  %s\n", r->what, message, n ? node_line(n, r->arena) : "");
    if (v) fprintf(stderr, "  value %s: %s\n", v->name ? v->name : "?", type_text(&v->type, &r->u->mesh, r->arena));
    failures++;
    r->failed = true;
}

static int64_t count_of(const Run *r, const Value *v) {
    int64_t n = 0;
    type_local_elements(&v->type, &r->u->mesh, &n);
    return n;
}

static int64_t *tags_of(Run *r, const Value *v) {
    if (!r->tags[v->id]) r->tags[v->id] = NEW_ARRAY(r->arena, int64_t, count_of(r, v) + 1);
    return r->tags[v->id];
}

// Of a unit without a pipeline.
static int64_t base(const Storage *s, Section section) {
    return section == SECTION_CHUNK ? s->chunks[0].base : section == SECTION_WORK ? s->stages[0].work_base : 0;
}

// Byte address of element i (row-major) of v.
static int64_t address(const Run *r, const Value *v, int64_t i) {
    const Place *p = &r->places->of[v->id];
    int64_t at = base(r->u->storage, p->section) + p->offset, elements = 0;
    for (int l = 0; l < r->depth; l++) at += p->loop_stride[l] * r->iteration[l];
    for (int d = v->type.rank - 1; d >= 0; d--) {
        int64_t places = dim_local(&v->type.dim[d], &r->u->mesh);
        elements += i % places * p->dim_stride[d];
        i /= places;
    }
    return at + elements * dtype_bytes(v->type.dtype);
}

static bool is_placed(const Run *r, const Value *v) { return r->places->of[v->id].placed; }

static void check_read(Run *r, const Node *n, const Value *v) {
    if (!is_placed(r, v)) {
        bool iteration = v->block && v->index == 0;
        if (!iteration) fail(r, n, v, "an operand has no place");
        return;
    }
    const int64_t *want = tags_of(r, v);
    for (int64_t i = 0, count = count_of(r, v); i < count && !r->failed; i++)
        for (int b = 0; b < dtype_bytes(v->type.dtype); b++) {
            int64_t at = address(r, v, i) + b;
            if (at < 0 || at >= r->u->storage->slab_bytes) fail(r, n, v, "an address outside of the slab");
            else if (r->slab[at] != want[i]) fail(r, n, v, "the operand has been overwritten");
            if (r->failed) return;
        }
}

static void store(Run *r, const Node *n, const Value *v) {
    if (!is_placed(r, v)) {
        fail(r, n, v, "a result has no place");
        return;
    }
    const int64_t *tags = tags_of(r, v);
    for (int64_t i = 0, count = count_of(r, v); i < count; i++)
        for (int b = 0; b < dtype_bytes(v->type.dtype); b++) {
            int64_t at = address(r, v, i) + b;
            if (at < 0 || at >= r->u->storage->slab_bytes) {
                fail(r, n, v, "an address outside of the slab");
                return;
            }
            r->slab[at] = tags[i];
        }
}

static void copy_elements(Run *r, const Value *from, const Value *to, const int64_t *tags) {
    for (int64_t i = 0, count = count_of(r, from); i < count; i++)
        for (int c = 0; c < dtype_bytes(from->type.dtype); c++) r->slab[address(r, to, i) + c] = tags[i];
}

static void make(Run *r, const Node *n, const Value *v) {
    int64_t *tags = tags_of(r, v);
    for (int64_t i = 0, count = count_of(r, v); i < count; i++) tags[i] = ++r->fresh;
    store(r, n, v);
}

static bool same_place(const Run *r, const Value *a, const Value *b) {
    return !memcmp(&r->places->of[a->id], &r->places->of[b->id], sizeof(Place));
}

// Tags of a view's elements from its operand's, by name; false: it has memory of its own.
static bool view(Run *r, const Node *n) {
    const Value *x = n->args[0], *y = n->results[0];
    int64_t *to = tags_of(r, y), *from = tags_of(r, x), count = count_of(r, y), index[RANK_MAX];
    for (int64_t i = 0; i < count; i++) {
        int64_t rest = i, at = 0;
        for (int d = y->type.rank - 1; d >= 0; d--) {
            int64_t places = dim_local(&y->type.dim[d], &r->u->mesh);
            index[d] = rest % places;
            rest /= places;
        }
        if (n->op == OP_rename) at = i;
        for (int d = 0; d < x->type.rank && n->op != OP_rename; d++) {
            const Axis *axis = x->type.dim[d].axis;
            bool cut = n->op == OP_slice && axis == n->attr.axes.at[0];
            const Axis *in = cut ? n->attr.to.n ? n->attr.to.at[0] : NULL : axis;
            int64_t k = in ? index[type_find(&y->type, in)] : 0;
            at = at * dim_local(&x->type.dim[d], &r->u->mesh) + k + (cut ? n->attr.i : 0);
        }
        to[i] = from[at];
    }
    return true;
}

// Results may lie over operands only element by element.
static void check_overlap(Run *r, const Node *n) {
    bool map = op_info(n->op)->traits & TRAIT_MAP || n->op == OP_fused;
    for (int k = 0; k < n->nresults; k++) {
        const Value *y = n->results[k];
        int64_t mark = -2 - k, count = count_of(r, y);
        int64_t *kept = NEW_ARRAY(r->scratch, int64_t, count + 1);
        for (int64_t i = 0; i < count; i++) {
            kept[i] = r->slab[address(r, y, i)];
            r->slab[address(r, y, i)] = mark;
        }
        for (int a = 0; a < n->nargs; a++) {
            const Value *x = n->args[a];
            if (!is_placed(r, x)) continue;
            for (int64_t i = 0, m = count_of(r, x); i < m && !r->failed; i++) {
                if (r->slab[address(r, x, i)] != mark) continue;
                bool same = n->op == OP_all_reduce || map;
                if (!same || address(r, x, i) != address(r, y, i) || !type_same_dims(&x->type, &y->type))
                    fail(r, n, x, "a result lies over an operand");
            }
        }
        for (int64_t i = count - 1; i >= 0; i--) r->slab[address(r, y, i)] = kept[i];
    }
}

static void run_block(Run *r, const Block *b);

static void copy_to(Run *r, const Node *n, const Value *from, const Value *to) {
    check_read(r, n, from);
    memcpy(tags_of(r, to), tags_of(r, from), sizeof(int64_t) * (size_t)count_of(r, to));
    if (!same_place(r, from, to)) store(r, n, to);
}

static void run_repeat(Run *r, const Node *n) {
    int64_t count = n->attr.axes.at[0]->extent;
    int carries = repeat_carries(n), stacked = repeat_stacked(n);
    const Block *b = n->body;
    const Node *y = block_yield(b);
    for (int k = 0; k < carries; k++) copy_to(r, n, n->args[k], b->params[k + 1]);
    for (int i = carries; i < n->nargs; i++) check_read(r, n, n->args[i]);
    int depth = r->depth++;
    for (int64_t it = 0; it < count && !r->failed; it++) {
        int64_t at = r->iteration[depth] = n->attr.flag ? count - 1 - it : it;
        for (int i = carries; i < n->nargs; i++) {
            const Value *p = b->params[i + 1];
            int64_t m = count_of(r, p), skip = i < carries + stacked ? at * m : 0;
            memcpy(tags_of(r, p), tags_of(r, n->args[i]) + skip, sizeof(int64_t) * (size_t)m);
        }
        run_block(r, b);
        int64_t **next = NEW_ARRAY(r->scratch, int64_t *, y->nargs + 1); // all yields are meant at once
        for (int k = 0; k < y->nargs && !r->failed; k++)
            next[k] = arena_dup(r->scratch, tags_of(r, y->args[k]), sizeof(int64_t) * (size_t)count_of(r, y->args[k]));
        for (int k = 0; k < y->nargs && !r->failed; k++) {
            int64_t **tags = &r->tags[y->args[k]->id], *now = *tags;
            *tags = next[k];
            check_read(r, y, y->args[k]);
            if (k < carries && !same_place(r, y->args[k], b->params[k + 1]))
                copy_elements(r, y->args[k], b->params[k + 1], next[k]);
            *tags = now;
        }
        for (int k = 0; k < carries && !r->failed; k++)
            memcpy(tags_of(r, b->params[k + 1]), next[k], sizeof(int64_t) * (size_t)count_of(r, y->args[k]));
        for (int k = carries; k < y->nargs && !r->failed; k++) {
            const Value *v = y->args[k], *out = n->results[k];
            int64_t m = count_of(r, v);
            for (int64_t i = 0; i < m; i++) {
                tags_of(r, out)[at * m + i] = next[k][i];
                for (int c = 0; c < dtype_bytes(v->type.dtype); c++)
                    r->slab[address(r, out, at * m + i) + c] = next[k][i];
            }
        }
    }
    r->depth--;
    r->iteration[depth] = 0;
    for (int k = 0; k < carries; k++) {
        memcpy(tags_of(r, n->results[k]), tags_of(r, b->params[k + 1]),
               sizeof(int64_t) * (size_t)count_of(r, n->results[k]));
        if (!same_place(r, n->results[k], b->params[k + 1]))
            fail(r, n, n->results[k], "a carry's result lies elsewhere");
    }
}

static void run_node(Run *r, const Node *n) {
    switch (n->op) {
    case OP_yield: return;
    case OP_param:
    case OP_state:
    case OP_input:
    case OP_buffer: make(r, n, n->results[0]); return; // the first reader is behind it
    case OP_repeat: run_repeat(r, n); return;
    case OP_output: {
        check_read(r, n, n->args[0]);
        return;
    }
    case OP_assign: copy_to(r, n, n->args[1], n->args[0]); return;
    default: break;
    }
    for (int i = 0; i < n->nargs; i++) check_read(r, n, n->args[i]);
    if (r->failed) return;
    if (op_info(n->op)->traits & TRAIT_VIEW) {
        view(r, n);
        const Place *x = &r->places->of[n->args[0]->id], *p = &r->places->of[n->results[0]->id];
        int64_t count = count_of(r, n->results[0]);
        bool shares = x->placed && count && address(r, n->results[0], 0) >= x->offset; // a view, or a copy?
        for (int64_t i = 0; i < count && shares; i++)
            shares = r->slab[address(r, n->results[0], i)] == tags_of(r, n->results[0])[i];
        if (p->placed && !shares) store(r, n, n->results[0]);
        return;
    }
    check_overlap(r, n);
    for (int i = 0; i < n->nresults; i++) make(r, n, n->results[i]);
}

static void run_block(Run *r, const Block *b) {
    for (const Node *n = b->first; n && !r->failed; n = n->next) run_node(r, n);
}

// At the end outputs, parameters and states hold what the graph says.
static void check_leaves(Run *r, const Func *f) {
    for (const Node *n = f->top->first; n && !r->failed; n = n->next) {
        if (n->op == OP_assign) check_read(r, n, n->args[0]);
        if (n->op != OP_output) continue;
        const Leaf *leaf = storage_leaf(r->u->storage, LEAF_OUTPUT, n->attr.s);
        const Place *at = &r->places->of[n->args[0]->id];
        if (at->section == leaf->section && at->offset == leaf->offset[0]) check_read(r, n, n->args[0]);
    }
}

// Parameters and states have nodes that may stand behind others: all are in memory when a function begins.
static void check_func(Unit *u, int f, const char *what) {
    Run r = {.arena = arena_new(), .scratch = arena_new(), .u = u, .places = &u->storage->funcs[f], .what = what};
    r.slab = NEW_ARRAY(r.arena, int64_t, u->storage->slab_bytes + 1);
    r.tags = NEW_ARRAY(r.arena, int64_t *, u->funcs.at[f]->next_id);
    for (Node *n = u->funcs.at[f]->top->first, *next; n; n = next) { // leaves first
        next = n->next;
        if (n->op != OP_output && memory_leaf_kind(n) >= 0) {
            node_remove(n);
            Node *first = u->funcs.at[f]->top->first;
            if (first) node_insert_before(first, n);
            else node_append(u->funcs.at[f]->top, n);
        }
    }
    run_block(&r, u->funcs.at[f]->top);
    check_leaves(&r, u->funcs.at[f]);
    arena_free(r.scratch);
    arena_free(r.arena);
}

typedef struct PassStep {
    const char *label;
    bool (*run)(Unit *u);
} PassStep;

static const PassStep steps[] = {{"autodiff", pass_autodiff}, {"optimizer", pass_optimizer}, {"tidy", pass_simplify},
                                 {"shard", pass_shard},       {"resolve", pass_resolve},     {"clean", pass_simplify},
                                 {"fuse", pass_fuse},         {"order", pass_order},         {"memory", pass_memory}};

static char *read_file(const char *path, size_t *out_size) {
    FILE *f = fopen(path, "rb");
    if (!f) return NULL;
    char *text = NULL;
    FILE *copy = open_memstream(&text, out_size);
    for (int ch; (ch = fgetc(f)) != EOF;) fputc(ch, copy);
    fclose(copy);
    fclose(f);
    return text;
}

static void split_over(Unit *u, const char *mesh, int64_t ways, const char *const *axes) {
    Strategy *s = NEW(u->arena, Strategy);
    s->name = str_intern(u->strs, "test");
    s->mesh.n = 1;
    s->mesh.axis[0].name = str_intern(u->strs, mesh);
    s->mesh.axis[0].extent = ways;
    s->splits = NEW_ARRAY(u->arena, Split, 8);
    for (; *axes; axes++) {
        const Axis *axis = unit_axis(u, str_intern(u->strs, *axes));
        if (axis) s->splits[s->nsplits++] = (Split){.axis = axis, .over = 1};
    }
    u->strategy = s;
}

// skip: a pass to leave out (order and fuse change what memory has to do), or NULL.
static void check_file(const char *path, const char *const *axes, int64_t ways, const char *skip, bool train) {
    Arena *arena = arena_new(), *scratch = arena_new();
    StrTable *strs = strtable_new(arena);
    Diag *diag = diag_new(arena, stderr, false);
    size_t size;
    char *text = read_file(path, &size), what[300];
    snprintf(what, sizeof what, "%s%s%s%s%s", path, axes ? " split " : "", axes ? axes[0] : "", skip ? " without " : "",
             skip ? skip : "");
    Unit *u = text ? unit_parse(arena, scratch, strs, diag, str_intern(strs, path), text, size) : NULL;
    bool ok = u != NULL;
    if (u && axes) split_over(u, "m", ways, axes);
    for (size_t i = 0; ok && i < sizeof steps / sizeof *steps; i++) {
        if (skip && !strcmp(steps[i].label, skip)) continue;
        if (i < 2 && !train) continue;
        ok = steps[i].run(u) && unit_verify(u, steps[i].label);
        arena_reset(scratch);
    }
    if (!ok) {
        fprintf(stderr, "FAIL %s: does not compile\n", what);
        failures++;
    } else {
        if (getenv("TGF_DUMP") && strstr(what, getenv("TGF_DUMP"))) unit_print(u, stdout);
        for (int f = 0; f < u->funcs.n; f++) check_func(u, f, what);
    }
    free(text);
    arena_free(scratch);
    arena_free(arena);
}

int main(void) {
    static const char *const models[] = {"tests/ir/layout/gpt.tgi", "tests/ir/layout/gqa.tgi",
                                         "tests/ir/memory/structure.tgi"};
    static const char *const skips[] = {NULL, "fuse", "order"};
    static const char *const tensor[] = {"head", "hidden", "vocab", "kv", NULL}, *const data[] = {"batch", NULL},
                             *const seq[] = {"seq", NULL}, *const whole[] = {"width", NULL},
                             *const odd[] = {"two", "layer", NULL};
    const char *const *const splits[] = {NULL, tensor, data, seq, whole, odd};
    for (int m = 0; m < 3; m++)
        for (int k = 0; k < 3; k++)
            for (int s = 0; s < 6; s++) {
                if (s == 5 && m < 2)
                    check_file(models[m], (const char *const[]){m ? "two" : "qkv", NULL}, 2, skips[k], true);
                else check_file(models[m], splits[s], s == 1 ? 2 : 3, skips[k], m < 2);
            }
    printf("%d failures\n", failures);
    return failures != 0;
}
