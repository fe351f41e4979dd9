// SPDX-License-Identifier: Apache-2.0
// What `offload` promises in numbers: the slab lacks the states' bytes and the host has them; a step fetches and
// stashes each of them once, and what the forward half leaves once each way, by the plan's own instructions; a leaf on
// the host is written and read like any other; and no plan whose copies are not waited for, or whose kernels look at
// the host, passes the check.
#include "codegen/codegen.h"
#include "frontend/frontend.h"
#include "passes/pass.h"
#include "runtime/bind.h"
#include "runtime/program.h"
#include <stdlib.h>
#include <string.h>

static int failures;
#define CHECK(good, ...)                                                                                               \
    do {                                                                                                               \
        if (!(good)) {                                                                                                 \
            printf("FAIL " __VA_ARGS__);                                                                               \
            putchar('\n');                                                                                             \
            failures++;                                                                                                \
        }                                                                                                              \
    } while (0)

enum { LAYERS = 3, HEADS = 2, DIM = 16, SEQ = 8, VOCAB = 66, BATCH = 4, WIDTH = HEADS * DIM };
static const FrontendDefine sizes[] = {{"layer", LAYERS}, {"head", HEADS},  {"dim", DIM},
                                       {"seq", SEQ},      {"vocab", VOCAB}, {"batch", BATCH}};

typedef struct Layout {
    Arena *arena, *scratch;
    CodegenJit *jit;
    Program *program;
    const Plan *plan;
} Layout;

static Layout layout_make(const char *lines) {
    Layout l = {.arena = arena_new(), .scratch = arena_new()};
    FrontendOptions o = {.path = "examples/gpt2.tgf", .strategy = "t", .arena = l.arena, .scratch = l.scratch};
    o.extra = arena_printf(l.arena, "strategy t {\n %s\n}\n", lines);
    o.strs = strtable_new(l.arena);
    o.diag = diag_new(l.arena, stderr, false);
    o.defines = sizes;
    o.ndefines = sizeof sizes / sizeof *sizes;
    FrontendResult f;
    Status s = status_make(STATUS_INVALID, "refused");
    if (frontend_load(&o, &f) && passes_run(f.unit, &(PassOptions){0})) s = codegen_jit(f.unit, NULL, &l.jit);
    if (!status_failed(&s)) {
        l.plan = codegen_jit_plan(l.jit);
        s = program_make_from_plan(l.plan, codegen_jit_module(l.jit), NULL, &l.program);
    }
    CHECK(!status_failed(&s), "%s: %s", lines, s.message);
    return l;
}

static void layout_free(Layout *l) {
    program_free(l->program);
    codegen_jit_free(l->jit);
    arena_free(l->scratch);
    arena_free(l->arena);
}

typedef struct Moved {
    int64_t fetched, stashed;
} Moved;

// Of one call of a function, as the executor does them.
static Moved moved_by(const Plan *p, const char *func) {
    Moved m = {0};
    int64_t times[PLAN_LOOPS + 1] = {1};
    for (int i = 0; i < p->nfuncs; i++) {
        if (strcmp(p->funcs[i].name, func)) continue;
        int depth = 0;
        for (int at = p->funcs[i].first; at < p->funcs[i].first + p->funcs[i].count; at++) {
            const PlanInstr *in = &p->instrs[at];
            if (in->kind == INSTR_LOOP) {
                times[depth + 1] = times[depth] * in->count;
                depth++;
            } else if (in->kind == INSTR_END) {
                depth--;
            } else if (in->kind == INSTR_COPY) {
                int64_t bytes = in->bytes * (in->ahead ? times[depth] - times[depth - 1] : times[depth]);
                if (plan_is_host(in->args[0].section)) m.stashed += bytes;
                if (plan_is_host(in->args[1].section)) m.fetched += bytes;
            }
        }
    }
    return m;
}

static int64_t param_elements(const Plan *p) {
    int64_t n = 0;
    for (int i = 0; i < p->nleaves; i++)
        if (p->leaves[i].kind == PLAN_PARAM) n += leaf_elements(&p->leaves[i]);
    return n;
}

// ---- optimizer ----

static void check_optimizer(void) {
    Layout without = layout_make("mesh data = 1"), l = layout_make("mesh data = 1\n offload optimizer to host");
    const Plan *p = l.plan;
    int64_t states = 2 * 4 * param_elements(p); // AdamW's two
    Moved m = moved_by(p, "train");
    CHECK(m.fetched == states && m.stashed == states, "optimizer: %lld and %lld bytes moved, %lld wanted",
          (long long)m.fetched, (long long)m.stashed, (long long)states);
    CHECK(p->host_bytes == without.plan->state_bytes && p->state_bytes == 0, "optimizer: %lld bytes on the host",
          (long long)p->host_bytes);
    CHECK(program_memory(l.program, 0).host == p->host_bytes, "optimizer: the rank has others");
    CHECK(p->slab_bytes <= without.plan->slab_bytes - without.plan->state_bytes + without.plan->state_bytes / LAYERS,
          "optimizer: a slab of %lld bytes", (long long)p->slab_bytes);
    CHECK(!moved_by(p, "init").stashed, "optimizer: init fills what the runtime clears");
    layout_free(&without);
    layout_free(&l);
}

