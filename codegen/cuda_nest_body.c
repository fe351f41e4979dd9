// SPDX-License-Identifier: Apache-2.0
// cuda_nest_body: the statements of a section's body. They are in the hands of one thread, or of the threads of a point
// together, as its map says. Together: a loop whose iterations are independent is shared out; what is reduced in one is
// combined behind its last loop; other loops are walked by all threads in step; what stands between loops is computed
// by all and stored by the first. Threads meet before one may see what another has done.
//
// A value is made once where it is first needed and has a name until its block ends. In front of a loop, what its body
// needs and does not depend on it is made.
#include "codegen/cuda_nest.h"
#include <assert.h>
#include <inttypes.h>
#include <string.h>

bool nest_index_varies(NestEmit *e, const KIndex *x);
bool nest_varies(NestEmit *e, const KExpr *x);
void nest_remember(NestEmit *e, const KExpr *x, NestName name);
void nest_forget_loads(NestEmit *e, uint64_t bufs);
const char *nest_settle(NestEmit *e, const KExpr *x);
const char *nest_right_side(NestEmit *e, const KExpr *x);

// ---- survey

static void survey_expr(NestEmit *e, const KExpr *x) {
    if (e->uses[x->id]++) return;
    uint64_t reads = x->op == K_LOAD ? nest_bit(x->buf) : 0;
    for (int i = 0; i < x->nargs; i++) {
        survey_expr(e, x->args[i]);
        reads |= e->reads[x->args[i]->id];
    }
    for (int i = 0; x->op == K_LOAD && i < x->index.ndyn; i++) {
        survey_expr(e, x->index.dyn[i].at);
        reads |= e->reads[x->index.dyn[i].at->id];
    }
    e->reads[x->id] = reads;
}

static void survey(NestEmit *e, const KBody *body) {
    for (int i = 0; i < body->stmts.n; i++) {
        const KStmt *s = body->stmts.at[i];
        if (s->value) survey_expr(e, s->value);
        for (int j = 0; s->kind == KSTMT_STORE && j < s->index.ndyn; j++) survey_expr(e, s->index.dyn[j].at);
        if (s->kind == KSTMT_ACC) e->acc[s->var].reduce = s->reduce;
        if (s->kind == KSTMT_UPDATE) e->acc[s->var].type = s->value->type;
        if (s->kind == KSTMT_LOOP) {
            e->extent[s->var] = s->extent;
            survey(e, &s->body);
        }
    }
}

void nest_emit_start(NestEmit *e, Arena *arena, FILE *out, const Kernel *k) {
    *e = (NestEmit){.arena = arena, .out = out, .k = k, .lane_var = -1, .width = 1};
    int exprs = k->nexprs + 1;
    e->extent = NEW_ARRAY(arena, int64_t, k->nvars + 1);
    e->var = NEW_ARRAY(arena, const char *, k->nvars + 1);
    e->varies = NEW_ARRAY(arena, int8_t, exprs);
    memset(e->varies, -1, (size_t)exprs);
    e->uses = NEW_ARRAY(arena, int, exprs);
    e->reads = NEW_ARRAY(arena, uint64_t, exprs);
    e->memo = NEW_ARRAY(arena, NestName, exprs);
    e->acc = NEW_ARRAY(arena, NestAcc, k->naccs + 1);
    survey(e, &k->body);
}

static uint64_t body_writes(const KBody *body) {
    uint64_t mask = 0;
    for (int i = 0; i < body->stmts.n; i++) {
        const KStmt *s = body->stmts.at[i];
        if (s->kind == KSTMT_STORE) mask |= nest_bit(s->buf);
        if (s->kind == KSTMT_LOOP) mask |= body_writes(&s->body);
    }
    return mask;
}

