// SPDX-License-Identifier: Apache-2.0
// The executor on simulated GPUs: hand-made plans, one rank and several, told step by step, captured and replayed, and
// each seeded mistake reported by the stand-ins or by the runtime.
#include "runtime/bind.h"
#include "runtime/cuda_fault.h"
#include "runtime/exec.h"
#include "runtime/world.h"
#include "tests/runtime/check.h"
#include <sys/wait.h>
#include <unistd.h>

// What tests/runtime/sample_plan.h does over `data` and `tensor`, and behind it each kind of collective, two of them
// begun as one: of f[30] = i + 100 * rank, their sum with weights in `more`. Run on CPUs by the same text.
static const char sample_text[] =
    "tgf-plan 4\n"
    "model \"sample\" strategy \"both\" %s hash \"0123456789abcdef\"\n"
    "mesh data=%d tensor=%d\n"
    "slab 1984 params 64 states 64 io 256 buffers 0 activations 1600\n"
    "tasks microbatches 1 stages - rank 128 zero 0 0\n"
    "variant layers 0 chunk 256 slot 0 zero 0 0\n"
    "chunk stage 0 variant 0 first 0 slots 0 at 128 slots at 384\n"
    "stage work 384 slab 1984\n"
    "param \"w\" as \"h.{layer}.w\" f32[layer=3:3, width=5/tensor:$L] chunk at 0 bytes $3L\n"
    "state \"adam.m/w\" as \"w\" f32[layer=3:3, width=5/tensor:$L] chunk at 64 bytes $3L\n"
    "input \"x\" i32[batch=4/data:$B] chunk at 128 bytes $4B ids -1..10\n"
    "output \"loss\" f32[] rank at 0 bytes 4\n"
    "output \"ids\" i32[batch=4:4] chunk at 192 bytes 16\n"
    "output \"more\" f32[n=4:4] rank at 64 bytes 16\n"
    "kernel \"init_w\" tasks 1 work 0 flops 3 bytes 12$T\n"
    "kernel \"sum_row\" tasks 1 work 0 flops 3 bytes 12$T\n"
    "kernel \"sum_ids\" tasks 1 work 0 flops 2 bytes 8$T\n"
    "kernel \"update\" tasks 3 work 0 flops 0 bytes 0$T\n"
    "kernel \"add\" tasks 1 work 0 flops 1 bytes 8$T\n"
    "kernel \"fill\" tasks 1 work 0 flops 1 bytes 8$T\n"
    "kernel \"digest\" tasks 1 work 0 flops 1 bytes 8$T\n"
    "func \"init\" variant 0 work 0\n"
    "  loop 3 {\n"
    "    kernel 0 (c0+$R*l0:$R) [l0, 0+$L*c(tensor)]\n"
    "  }\n"
    "func \"train\" variant 0 work 1600\n"
    "  zero w0 bytes 4\n"
    "  loop 3 reverse {\n"
    "    kernel 1 (c0+$R*l0:$R, w0:4) [0+$L*c(tensor)]\n"
    "  }\n"
    "  comm all_reduce sum f32 on tensor [1, 1, 1] w0 -> w4 # \"loss = sum %%w\" @\"sample.tgf\":7\n"
    "  kernel 2 (c128:$4B, w8:4) []\n"
    "  comm all_reduce sum f32 on data [1, 1, 1] w8 -> w8 # \"sum %%x\"\n"
    "  comm all_gather sum i32 on data [1, $B, 1] c128 -> c192\n"
    "  copy r0 <- w4 bytes 4\n"
    "  kernel 4 (w8:4, r0:4) []\n"
    "  loop 3 {\n"
    "    kernel 3 (c0+$R*l0:$R, c64+$R*l0:$R) []\n"
    "  }\n"
    "  zero w64 bytes 1536\n"
    "  kernel 5 (w64:120) [0+100*c(data+tensor)]\n"
    "  start all_reduce sum f32 on data [1, 1, 15] w64 -> w192 # \"first\"\n"
    "  start all_reduce max f32 on data [1, 1, 15] w124 -> w256 joined # \"second\"\n"
    "  kernel 5 (w320:120) [7+100*c(data+tensor)]\n"
    "  wait 18\n"
    "  wait 19\n"
    "  comm all_gather sum f32 on tensor [6, 5, 1] w320 -> w448 # \"woven\" @\"sample.tgf\":9\n"
    "  comm reduce_scatter sum f32 on tensor [6, 5, 1] w320 -> w768\n"
    "  comm all_to_all sum f32 on tensor [6, 5, 1] w320 -> w896\n"
    "  comm shift sum f32 on data [1, 1, 30] peer 1 w320 -> w1088\n"
    "  comm reverse sum f32 on tensor [1, 1, 30] w320 -> w1216\n"
    "  comm broadcast sum f32 on data+tensor [1, 1, 30] w320 -> w1344\n"
    "  kernel 6 (w192:1280, w1472:16) []\n"
    "  comm all_reduce sum f32 on data+tensor [1, 1, 4] w1472 -> r64\n"
    "program \"init\" inputs outputs\n"
    " stage 0\n"
    "  run 0 0 0 0\n"
    "program \"train\" inputs 2 outputs 3 4 5\n"
    " stage 0\n"
    "  run 1 0 0 0\n";

