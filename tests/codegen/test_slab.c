// SPDX-License-Identifier: Apache-2.0
// A rank's memory is exactly what the compiler said: for layouts over every feature, in each stage, the highest byte
// that the tasks' instructions touch is the slab's last one, and nothing lies behind it. Shown twice: by what the
// executor counts (plan_used_bytes), and by painting every rank's slab, running each function of the model, and looking
// for the last byte that changed.
#include "codegen/codegen.h"
#include "frontend/frontend.h"
#include "passes/pass.h"
#include "runtime/bind.h"
#include "runtime/program.h"
#include <stdlib.h>
#include <string.h>

enum { PAINT = 0xa5 };
static int failures, layouts, ranks;

typedef struct Model {
    const char *path;
    const FrontendDefine *defines;
    int ndefines;
    const char *lines[32]; // strategies
} Model;

// Sizes that few of the meshes divide.
static const FrontendDefine gpt[] = {{"layer", 6}, {"head", 4}, {"dim", 4}, {"seq", 12}, {"vocab", 51}, {"batch", 8}};
static const FrontendDefine llama[] = {{"layer", 6}, {"head", 4},    {"kvhead", 2}, {"dim", 4},
                                       {"seq", 12},  {"hidden", 20}, {"vocab", 51}, {"batch", 8}};
static const FrontendDefine moe[] = {{"layer", 4},   {"head", 4},   {"kvhead", 2}, {"dim", 4},  {"seq", 16},
                                     {"hidden", 12}, {"expert", 4}, {"vocab", 51}, {"batch", 8}};

#define DATA "split batch over data\n"
#define TENSOR "split head, hidden, vocab over tensor\n"
#define KV_TENSOR "split kvhead, hidden, vocab over tensor\n"
#define COUNT(x) ((int)(sizeof(x) / sizeof *(x)))

static const Model models[] = {
    {"examples/gpt2.tgf",
     gpt,
     COUNT(gpt),
     {
         "mesh data = 1\n",
         "mesh data = 3\n" DATA,
         "mesh tensor = 3\n" TENSOR,
         "mesh data = 2, tensor = 2\n" DATA TENSOR "split seq over tensor between blocks\n",
         "mesh data = 3\n" DATA "shard optimizer over data\n",
         "mesh data = 2\n" DATA "shard gradients over data\n recompute block\n",
         "mesh data = 3\n" DATA "shard parameters over data\n",
         "mesh data = 2, tensor = 2\n" DATA TENSOR "shard parameters over data\n recompute attend, mlp\n",
         "mesh context = 3\n split seq over context\n",
         "mesh context = 3\n split seq over context attention = ring\n",
         "mesh data = 2, context = 2\n" DATA "split seq over context attention = zigzag\n",
         "mesh context = 3\n split seq over context attention = heads\n recompute block\n",
         "mesh data = 2\n split batch over data microbatches = 3\n",
         "mesh data = 2\n split batch over data microbatches = 2\n shard gradients over data\n",
         "mesh pipe = 3\n split layer over pipe schedule = 1f1b, microbatches = 4\n",
         "mesh pipe = 2\n split layer over pipe schedule = gpipe, microbatches = 3\n recompute block\n",
         "mesh pipe = 2\n split layer over pipe schedule = interleaved, microbatches = 4, chunks = 2\n",
         "mesh pipe = 3\n split layer over pipe schedule = zbh1, microbatches = 4\n",
         "mesh pipe = 2\n split layer over pipe schedule = zbv, microbatches = 4, chunks = 2\n",
         "mesh pipe = 3\n split layer over pipe schedule = 1f1b, microbatches = 3, stages = 1, 3, 2\n",
         "mesh data = 2, pipe = 2, tensor = 2\n" DATA TENSOR "split seq over tensor between blocks\n"
         "split layer over pipe schedule = 1f1b, microbatches = 2\n shard optimizer over data\n recompute block\n",
         "mesh tensor = 2\n" TENSOR "recompute auto memory = 1TB\n",
         "mesh data = 2\n" DATA "precision bf16\n shard parameters over data\n",
         "mesh data = 1\n offload optimizer to host\n",
         "mesh data = 1\n offload activations to host\n",
         "mesh data = 2, tensor = 2\n" DATA TENSOR
         "shard optimizer over data\n offload optimizer, activations to host\n",
         "mesh data = 2\n" DATA
         "shard parameters over data\n recompute attend\n offload optimizer, activations to host\n",
         "mesh pipe = 2\n split layer over pipe schedule = zbv, microbatches = 4, chunks = 2\n offload optimizer to "
         "host\n",
     }},
    {"examples/llama.tgf",
     llama,
     COUNT(llama),
     {
         "mesh data = 1\n recompute block\n",
         "mesh tensor = 2\n" KV_TENSOR,
         "mesh data = 2, tensor = 2\n" DATA KV_TENSOR
         "split seq over tensor between blocks\n shard optimizer over data\n",
         "mesh node = 2, data = 2\n split batch over node, data\n shard parameters over data\n",
         "mesh data = 2, context = 2\n" DATA "split seq over context attention = zigzag\n shard parameters over data\n",
         "mesh context = 2, tensor = 2\n split seq over context attention = ring\n" KV_TENSOR "recompute block\n",
         "mesh pipe = 3, tensor = 2\n" KV_TENSOR "split layer over pipe schedule = zbh1, microbatches = 3\n",
         "mesh data = 2, pipe = 2\n" DATA "split layer over pipe schedule = zbv, microbatches = 3, chunks = 2\n"
         "shard optimizer over data\n",
         "mesh data = 2, pipe = 2\n" DATA "split layer over pipe schedule = 1f1b, microbatches = 2\n"
         "shard parameters over data\n recompute block\n",
         "mesh pipe = 2, tensor = 2\n" KV_TENSOR "split seq over tensor between blocks\n"
         "split layer over pipe schedule = interleaved, microbatches = 2, chunks = 3\n",
     }},
    {"examples/moe.tgf",
     moe,
     COUNT(moe),
     {
         "mesh data = 1\n",
         "mesh tensor = 2\n" KV_TENSOR,
         "mesh experts = 3\n split expert over experts\n",
         "mesh data = 2, experts = 2\n" DATA "split expert over experts\n shard optimizer over data\n",
         "mesh data = 4\n split batch, expert over data\n",
         "mesh node = 2, data = 2\n split batch, expert over node, data\n recompute block\n",
         "mesh data = 2, tensor = 2\n split batch, expert over data\n" KV_TENSOR,
         "mesh experts = 2, pipe = 2\n split expert over experts\n"
         "split layer over pipe schedule = 1f1b, microbatches = 2\n",
         "mesh data = 2\n" DATA "shard parameters over data\n recompute block\n",
         "mesh data = 2\n split batch over data microbatches = 2\n",
     }},
};

