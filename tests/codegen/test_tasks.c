// SPDX-License-Identifier: Apache-2.0
// Tasks from the IR to numbers. A model of three layers, h = h * w[layer] + layer, whose loss is the sum of h squared,
// written as the tasks the pipeline pass would make of it: the layers in two chunks (2 and 1), two microbatches of a
// batch that nothing divides, on two data ranks; on two stages and on one. Everything it makes is computed here once
// more, layer by layer; memory is used to its last byte; errors seeded into the steps are noticed; plans with damaged
// steps are refused.
#include "codegen/codegen.h"
#include "ir/random.h"
#include "ir/text.h"
#include "ir/verify.h"
#include "passes/pass.h"
#include "runtime/bind.h"
#include "tests/runtime/check.h"
#include <math.h>

enum { BATCH = 10, WIDTH = 3, LAYERS = 3 };

// %s: extent of pipe, then the pipeline.
static const char model[] = "unit \"tasks\"\n"
                            "mesh data=2\n"
                            "mesh pipe=%d stages\n"
                            "mesh micro=2 time\n"
                            "axis batch=10\n"
                            "axis width=3\n"
                            "axis layer=3\n"
                            "axis layer.0=2 of layer\n"
                            "axis layer.1=1 of layer\n"
                            "\n"
#define INIT(v, n)                                                                                                     \
    "func init." v "\n"                                                                                                \
    "    %%w: f32[layer." v "=" n ", width=3] = param \"w\" \"\"\n"                                                    \
    "    %%r: f32[layer." v "=" n ", width=3] = random law 0 stream 5\n"                                               \
    "    %%half: f32[] = const value 0.5\n"                                                                            \
    "    %%v: f32[layer." v "=" n ", width=3] = add %%r, %%half\n"                                                     \
    "    assign %%w, %%v\n\n"
    INIT("0", "2") INIT("1", "1")
#define LAYER(v, n, x)                                                                                                 \
    "    %%h: f32[batch/data/micro=10, width=3], %%c: f32[layer." v "=" n                                              \
    ", batch/data/micro=10, width=3] = repeat " x ", %%w over layer." v " carry 1 stack 1 {\n"                         \
    "        ^ %%i: i32[], %%p: f32[batch/data/micro=10, width=3], %%l: f32[width=3]\n"                                \
    "        %%f: f32[] = cast %%i as f32\n"                                                                           \
    "        %%t: f32[batch/data/micro=10, width=3] = mul %%p, %%l\n"                                                  \
    "        %%y: f32[batch/data/micro=10, width=3] = add %%t, %%f\n"                                                  \
    "        yield %%y, %%p\n"                                                                                         \
    "    }\n"                                                                                                          \
    "    %%k: f32[layer." v "=" n ", batch/data/micro=10, width=3] = buffer section 2 \"kept\"\n"                      \
    "    assign %%k, %%c\n"
        "func forward.0\n"
        "    %%x: f32[batch/data/micro=10, width=3] = input \"x\"\n"
        "    %%w: f32[layer.0=2, width=3] = param \"w\" \"\"\n" LAYER(
            "0", "2",
            "%%x") "    %%act: f32[batch/data/micro=10, width=3] = buffer section 2 \"act\"\n"
                   "    assign %%act, %%h\n"
                   "\n"
                   "func forward.1\n"
                   "    %%in: f32[batch/data/micro=10, width=3] = buffer section 2 \"in\"\n"
                   "    %%w: f32[layer.1=1, width=3] = param \"w\" \"\"\n" LAYER(
                       "1", "1",
                       "%%in") "    %%m: f32[batch/data/micro=10, width=3] = mask %%h over batch\n"
                               "    %%q: f32[batch/data/micro=10, width=3] = mul %%m, %%m\n"
                               "    %%s: f32[] +sum(data, micro) = sum %%q over batch, width\n"
                               "    %%sum: f32[] +sum(data, micro) = buffer section 0 zero \"loss\"\n"
                               "    %%more: f32[] +sum(data, micro) = add %%sum, %%s\n"
                               "    assign %%sum, %%more\n"
                               "    %%head: f32[batch/data/micro=10, width=3] = buffer section 2 \"head\"\n"
                               "    assign %%head, %%m\n"
                               "    output %%h \"y\"\n"
                               "\n"