static const char sample_source[] =
    "extern \"C\" __global__ void __launch_bounds__(32) init_w(char *b0, i64 s0, i64 s1) {\n"
    "    if (threadIdx.x < L) gstore((float *)b0 + threadIdx.x, (float)(1 + s0 + 10 * (s1 + threadIdx.x)));\n"
    "}\n"
    "extern \"C\" __global__ void __launch_bounds__(32) sum_row(char *b0, char *b1, i64 s0) {\n"
    "    if (threadIdx.x) return;\n"
    "    float sum = gload((const float *)b1);\n"
    "    for (int i = 0; i < L && s0 + i < 5; i++) sum += gload((const float *)b0 + i);\n"
    "    gstore((float *)b1, sum);\n"
    "}\n"
    "extern \"C\" __global__ void __launch_bounds__(32) sum_ids(char *b0, char *b1) {\n"
    "    float sum = 0;\n"
    "    for (int i = 0; i < B; i++) sum += (float)gload((const int *)b0 + i);\n"
    "    if (!threadIdx.x) gstore((float *)b1, sum);\n"
    "}\n"
    "extern \"C\" __global__ void __launch_bounds__(32) update(char *b0, char *b1) {\n"
    "    if (threadIdx.x || blockIdx.x) return;\n"
    "    for (int i = 0; i < L; i++) {\n"
    "        float w = gload((const float *)b0 + i) + 1;\n"
    "        gstore((float *)b0 + i, w);\n"
    "        gstore((float *)b1 + i, gload((const float *)b1 + i) + w);\n"
    "    }\n"
    "}\n"
    "extern \"C\" __global__ void __launch_bounds__(32) add(char *b0, char *b1) {\n"
    "    if (!threadIdx.x) gstore((float *)b1, gload((const float *)b1) + gload((const float *)b0));\n"
    "}\n"
    "extern \"C\" __global__ void __launch_bounds__(32) fill(char *b0, i64 s0) {\n"
    "    if (threadIdx.x < 30) gstore((float *)b0 + threadIdx.x, (float)(s0 + threadIdx.x));\n"
    "}\n"
    "extern \"C\" __global__ void __launch_bounds__(32) digest(char *b0, char *b1) {\n"
    "    if (threadIdx.x >= 4) return;\n"
    "    float sum = 0;\n"
    "    for (int i = threadIdx.x; i < 320; i += 4) sum += (float)(i % 7 + 1) * gload((const float *)b0 + i);\n"
    "    gstore((float *)b1 + threadIdx.x, sum);\n"
    "}\n";

