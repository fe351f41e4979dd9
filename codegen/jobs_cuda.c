// SPDX-License-Identifier: Apache-2.0
// jobs_cuda: the jobs of a unit as CUDA C.
#include "codegen/jobs.h"

static Status render(Jobs *jobs, Job *j, FILE *out) {
    const CudaTarget *target = jobs->cuda;
    switch (j->kind) {
    case JOB_NEST: return cuda_nest(out, target, j->nest, &j->launch);
    case JOB_MATMUL: return cuda_matmul(out, target, j->name, &j->matmul, jobs->tf32, &j->launch);
    case JOB_ATTEND: return cuda_attend(out, target, j->name, &j->attend, &j->launch);
    case JOB_ATTEND_BACK: return cuda_attend_back(out, target, j->name, &j->back, &j->launch);
    }
    return status_make(STATUS_INTERNAL, "kernel '%s' is of no kind", j->name);
}

static const PlanGemm *library_product(Jobs *jobs, const Job *j) {
    if (j->kind != JOB_MATMUL || jobs->gemm == GEMM_GENERATED) return NULL;
    PlanGemm *g = NEW(jobs->arena, PlanGemm);
    return cuda_gemm_describe(&j->matmul, jobs->tf32, g) && cuda_gemm_picks(jobs->cuda, jobs->gemm, g) ? g : NULL;
}

Status jobs_render_cuda(Jobs *jobs, FILE *out) {
    for (int i = 0; i < jobs->list.n; i++) {
        Job *j = &jobs->list.at[i];
        j->gemm = library_product(jobs, j);
        if (j->gemm) {
            j->launch = (CudaLaunch){.blocks = 1};
            j->tasks = 1;
            continue;
        }
        fputc('\n', out);
        STATUS_TRY(render(jobs, j, out));
        j->tasks = j->launch.blocks;
        j->work_bytes = 0;
    }
    return status_ok();
}