#define BACK(v, n, x)                                                                                                  \
    "    %%w: f32[layer." v "=" n ", width=3] = param \"w\" \"\"\n"                                                    \
    "    %%k: f32[layer." v "=" n ", batch/data/micro=10, width=3] = buffer section 2 \"kept\"\n"                      \
    "    %%g: f32[batch/data/micro=10, width=3], %%d: f32[layer." v "=" n ", width=3] +sum(data, micro) = repeat " x   \
    ", %%w, %%k over layer." v " carry 1 stack 2 reverse {\n"                                                          \
    "        ^ %%i: i32[], %%p: f32[batch/data/micro=10, width=3], %%l: f32[width=3], "                                \
    "%%c: f32[batch/data/micro=10, width=3]\n"                                                                         \
    "        %%t: f32[batch/data/micro=10, width=3] = mul %%p, %%c\n"                                                  \
    "        %%u: f32[width=3] +sum(data, micro) = sum %%t over batch\n"                                               \
    "        %%y: f32[batch/data/micro=10, width=3] = mul %%p, %%l\n"                                                  \
    "        yield %%y, %%u\n"                                                                                         \
    "    }\n"                                                                                                          \
    "    %%a: f32[layer." v "=" n ", width=3] +sum(data, micro) = buffer section 1 zero \"grad\"\n"                    \
    "    %%b: f32[layer." v "=" n ", width=3] +sum(data, micro) = add %%a, %%d\n"                                      \
    "    assign %%a, %%b\n"
                               "func backward.0\n"
                               "    %%in: f32[batch/data/micro=10, width=3] = buffer section 2 \"in.grad\"\n" BACK(
                                   "0", "2",
                                   "%%in") "\n"
                                           "func backward.1\n"
                                           "    %%head: f32[batch/data/micro=10, width=3] = buffer section 2 \"head\"\n"
                                           "    %%two: f32[batch/data/micro=10, width=3] = add %%head, %%head\n" BACK(
                                               "1", "1", "%%two") "    %%out: f32[batch/data/micro=10, width=3] = "
                                                                  "buffer section 2 \"act.grad\"\n"
                                                                  "    assign %%out, %%g\n"
                                                                  "\n"
#define UPDATE(v, n)                                                                                                   \
    "func update." v "\n"                                                                                              \
    "    %%a: f32[layer." v "=" n ", width=3] +sum(data) = buffer section 1 zero \"grad\"\n"                           \
    "    %%w: f32[layer." v "=" n ", width=3] = param \"w\" \"\"\n"                                                    \
    "    %%g: f32[layer." v "=" n ", width=3] = all_reduce %%a on data\n"                                              \
    "    %%rate: f32[] = const value 0.01\n"                                                                           \
    "    %%s: f32[layer." v "=" n ", width=3] = mul %%g, %%rate\n"                                                     \
    "    %%v: f32[layer." v "=" n ", width=3] = sub %%w, %%s\n"                                                        \
    "    assign %%w, %%v\n"                                                                                            \
    "    output %%g \"g\"\n\n"
    UPDATE("0", "2") UPDATE("1", "1") "func all\n"
                                      "    %%sum: f32[] +sum(data, pipe) = buffer section 0 zero \"loss\"\n"
                                      "    %%t: f32[] = all_reduce %%sum on data, pipe\n"
                                      "    output %%t \"loss\"\n"
                                      "\n"
                                      "%s";

#define HEAD(stages, chunk0, chunk1)                                                                                   \
    "pipeline microbatches 2 stages " stages "\n"                                                                      \
    "    variant layers 2 over layer.0 first\n"                                                                        \
    "    variant layers 1 over layer.1 last\n" chunk0 chunk1 "    channel from 0 \"act\" to 1 \"in\"\n"                \
    "    channel from 1 \"act.grad\" to 0 \"in.grad\"\n"                                                               \
    "    task init.0 variant 0\n    task init.1 variant 1\n    task forward.0 variant 0\n"                             \
    "    task forward.1 variant 1\n    task backward.0 variant 0\n    task backward.1 variant 1\n"                     \
    "    task update.0 variant 0\n    task update.1 variant 1\n"

