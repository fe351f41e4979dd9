// SPDX-License-Identifier: Apache-2.0
// Classic layouts against the literature: what a training step's plan sends, by name, group, place, count and bytes,
// must be what the formulas of the papers say, and nothing else. The table is written from the papers; no number in it
// was taken from the compiler's output. Each row is then shown to notice: every collective of its plan left out, every
// one done twice, every message left out, one at a time, must each be reported.
#include "codegen/plan.h"
#include "frontend/frontend.h"
#include "passes/pass.h"
#include <stdlib.h>
#include <string.h>

static int failures;

// Where in the step: in the layers' forward half (a loop over layers upwards), in their backward half (downwards), or
// outside of the layers.
typedef enum Where { LAYERS_FORWARD, LAYERS_BACKWARD, OUTSIDE } Where;
static const char *const where_names[] = {"layers forward", "layers backward", "outside the layers"};

// Beside the plan's COMM_ kinds: what passes from stage to stage.
enum { MESSAGE = 100 };

typedef struct Count {
    int kind;
    const char *over; // mesh axes of the group
    Where where;
    double calls; // in a step, over the layers of all stages: what one rank of each stage takes part in
    double bytes; // of one call: the larger side, on a rank. In a row with `all`: of all calls together
    bool all;     // every call of this kind, group and place that no line above it names
} Count;

#define LINE(kind, over, where, calls, bytes)                                                                          \
    { kind, over, where, calls, bytes, false }
#define ALL(kind, over, where, calls, bytes)                                                                           \
    { kind, over, where, calls, bytes, true }

// ---- sizes, named as in the papers ----------------------------------------------------------------------------------
enum {
    L = 8,     // layers
    A = 4,     // attention heads
    D = 6,     // a head's width
    H = A * D, // hidden size
    S = 32,    // sequence length
    B = 48,    // sequences in a step
    V = 52,    // words
    F32 = 4,   // bytes
    ONE = F32, // a single number
    // of the mixture of experts
    G = 2,                   // heads of keys and values
    K = G * D,               // their width in all
    E = 16,                  // experts
    F = 40,                  // an expert's hidden size
    C = 5 * 2 * S / (4 * E), // slots of an expert for the tokens of a sequence: 1.25 times two choices a token
};
// Activations of a step between two layers, and one number a token, whole.
#define BSH ((double)B * S * H * F32)
#define BS ((double)B * S * F32)
// Parameters of a GPT: Narayanan et al., SC 2021, equation 2, and the last layernorm, which it leaves out.
#define P_LAYER ((12.0 * H + 13) * H)
#define P_OUTER ((double)(V + S) * H + 2 * H)
#define P (L * P_LAYER + P_OUTER)
// As tensors: in a layer 2 each of 2 layernorms and of 4 products; outside 2 embeddings and 2 of the last layernorm.
enum { T_LAYER = 12, T_OUTER = 4, T = T_LAYER + T_OUTER };
// Of t ranks of tensor parallelism one's own: products and their column-parallel biases in parts (3 H of q, k, v, 4 H
// of the MLP), layernorms and row-parallel biases whole.
#define P_LAYER_OF(t) ((12.0 * H + 7) * H / (t) + 6.0 * H)
// A mixture: what all ranks hold alike, attention, router, norms, and embeddings; in so many tensors.
#define P_MIXTURE (L * (2.0 * H * H + 2.0 * H * K + (double)H * E + 2 * H) + 2.0 * V * H + H)
enum { T_MIXTURE = 7 + 3 };

// Numbers that all stages meet for: the loss, the square of the layers' gradients, and of each gradient outside of them
// (Megatron-LM adds these up before they meet: 2).
enum { MEET = 1 + 1 + T_OUTER };

typedef struct Row {
    const char *name, *source, *example, *lines;
    Count want[20];
} Row;

#define GPT "examples/gpt2.tgf"

