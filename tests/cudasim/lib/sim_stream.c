// SPDX-License-Identifier: Apache-2.0
// Streams, events, capture, graphs. A stream is its last op: the next one depends on it. While a stream is captured,
// work becomes nodes of a graph instead; its position is the set of nodes that the next one depends on.
#include "sim_driver.h"
#include <stdlib.h>
#include <string.h>

enum { MODE_THREAD_LOCAL = 1, MODE_RELAXED = 2 };
static _Thread_local int thread_captures, thread_mode;

static void ends_add(Ends *e, int node) {
    int at = 0;
    while (at < e->count && e->node[at] < node) at++;
    if (at < e->count && e->node[at] == node) return;
    if (e->count == e->cap) {
        e->cap = e->cap ? 2 * e->cap : 4;
        e->node = realloc(e->node, (size_t)e->cap * sizeof *e->node);
        if (!e->node) abort();
    }
    for (int i = e->count++; i > at; i--) e->node[i] = e->node[i - 1];
    e->node[at] = node;
}
static void ends_copy(Ends *to, const Ends *from, bool keep) {
    if (!keep) to->count = 0;
    for (int i = 0; i < from->count; i++) ends_add(to, from->node[i]);
}

// ---- streams

Stream *stream_make(Context *c, bool blocking) {
    int lane = context_lane(c);
    if (lane < 0) return NULL;
    Stream *s = calloc(1, sizeof *s);
    if (!s) abort();
    *s = (Stream){.context = c, .number = c->nstreams++, .lane = lane, .blocking = blocking, .next = c->streams};
    c->streams = s;
    return s;
}

static void stream_free(Stream *s) {
    s->context->lane[s->lane].used = false;
    op_release(s->tail);
    free(s->ends.node);
    free(s);
}

void streams_free(Context *c) {
    while (c->streams) {
        Stream *next = c->streams->next;
        stream_free(c->streams);
        c->streams = next;
    }
    c->legacy = NULL;
    c->nstreams = 0;
}

Stream *stream_of(void *handle) {
    Context *c = current();
    if ((uintptr_t)handle > 2) return handle;
    if (c && !c->legacy) c->legacy = stream_make(c, true);
    return c ? c->legacy : NULL;
}
bool stream_is_capturing(Stream *s) { return s->capture; }
Context *stream_context(Stream *s) { return s->context; }
int stream_number(Stream *s) { return s->number; }

static int capture_add(Stream *s, Work *work) {
    Capture *g = s->capture;
    if (g->invalid) return SIM_CAPTURE_INVALIDATED;
    if (g->nnodes == g->nodes_cap) {
        g->nodes_cap = g->nodes_cap ? 2 * g->nodes_cap : 64;
        g->nodes = realloc(g->nodes, (size_t)g->nodes_cap * sizeof *g->nodes);
        if (!g->nodes) abort();
    }
    Node *n = &g->nodes[g->nnodes];
    *n = (Node){work, s->capture_lane, s->number, s->ends.count, s->ends.count, NULL};
    work->refs++;
    n->deps = malloc((size_t)(n->ndeps + 1) * sizeof *n->deps);
    if (!n->deps) abort();
    if (n->ndeps) memcpy(n->deps, s->ends.node, (size_t)n->ndeps * sizeof *n->deps);
    s->ends.count = 0;
    ends_add(&s->ends, g->nnodes++);
    return SIM_OK;
}

static Op *stream_op(Stream *s, Work *work) {
    Context *c = s->context;
    Op *op = op_make(c, work, s->lane, s->number);
    op_depend(op, s->tail, true);
    if (s == c->legacy) {
        for (Stream *o = c->streams; o; o = o->next)
            if (o->blocking) op_depend(op, o->tail, true);
    } else if (s->blocking && c->legacy) op_depend(op, c->legacy->tail, true);
    return op;
}

static void stream_put(Stream *s, Op *op) {
    op_submit(op);
    op_release(s->tail);
    s->tail = op;
}

