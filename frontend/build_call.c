// SPDX-License-Identifier: Apache-2.0
// build_call: the functions of the language. Arity and keywords were checked (check_names.c).
#include "frontend/build.h"
#include <inttypes.h>
#include <math.h>

enum { UNSTACK_MAX = 64 };

typedef struct Call {
    Build *s;
    Frame *frame;
    const Expr *e;
    const Expr *at[64]; // positional arguments
    int n;
} Call;

static const Expr *option(const Call *c, const char *key) {
    for (int i = 0; i < c->e->call.args.n; i++)
        if (c->e->call.args.at[i].key.str && !strcmp(c->e->call.args.at[i].key.str, key))
            return c->e->call.args.at[i].value;
    return NULL;
}

static void fail(const Call *c, Loc loc, const char *text) { diag_error(c->s->f->diag, loc, "%s", text); }

// The axes named from argument `first` on; without any, all of x's. False after reporting.
static bool axes_from(const Call *c, int first, const Value *x, Axes *out) {
    *out = (Axes){0};
    for (int i = first; i < c->n; i++) {
        const Axis *axis = axis_of_expr(c->s, c->frame, c->at[i]);
        if (!axis) return false;
        if (axes_find(out, axis) >= 0) {
            diag_error(c->s->f->diag, c->at[i]->loc, "axis '%s' is contracted twice", axis->name);
            return false;
        }
        if (!axes_push(out, axis)) {
            fail(c, c->at[i]->loc, "too many axes");
            return false;
        }
    }
    if (c->n <= first) *out = type_axes(&x->type);
    return true;
}

static Val reduce(const Call *c, Value *x, BuiltinKind kind) {
    Build *s = c->s;
    Axes over;
    if (!x || !axes_from(c, 1, x, &over)) return (Val){0};
    s->b.loc = c->e->loc;
    if (kind == BUILTIN_MAX) return val_tensor(build_max(&s->b, x, &over));
    if (kind == BUILTIN_SUM) return val_tensor(build_sum(&s->b, x, &over));
    if (!dtype_is_float(x->type.dtype)) {
        fail(c, c->e->loc, "mean needs floating-point numbers: cast(x, f32)");
        return (Val){0};
    }
    Value *total = build_sum(&s->b, x, &over);
    double places = 1;
    for (int i = 0; i < over.n; i++) places *= (double)over.at[i]->extent;
    if (!total) return (Val){0};
    return val_tensor(build_map(&s->b, OP_mul, total, build_const(&s->b, x->type.dtype, 1 / places), NULL));
}

// max and min of numbers; max of a tensor along axes.
static Val extreme(const Call *c, BuiltinKind kind) {
    Val first = expr_value(c->s, c->frame, c->at[0]);
    if (first.kind == VAL_TENSOR && kind == BUILTIN_MAX) return reduce(c, first.tensor, BUILTIN_MAX);
    if (first.kind == VAL_TENSOR) fail(c, c->e->loc, "min is of numbers: write minimum(x, y), or -max(-x, axis)");
    if (!val_numeric(&first)) return (Val){0};
    double best = val_value(&first), x;
    for (int i = 1; i < c->n; i++) {
        if (!number_of(c->s, c->frame, c->at[i], &x)) return (Val){0};
        best = kind == BUILTIN_MAX ? fmax(best, x) : fmin(best, x);
    }
    return val_number(best);
}

static Val dot(const Call *c) {
    Value *x = tensor_of_expr(c->s, c->frame, c->at[0]), *y = tensor_of_expr(c->s, c->frame, c->at[1]);
    Axes over;
    if (!x || !y || !axes_from(c, 2, x, &over)) return (Val){0};
    c->s->b.loc = c->e->loc;
    return val_tensor(build_dot(&c->s->b, x, y, &over));
}

// Ids that are an input, however renamed or sliced, must lie in [least, limit): the input says so.
static void bound_ids(const Build *s, Value *ids, int64_t least, int64_t limit) {
    for (;;) {
        if (!ids->def) {
            Value *arg = NULL;
            for (const Loop *l = s->loop; l; l = l->outer)
                for (int i = 0; l->body == ids->block && i < l->links.n; i++)
                    if (l->links.at[i].param == ids) arg = l->links.at[i].arg;
            if (!arg) return;
            ids = arg;
            continue;
        }
        Node *n = ids->def;
        if (n->op == OP_input) {
            bool first = n->attr.i == 0;
            if (first || limit < n->attr.i) n->attr.i = limit;
            if (first || least > n->attr.j) n->attr.j = least;
            return;
        }
        if (n->op != OP_rename && n->op != OP_slice && n->op != OP_stop && n->op != OP_expand) return;
        ids = n->args[0];
    }
}

