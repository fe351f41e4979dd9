// SPDX-License-Identifier: Apache-2.0
// From the IR to boxes. Products, attention, look-ups, collectives, inputs and outputs get a box each; what lies
// between them in program order and comes from the same block call is one box. Constants are not drawn, views and casts
// only change the label of what they look at, and parameters are tags of the boxes that use them. As every box is an
// interval of the program, the edges between boxes form no cycle.
#include "tools/common_draw.h"
#include "base/bytes.h"
#include "ir/op.h"
#include "ir/strategy.h"
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>

const PictureColour picture_colours[PICTURE_KINDS] = {
    [PICTURE_INPUT] = {"input", "#f1f5f9", "#64748b"},
    [PICTURE_OUTPUT] = {"output", "#e2e8f0", "#334155"},
    [PICTURE_PRODUCT] = {"product", "#dbeafe", "#2563eb"},
    [PICTURE_ATTENTION] = {"attention", "#e0e7ff", "#4338ca"},
    [PICTURE_REDUCTION] = {"norm, reduction", "#dcfce7", "#15803d"},
    [PICTURE_MAP] = {"elementwise", "#f7fee7", "#65a30d"},
    [PICTURE_LOOKUP] = {"look-up", "#ecfeff", "#0e7490"},
    [PICTURE_ALL_REDUCE] = {"all_reduce", "#ef4444", "#991b1b"},
    [PICTURE_ALL_GATHER] = {"all_gather", "#fb923c", "#9a3412"},
    [PICTURE_REDUCE_SCATTER] = {"reduce_scatter", "#facc15", "#854d0e"},
    [PICTURE_ALL_TO_ALL] = {"all_to_all", "#d946ef", "#86198f"},
    [PICTURE_SEND] = {"send, receive", "#a78bfa", "#5b21b6"},
};

// Where a value comes from: a box, a parameter, or neither.
typedef struct Source {
    int box; // -1: none
    const Node *param;
} Source;

typedef struct Level { // an open frame
    int frame;
    const char *name;
    size_t size;
} Level;

typedef struct Drawer {
    const Unit *unit;
    Picture *picture;
    Source *sources; // by value id
    Vec(Level) levels;
    int open;        // the box of elementwise work that the next such node joins, or -1
    Str scope;       // its scope
    Vec(OpKind) ops; // what it does, each once
} Drawer;

// ---- texts
static const char *joined(Arena *a, const char *left, const char *between, const char *right) {
    return *left ? arena_printf(a, "%s%s%s", left, between, right) : arena_printf(a, "%s", right);
}

static const char *axes_text(const Axes *axes, Arena *a) {
    const char *text = "";
    for (int i = 0; i < axes->n; i++) text = joined(a, text, ", ", axes->at[i]->name);
    return text;
}

static const char *mesh_text(const Mesh *m, MeshSet set, Arena *a) {
    const char *text = "";
    for (int i = 0; i < m->n; i++)
        if (set >> i & 1) text = joined(a, text, ",", m->axis[i].name);
    return text;
}

// As IR text has it, without f32; parameters' tags go without extents.
static const char *shape_text(const Type *t, const Mesh *m, bool extents, Arena *a) {
    const char *text = "";
    for (int i = 0; i < t->rank; i++) {
        const Dim *d = &t->dim[i];
        const char *dim = d->axis->name;
        if (d->split) dim = arena_printf(a, "%s/%s", dim, mesh_text(m, d->split, a));
        if (extents) dim = arena_printf(a, "%s=%" PRId64, dim, d->axis->extent);
        text = joined(a, text, ", ", dim);
    }
    text = arena_printf(a, "%s[%s]", t->dtype == DT_F32 ? "" : dtype_name(t->dtype), text);
    if (t->sum) text = arena_printf(a, "%s +sum(%s)", text, mesh_text(m, t->sum, a));
    if (t->max) text = arena_printf(a, "%s +max(%s)", text, mesh_text(m, t->max, a));
    return text;
}

static double local_bytes(const Type *t, const Mesh *m) {
    int64_t n = 0;
    return type_local_elements(t, m, &n) ? (double)n * dtype_bytes(t->dtype) : 0;
}

// A parameter by the last two parts of its name, which say what it is in its block.
static const char *tag_text(const Node *param, const Mesh *m, Arena *a) {
    const char *name = param->attr.s ? param->attr.s : "", *at = name + strlen(name);
    for (int dots = 0; at > name; at--)
        if (at[-1] == '.' && ++dots == 2) break;
    return arena_printf(a, "%s %s", at, shape_text(&param->results[0]->type, m, false, a));
}

