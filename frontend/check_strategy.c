// SPDX-License-Identifier: Apache-2.0
// check_strategy: `strategy NAME { ... }` to a Strategy, and, over the built graphs, that no tensor is split twice over
// one mesh axis. Lines that the compiler cannot follow yet are checked and refused where they stand.
#include "base/checked.h"
#include "frontend/front.h"
#include "ir/text.h"
#include <errno.h>
#include <stdlib.h>

enum { RANKS_MAX = 1 << 20 };

typedef struct Reader {
    Front *f;
    Strategy *s;
    Vec(Split) splits;
} Reader;

static void later(Reader *r, Loc loc, const char *what) { diag_error(r->f->diag, loc, "not yet supported: %s", what); }

static bool word_integer(const char *text, int64_t *out) {
    if (!*text || strspn(text, "0123456789") != strlen(text)) return false;
    errno = 0;
    *out = strtoll(text, NULL, 10);
    return errno == 0;
}

static int mesh_lookup(Reader *r, Name name) {
    int i = mesh_find(&r->s->mesh, name.str);
    if (i >= 0) return i;
    Near near = near_to(name.str);
    for (int j = 0; j < r->s->mesh.n; j++) near_try(&near, r->s->mesh.axis[j].name);
    if (!r->s->mesh.n)
        diag_error(r->f->diag, name.loc, "this strategy has no mesh: write 'mesh %s = 2' first", name.str);
    else diag_error(r->f->diag, name.loc, "unknown mesh axis '%s'%s", name.str, near_text(&near, r->f->arena));
    return -1;
}

static void read_mesh(Reader *r, const Line *l) {
    Mesh *m = &r->s->mesh;
    if (m->n) diag_error(r->f->diag, l->head.loc, "a strategy has one mesh line");
    if (l->names.n || !l->options.n) diag_error(r->f->diag, l->head.loc, "mesh is written: mesh data = 2, tensor = 4");
    for (int i = 0; i < l->options.n; i++) {
        const Option *o = &l->options.at[i];
        int64_t extent;
        if (o->bare || !word_integer(o->value.str, &extent) || extent < 1) {
            diag_error(r->f->diag, o->value.loc, "a mesh axis has a positive whole number of ranks");
        } else if (mesh_find(m, o->key.str) >= 0) {
            diag_error(r->f->diag, o->key.loc, "mesh axis '%s' is declared twice", o->key.str);
        } else if (m->n == MESH_MAX) {
            diag_error(r->f->diag, o->key.loc, "a mesh has at most %d axes", MESH_MAX);
            break;
        } else {
            int64_t ranks = 1;
            for (int j = 0; j < m->n; j++) ranks *= m->axis[j].extent;
            if (!checked_mul(ranks, extent, &ranks) || ranks > RANKS_MAX) {
                diag_error(r->f->diag, o->value.loc, "more than %d ranks", RANKS_MAX);
                extent = 1;
            }
            m->axis[m->n].name = o->key.str;
            m->axis[m->n++].extent = extent;
        }
    }
}

static MeshSet read_over(Reader *r, const Line *l) {
    MeshSet over = 0;
    if (!l->over.n) diag_error(r->f->diag, l->head.loc, "over which mesh axis? %s ... over tensor", l->head.str);
    for (int i = 0; i < l->over.n; i++) {
        int at = mesh_lookup(r, l->over.at[i]);
        if (at < 0) continue;
        if (over >> at & 1) diag_error(r->f->diag, l->over.at[i].loc, "'%s' is listed twice", l->over.at[i].str);
        over |= (MeshSet)1 << at;
    }
    return over;
}

static void check_options(Reader *r, const Options *options, const char *const *known, const char *line) {
    for (int i = 0; i < options->n; i++) {
        const Option *o = &options->at[i];
        bool ok = false;
        Near near = near_to(o->key.str);
        for (int j = 0; known[j]; j++) {
            ok |= !strcmp(known[j], o->key.str);
            near_try(&near, known[j]);
        }
        if (!ok)
            diag_error(r->f->diag, o->key.loc, "%s has no option '%s'%s", line, o->key.str,
                       near_text(&near, r->f->arena));
    }
}