static int legacy_check(Stream *s) {
    if (s != s->context->legacy) return SIM_OK;
    for (Stream *o = s->context->streams; o; o = o->next)
        if (o->capture && o->blocking) {
            o->capture->invalid = true;
            return SIM_CAPTURE_IMPLICIT;
        }
    return SIM_OK;
}

int stream_submit(Stream *s, Work *work, Op **out_op) {
    if (out_op) *out_op = NULL;
    if (s->context->error) return s->context->error;
    if (s->capture) return capture_add(s, work);
    int bad = legacy_check(s);
    if (bad) return bad;
    Op *op = stream_op(s, work);
    stream_put(s, op);
    if (out_op) *out_op = op;
    return SIM_OK;
}

int capture_forbids(Context *c) {
    if (!thread_captures || thread_mode == MODE_RELAXED) return SIM_OK;
    for (Stream *s = c ? c->streams : NULL; s; s = s->next)
        if (s->capture && s->capture->mode != MODE_RELAXED) {
            s->capture->invalid = true;
            return SIM_CAPTURE_UNSUPPORTED;
        }
    return SIM_OK;
}

EXPORT int cuStreamCreateWithPriority(void **out, unsigned flags, int priority) {
    (void)priority;
    Context *c = current();
    if (!c) return SIM_INVALID_CONTEXT;
    if (flags > 1) return SIM_INVALID_VALUE;
    world_lock();
    stream_of(NULL);
    Stream *s = stream_make(c, !(flags & 1));
    world_unlock();
    *out = s;
    return s ? SIM_OK : SIM_OUT_OF_MEMORY;
}
EXPORT int cuStreamCreate(void **out, unsigned flags) { return cuStreamCreateWithPriority(out, flags, 0); }

EXPORT int cuStreamDestroy_v2(void *handle) {
    Stream *s = handle;
    if ((uintptr_t)s <= 2) return SIM_INVALID_HANDLE;
    world_lock();
    int bad = s->capture ? SIM_CAPTURE_UNSUPPORTED : s->tail ? context_wait(s->context, s->tail) : SIM_OK;
    for (Stream **p = &s->context->streams; *p; p = &(*p)->next)
        if (*p == s) {
            *p = s->next;
            break;
        }
    stream_free(s);
    world_unlock();
    return bad;
}

static int stream_refuses_waiting(Stream *s) {
    if (s->capture) {
        s->capture->invalid = true;
        return SIM_CAPTURE_UNSUPPORTED;
    }
    int bad = capture_forbids(s->context);
    return bad ? bad : legacy_check(s);
}

EXPORT int cuStreamSynchronize(void *handle) {
    world_lock();
    Stream *s = stream_of(handle);
    int bad = s ? stream_refuses_waiting(s) : SIM_INVALID_CONTEXT;
    if (!bad) {
        Work *join = work_make(WORK_NOTHING, "synchronize");
        Op *op = NULL;
        if (s == s->context->legacy) bad = stream_submit(s, join, &op); // behind all blocking streams
        work_release(join);
        if (!bad) bad = s->tail ? context_wait(s->context, s->tail) : s->context->error;
    }
    world_unlock();
    return bad;
}

static int op_query(Context *c, const Op *op) {
    if (!c->error && op && !op->done) context_poll(c);
    if (c->error) return c->error;
    if (op && !op->done) return SIM_NOT_READY;
    c->polled = 0;
    if (op) context_saw(c, op);
    return SIM_OK;
}

EXPORT int cuStreamQuery(void *handle) {
    world_lock();
    Stream *s = stream_of(handle);
    int bad = s ? stream_refuses_waiting(s) : SIM_INVALID_CONTEXT;
    if (!bad) bad = op_query(s->context, s->tail);
    world_unlock();
    return bad;
}

EXPORT int cuCtxSynchronize(void) {
    Context *c = current();
    if (!c) return SIM_INVALID_CONTEXT;
    world_lock();
    int bad = capture_forbids(c);
    if (!bad) bad = context_wait(c, NULL);
    world_unlock();
    return bad;
}

// ---- events

