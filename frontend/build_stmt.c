// SPDX-License-Identifier: Apache-2.0
// build_stmt: statements, block expansion, and repeat.
#include "frontend/build.h"

enum { CALLS_MAX = 20000, VALUES_MAX = 200000 }; // in one function

// Behind an error inside expanded blocks: where they were called. They stay silent from then on.
static void show_calls(Build *s) {
    enum { SHOWN = 4 };
    int errors = diag_errors(s->f->diag), shown = 0;
    if (errors == s->errors_seen) return;
    s->errors_seen = errors;
    for (CallSite *c = s->call; c; c = c->outer) {
        c->block->failed = true;
        if (shown++ < SHOWN) diag_note(s->f->diag, c->loc, "in block '%s', called here", c->block->name.str);
    }
}

static void stop(Build *s, Loc loc) {
    if (!s->stopped) diag_error(s->f->diag, loc, "this program is too large: blocks expand to too many operations");
    s->stopped = true;
}

Val expr_block(Build *s, Frame *frame, const Expr *e, BlockDecl *block) {
    Frame inner = {.block = block};
    int positional = 0;
    bool poison = block->failed;
    for (int i = 0; i < block->formals.n; i++)
        vec_push(s->f->arena, &inner.vars, ((Var){block->formals.at[i].name.str, (Val){.kind = VAL_TUPLE}}));
    for (int i = 0; i < e->call.args.n; i++) {
        const Arg *a = &e->call.args.at[i];
        Val v = expr_value(s, frame, a->value);
        if (v.kind == VAL_TUPLE) {
            diag_error(s->f->diag, a->value->loc, "this makes %d values; assign them to names first", v.n);
            v = (Val){0};
        }
        poison |= v.kind == VAL_POISON;
        if (a->key.str) frame_set(s, &inner, a->key.str, v);
        else inner.vars.at[positional++].val = v;
    }
    if (++s->calls > CALLS_MAX) stop(s, e->loc);
    if (poison || s->stopped) return (Val){0};
    Frame defaults = {.block = block};
    for (int i = 0; i < block->formals.n; i++)
        if (inner.vars.at[i].val.kind == VAL_TUPLE)
            inner.vars.at[i].val = expr_value(s, &defaults, block->formals.at[i].fallback);
    for (int i = 0; i < block->formals.n; i++) build_see(s, block->formals.at[i].name.loc, &inner.vars.at[i].val);
    Str storage = s->storage, path = s->path;
    Str prefix = e->call.as.str ? storage_text(s, e->call.as) : NULL;
    if (e->call.as.str && !prefix) return (Val){0};
    if (prefix) s->storage = name_join(s, s->storage, prefix);
    s->path = name_join(s, s->path, prefix ? prefix : block->name.str);
    Str scope = s->b.scope;
    s->b.scope = scope ? str_internf(s->f->strs, "%s/%s", scope, block->name.str) : block->name.str;
    CallSite site = {s->call, block, e->loc};
    show_calls(s); // of the caller, if any
    s->call = &site;
    run_stmts(s, &inner, &block->body);
    const Stmt *last = block->body.at[block->body.n - 1];
    Val out = {.kind = VAL_TUPLE, .n = last->values.n};
    out.items = NEW_ARRAY(s->f->arena, Val, out.n);
    for (int i = 0; i < out.n; i++) out.items[i] = expr_value(s, &inner, last->values.at[i]);
    show_calls(s);
    s->b.scope = scope;
    s->call = site.outer;
    s->storage = storage;
    s->path = path;
    return out.n == 1 ? out.items[0] : out;
}

static void name_hint(const Val *v, Str name) {
    if (v->kind == VAL_TENSOR && !v->tensor->name) v->tensor->name = name;
}

static void run_assign(Build *s, Frame *frame, const Stmt *stmt) {
    const Names *names = &stmt->assign.names;
    Val v = expr_value(s, frame, stmt->assign.value);
    int n = v.kind == VAL_TUPLE ? v.n : 1;
    if (v.kind != VAL_POISON && n != names->n) {
        diag_error(s->f->diag, stmt->loc, "%d name%s for %d value%s", names->n, names->n == 1 ? "" : "s", n,
                   n == 1 ? "" : "s");
        v = (Val){0};
    }
    for (int i = 0; i < names->n; i++) {
        Val item = v.kind == VAL_TUPLE ? v.items[i] : v;
        name_hint(&item, names->at[i].str);
        build_see(s, names->at[i].loc, &item);
        frame_set(s, frame, names->at[i].str, item);
    }
}

