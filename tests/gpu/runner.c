// SPDX-License-Identifier: Apache-2.0
// gpu_runner: runs kits (kit.h) on the GPU of this machine. Needs the runtime only. tests/gpu/run calls it.
//   gpu_runner device             what this machine has
//   gpu_runner ops FILE [FROM]    cases FROM, FROM + 1, ... against the reference's results
//   gpu_runner step FILE          a training step against the same on this machine's processor
//   gpu_runner time FILE STEPS [WARMUP]       how long a training step takes
//   gpu_runner kernels FILE STEPS             where its time goes, kernel by kernel
// Each result is a line of JSON, written when it is known: what comes after a crash is lost, nothing else. "begin" says
// what is being done. Exit status 0: everything could be run, whatever came out; 3: a case could not, and what it left
// of the GPU's context is no place for the next one, which another process must begin with.
#include "runtime/bind.h"
#include "runtime/cuda_api.h"
#include "tests/gpu/kit.h"
#include "tools/tgf_verify.h"
#include <dlfcn.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { LOST = 3 };
static const double CONDITION_FACTOR = 2; // as tests/ops/test_compiled.c

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void print_json_text(const char *text) {
    putchar('"');
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        if (*c == '"' || *c == '\\') putchar('\\');
        if (*c < ' ') printf("\\u%04x", *c);
        else putchar(*c);
    }
    putchar('"');
}

// JSON has no infinities.
static double finite_or(double x, double other) { return isfinite(x) ? x : other; }

static void say_begin(const char *name, const char *op) {
    fputs("{\"begin\": ", stdout);
    print_json_text(name);
    printf(", \"op\": \"%s\"}\n", op);
}

static void say_failed(const char *name, const char *why) {
    fputs("{\"name\": ", stdout);
    print_json_text(name);
    fputs(", \"ok\": false, \"why\": ", stdout);
    print_json_text(why);
    puts("}");
}

static int failed(const Status *s, const char *doing) {
    say_failed(doing, s->message);
    return 1;
}

static int device(void) {
    const CudaApi *api;
    Status s = cuda_api(&api);
    if (status_failed(&s)) return failed(&s, "device");
    int version = 0, processors = 0, major = 0, minor = 0;
    char name[200] = "";
    CuDevice d = 0;
    CuResult r = api->cuDriverGetVersion(&version);
    if (!r) r = api->cuDeviceGet(&d, 0);
    if (!r) r = api->cuDeviceGetName(name, sizeof name, d);
    if (!r) r = api->cuDeviceGetAttribute(&processors, CU_ATTR_PROCESSORS, d);
    if (!r) r = api->cuDeviceGetAttribute(&major, CU_ATTR_MAJOR, d);
    if (!r) r = api->cuDeviceGetAttribute(&minor, CU_ATTR_MINOR, d);
    s = cuda_status(api, r, "the first GPU");
    if (status_failed(&s)) return failed(&s, "device");
    fputs("{\"name\": \"device\", \"ok\": true, \"device\": ", stdout);
    print_json_text(name);
    printf(", \"driver\": %d, \"processors\": %d, \"capability\": \"%d.%d\"}\n", version, processors, major, minor);
    return 0;
}

// ---- every op

static double element(const void *at, PlanDType t, int64_t i) {
    return t == PLAN_F32   ? (double)((const float *)at)[i]
           : t == PLAN_I32 ? (double)((const int32_t *)at)[i]
                           : (double)((const uint8_t *)at)[i];
}

static Status write_leaves(const KitFile *f, int number, Program *p) {
    const Plan *plan = program_plan(p);
    int end = number + 1 < f->ncases ? f->cases[number + 1] : f->nrecords;
    for (int i = f->cases[number]; i < end; i++) {
        const KitRecord *r = &f->records[i];
        bool param = !strncmp(r->name, "param ", 6);
        if (!param && strncmp(r->name, "input ", 6)) continue;
        int at = plan_leaf(plan, param ? PLAN_PARAM : PLAN_INPUT, r->name + 6);
        if (at < 0 || leaf_bytes(&plan->leaves[at]) != (int64_t)r->size)
            return status_make(STATUS_CORRUPT, "record '%s' does not fit the plan", r->name);
        void *values = malloc(r->size + 8); // aligned
        if (!values) return status_make(STATUS_MEMORY, "no memory for '%s'", r->name);
        memcpy(values, r->bytes, r->size);
        Status s = program_write_leaf(p, at, values);
        free(values);
        STATUS_TRY(s);
    }
    return status_ok();
}

