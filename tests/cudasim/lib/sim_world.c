// SPDX-License-Identifier: Apache-2.0
// Running and waiting. One lock for all; it is let go while a kernel or a copy runs.
#include "sim_world.h"
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const double POLL_AGE = 0.1; // seconds: who was told "not ready" so recently waits
// Seconds without progress before it is called a deadlock: when all wait, and when some only poll, for it may be
// another thread that polls than the one that will submit what is missing.
static const double STUCK_WAITING = 0.2, STUCK_POLLING = 2;

static pthread_mutex_t lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static Context contexts[SIM_DEVICES];
static uint64_t progress, stuck_progress;
static double stuck_since;
static char last_report[SIM_REPORT] = "assertion";

void world_lock(void) { pthread_mutex_lock(&lock); }
void world_unlock(void) { pthread_mutex_unlock(&lock); }
const char *world_last_report(void) { return last_report; }

int world_number(const char *name, int otherwise) {
    const char *text = getenv(name);
    return text && *text ? atoi(text) : otherwise;
}

int world_devices(void) {
    int n = world_number("TGF_CUDASIM_DEVICES", 8);
    return n < 0 ? 0 : n > SIM_DEVICES ? SIM_DEVICES : n;
}

double world_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void world_report(const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(last_report, sizeof last_report, format, args);
    va_end(args);
    fprintf(stderr, "cudasim: %s\n", last_report);
}

Context *world_device(int device) {
    if (device < 0 || device >= world_devices()) return NULL;
    Context *c = &contexts[device];
    if (!c->made) {
        c->made = true;
        c->device = device;
        c->random = (uint64_t)world_number("TGF_CUDASIM_SEED", 1) * 1000003 + (uint64_t)device;
    }
    return c;
}

// ---- ops

Work *work_make(int kind, const char *label) {
    Work *w = calloc(1, sizeof *w);
    if (!w) abort();
    w->kind = kind;
    w->refs = 1;
    w->rows = 1;
    snprintf(w->label, sizeof w->label, "%s", label);
    return w;
}

void work_release(Work *w) {
    if (!w || --w->refs) return;
    if (w->external && w->external->release) w->external->release(w->data);
    for (int i = 0; w->params && i < w->kernel->nparams; i++) free(w->params[i]);
    free(w->params);
    free(w->own);
    free(w);
}

Op *op_make(Context *c, Work *work, int lane, int stream) {
    Op *op = calloc(1, sizeof *op);
    if (!op) abort();
    op->context = c;
    op->work = work;
    work->refs++;
    op->lane = lane;
    op->stream = stream;
    op->refs = 1;
    memcpy(op->after, c->host, sizeof op->after);
    return op;
}

void op_release(Op *op) {
    if (!op || --op->refs) return;
    work_release(op->work);
    free(op->state);
    free(op->next);
    free(op);
}

void op_depend(Op *op, Op *on, bool ordered) {
    if (!on || on == op) return;
    if (ordered)
        for (int i = 0; i < SIM_LANES; i++)
            if (on->after[i] > op->after[i]) op->after[i] = on->after[i];
    if (on->done) return;
    if (on->nnext == on->next_cap) {
        on->next_cap = on->next_cap ? 2 * on->next_cap : 4;
        on->next = realloc(on->next, (size_t)on->next_cap * sizeof *on->next);
        if (!on->next) abort();
    }
    on->next[on->nnext++] = op;
    op->waits_for++;
}

static void make_ready(Op *op) {
    Context *c = op->context;
    if (c->nready == c->ready_cap) {
        c->ready_cap = c->ready_cap ? 2 * c->ready_cap : 16;
        c->ready = realloc(c->ready, (size_t)c->ready_cap * sizeof *c->ready);
        if (!c->ready) abort();
    }
    c->ready[c->nready++] = op;
}

void op_submit(Op *op) {
    Context *c = op->context;
    Lane *l = &c->lane[op->lane];
    op->stamp = op->after[op->lane] = ++l->stamp;
    Place *p = &l->places[op->stamp % SIM_PLACES];
    p->stamp = op->stamp;
    snprintf(p->label, sizeof p->label, "%s on stream %d", op->work->label, op->stream);
    op->refs++; // until it ends
    op->submitted = true;
    c->pending++;
    c->polled = 0;
    progress++;
    if (op->work->external) op->work->external->begin(op);
    if (!op->waits_for) make_ready(op);
    pthread_cond_broadcast(&changed);
}