static const Row rows[] = {
    {"tensor parallelism",
     "Shoeybi et al. 2019, section 3 and figure 4: 2 all_reduces a layer forward, 2 backward",
     GPT,
     "mesh tensor = 2\n split head, hidden, vocab over tensor",
     {
         LINE(COMM_ALL_REDUCE, "tensor", LAYERS_FORWARD, 2 * L, BSH),
         LINE(COMM_ALL_REDUCE, "tensor", LAYERS_BACKWARD, 2 * L, BSH),
         // The embedding's output and its transpose's gradient; the loss as in the row below; the norm for clipping.
         LINE(COMM_ALL_REDUCE, "tensor", OUTSIDE, 2, BSH),
         LINE(COMM_ALL_REDUCE, "tensor", OUTSIDE, 3, BS),
         LINE(COMM_ALL_REDUCE, "tensor", OUTSIDE, 1, ONE),
     }},
    {"vocabulary-parallel loss",
     "Shoeybi et al. 2019, section 3: b s numbers in place of b s v; maximum, sum and the label's logit",
     GPT,
     "mesh tensor = 4\n split vocab over tensor",
     {
         LINE(COMM_ALL_REDUCE, "tensor", OUTSIDE, 2, BSH),
         LINE(COMM_ALL_REDUCE, "tensor", OUTSIDE, 3, BS),
         LINE(COMM_ALL_REDUCE, "tensor", OUTSIDE, 1, ONE),
     }},
    {"tensor and sequence parallelism",
     "Korthikanti et al. 2022, sections 4.2.1 and 4.2.2: each all_reduce an all_gather and a reduce_scatter; backward "
     "the inputs, of which a part was kept, are gathered again",
     GPT,
     "mesh tensor = 2\n split head, hidden, vocab over tensor\n split seq over tensor between blocks",
     {
         LINE(COMM_ALL_GATHER, "tensor", LAYERS_FORWARD, 2 * L, BSH),
         LINE(COMM_REDUCE_SCATTER, "tensor", LAYERS_FORWARD, 2 * L, BSH),
         LINE(COMM_ALL_GATHER, "tensor", LAYERS_BACKWARD, (2 + 2) * L, BSH),
         LINE(COMM_REDUCE_SCATTER, "tensor", LAYERS_BACKWARD, 2 * L, BSH),
         // In front of the logits and behind the embedding, and backward.
         LINE(COMM_ALL_GATHER, "tensor", OUTSIDE, 2, BSH),
         LINE(COMM_REDUCE_SCATTER, "tensor", OUTSIDE, 2, BSH),
         LINE(COMM_ALL_REDUCE, "tensor", OUTSIDE, 3, BS),
         // Layernorms and row-parallel biases have seen a part of the tokens; so have the positions.
         LINE(COMM_ALL_REDUCE, "tensor", OUTSIDE, 6, (L * H * F32)),
         LINE(COMM_ALL_REDUCE, "tensor", OUTSIDE, 2, (H * F32)),
         LINE(COMM_ALL_GATHER, "tensor", OUTSIDE, 1, (S * H * F32)),
         LINE(COMM_ALL_REDUCE, "tensor", OUTSIDE, 1, ONE),
     }},
    {"data parallelism",
     "Li et al. 2020 (PyTorch DDP), section 3.2: one all_reduce of each gradient",
     GPT,
     "mesh data = 4\n split batch over data",
     {
         LINE(COMM_ALL_REDUCE, "data", OUTSIDE, 2, ONE), // the loss, and over how many tokens it is the mean
         ALL(COMM_ALL_REDUCE, "data", OUTSIDE, T, (P * F32)),
     }},
    {"gradient accumulation",
     "Narayanan et al. 2021, section 3.3: gradients are reduced once a step, not for each microbatch",
     GPT,
     "mesh data = 4\n split batch over data microbatches = 6",
     {
         LINE(COMM_ALL_REDUCE, "data", OUTSIDE, 2, ONE),
         ALL(COMM_ALL_REDUCE, "data", OUTSIDE, T, (P * F32)),
     }},
    {"ZeRO-1",
     "Rajbhandari et al. 2020, section 7.2.1: reduce_scatter P, all_gather P",
     GPT,
     "mesh data = 4\n split batch over data\n shard optimizer over data",
     {
         ALL(COMM_REDUCE_SCATTER, "data", OUTSIDE, T, (P * F32)), ALL(COMM_ALL_GATHER, "data", OUTSIDE, T, (P * F32)),
         LINE(COMM_ALL_REDUCE, "data", OUTSIDE, 3, ONE), // and the norm
     }},
    {"ZeRO-2",
     "Rajbhandari et al. 2020, section 7.2.1: as ZeRO-1, but each layer's gradients as they are made",
     GPT,
     "mesh data = 4\n split batch over data\n shard gradients over data",
     {
         ALL(COMM_REDUCE_SCATTER, "data", LAYERS_BACKWARD, (T_LAYER * L), (L * P_LAYER * F32)),
         ALL(COMM_REDUCE_SCATTER, "data", OUTSIDE, T_OUTER, (P_OUTER * F32)),
         ALL(COMM_ALL_GATHER, "data", OUTSIDE, T, (P * F32)),
         LINE(COMM_ALL_REDUCE, "data", OUTSIDE, 3, ONE),
     }},
    // 3 P, less what the backward half does not need (the biases of the 4 products, 9 H) or has not let go (outside).
    {"ZeRO-3",
     "Rajbhandari et al. 2020, section 7.2.2: all_gather P forward and again backward, reduce_scatter P",
     GPT,
     "mesh data = 4\n split batch over data\n shard parameters over data",
     {
         ALL(COMM_ALL_GATHER, "data", LAYERS_FORWARD, (T_LAYER * L), (L * P_LAYER * F32)),
         ALL(COMM_ALL_GATHER, "data", LAYERS_BACKWARD, (T_LAYER - 4) * L, (L * (P_LAYER - 9 * H) * F32)),
         ALL(COMM_REDUCE_SCATTER, "data", LAYERS_BACKWARD, (T_LAYER * L), (L * P_LAYER * F32)),
         ALL(COMM_ALL_GATHER, "data", OUTSIDE, T_OUTER, (P_OUTER * F32)),
         ALL(COMM_REDUCE_SCATTER, "data", OUTSIDE, T_OUTER, (P_OUTER * F32)),
         LINE(COMM_ALL_REDUCE, "data", OUTSIDE, 3, ONE),
     }},
    {"hybrid sharding",
     "Zhao et al. 2023 (PyTorch FSDP), section 3.2.2: gathers and scatters within a group of F ranks, an all_reduce of "
     "P / F between groups",
     GPT,
     "mesh node = 3, data = 4\n split batch over node, data\n shard parameters over data",
     {
         ALL(COMM_ALL_GATHER, "data", LAYERS_FORWARD, (T_LAYER * L), (L * P_LAYER * F32)),
         ALL(COMM_ALL_GATHER, "data", LAYERS_BACKWARD, (T_LAYER - 4) * L, (L * (P_LAYER - 9 * H) * F32)),
         ALL(COMM_REDUCE_SCATTER, "data", LAYERS_BACKWARD, (T_LAYER * L), (L * P_LAYER * F32)),
         ALL(COMM_ALL_GATHER, "data", OUTSIDE, T_OUTER, (P_OUTER * F32)),
         ALL(COMM_REDUCE_SCATTER, "data", OUTSIDE, T_OUTER, (P_OUTER * F32)),
         ALL(COMM_ALL_REDUCE, "node", OUTSIDE, T, P / 4 * F32),
         LINE(COMM_ALL_REDUCE, "node data", OUTSIDE, 2, ONE),
         LINE(COMM_ALL_REDUCE, "data", OUTSIDE, 1, ONE),
     }},
    // 4 ranks. Backward the gradients of a block of keys and values make the whole round, back to where it belongs.
    {"ring attention",
     "Liu et al. 2023, section 3: blocks of k and v go on by one rank, C - 1 times",
     GPT,
     "mesh context = 4\n split seq over context attention = ring",
     {
         LINE(COMM_SHIFT, "context", LAYERS_FORWARD, 2 * (4 - 1) * L, BSH / 4),
         LINE(COMM_SHIFT, "context", LAYERS_BACKWARD, (2 * (4 - 1) + 2 * 4) * L, BSH / 4),
         LINE(COMM_ALL_REDUCE, "context", OUTSIDE, 3, ONE),
         ALL(COMM_ALL_REDUCE, "context", OUTSIDE, T - 1, (P - S * H) * F32), // each rank has its own positions
     }},
    {"context parallelism by gathers",
     "Dubey et al. 2024 (Llama 3), section 3.3.2: all_gather k and v",
     GPT,
     "mesh context = 4\n split seq over context",
     {
         LINE(COMM_ALL_GATHER, "context", LAYERS_FORWARD, 2 * L, BSH),
         LINE(COMM_ALL_GATHER, "context", LAYERS_BACKWARD, 2 * L, BSH),
         LINE(COMM_REDUCE_SCATTER, "context", LAYERS_BACKWARD, 2 * L, BSH),
         LINE(COMM_ALL_REDUCE, "context", OUTSIDE, 3, ONE),
         ALL(COMM_ALL_REDUCE, "context", OUTSIDE, T - 1, (P - S * H) * F32),
     }},
    // What is kept for the backward half is split over places: q, k, v and the result are exchanged again, and the
    // log-sum-exps that the paper's attention keeps for itself, one for each token and head, travel with the result.
    {"context parallelism over heads",
     "Jacobs et al. 2023 (DeepSpeed-Ulysses), section 3.2: all_to_all of q, k, v and of the result, and backward of "
     "their "
     "gradients",
     GPT,
     "mesh context = 4\n split seq over context attention = heads",
     {
         LINE(COMM_ALL_TO_ALL, "context", LAYERS_FORWARD, 4 * L, BSH / 4),
         LINE(COMM_ALL_TO_ALL, "context", LAYERS_BACKWARD, (4 + 4) * L, BSH / 4),
         LINE(COMM_ALL_TO_ALL, "context", LAYERS_FORWARD, L, BS / 4 * A),
         LINE(COMM_ALL_TO_ALL, "context", LAYERS_BACKWARD, L, BS / 4 * A),
         LINE(COMM_ALL_REDUCE, "context", OUTSIDE, 3, ONE),
         ALL(COMM_ALL_REDUCE, "context", OUTSIDE, T - 1, (P - S * H) * F32),
     }},
    {"expert parallelism",
     "Lepikhin et al. 2020 (GShard), section 3.2: all_to_all of the tokens' slots to their experts and back, forward "
     "and backward",
     "examples/moe.tgf",
     "mesh data = 4\n split batch, expert over data",
     {
         LINE(COMM_ALL_TO_ALL, "data", LAYERS_FORWARD, 2 * L, (double)B / 4 * E * C * H * F32),
         LINE(COMM_ALL_TO_ALL, "data", LAYERS_BACKWARD, 2 * L, (double)B / 4 * E * C * H * F32),
         LINE(COMM_ALL_TO_ALL, "data", LAYERS_FORWARD, L, (double)B / 4 * E * C * F32), // the slots' gates
         LINE(COMM_ALL_TO_ALL, "data", LAYERS_BACKWARD, L, (double)B / 4 * E * C * F32),
         LINE(COMM_ALL_REDUCE, "data", OUTSIDE, 3, ONE),
         ALL(COMM_ALL_REDUCE, "data", OUTSIDE, T_MIXTURE, (P_MIXTURE * F32)),
     }},
    {"pipeline, 1f1b",
     "Narayanan et al. 2021, sections 2.2.1 and 3.2: b s h for each microbatch over each boundary, forward and back",
     GPT,
     "mesh pipe = 4\n split layer over pipe schedule = 1f1b, microbatches = 6",
     {
         LINE(MESSAGE, "pipe", OUTSIDE, 2 * (4 - 1) * 6, BSH / 6),
         // The tied embedding's gradient, to the other of two stages: the paper's all_reduce between them.
         LINE(MESSAGE, "pipe", OUTSIDE, 2, (V * H * F32)),
         LINE(COMM_ALL_REDUCE, "pipe", OUTSIDE, 4 * MEET, ONE),
     }},
    {"pipeline, interleaved",
     "Narayanan et al. 2021, section 2.2.2: v times the messages",
     GPT,
     "mesh pipe = 2\n split layer over pipe schedule = interleaved, microbatches = 6, chunks = 2",
     {
         LINE(MESSAGE, "pipe", OUTSIDE, 2 * (2 * 2 - 1) * 6, BSH / 6),
         LINE(MESSAGE, "pipe", OUTSIDE, 2, (V * H * F32)),
         LINE(COMM_ALL_REDUCE, "pipe", OUTSIDE, 2 * MEET, ONE),
     }},
    {"PTD-P, 4 x 4 x 4",
     "Narayanan et al. 2021, sections 3.2 and 3.3: data, pipeline and tensor parallelism, B / (d m) to a microbatch",
     GPT,
     "mesh data = 4, pipe = 4, tensor = 4\n split batch over data\n"
     " split layer over pipe schedule = 1f1b, microbatches = 3\n split head, hidden, vocab over tensor",
     {
         LINE(COMM_ALL_REDUCE, "tensor", LAYERS_FORWARD, 2 * L * 3, BSH / (4 * 3)),
         LINE(COMM_ALL_REDUCE, "tensor", LAYERS_BACKWARD, 2 * L * 3, BSH / (4 * 3)),
         LINE(COMM_ALL_REDUCE, "tensor", OUTSIDE, 2 * 3, BSH / (4 * 3)),
         LINE(COMM_ALL_REDUCE, "tensor", OUTSIDE, 3 * 3, BS / (4 * 3)),
         LINE(MESSAGE, "pipe", OUTSIDE, 2 * (4 - 1) * 3, BSH / (4 * 3)),
         LINE(MESSAGE, "pipe", OUTSIDE, 2, V / 4 * H * F32),
         // Gradients once a step; the tied embedding's on both stages that have it.
         LINE(COMM_ALL_REDUCE, "data", OUTSIDE, 2, ONE),
         ALL(COMM_ALL_REDUCE, "data", OUTSIDE, 4 * T_LAYER + T_OUTER + 1,
             (L * P_LAYER_OF(4) + 2.0 * V / 4 * H + S * H + 2 * H) * F32),
         // Squares of what is split over tensor meet over both, those of the embedding over tensor first.
         LINE(COMM_ALL_REDUCE, "tensor", OUTSIDE, 1, ONE),
         LINE(COMM_ALL_REDUCE, "pipe", OUTSIDE, 4 * MEET, ONE),
         LINE(COMM_ALL_REDUCE, "pipe tensor", OUTSIDE, 4, ONE),
     }},
    {"PTD-P with sequence parallelism",
     "Korthikanti et al. 2022, section 4.2.3; messages are a t-th, as by Narayanan et al. 2021, section 4.1, scatter "
     "and gather",
     GPT,
     "mesh data = 4, pipe = 4, tensor = 4\n split batch over data\n"
     " split layer over pipe schedule = 1f1b, microbatches = 3\n split head, hidden, vocab over tensor\n"
     " split seq over tensor between blocks",
     {
         LINE(COMM_ALL_GATHER, "tensor", LAYERS_FORWARD, 2 * L * 3, BSH / (4 * 3)),
         LINE(COMM_REDUCE_SCATTER, "tensor", LAYERS_FORWARD, 2 * L * 3, BSH / (4 * 3)),
         LINE(COMM_ALL_GATHER, "tensor", LAYERS_BACKWARD, 4 * L * 3, BSH / (4 * 3)),
         LINE(COMM_REDUCE_SCATTER, "tensor", LAYERS_BACKWARD, 2 * L * 3, BSH / (4 * 3)),
         LINE(COMM_ALL_GATHER, "tensor", OUTSIDE, 2 * 3, BSH / (4 * 3)),
         LINE(COMM_REDUCE_SCATTER, "tensor", OUTSIDE, 2 * 3, BSH / (4 * 3)),
         LINE(COMM_ALL_REDUCE, "tensor", OUTSIDE, 3 * 3, BS / (4 * 3)),
         LINE(MESSAGE, "pipe", OUTSIDE, 2 * (4 - 1) * 3, BSH / (4 * 3) / 4),
         LINE(MESSAGE, "pipe", OUTSIDE, 2, V / 4 * H * F32),
         // Gradients once a step; those that the tensor ranks have parts of over both.
         LINE(COMM_ALL_REDUCE, "data", OUTSIDE, 2, ONE),
         LINE(COMM_ALL_REDUCE, "data tensor", OUTSIDE, 4 * 6, L / 4 * H * F32),
         LINE(COMM_ALL_REDUCE, "data tensor", OUTSIDE, 2, (H * F32)),
         ALL(COMM_ALL_REDUCE, "data", OUTSIDE, 4 * (T_LAYER - 6) + 2 + 1,
             (L * (12.0 * H + 7) * H / 4 + 2.0 * V / 4 * H + S * H / 4) * F32),
         LINE(COMM_ALL_GATHER, "tensor", OUTSIDE, 1, (S * H * F32)),
         // Squares of what is split over tensor meet over both, those of the embedding over tensor first.
         LINE(COMM_ALL_REDUCE, "tensor", OUTSIDE, 1, ONE),
         LINE(COMM_ALL_REDUCE, "pipe", OUTSIDE, 4 * MEET, ONE),
         LINE(COMM_ALL_REDUCE, "pipe tensor", OUTSIDE, 4, ONE),
     }},
    {0}};

