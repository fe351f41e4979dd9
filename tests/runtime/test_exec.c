// SPDX-License-Identifier: Apache-2.0
// The executor on a hand-made plan over 2 x 2 ranks: results, bits, binding, seeded faults, traces, failures.
#include "check.h"
#include "runtime/bind.h"
#include "sample_plan.h"

static Program *make(const ProgramOptions *o) {
    static PlanModule module;
    Program *p = NULL;
    module = sample_module();
    CHECK_OK(program_make(&module, o, &p));
    return p;
}

static float train_once(Program *p) {
    float loss = -1;
    int32_t x[4] = {1, 2, 3, 9};
    CHECK_OK(program_set_input(p, "x", PLAN_I32, x, 4));
    CHECK_OK(program_run(p, "train"));
    CHECK_OK(program_get_output(p, "loss", PLAN_F32, &loss, 1));
    return loss;
}

static void results(int threads) {
    ProgramOptions o = {.threads = threads, .trace = true, .trace_events = 100};
    Program *p = make(&o);
    if (!p) return;
    CHECK_FAILS(program_run(p, "predict"), STATUS_INVALID, "no function 'predict'");
    CHECK_FAILS(program_run(p, "train"), STATUS_INVALID, "input 'x', which is not set");
    int32_t x[4] = {1, 2, 3, 9}, ids[4];
    CHECK_OK(program_set_input(p, "x", PLAN_I32, x, 4));
    CHECK_FAILS(program_run(p, "train"), STATUS_INVALID, "parameter 'w' has no value");
    CHECK_OK(program_run(p, "init"));
    float w[15], m[15];
    CHECK_OK(program_get(p, PLAN_PARAM, "w", PLAN_F32, w, 15));
    for (int i = 0; i < 15; i++) CHECK(w[i] == (float)(1 + i / 5 + 10 * (i % 5)));
    float sum = 0;
    for (int i = 0; i < 15; i++) sum += w[i];
    CHECK(train_once(p) == sum + 15);
    CHECK(train_once(p) == sum + 15 + 15);
    CHECK_OK(program_get_output(p, "ids", PLAN_I32, ids, 4));
    CHECK(!memcmp(ids, x, sizeof x));
    CHECK_OK(program_get(p, PLAN_STATE, "adam.m/w", PLAN_F32, m, 15));
    for (int i = 0; i < 15; i++) CHECK(m[i] == 2 * w[i] + 3);
    for (int i = 0; i < program_plan(p)->nleaves; i++) {
        float any[64];
        CHECK_OK(program_read_leaf(p, i, true, any));
    }
    for (int i = 0; i < 15; i++) w[i] = (float)i;
    CHECK_OK(program_set(p, PLAN_PARAM, "w", PLAN_F32, w, 15));
    CHECK_OK(program_get(p, PLAN_PARAM, "w", PLAN_F32, m, 15));
    CHECK(!memcmp(w, m, sizeof w));
    CHECK(train_once(p) == 105 + 15);
    CHECK_OK(program_run(p, "init")); // states start again
    CHECK_OK(program_get(p, PLAN_STATE, "adam.m/w", PLAN_F32, m, 15));
    for (int i = 0; i < 15; i++) CHECK(m[i] == 0);

    CHECK_FAILS(program_set_input(p, "y", PLAN_I32, x, 4), STATUS_INVALID, "no input 'y'");
    CHECK_FAILS(program_set_input(p, "x", PLAN_F32, x, 4), STATUS_INVALID, "is i32, not f32");
    CHECK_FAILS(program_set_input(p, "x", PLAN_I32, x, 3), STATUS_INVALID, "has 4 elements, not 3");
    CHECK_OK(program_set_optional(p, "step", 3));
    x[2] = 10;
    CHECK_FAILS(program_set_input(p, "x", PLAN_I32, x, 4), STATUS_RANGE,
                "'x' has 10 at [batch=2]; allowed are -1 to 9");
    x[2] = -2;
    CHECK_FAILS(program_set_input(p, "x", PLAN_I32, x, 4), STATUS_RANGE, "'x' has -2 at [batch=2]");

    TraceTotal totals[16];
    int n = trace_totals(program_trace(p), totals, 16);
    CHECK(n == 9); // five kernels, two collectives, copy, zero
    for (int i = 1; i < n; i++) CHECK(totals[i].seconds <= totals[i - 1].seconds);
    char *text = NULL;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    CHECK_OK(trace_chrome(program_trace(p), f));
    trace_report(program_trace(p), f);
    fclose(f);
    CHECK(strstr(text, "\"name\":\"sum_row\"") && strstr(text, "all_reduce") && strstr(text, "sample.tgf"));
    free(text);
    ProgramMemory memory = program_memory(p, 0);
    CHECK(memory.ranks == 4 && memory.slab >= 384 && memory.planned == 384 && memory.used == 384 &&
          memory.scratch >= 64);
    program_free(p);
}

