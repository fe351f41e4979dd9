// SPDX-License-Identifier: Apache-2.0
// check_pipe: stages and microbatches.
//
//     split layer over pipe    schedule = interleaved, chunks = 2, microbatches = 8, stages = 4, 3, 3, 2
//     microbatches = 8
//
// Splitting the axis of a repeat makes a pipeline; the options of the line are read where they stand, what they ask of
// the model is checked when its graphs are built. What depends on extents is checked for the strategy that is asked
// for, and for all when no extent was replaced on the command line: a small run of a file must not fail for its large
// strategies.
#include "base/checked.h"
#include "frontend/front.h"
#include "ir/op.h"
#include <stdlib.h>
#include <string.h>

enum { PIPE_MAX = 1 << 20 }; // microbatches, chunks, layers of a chunk

static bool read_count(Front *f, const Option *o, const Name *value, int64_t *out) {
    size_t digits = strspn(value->str, "0123456789");
    *out = strtoll(value->str, NULL, 10);
    if (!o->bare && digits == strlen(value->str) && digits < 10 && *out >= 1 && *out <= PIPE_MAX) return true;
    diag_error(f->diag, value->loc, "'%s' is a whole number from 1 to %d", o->key.str, PIPE_MAX);
    return false;
}

static void read_microbatches(Front *f, Strategy *s, const Option *o) {
    if (s->microbatches_loc.file) {
        diag_error(f->diag, o->key.loc, "microbatches are given twice");
        diag_note(f->diag, s->microbatches_loc, "the first is here");
        return;
    }
    s->microbatches_loc = o->key.loc;
    if (!read_count(f, o, &o->value, &s->microbatches)) s->microbatches = 0;
}

void strategy_microbatches(Front *f, Strategy *s, const Line *l) {
    if (l->names.n || l->over.n || l->options.n != 1 || strcmp(l->options.at[0].key.str, "microbatches"))
        diag_error(f->diag, l->head.loc, "microbatches is written: microbatches = 8");
    else read_microbatches(f, s, &l->options.at[0]);
}

static void read_schedule(Front *f, Strategy *s, const Option *o) {
    if (o->quoted) {
        s->schedule = PIPE_FILE;
        s->schedule_file = o->value.str;
    } else if (!schedule_find(o->value.str, &s->schedule)) {
        diag_error(f->diag, o->value.loc,
                   "unknown schedule '%s': 1f1b, gpipe, interleaved, zbh1, zbv, or a file: schedule = \"mine.txt\"",
                   o->value.str);
    }
}

static void read_stages(Front *f, Strategy *s, const Option *o) {
    s->stages = NEW_ARRAY(f->arena, int64_t, o->more.n + 1);
    s->nstages = o->more.n + 1;
    for (int i = 0; i <= o->more.n; i++)
        if (!read_count(f, o, i ? &o->more.at[i - 1] : &o->value, &s->stages[i])) s->nstages = 0;
}

// The line of a pipeline splits one axis over one mesh axis, and there is one such line.
static bool pipe_line(Front *f, Strategy *s, const Line *l, const Option *o, MeshSet over) {
    Loc at = l->names.at[0].loc;
    bool here = s->pipe_loc.line == at.line && s->pipe_loc.file == at.file && s->pipe_loc.col == at.col;
    if (s->pipe_loc.file && (!here || (s->pipe_axis && strcmp(s->pipe_axis->name, l->names.at[0].str)))) {
        diag_error(f->diag, o->key.loc, "a strategy has one pipeline");
        diag_note(f->diag, s->pipe_loc, "the first is here");
        return false;
    }
    if (s->pipe_loc.file) return true;
    s->pipe_loc = at;
    if (l->names.n > 1)
        diag_error(f->diag, l->names.at[1].loc, "'%s' is for one axis, that of the repeat: split '%s' in another line",
                   o->key.str, l->names.at[1].str);
    else if (over && __builtin_popcount(over) == 1) {
        s->pipe_axis = unit_axis(f->unit, l->names.at[0].str);
        s->pipe = __builtin_ctz(over);
    }
    return true;
}

bool strategy_pipe_option(Front *f, Strategy *s, const Line *l, const Option *o, MeshSet over) {
    const char *key = o->key.str;
    if (!strcmp(key, "microbatches")) return read_microbatches(f, s, o), true;
    if (strcmp(key, "schedule") && strcmp(key, "chunks") && strcmp(key, "stages")) return false;
    int64_t n = 0;
    if (o->bare) diag_error(f->diag, o->value.loc, "write: %s = ...", key);
    else if (!pipe_line(f, s, l, o, over)) return true;
    else if (!strcmp(key, "schedule")) read_schedule(f, s, o);
    else if (!strcmp(key, "stages")) read_stages(f, s, o);
    else if (read_count(f, o, &o->value, &n)) s->chunks = (int)n;
    return true;
}

