// SPDX-License-Identifier: Apache-2.0
// Random programs through the passes: simplify keeps their values, autodiff's gradients agree with central differences,
// before and after tidying, and every text survives. Programs nest repeats, run them either way, and use values from
// outside their bodies. Arguments: first seed, number of seeds.
#include "ir/build.h"
#include "tests/ir/passes_check.h"

enum { POOL_MAX = 64 };

typedef struct Random {
    uint64_t state;
    const Axis *batch, *seq, *key, *wide, *head, *dim, *layer, *inner;
    Value *step;
    int params, inputs, depth;
} Random;

typedef struct Pool { // values to choose operands from
    int n;
    Value *at[POOL_MAX];
} Pool;

static int pick(Random *r, int n) {
    r->state = r->state * 6364136223846793005u + 1442695040888963407u;
    return (int)((r->state >> 33) % (uint64_t)n);
}

static void pool_add(Random *r, Pool *p, Value *v) {
    if (!v) return;
    if (p->n < POOL_MAX) p->at[p->n++] = v;
    else p->at[pick(r, POOL_MAX)] = v;
}

static Value *choose(Random *r, const Pool *p) { return p->at[pick(r, p->n)]; }

static const Axis *any_axis(Random *r) {
    return (const Axis *[]){r->batch, r->seq, r->key, r->wide, r->head, r->dim}[pick(r, 6)];
}

static Type any_type(Random *r) {
    Type t = type_scalar(DT_F32);
    for (int i = pick(r, 3); i >= 0; i--) {
        const Axis *a = any_axis(r);
        if (type_find(&t, a) < 0) type_push(&t, a);
    }
    return t;
}

static Value *new_leaf(Random *r, Builder *top, bool param) {
    Type t = any_type(r);
    Str name = str_internf(top->unit->strs, param ? "p%d" : "x%d", param ? r->params++ : r->inputs++);
    return param ? build_param(top, &t, name, NULL) : build_input(top, &t, name, 0, 0);
}

static Value *small(Builder *b, Value *v) { return build_map(b, OP_tanh, v, NULL, NULL); } // keeps values near 1

static Axes some_axes(Random *r, const Type *t, const Type *also) {
    Axes over = {0};
    for (int i = 0; i < t->rank; i++)
        if (pick(r, 2) && (!also || type_find(also, t->dim[i].axis) >= 0)) axes_push(&over, t->dim[i].axis);
    return over;
}

static Value *condition(Random *r, Builder *b, const Pool *p) {
    static const OpKind compare[] = {OP_lt, OP_le, OP_gt, OP_ge};
    return build_map(b, compare[pick(r, 4)], choose(r, p), choose(r, p), NULL);
}

static Value *reordered(Random *r, Builder *b, Value *v) {
    Type t = v->type;
    for (int i = t.rank - 1; i > 0; i--) {
        int j = pick(r, i + 1);
        Dim d = t.dim[i];
        t.dim[i] = t.dim[j];
        t.dim[j] = d;
    }
    const Axis *more = any_axis(r);
    if (t.rank < 4 && type_find(&t, more) < 0) type_push(&t, more);
    return build_expand(b, v, &t);
}

// q, k and v of the axes attend needs, from whatever is at hand.
static Value *attention(Random *r, Builder *b, const Pool *p) {
    Type q = type_scalar(DT_F32), k = q;
    type_push(&q, r->batch), type_push(&q, r->seq), type_push(&q, r->head), type_push(&q, r->dim);
    type_push(&k, r->batch), type_push(&k, r->key), type_push(&k, r->dim);
    Value *x[3];
    for (int i = 0; i < 3; i++) {
        const Type *want = i ? &k : &q;
        Value *v = choose(r, p);
        Axes over = {0};
        for (int d = 0; d < v->type.rank; d++)
            if (type_find(want, v->type.dim[d].axis) < 0) axes_push(&over, v->type.dim[d].axis);
        x[i] = build_expand(b, build_sum(b, v, &over), want);
    }
    Value *lse;
    return build_attend(b, x[0], x[1], x[2], NULL, r->dim, r->key, 0.8,
                        pick(r, 2) ? &(Axes){2, {r->seq, r->key}} : NULL, &lse);
}

