// SPDX-License-Identifier: Apache-2.0
// device_sm90: the device part of codegen/cuda_prelude_sm90.cuh for a CPU, included from there. Tensor copies land, and
// products read their operands, as late as the program allows (at the wait that lets them through) or at once, as drawn
// for each block; in between, the registers a product sums into hold NaNs. Addresses in descriptors are offsets in the
// block's shared memory.
#pragma once
#include <vector>

struct SimTensorCopy {
    char *to;
    SimMap map;
    u64 *barrier;
    u32 at[5];
};

struct SimWgmma { // what a lane brings
    float *d;
    u64 a, b;
    int n;
    bool bf16, turn_a, turn_b;
    u32 add;
};
struct SimProduct { // of a warp, its 16 rows
    SimWgmma p;
    u64 group;
    bool done;
};
struct SimHopperWarp {
    std::vector<SimProduct> products;
    u64 groups;
    bool fenced;
    float *d[32]; // where the sums that are under way go when they are ready
    int n;
    std::vector<float> sum; // [32][n / 2]
};
struct SimHopper {
    u64 serial;
    bool late_copies, late_products;
    std::vector<SimTensorCopy> copies;
    SimHopperWarp warp[32];
};

static SimHopper *sim_hopper() {
    static thread_local SimHopper h;
    u64 serial = sim_api->self()->serial;
    if (h.serial != serial) {
        h.copies.clear();
        for (SimHopperWarp &w : h.warp) w.products.clear(), w.groups = 0, w.fenced = false, w.n = 0;
        u64 draw = serial * 0x9E3779B97F4A7C15u >> 60;
        h.serial = serial;
        h.late_copies = draw & 1;
        h.late_products = draw & 2;
    }
    return &h;
}
static SimHopperWarp *sim_hopper_warp() { return &sim_hopper()->warp[sim_api->self()->number / 32]; }

TGF_DEVICE u32 shared_address(const void *p) { return (u32)((const char *)p - tgf_shared()); }

// ---- barriers
struct SimBarrier { // in its 8 bytes
    u32 phase : 1, arrivals : 10, left : 10, mark : 11;
    int bytes;
};
enum { SIM_BARRIER_MARK = 0x2b5 };

TGF_DEVICE SimBarrier *sim_barrier(u64 *b) {
    SimBarrier *s = (SimBarrier *)b;
    sim_api->touch_shared(b, 8, 8);
    if (s->mark != SIM_BARRIER_MARK) sim_api->fail("a barrier that was not initialised");
    return s;
}
TGF_DEVICE void sim_barrier_settle(SimBarrier *s) {
    if (s->left || s->bytes) return;
    s->phase ^= 1;
    s->left = s->arrivals;
    sim_api->wake();
}
TGF_DEVICE void barrier_init(u64 *b, int arrivals) {
    sim_api->touch_shared(b, 8, 8);
    *(SimBarrier *)b = {0, (u32)arrivals, (u32)arrivals, SIM_BARRIER_MARK, 0};
}
TGF_DEVICE void barrier_init_done() {}
TGF_DEVICE void barrier_arrive(u64 *b) {
    SimBarrier *s = sim_barrier(b);
    if (!s->left) sim_api->fail("one arrival too many at a barrier");
    s->left--;
    sim_barrier_settle(s);
}
TGF_DEVICE void barrier_expect(u64 *b, int bytes) {
    sim_barrier(b)->bytes += bytes;
    barrier_arrive(b);
}