uint64_t nest_bufs(const NestEmit *e, const KBody *body) {
    uint64_t mask = 0;
    for (int i = 0; i < body->stmts.n; i++) {
        const KStmt *s = body->stmts.at[i];
        if (s->value) mask |= e->reads[s->value->id];
        for (int j = 0; s->kind == KSTMT_STORE && j < s->index.ndyn; j++) mask |= e->reads[s->index.dyn[j].at->id];
        if (s->kind == KSTMT_STORE) mask |= nest_bit(s->buf);
        if (s->kind == KSTMT_LOOP) mask |= nest_bufs(e, &s->body);
    }
    return mask;
}

// ---- groups of values, updates and stores

typedef struct Item {
    const KStmt *stmt; // a store or an update; NULL: a value to be made
    const KExpr *value;
    const char *text;
} Item;
typedef Vec(Item) Items;

static bool is_together(const NestEmit *e) { return e->lane_var >= 0 && e->width > 1; }

static void set_lane_var(NestEmit *e, int var) {
    e->lane_var = var;
    memset(e->varies, -1, (size_t)e->k->nexprs + 1);
}

static bool is_leaf(const KExpr *x) {
    return x->op == K_CONST || x->op == K_VAR || x->op == K_SCALAR || x->op == K_ACC;
}

// What is the same for all neighbours, and their loads, in front of the loop over them.
static void lift(NestEmit *e, const KExpr *x) {
    if (e->memo[x->id].text || is_leaf(x)) return;
    if (!nest_varies(e, x)) {
        nest_settle(e, x);
        return;
    }
    for (int i = 0; i < x->nargs; i++) lift(e, x->args[i]);
    if (x->op != K_LOAD) return;
    for (int i = 0; i < x->index.ndyn; i++) lift(e, x->index.dyn[i].at);
    for (int i = 0; i < x->index.ndyn; i++)
        if (nest_varies(e, x->index.dyn[i].at)) return;
    if (!nest_is_vector(&x->index, e->lane_var, e->width)) return;
    const char *name = nest_name(e, "t");
    nest_line(e, "%s %s[V];", nest_type(x->type, true), name);
    nest_line(e, "gload_n(%s, %s);", name, nest_address(e, x->buf, &x->index));
    e->vector_bufs |= nest_bit(x->buf);
    nest_remember(e, x, (NestName){.text = name, .is_array = true, .is_byte = x->type == DT_BOOL});
}

static void open_lanes(NestEmit *e) {
    nest_line(e, "TGF_UNROLL");
    nest_open(e, "for (int u = 0; u < V; u++)");
    e->in_lanes = true;
}
static void close_lanes(NestEmit *e) {
    nest_close(e);
    e->in_lanes = false;
}

static void update_acc(NestEmit *e, const KStmt *s, const char *text) {
    const NestAcc *a = &e->acc[s->var];
    const char *name = arena_printf(e->arena, a->is_array && e->in_lanes ? "a%d[u]" : "a%d", s->var);
    if (a->reduce == KREDUCE_MAX) nest_line(e, "%s = max_of(%s, %s);", name, text, name);
    else if (a->type == DT_I32) nest_line(e, "%s = add_i32(%s, %s);", name, name, text);
    else nest_line(e, "%s += %s;", name, text);
}

// Is what is being written one thread's own?
static bool is_alone(const NestEmit *e) { return e->map->group == 1 || e->is_split; }

static const char *first_thread(const NestEmit *e) { return e->map->way == NEST_COLUMN ? "ty == 0" : "lane == 0"; }

// Stores take effect where this is true; NULL: everywhere.
static const char *store_condition(const NestEmit *e) {
    if (is_alone(e)) return e->live;
    if (!e->live) return first_thread(e);
    return arena_printf(e->arena, "%s && %s", first_thread(e), e->live);
}

static void store_line(NestEmit *e, const Item *item) {
    const KStmt *s = item->stmt;
    const char *cast = e->k->bufs.at[s->buf].type == DT_BOOL && !is_together(e) ? "(u8)" : "";
    nest_line(e, "gstore(%s, %s%s);", nest_address(e, s->buf, &s->index), cast, item->text);
}

