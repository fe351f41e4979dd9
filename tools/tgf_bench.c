// SPDX-License-Identifier: Apache-2.0
// tgf bench: how long a training step takes: warm-up, then the median of N steps, on inputs drawn once.
#include "base/clock.h"
#include "tools/common_machine.h"
#include "tools/common_stats.h"
#include "tools/tgf.h"
#include "tools/tgf_verify.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

// Tokens a step: elements of the first input of ids.
static double tokens_of(const Plan *p) {
    for (int i = 0; i < p->nleaves; i++)
        if (p->leaves[i].kind == PLAN_INPUT && p->leaves[i].dtype == PLAN_I32 && p->leaves[i].rank)
            return (double)leaf_elements(&p->leaves[i]);
    return 0;
}

int tool_bench(int argc, char **argv) {
    const char *strategy = NULL, *func = NULL, *trace = NULL;
    int64_t steps = 10, warmup = 2, threads = 0;
    bool json = false, kernels = false;
    OptionList defines = {0};
    Machine machine = {0};
    const Option options[] = {
        {"--strategy", "NAME", "layout (one rank)", OPTION_TEXT, &strategy},
        {"--steps", "N", "steps to measure (10)", OPTION_INT, &steps},
        {"--warmup", "N", "steps before (2)", OPTION_INT, &warmup},
        {"--threads", "N", "over all ranks (one a processor)", OPTION_INT, &threads},
        {"--func", "train|eval|predict", "function to run (train)", OPTION_TEXT, &func},
        {"--kernels", NULL, "also print where the time goes", OPTION_FLAG, &kernels},
        {"--trace", "FILE", "write a Chrome trace of the measured steps", OPTION_TEXT, &trace},
        {"--json", NULL, "one line of JSON", OPTION_FLAG, &json},
        {"-D", "AXIS=N", "override an axis", OPTION_DEFINE, &defines},
        MACHINE_OPTIONS(&machine),
        {0},
    };
    const Command command = {"tgf bench MODEL.tgf [options]", "Measures a training step.", options, 1, 1};
    const char *path;
    int count;
    bool done;
    int rc = options_read(&command, argc, argv, &path, &count, &done);
    if (rc || done) return rc;
    CodegenOptions code = {0};
    if (!machine_read(&machine, "tgf bench", &code)) return 1;
    if (!func) func = "train";
    if (steps < 1) steps = 1;
    CompileRequest request = {.path = path, .defines = &defines, .strategy = strategy};
    ProgramOptions o = {.threads = (int)threads, .trace = kernels || trace, .trace_events = trace ? 1 << 16 : 0};
    Built b = {0};
    double began = now_seconds();
    rc = built_make(&request, &code, &o, &b);
    double compiled = now_seconds() - began;
    double *times = calloc((size_t)steps, sizeof *times);
    Status s = rc      ? status_ok()
               : times ? program_set_optional(b.program, "seed", 1)
                       : status_make(STATUS_MEMORY, "no memory");
    if (!rc && !status_failed(&s)) s = program_run(b.program, "init");
    if (!rc && !status_failed(&s)) s = snapshot_inputs(b.program, 1);
    for (int64_t i = 0; !rc && !status_failed(&s) && i < warmup + steps; i++) {
        if (i == warmup && program_trace(b.program)) trace_reset(program_trace(b.program));
        s = program_set_optional(b.program, "step", (int32_t)i);
        double start = now_seconds();
        if (!status_failed(&s)) s = program_run(b.program, func);
        if (i >= warmup) times[i - warmup] = now_seconds() - start;
    }
    if (!rc && status_failed(&s)) rc = status_report(&s, "bench");
    if (!rc) {
        qsort(times, (size_t)steps, sizeof *times, by_value);
        double median = steps % 2 ? times[steps / 2] : (times[steps / 2 - 1] + times[steps / 2]) / 2;
        const Plan *p = program_plan(b.program);
        double ranks = (double)plan_ranks(p), flops = func_flops(b.c.unit, func) * ranks, tokens = tokens_of(p);
        ProgramMemory memory = program_memory(b.program, 0);
        struct rusage usage;
        getrusage(RUSAGE_SELF, &usage);
        if (json)
            printf("{\"model\": \"%s\", \"strategy\": \"%s\", \"func\": \"%s\", \"ranks\": %.0f, \"threads_per_rank\": "
                   "%d, \"steps\": %" PRId64 ", \"median_ms\": %.3f, \"min_ms\": %.3f, \"tokens_per_s\": %.1f, "
                   "\"gflop_per_s\": %.1f, \"slab_bytes_per_rank\": %" PRId64
                   ", \"peak_rss_mb\": %.1f, \"compile_s\": %.3f}\n",
                   p->model, strategy ? strategy : "", func, ranks, program_threads(b.program), steps, median * 1e3,
                   times[0] * 1e3, tokens / median, flops / median * 1e-9, memory.slab, (double)usage.ru_maxrss / 1024,
                   compiled);
        else
            printf("%s %s: median %.1f ms, least %.1f ms over %" PRId64
                   " steps; %.0f tokens/s, %.1f GFLOP/s; slab %.1f MB a rank, peak "
                   "resident %.1f MB; compiled in %.2f s\n",
                   p->model, func, median * 1e3, times[0] * 1e3, steps, tokens / median, flops / median * 1e-9,
                   (double)memory.slab / 1e6, (double)usage.ru_maxrss / 1024, compiled);
        if (kernels) trace_report(program_trace(b.program), stdout);
        FILE *f = trace ? fopen(trace, "w") : NULL;
        if (trace) {
            s = f ? trace_chrome(program_trace(b.program), f) : status_errno("cannot write", trace);
            if (f && fclose(f)) s = status_errno("cannot write", trace);
            if (status_failed(&s)) rc = status_report(&s, "bench");
        }
    }
    free(times);
    built_end(&b);
    return rc;
}