// ---- boxes and edges
static int add_box(Drawer *d, PictureKind kind, const char *title, const char *detail) {
    Picture *p = d->picture;
    PictureBox box = {.kind = kind, .frame = d->levels.at[d->levels.n - 1].frame, .title = title, .detail = detail};
    vec_push(p->arena, &p->boxes, box);
    return p->boxes.n - 1;
}

static void add_label(Drawer *d, PictureBox *box, const Value *v, const char *name) {
    Arena *a = d->picture->arena;
    const char *type = shape_text(&v->type, &d->unit->mesh, true, a);
    PictureLabel *label = NULL;
    for (int i = 0; i < box->labels.n; i++)
        if (!strcmp(box->labels.at[i].type, type)) label = &box->labels.at[i];
    if (!label) {
        vec_push(a, &box->labels, (PictureLabel){.type = type, .names = "", .pending = v->type.sum || v->type.max});
        label = &box->labels.at[box->labels.n - 1];
    }
    if (!name) return;
    size_t size = strlen(name);
    for (const char *at = label->names; *at;) { // once each
        size_t n = strcspn(at, ",");
        if (n == size && !strncmp(at, name, n)) return;
        at += n + (at[n] ? 2 : 0);
    }
    label->names = joined(a, label->names, ", ", name);
}

static void use(Drawer *d, int to, const Value *v) {
    Picture *p = d->picture;
    const Source *s = &d->sources[v->id];
    PictureBox *box = &p->boxes.at[to];
    if (s->param) {
        const char *tag = tag_text(s->param, &d->unit->mesh, p->arena);
        for (int i = 0; i < box->tags.n; i++)
            if (!strcmp(box->tags.at[i], tag)) return;
        vec_push(p->arena, &box->tags, tag);
        return;
    }
    if (s->box < 0 || s->box == to) return;
    add_label(d, &p->boxes.at[s->box], v, v->def ? v->name : NULL);
    bool pending = v->type.sum || v->type.max;
    for (int i = 0; i < p->edges.n; i++)
        if (p->edges.at[i].from == s->box && p->edges.at[i].to == to) {
            p->edges.at[i].pending |= pending;
            return;
        }
    vec_push(p->arena, &p->edges, (PictureEdge){.from = s->box, .to = to, .pending = pending});
}

// ---- frames
static int add_frame(Drawer *d, bool repeats, const char *title) {
    Picture *p = d->picture;
    int parent = d->levels.n ? d->levels.at[d->levels.n - 1].frame : -1;
    vec_push(p->arena, &p->frames, (PictureFrame){.parent = parent, .repeats = repeats, .title = title});
    return p->frames.n - 1;
}

// Opens and closes frames until they are those of a scope, above the ones that are not block calls' (`base`, and the
// first `skip` bytes of the scope that they stand for).
static void enter_scope(Drawer *d, Str scope, int base, size_t skip) {
    const char *at = scope && strlen(scope) > skip ? scope + skip : "";
    if (*at == '/') at++;
    int keep = base;
    for (; keep < d->levels.n && *at; keep++) {
        const Level *l = &d->levels.at[keep];
        size_t n = strcspn(at, "/");
        if (n != l->size || strncmp(at, l->name, n)) break;
        at += n + (at[n] == '/');
    }
    d->levels.n = keep;
    while (*at) {
        size_t n = strcspn(at, "/");
        int frame = add_frame(d, false, arena_printf(d->picture->arena, "%.*s", (int)n, at));
        vec_push(d->picture->arena, &d->levels, (Level){frame, at, n});
        at += n + (at[n] == '/');
    }
}