static bool is_store(const Item *i) { return i->stmt && i->stmt->kind == KSTMT_STORE; }
static bool is_update(const Item *i) { return i->stmt && i->stmt->kind == KSTMT_UPDATE; }

static void emit_one(NestEmit *e, Item *items, int n) {
    int stores = 0;
    for (int i = 0; i < n; i++) {
        Item *item = &items[i];
        stores += is_store(item);
        if (!item->stmt) nest_settle(e, item->value);
        else item->text = is_update(item) ? nest_right_side(e, item->value) : nest_value(e, item->value);
        if (!is_update(item)) continue;
        bool guarded = !is_alone(e) && e->acc[item->stmt->var].is_shared;
        if (guarded) nest_open(e, "if (%s)", first_thread(e));
        update_acc(e, item->stmt, item->text);
        if (guarded) nest_close(e);
    }
    if (!stores) return;
    for (int i = 0; i < n; i++)
        for (int j = 0; is_store(&items[i]) && j < items[i].stmt->index.ndyn; j++)
            nest_settle(e, items[i].stmt->index.dyn[j].at);
    const char *condition = store_condition(e);
    if (condition) nest_open(e, "if (%s)", condition);
    for (int i = 0; i < n; i++)
        if (is_store(&items[i])) store_line(e, &items[i]);
    if (condition) nest_close(e);
}

static void emit_neighbours(NestEmit *e, Item *items, int n) {
    bool loops = false, scattered = false, stores = false;
    for (int i = 0; i < n; i++) {
        Item *item = &items[i];
        lift(e, item->value);
        if (!item->stmt && (e->memo[item->value->id].text || is_leaf(item->value))) continue;
        loops = true;
        if (is_update(item)) continue;
        item->text = nest_name(e, item->stmt ? "v" : "t");
        bool memory = is_store(item);
        DType t = memory ? e->k->bufs.at[item->stmt->buf].type : item->value->type;
        nest_line(e, "%s %s[V];", nest_type(t, memory), item->text);
        stores |= memory;
        for (int j = 0; memory && j < item->stmt->index.ndyn; j++) lift(e, item->stmt->index.dyn[j].at);
    }
    if (!loops) return;
    int mark = e->log.n;
    open_lanes(e);
    for (int i = 0; i < n; i++) {
        const Item *item = &items[i];
        if (is_update(item)) update_acc(e, item->stmt, nest_right_side(e, item->value));
        else if (item->text) nest_line(e, "%s[u] = %s;", item->text, nest_right_side(e, item->value));
    }
    close_lanes(e);
    nest_undo(e, mark);
    for (int i = 0; i < n; i++)
        if (!items[i].stmt && items[i].text)
            nest_remember(e, items[i].value, (NestName){.text = items[i].text, .is_array = true});
    if (!stores) return;
    const char *condition = store_condition(e);
    if (condition) nest_open(e, "if (%s)", condition);
    for (int i = 0; i < n; i++) {
        const KStmt *s = items[i].stmt;
        if (!is_store(&items[i])) continue;
        bool vector = nest_is_vector(&s->index, e->lane_var, e->width);
        for (int j = 0; j < s->index.ndyn; j++) vector &= !nest_varies(e, s->index.dyn[j].at);
        if (vector) {
            nest_line(e, "gstore_n(%s, %s);", nest_address(e, s->buf, &s->index), items[i].text);
            e->vector_bufs |= nest_bit(s->buf);
        }
        scattered |= !vector;
        if (vector) items[i].stmt = NULL;
    }
    if (scattered) {
        int inner = e->log.n;
        open_lanes(e);
        for (int i = 0; i < n; i++) {
            if (!is_store(&items[i])) continue;
            items[i].text = arena_printf(e->arena, "%s[u]", items[i].text);
            store_line(e, &items[i]);
        }
        close_lanes(e);
        nest_undo(e, inner);
    }
    if (condition) nest_close(e);
}

static void emit_items(NestEmit *e, Items *items) {
    if (!items->n) return;
    if (is_together(e)) emit_neighbours(e, items->at, items->n);
    else emit_one(e, items->at, items->n);
}