static void run_inputs(Build *s, Frame *frame, const Stmt *stmt) {
    Type t = type_scalar(DT_F32);
    dtype_parse(stmt->input.dtype.str, &t.dtype);
    bool ok = true;
    for (int i = 0; i < stmt->input.shape.n; i++) {
        const Name axis = stmt->input.shape.at[i];
        const Axis *a = axis_of(s, frame, axis.str, axis.loc);
        if (a && !type_push(&t, a)) {
            diag_error(s->f->diag, axis.loc, "a tensor has at most %d axes", RANK_MAX);
            a = NULL;
        }
        ok &= a != NULL;
    }
    for (int i = 0; i < stmt->input.names.n; i++) {
        const Name name = stmt->input.names.at[i];
        s->b.loc = name.loc;
        Value *v = ok ? build_input(&s->b, &t, name.str, 0, 0) : NULL;
        const Val input = val_tensor(v);
        build_see(s, name.loc, &input);
        frame_set(s, frame, name.str, input);
    }
}

// Names assigned in a repeat's body, inner repeats included, each once, in order.
static void assigned_in(Build *s, const Stmts *body, Names *out) {
    for (int i = 0; i < body->n; i++) {
        const Stmt *stmt = body->at[i];
        if (stmt->kind == STMT_REPEAT) assigned_in(s, &stmt->repeat.body, out);
        if (stmt->kind != STMT_ASSIGN) continue;
        for (int j = 0; j < stmt->assign.names.n; j++) {
            bool known = false;
            for (int k = 0; k < out->n; k++) known |= out->at[k].str == stmt->assign.names.at[j].str;
            if (!known) vec_push(s->f->arena, out, stmt->assign.names.at[j]);
        }
    }
}

typedef struct Carry {
    Name name;
    Value *begin, *param, *end;
} Carry;
typedef Vec(Carry) Carries;

// What the body leaves in a carried variable, with the type it began with. NULL after reporting.
static Value *carry_end(Build *s, Frame *inner, const Carry *c) {
    Val v = frame_find(inner, c->name.str)->val;
    Value *end = tensor_of(s, &v, c->begin->type.dtype, c->name.loc);
    if (!end) return NULL;
    end = value_here(s, end);
    const Type *from = &c->begin->type, *to = &end->type;
    bool same = from->dtype == to->dtype && to->rank <= from->rank;
    for (int i = 0; same && i < to->rank; i++) same = type_find(from, to->dim[i].axis) >= 0;
    if (same) return build_expand(&s->b, end, from);
    diag_error(s->f->diag, c->name.loc, "'%s' is %s before the repeat and %s after one iteration", c->name.str,
               type_shown(s, from), type_shown(s, to));
    return NULL;
}

static bool find_carries(Build *s, Frame *frame, const Stmt *stmt, Carries *out) {
    Names assigned = {0};
    assigned_in(s, &stmt->repeat.body, &assigned);
    for (int i = 0; i < assigned.n; i++) {
        Var *var = frame_find(frame, assigned.at[i].str);
        if (!var) continue;
        Val v = var->val;
        Value *begin = value_here(s, tensor_of(s, &v, DT_F32, assigned.at[i].loc));
        if (!begin) return false;
        vec_push(s->f->arena, out, ((Carry){.name = assigned.at[i], .begin = begin}));
    }
    if (!out->n) {
        diag_error(s->f->diag, stmt->loc,
                   "this repeat carries nothing: assign a variable in it that has a value before it");
        return false;
    }
    return true;
}

// Operands and body parameters in the order a repeat has them: carries, stacked, invariants.
static Value **arrange(Build *s, Loop *loop, const Carries *carries, int *out_nargs, int *out_stacked) {
    int n = carries->n + loop->links.n, at = 0;
    Value **args = NEW_ARRAY(s->f->arena, Value *, n);
    Value **params = NEW_ARRAY(s->u->arena, Value *, n + 1);
    params[0] = loop->body->params[0];
    for (int i = 0; i < carries->n; i++, at++) {
        args[at] = carries->at[i].begin;
        params[at + 1] = carries->at[i].param;
    }
    *out_stacked = 0;
    for (int stacked = 1; stacked >= 0; stacked--)
        for (int i = 0; i < loop->links.n; i++) {
            const Link *l = &loop->links.at[i];
            if (l->stacked != (stacked == 1)) continue;
            args[at] = l->arg;
            params[at + 1] = l->param;
            *out_stacked += stacked;
            at++;
        }
    for (int i = 0; i <= n; i++) params[i]->index = i;
    loop->body->params = params;
    loop->body->nparams = n + 1;
    *out_nargs = n;
    return args;
}

