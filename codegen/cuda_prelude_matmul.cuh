// SPDX-License-Identifier: Apache-2.0
// Matrix products of one block, as templates over the shape that codegen/cuda_matmul.c writes in front of each kernel:
//
//   struct Shape {
//       typedef MatmulBf16 Real;                              // MatmulBf16, MatmulF16, MatmulTf32, MatmulF32
//       static const u32 M, N, K, batches;
//       static const int tile_m, tile_n, tile_k;            // of a block, for one stage of the pipeline
//       static const int warps_m, warps_n, warps_k, stages; // warps_k > 1: warps share the depth of a stage
//       static const bool accumulate;
//       struct A, B { along_k, width, linear, row_stride, depth_linear, depth_stride, batch(i), row(i), depth(i) };
//       struct C { width, batch(i), row(i), column(i) };
//   };
//
// Offsets and strides are in bytes. A's rows are m, B's rows are n, both have a depth k; `along_k`: copies of `width`
// bytes run along the depth, else along the rows. linear: row(i) is i * row_stride.
//
// A pipeline of `stages` tiles in shared memory is filled by asynchronous copies; tiles lie in lines along the direction
// of the copies, the 16-byte pieces of a line permuted so that the eight rows a matrix load reads are in different
// banks. Operands that lie in memory in pieces of 2 bytes travel through registers.
#pragma once

#define TGF_DEVICE_MEMBER __device__ __forceinline__

struct alignas(16) MatmulPiece {
    u32 word[4];
};

// ---- element types: Memory as it lies in memory; mma: of depth 32 bytes
struct MatmulBf16 {
    typedef u16 Memory;
    static const bool is_bf16 = true;
    TGF_DEVICE void mma(float *d, u32 *a, u32 *b) { mma_bf16(d, a, b); }
    TGF_DEVICE void fit(u32 *) {}
    TGF_DEVICE u16 round(float x) { return to_bf16(x); }
    TGF_DEVICE void put_pair(char *to, float x, float y) { *(u32 *)to = to_bf16x2(x, y); }
};
struct MatmulF16 {
    typedef u16 Memory;
    static const bool is_bf16 = false;
    TGF_DEVICE void mma(float *d, u32 *a, u32 *b) { mma_f16(d, a, b); }
    TGF_DEVICE void fit(u32 *) {}
    TGF_DEVICE u16 round(float x) { return to_f16(x); }
    TGF_DEVICE void put_pair(char *to, float x, float y) { *(u32 *)to = to_f16x2(x, y); }
};
struct MatmulF32 {
    typedef float Memory;
    TGF_DEVICE float round(float x) { return x; }
    TGF_DEVICE void put_pair(char *to, float x, float y) { *(float2 *)to = make_float2(x, y); }
};
struct MatmulTf32 : MatmulF32 {
    TGF_DEVICE void mma(float *d, u32 *a, u32 *b) { mma_tf32(d, a, b); }
    TGF_DEVICE void fit(u32 *x) { *x = to_tf32(bits_float(*x)); }
};

// ---- where element (row, k) of an operand's tile is in shared memory

// Permutes the 16-byte pieces of a line: any eight neighbouring lines have the same piece in different banks.
template <int pieces> TGF_DEVICE int matmul_swizzle(int line, int piece) {
    return pieces >= 8 ? piece ^ (line & 7) : piece ^ (line / (8 / pieces) & (pieces - 1));
}

template <int rows, int depth, int size> struct MatmulLinesAlongK {
    static const int bytes = rows * depth * size, line_bytes = depth * size;
    TGF_DEVICE int place(int row, int k) {
        return row * line_bytes + matmul_swizzle<line_bytes / 16>(row, k * size / 16) * 16 + k * size % 16;
    }
};
template <int rows, int depth, int size> struct MatmulLinesAlongRows {
    static const int bytes = rows * depth * size, line_bytes = rows * size;
    TGF_DEVICE int place(int row, int k) {
        // Words are read one by one, four lines and eight rows at a time; 16-bit elements by matrix loads.
        int piece = row * size / 16, line = k * line_bytes + row * size % 16;
        if (size == 4) return line + (line_bytes >= 128 ? piece ^ (k & 3) << 1 : piece) * 16;
        return line + matmul_swizzle<line_bytes / 16>(k, piece) * 16;
    }
};
template <int rows, int depth, int size> struct MatmulLinesPadded { // along the rows; f32
    static const int line_bytes = (rows + 4) * size, bytes = line_bytes * depth;
    TGF_DEVICE int place(int row, int k) { return k * line_bytes + row * size; }
};
template <bool along_k, int rows, int depth, int size> struct MatmulLines : MatmulLinesAlongRows<rows, depth, size> {};
template <int rows, int depth, int size> struct MatmulLines<true, rows, depth, size> : MatmulLinesAlongK<rows, depth, size> {};

