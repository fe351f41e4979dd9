// SPDX-License-Identifier: Apache-2.0
// cuda_nest_map: which threads do what of a section. By its shape: loops in the body or none, along which variable most
// operands lie densely, how many points and how long the loops are. Nothing here decides what is right, only what is
// fast; processors of the target are counted on, not relied on.
#include "base/checked.h"
#include "codegen/cuda_nest.h"
#include <stdlib.h>
#include <string.h>

static int nest_chain(const KStmt *loop, const KStmt **out) {
    int n = 0;
    for (;;) {
        out[n++] = loop;
        if (n == 8 || loop->body.stmts.n != 1 || loop->body.stmts.at[0]->kind != KSTMT_LOOP) return n;
        loop = loop->body.stmts.at[0];
    }
}

// ---- walking over what a body refers to

typedef void Visit(void *user, const KIndex *x, int buf, bool is_store, const KStmt *innermost);

// Expressions are graphs: each is looked at once for each loop.
typedef struct Seen {
    const KExpr **at;
    int n, cap;
} Seen;
static bool seen_add(Seen *s, const KExpr *x) {
    if (2 * s->n >= s->cap) {
        Seen old = *s;
        s->cap = old.cap ? 2 * old.cap : 64;
        s->at = calloc((size_t)s->cap, sizeof *s->at);
        s->n = 0;
        for (int i = 0; i < old.cap; i++)
            if (old.at[i]) seen_add(s, old.at[i]);
        free(old.at);
    }
    size_t at = ((size_t)x->id * 2654435761u) & (size_t)(s->cap - 1);
    while (s->at[at]) {
        if (s->at[at] == x) return false;
        at = (at + 1) & (size_t)(s->cap - 1);
    }
    s->at[at] = x;
    s->n++;
    return true;
}

static void visit_graph(const KExpr *x, Seen *seen, Visit *visit, void *user, const KStmt *innermost) {
    if (!seen_add(seen, x)) return;
    for (int i = 0; i < x->nargs; i++) visit_graph(x->args[i], seen, visit, user, innermost);
    if (x->op != K_LOAD) return;
    for (int i = 0; i < x->index.ndyn; i++) visit_graph(x->index.dyn[i].at, seen, visit, user, innermost);
    visit(user, &x->index, x->buf, false, innermost);
}

// Every address once in each innermost loop; *weight: operations, if given.
static void visit_body(const KBody *body, Visit *visit, void *user, const KStmt *innermost, int *weight) {
    Seen seen = {0};
    for (int i = 0; i < body->stmts.n; i++) {
        const KStmt *s = body->stmts.at[i];
        if (s->value) visit_graph(s->value, &seen, visit, user, innermost);
        if (s->kind == KSTMT_STORE) {
            for (int j = 0; j < s->index.ndyn; j++) visit_graph(s->index.dyn[j].at, &seen, visit, user, innermost);
            visit(user, &s->index, s->buf, true, innermost);
        }
        if (s->kind == KSTMT_LOOP) visit_body(&s->body, visit, user, s, weight);
    }
    if (weight) *weight += seen.n;
    free(seen.at);
}

// ---- independence

typedef struct Free {
    const KStmt *loops[8];
    int n;
    const KIndex *store[64];
    int buf[64], stores;
    bool ok;
} Free;

static void free_stores(void *user, const KIndex *x, int buf, bool is_store, const KStmt *innermost) {
    (void)innermost;
    Free *f = user;
    if (!is_store) return;
    if (f->stores == 64 || x->ndyn) {
        f->ok = false;
        return;
    }
    for (int i = 0; i < f->n; i++) f->ok &= kindex_stride(x, f->loops[i]->var) != 0 || f->loops[i]->extent == 1;
    f->store[f->stores] = x;
    f->buf[f->stores++] = buf;
}
static void free_loads(void *user, const KIndex *x, int buf, bool is_store, const KStmt *innermost) {
    (void)innermost;
    Free *f = user;
    if (is_store) return;
    bool stored = false, same = false;
    for (int i = 0; i < f->stores; i++) {
        stored |= f->buf[i] == buf;
        same |= f->buf[i] == buf && kindex_equal(f->store[i], x);
    }
    f->ok &= !stored || same;
}