// ---- the plan of a layout -------------------------------------------------------------------------------------------
typedef struct World {
    Arena *arena, *scratch;
    Jobs jobs;
    Plan *plan; // NULL: refused
} World;

static World *compile(const Row *row) {
    Arena *arena = arena_new();
    World *w = NEW(arena, World);
    w->arena = w->jobs.arena = arena;
    w->scratch = arena_new();
    FrontendDefine defines[] = {{"layer", L}, {"head", A}, {"dim", D}, {"seq", S}, {"vocab", V}, {"batch", B}};
    FrontendDefine experts[] = {{"layer", L}, {"head", A},   {"dim", D},    {"seq", S},   {"vocab", V},
                                {"batch", B}, {"kvhead", G}, {"hidden", F}, {"expert", E}};
    bool moe = strstr(row->example, "moe");
    FrontendOptions o = {.path = row->example, .strategy = "t", .arena = arena, .scratch = w->scratch};
    o.extra = arena_printf(arena, "strategy t {\n %s\n}\n", row->lines);
    o.strs = strtable_new(arena);
    o.diag = diag_new(arena, stderr, false);
    o.defines = moe ? experts : defines;
    o.ndefines = moe ? sizeof experts / sizeof *experts : sizeof defines / sizeof *defines;
    FrontendResult r;
    if (frontend_load(&o, &r) && passes_run(r.unit, &(PassOptions){0})) w->plan = plan_build(r.unit, arena, &w->jobs);
    return w;
}