// ---- copies of one operand's tiles from global into shared memory, by all `threads` of the block
template <class Operand, class Place, class Memory, int rows, int depth, int threads, u32 R, u32 K> struct MatmulLoader {
    static const int each = Operand::width / (int)sizeof(Memory); // elements of one copy
    static const int per_line = (Operand::along_k ? depth : rows) / each;
    static const int lines = Operand::along_k ? rows : depth;
    static const int lines_at_once = threads / per_line;
    static const int count = (lines + lines_at_once - 1) / lines_at_once;
    static_assert(threads % per_line == 0, "a line is copied at once");
    static const bool held = Operand::width == 2; // in registers on the way

    const char *base; // element (first row, 0)
    i64 offset[Operand::along_k && !Operand::linear ? count : 1];
    u16 value[held ? count : 1];
    u32 first;   // row of the tile
    int line, at; // of this thread's first copy; elements from the line's start

    // The tile whose first row is `row`, of the operand that begins at `from`.
    TGF_DEVICE_MEMBER void begin(const char *from, u32 row, int thread) {
        first = row;
        line = thread / per_line;
        at = thread % per_line * each;
        if (!Operand::along_k) {
            base = from + Operand::row(row + at);
        } else if (Operand::linear) {
            base = from + (i64)(row + line) * Operand::row_stride;
        } else {
            base = from;
#pragma unroll
            for (int i = 0; i < count; i++) offset[i] = Operand::row(row + line + i * lines_at_once);
        }
    }
    // Bytes of a copy that are inside, given how many elements are left there.
    TGF_DEVICE int inside(u32 index, u32 extent) {
        if (each == 1 || extent % each == 0) return index < extent ? Operand::width : 0;
        return index >= extent              ? 0
               : index + each <= extent ? Operand::width
                                        : (int)(extent - index) * (int)sizeof(Memory);
    }
    TGF_DEVICE_MEMBER void copy(int i, char *to, const char *from, int bytes) {
        if (Operand::width == 16) copy_async16(to, from, bytes);
        else if (Operand::width == 4) copy_async4(to, from, bytes);
        else value[held ? i : 0] = bytes ? gload((const u16 *)from) : (u16)0;
    }
    // Starts the copies of stage `step` of the depth into `tile`.
    TGF_DEVICE_MEMBER void fetch(char *tile, u32 step) {
        u32 k0 = step * depth;
        if (Operand::along_k) {
            int bytes = inside(k0 + at, K);
            const char *from = base + Operand::depth(k0 + at);
#pragma unroll
            for (int i = 0; i < count; i++) {
                int row = line + i * lines_at_once;
                if (lines % lines_at_once && row >= lines) break;
                bool in = R % rows == 0 || first + row < R;
                i64 further = Operand::linear ? i * (lines_at_once * Operand::row_stride) : offset[Operand::linear ? 0 : i];
                copy(i, tile + Place::place(row, at), from + further, in ? bytes : 0);
            }
        } else {
            int bytes = inside(first + at, R);
            const char *from = base + Operand::depth_stride * (i64)(k0 + line);
#pragma unroll
            for (int i = 0; i < count; i++) {
                int k = line + i * lines_at_once;
                if (lines % lines_at_once && k >= lines) break;
                bool in = K % depth == 0 || k0 + k < K;
                const char *here = Operand::depth_linear ? from + i * (lines_at_once * Operand::depth_stride)
                                                         : base + Operand::depth(k0 + k);
                copy(i, tile + Place::place(at, k), here, in ? bytes : 0);
            }
        }
    }
    // What fetch left in registers goes to the same tile.
    TGF_DEVICE_MEMBER void deposit(char *tile) {
        if (!held) return;
#pragma unroll
        for (int i = 0; i < count; i++) {
            int l = line + i * lines_at_once;
            if (lines % lines_at_once && l >= lines) break;
            *(u16 *)(tile + (Operand::along_k ? Place::place(l, at) : Place::place(at, l))) = value[held ? i : 0];
        }
    }
};