static Value *random_value(Random *r, Builder *b, const Pool *p, Value *iteration) {
    Value *v = choose(r, p), *w = choose(r, p);
    Axes axes;
    const Axis *a;
    switch (pick(r, 20)) {
    case 0: return build_map(b, OP_add, v, w, NULL);
    case 1: return build_map(b, OP_sub, v, w, NULL);
    case 2: return build_map(b, OP_mul, v, w, NULL);
    case 3: return build_map(b, OP_sin, v, NULL, NULL);
    case 4: return build_map(b, OP_neg, v, NULL, NULL);
    case 5: return build_map(b, pick(r, 2) ? OP_maximum : OP_minimum, v, w, NULL);
    case 6: return build_map(b, OP_select, condition(r, b, p), v, w);
    case 7: axes = some_axes(r, &v->type, NULL); return small(b, build_sum(b, v, &axes));
    case 8: axes = some_axes(r, &v->type, NULL); return build_max(b, v, &axes);
    case 9:
    case 10:
    case 11: axes = some_axes(r, &v->type, &w->type); return small(b, build_dot(b, v, w, &axes));
    case 12:
        if (!v->type.rank) return NULL;
        a = v->type.dim[pick(r, v->type.rank)].axis;
        return build_slice(b, v, a, NULL, pick(r, (int)a->extent));
    case 13:
        a = any_axis(r);
        if (type_find(&v->type, a) >= 0 || v->type.rank > 3) return NULL;
        return build_place(b, v, NULL, a, pick(r, (int)a->extent), pick(r, v->type.rank + 1));
    case 14:
        a = any_axis(r);
        if (type_find(&v->type, a) >= 0 || a->extent > 3 || v->type.rank > 3) return NULL;
        return build_concat(b, (Value *[]){v, build_map(b, OP_neg, v, NULL, NULL), v}, (int)a->extent, NULL, a,
                            pick(r, v->type.rank + 1));
    case 15: {
        bool wide = type_find(&v->type, r->wide) >= 0, seq = type_find(&v->type, r->seq) >= 0;
        Axes one = axes_of(1, wide ? r->wide : seq ? r->seq : r->key);
        Axes to = wide ? axes_of(2, r->head, r->dim) : axes_of(1, seq ? r->key : r->seq);
        for (int i = 0; i < to.n; i++)
            if (type_find(&v->type, to.at[i]) >= 0) return NULL;
        return type_find(&v->type, one.at[0]) < 0 ? NULL : build_rename(b, v, &one, &to);
    }
    case 16: return reordered(r, b, v);
    case 17: {
        if (!v->type.rank) return NULL;
        a = v->type.dim[pick(r, v->type.rank)].axis;
        Value *ids = build_index(b, any_axis(r));
        return type_find(&ids->type, a) >= 0 ? NULL : build_take(b, v, ids, a);
    }
    case 18: {
        Value *u = build_random(b, &v->type, 0, pick(r, 5), (Value *[]){r->step, iteration}, iteration ? 2 : 1);
        return build_map(b, OP_mul, v, u, NULL);
    }
    default: return small(b, attention(r, b, p));
    }
}

static void random_block(Random *r, Builder *b, Builder *top, Pool *p, Value *iteration, int count);

static void random_repeat(Random *r, Builder *b, Builder *top, Pool *outer) {
    const Axis *axis = r->depth ? r->inner : r->layer;
    Func *f = b->func;
    Value *args[8];
    int carries = 1 + pick(r, 2), stacked = pick(r, 3), invariants = pick(r, 2), nargs = 0;
    for (int i = 0; i < carries; i++) args[nargs++] = choose(r, outer);
    for (int i = 0; i < stacked; i++) {
        Type t = any_type(r), full = type_scalar(DT_F32);
        type_push(&full, axis);
        for (int d = 0; d < t.rank; d++) type_push(&full, t.dim[d].axis);
        args[nargs++] = r->depth || pick(r, 3) == 0
                            ? build_expand(b, build_const(b, DT_F32, 0.5), &full)
                            : build_param(top, &full, str_internf(b->unit->strs, "p%d", r->params++), NULL);
    }
    for (int i = 0; i < invariants; i++) args[nargs++] = choose(r, outer);
    Block *body = block_new(f, NULL);
    Type i32 = type_scalar(DT_I32);
    Value *iteration = block_add_param(body, &i32, str_intern(b->unit->strs, "i"));
    Pool pool = {0};
    for (int i = 0; i < nargs; i++) {
        Type t = args[i]->type;
        if (i >= carries && i < carries + stacked) {
            t.rank--;
            memmove(t.dim, t.dim + 1, sizeof *t.dim * (size_t)t.rank);
            t.dim[t.rank] = (Dim){0};
        }
        pool_add(r, &pool, block_add_param(body, &t, NULL));
    }
    for (int i = pick(r, 3); i > 0; i--) pool_add(r, &pool, choose(r, outer)); // used without being handed in
    Builder in = builder_at_end(body, b->loc);
    random_block(r, &in, top, &pool, iteration, 4 + pick(r, 8));
    Value *yields[8];
    int nyields = 0;
    for (int i = 0; i < carries; i++) { // bring something into the carry's shape
        Value *v = choose(r, &pool), *c = body->params[1 + i];
        Axes over = {0};
        for (int d = 0; d < v->type.rank; d++)
            if (type_find(&c->type, v->type.dim[d].axis) < 0) axes_push(&over, v->type.dim[d].axis);
        v = build_expand(&in, small(&in, build_sum(&in, v, &over)), &c->type);
        yields[nyields++] = pick(r, 6) ? build_map(&in, OP_add, c, v, NULL) : pick(r, 2) ? v : c;
    }
    for (int i = pick(r, 3); i > 0; i--) {
        Value *v = choose(r, &pool);
        if (type_find(&v->type, axis) < 0) yields[nyields++] = v;
    }
    node_append(body, node_new(f, OP_yield, yields, nyields, 0, NULL, b->loc));
    Attr attr = {.axes = axes_of(1, axis), .i = carries, .j = stacked, .flag = pick(r, 3) == 0};
    Node *n = node_new(f, OP_repeat, args, nargs, nyields, &attr, b->loc);
    n->body = body;
    body->owner = n;
    Type types[8];
    int count;
    if (!op_infer(b->unit, OP_repeat, args, nargs, &attr, body, NULL, b->loc, types, &count)) abort();
    node_append(b->block, n);
    for (int i = 0; i < nyields; i++) {
        n->results[i]->type = types[i];
        pool_add(r, outer, n->results[i]);
    }
}