static void world_end(World *w) {
    arena_free(w->scratch);
    arena_free(w->arena); // with w
}

// ---- what it sends --------------------------------------------------------------------------------------------------
typedef struct Sent {
    int kind;
    uint32_t over;
    Where where;
    double bytes, calls;
    const char *op;
} Sent;
typedef Vec(Sent) SentList;

static void add_sent(Arena *a, SentList *list, Sent s) {
    for (int i = 0; i < list->n; i++) {
        Sent *x = &list->at[i];
        if (x->kind == s.kind && x->over == s.over && x->where == s.where && x->bytes == s.bytes) {
            x->calls += s.calls;
            return;
        }
    }
    vec_push(a, list, s);
}

// The larger side of a collective: what is gathered, or what is reduced.
static double larger_side(const Plan *p, const PlanInstr *n) {
    double bytes = (double)(n->outer * n->middle * n->inner * plan_dtype_bytes(n->dtype));
    return n->comm == COMM_ALL_GATHER ? bytes * (double)plan_ways(p, n->mesh) : bytes;
}

static void sent_by_task(Arena *a, const Plan *p, const PlanFunc *f, SentList *list) {
    double times[PLAN_LOOPS + 1] = {1};
    int depth = 0;
    Where where = OUTSIDE;
    for (int at = f->first; at < f->first + f->count; at++) {
        const PlanInstr *n = &p->instrs[at];
        if (n->kind == INSTR_LOOP) {
            if (!depth) where = n->reverse ? LAYERS_BACKWARD : LAYERS_FORWARD;
            times[depth + 1] = times[depth] * (double)n->count;
            depth++;
        } else if (n->kind == INSTR_END) {
            if (!--depth) where = OUTSIDE;
        } else if (n->kind == INSTR_COMM) {
            add_sent(a, list, (Sent){(int)n->comm, n->mesh, where, larger_side(p, n), times[depth], n->op});
        }
    }
}

