// SPDX-License-Identifier: Apache-2.0
// Context parallelism: what rings and exchanges send, how often and how much; that with zigzag each rank has the same work in each step; that
// no rank holds more than its part of keys and values; and that a ring whose order is broken gives other numbers: each
// permute in turn left out, turned round, or the step's number off by one. That rings give one rank's numbers at all is
// shown by tests/ir/test_layout.c, on whole models.
#include "ir/build.h"
#include "ir/eval_core.h"
#include "ir/storage.h"
#include "ir/strategy.h"
#include "ir/text.h"
#include "ir/verify.h"
#include "passes/pass.h"

#include <math.h>
#include <stdlib.h>

static int failures;
#define CHECK(ok, ...)                                                                                                 \
    do {                                                                                                               \
        if (!(ok)) {                                                                                                   \
            fprintf(stderr, "FAIL %s:%d: ", __FILE__, __LINE__);                                                       \
            fprintf(stderr, __VA_ARGS__);                                                                              \
            fputc('\n', stderr);                                                                                       \
            failures++;                                                                                                \
        }                                                                                                              \
    } while (0)

enum { BATCH = 2, HEAD = 3, GROUP = 2, DIM = 4 }; // as in the text

static const char model[] = "unit \"ring\"\n"
                            "axis batch=2\naxis seq=%1$d\naxis key=%1$d\naxis head=3\naxis group=2\naxis dim=4\n"
                            "func train\n"
                            "    %%q: f32[batch=2, seq=%1$d, head=3, group=2, dim=4] = param \"q\" \"\"\n"
                            "    %%k: f32[batch=2, seq=%1$d, head=3, dim=4] = param \"k\" \"\"\n"
                            "    %%v: f32[batch=2, seq=%1$d, head=3, dim=4] = param \"v\" \"\"\n"
                            "    %%w: f32[batch=2, seq=%1$d, head=3, group=2, dim=4] = param \"w\" \"\"\n"
                            "    %%kk: f32[batch=2, key=%1$d, head=3, dim=4] = rename %%k over seq to key\n"
                            "    %%vk: f32[batch=2, key=%1$d, head=3, dim=4] = rename %%v over seq to key\n"
                            "    %%y: f32[batch=2, seq=%1$d, head=3, group=2, dim=4], %%lse: f32[batch=2, seq=%1$d, "
                            "head=3, group=2] = attend %%q, "
                            "%%kk, %%vk over dim, key%2$s value 0.5%3$s\n"
                            "    %%t: f32[batch=2, seq=%1$d, head=3, group=2, dim=4] = mul %%y, %%w\n"
                            "    %%loss: f32[] = sum %%t over batch, seq, head, group, dim\n"
                            "    output %%loss \"loss\"\n";

typedef struct World {
    Arena *arena, *scratch;
    StrTable *strs;
    Diag *diag;
    Unit *u;
} World;

static bool step(World *w, const char *label, bool (*run)(Unit *)) {
    bool ok = run(w->u) && unit_verify(w->u, label);
    arena_reset(w->scratch);
    return ok;
}

