// SPDX-License-Identifier: Apache-2.0
// build_expr: what names, operators and brackets denote.
#include "frontend/build.h"
#include "ir/text.h"
#include <inttypes.h>
#include <math.h>

enum { DEPTH_MAX = 1500 }; // of expressions within blocks within expressions

Var *frame_find(Frame *frame, Str name) {
    for (; frame; frame = frame->outer)
        for (int i = 0; i < frame->vars.n; i++)
            if (frame->vars.at[i].name == name) return &frame->vars.at[i];
    return NULL;
}

void frame_set(Build *s, Frame *frame, Str name, Val val) {
    for (int i = 0; i < frame->vars.n; i++)
        if (frame->vars.at[i].name == name) {
            frame->vars.at[i].val = val;
            return;
        }
    vec_push(s->f->arena, &frame->vars, ((Var){name, val}));
}

const char *type_shown(const Build *s, const Type *t) { return type_text(t, &s->u->mesh, s->f->arena); }

Str name_join(const Build *s, Str prefix, Str name) {
    return *prefix ? str_internf(s->f->strs, "%s.%s", prefix, name) : name;
}

static Value *into_loop(Build *s, Loop *loop, Value *v) {
    const Block *home = v->def ? v->def->parent : v->block;
    if (!loop || home == loop->body) return v;
    v = into_loop(s, loop->outer, v);
    for (int i = 0; i < loop->links.n; i++)
        if (loop->links.at[i].arg == v && !loop->links.at[i].stacked) return loop->links.at[i].param;
    Value *param = block_add_param(loop->body, &v->type, v->name);
    vec_push(s->f->arena, &loop->links, ((Link){v, param, false}));
    return param;
}

Value *value_here(Build *s, Value *v) { return v ? into_loop(s, s->loop, v) : NULL; }

Value *run_input(Build *s, Str name) {
    Value **v = !strcmp(name, "seed") ? &s->seed : &s->step;
    if (!*v) {
        Builder top = builder_at_end(s->func->top, s->b.loc);
        Type t = type_scalar(DT_I32);
        *v = build_input(&top, &t, str_intern(s->f->strs, name), 0, 0);
    }
    return value_here(s, *v);
}

static Val name_lookup(Build *s, Frame *frame, Str name, Loc loc) {
    Var *var = frame_find(frame, name);
    if (var) {
        Val v = var->val;
        if (v.kind == VAL_TENSOR) v.tensor = value_here(s, v.tensor);
        return v;
    }
    DType dtype;
    if (!strcmp(name, "training")) return val_number(s->training);
    if (dtype_parse(name, &dtype)) return (Val){.kind = VAL_DTYPE, .dtype = dtype};
    const Axis *axis = axis_lookup(s->f, name, loc);
    return axis ? val_axis(axis) : (Val){0};
}

Val name_value(Build *s, Frame *frame, Str name, Loc loc) {
    Val v = name_lookup(s, frame, name, loc);
    build_see(s, loc, &v);
    return v;
}

static const char *kind_text(const Val *v) {
    switch (v->kind) {
    case VAL_NUMBER: return "a number";
    case VAL_TENSOR: return "a tensor";
    case VAL_AXIS: return "an axis";
    case VAL_DTYPE: return "an element type";
    default: return "several values";
    }
}

const Axis *axis_of(Build *s, Frame *frame, Str name, Loc loc) {
    Val v = name_value(s, frame, name, loc);
    if (v.kind == VAL_AXIS) return v.axis;
    if (v.kind != VAL_POISON) diag_error(s->f->diag, loc, "'%s' is %s; an axis is needed here", name, kind_text(&v));
    return NULL;
}

const Axis *axis_of_expr(Build *s, Frame *frame, const Expr *e) {
    if (e->kind == EXPR_NAME) return axis_of(s, frame, e->name, e->loc);
    diag_error(s->f->diag, e->loc, "an axis is needed here");
    return NULL;
}

bool number_of(Build *s, Frame *frame, const Expr *e, double *out) {
    Val v = expr_value(s, frame, e);
    if (val_numeric(&v)) return *out = val_value(&v), true;
    if (v.kind != VAL_POISON) diag_error(s->f->diag, e->loc, "this is %s; a number is needed here", kind_text(&v));
    return false;
}

bool integer_of(Build *s, Frame *frame, const Expr *e, int64_t *out) {
    double x;
    if (!number_of(s, frame, e, &x)) return false;
    if (x == floor(x) && fabs(x) < 9e15) return *out = (int64_t)x, true;
    diag_error(s->f->diag, e->loc, "a whole number is needed here, not %g", x);
    return false;
}