static double step_bytes(const Plan *p, const PlanStep *s) {
    const PlanChannel *c = &p->channels[s->what];
    return (double)plan_leaf_bytes(p, &p->leaves[c->from_leaf], p->chunks[c->from].variant);
}

// A training step of one rank of each stage.
static SentList sent_by(Arena *a, const Plan *p) {
    const PlanProgram *g = plan_program(p, "train");
    SentList all = {0}, task;
    for (int stage = 0; stage < p->nstages; stage++)
        for (int64_t i = 0; i < g->count[stage]; i++) {
            const PlanStep *s = &g->steps[stage][i];
            if (s->kind == PLAN_STEP_SEND)
                add_sent(a, &all,
                         (Sent){MESSAGE, p->stage_mesh, OUTSIDE, step_bytes(p, s), 1,
                                p->leaves[p->channels[s->what].from_leaf].name});
            if (s->kind != PLAN_STEP_RUN) continue;
            task = (SentList){0};
            sent_by_task(a, p, &p->funcs[s->what], &task);
            for (int k = 0; k < task.n; k++) add_sent(a, &all, task.at[k]);
        }
    return all;
}

// ---- against the table ----------------------------------------------------------------------------------------------
static uint32_t mesh_set(const Plan *p, const char *names) {
    uint32_t set = 0;
    for (int i = 0; i < p->nmesh; i++) {
        const char *at = strstr(names, p->mesh[i].name);
        if (at) set |= 1u << i;
    }
    return set;
}