// ---- tensor copies
static void sim_tensor_copy(const SimTensorCopy &c) {
    const SimMap &m = c.map;
    unsigned size = (unsigned)m.element, bytes = size, elements = 1, mask = m.swizzle ? m.swizzle / 16 - 1 : 0;
    for (int d = 0; d < m.rank; d++) elements *= m.box[d];
    bytes *= elements;
    sim_api->touch_shared(c.to, bytes, 128);
    char *shared = tgf_shared();
    u64 start = (u64)(c.to - shared);
    for (unsigned line = 0; line < elements; line += m.box[0]) {
        const char *from = (const char *)m.address;
        bool in = true;
        unsigned rest = line / m.box[0];
        for (int d = 1; d < m.rank; d++) {
            u32 x = c.at[d] + rest % m.box[d]; // below 0: beyond any extent
            rest /= m.box[d];
            in = in && x < m.extent[d];
            from += x * m.stride[d];
        }
        unsigned have = !in || c.at[0] >= m.extent[0] ? 0 : m.extent[0] - c.at[0];
        if (have > m.box[0]) have = m.box[0];
        from += c.at[0] * size;
        if (have) sim_api->touch(from, have * size, size, 0);
        for (unsigned i = 0; i < m.box[0]; i++) {
            u64 to = start + (line + i) * size;
            to ^= (to >> 7 & mask) << 4;
            if (i < have) __builtin_memcpy(shared + to, from + i * size, size);
            else __builtin_memset(shared + to, 0, size);
        }
    }
    SimBarrier *s = sim_barrier(c.barrier);
    s->bytes -= (int)bytes;
    sim_barrier_settle(s);
}
template <class... U> TGF_DEVICE void map_load(char *to, const Map *m, u64 *b, U... at) {
    static_assert(sizeof(SimMap) <= sizeof(Map), "a map is 128 bytes");
    SimTensorCopy c = {to, {}, b, {at...}};
    __builtin_memcpy(&c.map, m, sizeof c.map);
    if (c.map.magic != SIM_MAP_MAGIC) sim_api->fail("map_load: no tensor map");
    if (c.map.rank != (int)sizeof...(at)) sim_api->fail("map_load: the tensor map is of another rank");
    if (c.map.swizzle && c.map.box[0] * c.map.element > c.map.swizzle)
        sim_api->fail("map_load: a line is wider than the swizzle");
    sim_barrier(b);
    SimHopper *h = sim_hopper();
    if (h->late_copies) h->copies.push_back(c), sim_api->wake();
    else sim_tensor_copy(c);
}
TGF_DEVICE void map_prefetch(const Map *) {}

TGF_DEVICE void barrier_wait(u64 *b, u32 parity) {
    SimHopper *h = sim_hopper();
    for (;;) {
        if (sim_barrier(b)->phase != (parity & 1)) return;
        bool copied = false;
        for (unsigned i = 0; i < h->copies.size();)
            if (h->copies[i].barrier == b) {
                SimTensorCopy c = h->copies[i];
                h->copies.erase(h->copies.begin() + i);
                sim_tensor_copy(c);
                copied = true;
            } else {
                i++;
            }
        if (!copied) sim_api->sleep();
    }
}

template <int count> TGF_DEVICE void registers_shrink() { static_assert(count % 8 == 0 && count >= 24, "registers"); }
template <int count> TGF_DEVICE void registers_grow() { static_assert(count % 8 == 0 && count <= 256, "registers"); }

// ---- products of warpgroups

// Element (row, k) of an operand; PTX ISA, "Shared Memory Matrix Layout", 128-byte swizzle.
static float sim_operand(const char *shared, u64 descriptor, bool turned, bool bf16, int row, int k) {
    u32 start = (u32)(descriptor & 0x3fff) << 4, block = (u32)(descriptor >> 16 & 0x3fff) << 4,
        group = (u32)(descriptor >> 32 & 0x3fff) << 4;
    u32 at = turned ? start + row / 64 * block + k / 8 * group + k % 8 * 128 + row % 64 * 2
                    : start + row / 8 * group + row % 8 * 128 + k * 2;
    at ^= (at >> 7 & 7) << 4;
    u16 x = *(const u16 *)(shared + at);
    return bf16 ? from_bf16(x) : from_f16(x);
}