static int local_w, local_x; // L and B of the CPU's kernels
#define KERNEL(name) static void name(char *const *b, const int64_t *s, char *work, int64_t begin, int64_t end)
#define UNUSED (void)b, (void)s, (void)work, (void)begin, (void)end
KERNEL(init_w) {
    UNUSED;
    for (int i = 0; i < local_w; i++) ((float *)b[0])[i] = (float)(1 + s[0] + 10 * (s[1] + i));
}
KERNEL(sum_row) {
    UNUSED;
    for (int i = 0; i < local_w && s[0] + i < 5; i++) *(float *)b[1] += ((float *)b[0])[i];
}
KERNEL(sum_ids) {
    UNUSED;
    *(float *)b[1] = 0;
    for (int i = 0; i < local_x; i++) *(float *)b[1] += (float)((int32_t *)b[0])[i];
}
KERNEL(update) {
    UNUSED;
    for (int i = 0; i < local_w && !begin; i++) ((float *)b[1])[i] += ++((float *)b[0])[i];
}
KERNEL(add) {
    UNUSED;
    *(float *)b[1] += *(float *)b[0];
}
KERNEL(fill) {
    UNUSED;
    for (int i = 0; i < 30; i++) ((float *)b[0])[i] = (float)(s[0] + i);
}
KERNEL(digest) {
    UNUSED;
    for (int k = 0; k < 4; k++) {
        float sum = 0;
        for (int i = k; i < 320; i += 4) sum += (float)(i % 7 + 1) * ((float *)b[0])[i];
        ((float *)b[1])[k] = sum;
    }
}
static PlanKernelFn *const sample_kernels[] = {init_w, sum_row, sum_ids, update, add, fill, digest};

extern const char cuda_prelude[]; // codegen/cuda_*.cuh
extern const size_t cuda_prelude_size;

typedef struct Model {
    char text[8192], *source;
    PlanCuda cuda;
    PlanModule module;
} Model;

static void expand(char *out, size_t size, const char *text, int l, int b, bool gpu) {
    size_t n = 0;
    for (const char *at = text; *at && n + 40 < size; at++) {
        if (*at != '$') {
            out[n++] = *at;
            continue;
        }
        at++;
        int times = *at >= '0' && *at <= '9' ? *at++ - '0' : 1;
        if (*at == 'T') n += (size_t)snprintf(out + n, size - n, "%s", gpu ? " threads 32 shared 0" : "");
        else
            n += (size_t)snprintf(out + n, size - n, "%d",
                                  *at == 'L'   ? l * (times == 3 ? 12 : 1)
                                  : *at == 'B' ? b * times
                                               : 4 * l);
    }
    out[n] = 0;
}

// The source alone: the device compiles it for the GPU that is there, through the cache.
static void make_source(Model *m, const char *kernels, int l, int b) {
    char head[80];
    int n = snprintf(head, sizeof head, "enum { L = %d, B = %d };\n", l, b);
    size_t size = cuda_prelude_size + (size_t)n + strlen(kernels);
    m->source = malloc(size + 1);
    memcpy(m->source, cuda_prelude, cuda_prelude_size);
    memcpy(m->source + cuda_prelude_size, head, (size_t)n);
    strcpy(m->source + cuda_prelude_size + n, kernels);
    m->cuda = (PlanCuda){.arch = "sm_80", .source = m->source, .source_bytes = size, .options = "--std=c++17"};
}

static PlanModule *sample_model(Model *m, int data, int tensor, bool gpu) {
    char text[8192];
    *m = (Model){.source = NULL};
    local_w = (5 + tensor - 1) / tensor;
    local_x = 4 / data;
    expand(text, sizeof text, sample_text, local_w, local_x, gpu);
    snprintf(m->text, sizeof m->text, text, gpu ? "target \"cuda:sm_80\"" : "", data, tensor);
    if (gpu) make_source(m, sample_source, local_w, local_x);
    m->module = (PlanModule){PLAN_ABI, m->text, strlen(m->text), gpu ? NULL : sample_kernels, 7, gpu ? &m->cuda : NULL};
    return &m->module;
}

