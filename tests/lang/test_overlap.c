// SPDX-License-Identifier: Apache-2.0
// Overlap of communication and computation in the plans of GPT-2: every wait is needed (a plan without it is refused),
// stands as late as it may (one instruction later is refused), and what a strategy must be able to hide is started.
// That numbers do not depend on when a started collective is done is `tgf verify`'s.
#include "codegen/codegen.h"
#include "frontend/frontend.h"
#include "passes/pass.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static int failures;
#define CHECK(condition, ...)                                                                                          \
    ((condition) ? (void)0 : (printf("FAIL %s: ", #condition), printf(__VA_ARGS__), (void)failures++))

// GPT-2 of three layers under a strategy of the file, as a plan.
static Plan *compile(Arena *a, const char *strategy) {
    Arena *scratch = arena_new();
    FrontendDefine defines[] = {{"layer", 3}, {"head", 4}, {"batch", 4}, {"seq", 32}, {"vocab", 512}};
    FrontendOptions o = {.path = "examples/gpt2.tgf", .strategy = strategy, .arena = a, .scratch = scratch};
    o.strs = strtable_new(a);
    o.diag = diag_new(a, stdout, false);
    o.defines = defines;
    o.ndefines = sizeof defines / sizeof *defines;
    FrontendResult r;
    Plan *p = NULL;
    char *text = NULL;
    size_t size = 0;
    if (frontend_load(&o, &r) && passes_run(r.unit, &(PassOptions){0})) {
        FILE *f = open_memstream(&text, &size);
        Status s = codegen_print(r.unit, NULL, CODEGEN_PLAN, f);
        fclose(f);
        if (!status_failed(&s)) s = plan_parse(a, o.strs, text, size, &p);
        CHECK(!status_failed(&s), "%s: %s\n", strategy, s.message);
        free(text);
    }
    arena_free(scratch);
    return p;
}

static bool is_refused(const Plan *p) {
    Status s = plan_check(p);
    return status_failed(&s) && strstr(s.message, "collective");
}

// Each wait left out, and each moved behind the next instruction that computes.
static int break_waits(Plan *p, const char *strategy) {
    int waits = 0;
    for (int i = 0; i < p->ninstrs; i++) {
        PlanInstr wait = p->instrs[i];
        if (wait.kind != INSTR_WAIT) continue;
        waits++;
        PlanArg nothing = {0};
        p->instrs[i] = (PlanInstr){.kind = INSTR_ZERO, .args = &nothing};
        CHECK(is_refused(p), "%s: wait %d for %d (%s) is not needed\n", strategy, i, wait.of, wait.op);
        int next = i + 1;
        while (p->instrs[next].kind == INSTR_WAIT) next++;
        if (p->instrs[next].kind == INSTR_KERNEL || p->instrs[next].kind == INSTR_COPY) {
            PlanInstr kernel = p->instrs[next];
            p->instrs[i] = kernel;
            p->instrs[next] = wait;
            CHECK(is_refused(p), "%s: wait %d for %d (%s) could be later\n", strategy, i, wait.of, wait.op);
            p->instrs[next] = kernel;
        }
        p->instrs[i] = wait;
    }
    return waits;
}

// Gradients reduced while the backward repeat goes on: begun in a loop, waited for behind it alone.
static int overlap_loop(const Plan *p) {
    int found = 0, depth = 0;
    int *seen = calloc((size_t)p->ninstrs + 1, sizeof *seen);
    if (!seen) return -1;
    for (int i = 0; i < p->ninstrs; i++) { // 1: begun in a loop; 2: waited for in one too
        const PlanInstr *in = &p->instrs[i];
        depth += (in->kind == INSTR_LOOP) - (in->kind == INSTR_END);
        if (in->kind == INSTR_COMM && in->start && depth) seen[i] |= 1;
        if (in->kind == INSTR_WAIT && depth) seen[in->of] |= 2;
    }
    for (int i = 0; i < p->ninstrs; i++) found += seen[i] == 1;
    free(seen);
    return found;
}

static int count_joined(const Plan *p) {
    int joined = 0;
    int64_t bytes = 0, send, receive;
    for (int i = 0; i < p->ninstrs; i++) {
        if (p->instrs[i].kind != INSTR_COMM) continue;
        plan_comm_bytes(p, &p->instrs[i], &send, &receive);
        bytes = p->instrs[i].joined ? bytes + send : send;
        joined += p->instrs[i].joined;
        CHECK(!p->instrs[i].joined || bytes <= 25000000, "a bucket of %" PRId64 " bytes\n", bytes);
    }
    return joined;
}

int main(void) {
    static const char *const strategies[] = {"tp", "dp", "dp_tp", "zero1", "zero2", "zero3", "megatron_sp", "cp"};
    for (size_t i = 0; i < sizeof strategies / sizeof *strategies; i++) {
        Arena *a = arena_new();
        Plan *p = compile(a, strategies[i]);
        CHECK(p, "%s does not compile\n", strategies[i]);
        int starts = 0, collectives = 0, waits = p ? break_waits(p, strategies[i]) : 0;
        for (int k = 0; p && k < p->ninstrs; k++) {
            collectives += p->instrs[k].kind == INSTR_COMM;
            starts += p->instrs[k].kind == INSTR_COMM && p->instrs[k].start;
        }
        printf("%s: %d of %d collectives are started, %d waits\n", strategies[i], starts, collectives, waits);
        CHECK(starts > 0, "%s hides nothing\n", strategies[i]);
        // Of a layer's twelve gradients two have a megabyte: the MLP's.
        if (p && !strcmp(strategies[i], "dp")) CHECK(overlap_loop(p) == 2, "dp: %d\n", overlap_loop(p));
        // The other ten are one call for all layers, and the last layernorm's two.
        if (p && !strcmp(strategies[i], "dp")) CHECK(count_joined(p) == 9 + 1, "dp: %d\n", count_joined(p));
        if (p) printf("  %d share a call with the one in front\n", count_joined(p));
        arena_free(a);
    }
    return failures != 0;
}