// The first element that differs too much is told in `why`; worst: of all, as a part of what is allowed.
static Status compare_output(const KitFile *f, int number, Program *p, const char *name, double tolerance, char *why,
                             size_t size, double *worst) {
    char record[300];
    snprintf(record, sizeof record, "want %s", name);
    KitRecord want = kit_find(f, number, record);
    snprintf(record, sizeof record, "moved %s", name);
    KitRecord moved = kit_find(f, number, record);
    const Plan *plan = program_plan(p);
    int at = plan_leaf(plan, PLAN_OUTPUT, name);
    int64_t count = (int64_t)(want.size / sizeof(double));
    if (at < 0 || leaf_elements(&plan->leaves[at]) != count || moved.size != (size_t)count * sizeof(float))
        return status_make(STATUS_CORRUPT, "output '%s' does not fit the plan", name);
    void *got = malloc((size_t)leaf_bytes(&plan->leaves[at]) + 8);
    if (!got) return status_make(STATUS_MEMORY, "no memory for '%s'", name);
    Status s = program_read_leaf(p, at, true, got);
    double largest = 1e-3;
    for (int64_t i = 0; i < count; i++) {
        double w;
        memcpy(&w, want.bytes + i * (int64_t)sizeof w, sizeof w);
        if (isfinite(w)) largest = fmax(largest, fabs(w));
    }
    for (int64_t i = 0; i < count && !status_failed(&s); i++) {
        double w, x = element(got, plan->leaves[at].dtype, i);
        float m;
        memcpy(&w, want.bytes + i * (int64_t)sizeof w, sizeof w);
        memcpy(&m, moved.bytes + i * (int64_t)sizeof m, sizeof m);
        double error = x == w || (isnan(x) && isnan(w)) ? 0 : fabs(x - w);
        double allowed = tolerance * largest + CONDITION_FACTOR * (double)m;
        double ratio = isfinite(error) ? error / allowed : 1e30;
        if (ratio > *worst) *worst = ratio;
        if (ratio > 1 && !*why)
            snprintf(why, size, "%s[%" PRId64 "] is %.9g, not %.9g (allowed %.3g)", name, i, x, w, allowed);
    }
    free(got);
    return s;
}

static Status run_case(const KitFile *f, int number, char *why, size_t size, double *worst) {
    PlanCuda cuda;
    PlanModule module;
    STATUS_TRY(kit_module(f, number, &cuda, &module));
    Program *p = NULL;
    Status s = program_make(&module, &(ProgramOptions){.threads = 1, .poison = true}, &p);
    if (!status_failed(&s)) s = write_leaves(f, number, p);
    for (int run = 0; run < 2 && !status_failed(&s); run++) s = program_run(p, "train"); // the second time as a graph
    double tolerance = strtod(kit_text(f, number, "tolerance"), NULL);
    int end = number + 1 < f->ncases ? f->cases[number + 1] : f->nrecords;
    for (int i = f->cases[number]; i < end && !status_failed(&s); i++)
        if (!strncmp(f->records[i].name, "want ", 5))
            s = compare_output(f, number, p, f->records[i].name + 5, tolerance, why, size, worst);
    program_free(p);
    return s;
}

static int ops(const char *path, int from, int to) {
    KitFile f;
    Status s = kit_read(path, &f);
    if (status_failed(&s)) return failed(&s, path);
    for (int i = from; i < f.ncases && i < to; i++) {
        char why[400] = "";
        double worst = 0;
        const char *name = kit_text(&f, i, "case");
        say_begin(name, kit_text(&f, i, "op"));
        s = run_case(&f, i, why, sizeof why, &worst);
        bool ok = !status_failed(&s) && !*why;
        fputs("{\"name\": ", stdout);
        print_json_text(name);
        printf(", \"op\": \"%s\", \"dtype\": \"%s\", \"number\": %d, \"ok\": %s, \"worst\": %.3g, \"why\": ",
               kit_text(&f, i, "op"), kit_text(&f, i, "dtype"), i, ok ? "true" : "false", finite_or(worst, 1e30));
        print_json_text(status_failed(&s) ? s.message : why);
        puts("}");
        if (status_failed(&s)) return LOST;
    }
    kit_free(&f);
    return 0;
}

// ---- whole steps

static Status open_module(const char *path, const KitFile *f, PlanCuda *cuda, PlanModule *out) {
    if (!f->ncases) return status_make(STATUS_CORRUPT, "'%s' has no case", path);
    return kit_module(f, 0, cuda, out);
}

