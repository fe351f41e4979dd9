// SPDX-License-Identifier: Apache-2.0
// sample_plan: a hand-made model with C kernels, for tests of the runtime without a compiler.
//
// w[layer=3, width=5] (parameter, width split over tensor, so padded), m[layer, width] (state), x[batch=4] (ids below
// 10, split over data); init: w = 1 + layer + 10 * width; train: loss = sum of w + sum of x, then w += 1, m += w;
// ids: x gathered on every rank.
#pragma once
#include "runtime/plan.h"
#include <string.h>

static const char sample_plan_text[] =
    "tgf-plan 4\n"
    "model \"sample\" strategy \"both\" hash \"0123456789abcdef\"\n"
    "mesh data=2 tensor=2\n"
    "slab 384 params 64 states 64 io 192 buffers 0 activations 64\n"
    "tasks microbatches 1 stages - rank 64 zero 0 0\n"
    "variant layers 0 chunk 256 slot 0 zero 0 0\n"
    "chunk stage 0 variant 0 first 0 slots 0 at 64 slots at 320\n"
    "stage work 320 slab 384\n"
    "param \"w\" as \"h.{layer}.w\" f32[layer=3:3, width=5/tensor:3] chunk at 0 bytes 36\n"
    "state \"adam.m/w\" as \"w\" f32[layer=3:3, width=5/tensor:3] chunk at 64 bytes 36\n"
    "input \"x\" i32[batch=4/data:2] chunk at 128 bytes 8 ids -1..10\n"
    "output \"loss\" f32[] rank at 0 bytes 4\n"
    "output \"ids\" i32[batch=4:4] chunk at 192 bytes 16\n"
    "kernel \"init_w\" tasks 1 work 0 flops 3 bytes 12\n"
    "kernel \"sum_row\" tasks 1 work 64 flops 3 bytes 12\n"
    "kernel \"sum_ids\" tasks 1 work 0 flops 2 bytes 8\n"
    "kernel \"update\" tasks 3 work 0 flops 0 bytes 0\n"
    "kernel \"add\" tasks 1 work 0 flops 1 bytes 8\n"
    "func \"init\" variant 0 work 0\n"
    "  loop 3 {\n"
    "    kernel 0 (c0+12*l0:12) [l0, 0+3*c(tensor)] # \"w = ...\" @\"sample.tgf\":3\n"
    "  }\n"
    "func \"train\" variant 0 work 64\n"
    "  zero w0 bytes 4\n"
    "  loop 3 reverse {\n"
    "    kernel 1 (c0+12*l0:12, w0:4) [0+3*c(tensor)]\n"
    "  }\n"
    "  comm all_reduce sum f32 on tensor [1, 1, 1] w0 -> w4 # \"loss = sum %w\" @\"sample.tgf\":7\n"
    "  kernel 2 (c128:8, w8:4) []\n"
    "  comm all_reduce sum f32 on data [1, 1, 1] w8 -> w8 # \"sum %x\"\n"
    "  comm all_gather sum i32 on data [1, 2, 1] c128 -> c192\n"
    "  copy r0 <- w4 bytes 4\n"
    "  kernel 4 (w8:4, r0:4) []\n"
    "  loop 3 {\n"
    "    kernel 3 (c0+12*l0:12, c64+12*l0:12) []\n"
    "  }\n"
    "program \"init\" inputs outputs\n"
    " stage 0\n"
    "  run 0 0 0 0\n"
    "program \"train\" inputs 2 outputs 3 4\n"
    " stage 0\n"
    "  run 1 0 0 0\n";

static void sample_init_w(char *const *buf, const int64_t *scalar, char *work, int64_t begin, int64_t end) {
    (void)work, (void)begin, (void)end;
    for (int i = 0; i < 3; i++) ((float *)buf[0])[i] = (float)(1 + scalar[0] + 10 * (scalar[1] + i));
}

static void sample_sum_row(char *const *buf, const int64_t *scalar, char *work, int64_t begin, int64_t end) {
    (void)begin, (void)end;
    float *sum = (float *)work;
    *sum = 0;
    for (int i = 0; i < 3 && scalar[0] + i < 5; i++) *sum += ((const float *)buf[0])[i];
    *(float *)buf[1] += *sum;
}

static void sample_sum_ids(char *const *buf, const int64_t *scalar, char *work, int64_t begin, int64_t end) {
    (void)scalar, (void)work, (void)begin, (void)end;
    *(float *)buf[1] = (float)(((const int32_t *)buf[0])[0] + ((const int32_t *)buf[0])[1]);
}

static void sample_add(char *const *buf, const int64_t *scalar, char *work, int64_t begin, int64_t end) {
    (void)scalar, (void)work, (void)begin, (void)end;
    *(float *)buf[1] += *(const float *)buf[0];
}

static void sample_update(char *const *buf, const int64_t *scalar, char *work, int64_t begin, int64_t end) {
    (void)scalar, (void)work;
    for (int64_t i = begin; i < end; i++) {
        ((float *)buf[0])[i] += 1;
        ((float *)buf[1])[i] += ((float *)buf[0])[i];
    }
}

static PlanKernelFn *const sample_kernels[] = {sample_init_w, sample_sum_row, sample_sum_ids, sample_update,
                                               sample_add};

static inline PlanModule sample_module(void) {
    return (PlanModule){PLAN_ABI, sample_plan_text, strlen(sample_plan_text), sample_kernels, 5, NULL};
}
