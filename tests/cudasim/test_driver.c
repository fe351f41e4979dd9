// SPDX-License-Identifier: Apache-2.0
// The driver's stand-in: nothing runs before somebody waits, streams and events order what they promise and nothing
// else, graphs repeat what was captured, and what is not ordered is reported.
#include "standin.h"
#include "tests/runtime/check.h"
#include <stdio.h>
#include <string.h>

static const char kernels[] =
    "extern \"C\" __global__ void __launch_bounds__(64) add(char *b0, char *b1, i64 s0) {\n"
    "    i64 i = (i64)blockIdx.x * 64 + threadIdx.x;\n"
    "    if (i < s0) gstore((int *)b1 + i, gload((int *)b1 + i) + gload((const int *)b0 + i));\n"
    "}\n"
    "extern \"C\" __global__ void __launch_bounds__(64) scale(char *b0, i64 s0, i64 s1) {\n"
    "    i64 i = (i64)blockIdx.x * 64 + threadIdx.x;\n"
    "    if (i < s1) gstore((int *)b0 + i, (int)(gload((const int *)b0 + i) * s0));\n"
    "}\n";
enum { N = 1000, FAULT = 710, NOT_READY = 600 };

static char *cubin;
static void *stream[3], *event[3], *module, *add, *scale;
static uint64_t x, y;
static int *host;

static void begin(void) {
    void *context;
    CHECK(!cu.cuDevicePrimaryCtxRetain(&context, 0) && !cu.cuCtxSetCurrent(context));
    for (int i = 0; i < 3; i++) {
        CHECK(!cu.cuStreamCreateWithPriority(&stream[i], 1, 0));
        CHECK(!cu.cuEventCreate(&event[i], i ? 2 : 0));
    }
    CHECK(!cu.cuModuleLoadDataEx(&module, cubin, 0, NULL, NULL));
    CHECK(!cu.cuModuleGetFunction(&add, module, "add") && !cu.cuModuleGetFunction(&scale, module, "scale"));
    CHECK(cu.cuModuleGetFunction(&context, module, "none") == 500);
    CHECK(!cu.cuMemAlloc_v2(&x, N * 4) && !cu.cuMemAlloc_v2(&y, N * 4));
    CHECK(!cu.cuMemHostAlloc((void **)&host, N * 4, 3));
}
static void end(void) {
    for (int i = 0; i < 3; i++) cu.cuEventDestroy_v2(event[i]);
    cu.cuModuleUnload(module);
    CHECK(!cu.cuDevicePrimaryCtxRelease_v2(0)); // and all that is left
}

static int launch_add(uint64_t from, uint64_t to, int64_t n, void *s) {
    void *params[] = {&from, &to, &n};
    int result = cu.cuLaunchKernel(add, (unsigned)(n + 63) / 64, 1, 1, 64, 1, 1, 0, s, params, NULL);
    from = to = 0, n = -1; // were copied
    return result;
}
static int launch_scale(uint64_t at, int64_t by, int64_t n, void *s) {
    void *params[] = {&at, &by, &n};
    return cu.cuLaunchKernel(scale, (unsigned)(n + 63) / 64, 1, 1, 64, 1, 1, 0, s, params, NULL);
}
static bool host_is(int value) {
    for (int i = 0; i < N; i++)
        if (host[i] != value) return false;
    return true;
}
static const char *fault_text(void) {
    const char *text = "";
    cu.cuGetErrorString(FAULT, &text);
    return text;
}
static void expect_fault(int result, const char *part) {
    if (result != FAULT || !strstr(fault_text(), part)) printf("got %d, '%s'\n", result, fault_text());
    CHECK(result == FAULT && strstr(fault_text(), part));
}

