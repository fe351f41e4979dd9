// SPDX-License-Identifier: Apache-2.0
// The simulation of CUDA kernels itself: what threads do together against plain loops, and that faults of kernels are
// seen, whatever the order.
#include "harness.h"
#include "tests/runtime/check.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

static const char kernels[] =
    "extern \"C\" __global__ void __launch_bounds__(64) shuffles(char *b0, i64 s0) {\n"
    "    int t = threadIdx.x;\n"
    "    float sum = (float)(t + s0);\n"
    "    for (int i = 16; i; i /= 2) sum += shfl_xor(sum, i);\n"
    "    float from = shfl((float)t, 5);\n"
    "    u32 votes = warp_ballot(t % 3 == 0), bits = shfl_bits(1u << t % 32, t + 1 & 31);\n"
    "    gstore((float4 *)b0 + blockIdx.x * 64 + t, make_float4(sum, from, bits_float(votes), bits_float(bits)));\n"
    "}\n"
    // The block turns 256 numbers round through shared memory.
    "template <bool barrier> static void turn(char *b0, char *b1) {\n"
    "    float *x = (float *)tgf_shared();\n"
    "    int t = threadIdx.x, at = blockIdx.x * 256;\n"
    "    x[t] = gload((const float *)b0 + at + t);\n"
    "    if (barrier) sync_block();\n"
    "    gstore((float *)b1 + at + t, x[255 - t]);\n"
    "}\n"
    "extern \"C\" __global__ void __launch_bounds__(256) turn_good(char *b0, char *b1) { turn<true>(b0, b1); }\n"
    "extern \"C\" __global__ void __launch_bounds__(256) turn_bad(char *b0, char *b1) { turn<false>(b0, b1); }\n"
    "template <bool wait> static void copied(char *b0, char *b1, i64 bytes) {\n"
    "    char *x = tgf_shared() + threadIdx.x * 16;\n"
    "    for (int i = 0; i < 2; i++) {\n"
    "        copy_async16(x + i * 512, b0 + i * 512 + threadIdx.x * 16, (int)bytes);\n"
    "        copy_async_commit();\n"
    "    }\n"
    "    copy_async_wait<wait ? 0 : 1>();\n"
    "    for (int i = 0; i < 2; i++) gstore((uint4 *)(b1 + i * 512 + threadIdx.x * 16), *(uint4 *)(x + i * 512));\n"
    "}\n"
    "extern \"C\" __global__ void __launch_bounds__(32) copy_good(char *b0, char *b1, i64 s0) { copied<true>(b0, b1, "
    "s0); }\n"
    "extern \"C\" __global__ void __launch_bounds__(32) copy_bad(char *b0, char *b1, i64 s0) { copied<false>(b0, b1, "
    "s0); }\n"
    "extern \"C\" __global__ void __launch_bounds__(32) far(char *b0, i64 s0) { gload((const float *)(b0 + s0) + "
    "threadIdx.x); }\n"
    "extern \"C\" __global__ void __launch_bounds__(32) writes(char *b0) { gstore(b0 + threadIdx.x, 'x'); }\n"
    "extern \"C\" __global__ void __launch_bounds__(64) divergent(char *b0, i64 s0) {\n"
    "    int t = threadIdx.x;\n"
    "    if (s0 == 0 && t < 40) sync_block();\n"
    "    if (s0 == 1) { if (t & 1) sync_warp(); else sync_block(); }\n"
    "    if (s0 == 2) { if (t & 1) shfl_xor(1.f, 1); else shfl((float)1, 1); }\n"
    "    if (s0 == 3) sync_named(1 + t / 32, 64);\n"
    "    if (s0 == 4) { if (t == 3) return; sync_warp(); }\n"
    "    if (s0 == 5) { if (t < 32) return; sync_block(); }\n"
    "    if (s0 == 6) tgf_shared()[64 * 4 + t] = 1;\n"
    "    if (s0 == 7) { if (t < 32) sync_named(1, 64); else sync_named(1, 32); }\n"
    "    if (s0 == 8) { char *p = tgf_shared() + 16; u32 r[4]; ldmatrix_x4(r, p + t * 16); }\n"
    "    if (s0 == 9) copy_async16(tgf_shared() + 8, b0, 16);\n"
    "}\n"
    // s0: elements from one block's 64 to the next: fewer than 64 overlap.
    "extern \"C\" __global__ void __launch_bounds__(64) blocks(char *b0, char *b1, i64 s0) {\n"
    "    i64 i = blockIdx.x * s0 + threadIdx.x;\n"
    "    gstore((u16 *)b1 + i, gload((const u16 *)b0 + i));\n"
    "}\n"
    // Two warps hand numbers over through named barriers: one produces, one consumes.
    "extern \"C\" __global__ void __launch_bounds__(64) named(char *b0) {\n"
    "    int *x = (int *)tgf_shared(), lane = threadIdx.x & 31;\n"
    "    for (int i = 0; i < 5; i++) {\n"
    "        if (threadIdx.x < 32) x[lane] = 100 * i + lane;\n"
    "        sync_named(3, 64);\n"
    "        if (threadIdx.x >= 32) gstore((int *)b0 + i * 32 + lane, x[31 - lane]);\n"
    "        sync_named(4, 64);\n"
    "    }\n"
    "}\n"
    // c[16][8] += a[16][16] b[16][8], a row by row, b column by column; s0: 0 bf16, 1 f16, 2 tf32 with eight of k.
    "extern \"C\" __global__ void __launch_bounds__(32) product(char *b0, char *b1, char *b2, i64 s0) {\n"
    "    int l = threadIdx.x, g = l / 4, t = l % 4;\n"
    "    float d[4];\n"
    "    u32 a[4], b[2];\n"
    "    for (int i = 0; i < 4; i++) d[i] = gload((const float *)b2 + (g + i / 2 * 8) * 8 + t * 2 + i % 2);\n"
    "    if (s0 == 2) {\n"
    "        for (int i = 0; i < 4; i++) a[i] = gload((const u32 *)b0 + (g + i % 2 * 8) * 8 + t + i / 2 * 4);\n"
    "        for (int i = 0; i < 2; i++) b[i] = gload((const u32 *)b1 + g * 8 + t + i * 4);\n"
    "        mma_tf32(d, a, b);\n"
    "    } else {\n"
    "        for (int i = 0; i < 4; i++) a[i] = gload((const u32 *)b0 + (g + i % 2 * 8) * 8 + t + i / 2 * 4);\n"
    "        for (int i = 0; i < 2; i++) b[i] = gload((const u32 *)b1 + g * 8 + t + i * 4);\n"
    "        if (s0) mma_f16(d, a, b); else mma_bf16(d, a, b);\n"
    "    }\n"
    "    for (int i = 0; i < 4; i++) gstore((float *)b2 + (g + i / 2 * 8) * 8 + t * 2 + i % 2, d[i]);\n"
    "}\n"
    // A 16x16 tile of 16-bit numbers by ldmatrix gives the fragments of mma: a as it lies, b from rows of k by _t.
    "extern \"C\" __global__ void __launch_bounds__(32) tiles(char *b0, char *b1) {\n"
    "    int l = threadIdx.x;\n"
    "    char *x = tgf_shared();\n"
    "    for (int i = 0; i < 8; i++) ((u16 *)x)[i * 32 + l] = (u16)(i * 32 + l);\n"
    "    sync_warp();\n"
    "    u32 r[4];\n"
    "    ldmatrix_x4(r, x + (l % 16) * 32 + l / 16 * 16);\n"
    "    for (int i = 0; i < 4; i++) gstore((u32 *)b0 + l * 4 + i, r[i]);\n"
    "    ldmatrix_x4_t(r, x + (l % 16) * 32 + l / 16 * 16);\n"
    "    for (int i = 0; i < 4; i++) gstore((u32 *)b1 + l * 4 + i, r[i]);\n"
    "}\n"
    "extern \"C\" __global__ void __launch_bounds__(32) numbers(char *b0, char *b1) {\n"
    "    for (int i = threadIdx.x; i < 65536; i += 32) {\n"
    "        float h = from_f16((u16)i), x = from_bf16((u16)i);\n"
    "        gstore((u16 *)b0 + i, to_f16(h));\n"
    "        gstore((u16 *)b1 + i, to_bf16(x));\n"
    "    }\n"
    "}\n"
    "extern \"C\" __global__ void __launch_bounds__(32) rounding(char *b0, char *b1, i64 s0) {\n"
    "    for (i64 i = threadIdx.x; i < s0; i += 32) {\n"
    "        float x = gload((const float *)b0 + i);\n"
    "        u32 h = to_f16x2(x, -x), b = to_bf16x2(x, -x);\n"
    "        gstore((float4 *)b1 + i, make_float4(from_f16((u16)h), from_bf16((u16)b), bits_float(to_tf32(x)),\n"
    "                                             from_f16((u16)(h >> 16))));\n"
    "    }\n"
    "}\n";