// The last byte that is not paint, plus one; nothing else than paint is looked at behind the slab either.
static int64_t painted_end(const Device *d) {
    const unsigned char *slab = (const unsigned char *)d->slab;
    int64_t end = d->slab_bytes;
    while (end > 0 && slab[end - 1] == PAINT) end--;
    return end;
}

static Status set_inputs(Program *p) {
    const Plan *plan = program_plan(p);
    STATUS_TRY(program_set_optional(p, "seed", 1));
    STATUS_TRY(program_set_optional(p, "step", 0));
    for (int i = 0; i < plan->nleaves; i++) {
        const PlanLeaf *l = &plan->leaves[i];
        if (l->kind != PLAN_INPUT || l->dtype != PLAN_I32 || !l->rank) continue;
        int64_t n = leaf_elements(l);
        int32_t *ids = calloc((size_t)n, sizeof *ids);
        for (int64_t k = 0; ids && k < n; k++)
            ids[k] = l->limit > l->least ? (int32_t)(l->least + k * 7 % (l->limit - l->least)) : 0;
        Status s = ids ? program_write_leaf(p, i, ids) : status_make(STATUS_MEMORY, "no memory");
        free(ids);
        STATUS_TRY(s);
    }
    return status_ok();
}

static Status run_all(Program *p) {
    const Plan *plan = program_plan(p);
    STATUS_TRY(set_inputs(p));
    STATUS_TRY(program_run(p, "init"));
    for (int i = 0; i < plan->nprograms; i++)
        if (strcmp(plan->programs[i].name, "init")) STATUS_TRY(program_run(p, plan->programs[i].name));
    return status_ok();
}

static void check_program(Program *p, const char *label) {
    int n = program_memory(p, 0).ranks;
    for (int r = 0; r < n; r++) memset(p->ranks[r].device->slab, PAINT, (size_t)p->ranks[r].device->slab_bytes);
    Status s = run_all(p);
    if (status_failed(&s)) {
        printf("FAIL %s: %s\n", label, s.message);
        failures++;
        return;
    }
    for (int r = 0; r < n; r++) {
        ProgramMemory m = program_memory(p, r);
        int64_t end = (painted_end(p->ranks[r].device) + PLAN_ALIGN - 1) / PLAN_ALIGN * PLAN_ALIGN;
        if (m.used == m.planned && end == m.planned && m.planned <= m.slab && m.planned > 0) continue;
        printf("FAIL %s: rank %d: %lld bytes planned, %lld touched by instructions, %lld changed\n", label, r,
               (long long)m.planned, (long long)m.used, (long long)end);
        failures++;
    }
    ranks += n;
}

static void check_layout(const Model *m, const char *lines) {
    Arena *arena = arena_new(), *scratch = arena_new();
    const char *label = arena_printf(arena, "%s: %s", m->path, lines);
    FrontendOptions o = {.path = m->path, .strategy = "t", .arena = arena, .scratch = scratch};
    o.extra = arena_printf(arena, "strategy t {\n %s\n}\n", lines);
    o.strs = strtable_new(arena);
    o.diag = diag_new(arena, stderr, false);
    o.defines = m->defines;
    o.ndefines = m->ndefines;
    FrontendResult f;
    CodegenJit *jit = NULL;
    Program *p = NULL;
    layouts++;
    Status s = status_make(STATUS_INVALID, "refused");
    if (frontend_load(&o, &f) && passes_run(f.unit, &(PassOptions){0})) s = codegen_jit(f.unit, NULL, &jit);
    if (!status_failed(&s)) s = program_make_from_plan(codegen_jit_plan(jit), codegen_jit_module(jit), NULL, &p);
    if (status_failed(&s)) {
        printf("FAIL %s: %s\n", label, s.message);
        failures++;
    } else {
        check_program(p, label);
    }
    program_free(p);
    codegen_jit_free(jit);
    arena_free(scratch);
    arena_free(arena);
}

int main(void) {
    for (int i = 0; i < COUNT(models); i++)
        for (int k = 0; models[i].lines[k]; k++) check_layout(&models[i], models[i].lines[k]);
    printf("%d layouts, %d ranks: each uses all of its slab and nothing behind it\n%d failures\n", layouts, ranks,
           failures);
    return failures != 0;
}