static Node *finish_repeat(Build *s, Loop *loop, const Carries *carries, Loc loc) {
    Value **ends = NEW_ARRAY(s->f->arena, Value *, carries->n);
    for (int i = 0; i < carries->n; i++) ends[i] = carries->at[i].end;
    if (!build_node(&s->b, OP_yield, ends, carries->n, NULL, NULL)) return NULL;
    int nargs, stacked, count;
    Value **args = arrange(s, loop, carries, &nargs, &stacked);
    Attr attr = {.axes = axes_of(1, loop->axis), .i = carries->n, .j = stacked};
    Type *types = NEW_ARRAY(s->f->arena, Type, carries->n);
    if (!op_infer(s->u, OP_repeat, args, nargs, &attr, loop->body, NULL, loc, types, &count)) return NULL;
    Node *n = node_new(s->func, OP_repeat, args, nargs, count, &attr, loc);
    n->scope = s->b.scope;
    n->body = loop->body;
    loop->body->owner = n;
    for (int i = 0; i < count; i++) {
        n->results[i]->type = types[i];
        n->results[i]->name = carries->at[i].name.str;
    }
    return n;
}

static void run_repeat(Build *s, Frame *frame, const Stmt *stmt) {
    Frame inner = {.outer = frame, .block = frame->block};
    Carries carries = {0};
    const Axis *axis = axis_of(s, frame, stmt->repeat.axis.str, stmt->repeat.axis.loc);
    Loop loop = {.outer = s->loop, .axis = axis};
    Builder outside = s->b;
    Str storage = s->storage, path = s->path;
    int open = 0;
    for (const Loop *l = s->loop; l; l = l->outer) {
        open++;
        if (l->axis != axis || !axis) continue;
        diag_error(s->f->diag, stmt->loc, "'%s' is repeated inside its own repeat", axis->name);
        axis = NULL;
    }
    if (axis && open == REPEAT_DEPTH_MAX) {
        diag_error(s->f->diag, stmt->loc, "repeat is nested more than %d deep", REPEAT_DEPTH_MAX);
        axis = NULL;
    }
    Node *n = NULL;
    if (axis && find_carries(s, frame, stmt, &carries)) {
        Type counter = type_scalar(DT_I32);
        loop.body = block_new(s->func, NULL);
        block_add_param(loop.body, &counter, str_intern(s->f->strs, "i"));
        for (int i = 0; i < carries.n; i++) {
            Carry *c = &carries.at[i];
            c->param = block_add_param(loop.body, &c->begin->type, c->name.str);
            frame_set(s, &inner, c->name.str, val_tensor(c->param));
        }
        s->loop = &loop;
        s->b = builder_at_end(loop.body, stmt->loc);
        s->b.scope = outside.scope;
        Name as = stmt->repeat.as;
        Str prefix;
        if (as.str) {
            prefix = storage_text(s, as);
            if (prefix && !strstr(prefix, arena_printf(s->f->arena, "{%s}", axis->name))) {
                diag_error(s->f->diag, as.loc, "the prefix of a repeat over '%s' must hold '{%s}'", axis->name,
                           axis->name);
                prefix = NULL;
            }
        } else {
            prefix = str_internf(s->f->strs, "%s.{%s}", axis->name, axis->name);
        }
        bool ok = prefix != NULL;
        if (ok) {
            s->storage = name_join(s, s->storage, prefix);
            size_t stem = strcspn(prefix, "{");
            while (stem > 0 && prefix[stem - 1] == '.') stem--;
            s->path = name_join(s, s->path, stem ? str_intern_n(s->f->strs, prefix, stem) : axis->name);
            run_stmts(s, &inner, &stmt->repeat.body);
        }
        s->b.loc = stmt->loc;
        for (int i = 0; ok && i < carries.n; i++) {
            carries.at[i].end = carry_end(s, &inner, &carries.at[i]);
            ok = carries.at[i].end != NULL;
        }
        if (ok) n = finish_repeat(s, &loop, &carries, stmt->loc);
    }
    s->b = outside;
    s->loop = loop.outer;
    s->storage = storage;
    s->path = path;
    if (n) node_append(s->b.block, n);
    Names assigned = {0};
    assigned_in(s, &stmt->repeat.body, &assigned);
    for (int i = 0; !n && i < assigned.n; i++) {
        if (frame_find(frame, assigned.at[i].str)) frame_set(s, frame, assigned.at[i].str, (Val){0});
    }
    for (int i = 0; n && i < carries.n; i++) frame_set(s, frame, carries.at[i].name.str, val_tensor(n->results[i]));
}

void run_stmts(Build *s, Frame *frame, const Stmts *body) {
    for (int i = 0; i < body->n && !s->stopped; i++) {
        const Stmt *stmt = body->at[i];
        s->b.loc = stmt->loc;
        switch (stmt->kind) {
        case STMT_PARAM: run_param(s, frame, stmt); break;
        case STMT_INPUT: run_inputs(s, frame, stmt); break;
        case STMT_ASSIGN: run_assign(s, frame, stmt); break;
        case STMT_REPEAT: run_repeat(s, frame, stmt); break;
        case STMT_RETURN: break; // expr_block
        }
        show_calls(s);
        if (s->func->next_id > VALUES_MAX) stop(s, stmt->loc);
    }
}