const char *lane_label(Context *c, int lane, uint32_t stamp) {
    const Place *p = &c->lane[lane].places[stamp % SIM_PLACES];
    return p->stamp == stamp ? p->label : "an op long ago";
}

static void unready(Op *op) {
    Context *c = op->context;
    for (int i = 0; i < c->nready; i++)
        if (c->ready[i] == op) {
            c->ready[i] = c->ready[--c->nready];
            return;
        }
}

void op_finish(Op *op) {
    if (op->done) return;
    unready(op);
    op->done = true;
    op->time = world_now();
    for (int i = 0; i < op->nnext; i++)
        if (!--op->next[i]->waits_for && op->next[i]->submitted) make_ready(op->next[i]);
    op->nnext = 0;
    op->context->pending--;
    progress++;
    op_release(op);
    pthread_cond_broadcast(&changed);
}

// ---- contexts

int context_lane(Context *c) {
    for (int i = 0; i < SIM_LANES; i++) {
        Lane *l = &c->lane[i];
        if (l->used) continue;
        l->used = true;
        if (!l->places) l->places = calloc(SIM_PLACES, sizeof *l->places);
        if (!l->places) abort();
        return i;
    }
    return -1;
}

void context_saw(Context *c, const Op *op) {
    for (int i = 0; i < SIM_LANES; i++)
        if (op->after[i] > c->host[i]) c->host[i] = op->after[i];
}

static void saw_all(Context *c) {
    for (int i = 0; i < SIM_LANES; i++) c->host[i] = c->lane[i].stamp;
}

void context_fault(Context *c, const char *why) {
    world_report("device %d: %s", c->device, why);
    c->error = SIM_FAULT;
    pthread_cond_broadcast(&changed);
}

void context_settle(Context *c) {
    while (c->running) pthread_cond_wait(&changed, &lock);
}

// Everything submitted is dropped.
void context_reset(Context *c) {
    context_settle(c);
    // Ops wait for ready ones only: ending those without running them ends all.
    while (c->nready) {
        Op *op = c->ready[0];
        if (op->work->external) op->work->external->forget(op);
        op_finish(op);
    }
    c->error = 0;
    c->polled = 0;
    saw_all(c);
}

static bool op_can_run(Op *op) { return !op->failed && (!op->work->external || op->work->external->ready(op)); }

static bool kernel_touch(void *context, uintptr_t at, size_t bytes, bool write, char *why, size_t size) {
    return memory_touch(context, at, bytes, write, why, size);
}

static bool touch_rows(Op *op, const char *at, size_t pitch, bool write, char *why, size_t size) {
    const Work *w = op->work;
    for (size_t i = 0; i < w->rows; i++)
        if (!memory_touch(op, (uintptr_t)at + i * pitch, w->bytes, write, why, size)) return false;
    return true;
}

// Without the lock. False: what went wrong.
static bool op_run(Op *op, uint64_t seed, char *why, size_t size) {
    const Work *w = op->work;
    char reason[400];
    bool ok = true;
    if (w->kind == WORK_COPY) {
        const char *from = w->own ? w->own : w->from;
        ok = (w->own || touch_rows(op, from, w->from_pitch, false, reason, sizeof reason)) &&
             touch_rows(op, w->to, w->to_pitch, true, reason, sizeof reason);
        for (size_t i = 0; ok && i < w->rows; i++) memmove(w->to + i * w->to_pitch, from + i * w->from_pitch, w->bytes);
    } else if (w->kind == WORK_SET) {
        ok = touch_rows(op, w->to, w->to_pitch, true, reason, sizeof reason);
        for (size_t i = 0; ok && i < w->rows; i++)
            for (size_t j = 0; j < w->bytes; j += (size_t)w->unit)
                memcpy(w->to + i * w->to_pitch + j, &w->value, (size_t)w->unit);
    } else if (w->kind == WORK_KERNEL) {
        SimLaunch l = {w->kernel,
                       w->params,
                       {w->grid[0], w->grid[1], w->grid[2]},
                       {w->block[0], w->block[1], w->block[2]},
                       w->shared_bytes,
                       seed,
                       kernel_touch,
                       op};
        char error[SIM_ERROR];
        if (sim_run(&l, error)) return true;
        snprintf(why, size, "%s (stream %d)", error, op->stream);
        return false;
    }
    if (!ok) snprintf(why, size, "%s on stream %d: %s", w->label, op->stream, reason);
    return ok;
}

static Op *pick(Context *c) {
    int first = c->nready ? (int)(sim_random(&c->random) % (uint64_t)c->nready) : 0;
    for (int i = 0; i < c->nready; i++) {
        Op *op = c->ready[(first + i) % c->nready];
        if (op_can_run(op)) return op;
    }
    return NULL;
}