static void sim_product(SimHopperWarp *w, const SimWgmma &p, int warp) {
    static thread_local float a[16][16], b[256][16];
    const char *shared = tgf_shared();
    for (int k = 0; k < 16; k++) {
        for (int r = 0; r < 16; r++) a[r][k] = sim_operand(shared, p.a, p.turn_a, p.bf16, warp % 4 * 16 + r, k);
        for (int c = 0; c < p.n; c++) b[c][k] = sim_operand(shared, p.b, p.turn_b, p.bf16, c, k);
    }
    for (int lane = 0; lane < 32; lane++)
        for (int i = 0; i < p.n / 2; i++) {
            int row = lane / 4 + i / 2 % 2 * 8, column = i / 4 * 8 + lane % 4 * 2 + i % 2;
            float sum = p.add ? w->sum[lane * (p.n / 2) + i] : 0;
            for (int k = 0; k < 16; k++) sum += a[row][k] * b[column][k];
            w->sum[lane * (p.n / 2) + i] = sum;
        }
}

static void sim_wgmma(void **lanes) {
    SimHopperWarp *w = sim_hopper_warp();
    const SimWgmma *first = (const SimWgmma *)lanes[0];
    if (!w->fenced) sim_api->fail("wgmma without a wgmma_fence since its registers were last in use");
    if (first->a >> 62 != 1 || first->b >> 62 != 1) sim_api->fail("wgmma: only the 128-byte swizzle is simulated");
    bool begun = !w->products.empty();
    if (begun && (w->n != first->n || w->d[0] != first->d))
        sim_api->fail("wgmma: two sums under way in one warp are not simulated");
    if (!begun) w->n = first->n, w->sum.resize(32 * (w->n / 2));
    for (int l = 0; l < 32; l++) {
        const SimWgmma *p = (const SimWgmma *)lanes[l];
        if (p->a != first->a || p->b != first->b || p->add != first->add)
            sim_api->fail("wgmma: descriptors differ between lanes");
        if (begun) continue;
        w->d[l] = p->d;
        for (int i = 0; i < w->n / 2; i++) {
            w->sum[l * (w->n / 2) + i] = p->d[i];
            p->d[i] = bits_float(0x7fffffff);
        }
    }
    w->products.push_back({*first, w->groups, false});
}
template <int n, bool bf16, int turn_a, int turn_b> TGF_DEVICE void wgmma(float *d, u64 a, u64 b, u32 add) {
    static_assert(n % 8 == 0 && n <= 256, "columns of a product");
    SimWgmma p = {d, a, b, n, bf16, turn_a != 0, turn_b != 0, add};
    sim_api->meet_warp("wgmma", sim_wgmma, &p);
}

static void sim_products(SimHopperWarp *w, u64 groups) { // performs those of groups below
    int warp = sim_api->self()->number / 32;
    for (SimProduct &p : w->products)
        if (p.group < groups && !p.done) sim_product(w, p.p, warp), p.done = true;
}
static void sim_wgmma_fence(void **) { sim_hopper_warp()->fenced = true; }
static void sim_wgmma_commit(void **) {
    SimHopperWarp *w = sim_hopper_warp();
    w->groups++;
    if (!sim_hopper()->late_products) sim_products(w, w->groups);
}
static void sim_wgmma_wait(void **lanes) {
    SimHopperWarp *w = sim_hopper_warp();
    u64 left = (u64) * (const int *)lanes[0], through = w->groups > left ? w->groups - left : 0;
    sim_products(w, through);
    unsigned kept = 0;
    for (const SimProduct &p : w->products)
        if (p.group >= through) w->products[kept++] = p;
    bool ended = kept == 0 && !w->products.empty();
    w->products.resize(kept);
    if (!ended) return;
    for (int l = 0; l < 32; l++)
        for (int i = 0; i < w->n / 2; i++) w->d[l][i] = w->sum[l * (w->n / 2) + i];
    w->fenced = false;
}
TGF_DEVICE void wgmma_fence() { sim_api->meet_warp("wgmma_fence", sim_wgmma_fence, nullptr); }
TGF_DEVICE void wgmma_commit() { sim_api->meet_warp("wgmma_commit", sim_wgmma_commit, nullptr); }
template <int groups> TGF_DEVICE void wgmma_wait() {
    int left = groups;
    sim_api->meet_warp("wgmma_wait", sim_wgmma_wait, &left);
}