// A frame around one box says nothing that the box cannot say: elementwise work takes its name.
static void drop_lone_frames(Picture *p) {
    int n = p->frames.n, *inside = NEW_ARRAY(p->arena, int, n), *only = NEW_ARRAY(p->arena, int, n);
    int *gone = NEW_ARRAY(p->arena, int, n), *kept = NEW_ARRAY(p->arena, int, n);
    for (int i = 0; i < p->boxes.n; i++)
        for (int f = p->boxes.at[i].frame; f >= 0; f = p->frames.at[f].parent) inside[f]++, only[f] = i;
    for (int f = n - 1; f > 0; f--) { // inner ones first
        if (p->frames.at[f].repeats || inside[f] > 1) continue;
        gone[f] = 1;
        PictureBox *b = &p->boxes.at[only[f]];
        if (!inside[f] || (b->kind != PICTURE_MAP && b->kind != PICTURE_REDUCTION) || b->frame != f) continue;
        bool own = b->detail[0];
        b->detail = own ? b->detail : b->title;
        b->title = own ? joined(p->arena, p->frames.at[f].title, "/", b->title) : p->frames.at[f].title;
        b->frame = p->frames.at[f].parent;
    }
    int count = 0;
    for (int f = 0; f < n; f++) {
        kept[f] = gone[f] ? kept[p->frames.at[f].parent] : count;
        if (gone[f]) continue;
        PictureFrame frame = p->frames.at[f];
        if (f) frame.parent = kept[frame.parent];
        p->frames.at[count++] = frame;
    }
    p->frames.n = count;
    for (int i = 0; i < p->boxes.n; i++) p->boxes.at[i].frame = kept[p->boxes.at[i].frame];
}

// ---- nodes
static PictureKind comm_kind(OpKind op) {
    switch (op) {
    case OP_all_reduce: return PICTURE_ALL_REDUCE;
    case OP_all_gather: return PICTURE_ALL_GATHER;
    case OP_reduce_scatter: return PICTURE_REDUCE_SCATTER;
    case OP_all_to_all: return PICTURE_ALL_TO_ALL;
    default: return PICTURE_SEND;
    }
}

static int draw_comm(Drawer *d, const Node *n) {
    Arena *a = d->picture->arena;
    const Mesh *m = &d->unit->mesh;
    double in = local_bytes(&n->args[0]->type, m), made = local_bytes(&n->results[0]->type, m);
    const char *what = n->op == OP_permute ? "permute (send, receive)" : op_info(n->op)->name;
    if (n->op == OP_all_reduce && n->attr.flag) what = "all_reduce max";
    const char *axes = axes_text(&n->attr.axes, a);
    return add_box(d, comm_kind(n->op), arena_printf(a, "%s on %s", what, mesh_text(m, n->attr.mesh, a)),
                   arena_printf(a, "%s%s%s%s", *axes ? axes : "", *axes ? " · " : "", n->nargs == 3 ? "at most " : "",
                                bytes_text(in > made ? in : made, a)));
}

// The box of a node that has one of its own, or -1.
static int draw_single(Drawer *d, const Node *n) {
    Arena *a = d->picture->arena;
    const Attr *t = &n->attr;
    if (op_info(n->op)->traits & TRAIT_COMM) return draw_comm(d, n);
    switch (n->op) {
    case OP_input: return add_box(d, PICTURE_INPUT, t->s, "");
    case OP_output: return add_box(d, PICTURE_OUTPUT, t->s, "");
    case OP_dot: return add_box(d, PICTURE_PRODUCT, "dot", arena_printf(a, "over %s", axes_text(&t->axes, a)));
    case OP_attend:
        return add_box(d, PICTURE_ATTENTION, "attend",
                       arena_printf(a, "over %s%s%s", t->axes.at[1]->name, t->flag ? ", causal" : "",
                                    attend_mask(n) ? ", mask" : ""));
    case OP_take:
    case OP_scatter:
    case OP_cumsum:
        return add_box(d, PICTURE_LOOKUP, op_info(n->op)->name, arena_printf(a, "over %s", axes_text(&t->axes, a)));
    default: return -1;
    }
}

static bool is_unseen(OpKind op) { return op == OP_const || op == OP_index || op == OP_random; }
static bool is_seen_through(OpKind op) { return op_info(op)->traits & TRAIT_VIEW || op == OP_cast || op == OP_stop; }

// Elementwise work: joins the open box or opens one.
static int draw_work(Drawer *d, const Node *n) {
    Arena *a = d->picture->arena;
    if (d->open < 0 || d->scope != n->scope) {
        d->open = add_box(d, PICTURE_MAP, "", "");
        d->scope = n->scope;
        d->ops.n = 0;
    }
    PictureBox *b = &d->picture->boxes.at[d->open];
    if (n->op == OP_sum || n->op == OP_max) b->kind = PICTURE_REDUCTION;
    for (int i = 0; i < d->ops.n; i++)
        if (d->ops.at[i] == n->op) return d->open;
    vec_push(a, &d->ops, n->op);
    if (d->ops.n <= 5) b->title = joined(a, b->title, ", ", op_info(n->op)->name);
    else if (d->ops.n == 6) b->title = joined(a, b->title, ", ", "...");
    return d->open;
}