// Every iteration writes places of its own, and of what is written reads only those. Lanes are said to be independent.
int nest_free_chain(const KStmt *loop, const KStmt **out) {
    Free f = {.ok = true};
    f.n = nest_chain(loop, f.loops);
    memcpy(out, f.loops, sizeof *out * (size_t)f.n);
    visit_body(&loop->body, free_stores, &f, loop, NULL);
    if (f.ok && f.stores) visit_body(&loop->body, free_loads, &f, loop, NULL);
    return f.ok ? f.n : loop->loop == KLOOP_VECTOR ? 1 : 0;
}

// ---- neighbours

bool nest_is_vector(const KIndex *x, int lane_var, int64_t width) {
    bool unit = false;
    for (int i = 0; i < x->nvars; i++)
        if (x->vars[i].var == lane_var) unit = x->vars[i].stride == 1;
        else if (x->vars[i].stride % width) return false;
    for (int i = 0; i < x->ndyn; i++)
        if (x->dyn[i].stride % width) return false;
    return unit && x->base % width == 0;
}

bool nest_is_plain(const KBody *body) {
    for (int i = 0; i < body->stmts.n; i++)
        if (body->stmts.at[i]->kind == KSTMT_LOOP || body->stmts.at[i]->kind == KSTMT_ACC) return false;
    return true;
}

typedef struct Dense {
    const Kernel *k;
    int lane_var; // -1: of the innermost loop
    int64_t width;
    int vectors, others, bytes_least, bytes_most;
    const KStmt *loop;
    int here, most_here; // vectors of one loop
} Dense;

static void count_vectors(void *user, const KIndex *x, int buf, bool is_store, const KStmt *innermost) {
    (void)is_store;
    Dense *d = user;
    int var = d->lane_var >= 0 ? d->lane_var : innermost ? innermost->var : -1;
    if (var < 0) return;
    if (!nest_is_vector(x, var, d->width)) {
        d->others += kindex_stride(x, var) != 0;
        return;
    }
    int bytes = (int)dtype_bytes(d->k->bufs.at[buf].type);
    d->vectors++;
    d->here = d->loop == innermost ? d->here + 1 : 1;
    d->loop = innermost;
    if (d->here > d->most_here) d->most_here = d->here;
    if (!d->bytes_least || bytes < d->bytes_least) d->bytes_least = bytes;
    if (bytes > d->bytes_most) d->bytes_most = bytes;
}

static void any_vector(void *user, const KIndex *x, int buf, bool is_store, const KStmt *innermost) {
    (void)buf, (void)is_store, (void)innermost;
    Dense *d = user;
    d->vectors += nest_is_vector(x, d->lane_var, d->width);
}

bool nest_steps(const KStmt *loop, const NestMap *map) {
    if (map->way != NEST_ROW || map->width == 1 || loop->chunk_var >= 0 || loop->extent % map->width) return false;
    if (!nest_is_plain(&loop->body)) return false;
    Dense d = {.lane_var = loop->var, .width = map->width};
    visit_body(&loop->body, any_vector, &d, loop, NULL);
    return d.vectors > 0;
}

// ---- the choice

typedef struct Shape {
    const Kernel *k;
    int point_var;     // the innermost of the chain, -1: none
    int along, across; // addresses dense along loops, along points
    int64_t longest;   // iterations of a loop, with those within it, that threads can share
    const KStmt *lane; // its innermost loop
    int weight;
    bool in_step; // a loop of no fixed length would be walked by threads together
} Shape;

static void look(void *user, const KIndex *x, int buf, bool is_store, const KStmt *innermost) {
    (void)buf, (void)is_store;
    Shape *s = user;
    if (!innermost) return;
    int64_t along = kindex_stride(x, innermost->var), across = s->point_var >= 0 ? kindex_stride(x, s->point_var) : 0;
    s->along += along == 1 || along == -1;
    s->across += across == 1 || across == -1;
}

