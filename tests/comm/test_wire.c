// SPDX-License-Identifier: Apache-2.0
// The suite on communicators of processes, played by threads with a world each.
#include "runtime/comm_wire.h"
#include "suite.h"
#include "worlds.h"

typedef struct Played {
    Comm comm;
    Worlds worlds;
    const CommOptions *options;
    Comm *of[WORLDS_MOST];
} Played;

static Status played_call(Comm *c, int rank, const CommCall *call) {
    Comm *o = ((Played *)c)->of[rank];
    return o->v->call(o, rank, call);
}
static Status played_post(Comm *c, int rank, const CommMessage *m) {
    Comm *o = ((Played *)c)->of[rank];
    return o->v->post(o, rank, m);
}
static Status played_receive(Comm *c, int rank, const CommMessage *m) {
    Comm *o = ((Played *)c)->of[rank];
    return o->v->receive(o, rank, m);
}
static Status played_wait(Comm *c, int rank, const CommMessage *m) {
    Comm *o = ((Played *)c)->of[rank];
    return o->v->wait(o, rank, m);
}
static Status played_leave(Comm *c, int rank) {
    Comm *o = ((Played *)c)->of[rank];
    return o->v->leave(o, rank);
}
static void played_abort(Comm *c, int rank, const Status *why) {
    Comm *o = ((Played *)c)->of[rank];
    o->v->abort(o, rank, why);
}
static void played_start(Comm *c) {
    Played *p = (Played *)c;
    for (int r = 0; r < p->worlds.n; r++) p->of[r]->v->start(p->of[r]);
}

static void free_one(Worlds *w, int rank, void *context) {
    Played *p = context;
    if (p->of[rank]) p->of[rank]->v->free(p->of[rank]);
    world_free(w->world[rank]);
}

static void played_free(Comm *c) {
    Played *p = (Played *)c;
    worlds_each(&p->worlds, free_one, p);
    free(p);
}

static const CommVtable played_vtable = {.name = "played",
                                         .start = played_start,
                                         .call = played_call,
                                         .post = played_post,
                                         .receive = played_receive,
                                         .wait = played_wait,
                                         .leave = played_leave,
                                         .abort = played_abort,
                                         .free = played_free};

static void make_one(Worlds *w, int rank, void *context) {
    Played *p = context;
    w->status[rank] = comm_wire_make(p->options, w->world[rank], &p->of[rank]);
}

static Status played_make(const CommOptions *options, Comm **out_comm) {
    Played *p = calloc(1, sizeof *p);
    int n = 1;
    for (int i = 0; i < options->nmesh; i++) n *= (int)options->extent[i];
    p->comm.v = &played_vtable;
    p->options = options;
    *out_comm = &p->comm;
    Status s = worlds_open(n, &p->worlds);
    if (!status_failed(&s)) worlds_each(&p->worlds, make_one, p);
    for (int r = 0; r < n && !status_failed(&s); r++) s = p->worlds.status[r];
    return s;
}

int main(void) { return comm_suite("comm_wire", played_make); }