// ---- over the built graphs ----

typedef struct PipeCheck {
    Front *f;
    Strategy *s;
    Vec(const Node *) repeats; // of all functions
} PipeCheck;

static void find_repeats(PipeCheck *c, const Block *b) {
    for (const Node *n = b->first; n; n = n->next) {
        if (n->op == OP_repeat) vec_push(c->f->arena, &c->repeats, n);
        if (n->body) find_repeats(c, n->body);
    }
}

static const Node *repeat_along(const PipeCheck *c, const Axis *axis) {
    for (int i = 0; i < c->repeats.n; i++)
        if (c->repeats.at[i]->attr.axes.at[0] == axis) return c->repeats.at[i];
    return NULL;
}

// Where the strategy's text has this key, an option or a mesh axis; else `otherwise`.
static Loc key_loc(const PipeCheck *c, const char *key, Loc otherwise) {
    for (int i = 0; i < c->f->strategy_decls.n; i++) {
        const StrategyDecl *d = c->f->strategy_decls.at[i];
        if (strcmp(d->name.str, c->s->name)) continue;
        for (int j = 0; j < d->lines.n; j++)
            for (int k = 0; k < d->lines.at[j].options.n; k++)
                if (!strcmp(d->lines.at[j].options.at[k].key.str, key)) return d->lines.at[j].options.at[k].key.loc;
    }
    return otherwise;
}

static const char *mesh_name(const PipeCheck *c, int i) { return c->s->mesh.axis[i].name; }

// A split axis of a repeat is the pipeline; its repeats must be ones that can be cut.
static void check_repeat(PipeCheck *c, const Split *p, const Node *repeat) {
    Diag *diag = c->f->diag;
    Strategy *s = c->s;
    const char *name = p->axis->name;
    if (p->between || __builtin_popcount(p->over) > 1) {
        diag_error(diag, p->loc, "'%s' is repeated along: its stages lie along one mesh axis, everywhere", name);
        diag_note(diag, repeat->loc, "it is repeated here");
        return;
    }
    if (s->pipe_axis && s->pipe_axis != p->axis) {
        diag_error(diag, p->loc, "a strategy has one pipeline, and '%s' is one already", s->pipe_axis->name);
        diag_note(diag, repeat->loc, "'%s' is repeated along here", name);
        return;
    }
    s->pipe_axis = p->axis;
    s->pipe = __builtin_ctz(p->over);
    s->pipe_loc = p->loc;
    const Node *first = NULL;
    for (int i = 0; i < c->repeats.n; i++) {
        const Node *n = c->repeats.at[i];
        if (n->attr.axes.at[0] != p->axis) continue;
        if (n->parent->owner) {
            diag_error(diag, p->loc,
                       "'%s' is repeated along inside another repeat: only the outermost is cut into stages", name);
            diag_note(diag, n->loc, "it is repeated here");
            return;
        }
        if (first && first->parent == n->parent) {
            diag_error(diag, p->loc, "'%s' is repeated along twice: a pipeline cuts one repeat", name);
            diag_note(diag, first->loc, "here");
            diag_note(diag, n->loc, "and here");
            return;
        }
        first = n;
    }
}

static void check_alone(PipeCheck *c) {
    const Strategy *s = c->s;
    MeshSet pipe = (MeshSet)1 << s->pipe;
    for (int i = 0; i < s->nsplits; i++) {
        const Split *p = &s->splits[i];
        if (p->axis == s->pipe_axis || !(p->over & pipe)) continue;
        diag_error(c->f->diag, p->loc, "'%s' holds the stages of '%s': nothing else is split over it",
                   mesh_name(c, s->pipe), s->pipe_axis->name);
        diag_note(c->f->diag, s->pipe_loc, "the stages are here");
    }
    if (s->shard && s->shard_over & pipe) {
        diag_error(c->f->diag, s->shard_loc,
                   "'%s' holds the stages of '%s', each with parameters of its own: there is "
                   "nothing to shard over it",
                   mesh_name(c, s->pipe), s->pipe_axis->name);
        diag_note(c->f->diag, s->pipe_loc, "the stages are here");
    }
}

static void check_chunks(PipeCheck *c) {
    Strategy *s = c->s;
    Loc at = key_loc(c, "chunks", s->pipe_loc);
    bool given = s->chunks > 0;
    switch (s->schedule) {
    case PIPE_INTERLEAVED:
        if (!given) s->chunks = 2;
        if (s->chunks < 2)
            diag_error(c->f->diag, at, "an interleaved schedule has 2 chunks a stage or more; with one it is 1f1b");
        break;
    case PIPE_ZBV:
        if (!given) s->chunks = 2;
        if (s->chunks != 2) diag_error(c->f->diag, at, "schedule zbv has 2 chunks a stage");
        break;
    case PIPE_FILE: break; // 0: as the file says
    default:
        if (!given) s->chunks = 1;
        if (s->chunks != 1)
            diag_error(c->f->diag, at, "schedule %s has one chunk a stage; interleaved has more",
                       schedule_name(s->schedule));
    }
}