Value *tensor_of(Build *s, const Val *v, DType of_number, Loc loc) {
    s->b.loc = loc;
    switch (v->kind) {
    case VAL_TENSOR: return v->tensor;
    case VAL_POISON: return NULL;
    case VAL_NUMBER:
    case VAL_AXIS: {
        double x = val_value(v);
        bool fits =
            of_number == DT_BOOL ? x == 0 || x == 1 : of_number != DT_I32 || (x == floor(x) && fabs(x) < 2147483648.0);
        if (!fits) {
            diag_error(s->f->diag, loc, "%g is not %s number; cast the tensor first", x,
                       of_number == DT_BOOL ? "a bool" : "an i32");
            return NULL;
        }
        return build_const(&s->b, of_number, x);
    }
    default: diag_error(s->f->diag, loc, "this is %s; a tensor is needed here", kind_text(v)); return NULL;
    }
}

Value *tensor_of_expr(Build *s, Frame *frame, const Expr *e) {
    Val v = expr_value(s, frame, e);
    if (v.kind == VAL_TENSOR) return v.tensor;
    if (v.kind != VAL_POISON) diag_error(s->f->diag, e->loc, "this is %s; a tensor is needed here", kind_text(&v));
    return NULL;
}

Val expr_map(Build *s, OpKind op, const Val *args, int n, Loc loc) {
    bool all = true;
    int tensor = -1;
    for (int i = n - 1; i >= 0; i--) {
        if (args[i].kind == VAL_POISON) return (Val){0};
        all &= val_numeric(&args[i]);
        if (args[i].kind == VAL_TENSOR && !(op == OP_select && i == 0)) tensor = i;
    }
    if (all) {
        double numbers[3] = {0}, x;
        for (int i = 0; i < n; i++) numbers[i] = val_value(&args[i]);
        number_fold(op, numbers, &x);
        if (isfinite(x)) return val_number(x);
        diag_error(s->f->diag, loc, "this is not a finite number");
        return (Val){0};
    }
    Value *v[3] = {0};
    for (int i = 0; i < n; i++) {
        DType of_number = tensor >= 0 ? args[tensor].tensor->type.dtype : DT_F32;
        if (op == OP_select && i == 0) of_number = DT_BOOL;
        v[i] = tensor_of(s, &args[i], of_number, loc);
        if (!v[i]) return (Val){0};
    }
    s->b.loc = loc;
    return val_tensor(build_map(&s->b, op, v[0], v[1], v[2]));
}

static Val expr_piece(Build *s, Frame *frame, Value *x, const Piece *p) {
    Axes from = {0}, to = {0};
    for (int side = 0; side < 2; side++) {
        const Names *names = side ? &p->to : &p->from;
        for (int i = 0; i < names->n; i++) {
            const Axis *axis = axis_of(s, frame, names->at[i].str, names->at[i].loc);
            if (!axis) return (Val){0};
            if (!axes_push(side ? &to : &from, axis)) {
                diag_error(s->f->diag, p->loc, "more than %d axes", RANK_MAX);
                return (Val){0};
            }
        }
    }
    int64_t at = 0;
    if (p->at && !integer_of(s, frame, p->at, &at)) return (Val){0};
    s->b.loc = p->loc;
    if (p->at) return val_tensor(build_slice(&s->b, x, from.at[0], to.n ? to.at[0] : NULL, at));
    return val_tensor(build_rename(&s->b, x, &from, &to));
}

static Val expr_index(Build *s, Frame *frame, const Expr *e) {
    Val v = val_tensor(tensor_of_expr(s, frame, e->index.x));
    for (int i = 0; i < e->index.pieces.n && v.kind == VAL_TENSOR; i++)
        v = expr_piece(s, frame, v.tensor, &e->index.pieces.at[i]);
    return v;
}

Val expr_value(Build *s, Frame *frame, const Expr *e) {
    if (s->stopped) return (Val){0};
    if (s->depth == DEPTH_MAX) {
        diag_error(s->f->diag, e->loc, "blocks and expressions are nested too deep");
        s->stopped = true;
        return (Val){0};
    }
    s->depth++;
    Val out = {0};
    switch (e->kind) {
    case EXPR_NUMBER: out = val_number(e->number.value); break;
    case EXPR_NAME: out = name_value(s, frame, e->name, e->loc); break;
    case EXPR_CALL: {
        BlockDecl *block = front_block(s->f, e->call.callee.str, frame->block && frame->block->is_std);
        out = block ? expr_block(s, frame, e, block) : expr_builtin(s, frame, e, builtin_find(e->call.callee.str));
        build_see(s, e->call.callee.loc, &out);
        break;
    }
    case EXPR_OP: {
        Val args[2] = {expr_value(s, frame, e->op.a)};
        if (e->op.b) args[1] = expr_value(s, frame, e->op.b);
        out = expr_map(s, e->op.op, args, e->op.b ? 2 : 1, e->loc);
        break;
    }
    case EXPR_INDEX: out = expr_index(s, frame, e); break;
    case EXPR_STRING:
    case EXPR_TUPLE: diag_error(s->f->diag, e->loc, "this has no meaning here"); break;
    }
    s->depth--;
    return out;
}