// ---- invariants

static bool is_ready(const NestEmit *e, const KExpr *x, uint64_t writes) {
    if (e->memo[x->id].text) return true;
    if (x->op == K_VAR) return e->var[x->var] != NULL;
    if (x->op == K_ACC) return e->acc[x->var].is_final;
    for (int i = 0; i < x->nargs; i++)
        if (!is_ready(e, x->args[i], writes)) return false;
    if (x->op != K_LOAD) return true;
    if (writes & nest_bit(x->buf)) return false;
    for (int i = 0; i < x->index.nvars; i++)
        if (!e->var[x->index.vars[i].var]) return false;
    for (int i = 0; i < x->index.ndyn; i++)
        if (!is_ready(e, x->index.dyn[i].at, writes)) return false;
    return true;
}

typedef struct Hoist {
    uint64_t writes;
    bool *seen; // by expression
    Items items;
} Hoist;

static void hoist_expr(NestEmit *e, const KExpr *x, Hoist *h) {
    if (h->seen[x->id] || is_leaf(x) || e->memo[x->id].text) return;
    h->seen[x->id] = true;
    if (is_ready(e, x, h->writes)) {
        vec_push(e->arena, &h->items, (Item){.value = x});
        return;
    }
    for (int i = 0; i < x->nargs; i++) hoist_expr(e, x->args[i], h);
    for (int i = 0; x->op == K_LOAD && i < x->index.ndyn; i++) hoist_expr(e, x->index.dyn[i].at, h);
}
static void hoist_body(NestEmit *e, const KBody *body, Hoist *h) {
    for (int i = 0; i < body->stmts.n; i++) {
        const KStmt *s = body->stmts.at[i];
        if (s->value) hoist_expr(e, s->value, h);
        for (int j = 0; s->kind == KSTMT_STORE && j < s->index.ndyn; j++) hoist_expr(e, s->index.dyn[j].at, h);
        if (s->kind == KSTMT_LOOP) hoist_body(e, &s->body, h);
    }
}
void nest_hoist(NestEmit *e, const KBody *body) {
    Hoist h = {.writes = body_writes(body), .seen = NEW_ARRAY(e->arena, bool, e->k->nexprs + 1)};
    hoist_body(e, body, &h);
    emit_items(e, &h.items);
}

// ---- accumulators

// Does a loop that the threads of a point share out update it?
static bool is_reduced_by_many(const KBody *body, int acc) {
    for (int i = 0; i < body->stmts.n; i++) {
        const KStmt *s = body->stmts.at[i], *chain[8];
        if (s->kind != KSTMT_LOOP || !kbody_updates(&s->body, acc)) continue;
        if (nest_free_chain(s, chain) || is_reduced_by_many(&s->body, acc)) return true;
    }
    return false;
}

static void acc_open(NestEmit *e, const KBody *body, int number) {
    NestAcc *a = &e->acc[number];
    a->is_final = false;
    a->is_array = is_together(e);
    a->is_shared = !is_alone(e) && is_reduced_by_many(body, number);
    if (a->type == DT_F64) e->status = status_make(STATUS_UNSUPPORTED, "f64 sums have no kernels on a GPU");
    const char *type = nest_type(a->type, false);
    const char *start = a->reduce == KREDUCE_SUM ? (a->type == DT_I32 ? "0" : "0.0f")
                        : a->type == DT_I32      ? "-2147483647 - 1"
                                                 : "bits_float(0xff800000u)";
    if (!a->is_array) {
        nest_line(e, "%s a%d = %s;", type, number, start);
    } else if (a->reduce == KREDUCE_SUM) {
        nest_line(e, "%s a%d[V] = {};", type, number);
    } else {
        nest_line(e, "%s a%d[V];", type, number);
        nest_line(e, "for (int u = 0; u < V; u++) a%d[u] = %s;", number, start);
    }
}