static Val take(const Call *c) {
    Value *table = tensor_of_expr(c->s, c->frame, c->at[0]), *ids = tensor_of_expr(c->s, c->frame, c->at[1]);
    const Axis *axis = axis_of_expr(c->s, c->frame, c->at[2]);
    const Expr *option_least = option(c, "least");
    int64_t least = 0;
    if (option_least && !integer_of(c->s, c->frame, option_least, &least)) return (Val){0};
    if (!table || !ids || !axis) return (Val){0};
    c->s->b.loc = c->e->loc;
    Value *y = build_take(&c->s->b, table, ids, axis);
    if (least > 0 || least < -2147483648LL) fail(c, option_least->loc, "least is 0 or negative, and fits in 32 bits");
    else if (y) bound_ids(c->s, ids, least, axis->extent);
    return val_tensor(y);
}

// The updates' axes in order; in place of the first that is summed stand those only the ids have, then the new one.
// Summed are the axes named behind it, or all of the ids'.
static Val scatter(const Call *c) {
    Value *ids = tensor_of_expr(c->s, c->frame, c->at[0]), *updates = tensor_of_expr(c->s, c->frame, c->at[1]);
    const Axis *axis = axis_of_expr(c->s, c->frame, c->at[2]);
    Axes summed, to = {0};
    if (!ids || !updates || !axis || !axes_from(c, 3, ids, &summed)) return (Val){0};
    for (int i = 0; i < summed.n; i++) {
        bool in_ids = type_find(&ids->type, summed.at[i]) >= 0;
        if (in_ids && type_find(&updates->type, summed.at[i]) >= 0) continue;
        diag_error(c->s->f->diag, c->n > 3 ? c->at[3 + i]->loc : c->e->loc, "'%s' does not occur in the %s: %s",
                   summed.at[i]->name, in_ids ? "updates" : "ids",
                   type_shown(c->s, in_ids ? &updates->type : &ids->type));
        return (Val){0};
    }
    bool placed = false, ok = true;
    for (int d = 0; d <= updates->type.rank; d++) {
        bool behind = d == updates->type.rank, gone = !behind && axes_find(&summed, updates->type.dim[d].axis) >= 0;
        if ((gone || behind) && !placed) {
            for (int i = 0; i < ids->type.rank; i++)
                if (type_find(&updates->type, ids->type.dim[i].axis) < 0) ok &= axes_push(&to, ids->type.dim[i].axis);
            ok &= axes_push(&to, axis);
            placed = true;
        }
        if (!gone && !behind) ok &= axes_push(&to, updates->type.dim[d].axis);
    }
    if (!ok) {
        diag_error(c->s->f->diag, c->e->loc, "the result of scatter has more than %d axes", RANK_MAX);
        return (Val){0};
    }
    c->s->b.loc = c->e->loc;
    return val_tensor(build_scatter(&c->s->b, ids, updates, axis, &to));
}

static Val cumsum(const Call *c) {
    Value *x = tensor_of_expr(c->s, c->frame, c->at[0]);
    const Axis *axis = axis_of_expr(c->s, c->frame, c->at[1]);
    c->s->b.loc = c->e->loc;
    return val_tensor(x && axis ? build_cumsum(&c->s->b, x, axis, false) : NULL);
}

// Another name for an axis, of which x has none of that name yet.
static const Axis *rival_axis(Unit *u, const Axis *axis, const Type *t) {
    Str name = str_internf(u->strs, "%s_rival", axis->name);
    const Axis *other = unit_axis(u, name);
    while (other && (other->extent != axis->extent || type_find(t, other) >= 0)) {
        name = str_internf(u->strs, "%s_", name);
        other = unit_axis(u, name);
    }
    return other ? other : unit_add_axis(u, name, axis->extent, axis->loc);
}