static void random_block(Random *r, Builder *b, Builder *top, Pool *p, Value *iteration, int count) {
    for (int i = 0; i < count; i++) {
        if (r->depth < 2 && pick(r, 8) == 0) {
            r->depth++;
            if (r->depth == 1 || type_find(&p->at[0]->type, r->inner) < 0) random_repeat(r, b, top, p);
            r->depth--;
            continue;
        }
        Value *v = random_value(r, b, p, iteration);
        int64_t elements;
        if (v && type_elements(&v->type, &elements) && elements <= 200) pool_add(r, p, v);
    }
}

// Leaves are appended to the entry function's front; the program is built behind them.
static Unit *random_unit(Case *c, uint64_t seed) {
    Unit *u = unit_new(c->arena, c->scratch, c->strs, c->diag, str_intern(c->strs, "random"));
    Random r = {.state = seed * 0x9E3779B97F4A7C15u + 1};
    const struct {
        const char *name;
        int extent;
        const Axis **to;
    } axes[] = {{"batch", 2, &r.batch}, {"seq", 3, &r.seq}, {"key", 3, &r.key},     {"wide", 4, &r.wide},
                {"head", 2, &r.head},   {"dim", 2, &r.dim}, {"layer", 2, &r.layer}, {"inner", 3, &r.inner}};
    for (size_t i = 0; i < sizeof axes / sizeof *axes; i++)
        *axes[i].to = unit_add_axis(u, str_intern(c->strs, axes[i].name), axes[i].extent, (Loc){0});
    Func *f = unit_add_func(u, "train");
    Type i32 = type_scalar(DT_I32);
    Builder b = builder_at_end(f->top, (Loc){0}), top = b;
    r.step = build_input(&b, &i32, str_intern(c->strs, "step"), 0, 0);
    Node *fence = r.step->def; // parameters made later go in front of it
    top.before = fence;
    Pool p = {0};
    for (int i = 0; i < 5; i++) pool_add(&r, &p, new_leaf(&r, &top, i < 3));
    random_block(&r, &b, &top, &p, NULL, 12);
    Value *loss = NULL;
    for (int i = 0; i < p.n; i++) {
        Axes all = type_axes(&p.at[i]->type);
        Value *part = build_map(&b, OP_sin, build_sum(&b, p.at[i], &all), NULL, NULL);
        loss = loss ? build_map(&b, OP_add, loss, part, NULL) : part;
    }
    build_output(&b, loss, str_intern(c->strs, "loss"));
    return u;
}

static int run_seed(uint64_t seed) {
    char path[40];
    snprintf(path, sizeof path, "seed %llu", (unsigned long long)seed);
    Case c = {.path = path, .tolerance = 1e-5};
    c.arena = arena_new();
    c.scratch = arena_new();
    c.strs = strtable_new(c.arena);
    FILE *sink = tmpfile(); // warnings about parameters without influence; random builds may fail
    c.diag = diag_new(c.arena, sink, false);
    Unit *made = random_unit(&c, seed);
    c.text = unit_to_text(made, &c.size);
    int errors = diag_errors(c.diag);
    for (int way = 0; way < 3 && !c.failures; way++) {
        Unit *u = parse(&c);
        if (!u || !unit_verify(u, "parse")) fail(&c, "does not parse");
        else if (way == 0 && run(&c, u, "simplify", "simplify")) check_simplify(&c, u);
        else if (way == 1 && run(&c, u, "autodiff", "autodiff")) check_autodiff(&c, u);
        else if (way == 2 && run(&c, u, "simplify", "autodiff")) check_autodiff(&c, u);
    }
    if (diag_errors(c.diag) != errors) fail(&c, "%d errors reported", diag_errors(c.diag) - errors);
    if (c.failures) {
        rewind(sink);
        for (int ch; (ch = fgetc(sink)) != EOF;) fputc(ch, stderr);
        if (getenv("TGF_SHOW")) fputs(c.text, stderr);
    }
    fclose(sink);
    free(c.text);
    arena_free(c.scratch);
    arena_free(c.arena);
    return c.failures;
}

int main(int argc, char **argv) {
    uint64_t first = argc > 1 ? strtoull(argv[1], NULL, 10) : 1, count = argc > 2 ? strtoull(argv[2], NULL, 10) : 40;
    int failures = 0;
    for (uint64_t s = first; s < first + count; s++) failures += run_seed(s) != 0;
    printf("%d of %llu random programs failed\n", failures, (unsigned long long)count);
    return failures != 0;
}