static const char *kind_name(int kind) {
    static const char *const names[] = {"all_reduce", "all_gather", "reduce_scatter", "all_to_all", "broadcast",
                                        "send",       "recv",       "shift",          "reverse"};
    return kind == MESSAGE ? "message" : names[kind];
}

// How many lines of the row the plan does not keep to, and things that no line allows; said on `out` unless NULL.
static int differences(Arena *a, const Row *row, const Plan *p, FILE *out) {
    SentList sent = sent_by(a, p);
    int wrong = 0;
    for (const Count *c = row->want; c->over; c++) {
        double calls = 0, bytes = 0;
        for (int i = 0; i < sent.n; i++) {
            Sent *s = &sent.at[i];
            if (s->kind != c->kind || s->over != mesh_set(p, c->over) || s->where != c->where) continue;
            if (!c->all && s->bytes != c->bytes) continue;
            calls += s->calls;
            bytes += s->calls * s->bytes;
            s->calls = 0;
        }
        double want = c->all ? c->bytes : c->calls * c->bytes;
        bool good = calls == c->calls && bytes == want;
        wrong += !good;
        if (out)
            fprintf(out, "  %s %-14s over %-12s %-18s %5.0f calls, %9.0f bytes in all", good ? "    " : "FAIL",
                    kind_name(c->kind), c->over, where_names[c->where], calls, bytes);
        if (out) fprintf(out, good ? " = the formula\n" : ", the formula says %.0f and %.0f\n", c->calls, want);
    }
    for (int i = 0; i < sent.n; i++) {
        const Sent *s = &sent.at[i];
        if (s->calls == 0) continue;
        wrong++;
        if (out)
            fprintf(out, "  FAIL %s over mesh axes %x, %s: %.0f calls of %.0f bytes (%s), of which no formula knows\n",
                    kind_name(s->kind), s->over, where_names[s->where], s->calls, s->bytes, s->op ? s->op : "");
    }
    return wrong;
}