static void read_split(Reader *r, const Line *l) {
    static const char *const known[] = {"schedule", "microbatches", "stages",   "chunks",
                                        "between",  "attention",    "exchange", NULL};
    MeshSet over = read_over(r, l);
    bool between = false, counted = false;
    AttentionKind attention = strategy_attention(r->f, l);
    check_options(r, &l->options, known, "split");
    for (int i = 0; i < l->options.n; i++) {
        const Option *o = &l->options.at[i];
        if (strategy_pipe_option(r->f, r->s, l, o, over)) continue;
        if (!strcmp(o->key.str, "between") && strcmp(o->value.str, "blocks"))
            diag_error(r->f->diag, o->value.loc, "write: between blocks");
        else if (!strcmp(o->key.str, "between")) between = true;
        else if (!strcmp(o->key.str, "exchange") && strcmp(o->value.str, "counted"))
            diag_error(r->f->diag, o->value.loc, "write: exchange = counted");
        else if (!strcmp(o->key.str, "exchange")) counted = true;
    }
    for (int i = 0; i < l->names.n; i++) {
        const Name name = l->names.at[i];
        const Axis *axis = axis_lookup(r->f, name.str, name.loc);
        if (!axis) continue;
        const Split *old = NULL;
        for (int j = 0; j < r->splits.n; j++)
            if (r->splits.at[j].axis == axis) old = &r->splits.at[j];
        if (old && old->between != between) {
            later(r, name.loc, arena_printf(r->f->arena, "'%s' split everywhere and between blocks", name.str));
            diag_note(r->f->diag, old->loc, "the other split is here");
        } else if (old) {
            diag_error(r->f->diag, name.loc, "axis '%s' is split twice; write all its mesh axes in one line", name.str);
            diag_note(r->f->diag, old->loc, "the first is here");
        } else if (over) {
            vec_push(r->f->arena, &r->splits,
                     ((Split){.axis = axis,
                              .over = over,
                              .loc = name.loc,
                              .over_loc = l->over.at[0].loc,
                              .between = between,
                              .attention = attention,
                              .counted = counted}));
        }
    }
}

static void expect_words(Reader *r, const Line *l, const char *const *known, const char *what) {
    for (int i = 0; i < l->names.n; i++) {
        bool ok = false;
        Near near = near_to(l->names.at[i].str);
        for (int j = 0; known[j]; j++) {
            ok |= !strcmp(known[j], l->names.at[i].str);
            near_try(&near, known[j]);
        }
        if (!ok)
            diag_error(r->f->diag, l->names.at[i].loc, "unknown %s '%s'%s", what, l->names.at[i].str,
                       near_text(&near, r->f->arena));
    }
}

static void read_shard(Reader *r, const Line *l) {
    MeshSet over = read_over(r, l);
    if (l->names.n != 1) {
        diag_error(r->f->diag, l->head.loc, "shard is written: shard optimizer | gradients | parameters over data");
        return;
    }
    if (r->s->shard != SHARD_NOTHING) {
        diag_error(r->f->diag, l->head.loc,
                   "a strategy has one shard line: 'parameters' holds 'gradients', and that "
                   "'optimizer'");
        diag_note(r->f->diag, r->s->shard_loc, "the first is here");
        return;
    }
    for (int i = SHARD_OPTIMIZER; i <= SHARD_PARAMETERS; i++)
        if (!strcmp(l->names.at[0].str, shard_name((ShardLevel)i))) r->s->shard = (ShardLevel)i;
    r->s->shard_over = over;
    r->s->shard_loc = l->head.loc;
}

// A list and a quoted word stand only where they mean something.
static void check_values(Reader *r, const Line *l) {
    for (int i = 0; i < l->options.n; i++) {
        const Option *o = &l->options.at[i];
        if (o->more.n && strcmp(o->key.str, "stages"))
            diag_error(r->f->diag, o->more.at[0].loc, "'%s' has one value", o->key.str);
        if (o->quoted && strcmp(o->key.str, "schedule"))
            diag_error(r->f->diag, o->value.loc, "'%s' is not a string", o->key.str);
    }
}

static void read_line(Reader *r, const Line *l) {
    static const char *const heads[] = {"mesh",      "split",  "shard",        "recompute",
                                        "precision", "memory", "microbatches", "offload"};
    static const char *const shards[] = {"optimizer", "gradients", "parameters", NULL};
    static const char *const none[] = {NULL};
    const char *head = l->head.str;
    check_values(r, l);
    if (!strcmp(head, "mesh")) {
        read_mesh(r, l);
    } else if (!strcmp(head, "split")) {
        if (!l->names.n) diag_error(r->f->diag, l->head.loc, "split is written: split head over tensor");
        else read_split(r, l);
    } else if (!strcmp(head, "shard")) {
        expect_words(r, l, shards, "thing to shard");
        check_options(r, &l->options, none, head);
        read_shard(r, l);
    } else if (!strcmp(head, "precision")) {
        check_precision(r->f, l, r->s);
    } else if (!strcmp(head, "recompute")) {
        strategy_recompute(r->f, r->s, l);
    } else if (!strcmp(head, "offload")) {
        strategy_offload(r->f, r->s, l);
    } else if (!strcmp(head, "memory")) {
        strategy_memory(r->f, r->s, l);
    } else if (!strcmp(head, "microbatches")) {
        strategy_microbatches(r->f, r->s, l);
    } else {
        Near near = near_to(head);
        for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) near_try(&near, heads[i]);
        if (!strcmp(head, "schedule") || !strcmp(head, "stages") || !strcmp(head, "chunks"))
            diag_error(r->f->diag, l->head.loc,
                       "'%s' stands in the line of the axis it is for: split layer over pipe %s = ...", head, head);
        else diag_error(r->f->diag, l->head.loc, "a strategy has no line '%s'%s", head, near_text(&near, r->f->arena));
    }
}