// How many places along the axis come before this one, the largest first, of equal ones the lower index.
static Val rank(const Call *c) {
    Value *x = tensor_of_expr(c->s, c->frame, c->at[0]);
    const Axis *axis = axis_of_expr(c->s, c->frame, c->at[1]);
    if (!x || !axis) return (Val){0};
    if (type_find(&x->type, axis) < 0) {
        diag_error(c->s->f->diag, c->at[1]->loc, "'%s' does not occur in the operand of rank: %s", axis->name,
                   type_shown(c->s, &x->type));
        return (Val){0};
    }
    Builder *b = &c->s->b;
    b->loc = c->e->loc;
    const Axis *other = rival_axis(c->s->u, axis, &x->type);
    Axes own = axes_of(1, axis), rival = axes_of(1, other);
    Value *y = build_rename(b, x, &own, &rival);
    Value *earlier = build_map(b, OP_gt, build_index(b, axis), build_index(b, other), NULL);
    Value *tie = build_map(b, OP_and, build_map(b, OP_eq, x, y, NULL), earlier, NULL);
    Value *before = build_map(b, OP_or, build_map(b, OP_lt, x, y, NULL), tie, NULL);
    return val_tensor(build_sum(b, build_cast(b, before, DT_I32), &rival));
}

static Val unstack(const Call *c) {
    Value *x = tensor_of_expr(c->s, c->frame, c->at[0]);
    const Axis *axis = axis_of_expr(c->s, c->frame, c->at[1]);
    if (!x || !axis) return (Val){0};
    if (axis->extent > UNSTACK_MAX) {
        diag_error(c->s->f->diag, c->e->loc, "unstack makes at most %d values; '%s' has %" PRId64 " places",
                   UNSTACK_MAX, axis->name, axis->extent);
        return (Val){0};
    }
    Val out = {.kind = VAL_TUPLE, .n = (int)axis->extent};
    out.items = NEW_ARRAY(c->s->f->arena, Val, out.n);
    c->s->b.loc = c->e->loc;
    for (int i = 0; i < out.n; i++) {
        out.items[i] = val_tensor(build_slice(&c->s->b, x, axis, NULL, i));
        if (out.items[i].kind == VAL_POISON) return (Val){0};
    }
    return out.n == 1 ? out.items[0] : out;
}

// The leading tensor arguments; then come axes. Numbers become scalars of the first tensor's element type.
static int tensors_of(const Call *c, Value **out, bool *ok) {
    int n = 0;
    *ok = true;
    for (; n < c->n; n++) {
        Val v = expr_value(c->s, c->frame, c->at[n]);
        if (v.kind == VAL_AXIS) break;
        out[n] = tensor_of(c->s, &v, DT_F32, c->at[n]->loc);
        if (!out[n]) *ok = false;
    }
    if (*ok && n == 0) {
        fail(c, c->e->loc, "the tensors come first, then the axis");
        *ok = false;
    }
    return n;
}

static Val stack(const Call *c) {
    Value *xs[64];
    bool ok;
    int n = tensors_of(c, xs, &ok);
    if (ok && n != c->n - 1) {
        fail(c, c->e->loc, "stack is written stack(x, y, ..., axis)");
        ok = false;
    }
    const Axis *axis = ok ? axis_of_expr(c->s, c->frame, c->at[n]) : NULL;
    if (!axis) return (Val){0};
    int64_t dim = xs[0]->type.rank;
    const Expr *before = option(c, "before");
    if (before) {
        const Axis *b = axis_of_expr(c->s, c->frame, before);
        if (!b) return (Val){0};
        dim = type_find(&xs[0]->type, b);
        if (dim < 0) {
            diag_error(c->s->f->diag, before->loc, "'%s' does not occur in the first operand: %s", b->name,
                       type_shown(c->s, &xs[0]->type));
            return (Val){0};
        }
    }
    c->s->b.loc = c->e->loc;
    return val_tensor(build_concat(&c->s->b, xs, n, NULL, axis, dim));
}