// Each part of data parallelism has its part of the states.
static void check_sharded(void) {
    Layout l =
        layout_make("mesh data = 2\n split batch over data\n shard optimizer over data\n offload optimizer to host");
    int64_t bytes = 0;
    for (int i = 0; i < l.plan->nleaves; i++)
        if (l.plan->leaves[i].kind == PLAN_STATE) bytes += leaf_bytes(&l.plan->leaves[i]) / 2;
    Moved m = moved_by(l.plan, "train");
    CHECK(m.fetched == bytes && m.stashed == bytes, "sharded: %lld bytes moved, %lld wanted", (long long)m.fetched,
          (long long)bytes);
    layout_free(&l);
}

// ---- activations ----

// What a layer of GPT-2 keeps, by the page on passes: its input, q, k, v, the attention's result and log-sum-exp, the
// residual sum behind it (less its mean), the first product of the MLP, and three numbers a token for the layernorms.
static void check_activations(void) {
    Layout l = layout_make("mesh data = 1\n offload activations to host");
    int64_t tokens = BATCH * SEQ, layer = 4 * tokens * (WIDTH + 3 * WIDTH + WIDTH + HEADS + WIDTH + 4 * WIDTH + 3);
    Moved m = moved_by(l.plan, "train");
    CHECK(m.fetched == LAYERS * layer && m.stashed == m.fetched && l.plan->host_bytes == m.fetched,
          "activations: %lld and %lld bytes moved, %lld on the host, %lld wanted", (long long)m.fetched,
          (long long)m.stashed, (long long)l.plan->host_bytes, (long long)(LAYERS * layer));
    layout_free(&l);
}

// ---- leaves ----

static void check_leaves(void) {
    Layout l = layout_make("mesh data = 2, tensor = 3\n split batch over data\n split vocab, hidden over tensor\n"
                           "shard optimizer over data\n offload optimizer to host");
    const Plan *p = l.plan;
    for (int i = 0; i < p->nleaves; i++) {
        if (p->leaves[i].section != PLAN_HOST) continue;
        int64_t n = leaf_elements(&p->leaves[i]);
        float *in = calloc((size_t)n, sizeof *in), *out = calloc((size_t)n, sizeof *out);
        for (int64_t k = 0; k < n; k++) in[k] = (float)(k % 1000) + (float)i;
        Status s = program_write_leaf(l.program, i, in);
        if (!status_failed(&s)) s = program_read_leaf(l.program, i, true, out);
        CHECK(!status_failed(&s) && !memcmp(in, out, (size_t)n * sizeof *in), "'%s' is read as it was not written",
              p->leaves[i].name);
        free(in);
        free(out);
    }
    layout_free(&l);
}

// ---- wrong plans ----

static void refuse(const Plan *p, const char *what, const char *message) {
    Status s = plan_check(p);
    CHECK(status_failed(&s) && strstr(s.message, message), "%s: %s", what, status_failed(&s) ? s.message : "passes");
}

static void check_refusals(void) {
    Layout l = layout_make("mesh data = 1\n offload optimizer, activations to host");
    Plan p = *l.plan;
    int waits = 0, ahead = 0, kernels = 0;
    for (int i = 0; i < p.ninstrs; i++) {
        PlanInstr *in = &p.instrs[i], old = *in;
        if (in->kind == INSTR_WAIT) {
            *in = (PlanInstr){.kind = INSTR_COPY, .args = (PlanArg[2]){{0}}}; // of nothing
            Status s = plan_check(&p);
            CHECK(status_failed(&s) && (strstr(s.message, "nothing waited for") || strstr(s.message, "before copy")),
                  "without wait %d: %s", i, s.message);
            waits++;
        } else if (in->kind == INSTR_COPY && in->ahead) {
            in->bytes = 1LL << 40;
            refuse(&p, "a slice too large", "a copy outside the slab");
            ahead++;
        } else if (in->kind == INSTR_KERNEL && in->nargs && !kernels++) {
            PlanSection section = in->args[0].section;
            in->args[0].section = PLAN_HOST;
            refuse(&p, "a kernel that looks at the host", "lies on the host");
            in->args[0].section = section;
        }
        *in = old;
    }
    CHECK(waits > 40 && ahead > 10 && kernels, "%d waits, %d slices ahead", waits, ahead);
    Status s = plan_check(&p);
    CHECK(!status_failed(&s), "%s", s.message);
    layout_free(&l);
}

int main(void) {
    check_optimizer();
    check_sharded();
    check_activations();
    check_leaves();
    check_refusals();
    printf("%d failures\n", failures);
    return failures != 0;
}