EXPORT int cuEventCreate(void **out, unsigned flags) {
    Context *c = current();
    if (!c) return SIM_INVALID_CONTEXT;
    Event *e = calloc(1, sizeof *e);
    if (!e) return SIM_OUT_OF_MEMORY;
    e->context = c;
    e->timed = !(flags & 2);
    *out = e;
    return SIM_OK;
}

static void capture_release(Capture *g) {
    if (g && !--g->refs) free(g);
}

EXPORT int cuEventDestroy_v2(void *handle) {
    Event *e = handle;
    if (!e) return SIM_INVALID_HANDLE;
    world_lock();
    op_release(e->op);
    capture_release(e->capture);
    world_unlock();
    free(e->ends.node);
    free(e);
    return SIM_OK;
}

EXPORT int cuEventRecord(void *handle, void *stream) {
    Event *e = handle;
    world_lock();
    Stream *s = stream_of(stream);
    int bad = !e || !s || s->context != e->context ? SIM_INVALID_HANDLE : SIM_OK;
    if (!bad && s->capture) {
        s->capture->refs++;
        capture_release(e->capture);
        e->capture = s->capture;
        ends_copy(&e->ends, &s->ends, false);
        bad = s->capture->invalid ? SIM_CAPTURE_INVALIDATED : SIM_OK;
    } else if (!bad) {
        Work *w = work_make(WORK_NOTHING, "event");
        Op *op = NULL;
        bad = stream_submit(s, w, &op);
        work_release(w);
        if (!bad) {
            capture_release(e->capture);
            e->capture = NULL;
            op_release(e->op);
            e->op = op_keep(op);
        }
    }
    world_unlock();
    return bad;
}

static int wait_captured(Stream *s, Event *e) {
    if (e->capture->ended) return SIM_CAPTURED_EVENT;
    if (s->capture && s->capture != e->capture) {
        s->capture->invalid = e->capture->invalid = true;
        return SIM_CAPTURE_MERGE;
    }
    if (!s->capture) { // joins the capture
        s->capture = e->capture;
        s->capture_lane = e->capture->nstreams++;
        s->ends.count = 0;
    }
    ends_copy(&s->ends, &e->ends, true);
    return s->capture->invalid ? SIM_CAPTURE_INVALIDATED : SIM_OK;
}

EXPORT int cuStreamWaitEvent(void *stream, void *handle, unsigned flags) {
    (void)flags;
    Event *e = handle;
    world_lock();
    Stream *s = stream_of(stream);
    int bad = !e || !s ? SIM_INVALID_HANDLE : s->context != e->context ? SIM_NOT_SUPPORTED : SIM_OK;
    if (!bad && e->capture) bad = wait_captured(s, e);
    else if (!bad && s->capture) { // what was recorded outside cannot be waited for inside
        s->capture->invalid = true;
        bad = SIM_CAPTURE_ISOLATION;
    } else if (!bad && e->op) {
        bad = s->context->error ? s->context->error : legacy_check(s);
        if (!bad) {
            Work *w = work_make(WORK_NOTHING, "wait for an event");
            Op *op = stream_op(s, w);
            work_release(w);
            op_depend(op, e->op, true);
            stream_put(s, op);
        }
    }
    world_unlock();
    return bad;
}

static int event_refuses(Event *e) {
    if (!e) return SIM_INVALID_HANDLE;
    if (e->capture) {
        e->capture->invalid = true;
        return SIM_CAPTURED_EVENT;
    }
    return capture_forbids(e->context);
}

EXPORT int cuEventQuery(void *handle) {
    Event *e = handle;
    world_lock();
    int bad = event_refuses(e);
    if (!bad) bad = op_query(e->context, e->op);
    world_unlock();
    return bad;
}

EXPORT int cuEventSynchronize(void *handle) {
    Event *e = handle;
    world_lock();
    int bad = event_refuses(e);
    if (!bad) bad = e->op ? context_wait(e->context, e->op) : e->context->error;
    world_unlock();
    return bad;
}

