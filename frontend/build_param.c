// SPDX-License-Identifier: Apache-2.0
// build_param: parameters: their node, their names, and function init.
#include "frontend/build.h"
#include <ctype.h>
#include <math.h>

Str storage_text(Build *s, Name as) {
    const char *p = as.str;
    char text[2 * STRING_MAX_BYTES + 2];
    size_t n = 0;
    if (!*p || *p == '.' || p[strlen(p) - 1] == '.') {
        diag_error(s->f->diag, as.loc, "a stored name neither is empty nor begins or ends with '.'");
        return NULL;
    }
    while (*p) {
        if (*p == '{') {
            size_t length = strcspn(p + 1, "}");
            const Axis *axis = NULL;
            for (const Loop *l = s->loop; l && p[1 + length] == '}'; l = l->outer)
                if (strlen(l->axis->name) == length && !strncmp(l->axis->name, p + 1, length)) axis = l->axis;
            if (!axis) {
                diag_error(s->f->diag, as.loc, "'{%.*s}' does not name the axis of a repeat around this", (int)length,
                           p + 1);
                return NULL;
            }
            memcpy(text + n, p, length + 2);
            n += length + 2;
            p += length + 2;
        } else if (isalnum((unsigned char)*p) || strchr("._-/", *p)) {
            text[n++] = *p++;
        } else {
            diag_error(s->f->diag, as.loc, "a stored name is made of letters, digits, '.', '_', '-', '/' and '{axis}'");
            return NULL;
        }
    }
    return str_intern_n(s->f->strs, text, n);
}

// The law and its numbers. False after reporting.
static bool read_init(Build *s, Frame *frame, const Expr *e, ParamInfo *out) {
    out->law = -1;
    if (e->kind == EXPR_NAME && !strcmp(e->name, "zeros")) return out->a = 0, true;
    if (e->kind == EXPR_NAME && !strcmp(e->name, "ones")) return out->a = 1, true;
    if (e->kind != EXPR_CALL) return number_of(s, frame, e, &out->a);
    const Args *args = &e->call.args;
    if (args->n < 1 || !number_of(s, frame, args->at[0].value, &out->a)) return false;
    out->law = strcmp(e->call.callee.str, "normal") ? 0 : 1;
    if (out->law == 1 && out->a < 0) {
        diag_error(s->f->diag, e->loc, "a standard deviation is not negative");
        return false;
    }
    if (out->law == 1) return true;
    if (args->n < 2 || !number_of(s, frame, args->at[1].value, &out->b)) return false;
    if (out->a <= out->b) return true;
    diag_error(s->f->diag, e->loc, "uniform(least, most) needs least <= most");
    return false;
}

static bool push_axis(Build *s, Type *t, const Axis *axis, Loc loc) {
    if (!axis) return false;
    if (type_find(t, axis) >= 0) diag_error(s->f->diag, loc, "axis '%s' occurs twice in this parameter", axis->name);
    else if (!type_push(t, axis)) diag_error(s->f->diag, loc, "a tensor has at most %d axes", RANK_MAX);
    else return true;
    return false;
}

static bool push_loops(Build *s, const Loop *l, Type *t, Loc loc) {
    return !l || (push_loops(s, l->outer, t, loc) && push_axis(s, t, l->axis, loc));
}

// " [a, b*c]": the stored shape, repeat axes left out.
static const char *bracket(Build *s, Frame *frame, const Stmt *stmt) {
    const char *text = " [";
    const Groups *groups = &stmt->param.groups;
    if (!stmt->param.has_groups) {
        for (int i = 0; i < stmt->param.shape.n; i++) {
            const Name n = stmt->param.shape.at[i];
            text = arena_printf(s->f->arena, "%s%s%s", text, i ? ", " : "", axis_of(s, frame, n.str, n.loc)->name);
        }
    }
    for (int i = 0; i < groups->n; i++)
        for (int j = 0; j < groups->at[i].n; j++) {
            const Name n = groups->at[i].at[j];
            text = arena_printf(s->f->arena, "%s%s%s", text,
                                j   ? "*"
                                : i ? ", "
                                    : "",
                                axis_of(s, frame, n.str, n.loc)->name);
        }
    return arena_printf(s->f->arena, "%s]", text);
}

static bool name_taken(const Build *s, Str name) {
    for (int i = 0; i < s->params.n; i++)
        if (s->params.at[i].name == name) return true;
    return false;
}