// Values between blocks can be split one way only.
static void check_between(Reader *r) {
    for (int i = 0; i < r->splits.n; i++)
        for (int j = 0; j < i; j++) {
            const Split *a = &r->splits.at[j], *b = &r->splits.at[i];
            if (!a->between || !b->between || !(a->over & b->over)) continue;
            diag_error(r->f->diag, b->loc, "'%s' and '%s' are both split over '%s' between blocks", a->axis->name,
                       b->axis->name, r->s->mesh.axis[__builtin_ctz(a->over & b->over)].name);
            diag_note(r->f->diag, a->loc, "the first is here");
        }
}

// Counted is what travels between two axes that are split over the same mesh axis.
static void check_counted(Reader *r) {
    for (int i = 0; i < r->splits.n; i++) {
        const Split *a = &r->splits.at[i];
        bool any = false;
        for (int j = 0; j < r->splits.n && !a->between; j++)
            any |= j != i && !r->splits.at[j].between && r->splits.at[j].over & a->over;
        if (a->counted && !any)
            diag_error(r->f->diag, a->loc, "nothing is exchanged: no other axis is split over the mesh axes of '%s'",
                       a->axis->name);
    }
}

void check_strategies(Front *f) {
    for (int i = 0; i < f->strategy_decls.n; i++) {
        const StrategyDecl *d = f->strategy_decls.at[i];
        Strategy *s = NEW(f->arena, Strategy);
        *s = (Strategy){.name = d->name.str, .loc = d->name.loc};
        Reader r = {.f = f, .s = s};
        for (int j = 0; j < d->lines.n; j++) // the mesh may stand anywhere
            if (!strcmp(d->lines.at[j].head.str, "mesh")) read_line(&r, &d->lines.at[j]);
        for (int j = 0; j < d->lines.n; j++)
            if (strcmp(d->lines.at[j].head.str, "mesh")) read_line(&r, &d->lines.at[j]);
        check_between(&r);
        check_counted(&r);
        strategy_check_recompute(f, s);
        strategy_check_offload(f, s);
        s->nsplits = r.splits.n;
        s->splits = r.splits.at;
        vec_push(f->arena, &f->strategies, s);
    }
    if (!f->options->strategy) return;
    Near near = near_to(f->options->strategy);
    for (int i = 0; i < f->strategies.n; i++) {
        near_try(&near, f->strategies.at[i]->name);
        if (!strcmp(f->strategies.at[i]->name, f->options->strategy)) {
            f->unit->strategy = f->strategies.at[i];
            return;
        }
    }
    diag_error(f->diag, (Loc){0}, "no strategy '%s'%s", f->options->strategy, near_text(&near, f->arena));
}

// ---- over the built graphs ----

typedef struct Twice { // pairs of splits already reported
    const Split *a, *b;
} Twice;

typedef struct Look {
    Front *f;
    const Strategy *s;
    Vec(Twice) said;
} Look;

static const Split *split_of(const Strategy *s, const Axis *axis) {
    for (int i = 0; i < s->nsplits; i++)
        if (s->splits[i].axis == axis) return &s->splits[i];
    return NULL;
}

// What is stored has one layout; other values keep one of the two splits and are exchanged (passes/exchange.c).
static void look_value(Look *l, const Value *v, Loc made) {
    const Type *t = &v->type;
    if (v->def->op != OP_param && v->def->op != OP_input) return;
    for (int i = 0; i < t->rank; i++) {
        const Split *a = split_of(l->s, t->dim[i].axis);
        for (int j = 0; a && j < i; j++) {
            const Split *b = split_of(l->s, t->dim[j].axis);
            MeshSet both = b && !a->between && !b->between ? a->over & b->over : 0;
            bool said = !both;
            for (int k = 0; k < l->said.n; k++)
                said |=
                    (l->said.at[k].a == a && l->said.at[k].b == b) || (l->said.at[k].a == b && l->said.at[k].b == a);
            if (said) continue;
            vec_push(l->f->arena, &l->said, ((Twice){a, b}));
            const Split *late = a > b ? a : b;
            const char *name = v->name ? v->name : "a value";
            diag_error(l->f->diag, late->loc, "'%s' and '%s' are both split over '%s' in %s: %s", b->axis->name,
                       a->axis->name, l->s->mesh.axis[__builtin_ctz(both)].name, name,
                       type_text(t, &l->f->unit->mesh, l->f->arena));
            diag_note(l->f->diag, made, "%s is made here", name);
        }
    }
}

static void look_block(Look *l, const Block *b) {
    for (const Node *n = b->first; n; n = n->next) {
        for (int i = 0; i < n->nresults; i++) look_value(l, n->results[i], n->loc);
        if (n->body) look_block(l, n->body);
    }
}

void check_splits(Front *f) {
    for (int i = 0; i < f->strategies.n; i++) {
        strategy_split_keys(f, f->strategies.at[i]);
        Look l = {.f = f, .s = f->strategies.at[i]};
        for (int j = 0; j < f->unit->funcs.n; j++) look_block(&l, f->unit->funcs.at[j]->top);
        strategy_check_pipe(f, f->strategies.at[i]);
    }
}
