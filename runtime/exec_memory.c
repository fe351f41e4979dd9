// SPDX-License-Identifier: Apache-2.0
// exec memory: what the ranks' memory comes to, and slabs that the caller's own allocator gives. It is asked on the
// calling thread, one rank after the other, so that it need not know of threads.
#include "runtime/program.h"
#include <stdlib.h>

Status program_take_slabs(Program *p) {
    const ProgramMemorySource *m = &p->options.memory;
    if (!m->allocate) return status_ok();
    if (p->cuda)
        return status_make(STATUS_UNSUPPORTED,
                           "the model '%s' is compiled for %s: its slab is the GPU's memory, an allocator of the "
                           "caller's is for CPUs",
                           p->plan->model, p->plan->target);
    if (!(p->slabs = calloc((size_t)p->nranks, sizeof *p->slabs)))
        return status_make(STATUS_MEMORY, "no memory for %d ranks", p->nranks);
    for (int r = p->first; r < p->first + p->nlocal; r++) {
        int64_t bytes = p->plan->stages[p->ranks[r].stage].slab_bytes;
        if (!bytes) continue;
        p->slabs[r] = m->allocate(m->user, bytes, PLAN_ALIGN, r);
        if (!p->slabs[r])
            return status_make(STATUS_MEMORY, "the caller's allocator has no %lld bytes for the slab of rank %d",
                               (long long)bytes, r);
        if ((uintptr_t)p->slabs[r] % PLAN_ALIGN)
            return status_make(STATUS_INVALID, "the caller's slab of rank %d is not at a multiple of %d", r,
                               PLAN_ALIGN);
    }
    return status_ok();
}

void program_give_slabs(Program *p) {
    const ProgramMemorySource *m = &p->options.memory;
    for (int r = 0; p->slabs && r < p->nranks; r++)
        if (p->slabs[r]) m->release(m->user, p->slabs[r], p->plan->stages[p->ranks[r].stage].slab_bytes, r);
    free(p->slabs);
}

ProgramMemory program_memory(const Program *p, int rank) {
    const Device *d = p->ranks[rank].device ? p->ranks[rank].device : p->ranks[p->first].device;
    int stage = p->ranks[rank].stage;
    return (ProgramMemory){.slab = d->slab_bytes,
                           .scratch = d->scratch_bytes,
                           .host = p->plan->stages[stage].host_bytes,
                           .planned = p->plan->stages[stage].slab_bytes,
                           .used = plan_used_bytes(p->plan, stage),
                           .ranks = p->nranks};
}