static void execute(Op *op) {
    Context *c = op->context;
    if (op->work->external) {
        op->work->external->run(op);
        return;
    }
    char why[SIM_ERROR + 40];
    uint64_t seed = sim_random(&c->random);
    unready(op);
    c->running = true;
    world_unlock();
    bool ok = op_run(op, seed, why, sizeof why);
    world_lock();
    c->running = false;
    if (!ok) context_fault(c, why);
    op_finish(op);
}

void context_advance(Context *c, int most) {
    for (int i = 0; i < most && !c->error && !c->running; i++) {
        Op *op = pick(c);
        if (!op) return;
        execute(op);
    }
}

// ---- deadlocks: a device is stuck when somebody waits for it, nothing of it can run, and all it waits for are stuck

static bool is_stuck(Context *c, bool *seen) {
    if (seen[c->device]) return true;
    seen[c->device] = true;
    if (c->error) return true;
    if (c->running || (!c->waiters && (c->polled == 0 || world_now() - c->polled > POLL_AGE))) return false;
    for (int i = 0; i < c->nready; i++)
        if (op_can_run(c->ready[i])) return false;
    for (int i = 0; i < c->nready; i++) {
        Op *op = c->ready[i];
        Context *peers[SIM_DEVICES];
        if (op->failed) continue;
        int n = op->work->external->missing(op, peers, SIM_DEVICES);
        for (int j = 0; j < n; j++)
            if (!is_stuck(peers[j], seen)) return false;
    }
    return true;
}

static void report_deadlock(const bool *seen) {
    char text[SIM_REPORT - 40] = "";
    size_t n = 0;
    for (int d = 0; d < SIM_DEVICES; d++)
        for (int i = 0; seen[d] && i < contexts[d].nready; i++) {
            Op *op = contexts[d].ready[i];
            char one[300];
            if (op->failed) continue;
            op->work->external->describe(op, one, sizeof one);
            if (n + 20 < sizeof text) n += (size_t)snprintf(text + n, sizeof text - n, "%s%s", n ? "; " : "", one);
            if (n >= sizeof text) n = sizeof text - 1;
        }
    world_report("deadlock, nobody can go on: %s", text);
    char why[SIM_REPORT];
    snprintf(why, sizeof why, "%s", last_report);
    for (int d = 0; d < SIM_DEVICES; d++)
        for (int i = 0; seen[d] && i < contexts[d].nready; i++) {
            Op *op = contexts[d].ready[i];
            if (!op->failed) op->work->external->fail(op, why);
        }
}

static void check_stuck(Context *c) {
    bool seen[SIM_DEVICES] = {false}, live = false, polls = false;
    for (int i = 0; i < c->nready; i++) live = live || !c->ready[i]->failed;
    if (!live || !is_stuck(c, seen)) {
        stuck_since = 0;
        return;
    }
    if (stuck_since == 0 || stuck_progress != progress) {
        stuck_since = world_now();
        stuck_progress = progress;
        return;
    }
    for (int d = 0; d < SIM_DEVICES; d++) polls = polls || (seen[d] && !contexts[d].waiters && !contexts[d].error);
    if (world_now() - stuck_since > (polls ? STUCK_POLLING : STUCK_WAITING)) {
        report_deadlock(seen);
        stuck_since = 0;
    }
}

void context_poll(Context *c) {
    context_advance(c, (int)(sim_random(&c->random) % 3));
    c->polled = 0;
    if (!c->pending) return;
    c->polled = world_now();
    if (!c->running && !c->error && c->nready) check_stuck(c);
}

int context_wait(Context *c, const Op *ended) {
    while (!c->error && (ended ? !ended->done : c->pending > 0)) {
        Op *op = c->running ? NULL : pick(c);
        if (op) {
            execute(op);
            continue;
        }
        bool failed = !c->running && c->nready > 0;
        for (int i = 0; i < c->nready; i++) failed = failed && c->ready[i]->failed;
        if (failed) {
            c->error = SIM_FAULT;
            break;
        }
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 20 * 1000 * 1000;
        if (until.tv_nsec >= 1000000000) until.tv_sec++, until.tv_nsec -= 1000000000;
        c->waiters++;
        pthread_cond_timedwait(&changed, &lock, &until);
        if (!c->running && !c->error) check_stuck(c);
        c->waiters--;
    }
    if (c->error) return c->error;
    if (ended) context_saw(c, ended);
    else saw_all(c);
    return SIM_OK;
}
