// SPDX-License-Identifier: Apache-2.0
#include "worlds.h"
#include <string.h>

typedef struct One {
    Worlds *w;
    int rank;
    WorldsFn *fn;
    void *context;
} One;

static void *run_one(void *context) {
    One *o = context;
    o->fn(o->w, o->rank, o->context);
    return NULL;
}

void worlds_each(Worlds *w, WorldsFn *fn, void *context) {
    One one[WORLDS_MOST];
    pthread_t thread[WORLDS_MOST];
    for (int r = 0; r < w->n; r++) {
        one[r] = (One){w, r, fn, context};
        pthread_create(&thread[r], NULL, run_one, &one[r]);
    }
    for (int r = 0; r < w->n; r++) pthread_join(thread[r], NULL);
}

typedef struct Meeting { // how the others learn rank 0's port
    pthread_mutex_t lock;
    pthread_cond_t known;
    int port;
} Meeting;

static void tell_port(void *context, int port) {
    Meeting *m = context;
    pthread_mutex_lock(&m->lock);
    m->port = port;
    pthread_cond_broadcast(&m->known);
    pthread_mutex_unlock(&m->lock);
}

static void open_one(Worlds *w, int rank, void *context) {
    Meeting *m = context;
    WorldTcpOptions o = {.rank = rank,
                         .size = w->n,
                         .local = rank,
                         .host = "localhost",
                         .nonce = "worlds",
                         .timeout_ms = 20000,
                         .on_port = tell_port,
                         .context = m};
    if (rank) {
        pthread_mutex_lock(&m->lock);
        while (!m->port) pthread_cond_wait(&m->known, &m->lock);
        o.port = m->port;
        pthread_mutex_unlock(&m->lock);
    }
    w->status[rank] = world_tcp_make(&o, &w->world[rank]);
    if (!rank) tell_port(m, -1); // lets the others go on when there is none
}

Status worlds_open(int n, Worlds *out) {
    Meeting m = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0};
    *out = (Worlds){.n = n};
    worlds_each(out, open_one, &m);
    for (int r = 0; r < n; r++)
        if (status_failed(&out->status[r])) return out->status[r];
    return status_ok();
}

static void close_one(Worlds *w, int rank, void *context) {
    (void)context;
    world_free(w->world[rank]);
    w->world[rank] = NULL;
}

void worlds_close(Worlds *w) { worlds_each(w, close_one, NULL); }