// The model, differentiated; with ways > 0 sharded over so many ranks.
static bool world_new(World *w, int places, bool causal, int ways, AttentionKind kind) {
    *w = (World){.arena = arena_new(), .scratch = arena_new()};
    w->strs = strtable_new(w->arena);
    w->diag = diag_new(w->arena, stderr, false);
    char text[4096];
    int size = snprintf(text, sizeof text, model, places, causal ? " to seq, key" : "", causal ? " causal" : "");
    w->u = unit_parse(w->arena, w->scratch, w->strs, w->diag, str_intern(w->strs, "ring"), text, (size_t)size);
    if (!w->u) return false;
    w->u->keep_gradients = true;
    if (!step(w, "autodiff", pass_autodiff) || !step(w, "tidy", pass_simplify)) return false;
    if (!ways) return true;
    Strategy *s = NEW(w->arena, Strategy);
    *s = (Strategy){.name = str_intern(w->strs, "test"), .nsplits = 2, .splits = NEW_ARRAY(w->arena, Split, 2)};
    s->mesh.n = 1;
    s->mesh.axis[0].name = str_intern(w->strs, "context");
    s->mesh.axis[0].extent = ways;
    s->splits[0] = (Split){.axis = unit_axis(w->u, str_intern(w->strs, "seq")), .over = 1, .attention = kind};
    s->splits[1] = s->splits[0];
    s->splits[1].axis = unit_axis(w->u, str_intern(w->strs, "key"));
    if (kind == ATTENTION_GATHER) s->nsplits = 1;
    w->u->strategy = s;
    return step(w, "shard", pass_shard) && step(w, "resolve", pass_resolve) && step(w, "clean", pass_simplify);
}

static void world_free(World *w) {
    arena_free(w->scratch);
    arena_free(w->arena);
}

static double leaf_value(const char *name, int64_t i, bool no_scores) {
    uint64_t h = (uint64_t)i * 6364136223846793005u + (unsigned char)*name * 1442695040888963407u;
    h = (h ^ h >> 29) * 0xbf58476d1ce4e5b9u;
    double x = (double)(h >> 11) * 0x1p-52 - 1;
    return no_scores && *name == 'q' ? 0 : 2 * x;
}

static Eval *evaluate(World *w, bool no_scores) {
    Eval *e = eval_new(w->u, w->arena);
    eval_poison(e, true);
    const Func *f = unit_func(w->u, "train");
    for (const Node *n = f->top->first; n; n = n->next) {
        if (n->op != OP_param) continue;
        int64_t count;
        type_elements(&n->results[0]->type, &count);
        double *x = NEW_ARRAY(w->arena, double, count);
        for (int64_t i = 0; i < count; i++) x[i] = leaf_value(n->attr.s, i, no_scores);
        if (!eval_set(e, n->attr.s, x, count)) return NULL;
    }
    return eval_run(e, "train") ? e : NULL;
}

// The largest difference of loss and gradients, relative to the largest element.
static double difference(World *one, Eval *a, Eval *b) {
    static const char *const names[] = {"loss", "grad.q", "grad.k", "grad.v", "grad.w"};
    double worst = 0;
    for (int i = 0; i < 5; i++) {
        int64_t count;
        type_elements(eval_type(a, names[i]), &count);
        double *x = NEW_ARRAY(one->arena, double, count), *y = NEW_ARRAY(one->arena, double, count), scale = 0,
               most = 0;
        if (!eval_get(a, names[i], x, count) || !eval_get(b, names[i], y, count)) return INFINITY;
        for (int64_t j = 0; j < count; j++) scale = fmax(scale, fabs(x[j]));
        for (int64_t j = 0; j < count; j++) most = fabs(x[j] - y[j]) <= most ? most : fabs(x[j] - y[j]);
        if (!(most / scale <= worst)) worst = most / scale;
    }
    return worst;
}

typedef Vec(Node *) Nodes;

static void find(World *w, Block *b, OpKind op, Nodes *out) {
    for (Node *n = b->first; n; n = n->next) {
        if (n->op == op) vec_push(w->arena, out, n);
        if (n->body) find(w, n->body, op, out);
    }
}

static Nodes all(World *w, OpKind op) {
    Nodes nodes = {0};
    find(w, unit_func(w->u, "train")->top, op, &nodes);
    return nodes;
}

static double times(const Node *n) { return n->parent->owner ? (double)n->parent->owner->attr.axes.at[0]->extent : 1; }

// ---- what is sent

// Elements each rank sends by shifts and by mirroring, and how often; other collectives that are no scalars.
typedef struct Sent {
    double shifts, shifted, mirrors, mirrored, others;
} Sent;