// ---- does the table notice? -----------------------------------------------------------------------------------------
// The plan with instruction `at` twice.
static Plan doubled(Arena *a, const Plan *p, int at) {
    Plan q = *p;
    q.instrs = NEW_ARRAY(a, PlanInstr, p->ninstrs + 1);
    q.funcs = NEW_ARRAY(a, PlanFunc, p->nfuncs);
    q.ninstrs++;
    memcpy(q.instrs, p->instrs, sizeof *p->instrs * (size_t)(at + 1));
    memcpy(q.instrs + at + 1, p->instrs + at, sizeof *p->instrs * (size_t)(p->ninstrs - at));
    for (int i = 0; i < p->nfuncs; i++) {
        q.funcs[i] = p->funcs[i];
        if (p->funcs[i].first > at) q.funcs[i].first++;
        else if (p->funcs[i].first + p->funcs[i].count > at) q.funcs[i].count++;
    }
    return q;
}

static int check_notices(Arena *a, const Row *row, Plan *p) {
    const PlanProgram *g = plan_program(p, "train");
    int harms = 0;
    for (int i = 0; i < p->ninstrs; i++) {
        if (p->instrs[i].kind != INSTR_COMM || !plan_runs(p, g, i)) continue;
        Plan twice = doubled(a, p, i);
        bool seen = differences(a, row, &twice, NULL) > 0;
        p->instrs[i].kind = INSTR_KERNEL;
        bool missed = differences(a, row, p, NULL) > 0;
        p->instrs[i].kind = INSTR_COMM;
        harms += 2;
        if (seen && missed) continue;
        printf("  FAIL: %s at instruction %d %s goes unnoticed\n", p->instrs[i].op, i, seen ? "left out" : "twice");
        failures++;
    }
    for (int stage = 0; stage < p->nstages; stage++)
        for (int64_t i = 0; i < g->count[stage]; i++) {
            PlanStep *s = &g->steps[stage][i];
            if (s->kind != PLAN_STEP_SEND) continue;
            s->kind = PLAN_STEP_WAIT;
            if (!differences(a, row, p, NULL)) {
                printf("  FAIL: stage %d, step %d: a message left out goes unnoticed\n", stage, (int)i);
                failures++;
            }
            s->kind = PLAN_STEP_SEND;
            harms++;
        }
    return harms;
}

int main(void) {
    int n = 0, harms = 0;
    for (const Row *row = rows; row->name; row++, n++) {
        World *w = compile(row);
        printf("%s (%s)\n", row->name, row->source);
        int wrong = w->plan ? differences(w->arena, row, w->plan, stdout) : 1;
        failures += wrong;
        if (w->plan && !wrong) harms += check_notices(w->arena, row, w->plan);
        world_end(w);
    }
    printf("%d layouts; %d collectives and messages left out or done twice, each reported by its row\n%d failures\n", n,
           harms, failures);
    return failures != 0;
}