static void look_at_loops(Shape *s, const KBody *body) {
    for (int i = 0; i < body->stmts.n; i++) {
        const KStmt *l = body->stmts.at[i], *chain[8];
        if (l->kind != KSTMT_LOOP) continue;
        int n = nest_free_chain(l, chain);
        if (!n) {
            s->in_step |= l->chunk_var >= 0;
            look_at_loops(s, &l->body);
            continue;
        }
        int64_t total = 1;
        for (int j = 0; j < n; j++) total *= chain[j]->extent;
        if (total > s->longest) s->longest = total, s->lane = chain[n - 1];
    }
}

static int power_at_most(int64_t n) {
    int p = 1;
    while (p < 1024 && 2 * (int64_t)p <= n) p *= 2;
    return p;
}

enum { WIDTH_MOST = 8, LIVE_MOST = 40, CODE_MOST = 480 };

// The most neighbours that pay: pieces of 16 bytes of the narrowest type, not too many values at once.
static int choose_width(const Shape *shape, const NestSection *s, int lane_var) {
    for (int width = WIDTH_MOST; width > 1; width /= 2) {
        if (lane_var >= 0 && s->var[s->nvars - 1].extent % width) continue;
        if (lane_var < 0 && (!shape->lane || shape->lane->extent % width)) continue;
        Dense d = {.k = shape->k, .lane_var = lane_var, .width = width};
        visit_body(s->body, count_vectors, &d, NULL, NULL);
        if (!d.vectors || d.vectors < d.others) continue;
        if (width * d.bytes_least > 16 || width * d.bytes_most > 32) continue;
        if (width * d.most_here > LIVE_MOST || width * shape->weight > CODE_MOST) continue;
        return width;
    }
    return 1;
}

static int64_t at_most(int64_t blocks) { return blocks < INT32_MAX / 2 ? blocks : INT32_MAX / 2; }

static void map_thread(const CudaTarget *target, const Shape *shape, const NestSection *s, bool guarded, NestMap *m) {
    int64_t enough = (int64_t)target->processors * 256;
    m->way = NEST_THREAD;
    m->group = 1;
    m->threads = m->across = 256;
    m->width = guarded || !s->nvars ? 1 : choose_width(shape, s, s->var[s->nvars - 1].var);
    while (m->width > 1 && s->points / m->width < enough) m->width /= 2;
    m->blocks = at_most(ceil_div(s->points / m->width, m->threads));
}

// Something made of the outer variables only, more than an address.
typedef struct Shared {
    bool *seen;
    int var, found;
} Shared;
static bool is_shared(const KExpr *x, Shared *s) { // and counts what is, at its largest
    if (x->op == K_CONST || x->op == K_SCALAR) return true;
    if (x->op == K_VAR) return x->var != s->var;
    if (s->seen[x->id]) return false; // counted already
    s->seen[x->id] = true;
    bool all = true, each[3];
    for (int i = 0; i < x->nargs; i++) all &= each[i] = is_shared(x->args[i], s);
    if (x->op == K_LOAD) {
        all = kindex_stride(&x->index, s->var) == 0 && x->index.nvars > 0;
        for (int i = 0; i < x->index.ndyn; i++) all &= is_shared(x->index.dyn[i].at, s);
    }
    for (int i = 0; !all && i < x->nargs; i++) s->found += each[i] && (x->args[i]->nargs || x->args[i]->op == K_LOAD);
    return all;
}

enum { STRIP = 8, STRIPS_LEAST = 1024 };

