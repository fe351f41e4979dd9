// SPDX-License-Identifier: Apache-2.0
#include "tools/common_processes.h"
#include "runtime/launch.h"
#include "tools/common_built.h"

int processes_join(const char *doing, World **out_world) {
    Launch l;
    Status s = launch_read(&l);
    *out_world = NULL;
    if (!status_failed(&s)) s = launch_world(&l, out_world);
    return status_failed(&s) ? status_report(&s, doing) : 0;
}

Status processes_agree(World *w, Status own, const Plan *plan) {
    STATUS_TRY(world_agree(w, own));
    uint64_t hash = plan->hash;
    STATUS_TRY(world_broadcast(w, 0, &hash, sizeof hash));
    return world_agree(
        w, hash == plan->hash ? own : status_make(STATUS_INVALID, "it has compiled another model than rank 0"));
}

int processes_report(const World *w, const Status *s, const char *doing) {
    if (!w || w->rank == 0) return status_report(s, doing);
    return s->code == STATUS_INTERNAL ? 2 : 1;
}

void processes_end(World *w, const Status *s) {
    if (w && status_failed(s) && !world_all_know(w)) world_abort(w, s);
    world_free(w);
}