// ---- tiles of a grid

// Tiles in the order they are done: panels of some tiles along m, so that what runs at one time is about as high as wide,
// reads few different rows and columns and finds them in the second-level cache.
template <class S> struct MatmulTile {
    static const u32 tiles_m = (S::M + S::tile_m - 1) / S::tile_m, tiles_n = (S::N + S::tile_n - 1) / S::tile_n;
    static const u32 tiles = tiles_m * tiles_n * S::batches, panel = S::tile_n > S::tile_m ? 16 : 8;
    u32 batch, m, n; // first indices
    TGF_DEVICE_MEMBER MatmulTile(u32 tile) {
        batch = S::batches == 1 ? 0 : tile / (tiles_m * tiles_n);
        u32 in = S::batches == 1 ? tile : tile % (tiles_m * tiles_n);
        u32 top = in / (panel * tiles_n) * panel;
        u32 high = tiles_m % panel == 0 || tiles_m - top >= panel ? panel : tiles_m - top;
        in %= panel * tiles_n;
        m = (top + in % high) * S::tile_m;
        n = in / high * S::tile_n;
    }
};

// Writes elements (m, n .. n + each) of C, those that exist.
template <class S, int each> TGF_DEVICE void matmul_put(char *c, u32 m, u32 n, const float *x) {
    typedef typename S::Real::Memory Memory;
    char *row = c + S::C::row(m);
    if (S::N % S::tile_n && n >= S::N) return;
    if (each > 1 && (S::N % each == 0 || n + each <= S::N)) {
        union {
            MatmulPiece all;
            Memory one[each];
        } piece;
        char *to = row + S::C::column(n);
        if (S::accumulate) piece.all = gload((const MatmulPiece *)to);
#pragma unroll
        for (int i = 0; i < each; i++)
            piece.one[i] = S::accumulate ? (Memory)((float)piece.one[i] + x[i]) : S::Real::round(x[i]);
        gstore((MatmulPiece *)to, piece.all);
        return;
    }
#pragma unroll
    for (int i = 0; i < each; i++) {
        if (n + i >= S::N) break;
        Memory *to = (Memory *)(row + S::C::column(n + i));
        gstore(to, S::accumulate ? (Memory)((float)gload(to) + x[i]) : S::Real::round(x[i]));
    }
}

// `each` elements from a line of a tile in shared memory: f32 sums, or (out_size 2) already rounded.
template <class S, int each, int out_size> TGF_DEVICE void matmul_put_line(char *c, u32 m, u32 n, const char *from) {
    typedef typename S::Real::Memory Memory;
    if (S::N % S::tile_n && n >= S::N) return;
    if (out_size == 4) {
        float x[each];
#pragma unroll
        for (int i = 0; i < each; i++) x[i] = ((const float *)from)[i];
        matmul_put<S, each>(c, m, n, x);
    } else if (each > 1 && (S::N % each == 0 || n + each <= S::N)) {
        gstore((MatmulPiece *)(c + S::C::row(m) + S::C::column(n)), *(const MatmulPiece *)from);
    } else {
#pragma unroll
        for (int i = 0; i < each; i++)
            if (n + i < S::N) gstore((Memory *)(c + S::C::row(m) + S::C::column(n + i)), ((const Memory *)from)[i]);
    }
}

// ---- tensor cores, by warps

// Fragments of 16 rows and 32 bytes of depth from a tile. `by_rows`: order of the four 8-row, 16-byte quarters: the two
// row halves first (A), else the two depth halves (B, which is two fragments then).
template <class S, class Operand, class Place, bool by_rows>
TGF_DEVICE void matmul_fragments(u32 *f, const char *tile, int row, int k, int lane) {
    typedef typename S::Real Real;
    const int half = 16 / (int)sizeof(typename Real::Memory); // elements of 16 bytes
    int quarter = lane / 8, low = by_rows ? quarter & 1 : quarter >> 1, high = by_rows ? quarter >> 1 : quarter & 1;
    if (Operand::along_k) {
        ldmatrix_x4(f, tile + Place::place(row + low * 8 + lane % 8, k + high * half));
    } else if (half == 8) {
        ldmatrix_x4_t(f, tile + Place::place(row + low * 8, k + high * 8 + lane % 8));
    } else {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            int r = by_rows ? i & 1 : i >> 1, d = by_rows ? i >> 1 : i & 1;
            f[i] = *(const u32 *)(tile + Place::place(row + r * 8 + lane / 4, k + d * 4 + lane % 4));
        }
    }