static void acc_close(NestEmit *e, int number) {
    NestAcc *a = &e->acc[number];
    a->is_final = true;
    if (!a->is_shared) return;
    const char *op = a->reduce == KREDUCE_SUM ? "Sum" : "Max", *how;
    const NestMap *m = e->map;
    if (m->way == NEST_COLUMN) how = arena_printf(e->arena, "reduce_down<%s, %d, %d>", op, m->across, m->group);
    else if (m->group > 32) how = arena_printf(e->arena, "reduce_block<%s, %d>", op, m->group);
    else how = arena_printf(e->arena, "reduce_lanes<%s, %d>", op, m->group);
    if (a->is_array) {
        nest_line(e, "TGF_UNROLL");
        nest_line(e, "for (int u = 0; u < V; u++) a%d[u] = %s(a%d[u]);", number, how, number);
    } else {
        nest_line(e, "a%d = %s(a%d);", number, how, number);
    }
    if (m->group > 32 || m->way == NEST_COLUMN) e->is_unsettled = false;
}

// ---- loops

// In front of what may see another thread's effects.
static void settle_threads(NestEmit *e) {
    if (is_alone(e) || !e->is_unsettled) return;
    nest_line(e, e->map->way == NEST_ROW && e->map->group <= 32 ? "sync_warp();" : "sync_block();");
    e->is_unsettled = false;
}

static const char *loop_name(NestEmit *e, const KStmt *s) { return arena_printf(e->arena, "i%d", s->var); }
static const char *int_for(int64_t extent) { return extent > INT32_MAX - 65536 ? "i64" : "int"; }

static void bind(NestEmit *e, const KStmt *s) { e->var[s->var] = loop_name(e, s); }

static void skip_beyond(NestEmit *e, const KStmt *s) { // a chunk's last places
    if (s->chunk_var >= 0)
        nest_line(e, "if ((i64)%s * %" PRId64 " + i%d >= %" PRId64 ") break;", e->var[s->chunk_var], s->extent, s->var,
                  s->total);
}

static void open_walk(NestEmit *e, const KStmt *s) { // by one thread, or by all in step
    nest_open(e, "for (%s i%d = 0; i%d < %" PRId64 "; i%d++)", int_for(s->extent), s->var, s->var, s->extent, s->var);
    bind(e, s);
    skip_beyond(e, s);
}

static bool only_updates(const KBody *body) {
    for (int i = 0; i < body->stmts.n; i++)
        if (body->stmts.at[i]->kind != KSTMT_UPDATE) return false;
    return true;
}

static void close_loops(NestEmit *e, const KStmt *const *loops, int n, int mark) {
    nest_undo(e, mark);
    nest_close(e);
    for (int i = 0; i < n; i++) e->var[loops[i]->var] = NULL;
}

static void walk(NestEmit *e, const KStmt *s) {
    nest_hoist(e, &s->body);
    int mark = e->log.n;
    if (is_alone(e) && only_updates(&s->body)) nest_line(e, "TGF_UNROLL_4");
    open_walk(e, s);
    nest_body(e, &s->body);
    if (!is_alone(e)) settle_threads(e);
    close_loops(e, &s, 1, mark);
    nest_forget_loads(e, body_writes(&s->body));
}

