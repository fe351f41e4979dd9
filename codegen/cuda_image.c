// SPDX-License-Identifier: Apache-2.0
// cuda_image: see cuda_image.h.
#include "codegen/cuda_image.h"
#include "runtime/cuda_api.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

extern const char cuda_prelude[]; // codegen/cuda_*.cuh, one behind the other
extern const size_t cuda_prelude_size;

// Contraction of a*b+c is left to the compiler, as on CPUs to nobody: results differ by less than verify's tolerance.
static const char options_text[] = "--std=c++17";

// The stream is the caller's, also when memory runs out here.
static Status render_to(Jobs *jobs, FILE *f) {
    ArenaCatch caught;
    if (ARENA_CAUGHT(&caught)) return status_make(STATUS_MEMORY, "out of memory");
    Status s = jobs_render_cuda(jobs, f);
    arena_catch_end(&caught);
    return s;
}

static Status render(Jobs *jobs, char **out_text, size_t *out_bytes) {
    FILE *f = open_memstream(out_text, out_bytes);
    if (!f) return status_make(STATUS_MEMORY, "out of memory");
    fwrite(cuda_prelude, 1, cuda_prelude_size, f);
    Status s = render_to(jobs, f);
    if (fclose(f) && !status_failed(&s)) s = status_make(STATUS_MEMORY, "out of memory");
    return s;
}

// The number behind the last `before` of a line that stands in front of `unit`.
static int64_t number_before(const char *line, const char *unit) {
    const char *at = strstr(line, unit);
    if (!at) return 0;
    while (at > line && at[-1] == ' ') at--;
    while (at > line && at[-1] >= '0' && at[-1] <= '9') at--;
    return strtoll(at, NULL, 10);
}

static CudaUse *use_of(const Jobs *jobs, CudaImage *image, const char *name, size_t length) {
    for (int i = 0; i < jobs->list.n; i++)
        if (strlen(jobs->list.at[i].name) == length && !memcmp(jobs->list.at[i].name, name, length))
            return &image->use[i];
    return NULL;
}

// The assembler's report (--ptxas-options=-v): "Function properties for NAME", then its stack and spills, then "Used N
// registers, ... bytes smem".
static void read_report(const Jobs *jobs, CudaImage *image, char *log) {
    CudaUse *use = NULL;
    static const char head[] = "Function properties for ";
    char *rest = NULL;
    for (char *line = strtok_r(log, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        char *name = strstr(line, head);
        if (name) {
            name += strlen(head);
            use = use_of(jobs, image, name, strcspn(name, " \r"));
        } else if (use && strstr(line, "bytes stack frame")) {
            use->stack_bytes = number_before(line, "bytes stack frame");
            use->spill_bytes = number_before(line, "bytes spill stores") + number_before(line, "bytes spill loads");
        } else if (use && strstr(line, "registers")) {
            use->registers = (int)number_before(line, "registers");
            use->shared_bytes = number_before(line, "bytes smem");
        }
    }
}

static char *log_of(const NvrtcApi *api, NvrtcProgram program) {
    size_t n = 0;
    if (api->nvrtcGetProgramLogSize(program, &n)) n = 0;
    char *log = calloc(n + 1, 1);
    if (log && n && api->nvrtcGetProgramLog(program, log)) log[0] = 0;
    return log;
}

// Compiles the text for one architecture. what: 0 cubin, 1 PTX; the bytes are copied to the arena.
static Status compile(const NvrtcApi *api, Jobs *jobs, CudaImage *image, const char *arch, bool ptx, const char **out,
                      size_t *out_bytes) {
    NvrtcProgram program = NULL;
    NvrtcResult r = api->nvrtcCreateProgram(&program, image->code.source, "tgf.cu", 0, NULL, NULL);
    if (r) return status_make(STATUS_INTERNAL, "NVRTC: %s", api->nvrtcGetErrorString(r));
    char option[40];
    snprintf(option, sizeof option, "--gpu-architecture=%s", arch);
    const char *options[] = {option, options_text, "--ptxas-options=-v"};
    r = api->nvrtcCompileProgram(program, ptx ? 2 : 3, options);
    char *log = log_of(api, program);
    Status s = status_ok();
    if (r) {
        const char *first = log ? strstr(log, "error") : NULL;
        s = status_make(STATUS_INTERNAL, "NVRTC refuses the kernels for %s (%s): %.300s", arch,
                        api->nvrtcGetErrorString(r),
                        first ? first
                        : log ? log
                              : "");
    } else if (!ptx && log) {
        read_report(jobs, image, log);
    }
    free(log);
    if (!r) r = (ptx ? api->nvrtcGetPTXSize : api->nvrtcGetCUBINSize)(program, out_bytes);
    char *bytes = !r && !status_failed(&s) ? calloc(*out_bytes + 1, 1) : NULL;
    if (bytes) r = (ptx ? api->nvrtcGetPTX : api->nvrtcGetCUBIN)(program, bytes);
    api->nvrtcDestroyProgram(&program);
    if (bytes) *out = arena_take(jobs->arena, bytes, *out_bytes + 1);
    else if (!r && !status_failed(&s)) s = status_make(STATUS_MEMORY, "out of memory");
    if (r && !status_failed(&s)) s = status_make(STATUS_INTERNAL, "NVRTC: %s", api->nvrtcGetErrorString(r));
    return s;
}

Status cuda_image_make(Jobs *jobs, bool portable, CudaImage *out) {
    memset(out, 0, sizeof *out);
    const NvrtcApi *api;
    STATUS_TRY(nvrtc_api(&api));
    char *text = NULL;
    size_t bytes = 0;
    Status s = render(jobs, &text, &bytes);
    if (status_failed(&s)) return free(text), s;
    out->code.source = arena_take(jobs->arena, text, bytes + 1);
    out->code.source_bytes = bytes;
    out->code.arch = jobs->cuda->arch;
    out->code.options = options_text;
    out->use = NEW_ARRAY(jobs->arena, CudaUse, jobs->list.n + 1);
    STATUS_TRY(compile(api, jobs, out, jobs->cuda->arch, false, &out->code.cubin, &out->code.cubin_bytes));
    if (!portable) return s;
    return compile(api, jobs, out, "compute_80", true, &out->code.ptx, &out->code.ptx_bytes);
}

void cuda_image_print(const Jobs *jobs, const CudaImage *image, FILE *out) {
    fprintf(out, "%-40s %9s %11s %7s %7s %9s %7s\n", "kernel", "registers", "shared", "stack", "spills", "blocks",
            "threads");
    for (int i = 0; i < jobs->list.n; i++) {
        const Job *j = &jobs->list.at[i];
        const CudaUse *u = &image->use[i];
        if (j->gemm) {
            fprintf(out, "%-40s by cuBLASLt\n", j->name);
            continue;
        }
        fprintf(out, "%-40s %9d %11" PRId64 " %7" PRId64 " %7" PRId64 " %9" PRId64 " %7d\n", j->name, u->registers,
                u->shared_bytes + j->launch.shared_bytes, u->stack_bytes, u->spill_bytes, j->launch.blocks,
                j->launch.threads);
    }
}
