// SPDX-License-Identifier: Apache-2.0
// irb_half on every vector level: all 65536 bf16 and f16 numbers to f32, and f32 numbers of every exponent, on and
// beside the ties, to 16 bits, bit for bit as runtime/dtype.h converts them.
#include "codegen/irb.h"
#include "runtime/dtype.h"
#include "tests/codegen/tile_cases.h"
#include <stdlib.h>
#include <string.h>

enum { ALL = 1 << 16, MANY = 1 << 17 };
static const Real kinds[] = {REAL_BF16, REAL_F16};
static const char *const names[2][2] = {{"widen_bf16", "narrow_bf16"}, {"widen_f16", "narrow_f16"}};

static void emit(Irb *b, const char *name, Real kind, bool widens, int64_t count) {
    IrbKernel k = irb_kernel_begin(b, name);
    Val from = irb_kernel_buf(b, &k, 0), to = irb_kernel_buf(b, &k, 1);
    IrbLoop loop = irb_loop_const(b, 0, count, b->lanes);
    Val wide = irb_index(b, widens ? to : from, b->f32, loop.index);
    Val narrow = irb_index(b, widens ? from : to, b->i16, loop.index);
    if (widens) irb_store(b, irb_load_real(b, kind, b->lanes, narrow, NULL), wide);
    else irb_store_real(b, kind, irb_load(b, b->vf, wide), narrow, NULL);
    irb_loop_end(b, &loop);
    irb_function_end(b, NULL);
}

static float *wide_numbers(uint32_t *seed) {
    float *x = malloc(MANY * sizeof *x);
    for (int i = 0; i < MANY; i++) {
        uint32_t bits = (uint32_t)i << 15 | (uint32_t)random_int(seed, 0, 0x7fff); // every sign, exponent, 7 digits
        if (i % 3 == 0) bits = (bits & ~0x1fffu) | 0x1000;                         // a tie of f16
        if (i % 3 == 1) bits = (bits & ~0xffffu) | 0x8000;                         // a tie of bf16
        memcpy(&x[i], &bits, sizeof bits);
    }
    return x;
}

static void test_all(const CpuTarget *target, int count, uint32_t seed) {
    (void)count;
    TestModule t;
    module_open(&t, target);
    for (int k = 0; k < 2; k++) {
        emit(&t.b, names[k][0], kinds[k], true, ALL);
        emit(&t.b, names[k][1], kinds[k], false, MANY);
    }
    module_link(&t);
    uint16_t *half = malloc(MANY * sizeof *half);
    float *x = malloc(MANY * sizeof *x), *wide = wide_numbers(&seed);
    for (int k = 0; k < 2; k++) {
        for (int i = 0; i < ALL; i++) half[i] = (uint16_t)i;
        char *up[] = {(char *)half, (char *)x}, *down[] = {(char *)wide, (char *)half};
        run_split((KernelFn)module_address(&t, names[k][0]), up, NULL, (TilePlan){1, 64, false}, 1, &seed);
        int wrong = 0;
        for (int i = 0; i < ALL; i++) {
            float want = k ? f32_from_f16((uint16_t)i) : f32_from_bf16((uint16_t)i);
            wrong += !(want != want ? x[i] != x[i] : !memcmp(&want, &x[i], sizeof want));
        }
        check(!wrong, "%s: %d of %d are wrong", names[k][0], wrong, ALL);
        run_split((KernelFn)module_address(&t, names[k][1]), down, NULL, (TilePlan){1, 64, false}, 1, &seed);
        wrong = 0;
        for (int i = 0; i < MANY; i++) {
            uint16_t want = k ? f16_from_f32(wide[i]) : bf16_from_f32(wide[i]);
            float back = k ? f32_from_f16(half[i]) : f32_from_bf16(half[i]);
            wrong += !(wide[i] != wide[i] ? back != back : want == half[i]);
        }
        check(!wrong, "%s: %d of %d are wrong", names[k][1], wrong, MANY);
    }
    free(half);
    free(x);
    free(wide);
    module_close(&t);
}

int main(void) { return on_every_target(test_all, 1); }