// concat(x, y, whole): each operand's piece is its one axis that not all have; concat(x, y, px, py, whole) names them,
// and concat(x, y, part, whole) when all have the same.
static Val concat(const Call *c) {
    Value *xs[64];
    bool ok;
    int n = tensors_of(c, xs, &ok), given = c->n - n - 1;
    Axes pieces = {0};
    if (ok && (given < 0 || (given > 1 && given != n) || n > RANK_MAX)) {
        diag_error(c->s->f->diag, c->e->loc,
                   "concat is written concat(x, y, ..., axis), with the pieces' axes in front of the last where they "
                   "need names; at most %d operands",
                   RANK_MAX);
        ok = false;
    }
    if (!ok) return (Val){0};
    const Axis *whole = axis_of_expr(c->s, c->frame, c->at[c->n - 1]);
    for (int i = 0; i < n && whole; i++) {
        const Axis *piece = NULL;
        if (given) {
            piece = axis_of_expr(c->s, c->frame, c->at[n + (given == 1 ? 0 : i)]);
            if (!piece) return (Val){0};
        } else {
            for (int d = 0, found = 0; d < xs[i]->type.rank; d++) {
                bool common = true;
                for (int j = 0; j < n; j++) common &= type_find(&xs[j]->type, xs[i]->type.dim[d].axis) >= 0;
                if (!common) piece = found++ ? NULL : xs[i]->type.dim[d].axis;
            }
        }
        if (!piece) {
            fail(c, c->at[i]->loc,
                 "which axis of this is a piece? Name the pieces: concat(x, y, x_axis, y_axis, axis)");
            return (Val){0};
        }
        axes_push(&pieces, piece);
    }
    if (!whole) return (Val){0};
    c->s->b.loc = c->e->loc;
    return val_tensor(build_concat(&c->s->b, xs, n, &pieces, whole, 0));
}

static Val slice(const Call *c) {
    Value *x = tensor_of_expr(c->s, c->frame, c->at[0]);
    const Axis *from = axis_of_expr(c->s, c->frame, c->at[1]), *to = NULL;
    const Expr *option_at = option(c, "at");
    int64_t at = 0;
    if (c->n > 2 && !(to = axis_of_expr(c->s, c->frame, c->at[2]))) return (Val){0};
    if (option_at && !integer_of(c->s, c->frame, option_at, &at)) return (Val){0};
    if (!x || !from) return (Val){0};
    c->s->b.loc = c->e->loc;
    return val_tensor(build_slice(&c->s->b, x, from, to, at));
}

static Val cast(const Call *c) {
    Val x = expr_value(c->s, c->frame, c->at[0]), to = expr_value(c->s, c->frame, c->at[1]);
    if (to.kind != VAL_DTYPE) {
        if (to.kind != VAL_POISON) fail(c, c->at[1]->loc, "cast needs an element type: cast(x, f32)");
        return (Val){0};
    }
    if (to.dtype != DT_F32 && to.dtype != DT_I32 && to.dtype != DT_BOOL) {
        diag_error(c->s->f->diag, c->at[1]->loc, "not yet supported: tensors of %s", dtype_name(to.dtype));
        return (Val){0};
    }
    Value *v = tensor_of(c->s, &x, to.dtype, c->at[0]->loc);
    c->s->b.loc = c->e->loc;
    return val_tensor(build_cast(&c->s->b, v, to.dtype));
}

// Uniform on [0, 1), f32. Keys: seed, step, and the iterations of the open repeats.
static Val draw(const Call *c) {
    Build *s = c->s;
    Type t = type_scalar(DT_F32);
    for (int i = 0; i < c->n; i++) {
        Val v = expr_value(s, c->frame, c->at[i]);
        Axes more = {0};
        if (v.kind == VAL_TENSOR) more = type_axes(&v.tensor->type);
        else if (v.kind == VAL_AXIS) axes_push(&more, v.axis);
        else {
            if (v.kind != VAL_POISON) fail(c, c->at[i]->loc, "random takes axes, or a tensor whose axes it has");
            return (Val){0};
        }
        for (int j = 0; j < more.n; j++)
            if (type_find(&t, more.at[j]) >= 0 || !type_push(&t, more.at[j])) {
                diag_error(s->f->diag, c->at[i]->loc, "axis '%s' is listed twice, or there are too many",
                           more.at[j]->name);
                return (Val){0};
            }
    }
    Value *keys[4] = {run_input(s, "seed"), run_input(s, "step")};
    int n = 2, loops = 0;
    for (const Loop *l = s->loop; l; l = l->outer) loops++;
    if (loops > 2) {
        fail(c, c->e->loc, "random inside more than two repeats is not yet supported");
        return (Val){0};
    }
    if (loops == 2) keys[n++] = value_here(s, s->loop->outer->body->params[0]);
    if (loops >= 1) keys[n++] = s->loop->body->params[0];
    s->b.loc = c->e->loc;
    enum { STREAMS = 1 << 30 }; // those of parameters come before
    return val_tensor(build_random(&s->b, &t, 0, STREAMS + s->randoms++, keys, n));
}