// The loops, each all of the body of the one in front of it, shared out among the threads of the point.
static void share_out(NestEmit *e, const KStmt *const *loops, int n) {
    const KStmt *last = loops[n - 1];
    int group = e->map->group, mark[8];
    bool steps = nest_steps(last, e->map), flat = n > 1;
    const char *place = e->map->way == NEST_COLUMN ? "ty" : "lane", *times = steps ? " * V" : "";
    int64_t inner = last->extent / (steps ? e->map->width : 1), total = 1;
    for (int i = 0; i < n; i++) {
        total *= loops[i]->extent;
        if (loops[i]->chunk_var >= 0) flat = false;
    }
    if (inner >= group) flat = false;
    settle_threads(e);
    nest_hoist(e, &loops[0]->body);
    mark[0] = e->log.n;
    int outer_lane = e->lane_var;
    if (flat) {
        const char *at = nest_name(e, "at"), *type = int_for(total), *rest = at;
        nest_open(e,
                  steps ? "for (%s %s = %s; %s < %" PRId64 " / V; %s += %d)"
                        : "for (%s %s = %s; %s < %" PRId64 "; %s += %d)",
                  type, at, place, at, total, at, group);
        for (int i = n - 1; i >= 0; i--) {
            const char *by = i == n - 1 ? times : "", *over = *by ? " / V" : "";
            bind(e, loops[i]);
            if (i == 0) nest_line(e, "int i%d = %s%s;", loops[i]->var, rest, by);
            else nest_line(e, "int i%d = %s %% (%" PRId64 "%s)%s;", loops[i]->var, rest, loops[i]->extent, over, by);
            if (i) rest = arena_printf(e->arena, "%s / (%" PRId64 "%s)", rest, loops[i]->extent, over);
        }
    } else {
        for (int i = 0; i < n - 1; i++) {
            open_walk(e, loops[i]);
            nest_hoist(e, &loops[i + 1]->body);
            mark[i + 1] = e->log.n;
        }
        if (only_updates(&last->body) && inner >= 8 * group) nest_line(e, "TGF_UNROLL_4");
        nest_open(e, "for (%s i%d = %s%s; i%d < %" PRId64 "; i%d += %d%s)", int_for(last->extent), last->var, place,
                  times, last->var, last->extent, last->var, group, times);
        bind(e, last);
        skip_beyond(e, last);
    }
    e->is_split = true;
    if (steps) set_lane_var(e, last->var);
    nest_body(e, &last->body);
    if (steps) set_lane_var(e, outer_lane);
    e->is_split = false;
    e->is_unsettled = true;
    if (flat) {
        close_loops(e, loops, n, mark[0]);
    } else {
        for (int i = n - 1; i >= 0; i--) close_loops(e, &loops[i], 1, mark[i]);
    }
    nest_forget_loads(e, body_writes(&loops[0]->body));
}

static void emit_loop(NestEmit *e, const KStmt *s) {
    const KStmt *chain[8];
    int n = is_alone(e) ? 0 : nest_free_chain(s, chain);
    if (n) share_out(e, chain, n);
    else walk(e, s);
}

// ---- bodies

static void emit_effects(NestEmit *e, const KBody *body, int from, int to) {
    Items items = {0};
    uint64_t writes = 0;
    for (int i = from; i < to; i++) {
        const KStmt *s = body->stmts.at[i];
        vec_push(e->arena, &items, (Item){.stmt = s, .value = s->value});
        if (s->kind == KSTMT_STORE) writes |= nest_bit(s->buf);
    }
    settle_threads(e);
    emit_items(e, &items);
    nest_forget_loads(e, writes);
    if (!is_alone(e)) e->is_unsettled = true;
}

static void close_accs(NestEmit *e, const KBody *body, int at) { // behind statement `at`, the last to update them
    for (int j = 0; j <= at; j++) {
        const KStmt *a = body->stmts.at[j];
        if (a->kind != KSTMT_ACC || e->acc[a->var].is_final) continue;
        if (!kbody_updates_behind(body, at, a->var)) acc_close(e, a->var);
    }
}

void nest_body(NestEmit *e, const KBody *body) {
    int n = body->stmts.n;
    for (int i = 0; i < n; i++) {
        const KStmt *s = body->stmts.at[i];
        if (s->kind == KSTMT_ACC) {
            acc_open(e, body, s->var);
        } else if (kstmt_is_effect(s)) {
            int to = kbody_effects_end(body, i);
            emit_effects(e, body, i, to);
            i = to - 1;
        } else {
            emit_loop(e, s);
        }
        close_accs(e, body, i);
    }
    for (int j = 0; j < n; j++)
        if (body->stmts.at[j]->kind == KSTMT_ACC) e->acc[body->stmts.at[j]->var].is_final = false;
}