static Sim *sim;
static const char *launch(const char *name, int64_t blocks, int threads, int64_t shared, void **args, int nargs) {
    void *params[8];
    for (int i = 0; i < nargs; i++) params[i] = &args[i];
    return sim_launch(sim, name, blocks, threads, shared, params);
}
#define LAUNCH(name, blocks, threads, shared, ...)                                                                     \
    launch(name, blocks, threads, shared, (void *[]){__VA_ARGS__}, sizeof((void *[]){__VA_ARGS__}) / sizeof(void *))
#define INTEGER(x) ((void *)(intptr_t)(x))

static void expect_ok(const char *why, const char *what) {
    if (why) printf("%s: %s\n", what, why);
    CHECK(!why);
}
static void expect_fault(const char *why, const char *part) {
    if (!why || !strstr(why, part)) printf("expected '%s', got '%s'\n", part, why ? why : "nothing");
    CHECK(why && strstr(why, part));
}

static void test_shuffles(void) {
    static float out[3 * 64][4];
    sim_allow(sim, out, sizeof out);
    expect_ok(LAUNCH("shuffles", 3, 64, 0, out, INTEGER(7)), "shuffles");
    bool same = true;
    for (int i = 0; i < 3 * 64; i++) {
        int t = i % 64, warp = t / 32;
        uint32_t votes = 0, bits[2];
        for (int l = 0; l < 32; l++) votes |= (uint32_t)((warp * 32 + l) % 3 == 0) << l;
        memcpy(bits, &out[i][2], sizeof bits);
        float sum = 32 * 7 + 31 * 16 + 32 * 32 * (float)warp;
        same = same && out[i][0] == sum && out[i][1] == (float)(warp * 32 + 5) && bits[0] == votes &&
               bits[1] == 1u << (t + 1) % 32;
    }
    CHECK(same);
}