EXPORT int cuEventElapsedTime(float *out_ms, void *from, void *to) {
    Event *a = from, *b = to;
    if (!a || !b || !a->timed || !b->timed || !a->op || !b->op) return SIM_INVALID_HANDLE;
    world_lock();
    int bad = a->context->error ? a->context->error : a->op->done && b->op->done ? SIM_OK : SIM_NOT_READY;
    if (!bad) *out_ms = (float)((b->op->time - a->op->time) * 1e3);
    world_unlock();
    return bad;
}
EXPORT int cuEventElapsedTime_v2(float *out_ms, void *from, void *to) { return cuEventElapsedTime(out_ms, from, to); }

// ---- capture

EXPORT int cuStreamBeginCapture_v2(void *stream, int mode) {
    world_lock();
    Stream *s = stream_of(stream);
    int bad = SIM_OK;
    if (!s || mode < 0 || mode > 2) bad = SIM_INVALID_VALUE;
    else if (s == s->context->legacy) bad = SIM_CAPTURE_UNSUPPORTED;
    else if (s->capture) bad = SIM_CAPTURE_UNSUPPORTED;
    else {
        Capture *g = calloc(1, sizeof *g);
        if (!g) abort();
        g->refs = 1;
        g->origin = s;
        g->mode = mode;
        g->nstreams = 1;
        s->capture = g;
        s->capture_lane = 0;
        s->ends.count = 0;
        thread_captures++;
    }
    world_unlock();
    return bad;
}

static void nodes_free(Node *nodes, int n) {
    for (int i = 0; i < n; i++) {
        work_release(nodes[i].work);
        free(nodes[i].deps);
    }
    free(nodes);
}

// Is every node of the other streams behind which nothing follows one the origin's position follows?
static bool is_joined(const Capture *g, const Ends *joined) {
    bool *reached = calloc((size_t)g->nnodes + 1, 1);
    if (!reached) abort();
    for (int i = 0; i < joined->count; i++) reached[joined->node[i]] = true;
    bool all = true;
    for (int i = g->nnodes - 1; i >= 0; i--) {
        all = all && reached[i];
        for (int j = 0; reached[i] && j < g->nodes[i].ndeps; j++) reached[g->nodes[i].deps[j]] = true;
    }
    free(reached);
    return all;
}

EXPORT int cuStreamEndCapture(void *stream, void **out_graph) {
    world_lock();
    Stream *s = stream_of(stream);
    Capture *g = s ? s->capture : NULL;
    *out_graph = NULL;
    if (!g || g->origin != s) {
        if (g) g->invalid = true;
        world_unlock();
        return g ? SIM_CAPTURE_UNMATCHED : SIM_INVALID_VALUE;
    }
    int bad = g->invalid ? SIM_CAPTURE_INVALIDATED : is_joined(g, &s->ends) ? SIM_OK : SIM_CAPTURE_UNJOINED;
    thread_captures--;
    for (Stream *o = s->context->streams; o; o = o->next)
        if (o->capture == g) o->capture = NULL;
    if (!bad) {
        Graph *graph = calloc(1, sizeof *graph);
        if (!graph) abort();
        *graph = (Graph){g->nnodes, g->nstreams, g->nodes};
        *out_graph = graph;
    } else nodes_free(g->nodes, g->nnodes);
    g->ended = true; // events recorded in it may not be used before they are recorded again
    g->nodes = NULL;
    capture_release(g);
    world_unlock();
    return bad;
}

EXPORT int cuStreamIsCapturing(void *stream, int *out_status) {
    world_lock();
    Stream *s = stream_of(stream);
    *out_status = !s || !s->capture ? 0 : s->capture->invalid ? 2 : 1;
    world_unlock();
    return s ? SIM_OK : SIM_INVALID_CONTEXT;
}

EXPORT int cuThreadExchangeStreamCaptureMode(int *mode) {
    int old = thread_mode;
    if (*mode < 0 || *mode > 2) return SIM_INVALID_VALUE;
    thread_mode = *mode;
    *mode = old;
    return SIM_OK;
}

