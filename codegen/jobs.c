// SPDX-License-Identifier: Apache-2.0
// jobs: see jobs.h.
#include "codegen/jobs.h"
#include "codegen/cpu_llvm.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static int job_add(Jobs *jobs, const Job *job, const char *stem) {
    for (int i = 0; i < jobs->list.n; i++) {
        const Job *j = &jobs->list.at[i];
        if (j->kind == job->kind && j->key_bytes == job->key_bytes && !memcmp(j->key, job->key, j->key_bytes)) return i;
    }
    int number = jobs->list.n;
    vec_push(jobs->arena, &jobs->list, *job);
    Job *j = &jobs->list.at[number];
    char clean[40];
    size_t n = 0;
    for (; stem[n] && n < sizeof clean - 1; n++) {
        char c = stem[n];
        clean[n] = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ? c : '_';
    }
    clean[n] = 0;
    j->name = arena_printf(jobs->arena, "k%d_%s", number, clean);
    if (j->nest) j->nest->name = j->name;
    if (job->kind != JOB_NEST) j->key = arena_dup(jobs->arena, job->key, job->key_bytes);
    return number;
}

// The stream is the caller's, also when memory runs out here: then false.
static bool print_nest(const Kernel *nest, FILE *f) {
    ArenaCatch caught;
    if (ARENA_CAUGHT(&caught)) return false;
    kernel_print(nest, f);
    arena_catch_end(&caught);
    return true;
}

int jobs_add_nest(Jobs *jobs, Kernel *nest, const char *stem, double flops, double bytes) {
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    nest->name = "";
    bool ok = f && print_nest(nest, f);
    if (f && fclose(f)) ok = false;
    if (!ok) {
        free(text);
        arena_exhausted();
    }
    const char *key = arena_take(jobs->arena, text, size);
    Job job = {.kind = JOB_NEST, .nest = nest, .flops = flops, .bytes = bytes, .key = key, .key_bytes = size};
    return job_add(jobs, &job, stem);
}

int jobs_add_matmul(Jobs *jobs, const TileMatmul *m, const char *stem, double flops, double bytes) {
    Job job = {.kind = JOB_MATMUL, .flops = flops, .bytes = bytes, .key = (const char *)m, .key_bytes = sizeof *m};
    memcpy(&job.matmul, m, sizeof *m);
    return job_add(jobs, &job, stem);
}

int jobs_add_attend(Jobs *jobs, const TileAttend *a, const char *stem, double flops, double bytes) {
    Job job = {.kind = JOB_ATTEND, .flops = flops, .bytes = bytes, .key = (const char *)a, .key_bytes = sizeof *a};
    memcpy(&job.attend, a, sizeof *a);
    return job_add(jobs, &job, stem);
}

int jobs_add_attend_back(Jobs *jobs, const TileAttendBack *a, const char *stem, double flops, double bytes) {
    Job job = {.kind = JOB_ATTEND_BACK, .flops = flops, .bytes = bytes, .key = (const char *)a, .key_bytes = sizeof *a};
    memcpy(&job.back, a, sizeof *a);
    return job_add(jobs, &job, stem);
}

Status jobs_render(Jobs *jobs, Irb *b, int from, int to) {
    for (int i = from; i < to; i++) {
        Job *j = &jobs->list.at[i];
        TilePlan plan = {0};
        switch (j->kind) {
        case JOB_NEST:
            cpu_llvm_kernel(b, j->nest);
            plan.tasks = j->nest->tasks;
            break;
        case JOB_MATMUL: STATUS_TRY(tile_matmul(b, j->name, &j->matmul, &plan)); break;
        case JOB_ATTEND: STATUS_TRY(tile_attend(b, j->name, &j->attend, &plan)); break;
        case JOB_ATTEND_BACK: STATUS_TRY(tile_attend_back(b, j->name, &j->back, &plan)); break;
        }
        j->tasks = plan.tasks;
        j->work_bytes = plan.work_bytes;
        LLVMSetLinkage(irb_function_find(b, j->name), LLVMInternalLinkage);
    }
    return status_ok();
}

static void print_group(FILE *out, const char *name, const TileGroup *g) {
    fprintf(out, " %s", name);
    if (!g->count) fputs(" 1", out);
    for (int i = 0; i < g->count; i++)
        fprintf(out, "%c%" PRId64 " (a %" PRId64 ", b %" PRId64 ", c %" PRId64 ")", i ? 'x' : ' ', g->axis[i].extent,
                g->axis[i].a, g->axis[i].b, g->axis[i].c);
}

void jobs_print(const Jobs *jobs, FILE *out) {
    for (int i = 0; i < jobs->list.n; i++) {
        const Job *j = &jobs->list.at[i];
        const TileAttend *a = j->kind == JOB_ATTEND_BACK ? &j->back.forward : &j->attend;
        if (j->kind == JOB_NEST) {
            kernel_print(j->nest, out);
        } else if (j->kind == JOB_MATMUL) {
            fprintf(out, "matmul %s", j->name);
            print_group(out, "batch", &j->matmul.batch);
            print_group(out, "m", &j->matmul.m);
            print_group(out, "n", &j->matmul.n);
            print_group(out, "k", &j->matmul.k);
            fputc('\n', out);
        } else {
            fprintf(out, "%s %s outer", j->kind == JOB_ATTEND ? "attend" : "attend_back", j->name);
            for (int d = 0; d < a->outer_count; d++) fprintf(out, "%c%" PRId64, d ? 'x' : ' ', a->outer[d]);
            fprintf(out, " queries %" PRId64 " keys %" PRId64 " columns %" PRId64 "%s%s\n", a->queries, a->keys,
                    a->q_columns, a->causal ? " causal" : "", a->masked ? " masked" : "");
        }
        fputc('\n', out);
    }
}