static Sent sent_by(World *w) {
    Sent s = {0};
    Nodes nodes = {0};
    for (int op = 0; op < OP_COUNT; op++)
        if (op_info((OpKind)op)->traits & TRAIT_COMM) find(w, unit_func(w->u, "train")->top, (OpKind)op, &nodes);
    for (int i = 0; i < nodes.n; i++) {
        const Node *n = nodes.at[i];
        int64_t count;
        type_local_elements(&n->args[0]->type, &w->u->mesh, &count);
        if (n->op == OP_permute && !n->attr.flag) s.shifts += times(n), s.shifted += times(n) * (double)count;
        else if (n->op == OP_permute) s.mirrors += times(n), s.mirrored += times(n) * (double)count;
        else s.others += n->args[0]->type.rank > 0;
    }
    return s;
}

static void check_sent(int ways, int places) {
    int local = places / ways;
    double kv = BATCH * HEAD * DIM * local, q = kv * GROUP, rows = q / DIM;
    for (int kind = ATTENTION_RING; kind <= ATTENTION_ZIGZAG; kind++) {
        World w;
        if (!world_new(&w, places, true, ways, (AttentionKind)kind)) {
            CHECK(false, "the passes fail");
            return;
        }
        Sent s = sent_by(&w);
        // Forward k and v, C - 1 times each; backward these again, and dk and dv C times, back to where they belong.
        CHECK(s.shifts == 4 * (ways - 1) + 2 * ways, "%d ranks: %g shifts", ways, s.shifts);
        CHECK(s.shifted == (4 * (ways - 1) + 2 * ways) * kv, "%d ranks: %g elements shifted", ways, s.shifted);
        CHECK(s.others == 0, "%d ranks: %g other collectives", ways, s.others);
        // Half of y and lse forward, of y, lse, dy, dq, dk, dv backward; of q, k, v once here, where without a repeat
        // of layers both halves of training see the same values.
        bool zigzag = kind == ATTENTION_ZIGZAG;
        CHECK(s.mirrors == (zigzag ? 11 : 0), "%d ranks: %g mirrored", ways, s.mirrors);
        CHECK(s.mirrored == (zigzag ? (5 * q + 4 * kv + 2 * rows) / 2 : 0), "%d ranks: %g elements mirrored", ways,
              s.mirrored);
        // No value has more than a rank's part of the sequence.
        const Func *f = unit_func(w.u, "train");
        Nodes nodes = all(&w, OP_attend);
        for (int i = 0; i < nodes.n; i++) {
            int64_t count;
            type_local_elements(&nodes.at[i]->args[1]->type, &f->unit->mesh, &count);
            CHECK((double)count <= kv, "%d ranks: a step sees %lld elements of k", ways, (long long)count);
        }
        world_free(&w);
    }
}

// With heads there are all_to_alls only: of q, k, v, y, lse to heads and of y, lse, dq, dk, dv back, and dy.
static void check_exchanged(int ways, int places) {
    World w;
    if (!world_new(&w, places, true, ways, ATTENTION_HEADS)) {
        CHECK(false, "the passes fail");
        return;
    }
    Nodes nodes = all(&w, OP_all_to_all);
    double kv = BATCH * HEAD * DIM * places / ways, q = kv * GROUP, rows = q / DIM, sum = 0;
    const Axis *head = unit_axis(w.u, str_intern(w.strs, "head"));
    for (int i = 0; i < nodes.n; i++) {
        const Type *t = &nodes.at[i]->args[0]->type;
        int64_t count;
        type_local_elements(t, &w.u->mesh, &count); // with padded heads where these are split
        const Dim *d = &t->dim[type_find(t, head)];
        sum += d->split ? (double)count * HEAD / (double)(dim_local(d, &w.u->mesh) * ways) : (double)count;
    }
    Sent s = sent_by(&w);
    CHECK(nodes.n == 11 && s.others == 11 && !s.shifts && !s.mirrors, "%d ranks: %d exchanges, %g collectives", ways,
          nodes.n, s.others);
    CHECK(fabs(sum - (5 * q + 4 * kv + 2 * rows)) < 1e-6, "%d ranks: %g elements exchanged", ways, sum);
    world_free(&w);
}