// ---- graphs

typedef struct Exec {
    Context *context;
    int nnodes, nstreams;
    Node *nodes;
    int *lane;
    Op *last; // of its last launch
} Exec;

EXPORT int cuGraphInstantiateWithFlags(void **out, void *handle, unsigned long long flags) {
    (void)flags;
    Graph *g = handle;
    Context *c = current();
    if (!g || !c) return SIM_INVALID_VALUE;
    world_lock();
    Exec *e = calloc(1, sizeof *e);
    if (!e) abort();
    *e = (Exec){c,
                g->nnodes,
                g->nstreams,
                calloc((size_t)g->nnodes + 1, sizeof(Node)),
                calloc((size_t)g->nstreams, sizeof(int)),
                NULL};
    if (!e->nodes || !e->lane) abort();
    for (int i = 0; i < g->nnodes; i++) {
        Node *n = &e->nodes[i];
        *n = g->nodes[i];
        n->work->refs++;
        n->deps = malloc((size_t)(n->ndeps + 1) * sizeof *n->deps);
        if (!n->deps) abort();
        memcpy(n->deps, g->nodes[i].deps, (size_t)n->ndeps * sizeof *n->deps);
    }
    bool enough = true;
    for (int i = 0; i < g->nstreams; i++) enough = (e->lane[i] = context_lane(c)) >= 0 && enough;
    world_unlock();
    *out = e;
    return enough ? SIM_OK : SIM_OUT_OF_MEMORY;
}

EXPORT int cuGraphUpload(void *exec, void *stream) {
    (void)stream;
    return exec ? SIM_OK : SIM_INVALID_VALUE;
}

EXPORT int cuGraphLaunch(void *handle, void *stream) {
    Exec *e = handle;
    world_lock();
    Stream *s = stream_of(stream);
    int bad = !e || !s || s->context != e->context ? SIM_INVALID_VALUE : s->context->error;
    if (!bad && s->capture) {
        s->capture->invalid = true;
        bad = SIM_CAPTURE_UNSUPPORTED;
    }
    if (!bad) bad = legacy_check(s);
    if (!bad) {
        Work *nothing = work_make(WORK_NOTHING, "graph");
        Op **ops = calloc((size_t)e->nnodes + 1, sizeof *ops);
        if (!ops) abort();
        Op *begin = stream_op(s, nothing);
        op_depend(begin, e->last, true); // launches of one graph do not overlap
        stream_put(s, op_keep(begin));
        for (int i = 0; i < e->nnodes; i++) {
            const Node *n = &e->nodes[i];
            ops[i] = op_make(s->context, n->work, e->lane[n->lane], n->stream);
            if (!n->ndeps) op_depend(ops[i], begin, true);
            for (int j = 0; j < n->ndeps; j++) op_depend(ops[i], ops[n->deps[j]], true);
            op_submit(ops[i]);
        }
        Op *end = stream_op(s, nothing);
        for (int i = 0; i < e->nnodes; i++) {
            op_depend(end, ops[i], true);
            op_release(ops[i]);
        }
        op_release(begin);
        stream_put(s, end);
        op_release(e->last);
        e->last = op_keep(end);
        work_release(nothing);
        free(ops);
    }
    world_unlock();
    return bad;
}

EXPORT int cuGraphDestroy(void *handle) {
    Graph *g = handle;
    if (!g) return SIM_INVALID_VALUE;
    world_lock();
    nodes_free(g->nodes, g->nnodes);
    free(g);
    world_unlock();
    return SIM_OK;
}

EXPORT int cuGraphExecDestroy(void *handle) {
    Exec *e = handle;
    if (!e) return SIM_INVALID_VALUE;
    world_lock();
    nodes_free(e->nodes, e->nnodes);
    for (int i = 0; i < e->nstreams; i++)
        if (e->lane[i] >= 0 && (!e->last || e->last->done)) e->context->lane[e->lane[i]].used = false;
    op_release(e->last);
    free(e->lane);
    free(e);
    world_unlock();
    return SIM_OK;
}