#pragma unroll
    for (int i = 0; i < 4; i++) Real::fit(f + i);
}

template <class S> struct WarpMatmul {
    typedef typename S::Real Real;
    typedef typename Real::Memory Memory;
    static const int size = (int)sizeof(Memory), threads = 32 * S::warps_m * S::warps_n * S::warps_k;
    static const int unit = 32 / size; // depth of one mma
    static const int wm = S::tile_m / S::warps_m, wn = S::tile_n / S::warps_n, fm = wm / 16, fn = wn / 16;
    static const int units = S::tile_k / unit / S::warps_k; // of a stage, for one warp
    static const u32 steps = (S::K + S::tile_k - 1) / S::tile_k;
    typedef MatmulLines<S::A::along_k, S::tile_m, S::tile_k, size> PlaceA;
    typedef MatmulLines<S::B::along_k, S::tile_n, S::tile_k, size> PlaceB;
    typedef MatmulLoader<typename S::A, PlaceA, Memory, S::tile_m, S::tile_k, threads, S::M, S::K> LoaderA;
    typedef MatmulLoader<typename S::B, PlaceB, Memory, S::tile_n, S::tile_k, threads, S::N, S::K> LoaderB;
    static const int stage_bytes = PlaceA::bytes + PlaceB::bytes;
    // Fragments are read one unit ahead where registers are left for two sets of them.
    static const bool ahead = fm * fn * 8 + 2 * (fm + fn) * 4 <= 160;
    // C's tile on its way out: f32 where warps add up parts of the depth
    static const int out_size = S::warps_k > 1 ? 4 : size;
    static const int out_line = S::tile_n * out_size + (out_size == 4 ? 32 : 16);
    static_assert(fm * 16 == wm && fn * 16 == wn && units >= 1 && S::stages >= 3, "tiles are of whole fragments");

    // All warps that take part meet; block: they are the whole block.
    template <bool block> TGF_DEVICE void meet() {
        if (block) sync_block();
        else sync_named(1, threads);
    }

    TGF_DEVICE void read(u32 (*a)[4], u32 (*b)[4], const char *stage, int row, int column, int unit_at, int lane) {
#pragma unroll
        for (int i = 0; i < fm; i++)
            matmul_fragments<S, typename S::A, PlaceA, true>(a[i], stage, row + i * 16, unit_at * unit, lane);
#pragma unroll
        for (int i = 0; i < fn; i++)
            matmul_fragments<S, typename S::B, PlaceB, false>(b[i], stage + PlaceA::bytes, column + i * 16, unit_at * unit, lane);
    }

    // The tile's sums into sum[fm][2 fn][4], as an mma leaves them.
    template <bool block>
    TGF_DEVICE void sums(float (*sum)[2 * fn][4], const char *a, const char *b, MatmulTile<S> at, char *shared, int thread) {
#pragma unroll
        for (int i = 0; i < fm * fn * 8; i++) sum[i / (fn * 8)][i / 4 % (fn * 2)][i % 4] = 0;
        if (!steps) return;
        int lane = thread % 32, warp = thread / 32, slice = warp / (S::warps_m * S::warps_n);
        int row = warp % S::warps_m * wm, column = warp / S::warps_m % S::warps_n * wn;
        LoaderA load_a;
        LoaderB load_b;
        load_a.begin(a + S::A::batch(at.batch), at.m, thread);
        load_b.begin(b + S::B::batch(at.batch), at.n, thread);
#pragma unroll
        for (int s = 0; s < S::stages - 1; s++) {
            if (s < (int)steps) {
                char *stage = shared + s * stage_bytes;
                load_a.fetch(stage, s), load_a.deposit(stage);
                load_b.fetch(stage + PlaceA::bytes, s), load_b.deposit(stage + PlaceA::bytes);
            }
            copy_async_commit();
        }
        u32 fa[ahead ? 2 : 1][fm][4], fb[ahead ? 2 : 1][fn][4];
        if (ahead) {
            copy_async_wait<S::stages - 2>();
            meet<block>();
            read(fa[0], fb[0], shared, row, column, slice * units, lane);
        }
        int now = 0, fill = S::stages - 1; // stages that are read and filled
#pragma unroll 1
        for (u32 step = 0; step < steps; step++) {
            char *coming = shared + fill * stage_bytes;
            bool more = step + S::stages - 1 < steps;
            int next = now + 1 == S::stages ? 0 : now + 1;
            if (!ahead) { // this stage is there, the one before was read
                copy_async_wait<S::stages - 2>();
                meet<block>();
            }
            if (more) { // everyone has left the stage that is filled now
                load_a.fetch(coming, step + S::stages - 1);
                load_b.fetch(coming + PlaceA::bytes, step + S::stages - 1);
            }
            copy_async_commit();
#pragma unroll
            for (int u = 0; u < units; u++) {
                int set = ahead ? u & 1 : 0;
                if (ahead && u == units - 1) { // the next stage is there, this one was read
                    copy_async_wait<S::stages - 2>();
                    meet<block>();
                }
                const char *from = shared + (ahead && u == units - 1 ? next : now) * stage_bytes;
                if (!ahead) read(fa[0], fb[0], from, row, column, slice * units + u, lane);
                else if (u < units - 1 || step + 1 < steps)
                    read(fa[set ^ 1], fb[set ^ 1], from, row, column, slice * units + (u + 1) % units, lane);
#pragma unroll
                for (int j = 0; j < 2 * fn; j++)
#pragma unroll
                    for (int i = 0; i < fm; i++) Real::mma(sum[i][j], fa[set][i], fb[set][j / 2] + j % 2 * 2);
            }
            if (ahead && units % 2) { // the fragments read last are the first of the next stage
#pragma unroll
                for (int i = 0; i < fm * 4; i++) fa[0][i / 4][i % 4] = fa[ahead][i / 4][i % 4];
#pragma unroll
                for (int i = 0; i < fn * 4; i++) fb[0][i / 4][i % 4] = fb[ahead][i / 4][i % 4];
            }
            if (more) load_a.deposit(coming), load_b.deposit(coming + PlaceA::bytes);
            now = next;
            fill = fill + 1 == S::stages ? 0 : fill + 1;
        }
    }

    // Lays the sums out as lines of C in shared memory, then writes whole pieces of them.
    template <bool block> TGF_DEVICE void store(float (*sum)[2 * fn][4], char *c, MatmulTile<S> at, char *shared, int thread) {
        int lane = thread % 32, warp = thread / 32, slice = warp / (S::warps_m * S::warps_n);
        int row = warp % S::warps_m * wm + lane / 4, column = warp / S::warps_m % S::warps_n * wn + lane % 4 * 2;
        copy_async_wait<0>();
        meet<block>(); // nobody reads stages any more
#pragma unroll
        for (int turn = 0; turn < S::warps_k; turn++) { // in order: the same sums every time
            if (turn == slice) {
#pragma unroll
                for (int i = 0; i < fm * fn * 4; i++) {
                    int f = i / (fn * 4), j = i / 2 % (fn * 2), half = i % 2;
                    float x = sum[f][j][half * 2], y = sum[f][j][half * 2 + 1];
                    char *to = shared + (row + f * 16 + half * 8) * out_line + (column + j * 8) * out_size;
                    if (S::warps_k == 1) {
                        Real::put_pair(to, x, y);
                    } else {
                        float2 *pair = (float2 *)to;
                        *pair = turn ? make_float2(pair->x + x, pair->y + y) : make_float2(x, y);
                    }
                }
            }
            meet<block>();
        }
        const int each = S::C::width / size, per_line = S::tile_n / each, total = S::tile_m * per_line;
#pragma unroll (each > 1 ? 4 : 1)
        for (int i = thread; i < total; i += threads) {
            int r = i / per_line, n = i % per_line * each;
            if (S::M % S::tile_m && at.m + r >= S::M) break;
            const char *from = shared + r * out_line + n * out_size;
            matmul_put_line<S, each, out_size>(c + S::C::batch(at.batch), at.m + r, at.n + n, from);
        }
        meet<block>(); // the next tile's stages take the place
    }

    // block: the warps that take part are the whole block; else its first ones.
    template <bool block> TGF_DEVICE void run(const char *a, const char *b, char *c) {
        int thread = (int)threadIdx.x;
        if (!block && thread >= threads) return;
        char *shared = tgf_shared();
        for (u32 tile = blockIdx.x; tile < MatmulTile<S>::tiles; tile += gridDim.x) {
            float sum[fm][2 * fn][4];
            sums<block>(sum, a, b, MatmulTile<S>(tile), shared, thread);
            store<block>(sum, c, MatmulTile<S>(tile), shared, thread);
        }
    }
};