static int turned(const char *name) { // of 20 seeds: how many gave the right values
    static float x[4 * 256], y[4 * 256];
    sim_allow(sim, x, sizeof x);
    sim_allow(sim, y, sizeof y);
    int right = 0;
    for (int i = 0; i < 4 * 256; i++) x[i] = (float)i;
    for (uint64_t seed = 0; seed < 20; seed++) {
        sim_seed(sim, seed);
        memset(y, 0, sizeof y);
        expect_ok(LAUNCH(name, 4, 256, 1024, x, y), name);
        bool same = true;
        for (int i = 0; i < 4 * 256; i++) same = same && y[i] == x[i / 256 * 256 + 255 - i % 256];
        right += same;
    }
    return right;
}

static void test_copies(void) {
    static uint32_t x[256] __attribute__((aligned(16))), y[256] __attribute__((aligned(16)));
    sim_allow(sim, x, sizeof x);
    sim_allow(sim, y, sizeof y);
    for (uint32_t i = 0; i < 256; i++) x[i] = i + 1;
    for (uint64_t seed = 0; seed < 20; seed++) {
        sim_seed(sim, seed);
        expect_ok(LAUNCH("copy_good", 1, 32, 1024, x, y, INTEGER(16)), "copy_good");
        CHECK(!memcmp(x, y, sizeof x));
        expect_ok(LAUNCH("copy_bad", 1, 32, 1024, x, y, INTEGER(16)), "copy_bad");
        CHECK(!memcmp(x, y, 512) && y[128] == 0xffffffffu && y[255] == 0xffffffffu);
    }
    expect_ok(LAUNCH("copy_good", 1, 32, 1024, x, y, INTEGER(4)), "copy_good of 4 bytes");
    CHECK(y[4] == 5 && y[5] == 0 && y[6] == 0 && y[7] == 0 && y[8] == 9);
    expect_fault(LAUNCH("copy_good", 1, 32, 1024, (char *)x + 4, y, INTEGER(16)), "not aligned");
    expect_fault(LAUNCH("copy_good", 1, 32, 512, x, y, INTEGER(16)), "outside the block's shared memory");
}