static void check_stages(PipeCheck *c) {
    const Strategy *s = c->s;
    int64_t layers = s->pipe_axis->extent, stages = s->mesh.axis[s->pipe].extent, chunks = 0, sum = 0;
    const char *name = s->pipe_axis->name;
    if (!checked_mul(stages, s->chunks ? s->chunks : 1, &chunks)) chunks = INT64_MAX;
    if (chunks > layers) {
        diag_error(c->f->diag, s->pipe_loc, "%lld %s for %lld places of '%s': each needs one", (long long)chunks,
                   s->chunks > 1 ? "chunks" : "stages", (long long)layers, name);
        diag_note(c->f->diag, s->pipe_axis->loc, "'%s' is declared here", name);
    }
    if (!s->nstages) return;
    Loc at = key_loc(c, "stages", s->pipe_loc);
    for (int i = 0; i < s->nstages; i++) sum += s->stages[i];
    if (s->chunks && s->nstages != chunks) // else the file says how many
        diag_error(c->f->diag, at, "'stages' has %d numbers, one for each of %lld chunks is needed (%lld stages%s)",
                   s->nstages, (long long)chunks, (long long)stages,
                   s->chunks > 1 ? arena_printf(c->f->arena, ", %d chunks each", s->chunks) : "");
    else if (sum != layers)
        diag_error(c->f->diag, at, "'stages' adds up to %lld, '%s' has %lld places", (long long)sum, name,
                   (long long)layers);
}

static void check_microbatches(PipeCheck *c, bool extents) {
    Strategy *s = c->s;
    Diag *diag = c->f->diag;
    const Axis *batch = unit_axis(c->f->unit, str_intern(c->f->strs, "batch"));
    if (s->pipe_axis && !s->microbatches) { // as many as stages, if there are as many sequences
        s->microbatches = s->mesh.axis[s->pipe].extent;
        if (batch && s->microbatches > batch->extent) s->microbatches = batch->extent;
        if (!batch) s->microbatches = 1;
        s->microbatches_loc = s->pipe_loc;
    }
    if (s->microbatches <= 1 && !s->pipe_axis) return;
    int same = mesh_find(&s->mesh, str_intern(c->f->strs, MESH_TIME));
    if (same >= 0)
        diag_error(diag, key_loc(c, MESH_TIME, s->loc), "with microbatches a mesh axis cannot be called '%s'",
                   MESH_TIME);
    else if (s->mesh.n == MESH_MAX)
        diag_error(diag, s->microbatches_loc, "with microbatches a mesh has at most %d axes", MESH_MAX - 1);
    if (!batch) diag_error(diag, s->microbatches_loc, "the model has no axis 'batch' to be cut into microbatches");
    else if (extents && s->microbatches > batch->extent)
        diag_error(diag, s->microbatches_loc, "%lld microbatches of a batch of %lld", (long long)s->microbatches,
                   (long long)batch->extent);
    for (int i = 0; i < s->nsplits; i++)
        if (s->splits[i].axis == batch && s->splits[i].between) {
            diag_error(diag, s->splits[i].loc, "with microbatches 'batch' is split everywhere, not between blocks");
            diag_note(diag, s->microbatches_loc, "microbatches are asked for here");
        }
}

void strategy_check_pipe(Front *f, Strategy *s) {
    PipeCheck c = {.f = f, .s = s};
    int errors = diag_errors(f->diag);
    bool extents = f->unit->strategy == s || (!f->options->ndefines && !f->options->batch);
    for (int i = 0; i < f->unit->funcs.n; i++) find_repeats(&c, f->unit->funcs.at[i]->top);
    if (s->pipe_axis && !repeat_along(&c, s->pipe_axis)) {
        diag_error(f->diag, s->pipe_loc, "stages are cut along an axis of repeat, and '%s' is none",
                   s->pipe_axis->name);
        return;
    }
    for (int i = 0; i < s->nsplits; i++) {
        const Node *repeat = repeat_along(&c, s->splits[i].axis);
        if (repeat) check_repeat(&c, &s->splits[i], repeat);
    }
    if (s->pipe_axis && diag_errors(f->diag) == errors) {
        check_alone(&c);
        check_chunks(&c);
        if (extents) check_stages(&c);
    }
    check_microbatches(&c, extents);
}