// ---- one model, run some times --------------------------------------------------------------------------------------
enum { RUNS = 4 };
typedef struct Results {
    float loss[RUNS], more[RUNS][4], w[15], m[15];
    int32_t ids[RUNS][4];
} Results;

static Status sample_run(const PlanModule *module, const ProgramOptions *o, Results *out) {
    Program *p = NULL;
    *out = (Results){.loss = {0}};
    STATUS_TRY(program_make(module, o, &p));
    Status s = program_run(p, "init");
    for (int i = 0; i < RUNS && !status_failed(&s); i++) {
        int32_t x[4] = {1 + i, 2, 3, 9 - i};
        CHECK_OK(program_set_input(p, "x", PLAN_I32, x, 4));
        s = program_run(p, "train");
        if (status_failed(&s)) break;
        CHECK_OK(program_get_output(p, "loss", PLAN_F32, &out->loss[i], 1));
        CHECK_OK(program_get_output(p, "ids", PLAN_I32, out->ids[i], 4));
        CHECK_OK(program_get_output(p, "more", PLAN_F32, out->more[i], 4));
    }
    if (!status_failed(&s)) {
        CHECK_OK(program_get(p, PLAN_PARAM, "w", PLAN_F32, out->w, 15));
        CHECK_OK(program_get(p, PLAN_STATE, "adam.m/w", PLAN_F32, out->m, 15));
    }
    program_free(p);
    return s;
}

static void test_sample(int data, int tensor) {
    static Model cpu, gpu;
    Results want, got;
    CHECK_OK(sample_run(sample_model(&cpu, data, tensor, false), NULL, &want));
    PlanModule *module = sample_model(&gpu, data, tensor, true);
    const ProgramOptions ways[] = {{.poison = true}, {.eager = true}, {.trace = true, .trace_events = 100}};
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        CHECK_OK(sample_run(module, &ways[i], &got));
        if (memcmp(&want, &got, sizeof want)) {
            check_failures++;
            printf("%d by %d, way %zu: loss %g %g %g %g, not %g %g %g %g; more %g %g, not %g %g\n", data, tensor, i,
                   got.loss[0], got.loss[1], got.loss[2], got.loss[3], want.loss[0], want.loss[1], want.loss[2],
                   want.loss[3], got.more[0][0], got.more[3][3], want.more[0][0], want.more[3][3]);
        }
    }
    free(gpu.source);
}