static void test_faults(void) {
    static float x[64];
    static const char constant[32];
    sim_forget(sim);
    sim_allow(sim, x, sizeof x);
    sim_allow_reading(sim, constant, sizeof constant);
    expect_ok(LAUNCH("far", 1, 32, 0, x, INTEGER(128)), "far");
    expect_fault(LAUNCH("far", 1, 32, 0, x, INTEGER(132)), "kernel far, block 0: thread 31: read of 4 bytes at");
    expect_fault(LAUNCH("far", 2, 32, 0, x, INTEGER(2)), "not aligned");
    expect_fault(LAUNCH("far", 1, 64, 0, x, INTEGER(0)), "made for at most 32");
    expect_fault(LAUNCH("writes", 1, 32, 0, (void *)constant), "may only be read");
    expect_fault(LAUNCH("nowhere", 1, 32, 0, x), "no kernel nowhere");
    static const char *const parts[] = {"",
                                        "",
                                        "while lane",
                                        "nobody can go on",
                                        "return",
                                        "return",
                                        "wrote 0 bytes behind",
                                        "threads",
                                        "outside the block's shared",
                                        "not aligned"};
    for (uint64_t seed = 0; seed < 20; seed++)
        for (int i = 0; i < 10; i++) {
            sim_seed(sim, seed);
            expect_fault(LAUNCH("divergent", 3, 64, 256, x, INTEGER(i)), parts[i]);
        }
    expect_ok(LAUNCH("divergent", 3, 64, 256, x, INTEGER(10)), "nothing divergent");
}

static void test_blocks(void) {
    static uint16_t x[1024], y[1024];
    sim_allow(sim, x, sizeof x), sim_allow(sim, y, sizeof y);
    for (uint64_t seed = 0; seed < 20; seed++) {
        sim_seed(sim, seed);
        expect_ok(LAUNCH("blocks", 4, 64, 0, x, y, INTEGER(64)), "blocks apart");
        expect_ok(LAUNCH("blocks", 4, 64, 0, x, x, INTEGER(67)), "blocks apart, in place, not in sixteens");
        expect_fault(LAUNCH("blocks", 4, 64, 0, x, y, INTEGER(63)), "blocks run in no order");
        expect_fault(LAUNCH("blocks", 2, 64, 0, x, x + 127, INTEGER(64)), "blocks run in no order");
    }
}

static void test_named(void) {
    static int x[5 * 32];
    sim_allow(sim, x, sizeof x);
    for (uint64_t seed = 0; seed < 20; seed++) {
        sim_seed(sim, seed);
        expect_ok(LAUNCH("named", 1, 64, 128, x), "named");
        bool same = true;
        for (int i = 0; i < 5 * 32; i++) same = same && x[i] == i / 32 * 100 + 31 - i % 32;
        CHECK(same);
    }
}

static void test_product(void) {
    static uint16_t a[16 * 16], b[8 * 16]; // b: column by column
    static float ta[16 * 8], tb[8 * 8], c[16 * 8];
    sim_allow(sim, a, sizeof a), sim_allow(sim, b, sizeof b), sim_allow(sim, c, sizeof c);
    sim_allow(sim, ta, sizeof ta), sim_allow(sim, tb, sizeof tb);
    for (int type = 0; type < 3; type++) {
        int k = type == 2 ? 8 : 16;
        float fa[16 * 16], fb[8 * 16], want[16 * 8];
        for (int i = 0; i < 16 * k; i++) fa[i] = (float)(i * 7 % 31 - 15) / 8;
        for (int i = 0; i < 8 * k; i++) fb[i] = (float)(i * 5 % 23 - 11) / 4;
        for (int i = 0; i < 16 * k; i++) {
            _Float16 h = (_Float16)fa[i];
            if (type == 0) memcpy(&a[i], (char *)&fa[i] + 2, 2);
            else if (type == 1) memcpy(&a[i], &h, 2);
            else ta[i] = fa[i];
        }
        for (int i = 0; i < 8 * k; i++) {
            _Float16 h = (_Float16)fb[i];
            if (type == 0) memcpy(&b[i], (char *)&fb[i] + 2, 2);
            else if (type == 1) memcpy(&b[i], &h, 2);
            else tb[i] = fb[i];
        }
        for (int i = 0; i < 16; i++)
            for (int j = 0; j < 8; j++) {
                c[i * 8 + j] = want[i * 8 + j] = (float)(i - j);
                for (int l = 0; l < k; l++) want[i * 8 + j] += fa[i * k + l] * fb[j * k + l];
            }
        expect_ok(type == 2 ? LAUNCH("product", 1, 32, 0, ta, tb, c, INTEGER(2))
                            : LAUNCH("product", 1, 32, 0, a, b, c, INTEGER(type)),
                  "product");
        CHECK(!memcmp(c, want, sizeof c));
    }
}