// ---- f32 arithmetic: 256 threads, each with a block of rows and columns of the tile's
template <class S> struct ScalarMatmul {
    static const int threads = 256, rows = S::tile_m / 16, columns = S::tile_n / 16; // of a thread, in groups of four
    static const u32 steps = (S::K + S::tile_k - 1) / S::tile_k;
    typedef MatmulLinesPadded<S::tile_m, S::tile_k, 4> PlaceA;
    typedef MatmulLinesPadded<S::tile_n, S::tile_k, 4> PlaceB;
    static const int stage_bytes = PlaceA::bytes + PlaceB::bytes;

    // The first index of group g of this thread's.
    TGF_DEVICE int group(int g, int thread_at) { return g * 64 + thread_at * 4; }

    TGF_DEVICE void run(const char *a, const char *b, char *c) {
        int thread = (int)threadIdx.x;
        // A warp is 4 threads high and 8 wide: it reads 64 bytes of A and 128 of B at a time.
        int high = thread / 64 * 4 + thread % 32 / 8, wide = thread / 32 % 2 * 8 + thread % 8;
        char *shared = tgf_shared();
        MatmulTile<S> at(blockIdx.x);
        MatmulLoader<typename S::A, PlaceA, float, S::tile_m, S::tile_k, threads, S::M, S::K> load_a;
        MatmulLoader<typename S::B, PlaceB, float, S::tile_n, S::tile_k, threads, S::N, S::K> load_b;
        load_a.begin(a + S::A::batch(at.batch), at.m, thread);
        load_b.begin(b + S::B::batch(at.batch), at.n, thread);
        float sum[rows][columns];
#pragma unroll
        for (int i = 0; i < rows * columns; i++) sum[i / columns][i % columns] = 0;
#pragma unroll
        for (int s = 0; s < S::stages - 1; s++) {
            char *stage = shared + s * stage_bytes;
            if (s < (int)steps) load_a.fetch(stage, s), load_b.fetch(stage + PlaceA::bytes, s);
            copy_async_commit();
        }
        int now = 0, fill = S::stages - 1;
#pragma unroll 1
        for (u32 step = 0; step < steps; step++) {
            copy_async_wait<S::stages - 2>();
            sync_block();
            char *coming = shared + fill * stage_bytes;
            if (step + S::stages - 1 < steps)
                load_a.fetch(coming, step + S::stages - 1), load_b.fetch(coming + PlaceA::bytes, step + S::stages - 1);
            copy_async_commit();
            const char *stage = shared + now * stage_bytes;
#pragma unroll
            for (int k = 0; k < S::tile_k; k++) {
                MatmulPiece x[rows / 4], y[columns / 4];
#pragma unroll
                for (int g = 0; g < rows / 4; g++) x[g] = *(const MatmulPiece *)(stage + PlaceA::place(group(g, high), k));
#pragma unroll
                for (int g = 0; g < columns / 4; g++)
                    y[g] = *(const MatmulPiece *)(stage + PlaceA::bytes + PlaceB::place(group(g, wide), k));
#pragma unroll
                for (int i = 0; i < rows; i++)
#pragma unroll
                    for (int j = 0; j < columns; j++)
                        sum[i][j] = fma_f32(bits_float(x[i / 4].word[i % 4]), bits_float(y[j / 4].word[j % 4]), sum[i][j]);
            }
            now = now + 1 == S::stages ? 0 : now + 1;
            fill = fill + 1 == S::stages ? 0 : fill + 1;
        }
        const int each = S::C::width / 4;
#pragma unroll
        for (int i = 0; i < rows; i++) {
            u32 m = at.m + group(i / 4, high) + i % 4;
            if (S::M % S::tile_m && m >= S::M) continue;
#pragma unroll
            for (int j = 0; j < columns; j += each)
                matmul_put<S, each>(c + S::C::batch(at.batch), m, at.n + group(j / 4, wide) + j % 4, &sum[i][j]);
        }
    }
};
