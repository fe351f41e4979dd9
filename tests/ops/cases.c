// SPDX-License-Identifier: Apache-2.0
// The making of cases, and those of elementwise ops, which come from the table itself.
#include "tests/ops/cases.h"
#include "ir/op.h"
#include <stdlib.h>

static const struct {
    const char *name;
    int64_t extent;
} extents[] = {
    {"a", 5}, {"b", 4}, {"c", 3}, {"d", 2}, {"e", 6}, {"f", 7}, {"h", 8}, {"v", 7}, {"s", 5},
    {"t", 5}, {"w", 6}, {"l", 3}, {"m", 2}, {"g", 2}, {"i", 3}, {"j", 3}, {"k", 2}, {"one", 1},
};

// ---- values ----

static uint64_t mix(uint64_t x) { // splitmix64
    x += 0x9E3779B97F4A7C15u;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

static double draw(const char *name, int64_t element) { // in (0, 1), the same in every run
    uint64_t h = 0;
    for (; *name; name++) h = mix(h ^ (uint64_t)*name);
    return ((double)(mix(h + (uint64_t)element) >> 41) + 0.5) / (1 << 23);
}

static Value *make_leaf(CaseCtx *c, bool param, DType dtype, const char *name, const char *dims, double low,
                        double high) {
    Axes axes = case_axes(c, dims);
    CaseLeaf leaf = {.name = str_intern(c->unit->strs, name), .param = param, .type = type_of(dtype, &axes)};
    type_elements(&leaf.type, &leaf.count);
    leaf.values = NEW_ARRAY(c->arena, double, leaf.count);
    for (int64_t i = 0; i < leaf.count; i++) {
        double x = low + (high - low) * draw(name, i);
        leaf.values[i] = dtype_is_float(dtype) ? (double)(float)x : (double)(int64_t)(x - low) + low;
    }
    vec_push(c->arena, &c->leaves, leaf);
    Builder top = builder_at_end(unit_func(c->unit, "train")->top, c->b.loc);
    if (param) return build_param(&top, &leaf.type, leaf.name, str_intern(c->unit->strs, ""));
    return build_input(&top, &leaf.type, leaf.name, 0, 0);
}

Value *case_param(CaseCtx *c, const char *name, const char *dims, double low, double high) {
    return make_leaf(c, true, DT_F32, name, dims, low, high);
}
Value *case_float(CaseCtx *c, const char *name, const char *dims, double low, double high) {
    return make_leaf(c, false, DT_F32, name, dims, low, high);
}
Value *case_ids(CaseCtx *c, const char *name, const char *dims, int64_t least, int64_t limit) {
    return make_leaf(c, false, DT_I32, name, dims, (double)least, (double)limit);
}
Value *case_bools(CaseCtx *c, const char *name, const char *dims) {
    return make_leaf(c, false, DT_BOOL, name, dims, 0, 2);
}

// ---- graphs ----

const Axis *case_axis(CaseCtx *c, const char *name) {
    Str s = str_intern(c->unit->strs, name);
    const Axis *a = unit_axis(c->unit, s);
    for (size_t i = 0; !a && i < sizeof extents / sizeof *extents; i++)
        if (!strcmp(extents[i].name, name)) a = unit_add_axis(c->unit, s, extents[i].extent, (Loc){0});
    if (!a) {
        printf("no axis '%s' in the table of cases\n", name);
        exit(1);
    }
    return a;
}

Axes case_axes(CaseCtx *c, const char *names) {
    Axes list = {0};
    char name[16];
    for (int n; sscanf(names, " %15s%n", name, &n) == 1; names += n) axes_push(&list, case_axis(c, name));
    return list;
}

Value *case_op(CaseCtx *c, OpKind op, Value *x, Value *y, Value *z) { return build_map(&c->b, op, x, y, z); }
Value *case_const(CaseCtx *c, double value) { return build_const(&c->b, DT_F32, value); }
Value *case_sum(CaseCtx *c, Value *x, const char *over) {
    Axes axes = case_axes(c, over);
    return build_sum(&c->b, x, &axes);
}
Value *case_max(CaseCtx *c, Value *x, const char *over) {
    Axes axes = case_axes(c, over);
    return build_max(&c->b, x, &axes);
}
Value *case_dot(CaseCtx *c, Value *x, Value *y, const char *over) {
    Axes axes = case_axes(c, over);
    return build_dot(&c->b, x, y, &axes);
}
Value *case_rename(CaseCtx *c, Value *x, const char *from, const char *to) {
    Axes axes = case_axes(c, from), into = case_axes(c, to);
    return build_rename(&c->b, x, &axes, &into);
}

void case_result(CaseCtx *c, Value *v) {
    if (!v) return;
    char name[32], dims[16 * RANK_MAX] = "";
    Value *number = build_cast(&c->b, v, DT_F32);
    snprintf(name, sizeof name, "y.%d", c->results);
    build_output(&c->b, number, str_intern(c->unit->strs, name));
    for (int d = 0; d < v->type.rank; d++) strcat(strcat(dims, " "), v->type.dim[d].axis->name);
    snprintf(name, sizeof name, "weight.%d", c->results++);
    Axes all = type_axes(&v->type);
    Value *term = build_sum(&c->b, case_op(c, OP_mul, number, case_float(c, name, dims, -1, 1), NULL), &all);
    c->loss = c->loss ? case_op(c, OP_add, c->loss, term, NULL) : term;
}

CaseRepeat case_repeat(CaseCtx *c, const char *axis, Value *const *carries, int ncarries, Value *const *stacked,
                       int nstacked, Value *const *invariants, int ninvariants, Value **out_params) {
    CaseRepeat r = {.outer = c->b, .attr = {.axes = case_axes(c, axis), .i = ncarries, .j = nstacked}};
    Block *body = block_new(c->b.func, NULL);
    Type t = type_scalar(DT_I32);
    *out_params++ = block_add_param(body, &t, str_intern(c->unit->strs, "i"));
    for (int i = 0; i < ncarries + nstacked + ninvariants; i++) {
        Value *arg = i < ncarries              ? carries[i]
                     : i < ncarries + nstacked ? stacked[i - ncarries]
                                               : invariants[i - ncarries - nstacked];
        r.args[r.nargs++] = arg;
        t = arg->type;
        if (i >= ncarries && i < ncarries + nstacked) {
            t.rank--;
            for (int d = 0; d < t.rank; d++) t.dim[d] = t.dim[d + 1];
            t.dim[t.rank] = (Dim){0};
        }
        *out_params++ = block_add_param(body, &t, arg->name);
    }
    c->b = builder_at_end(body, c->b.loc);
    return r;
}

void case_repeat_end(CaseCtx *c, CaseRepeat *r, Value *const *yields, int nyields, bool reverse, Value **out_results) {
    Block *body = c->b.block;
    build_node(&c->b, OP_yield, yields, nyields, NULL, NULL);
    r->attr.flag = reverse;
    c->b = r->outer;
    Node *n = node_new(c->b.func, OP_repeat, r->args, r->nargs, nyields, &r->attr, c->b.loc);
    n->body = body;
    body->owner = n;
    Type *types = NEW_ARRAY(c->arena, Type, nyields + 1);
    int count;
    bool ok = op_infer(c->unit, OP_repeat, r->args, r->nargs, &r->attr, body, NULL, c->b.loc, types, &count);
    for (int i = 0; i < nyields; i++) {
        n->results[i]->type = types[i];
        out_results[i] = ok ? n->results[i] : NULL;
    }
    node_append(c->b.block, n);
}

// ---- elementwise ops ----

// Operands' dimensions per variant: equal, broadcast, and permuted.
enum { MAP_VARIANTS = 3 };
static const char *const map_dims[MAP_VARIANTS][3] = {{"a b", "a b", "a b"}, {"a b", "b", ""}, {"b", "a b", "b a"}};

static void build_map_case(CaseCtx *c, OpKind op, int variant) {
    static const char *const names[] = {"x", "y", "z"};
    const OpInfo *info = op_info(op);
    Value *x[3] = {0};
    for (int i = 0; i < info->nargs; i++) {
        const char *dims = map_dims[variant][i];
        if (info->domain == MAP_BOOL || (info->domain == MAP_SELECT && i == 0)) x[i] = case_bools(c, names[i], dims);
        else if (info->domain == MAP_COMPARE) x[i] = case_ids(c, names[i], dims, -1, 2);
        else x[i] = case_param(c, names[i], dims, info->domain == MAP_NUM ? -1.5 : 0.5, 1.5);
    }
    if (info->domain == MAP_CAST) { // through another float type and back, or through integers
        Value *there = build_cast(&c->b, x[0], variant == 1 ? DT_I32 : DT_F64);
        case_result(c, build_cast(&c->b, there, DT_F32));
    } else {
        case_result(c, case_op(c, op, x[0], x[1], x[2]));
    }
}

bool op_differentiable(OpKind op) {
    static const char *const gradients[OP_COUNT] = {
#define MAP(name, nargs, domain, pending, traits, flops, equation, gradient, body) #gradient,
#define OP(name, nargs, nresults, attrs, pending, traits, ki, kj, kf, suffix, gradient, lower) #gradient,
#include "ir/ops.def"
    };
    return strcmp(gradients[op], "(void)0") && strcmp(gradients[op], "none");
}

const OpCase *op_cases(int *out_count) {
    static OpCase all[400];
    static char names[400][40];
    static int n;
    const struct {
        const OpCase *at;
        int count;
    } lists[] = {{op_cases_views, op_cases_views_count},
                 {op_cases_contractions, op_cases_contractions_count},
                 {op_cases_attend, op_cases_attend_count},
                 {op_cases_repeat, op_cases_repeat_count},
                 {op_cases_models, op_cases_models_count}};
    *out_count = n;
    if (n) return all;
    for (int op = 0; op < OP_COUNT; op++)
        for (int variant = 0; op_info(op)->traits & TRAIT_MAP && variant < MAP_VARIANTS; variant++) {
            bool smooth = op_differentiable(op) && !(op == OP_cast && variant == 1);
            snprintf(names[n], sizeof *names, "%s.%d", op_info(op)->name, variant);
            all[n] = (OpCase){names[n], op, CASE_MAP | (smooth ? 0 : CASE_NO_GRADIENT), variant, build_map_case};
            n++;
        }
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        for (int j = 0; j < lists[i].count; j++) all[n++] = lists[i].at[j];
    *out_count = n;
    return all;
}

// ---- opening ----

CaseCtx *case_open(const OpCase *k) {
    Arena *arena = arena_new();
    CaseCtx *c = NEW(arena, CaseCtx);
    c->arena = arena;
    c->scratch = arena_new();
    c->sink = open_memstream(&c->said, &c->said_size);
    StrTable *strs = strtable_new(arena);
    Diag *diag = diag_new(arena, c->sink, false);
    c->unit = unit_new(arena, c->scratch, strs, diag, str_intern(strs, k->name));
    Func *f = unit_add_func(c->unit, "train");
    c->b = builder_at_end(f->top, (Loc){.file = str_intern(strs, k->name), .line = 1, .col = 1});
    k->build(c, k->op, k->variant);
    if (c->loss) build_output(&c->b, c->loss, str_intern(strs, "loss"));
    else diag_error(diag, c->b.loc, "the case has no result");
    return c;
}

const char *case_said(CaseCtx *c) {
    fflush(c->sink);
    return c->said;
}

CaseLeaf *case_leaf(CaseCtx *c, const char *name) {
    for (int i = 0; i < c->leaves.n; i++)
        if (!strcmp(c->leaves.at[i].name, name)) return &c->leaves.at[i];
    return NULL;
}

bool case_set(const CaseCtx *c, Eval *e) {
    for (int i = 0; i < c->leaves.n; i++) {
        const CaseLeaf *leaf = &c->leaves.at[i];
        if (eval_type(e, leaf->name) && !eval_set(e, leaf->name, leaf->values, leaf->count)) return false;
    }
    return true;
}

void case_close(CaseCtx *c) {
    fclose(c->sink);
    free(c->said);
    arena_free(c->scratch);
    arena_free(c->arena);
}

bool case_has_gradient(const OpCase *k) { return !(k->flags & CASE_NO_GRADIENT); }

static bool block_has_products(const Block *b) {
    for (const Node *n = b->first; n; n = n->next)
        if (n->op == OP_dot || n->op == OP_attend || (n->body && block_has_products(n->body))) return true;
    return false;
}

bool case_has_products(const OpCase *k) {
    CaseCtx *c = case_open(k);
    bool has = block_has_products(unit_func(c->unit, "train")->top);
    case_close(c);
    return has;
}