static void draw_block(Drawer *d, const Block *b, int base, size_t skip);

// What a stage of a pipeline hands to the next: the carries, for each microbatch.
static void draw_handover(Drawer *d, const Node *n) {
    const Mesh *m = &d->unit->mesh;
    Arena *a = d->picture->arena;
    double bytes = 0;
    const Node *yield = block_yield(n->body);
    for (int i = 0; i < repeat_carries(n); i++) bytes += local_bytes(&yield->args[i]->type, m);
    int box = add_box(d, PICTURE_SEND, arena_printf(a, "send, receive on %s", mesh_text(m, m->stages, a)),
                      arena_printf(a, "between stages · %s%s", bytes_text(bytes, a), m->time ? " a microbatch" : ""));
    for (int i = 0; i < repeat_carries(n); i++) {
        use(d, box, yield->args[i]);
        d->sources[n->results[i]->id] = (Source){.box = box};
    }
}

static void draw_repeat(Drawer *d, const Node *n) {
    Arena *a = d->picture->arena;
    const Block *b = n->body;
    const Axis *axis = n->attr.axes.at[0];
    const Node *yield = block_yield(b);
    MeshSet stages = repeat_split(d->unit, axis);
    const char *title = arena_printf(a, "x %" PRId64 " %s", axis->extent, axis->name);
    if (stages)
        title = arena_printf(a, "%s, cut into %" PRId64 " stages (%s)", title, mesh_extent(&d->unit->mesh, stages),
                             mesh_text(&d->unit->mesh, stages, a));
    int frame = add_frame(d, true, title);
    vec_push(a, &d->levels, (Level){.frame = frame, .name = "", .size = 0});
    int base = d->levels.n;
    for (int i = 1; i < b->nparams; i++) d->sources[b->params[i]->id] = d->sources[n->args[i - 1]->id];
    draw_block(d, b, base, n->scope ? strlen(n->scope) : 0);
    d->open = -1;
    d->levels.n = base;
    for (int i = 0; i < n->nresults; i++) d->sources[n->results[i]->id] = d->sources[yield->args[i]->id];
    if (stages) draw_handover(d, n);
    d->levels.n = base - 1;
}

static void draw_block(Drawer *d, const Block *b, int base, size_t skip) {
    for (const Node *n = b->first; n; n = n->next) {
        if (n->op == OP_yield || n->op == OP_assign || is_unseen(n->op)) continue;
        if (n->op == OP_param || n->op == OP_state) {
            d->sources[n->results[0]->id].param = n;
            continue;
        }
        if (is_seen_through(n->op)) {
            d->sources[n->results[0]->id] = d->sources[n->args[0]->id];
            continue;
        }
        enter_scope(d, n->scope, base, skip);
        if (n->op == OP_repeat) {
            d->open = -1;
            draw_repeat(d, n);
            continue;
        }
        int box = draw_single(d, n);
        if (box >= 0) d->open = -1;
        else box = draw_work(d, n);
        for (int i = 0; i < n->nargs; i++) use(d, box, n->args[i]);
        for (int i = 0; i < n->nresults; i++) d->sources[n->results[i]->id] = (Source){.box = box};
    }
}

Picture *picture_of(const Func *func, Arena *arena) {
    const Unit *u = func->unit;
    Picture *p = NEW(arena, Picture);
    p->arena = arena;
    Drawer d = {.unit = u, .picture = p, .open = -1, .sources = NEW_ARRAY(arena, Source, func->next_id)};
    for (int i = 0; i < func->next_id; i++) d.sources[i].box = -1;
    p->title = u->name;
    if (u->strategy) {
        p->title = arena_printf(arena, "%s · strategy %s", p->title, u->strategy->name);
        for (int i = 0; i < u->mesh.n; i++)
            p->title = arena_printf(arena, "%s%s%s = %" PRId64, p->title, i ? ", " : " · ", u->mesh.axis[i].name,
                                    u->mesh.axis[i].extent);
    }
    p->title = arena_printf(arena, "%s · %s", p->title, func->name);
    int outermost = add_frame(&d, false, "");
    vec_push(arena, &d.levels, (Level){.frame = outermost, .name = "", .size = 0});
    draw_block(&d, func->top, 1, 0);
    drop_lone_frames(p);
    return p;
}