static void test_tiles(void) {
    static uint16_t a[32][8], t[32][8];
    sim_allow(sim, a, sizeof a), sim_allow(sim, t, sizeof t);
    expect_ok(LAUNCH("tiles", 1, 32, 512, a, t), "tiles");
    bool same = true;
    for (int l = 0; l < 32; l++)
        for (int i = 0; i < 8; i++) {
            int matrix = i / 2, row = matrix % 2 * 8, column = matrix / 2 * 8; // of the matrix's first element
            int r = l / 4, c = l % 4 * 2 + i % 2;
            same = same && a[l][i] == (row + r) * 16 + column + c && t[l][i] == (row + c) * 16 + column + r;
        }
    CHECK(same);
}

static void test_numbers(void) {
    static uint16_t h[65536], b[65536];
    sim_allow(sim, h, sizeof h), sim_allow(sim, b, sizeof b);
    expect_ok(LAUNCH("numbers", 1, 32, 0, h, b), "numbers");
    int wrong = 0;
    for (int i = 0; i < 65536; i++) {
        bool h_nan = (i & 0x7fff) > 0x7c00, b_nan = (i & 0x7fff) > 0x7f80;
        wrong += h_nan ? h[i] != 0x7fff : h[i] != i;
        wrong += b_nan ? b[i] != 0x7fff : b[i] != i;
    }
    CHECK(wrong == 0);
    enum { N = 4096 };
    static float x[N], y[N][4] __attribute__((aligned(16)));
    sim_allow(sim, x, sizeof x), sim_allow(sim, y, sizeof y);
    uint32_t state = 1;
    for (int i = 0; i < N; i++) {
        state = state * 1664525u + 1013904223u;
        uint32_t bits = i % 2 ? state : (state & 0x807fffffu) | (100 + (state >> 23 & 31) + 10) << 23;
        if ((bits & 0x7f800000u) == 0x7f800000u) bits = 0;
        memcpy(&x[i], &bits, 4);
    }
    expect_ok(LAUNCH("rounding", 1, 32, 0, x, y, INTEGER(N)), "rounding");
    for (int i = 0; i < N; i++) {
        float half = (float)(_Float16)x[i];
        wrong += half != y[i][0] || -half != y[i][3];
        wrong += fabsf(y[i][1] - x[i]) > fabsf(x[i]) * 0x1p-8f + 0x1p-133f && isfinite(y[i][1]);
        wrong += fabsf(y[i][2] - x[i]) > fabsf(x[i]) * 0x1p-11f + 0x1p-136f && isfinite(y[i][2]);
    }
    CHECK(wrong == 0);
}

int main(void) {
    char error[SIM_MESSAGE];
    sim = sim_compile(kernels, error);
    if (!sim) {
        printf("%s\n", error);
        return 1;
    }
    CHECK(sim_params(sim, "product") == 4 && sim_params(sim, "none") == -1);
    test_shuffles();
    CHECK(turned("turn_good") == 20);
    CHECK(turned("turn_bad") == 0);
    test_copies();
    test_faults();
    test_blocks();
    test_named();
    test_product();
    test_tiles();
    test_numbers();
    sim_free(sim);
    CHECK(!sim_compile("extern \"C\" __global__ void __launch_bounds__(32) broken(char *b0) { nothing(); }\n", error));
    CHECK(strstr(error, "nothing"));
    return check_report("device");
}