// ---- work

// Pairs of a query and a key it sees, by rank and step: with q = 0 all scores are 0, and a step's log-sum-exp is the
// logarithm of how many keys it saw.
static void check_work(int ways, int places, AttentionKind kind) {
    World w;
    if (!world_new(&w, places, true, ways, kind)) {
        CHECK(false, "the passes fail");
        return;
    }
    Nodes attends = all(&w, OP_attend);
    Value *seen[8];
    for (int i = 0; i < attends.n; i++) {
        Node *loop = attends.at[i]->parent->owner;
        seen[i] = loop ? repeat_stack(loop, attends.at[i]->results[1]) : attends.at[i]->results[1];
    }
    Eval *e = evaluate(&w, true);
    CHECK(e != NULL, "the ring does not run");
    double *pairs = NEW_ARRAY(w.arena, double, ways *ways), sum = 0, most = 0, least = INFINITY;
    for (int rank = 0; e && rank < ways; rank++) {
        double own = 0;
        for (int i = 0; i < attends.n; i++) {
            bool last = !attends.at[i]->parent->owner;
            int64_t steps = last ? 1 : ways - 1, count = eval_count(e, seen[i]) / steps;
            for (int64_t s = 0; s < steps; s++)
                for (int64_t j = 0; j < count; j++) {
                    double x = exp(eval_at(e, seen[i], rank)[s * count + j]) / (BATCH * HEAD * GROUP);
                    pairs[rank * ways + (last ? ways - 1 : s)] += x;
                    own += x;
                }
        }
        sum += own;
        most = fmax(most, own);
        least = fmin(least, own);
    }
    if (places % ways == 0) // else queries in padding see keys, too
        CHECK(fabs(sum - places * (places + 1) / 2.0) < 1e-6, "%d ranks, %d places: %g pairs", ways, places, sum);
    int half = places / ways / 2;
    if (kind == ATTENTION_ZIGZAG && places % (2 * ways) == 0) {
        CHECK(most - least < 1e-6, "%d ranks: from %g to %g pairs", ways, least, most);
        for (int i = 0; i < ways * ways; i++) {
            double want = i % ways ? 2.0 * half * half : half * (half + 1.0) + half * half;
            CHECK(fabs(pairs[i] - want) < 1e-6, "rank %d, step %d: %g pairs, not %g", i / ways, i % ways, pairs[i],
                  want);
        }
    } else if (kind == ATTENTION_ZIGZAG) {
        int block = (places + ways - 1) / ways;
        CHECK(most - least <= 2.0 * block * block, "%d ranks: from %g to %g pairs", ways, least, most);
    } else {
        CHECK(most > 1.5 * least, "%d ranks: from %g to %g pairs, yet nothing balances them", ways, least, most);
    }
    world_free(&w);
}

// ---- memory

static int64_t bytes_of(int ways, int block, AttentionKind kind) {
    World w;
    bool ok = world_new(&w, ways * block, true, ways, kind) && step(&w, "fuse", pass_fuse) &&
              step(&w, "order", pass_order) && step(&w, "memory", pass_memory);
    CHECK(ok, "the passes fail");
    int64_t bytes = ok ? w.u->storage->activation_bytes : 0;
    world_free(&w);
    return bytes;
}