// ---- messages -------------------------------------------------------------------------------------------------------
// Stage 1 fills two buffers for each of three microbatches with ((7 * microbatch + number) % 5 + i), in two slots, and
// sends both to stage 0, which adds up what came: sum of (first + 3 * second) over all, by microbatch. The second of
// the two is sent last and, where `crossed`, taken first: then each channel is a lane of its own.
static const char pair_text[] = "tgf-plan 4\n"
                                "model \"pair\" %s hash \"0123456789abcdef\"\n"
                                "mesh pipe=2\n"
                                "slab 320 params 0 states 0 io 64 buffers 256 activations 0\n"
                                "tasks microbatches 3 stages pipe rank 64 zero 0 64\n"
                                "variant layers 0 chunk 0 slot 128 zero 0 0\n"
                                "variant layers 0 chunk 0 slot 128 zero 0 0\n"
                                "chunk stage 1 variant 0 first 0 slots 2 at 64 slots at 64\n"
                                "chunk stage 0 variant 1 first 0 slots 2 at 64 slots at 64\n"
                                "stage work 320 slab 320\n"
                                "stage work 320 slab 320\n"
                                "channel 0 -> 1 leaves 1 3\n"
                                "channel 0 -> 1 leaves 2 4\n"
                                "output \"sum\" f32[] rank at 0 bytes 4\n"
                                "buffer \"a\" f32[n=16:16] slot at 0 - bytes 64\n"
                                "buffer \"b\" f32[n=16:16] slot at 64 - bytes 64\n"
                                "buffer \"c\" f32[n=16:16] slot at - 0 bytes 64\n"
                                "buffer \"d\" f32[n=16:16] slot at - 64 bytes 64\n"
                                "kernel \"fill2\" tasks 1 work 0 flops 3 bytes 12$T\n"
                                "kernel \"take2\" tasks 1 work 0 flops 3 bytes 12$T\n"
                                "func \"give\" variant 0 work 0\n"
                                "  kernel 0 (s0:64) [0+7*m]\n"
                                "  kernel 0 (s64:64) [1+7*m]\n"
                                "func \"take\" variant 1 work 0\n"
                                "  kernel 1 (s0:64, s64:64, r0:4) []\n"
                                "program \"train\" inputs outputs 0\n"
                                " stage 0\n"
                                "  zero -1\n"
                                "  recv %d 0 0\n  recv %d 0 0\n  run 1 1 0 0\n"
                                "  recv %d 1 1\n  recv %d 1 1\n  run 1 1 1 1\n"
                                "  recv %d 2 0\n  recv %d 2 0\n  run 1 1 2 0\n"
                                " stage 1\n"
                                "  zero -1\n"
                                "  run 0 0 0 0\n  send 0 0 0\n  send 1 0 0\n"
                                "  run 0 0 1 1\n  send 0 1 1\n  send 1 1 1\n"
                                "  wait 0 0\n  wait 1 0\n"
                                "  run 0 0 2 0\n  send 0 2 0\n  send 1 2 0\n"
                                "  wait 0 1\n  wait 1 1\n  wait 0 2\n  wait 1 2\n";
static const char pair_source[] =
    "extern \"C\" __global__ void __launch_bounds__(32) fill2(char *b0, i64 s0) {\n"
    "    if (threadIdx.x < 16) gstore((float *)b0 + threadIdx.x, (float)(s0 % 5 + threadIdx.x));\n"
    "}\n"
    "extern \"C\" __global__ void __launch_bounds__(32) take2(char *b0, char *b1, char *b2) {\n"
    "    if (threadIdx.x) return;\n"
    "    float sum = gload((const float *)b2);\n"
    "    for (int i = 0; i < 16; i++) sum += gload((const float *)b0 + i) + 3 * gload((const float *)b1 + i);\n"
    "    gstore((float *)b2, sum);\n"
    "}\n";
KERNEL(fill2) {
    UNUSED;
    for (int i = 0; i < 16; i++) ((float *)b[0])[i] = (float)(s[0] % 5 + i);
}
KERNEL(take2) {
    UNUSED;
    for (int i = 0; i < 16; i++) *(float *)b[2] += ((float *)b[0])[i] + 3 * ((float *)b[1])[i];
}
static PlanKernelFn *const pair_kernels[] = {fill2, take2};

static PlanModule *pair_model(Model *m, bool crossed, bool gpu) {
    char text[8192];
    *m = (Model){.source = NULL};
    expand(text, sizeof text, pair_text, 0, 0, gpu);
    int x = crossed, y = !crossed;
    snprintf(m->text, sizeof m->text, text, gpu ? "target \"cuda:sm_80\"" : "", x, y, x, y, x, y);
    if (gpu) make_source(m, pair_source, 1, 1);
    m->module = (PlanModule){PLAN_ABI, m->text, strlen(m->text), gpu ? NULL : pair_kernels, 2, gpu ? &m->cuda : NULL};
    return &m->module;
}

static Status pair_run(const PlanModule *module, const ProgramOptions *o, float *out_sums) {
    Program *p = NULL;
    STATUS_TRY(program_make(module, o, &p));
    Status s = status_ok();
    for (int i = 0; i < RUNS && !status_failed(&s); i++) {
        s = program_run(p, "train");
        if (!status_failed(&s)) CHECK_OK(program_read_leaf(p, 0, false, &out_sums[i]));
    }
    program_free(p);
    return s;
}