static bool map_strip(const CudaTarget *target, const Shape *shape, const NestSection *s, NestMap *m) {
    if (s->nvars < 2 || !nest_is_plain(s->body)) return false;
    const NestVar *last = &s->var[s->nvars - 1];
    Shared x = {.seen = calloc((size_t)shape->k->nexprs + 1, sizeof(bool)), .var = last->var};
    for (int i = 0; i < s->body->stmts.n; i++) is_shared(s->body->stmts.at[i]->value, &x);
    free(x.seen);
    int width = choose_width(shape, s, last->var);
    int64_t rows = s->points / last->extent, strip = (int64_t)256 * STRIP * width,
            strips = ceil_div(last->extent, strip);
    if (!x.found || last->extent < STRIPS_LEAST || rows * strips < target->processors * 4) return false;
    m->way = NEST_STRIP;
    m->group = 1;
    m->width = width;
    m->threads = 256;
    m->across = (int)strip;
    m->blocks = rows * strips;
    return m->blocks < INT32_MAX / 2 && last->extent < INT32_MAX / 2;
}

static void map_row(const CudaTarget *target, const Shape *shape, const NestSection *s, int most, NestMap *m) {
    m->way = NEST_ROW;
    m->width = choose_width(shape, s, -1);
    while (m->width > 1 && shape->longest / m->width < 4) m->width /= 2;
    int64_t steps = ceil_div(shape->longest, m->width), enough = (int64_t)target->processors * 512;
    int group = power_at_most(steps / 8 < 32 ? (steps < 32 ? 2 * steps - 1 : 32) : steps / 8);
    while (group < 1024 && group * 2 <= steps && s->points * group < enough) group *= 2;
    if (group > most || (group > 32 && most < 1024)) group = most;
    m->group = group;
    m->threads = group > 32 ? group : 256;
    m->across = m->threads / group;
    m->blocks = at_most(ceil_div(s->points, m->across));
    m->shared_bytes = group > 32 ? 128 : 0;
}

static void map_column(const CudaTarget *target, const Shape *shape, const NestSection *s, int most, NestMap *m) {
    int64_t columns = s->var[s->nvars - 1].extent, outer = s->points / columns;
    m->way = NEST_COLUMN;
    m->width = choose_width(shape, s, s->var[s->nvars - 1].var);
    m->across = 32;
#define TILES (outer * ceil_div(columns, (int64_t)m->across * m->width))
    while (m->across > 8 && 2 * columns <= m->across * m->width) m->across /= 2;
    while (m->width > 1 && TILES < target->processors) m->width /= 2;
    while (m->across > 8 && TILES < target->processors) m->across /= 2;
    m->blocks = at_most(TILES);
#undef TILES
    m->threads = m->blocks < 2 * target->processors && m->width <= 2 ? 1024 : m->width <= 2 ? 512 : 256;
    if (m->threads > most || most < 1024) m->threads = most;
    while (m->threads > 64 && most == 1024 && m->threads / m->across > 2 * shape->longest) m->threads /= 2;
    m->group = m->threads / m->across;
    m->shared_bytes = 4 * m->threads;
}

// most: 1024, or what every section of a kernel has.
void nest_map(const CudaTarget *target, const Kernel *k, const NestSection *s, int most, NestMap *out) {
    if (nest_map_scatter(target, k, s, out) || nest_map_scan(target, s, out)) return;
    memset(out, 0, sizeof *out);
    Shape shape = {.k = k, .point_var = s->nvars ? s->var[s->nvars - 1].var : -1};
    bool guarded = false;
    for (int i = 0; i < s->nvars; i++) guarded |= s->var[i].chunk_var >= 0;
    visit_body(s->body, look, &shape, NULL, &shape.weight);
    look_at_loops(&shape, s->body);
    int64_t fill = (int64_t)target->processors * 2048;
    if (!guarded && map_strip(target, &shape, s, out)) return;
    memset(out, 0, sizeof *out);
    bool columns = shape.across > shape.along;
    bool alone =
        guarded || s->points > UINT32_MAX / 2 || shape.longest <= (columns ? 16 : 4) || (columns && s->points >= fill);
    if (alone) map_thread(target, &shape, s, guarded, out);
    else if (columns) map_column(target, &shape, s, most, out);
    else map_row(target, &shape, s, most, out);
}