// With blocks of one size a ring takes the same memory on any number of ranks, a gather more and more.
static void check_memory(void) {
    int64_t block = 16, kv = BATCH * HEAD * DIM * block * 4;
    for (int kind = ATTENTION_RING; kind <= ATTENTION_ZIGZAG; kind++)
        CHECK(bytes_of(4, (int)block, kind) == bytes_of(16, (int)block, kind), "%s: %lld bytes on 4 ranks, %lld on 16",
              attention_name(kind), (long long)bytes_of(4, (int)block, kind),
              (long long)bytes_of(16, (int)block, kind));
    int64_t grows = bytes_of(16, (int)block, ATTENTION_GATHER) - bytes_of(4, (int)block, ATTENTION_GATHER);
    CHECK(grows >= 2 * 12 * kv, "a gather takes %lld bytes more on 16 ranks than on 4", (long long)grows);
}

// ---- order

typedef enum Harm { NO_HARM, DROP, TURN, STEP, HARMS } Harm;

// Breaks permute number `which` (or the number of a step); false when there is no such.
static bool harm_apply(World *w, Harm harm, int which) {
    Func *f = unit_func(w->u, "train");
    if (harm == STEP &&
        all(w, OP_permute).n) { // the step of a loop's body, or the last one, a constant: both count from one more
        Nodes indices = all(w, OP_sub);
        int at = 0;
        for (int i = 0; i < indices.n; i++) {
            Node *n = indices.at[i];
            if (n->results[0]->type.dtype != DT_I32 || n->args[1]->type.rank || at++ != which) continue;
            Builder b = builder_before(n);
            n->args[1] = build_map(&b, OP_add, n->args[1], build_const(&b, DT_I32, 1), NULL);
            return true;
        }
        return false;
    }
    Nodes permutes = all(w, OP_permute);
    if (which >= permutes.n) return false;
    Node *n = permutes.at[which];
    if (harm == TURN) n->attr.flag = !n->attr.flag;
    if (harm == DROP) value_replace_uses(f, n->results[0], n->args[0]);
    return true;
}

static int check_order(int ways, int places, AttentionKind kind, bool causal) {
    World one;
    if (!world_new(&one, places, causal, 0, kind)) {
        CHECK(false, "the passes fail");
        return 0;
    }
    Eval *a = evaluate(&one, false);
    int seeded = 0;
    for (int harm = NO_HARM; harm < HARMS; harm++)
        for (int which = 0;; which++) {
            World w;
            bool made = world_new(&w, places, causal, ways, kind), harmed = made && harm != NO_HARM;
            CHECK(made, "the passes fail");
            if (!made || (harmed && !harm_apply(&w, (Harm)harm, which))) {
                CHECK(which > 0, "nothing to break");
                world_free(&w);
                break;
            }
            Eval *b = evaluate(&w, false);
            double d = b ? difference(&one, a, b) : INFINITY;
            if (!harmed) CHECK(d < 1e-12, "%d ranks, %d places: %g from one rank's", ways, places, d);
            else CHECK(!(d < 1e-6), "%d ranks: harm %d to permute %d goes unnoticed", ways, harm, which);
            seeded += harmed;
            world_free(&w);
            if (!harmed) break;
        }
    world_free(&one);
    return seeded;
}

int main(void) {
    static const int meshes[][2] = {{2, 8}, {3, 12}, {4, 16}, {5, 30}};
    for (int i = 0; i < 4; i++) {
        check_exchanged(meshes[i][0], meshes[i][1]);
        check_sent(meshes[i][0], meshes[i][1]);
        check_work(meshes[i][0], meshes[i][1], ATTENTION_RING);
        check_work(meshes[i][0], meshes[i][1], ATTENTION_ZIGZAG);
    }
    check_work(3, 17, ATTENTION_ZIGZAG);
    check_work(4, 13, ATTENTION_ZIGZAG);
    check_memory();
    int seeded = check_order(3, 12, ATTENTION_RING, true) + check_order(3, 11, ATTENTION_ZIGZAG, true) +
                 check_order(4, 16, ATTENTION_ZIGZAG, true) + check_order(3, 7, ATTENTION_RING, false);
    printf("%d harms seeded, %d failures\n", seeded, failures);
    return failures != 0;
}