static const char two_stages[] = HEAD(
    "2", "    chunk on 0 variant 0 first 0 layers 2 slots 2\n",
    "    chunk on 1 variant 1 first 2 layers 1 slots 1\n") "    steps init\n"
                                                           "        1: run init.0 0 m0 slot 0\n"
                                                           "        1: run init.1 1 m0 slot 0\n"
                                                           "    steps train\n"
                                                           "        14: zero -1, zero 0, run forward.0 0 m0 slot 0, "
                                                           "send 0 m0 slot 0, run forward.0 0 m1 slot 1, send 0 m1 "
                                                           "slot 1, "
                                                           "recv 1 m0 slot 0, wait 0 m0, run backward.0 0 m0 slot 0, "
                                                           "recv 1 m1 slot 1, wait 0 m1, run backward.0 0 m1 slot 1, "
                                                           "run update.0 0 m0 slot 0, run all -1 m0 slot 0\n"
                                                           "        14: zero -1, zero 1, recv 0 m0 slot 0, run "
                                                           "forward.1 1 m0 slot 0, run backward.1 1 m0 slot 0, "
                                                           "send 1 m0 slot 0, recv 0 m1 slot 0, run forward.1 1 m1 "
                                                           "slot 0, wait 1 m0, run backward.1 1 m1 slot 0, "
                                                           "send 1 m1 slot 0, run update.1 1 m0 slot 0, run all -1 m0 "
                                                           "slot 0, wait 1 m1\n";

static const char one_stage[] = HEAD(
    "1", "    chunk on 0 variant 0 first 0 layers 2 slots 1\n",
    "    chunk on 0 variant 1 first 2 layers 1 slots 2\n") "    steps init\n"
                                                           "        2: run init.0 0 m0 slot 0, run init.1 1 m0 slot 0\n"
                                                           "    steps train\n"
                                                           "        18: zero -1, zero 0, zero 1, run forward.0 0 m0 "
                                                           "slot 0, copy 0 m0 slot 0 to 1, run forward.1 1 m0 slot 1, "
                                                           "run backward.1 1 m0 slot 1, copy 1 m0 slot 1 to 0, run "
                                                           "backward.0 0 m0 slot 0, run forward.0 0 m1 slot 0, "
                                                           "copy 0 m1 slot 0 to 0, run forward.1 1 m1 slot 0, run "
                                                           "backward.1 1 m1 slot 0, copy 1 m1 slot 0 to 0, "
                                                           "run backward.0 0 m1 slot 0, run update.0 0 m0 slot 0, run "
                                                           "update.1 1 m0 slot 0, run all -1 m0 slot 0\n";

// ---- the truth
typedef struct Truth {
    float x[BATCH][WIDTH], w[LAYERS][WIDTH], y[BATCH][WIDTH], g[LAYERS][WIDTH], loss;
} Truth;

static Truth truth_make(int steps) {
    Truth t = {0};
    for (int b = 0; b < BATCH; b++)
        for (int i = 0; i < WIDTH; i++) t.x[b][i] = (float)((b * 7 + i * 3) % 5) / 4 - 0.4f;
    for (int i = 0; i < LAYERS * WIDTH; i++) {
        uint32_t words[4];
        random_words(i, 5, (int32_t[4]){0}, words);
        (&t.w[0][0])[i] = 0.5f + (float)(words[0] >> 8) * 0x1p-24f;
    }
    for (int s = 0; s < steps; s++) {
        memset(t.g, 0, sizeof t.g);
        double loss = 0;
        for (int b = 0; b < BATCH; b++)
            for (int i = 0; i < WIDTH; i++) {
                float h[LAYERS + 1] = {t.x[b][i]};
                for (int l = 0; l < LAYERS; l++) h[l + 1] = h[l] * t.w[l][i] + (float)l;
                float d = 2 * h[LAYERS];
                t.y[b][i] = h[LAYERS];
                loss += (double)h[LAYERS] * h[LAYERS];
                for (int l = LAYERS - 1; l >= 0; l--) t.g[l][i] += d * h[l], d *= t.w[l][i];
            }
        t.loss = (float)loss;
        for (int l = 0; l < LAYERS; l++)
            for (int i = 0; i < WIDTH; i++) t.w[l][i] -= 0.01f * t.g[l][i];
    }
    return t;
}

static bool near(const float *a, const float *b, int n) {
    for (int i = 0; i < n; i++)
        if (!(fabsf(a[i] - b[i]) <= 1e-5f * fmaxf(1, fabsf(b[i])))) return false;
    return true;
}

// ---- a compiled unit
typedef struct Made {
    Arena *arena, *scratch;
    CodegenJit *jit;
    const Plan *plan;
} Made;

static Made compile(const char *pipeline, int stages) {
    Made m = {.arena = arena_new(), .scratch = arena_new()};
    StrTable *strs = strtable_new(m.arena);
    Diag *diag = diag_new(m.arena, stdout, false);
    char *text = arena_printf(m.arena, model, stages, pipeline);
    Unit *u = unit_parse(m.arena, m.scratch, strs, diag, str_intern(strs, "tasks.tgi"), text, strlen(text));
    CHECK(u != NULL);
    if (!u) return m;
    struct Pipeline *held = u->pipeline; // fusing looks at nothing but the functions
    u->pipeline = NULL;
    bool ok = pass_fuse(u);
    u->pipeline = held;
    ok = ok && unit_verify(u, "fuse") && pass_order(u) && pass_memory(u);
    CHECK(ok);
    if (!ok) return m;
    CHECK_OK(codegen_jit(u, NULL, &m.jit));
    m.plan = m.jit ? codegen_jit_plan(m.jit) : NULL;
    return m;
}