static void test_pair(bool crossed) {
    static Model cpu, gpu;
    float want[RUNS] = {0}, got[RUNS] = {0};
    CHECK_OK(pair_run(pair_model(&cpu, crossed, false), NULL, want));
    PlanModule *module = pair_model(&gpu, crossed, true);
    const ProgramOptions ways[] = {{.poison = true}, {.eager = true}, {.trace = true, .trace_events = 100}};
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        CHECK_OK(pair_run(module, &ways[i], got));
        CHECK(want[0] > 0 && !memcmp(want, got, sizeof want));
    }
    free(gpu.source);
}

// ---- what goes wrong ------------------------------------------------------------------------------------------------
// Each in a process of its own: a GPU that has failed stays so.
static void in_process(void (*f)(const CudaFault *), const CudaFault *fault) {
    fflush(stdout);
    pid_t child = fork();
    if (!child) {
        check_failures = 0;
        f(fault);
        fflush(stdout);
        _exit(check_failures != 0);
    }
    int status = 1;
    waitpid(child, &status, 0);
    if (status) printf("(seeded: %s: status %x)\n", cuda_fault_name(fault->kind), status);
    CHECK(!status);
}

static void expect_told(const CudaFault *fault, Status s) {
    if (status_failed(&s)) printf("%-14s %s\n", cuda_fault_name(fault->kind), s.message);
    CHECK(status_failed(&s));
}

static void fault_in_sample(const CudaFault *fault) {
    static Model gpu;
    Results got;
    ProgramOptions o = {.comm_timeout_ms = 2000, .cuda_fault = fault};
    expect_told(fault, sample_run(sample_model(&gpu, 2, 2, true), &o, &got));
}

static void fault_in_pair(const CudaFault *fault) {
    static Model gpu;
    float got[RUNS];
    ProgramOptions o = {.comm_timeout_ms = 2000, .cuda_fault = fault};
    expect_told(fault, pair_run(pair_model(&gpu, fault->instr >= 0, true), &o, got));
}

static void test_faults(void) {
    static const CudaFault in_sample[] = {{CUDA_FAULT_MISSING_EVENT, -1, 7}, {CUDA_FAULT_MISSING_EVENT, 1, 23},
                                          {CUDA_FAULT_MISSING_WAIT, 2, 28},  {CUDA_FAULT_MISSING_WAIT, 0, 30},
                                          {CUDA_FAULT_MISSING_EDGE, 3, 28},  {CUDA_FAULT_MISSING_EDGE, 0, 30},
                                          {CUDA_FAULT_WRONG_STREAM, 1, -1},  {CUDA_FAULT_OTHER_COUNT, 2, 9},
                                          {CUDA_FAULT_OTHER_KIND, 3, 9},     {CUDA_FAULT_DROP_COMM, 1, 23}};
    static const CudaFault in_pair[] = {{CUDA_FAULT_DROP_SEND, 1, -1},
                                        {CUDA_FAULT_EARLY_SEND, 1, -1},
                                        {CUDA_FAULT_REUSE_SEND, 1, -1},
                                        {CUDA_FAULT_EARLY_RECEIVE, 0, 1}};
    for (size_t i = 0; i < sizeof in_sample / sizeof *in_sample; i++) in_process(fault_in_sample, &in_sample[i]);
    for (size_t i = 0; i < sizeof in_pair / sizeof *in_pair; i++) in_process(fault_in_pair, &in_pair[i]);
}

// What cannot be had is said when the program is made.
static void too_few(const CudaFault *fault) {
    static Model gpu;
    Results got;
    (void)fault;
    setenv("TGF_CUDASIM_DEVICES", "2", 1);
    CHECK_FAILS(sample_run(sample_model(&gpu, 2, 2, true), NULL, &got), STATUS_UNSUPPORTED,
                "4 ranks need as many GPUs, this machine has 2");
}

static void too_small(const CudaFault *fault) {
    static Model gpu;
    Results got;
    (void)fault;
    setenv("TGF_CUDASIM_MEMORY_MIB", "1", 1);
    CHECK_FAILS(sample_run(sample_model(&gpu, 1, 1, true), NULL, &got), STATUS_MEMORY,
                "rank 0 needs 0.004 GB, GPU 0 (");
}

