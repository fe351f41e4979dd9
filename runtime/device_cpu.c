// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "base/checked.h"
#include "runtime/device.h"
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { HUGE_BYTES = 2 << 20, PAGE_BYTES = 4096, COPY_GRAIN = 256 << 10 };

typedef struct DeviceCpu {
    Device device;
    const Plan *plan;
    PlanKernelFn *const *kernels;
    char *map, *work; // work: thread 0's scratch; each thread's is work_stride further
    int64_t map_bytes, work_stride, host_map_bytes;
} DeviceCpu;

// ---- kernels --------------------------------------------------------------------------------------------------------
typedef struct Launch {
    PlanKernelFn *fn;
    char *const *buf;
    const int64_t *scalar;
    const DeviceCpu *device;
} Launch;

static void launch_part(void *context, int thread, int64_t begin, int64_t end) {
    const Launch *l = context;
    l->fn(l->buf, l->scalar, l->device->work + thread * l->device->work_stride, begin, end);
}

// Waking the helpers costs some microseconds: a kernel that takes less runs alone.
static bool worth_splitting(const PlanKernel *k) {
    return (k->flops == 0 && k->bytes == 0) || k->flops / 20e9 + k->bytes / 10e9 > 5e-6;
}

static void cpu_launch(Device *d, int kernel, char *const *buf, const int64_t *scalar) {
    const DeviceCpu *c = (const DeviceCpu *)d;
    const PlanKernel *k = &c->plan->kernels[kernel];
    Launch l = {c->kernels[kernel], buf, scalar, c};
    if (worth_splitting(k)) pool_run(d->pool, k->tasks, launch_part, &l);
    else if (k->tasks > 0) launch_part(&l, 0, 0, k->tasks);
}

// ---- memory ---------------------------------------------------------------------------------------------------------
typedef struct Move {
    char *to;
    const char *from; // NULL: clear
    int64_t bytes;
} Move;

static void move_part(void *context, int thread, int64_t begin, int64_t end) {
    const Move *m = context;
    int64_t from = begin * COPY_GRAIN, to = end * COPY_GRAIN < m->bytes ? end * COPY_GRAIN : m->bytes;
    (void)thread;
    if (m->from) memcpy(m->to + from, m->from + from, (size_t)(to - from));
    else memset(m->to + from, 0, (size_t)(to - from));
}

static void cpu_copy(Device *d, char *to, const char *from, int64_t bytes) {
    Move m = {to, from, bytes};
    bool overlap = from < to + bytes && to < from + bytes;
    if (overlap || bytes <= COPY_GRAIN) memmove(to, from, (size_t)bytes);
    else pool_run(d->pool, ceil_div(bytes, COPY_GRAIN), move_part, &m);
}

static void cpu_zero(Device *d, char *to, int64_t bytes) {
    Move m = {to, NULL, bytes};
    if (bytes <= COPY_GRAIN) memset(to, 0, (size_t)bytes);
    else pool_run(d->pool, ceil_div(bytes, COPY_GRAIN), move_part, &m);
}

static void cpu_write(Device *d, char *to, const void *host, int64_t bytes) {
    (void)d;
    memcpy(to, host, (size_t)bytes);
}

static void cpu_read(Device *d, void *host, const char *from, int64_t bytes) {
    (void)d;
    memcpy(host, from, (size_t)bytes);
}

static void cpu_free(Device *d) {
    DeviceCpu *c = (DeviceCpu *)d;
    pool_free(d->pool);
    if (c->map) munmap(c->map, (size_t)c->map_bytes);
    if (d->host) munmap(d->host, (size_t)c->host_map_bytes);
    free(c);
}

static const DeviceVtable cpu_vtable = {.name = "cpu",
                                        .launch = cpu_launch,
                                        .copy = cpu_copy,
                                        .zero = cpu_zero,
                                        .write = cpu_write,
                                        .read = cpu_read,
                                        .free = cpu_free};

static void touch_part(void *context, int thread, int64_t begin, int64_t end) {
    char *from = context;
    (void)thread;
    for (int64_t at = begin * HUGE_BYTES; at < end * HUGE_BYTES; at += PAGE_BYTES) ((volatile char *)from)[at] = 0;
}

Status device_cpu_make(const DeviceOptions *o, Device **out_device) {
    *out_device = NULL;
    int64_t slab, stride, scratch, total, map;
    if (!checked_round_up(o->slab ? 0 : o->slab_bytes, PAGE_BYTES, &slab) ||
        !checked_round_up(o->work_bytes, PAGE_BYTES, &stride) || !checked_mul(stride, o->threads, &scratch) ||
        !checked_add(slab, scratch, &total) || !checked_round_up(total + !total, HUGE_BYTES, &total) ||
        !checked_add(total, HUGE_BYTES, &map))
        return status_make(STATUS_MEMORY, "a slab of %lld bytes is too large", (long long)o->slab_bytes);
    DeviceCpu *c = calloc(1, sizeof *c);
    if (!c) return status_make(STATUS_MEMORY, "no memory for a device");
    c->device.v = &cpu_vtable;
    c->plan = o->plan;
    c->kernels = o->kernels;
    Status s = pool_make(o->threads, o->spin, &c->device.pool);
    if (status_failed(&s)) {
        cpu_free(&c->device);
        return s;
    }
    void *p = mmap(NULL, (size_t)map, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) {
        cpu_free(&c->device);
        return status_make(STATUS_MEMORY, "no memory for a slab of %lld bytes", (long long)total);
    }
    c->map = p;
    c->map_bytes = map;
    char *begin = c->map + (HUGE_BYTES - (uintptr_t)c->map % HUGE_BYTES) % HUGE_BYTES;
    madvise(begin, (size_t)total, MADV_HUGEPAGE); // advice: the kernel may decline
    c->device.slab = o->slab ? o->slab : begin;
    c->device.slab_bytes = o->slab ? o->slab_bytes : slab;
    c->device.scratch_bytes = scratch;
    c->work = begin + slab;
    c->work_stride = stride;
    pool_run(c->device.pool, total / HUGE_BYTES, touch_part, begin);
    if (o->slab && !o->poison) { // cleared by the threads that will use it
        Move m = {c->device.slab, NULL, o->slab_bytes};
        pool_run(c->device.pool, ceil_div(o->slab_bytes, COPY_GRAIN), move_part, &m);
    }
    if (o->host_bytes) {
        p = MAP_FAILED;
        if (checked_round_up(o->host_bytes, PAGE_BYTES, &c->host_map_bytes))
            p = mmap(NULL, (size_t)c->host_map_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED) {
            cpu_free(&c->device);
            return status_make(STATUS_MEMORY, "no memory for %lld bytes beside the slab", (long long)o->host_bytes);
        }
        c->device.host = p;
        c->device.host_bytes = c->host_map_bytes;
        if (o->poison) memset(c->device.host, 0xff, (size_t)o->host_bytes);
    }
    if (o->poison) memset(c->device.slab, 0xff, (size_t)o->slab_bytes);
    *out_device = &c->device;
    return status_ok();
}