static Val attend(const Call *c) {
    Build *s = c->s;
    Value *q = tensor_of_expr(s, c->frame, c->at[0]), *k = tensor_of_expr(s, c->frame, c->at[1]),
          *v = tensor_of_expr(s, c->frame, c->at[2]), *mask = NULL;
    const Axis *feature = axis_of_expr(s, c->frame, c->at[3]), *key = NULL;
    const Expr *causal = NULL;
    const Args *args = &c->e->call.args;
    for (int i = 0; i < args->n; i++) {
        const Arg *a = &args->at[i];
        if (a->over && !(key = axis_of(s, c->frame, a->value->name, a->value->loc))) return (Val){0};
        if (!a->over && !a->key.str && a->value->kind == EXPR_CALL && !strcmp(a->value->call.callee.str, "causal"))
            causal = a->value;
    }
    if (!q || !k || !v || !feature || !key) return (Val){0};
    double scale = 1 / sqrt((double)feature->extent);
    if (option(c, "scale") && !number_of(s, c->frame, option(c, "scale"), &scale)) return (Val){0};
    if (option(c, "mask") && !(mask = tensor_of_expr(s, c->frame, option(c, "mask")))) return (Val){0};
    Axes pair = {0};
    for (int i = 0; causal && i < 2; i++) {
        const Axis *axis = axis_of_expr(s, c->frame, causal->call.args.at[i].value);
        if (!axis) return (Val){0};
        axes_push(&pair, axis);
    }
    s->b.loc = c->e->loc;
    return val_tensor(build_attend(&s->b, q, k, v, mask, feature, key, scale, causal ? &pair : NULL, NULL));
}

// A number decides at compile time: only the chosen side is built.
static Val select_(const Call *c) {
    Val args[3] = {expr_value(c->s, c->frame, c->at[0])};
    if (val_numeric(&args[0])) return expr_value(c->s, c->frame, c->at[val_value(&args[0]) != 0 ? 1 : 2]);
    args[1] = expr_value(c->s, c->frame, c->at[1]);
    args[2] = expr_value(c->s, c->frame, c->at[2]);
    return expr_map(c->s, OP_select, args, 3, c->e->loc);
}

Val expr_builtin(Build *s, Frame *frame, const Expr *e, const Builtin *b) {
    Call c = {.s = s, .frame = frame, .e = e};
    for (int i = 0; i < e->call.args.n; i++) {
        const Arg *a = &e->call.args.at[i];
        bool causal =
            b->kind == BUILTIN_ATTEND && a->value->kind == EXPR_CALL && !strcmp(a->value->call.callee.str, "causal");
        if (a->over || a->key.str || causal) continue;
        if (c.n == (int)(sizeof c.at / sizeof *c.at)) {
            fail(&c, a->value->loc, "too many arguments");
            return (Val){0};
        }
        c.at[c.n++] = a->value;
    }
    switch (b->kind) {
    case BUILTIN_MAP: {
        Val args[3] = {0};
        if (b->op == OP_select) return select_(&c);
        for (int i = 0; i < c.n; i++) args[i] = expr_value(s, frame, c.at[i]);
        return expr_map(s, b->op, args, c.n, e->loc);
    }
    case BUILTIN_SUM:
    case BUILTIN_MEAN: return reduce(&c, tensor_of_expr(s, frame, c.at[0]), b->kind);
    case BUILTIN_MAX:
    case BUILTIN_MIN: return extreme(&c, b->kind);
    case BUILTIN_DOT: return dot(&c);
    case BUILTIN_TAKE: return take(&c);
    case BUILTIN_SCATTER: return scatter(&c);
    case BUILTIN_CUMSUM: return cumsum(&c);
    case BUILTIN_RANK: return rank(&c);
    case BUILTIN_INDEX: {
        const Axis *axis = axis_of_expr(s, frame, c.at[0]);
        s->b.loc = e->loc;
        return axis ? val_tensor(build_index(&s->b, axis)) : (Val){0};
    }
    case BUILTIN_UNSTACK: return unstack(&c);
    case BUILTIN_STACK: return stack(&c);
    case BUILTIN_CONCAT: return concat(&c);
    case BUILTIN_SLICE: return slice(&c);
    case BUILTIN_CAST: return cast(&c);
    case BUILTIN_RANDOM: return draw(&c);
    case BUILTIN_ATTEND: return attend(&c);
    }
    return (Val){0};
}