static void no_nccl(const CudaFault *fault) {
    static Model gpu;
    Results got;
    char folder[] = "/tmp/tgf-device-cuda-XXXXXX", from[400], to[100];
    (void)fault;
    CHECK(mkdtemp(folder));
    static const char *const files[] = {"libcuda.so.1", "libnvrtc.so.13"};
    for (int i = 0; i < 2; i++) {
        snprintf(from, sizeof from, "%s/%s", getenv("TGF_CUDA_LIBRARIES"), files[i]);
        snprintf(to, sizeof to, "%s/%s", folder, files[i]);
        CHECK(!symlink(from, to));
    }
    setenv("TGF_CUDA_LIBRARIES", folder, 1);
    CHECK_OK(sample_run(sample_model(&gpu, 1, 1, true), NULL, &got));
    CHECK_FAILS(sample_run(sample_model(&gpu, 2, 2, true), NULL, &got), STATUS_UNSUPPORTED,
                "4 ranks on GPUs need NCCL (one rank runs without it): no NCCL on this machine");
    for (int i = 0; i < 2; i++) {
        snprintf(to, sizeof to, "%s/%s", folder, files[i]);
        unlink(to);
    }
    rmdir(folder);
}

static void no_driver(const CudaFault *fault) {
    static Model gpu;
    Results got;
    (void)fault;
    setenv("TGF_CUDA_LIBRARIES", "/nonexistent", 1);
    CHECK_FAILS(sample_run(sample_model(&gpu, 1, 1, true), NULL, &got), STATUS_UNSUPPORTED,
                "no CUDA driver on this machine");
}

// ---- one rank a process ---------------------------------------------------------------------------------------------
static void tell_port(void *context, int port) { CHECK(write(*(int *)context, &port, sizeof port) == sizeof port); }

// Two processes find each other; the second lacks the driver: both say so, and whose it was.
static void lacking(const CudaFault *fault) {
    static Model gpu;
    Results got;
    int pipes[2], port = 0, status = 1;
    World *world = NULL;
    (void)fault;
    CHECK(!pipe(pipes));
    pid_t other = fork();
    WorldTcpOptions o = {
        .rank = other == 0, .size = 2, .local = other == 0, .locals = 2, .host = "127.0.0.1", .nonce = "x"};
    if (!other) {
        CHECK(read(pipes[0], &port, sizeof port) == sizeof port);
        o.port = port;
        setenv("TGF_CUDA_LIBRARIES", "/nonexistent", 1);
    } else {
        o.on_port = tell_port;
        o.context = &pipes[1];
    }
    CHECK_OK(world_tcp_make(&o, &world));
    ProgramOptions options = {.world = world};
    if (world)
        CHECK_FAILS(sample_run(sample_model(&gpu, 2, 1, true), &options, &got), STATUS_UNSUPPORTED,
                    "rank 1: no CUDA driver on this machine");
    world_free(world);
    if (!other) _exit(check_failures != 0);
    waitpid(other, &status, 0);
    CHECK(!status);
}

int main(void) {
    char cache[] = "/tmp/tgf-device-cuda-XXXXXX";
    const CudaFault none = {CUDA_FAULT_NONE, -1, -1};
    setvbuf(stdout, NULL, _IOLBF, 0);
    CHECK(mkdtemp(cache));
    setenv("XDG_CACHE_HOME", cache, 1);
    setenv("TGF_CUDA_LIBRARIES", TGF_CUDASIM_LIBRARIES, 0);
    in_process(no_driver, &none);
    in_process(no_nccl, &none);
    in_process(too_few, &none);
    in_process(too_small, &none);
    in_process(lacking, &none);
    test_faults();
    test_sample(1, 1);
    test_sample(2, 2);
    test_pair(false);
    test_pair(true);
    return check_report("device_cuda");
}