// The module of an object that was linked to a library beside the kit: NAME in the kit, NAME.so on disk.
static Status open_cpu(const char *path, const char *name, void **out_library, const PlanModule **out) {
    char file[4096];
    const char *slash = strrchr(path, '/');
    snprintf(file, sizeof file, "%.*s%s.so", slash ? (int)(slash + 1 - path) : 2, slash ? path : "./", name);
    *out_library = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    if (!*out_library) return status_make(STATUS_IO, "cannot load '%s': %s", file, dlerror());
    static const char *const models[] = {"gpt2", "llama", "moe", "bert", "novel", "gpt3", "gpt1t"};
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        char symbol[60];
        snprintf(symbol, sizeof symbol, "tgf_model_%s", models[i]);
        *out = dlsym(*out_library, symbol);
        if (*out) return status_ok();
    }
    return status_make(STATUS_INVALID, "'%s' has no model of the examples", file);
}

// As tgf verify does it.
static Status run_step(Program *p, int32_t perturb, Snapshot *out) {
    STATUS_TRY(program_set_optional(p, "perturb", perturb));
    STATUS_TRY(program_set_optional(p, "seed", 1));
    STATUS_TRY(program_run(p, "init"));
    STATUS_TRY(program_set_optional(p, "seed", 1));
    STATUS_TRY(program_set_optional(p, "step", 0));
    STATUS_TRY(snapshot_inputs(p, 1));
    STATUS_TRY(program_run(p, "train"));
    return snapshot_take(p, "train", out);
}

static Status make_snapshot(const PlanModule *module, int32_t perturb, Snapshot *out) {
    Program *p = NULL;
    Status s = program_make(module, &(ProgramOptions){.poison = true}, &p);
    if (!status_failed(&s)) s = run_step(p, perturb, out);
    program_free(p);
    return s;
}

static Status make_truth(const char *path, const KitFile *f, Snapshot *out) {
    void *library = NULL;
    const PlanModule *module;
    STATUS_TRY(open_cpu(path, kit_text(f, 0, "cpu"), &library, &module));
    STATUS_TRY(make_snapshot(module, 0, out));
    const char *moved = kit_text(f, 0, "moved");
    if (!*moved) return status_ok();
    STATUS_TRY(open_cpu(path, moved, &library, &module));
    for (int i = 0; i < SPREAD_RUNS; i++) {
        Snapshot one = {0};
        Status s = make_snapshot(module, i + 1, &one);
        if (!status_failed(&s) && !spread_add(out, &one))
            s = status_make(STATUS_INTERNAL, "a perturbed step has other outputs");
        snapshot_free(&one);
        STATUS_TRY(s);
    }
    return status_ok();
}

static int step(const char *path) {
    KitFile f;
    PlanCuda cuda;
    PlanModule module;
    Snapshot truth = {0}, made = {0};
    Status s = kit_read(path, &f);
    if (status_failed(&s)) return failed(&s, path);
    const char *name = kit_text(&f, 0, "case");
    say_begin(name, "");
    s = open_module(path, &f, &cuda, &module);
    if (!status_failed(&s)) s = make_truth(path, &f, &truth);
    if (!status_failed(&s)) s = make_snapshot(&module, 0, &made);
    if (status_failed(&s)) return failed(&s, name);
    Difference worst = {0};
    int wrong = snapshot_compare(&truth, &made, strtod(kit_text(&f, 0, "tolerance"), NULL), &worst);
    char why[600] = "";
    if (wrong)
        snprintf(why, sizeof why, "%d of %d tensors differ, most %s by %.3g (allowed %.3g)", wrong, truth.n,
                 worst.name ? worst.name : "?", worst.error, worst.allowed);
    fputs("{\"name\": ", stdout);
    print_json_text(name);
    printf(", \"ok\": %s, \"tensors\": %d, \"worst\": %.3g, \"where\": ", wrong ? "false" : "true", truth.n,
           finite_or(difference_ratio(&worst), 1e30));
    print_json_text(worst.name ? worst.name : "");
    fputs(", \"why\": ", stdout);
    print_json_text(why);
    puts("}");
    snapshot_free(&truth);
    snapshot_free(&made);
    kit_free(&f);
    return 0;
}

// ---- time

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static Status start(Program *p) {
    STATUS_TRY(program_set_optional(p, "seed", 1));
    STATUS_TRY(program_run(p, "init"));
    STATUS_TRY(program_set_optional(p, "seed", 1));
    return snapshot_inputs(p, 1);
}

static Status one_step(Program *p, int number) {
    STATUS_TRY(program_set_optional(p, "step", number));
    return program_run(p, "train");
}

