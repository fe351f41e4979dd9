// SPDX-License-Identifier: Apache-2.0
// tgf world: which processes a model runs on: those of the environment, of the caller's communicator, or of an address.
#include "runtime/comm_nccl.h"
#include "runtime/launch.h"
#include "runtime/tgf_model.h"
#include <stdio.h>

static Status check_options(const TgfOptions *o) {
    int ways = (o->processes != 0) + (o->mpi != NULL) + (o->host != NULL);
    if (ways > 1)
        return status_make(STATUS_INVALID, "TgfOptions: %s; the processes are told of in one way",
                           o->processes && o->mpi ? "processes and mpi"
                           : o->processes         ? "processes and host"
                                                  : "mpi and host");
    if (o->host && (o->port < 1 || o->port > 65535))
        return status_make(STATUS_INVALID, "TgfOptions: port %d is none", o->port);
    if (o->host && (o->ranks < 1 || o->ranks > WORLD_RANKS || o->rank < 0 || o->rank >= o->ranks))
        return status_make(STATUS_INVALID, "TgfOptions: rank %d of %d", o->rank, o->ranks);
    if (!ways && !o->nccl && (o->rank || o->ranks))
        return status_make(STATUS_INVALID, "TgfOptions: rank %d of %d, and nothing that says of what", o->rank,
                           o->ranks);
    return status_ok();
}

static Status describe(const TgfOptions *o, Launch *l) {
    if (o->processes) return launch_read(l);
    *l = (Launch){.rank = o->rank, .size = o->ranks, .local = -1, .port = o->port};
    if (o->mpi) {
        l->mpi = true;
        l->mpi_comm = o->mpi;
        return launch_times(l);
    }
    const char *secret = o->secret ? o->secret : "";
    if (snprintf(l->host, sizeof l->host, "%s", o->host) >= (int)sizeof l->host)
        return status_make(STATUS_INVALID, "TgfOptions: the host's name is too long");
    if (snprintf(l->nonce, sizeof l->nonce, "%s", secret) >= (int)sizeof l->nonce)
        return status_make(STATUS_INVALID, "TgfOptions: the secret is too long (at most %d bytes)",
                           (int)sizeof l->nonce - 1);
    return launch_times(l);
}

static Status check_place(const TgfOptions *o, const World *w) {
    if (!o->ranks || (o->ranks == w->size && o->rank == w->rank)) return status_ok();
    return status_make(STATUS_INVALID, "TgfOptions says rank %d of %d, the communicator rank %d of %d", o->rank,
                       o->ranks, w->rank, w->size);
}

Status model_join(const TgfOptions *o, World **out_world) {
    Launch l;
    *out_world = NULL;
    STATUS_TRY(check_options(o));
    bool told = o->processes || o->mpi || o->host;
    if (!told && !o->nccl) return status_ok();
    if (told) STATUS_TRY(describe(o, &l));
    if (told) STATUS_TRY(launch_world(&l, out_world));
    else STATUS_TRY(comm_nccl_world(o->nccl, out_world));
    Status s = *out_world ? world_agree(*out_world, check_place(o, *out_world)) : status_ok();
    if (!status_failed(&s)) return s;
    world_free(*out_world); // all know
    *out_world = NULL;
    return s;
}

Status model_agree(World *w, const TgfModule *module) {
    Arena *arena = arena_new();
    Plan *plan = NULL;
    Status s = plan_parse(arena, strtable_new(arena), module->plan, module->plan_bytes, &plan);
    uint64_t hash = status_failed(&s) ? 0 : plan->hash, first = hash;
    if (!status_failed(&s) && plan_ranks(plan) != w->size)
        s = status_make(STATUS_INVALID, "the model '%s' runs on %lld ranks, there are %d processes", plan->model,
                        (long long)plan_ranks(plan), w->size);
    arena_free(arena);
    STATUS_TRY(world_agree(w, s));
    STATUS_TRY(world_broadcast(w, 0, &first, sizeof first));
    return world_agree(w, hash == first ? status_ok()
                                        : status_make(STATUS_INVALID, "it has opened another model than rank 0"));
}