// Every fault must change what can be seen, or end in a status.
static void faults(void) {
    static const struct {
        FaultKind kind;
        const char *op; // the step: the first whose op, kernel or kind this is
        int rank;
        const char *status; // NULL: the run succeeds with another loss or other ids
    } cases[] = {
        {FAULT_DROP_COMM, "loss = sum %w", -1, NULL},  {FAULT_DROP_COMM, "loss = sum %w", 2, "rank"},
        {FAULT_STALE_COMM, "loss = sum %w", -1, NULL}, {FAULT_WRONG_GROUP, "loss = sum %w", -1, NULL},
        {FAULT_WRONG_SCALE, "sum %x", -1, NULL},       {FAULT_WRONG_SCALE, "loss = sum %w", 0, NULL},
        {FAULT_SWAP_PEER, "all_gather", -1, NULL},     {FAULT_SKIP_KERNEL, "sum_ids", -1, NULL},
        {FAULT_SKIP_KERNEL, "sum_ids", 0, NULL},       {FAULT_SKIP_ITERATION, "loop", -1, NULL},
        {FAULT_DROP_COMM, "all_gather", -1, NULL},
    };
    Program *good = make(NULL);
    if (!good) return;
    CHECK_OK(program_run(good, "init"));
    float expected = train_once(good);
    int32_t ids[4], right[4];
    CHECK_OK(program_get_output(good, "ids", PLAN_I32, right, 4));
    const Plan *plan = program_plan(good);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int at = plan->funcs[1].first;
        for (;; at++) {
            const PlanInstr *in = &plan->instrs[at];
            if (in->op && !strcmp(in->op, cases[i].op)) break;
            if (in->kind == INSTR_KERNEL && !strcmp(plan->kernels[in->kernel].symbol, cases[i].op)) break;
            if (in->kind == INSTR_COMM && in->comm == COMM_ALL_GATHER && !strcmp(cases[i].op, "all_gather")) break;
            if (in->kind == INSTR_LOOP && !strcmp(cases[i].op, "loop")) break;
        }
        Fault fault = {.kind = cases[i].kind, .instr = at, .rank = cases[i].rank};
        Program *bad = make(&(ProgramOptions){.threads = 4, .faults = &fault, .nfaults = 1});
        if (!bad) continue;
        int32_t x[4] = {1, 2, 3, 9};
        float loss;
        CHECK_OK(program_run(bad, "init"));
        CHECK_OK(program_set_input(bad, "x", PLAN_I32, x, 4));
        if (cases[i].status) {
            CHECK_FAILS(program_run(bad, "train"), STATUS_COMM, cases[i].status);
        } else {
            CHECK_OK(program_run(bad, "train"));
            CHECK_OK(program_get_output(bad, "loss", PLAN_F32, &loss, 1));
            CHECK_OK(program_get_output(bad, "ids", PLAN_I32, ids, 4));
            if (loss == expected && !memcmp(ids, right, sizeof ids)) {
                printf("fault %s at '%s' goes unseen\n", fault_name(cases[i].kind), cases[i].op);
                check_failures++;
            }
        }
        program_free(bad);
    }
    PlanModule m = sample_module();
    Program *none;
    Fault wrong = {.kind = FAULT_SKIP_KERNEL, .rank = -1};
    CHECK_FAILS(program_make(&m, &(ProgramOptions){.faults = &wrong, .nfaults = 1}, &none), STATUS_INVALID,
                "step 0 is no kernel");
    // A rank that alone skips the kernel holds another loss than its copies.
    wrong = (Fault){.kind = FAULT_SKIP_KERNEL, .instr = plan->funcs[1].first + 10, .rank = 1};
    while (plan->instrs[wrong.instr].kind != INSTR_KERNEL) wrong.instr--;
    Program *uneven = make(&(ProgramOptions){.faults = &wrong, .nfaults = 1});
    CHECK_OK(program_run(uneven, "init"));
    train_once(uneven);
    float loss;
    CHECK_FAILS(program_read_leaf(uneven, plan_leaf(plan, PLAN_OUTPUT, "loss"), true, &loss), STATUS_COMM,
                "rank 1 holds another 'loss'");
    program_free(uneven);
    program_free(good);
}

static void refusals(void) {
    PlanModule m = sample_module();
    Program *p;
    m.abi = 7;
    CHECK_FAILS(program_make(&m, NULL, &p), STATUS_INVALID, "version 7");
    m = sample_module();
    m.nkernels = 3;
    CHECK_FAILS(program_make(&m, NULL, &p), STATUS_CORRUPT, "3 kernels, its plan 5");
    PlanKernelFn *const none[5] = {NULL};
    m = sample_module();
    m.kernels = none;
    CHECK_FAILS(program_make(&m, NULL, &p), STATUS_INVALID, "'init_w' has no code");
    static const char huge[] =
        "tgf-plan 4\nmodel \"m\" hash \"0000000000000000\"\nmesh data=4\n"
        "slab 900000000000000 params 0 states 0 io 0 buffers 0 activations 900000000000000\n"
        "tasks microbatches 1 stages - rank 0 zero 0 0\n"
        "variant layers 0 chunk 0 slot 0 zero 0 0\nchunk stage 0 variant 0 first 0 slots 0 at 0 slots at 0\n"
        "stage work 0 slab 900000000000000\n";
    m = (PlanModule){PLAN_ABI, huge, strlen(huge), none, 0, NULL};
    CHECK_FAILS(program_make(&m, NULL, &p), STATUS_MEMORY, "4 ranks of 900000.000 GB");
    static const char many[] =
        "tgf-plan 4\nmodel \"m\" hash \"0000000000000000\"\nmesh data=512\n"
        "slab 0 params 0 states 0 io 0 buffers 0 activations 0\n"
        "tasks microbatches 1 stages - rank 0 zero 0 0\n"
        "variant layers 0 chunk 0 slot 0 zero 0 0\nchunk stage 0 variant 0 first 0 slots 0 at 0 slots at 0\n"
        "stage work 0 slab 0\n";
    m = (PlanModule){PLAN_ABI, many, strlen(many), none, 0, NULL};
    CHECK_FAILS(program_make(&m, NULL, &p), STATUS_UNSUPPORTED, "at most 128 ranks");
}

int main(void) {
    results(1);
    results(8);
    faults();
    refusals();
    return check_report("exec");
}