static void say_time(const KitFile *f, const Program *p, const double *times, int steps, double load, float loss) {
    fputs("{\"name\": ", stdout);
    print_json_text(kit_text(f, 0, "case"));
    printf(", \"ok\": %s, \"median_ms\": %.4f, \"min_ms\": %.4f, \"max_ms\": %.4f, \"steps\": %d, \"tokens\": %s, "
           "\"flops\": %s, \"parameters\": %s, \"slab_gb\": %.3f, \"load_s\": %.3f, \"loss\": %.6g, \"why\": \"%s\"}\n",
           isfinite(loss) ? "true" : "false", 1e3 * times[steps / 2], 1e3 * times[0], 1e3 * times[steps - 1], steps,
           kit_text(f, 0, "tokens"), kit_text(f, 0, "flops"), kit_text(f, 0, "parameters"),
           (double)program_memory(p, 0).slab / 1e9, load, finite_or(loss, 0), isfinite(loss) ? "" : "no finite loss");
}

static int time_steps(const char *path, int steps, int warmup) {
    KitFile f;
    PlanCuda cuda;
    PlanModule module;
    Status s = kit_read(path, &f);
    if (status_failed(&s)) return failed(&s, path);
    say_begin(kit_text(&f, 0, "case"), "");
    Program *p = NULL;
    double *times = calloc((size_t)steps + 1, sizeof *times), began = seconds();
    float loss = NAN;
    s = open_module(path, &f, &cuda, &module);
    if (!times) s = status_make(STATUS_MEMORY, "no memory");
    if (!status_failed(&s)) s = program_make(&module, NULL, &p);
    if (!status_failed(&s)) s = start(p);
    double load = seconds() - began;
    for (int i = 0; i < warmup + steps && !status_failed(&s); i++) {
        double at = seconds();
        s = one_step(p, i);
        if (i >= warmup) times[i - warmup] = seconds() - at;
    }
    if (!status_failed(&s)) s = program_get_output(p, "loss", PLAN_F32, &loss, 1);
    if (status_failed(&s)) {
        failed(&s, kit_text(&f, 0, "case"));
    } else {
        qsort(times, (size_t)steps, sizeof *times, by_value);
        say_time(&f, p, times, steps, load, loss);
    }
    program_free(p);
    free(times);
    kit_free(&f);
    return 0;
}

enum { TOTALS = 400 };
static int kernels(const char *path, int steps) {
    KitFile f;
    PlanCuda cuda;
    PlanModule module;
    Status s = kit_read(path, &f);
    if (status_failed(&s)) return failed(&s, path);
    say_begin(kit_text(&f, 0, "case"), "");
    Program *p = NULL;
    s = open_module(path, &f, &cuda, &module);
    if (!status_failed(&s)) s = program_make(&module, &(ProgramOptions){.trace = true}, &p);
    if (!status_failed(&s)) s = start(p);
    if (!status_failed(&s)) s = one_step(p, 0);
    if (!status_failed(&s)) trace_reset(program_trace(p));
    for (int i = 1; i <= steps && !status_failed(&s); i++) s = one_step(p, i);
    if (status_failed(&s)) return failed(&s, kit_text(&f, 0, "case"));
    static TraceTotal totals[TOTALS];
    int n = trace_totals(program_trace(p), totals, TOTALS);
    for (int i = 0; i < n && i < TOTALS; i++) {
        const TraceTotal *t = &totals[i];
        fputs("{\"kernel\": ", stdout);
        print_json_text(t->name);
        printf(", \"calls\": %.1f, \"ms\": %.5f, \"flops\": %.6g, \"bytes\": %.6g}\n", (double)t->calls / steps,
               1e3 * t->seconds / steps, t->flops / steps, t->bytes / steps);
    }
    program_free(p);
    kit_free(&f);
    return 0;
}

int main(int argc, char **argv) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    const char *what = argc > 1 ? argv[1] : "";
    int number = argc > 3 ? atoi(argv[3]) : 0, second = argc > 4 ? atoi(argv[4]) : 0;
    if (!strcmp(what, "device") && argc == 2) return device();
    if (!strcmp(what, "ops") && argc >= 3) return ops(argv[2], number, second ? second : INT32_MAX);
    if (!strcmp(what, "step") && argc == 3) return step(argv[2]);
    if (!strcmp(what, "time") && argc >= 4 && number > 0) return time_steps(argv[2], number, argc > 4 ? second : 3);
    if (!strcmp(what, "kernels") && argc == 4 && number > 0) return kernels(argv[2], number);
    fputs(
        "usage: gpu_runner device | ops FILE [FROM [TO]] | step FILE | time FILE STEPS [WARMUP] | kernels FILE STEPS\n",
        stderr);
    return 2;
}