static void drop(Made *m) {
    codegen_jit_free(m->jit);
    arena_free(m->scratch);
    arena_free(m->arena);
}

static Program *begin(const Made *m, const Fault *fault) {
    ProgramOptions o = {.threads = 4,
                        .trace = true,
                        .trace_events = 1000,
                        .comm_timeout_ms = 20000,
                        .faults = fault,
                        .nfaults = fault != NULL,
                        .poison = true};
    Program *p = NULL;
    Truth t = truth_make(0);
    CHECK_OK(program_make_from_plan(m->plan, codegen_jit_module(m->jit), &o, &p));
    if (!p) return NULL;
    CHECK_OK(program_run(p, "init"));
    CHECK_OK(program_set_input(p, "x", PLAN_F32, t.x, BATCH * WIDTH));
    return p;
}

// Whether the program holds what it should after this many steps.
static bool holds(Program *p, int steps, bool say) {
    Truth t = truth_make(steps), got;
    const struct {
        PlanLeafKind kind;
        const char *name;
        float *got, *want;
        int n;
    } all[] = {{PLAN_OUTPUT, "loss", &got.loss, &t.loss, 1},
               {PLAN_OUTPUT, "y", got.y[0], t.y[0], BATCH * WIDTH},
               {PLAN_OUTPUT, "g", got.g[0], t.g[0], LAYERS * WIDTH},
               {PLAN_PARAM, "w", got.w[0], t.w[0], LAYERS * WIDTH},
               {PLAN_INPUT, "x", got.x[0], t.x[0], BATCH * WIDTH}};
    bool right = true;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        int leaf = plan_leaf(program_plan(p), all[i].kind, all[i].name);
        Status s = leaf < 0 ? status_make(STATUS_INTERNAL, "no leaf") : program_read_leaf(p, leaf, true, all[i].got);
        bool same = !status_failed(&s) && (!steps ? all[i].kind == PLAN_OUTPUT : false);
        same = same || (!status_failed(&s) && near(all[i].got, all[i].want, all[i].n));
        if (!same && say)
            printf("'%s' is wrong: %s, %g for %g\n", all[i].name, s.message, all[i].got[0], all[i].want[0]);
        right = right && same;
    }
    return right;
}

static void runs(const Made *m, int64_t steps) {
    Program *p = begin(m, NULL);
    if (!p) return;
    CHECK(holds(p, 0, true)); // init: random numbers by their place in the whole
    for (int i = 1; i <= 3; i++) {
        CHECK_OK(program_run(p, "train"));
        CHECK(holds(p, i, true));
    }
    for (int r = 0; r < program_memory(p, 0).ranks; r++) {
        ProgramMemory memory = program_memory(p, r);
        CHECK(memory.used == memory.planned && memory.slab >= memory.planned);
    }
    const PlanProgram *train = plan_program(m->plan, "train");
    CHECK(train->count[0] == steps);
    CHECK(train->ninputs == 1 && train->noutputs == 3);
    char *text = NULL;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    CHECK_OK(trace_chrome(program_trace(p), f));
    fclose(f);
    CHECK(strstr(text, "\"name\":\"backward.1\",\"args\":{\"microbatch\":1"));
    CHECK(m->plan->nstages == 1 || strstr(text, "\"name\":\"recv\""));
    free(text);
    program_free(p);
}

// Every fault that fits a step of `train`.
static void faults(const Made *m, int least) {
    const PlanProgram *train = plan_program(m->plan, "train");
    int seeded = 0, kinds = 0;
    for (FaultKind kind = FAULT_SKIP_RUN; kind < FAULT_KINDS; kind++) {
        int before = seeded;
        for (int stage = 0; stage < m->plan->nstages; stage++)
            for (int64_t i = 0; i < train->count[stage]; i++) {
                Fault fault = {
                    .kind = kind, .rank = -1, .program = (int)(train - m->plan->programs), .stage = stage, .step = i};
                Status s = fault_resolve(m->plan, &fault);
                if (status_failed(&s)) continue;
                Program *p = begin(m, &fault);
                if (!p) continue;
                seeded++;
                s = program_run(p, "train");
                if (!status_failed(&s) && holds(p, 1, false)) {
                    printf("fault %s at stage %d, step %lld goes unseen\n", fault_name(kind), stage, (long long)i);
                    check_failures++;
                }
                if (kind == FAULT_MISSING_WAIT) CHECK(strstr(s.message, "never waited"));
                if (kind == FAULT_SWAP_SEND)
                    CHECK(strstr(s.message, "ranks do not match") || strstr(s.message, "did not send"));
                program_free(p);
            }
        kinds += seeded > before;
    }
    CHECK(seeded >= least && kinds >= (m->plan->nstages > 1 ? 6 : 1));
}