static void test_order(void) {
    begin();
    memset(host, 0, N * 4);
    CHECK(!cu.cuMemcpyDtoHAsync_v2(host, x, N * 4, stream[0])); // fresh memory is NaNs
    CHECK(host_is(0));
    CHECK(!cu.cuStreamSynchronize(stream[0]) && host_is(-1));
    for (int round = 0; round < 20; round++) {
        CHECK(!cu.cuMemsetD32Async(x, 3, N, stream[0]));
        CHECK(!cu.cuMemsetD32Async(y, 4, N, stream[1]));
        CHECK(!cu.cuEventRecord(event[0], stream[0]));
        CHECK(!cu.cuStreamWaitEvent(stream[1], event[0], 0));
        CHECK(!launch_add(x, y, N, stream[1]));
        CHECK(!launch_scale(y, 2, N, stream[1]));
        CHECK(!cu.cuEventRecord(event[1], stream[1]));
        CHECK(!cu.cuStreamWaitEvent(stream[2], event[1], 0));
        CHECK(!cu.cuMemcpyDtoHAsync_v2(host, y, N * 4, stream[2]));
        CHECK(!cu.cuStreamWaitEvent(stream[0], event[1], 0)); // before x is set again
        CHECK(round || !host_is(14));
        if (round % 2) CHECK(!cu.cuStreamSynchronize(stream[2]));
        else
            while (cu.cuStreamQuery(stream[2]) == NOT_READY) {}
        CHECK(host_is(14));
        memset(host, 0, N * 4);
    }
    float ms = -1;
    CHECK(cu.cuEventElapsedTime(&ms, event[0], event[1]) == 400);
    int pageable[N];
    for (int i = 0; i < N; i++) pageable[i] = 7;
    CHECK(!cu.cuCtxSynchronize());
    CHECK(!cu.cuMemcpyHtoDAsync_v2(x, pageable, N * 4, stream[0]));
    memset(pageable, 0, sizeof pageable);
    CHECK(!cu.cuMemcpyDtoHAsync_v2(pageable, x, N * 4, stream[0]) && pageable[0] == 7 && pageable[N - 1] == 7);
    CHECK(!cu.cuMemsetD2D8Async(x, 40, 1, 4, N / 10, stream[0]));
    CHECK(!cu.cuMemcpyDtoHAsync_v2(pageable, x, N * 4, stream[0]));
    CHECK(pageable[0] == 0x01010101 && pageable[1] == 7 && pageable[10] == 0x01010101 && pageable[N - 1] == 7);
    end();
}

// Two streams touch the same bytes, with what orders them left out.
static void test_races(void) {
    begin();
    CHECK(!cu.cuMemsetD32Async(x, 3, N, stream[0]));
    CHECK(!launch_scale(x, 2, N, stream[1]));
    expect_fault(cu.cuCtxSynchronize(), "no event orders them");
    CHECK(strstr(fault_text(), "memset on stream 1") && strstr(fault_text(), "kernel scale"));
    CHECK(cu.cuStreamSynchronize(stream[0]) == FAULT); // for good
    end();
    begin();
    CHECK(!cu.cuMemsetD32Async(x, 3, N, stream[0]));
    CHECK(!cu.cuCtxSynchronize());
    CHECK(!launch_add(x, y, N, stream[0])); // read before ...
    CHECK(!cu.cuMemsetD32Async(x, 4, N, stream[1]));
    expect_fault(cu.cuCtxSynchronize(), "race");
    end();
    begin(); // an event that was recorded too early
    CHECK(!cu.cuEventRecord(event[0], stream[0]));
    CHECK(!cu.cuMemsetD32Async(x, 3, N, stream[0]));
    CHECK(!cu.cuStreamWaitEvent(stream[1], event[0], 0));
    CHECK(!launch_scale(x, 2, N, stream[1]));
    expect_fault(cu.cuCtxSynchronize(), "no event orders them");
    end();
    begin(); // what the host waited for is in order; so are neighbours within sixteen bytes, and two readers
    CHECK(!cu.cuMemsetD32Async(x, 3, N, stream[0]));
    CHECK(!cu.cuStreamSynchronize(stream[0]));
    CHECK(!launch_scale(x, 2, N, stream[1]) && !cu.cuStreamSynchronize(stream[1]));
    CHECK(!cu.cuMemsetD32Async(x, 1, 1, stream[0]) && !cu.cuMemsetD32Async(x + 4, 2, 1, stream[1]));
    CHECK(!cu.cuCtxSynchronize());
    CHECK(!cu.cuMemcpyDtoDAsync_v2(y, x, 400, stream[0]) && !cu.cuMemcpyDtoDAsync_v2(y + 400, x, 400, stream[1]));
    CHECK(!cu.cuCtxSynchronize());
    end();
}

static void test_faults(void) {
    begin();
    CHECK(!launch_scale(x, 2, N + 1, stream[0]));
    expect_fault(cu.cuStreamSynchronize(stream[0]), "kernel scale, block 15");
    end();
    begin();
    CHECK(!cu.cuMemsetD32Async(x, 1, N, stream[0]) && !cu.cuMemFree_v2(x));
    expect_fault(cu.cuStreamSynchronize(stream[0]), "freed");
    end();
    begin();
    void *params[] = {&x, &y, &y};
    CHECK(cu.cuLaunchKernel(add, 1, 1, 1, 128, 1, 1, 0, stream[0], params, NULL) == 1);    // too many threads
    CHECK(cu.cuLaunchKernel(add, 1, 1, 1, 64, 1, 1, 65536, stream[0], params, NULL) == 1); // shared memory
    CHECK(!cu.cuFuncSetAttribute(add, 8, 65536));
    CHECK(cu.cuModuleLoadDataEx(&module, "\177ELF", 0, NULL, NULL) == 209);
    CHECK(!cu.cuStreamSynchronize(stream[0]));
    end();
}