// The entry of a parameter, made when it is met first. NULL after reporting.
static ParamInfo *enter(Build *s, const ParamInfo *p, Str path) {
    for (int i = 0; i < s->params.n; i++) {
        ParamInfo *old = &s->params.at[i];
        if (old->file_name != p->file_name) continue;
        if (old->made_in != s->function) {
            old->made_in = s->function;
            return old;
        }
        if (s->call && s->clashed == s->call) return NULL;
        s->clashed = s->call;
        diag_error(s->f->diag, p->loc, "two parameters are stored as '%s'", p->file_name);
        if (old->loc.line != p->loc.line || old->loc.file != p->loc.file)
            diag_note(s->f->diag, old->loc, "the first is here");
        for (const CallSite *c = s->call; c && !c->outer; c = c->outer)
            diag_note(s->f->diag, c->loc, "give the calls of '%s' different names: %s(...) as \"name\"",
                      c->block->name.str, c->block->name.str);
        return NULL;
    }
    vec_push(s->f->arena, &s->params, *p);
    ParamInfo *made = &s->params.at[s->params.n - 1];
    made->made_in = s->function;
    Str name = path;
    for (int i = 2; name_taken(s, name); i++) name = str_internf(s->f->strs, "%s_%d", path, i);
    made->name = name;
    return made;
}

static Value *stacked_here(Build *s, Loop *loop, Value *v) {
    if (!loop) return v;
    v = stacked_here(s, loop->outer, v);
    Type t = v->type;
    t.rank--;
    for (int i = 0; i < t.rank; i++) t.dim[i] = v->type.dim[i + 1];
    t.dim[t.rank] = (Dim){0};
    Value *param = block_add_param(loop->body, &t, v->name);
    vec_push(s->f->arena, &loop->links, ((Link){v, param, true}));
    return param;
}

void run_param(Build *s, Frame *frame, const Stmt *stmt) {
    const Name name = stmt->param.name;
    ParamInfo p = {.type = type_scalar(DT_F32), .loc = name.loc};
    bool ok = push_loops(s, s->loop, &p.type, stmt->loc);
    for (int i = 0; i < stmt->param.shape.n; i++) {
        const Name axis = stmt->param.shape.at[i];
        ok &= push_axis(s, &p.type, axis_of(s, frame, axis.str, axis.loc), axis.loc);
    }
    ok &= read_init(s, frame, stmt->param.init, &p);
    Str own = stmt->param.as.str ? storage_text(s, stmt->param.as) : name.str;
    if (!ok || !own) {
        frame_set(s, frame, name.str, (Val){0});
        return;
    }
    p.file_name = name_join(s, s->storage, own);
    p.storage = str_internf(s->f->strs, "%s%s", p.file_name, bracket(s, frame, stmt));
    const ParamInfo *info = enter(s, &p, name_join(s, s->path, name.str));
    Value *v = NULL;
    if (info) {
        Builder top = builder_at_end(s->func->top, name.loc);
        v = build_param(&top, &p.type, info->name, p.storage);
        if (v) v->name = name.str;
        build_see_param(s, name.loc, v);
    }
    frame_set(s, frame, name.str, val_tensor(v ? stacked_here(s, s->loop, v) : NULL));
}

// %w = param ...; %w0 = its initial value; assign %w, %w0. Streams are numbered by declaration, keys are seed and 0.
void build_init(Build *s, Func *init) {
    Value *keys[2] = {0};
    for (int i = 0; i < s->params.n; i++) {
        const ParamInfo *p = &s->params.at[i];
        Builder b = builder_at_end(init->top, p->loc);
        if (p->law >= 0 && !keys[0]) {
            Type t = type_scalar(DT_I32);
            keys[0] = build_input(&b, &t, str_intern(s->f->strs, "seed"), 0, 0);
            keys[1] = build_const(&b, DT_I32, 0);
        }
        Value *param = build_param(&b, &p->type, p->name, p->storage), *v;
        if (p->law < 0) {
            v = build_const(&b, DT_F32, p->a);
        } else {
            v = build_random(&b, &p->type, p->law, i, keys, 2);
            v = build_map(&b, OP_mul, v, build_const(&b, DT_F32, p->law ? p->a : p->b - p->a), NULL);
            if (p->law == 0) v = build_map(&b, OP_add, v, build_const(&b, DT_F32, p->a), NULL);
        }
        build_assign(&b, param, build_expand(&b, v, &p->type));
    }
}