// One rank alone: the message says who, where and what.
static void messages(const Made *m) {
    const PlanProgram *train = plan_program(m->plan, "train");
    int64_t at = 0;
    while (train->steps[1][at].kind != PLAN_STEP_WAIT) at++;
    Fault fault = {.kind = FAULT_DROP_COMM, .rank = 3};
    for (int i = 0; i < m->plan->ninstrs; i++)
        if (m->plan->instrs[i].kind == INSTR_COMM && plan_runs(m->plan, train, i)) fault.instr = i;
    Program *p = begin(m, &fault);
    CHECK_FAILS(program_run(p, "train"), STATUS_COMM, "stage 0, step 13 (run all, microbatch 0), instruction");
    program_free(p);
}

// ---- damaged steps
static char *print(const Made *m, size_t *size) {
    char *text = NULL;
    FILE *f = open_memstream(&text, size);
    plan_print(m->plan, f);
    fclose(f);
    return text;
}

static void refuse(const Made *m, const char *from, const char *to, const char *message) {
    size_t size;
    Plan *p = NULL;
    char *text = print(m, &size), *at = strstr(text, "program \"train\"");
    at = at ? strstr(at, from) : NULL;
    if (!at) at = strstr(text, from);
    CHECK(at != NULL);
    if (at) {
        char *damaged = arena_printf(m->arena, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
        CHECK_FAILS(plan_parse(m->arena, strtable_new(m->arena), damaged, strlen(damaged), &p), STATUS_CORRUPT,
                    message);
    }
    free(text);
}

static void refusals(const Made *m) {
    size_t size, again;
    Plan *p = NULL;
    char *text = print(m, &size);
    CHECK_OK(plan_parse(m->arena, strtable_new(m->arena), text, size, &p));
    if (p) {
        Made copy = {.plan = p};
        char *twice = print(&copy, &again);
        CHECK(size == again && !memcmp(text, twice, size));
        free(twice);
    }
    free(text);
    refuse(m, "  wait 0 0\n", "", "a send that is not waited for");
    refuse(m, "  wait 0 0\n", "  wait 0 0\n  wait 0 0\n", "waits for what it did not send");
    refuse(m, "  send 0 1 1\n", "  send 0 0 0\n", "sends again what it has not waited for");
    refuse(m, "  send 0 1 1\n", "  send 0 1 2\n", "no such slot");
    refuse(m, "  send 0 1 1\n", "  send 1 1 1\n", "the channel joins other stages");
    refuse(m, "  send 0 1 1\n", "  copy 0 1 1 0\n", "the channel joins other stages");
    refuse(m, "  recv 1 0 0\n", "  recv 2 0 0\n", "no such channel");
    refuse(m, "  recv 1 0 0\n", "  recv 1 2 0\n", "no such microbatch");
    refuse(m, "  zero 0\n", "  zero 1\n", "the stage has no such chunk");
    refuse(m, "  run 2 0 0 0\n", "  run 3 0 0 0\n", "a function of another variant");
    refuse(m, "  run 2 0 0 0\n", "  run 2 0 0 2\n", "no such slot");
    refuse(m, "channel 0 -> 1", "channel 1 -> 1", "a chunk lacks its buffer");
    refuse(m, "first 2 slots 1", "first 3 slots 1", "no layers of chunk 1");
    refuse(m, "variant layers 1 chunk", "variant layers 2 chunk", "");
    refuse(m, "stages pipe", "stages data+pipe", "2 stages on 4 ranks");
}

int main(void) {
    Made two = compile(two_stages, 2), one = compile(one_stage, 1);
    if (two.plan && one.plan) {
        runs(&two, 14);
        runs(&one, 18);
        CHECK(two.plan->stages[0].slab_bytes != two.plan->stages[1].slab_bytes);
        faults(&two, 20);
        faults(&one, 11);
        messages(&two);
        refusals(&two);
    }
    drop(&two);
    drop(&one);
    return check_report("tasks");
}