// x = 1; on two more streams y = 1 and then += x; z = 2 y: fork and join by events.
static int capture(uint64_t z, bool join, bool order, void **out_graph) {
    CHECK(!cu.cuStreamBeginCapture_v2(stream[0], 1));
    CHECK(!cu.cuMemsetD32Async(x, 1, N, stream[0]));
    CHECK(!cu.cuEventRecord(event[0], stream[0]));
    CHECK(!cu.cuStreamWaitEvent(stream[1], event[0], 0));
    CHECK(!cu.cuMemsetD32Async(y, 1, N, stream[1]));
    CHECK(!launch_add(x, y, N, stream[1]));
    CHECK(!cu.cuEventRecord(event[1], stream[1]));
    if (order) CHECK(!cu.cuStreamWaitEvent(stream[0], event[1], 0));
    CHECK(!cu.cuMemcpyDtoDAsync_v2(z, y, N * 4, stream[0]));
    CHECK(!launch_scale(z, 2, N, stream[0]));
    if (join && !order) CHECK(!cu.cuStreamWaitEvent(stream[0], event[1], 0));
    return cu.cuStreamEndCapture(stream[0], out_graph);
}

static void test_graphs(void) {
    uint64_t z;
    void *graph, *exec;
    begin();
    CHECK(!cu.cuMemAlloc_v2(&z, N * 4));
    CHECK(!capture(z, true, true, &graph));
    CHECK(!cu.cuGraphInstantiateWithFlags(&exec, graph, 0) && !cu.cuGraphDestroy(graph));
    for (int i = 0; i < 10; i++) {
        CHECK(!cu.cuGraphLaunch(exec, stream[2]));
        CHECK(!launch_add(z, z, N, stream[2])); // behind the whole of it
        if (i % 3 == 0) CHECK(!cu.cuMemcpyDtoHAsync_v2(host, z, N * 4, stream[2]));
    }
    CHECK(!cu.cuStreamSynchronize(stream[2]) && host_is(8));
    CHECK(!cu.cuGraphExecDestroy(exec));
    CHECK(capture(z, false, false, &graph) == 904 && !graph); // not joined
    CHECK(!capture(z, true, false, &graph));                  // joined, not ordered
    CHECK(!cu.cuGraphInstantiateWithFlags(&exec, graph, 0) && !cu.cuGraphDestroy(graph));
    CHECK(!cu.cuGraphLaunch(exec, stream[2]));
    expect_fault(cu.cuStreamSynchronize(stream[2]), "no event orders them");
    CHECK(!cu.cuGraphExecDestroy(exec));
    end();
    begin();
    CHECK(!cu.cuStreamBeginCapture_v2(stream[0], 1));
    CHECK(cu.cuStreamSynchronize(stream[0]) == 900);
    CHECK(cu.cuMemsetD32Async(x, 1, N, stream[0]) == 901);
    CHECK(cu.cuStreamEndCapture(stream[0], &graph) == 901);
    CHECK(!cu.cuStreamBeginCapture_v2(stream[0], 1));
    CHECK(cu.cuMemAlloc_v2(&z, 4) == 900);
    CHECK(cu.cuStreamEndCapture(stream[0], &graph) == 901);
    CHECK(!cu.cuEventRecord(event[0], stream[1]));
    CHECK(!cu.cuStreamBeginCapture_v2(stream[0], 1));
    CHECK(cu.cuStreamWaitEvent(stream[0], event[0], 0) == 905); // recorded outside
    CHECK(cu.cuStreamEndCapture(stream[0], &graph) == 901);
    CHECK(!cu.cuMemsetD32Async(x, 5, N, stream[0]));
    CHECK(!cu.cuMemcpyDtoHAsync_v2(host, x, N * 4, stream[0]));
    CHECK(!cu.cuStreamSynchronize(stream[0]) && host_is(5));
    end();
}

int main(void) {
    if (!standin_load() || !(cubin = standin_cubin(kernels, false))) return 1;
    test_order();
    test_races();
    test_faults();
    test_graphs();
    free(cubin);
    CHECK((cubin = standin_cubin(kernels, true)) != NULL); // PTX is compiled when it is loaded
    begin();
    CHECK(!cu.cuMemsetD32Async(x, 5, N, stream[0]) && !launch_scale(x, 3, N, stream[0]));
    CHECK(!cu.cuMemcpyDtoHAsync_v2(host, x, N * 4, stream[0]));
    CHECK(!cu.cuStreamSynchronize(stream[0]) && host_is(15));
    end();
    free(cubin);
    CHECK(
        !standin_cubin("extern \"C\" __global__ void __launch_bounds__(32) broken(char *b0) { nothing(); }\n", false));
    return check_report("driver");
}
