// SPDX-License-Identifier: Apache-2.0
// Attention on tensor cores, without scores in global memory (Dao 2023, "FlashAttention-2", sections 3.1 to 3.3): what
// the forward and backward kernels share, and the forward one. A kernel is one of these templates for a shape D that
// cuda_attend.c writes out: extents, strides in elements, blocks, all known when the kernel is made.
//
// A block of threads owns some rows of one outer index, 16 m of them a warp, and goes through the rows they meet, block
// by block. Products are of tiles in shared memory (rows of `width` elements, a multiple of 16, zeros beyond the
// operand's) and of accumulators: acc[i][j] is the 16 x 8 tile (i, j) as the accumulators of mma.m16n8 lie, that is, of
// lane l elements (l / 4, 2 (l % 4) + {0, 1}) and (l / 4 + 8, same). Scores become the left operand of the next product
// without leaving their registers.
#ifndef TGF_PRELUDE_ATTEND
#define TGF_PRELUDE_ATTEND

// ---- element types: Bits in memory; products of f32 take three of tf32 (hi hi + hi lo + lo hi), nearly exact
struct AttendBf16 {
    typedef u16 Bits;
    static constexpr int bytes = 2;
    template <int width> static constexpr int pitch = width * 2 + 16; // bytes of a tile's row: no bank conflicts
    TGF_DEVICE float from(u16 x) { return from_bf16(x); }
    TGF_DEVICE u16 to(float x) { return to_bf16(x); }
    TGF_DEVICE u32 pair(float low, float high) { return to_bf16x2(low, high); }
    TGF_DEVICE void mma(float *d, const u32 *a, const u32 *b) { mma_bf16(d, a, b); }
};
struct AttendF16 {
    typedef u16 Bits;
    static constexpr int bytes = 2;
    template <int width> static constexpr int pitch = width * 2 + 16;
    TGF_DEVICE float from(u16 x) { return from_f16(x); }
    TGF_DEVICE u16 to(float x) { return to_f16(x); }
    TGF_DEVICE u32 pair(float low, float high) { return to_f16x2(low, high); }
    TGF_DEVICE void mma(float *d, const u32 *a, const u32 *b) { mma_f16(d, a, b); }
};
struct AttendF32 {
    typedef float Bits;
    static constexpr int bytes = 4;
    template <int width> static constexpr int pitch = width * 4 + 16;
    TGF_DEVICE float from(float x) { return x; }
    TGF_DEVICE float to(float x) { return x; }
};

static constexpr float attend_log2_e = 1.44269504f, attend_ln_2 = 0.693147181f;

TGF_DEVICE float attend_infinity() { return bits_float(0x7f800000u); }
TGF_DEVICE int attend_min(int x, int y) { return x < y ? x : y; }
TGF_DEVICE int attend_max(int x, int y) { return x > y ? x : y; }
TGF_DEVICE float attend_higher(float x, float y) {
#ifdef TGF_CUDASIM
    return x > y ? x : y;
#else
    asm("max.f32 %0, %0, %1;" : "+f"(x) : "f"(y));
    return x;
#endif
}
TGF_DEVICE int attend_warp() { return (int)threadIdx.x / 32; }
TGF_DEVICE int attend_lane() { return (int)threadIdx.x % 32; }

// ---- tiles
// Rows [0, rows) of an operand (its element (0, 0) at `from`) become a tile; those from `count` on are zeros. Rows that
// are 16-byte pieces of memory are copied asynchronously, others element by element; the caller commits, waits, syncs.
template <class D, int rows, int width, i64 row, i64 column, int columns>
TGF_DEVICE void attend_load(char *tile, const char *from, int count) {
    typedef typename D::R R;
    constexpr int pitch = R::template pitch<width>;
    if (column == 1 && row * R::bytes % 16 == 0 && ((u64)from & 15) == 0) {
        constexpr int piece = 16 / R::bytes, pieces = width / piece;
#pragma unroll 4
        for (int i = (int)threadIdx.x; i < rows * pieces; i += D::threads) {
            int r = i / pieces, c = i % pieces * piece;
            int here = r < count ? attend_max(attend_min(columns - c, piece), 0) : 0;
            copy_async16(tile + r * pitch + c * R::bytes, here ? from + (r * row + c) * R::bytes : from,
                         here * R::bytes);
        }
        return;
    }
    constexpr bool down = row < column; // neighbours in memory are neighbours in a column
    typedef typename R::Bits Bits;
#pragma unroll 1
    for (int i = (int)threadIdx.x; i < rows * width; i += D::threads) {
        int r = down ? i % rows : i / width, c = down ? i / rows : i % width;
        Bits x = 0;
        if (r < count && c < columns) x = gload((const Bits *)from + r * row + c * column);
        *(Bits *)(tile + r * pitch + c * R::bytes) = x;
    }
}

// f32 as two tf32.
TGF_DEVICE void attend_split(float x, u32 *high, u32 *low) {
    *high = to_tf32(x);
    *low = to_tf32(x - bits_float(*high));
}
template <int n> TGF_DEVICE void attend_split_all(const float *x, u32 *high, u32 *low) {
#pragma unroll
    for (int i = 0; i < n; i++) attend_split(x[i], &high[i], &low[i]);
}
TGF_DEVICE void attend_mma_f32(float *d, const u32 *a_high, const u32 *a_low, const u32 *b_high, const u32 *b_low) {
    mma_tf32(d, a_low, b_high);
    mma_tf32(d, a_high, b_low);
    mma_tf32(d, a_high, b_high);
}

struct alignas(8) AttendTwo {
    float x, y;
};

template <int m, int n> TGF_DEVICE void attend_zero(float (*acc)[n][4]) {
#pragma unroll
    for (int i = 0; i < m; i++)
#pragma unroll
        for (int j = 0; j < n; j++)
#pragma unroll
            for (int e = 0; e < 4; e++) acc[i][j][e] = 0;
}

// Left operands of products, 16-bit: fragments of the warp's rows of a tile, columns [16 k, 16 k + 16).
template <class R, int m, int width> TGF_DEVICE void attend_left(u32 (*left)[4], const char *a, int k) {
    constexpr int pitch = R::template pitch<width>;
    a += attend_lane() % 16 * pitch + attend_lane() / 16 * 16;
#pragma unroll
    for (int i = 0; i < m; i++) ldmatrix_x4(left[i], a + i * 16 * pitch + k * 32);
}

// acc += a b^T of tiles of the same width: scores. a: at the warp's first row; or, 16-bit, `held`: its fragments. Of
// f32, terms are taken in pairs (2t, 2t + 1) where the fragments name (t, t + 4): the sum is the same.
template <class R, int m, int n, int width>
TGF_DEVICE void attend_rows_by_rows(float (*acc)[n][4], const char *a, const char *b, u32 (*held)[m][4] = nullptr) {
    constexpr int pitch = R::template pitch<width>;
    int lane = attend_lane();
    if constexpr (R::bytes == 2) {
        b += (lane % 8 + lane / 16 * 8) * pitch + lane / 8 % 2 * 16;
#pragma unroll
        for (int k = 0; k < width / 16; k++) {
            u32 fresh[m][4], (*left)[4] = held ? held[k] : fresh;
            if (!held) attend_left<R, m, width>(fresh, a, k);
#pragma unroll
            for (int j = 0; j < n; j += 2) {
                u32 right[4];
                ldmatrix_x4(right, b + j * 8 * pitch + k * 32);
#pragma unroll
                for (int i = 0; i < m; i++) {
                    R::mma(acc[i][j], left[i], right);
                    R::mma(acc[i][j + 1], left[i], right + 2);
                }
            }
        }
    } else {
        a += lane / 4 * pitch + lane % 4 * 8;
        b += lane / 4 * pitch + lane % 4 * 8;
#pragma unroll 4
        for (int k = 0; k < width / 8; k++) {
            u32 high[m][4], low[m][4];
#pragma unroll
            for (int i = 0; i < m; i++) {
                AttendTwo x = *(const AttendTwo *)(a + i * 16 * pitch + k * 32);
                AttendTwo y = *(const AttendTwo *)(a + (i * 16 + 8) * pitch + k * 32);
                float left[4] = {x.x, y.x, x.y, y.y};
                attend_split_all<4>(left, high[i], low[i]);
            }
#pragma unroll
            for (int j = 0; j < n; j++) {
                AttendTwo x = *(const AttendTwo *)(b + j * 8 * pitch + k * 32);
                float right[2] = {x.x, x.y};
                u32 right_high[2], right_low[2];
                attend_split_all<2>(right, right_high, right_low);
#pragma unroll
                for (int i = 0; i < m; i++) attend_mma_f32(acc[i][j], high[i], low[i], right_high, right_low);
            }
        }
    }
}

// acc += p b: p accumulators of 8 terms columns, b a tile of 8 terms rows and `width` columns.
template <class R, int m, int terms, int width>
TGF_DEVICE void attend_scores_by_rows(float (*acc)[width / 8][4], const float (*p)[terms][4], const char *b) {
    constexpr int pitch = R::template pitch<width>, n = width / 8;
    int lane = attend_lane();
    if constexpr (R::bytes == 2) {
        b += lane % 16 * pitch + lane / 16 * 16;
#pragma unroll
        for (int k = 0; k < terms / 2; k++) {
            u32 left[m][4];
#pragma unroll
            for (int i = 0; i < m; i++) {
                const float *x = p[i][2 * k], *y = p[i][2 * k + 1];
                left[i][0] = R::pair(x[0], x[1]), left[i][1] = R::pair(x[2], x[3]);
                left[i][2] = R::pair(y[0], y[1]), left[i][3] = R::pair(y[2], y[3]);
            }
#pragma unroll
            for (int j = 0; j < n; j += 2) {
                u32 right[4];
                ldmatrix_x4_t(right, b + k * 16 * pitch + j * 16);
#pragma unroll
                for (int i = 0; i < m; i++) {
                    R::mma(acc[i][j], left[i], right);
                    R::mma(acc[i][j + 1], left[i], right + 2);
                }
            }
        }
    } else {
        b += lane % 4 * 2 * pitch + lane / 4 * 4;
#pragma unroll
        for (int k = 0; k < terms; k++) {
            u32 high[m][4], low[m][4];
#pragma unroll
            for (int i = 0; i < m; i++) {
                float left[4] = {p[i][k][0], p[i][k][2], p[i][k][1], p[i][k][3]};
                attend_split_all<4>(left, high[i], low[i]);
            }
#pragma unroll
            for (int j = 0; j < n; j++) {
                const char *at = b + k * 8 * pitch + j * 32;
                float right[2] = {*(const float *)at, *(const float *)(at + pitch)};
                u32 right_high[2], right_low[2];
                attend_split_all<2>(right, right_high, right_low);
#pragma unroll
                for (int i = 0; i < m; i++) attend_mma_f32(acc[i][j], high[i], low[i], right_high, right_low);
            }
        }
    }
}

// Writes the warp's rows below `count`, times factor[i][h] for rows 16 i + 8 h + lane / 4. to: the warp's first row.
template <class R, int m, int width, i64 row, i64 column, int columns>
TGF_DEVICE void attend_store(char *to, const float (*acc)[width / 8][4], const float (*factor)[2], int count) {
    typedef typename R::Bits Bits;
    Bits *out = (Bits *)to;
    int first = attend_lane() % 4 * 2;
    bool pairs = column == 1 && row % 2 == 0 && columns % 2 == 0 && (u64)to % (2 * R::bytes) == 0;
#pragma unroll
    for (int i = 0; i < m; i++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            int r = i * 16 + h * 8 + attend_lane() / 4;
            if (r >= count) continue;
#pragma unroll
            for (int j = 0; j < width / 8; j++) {
                int c = j * 8 + first;
                float x = acc[i][j][2 * h] * factor[i][h], y = acc[i][j][2 * h + 1] * factor[i][h];
                Bits *at = out + r * row + c * column;
                if (R::bytes == 2 && pairs) {
                    if constexpr (R::bytes == 2)
                        if (c < columns) gstore((u32 *)at, R::pair(x, y));
                } else {
                    if (c < columns) gstore(at, R::to(x));
                    if (c + 1 < columns) gstore(at + column, R::to(y));
                }
            }
        }
}

// ---- which key a query sees, at one outer index
struct AttendSight {
    int ahead;      // causal: t <= s + ahead; only bounded: t <= ahead
    const u8 *mask; // of query 0 and key 0
};

// between: position of query 0 minus that of key 0. last: the operand's first element.
template <class D> TGF_DEVICE AttendSight attend_sight(int o, i64 between, const char *mask, const char *last) {
    AttendSight x = {0, (const u8 *)mask + D::at_mask(o)};
    if (D::bounded) between += gload((const int *)last + D::at_last(o));
    i64 low = -(i64)D::queries, high = D::keys; // beyond these nothing changes
    x.ahead = (int)(between < low ? low : between > high ? high : between);
    return x;
}

template <class D> TGF_DEVICE bool attend_sees(const AttendSight &x, int s, int t) {
    if (t >= D::keys || s >= D::queries) return false;
    if (D::causal ? t - s > x.ahead : D::bounded && t > x.ahead) return false;
    return !D::masked || gload(x.mask + s * D::mask_row + t * D::mask_column) != 0;
}

// Keys of [0, keys) that any query below q_end may see.
template <class D> TGF_DEVICE int attend_key_end(const AttendSight &x, int q_end) {
    if (!D::causal && !D::bounded) return D::keys;
    int end = D::causal ? q_end + x.ahead : 1 + x.ahead;
    return attend_max(attend_min(end, D::keys), 0);
}

// Whether queries from s and keys below t_end all see each other.
template <class D> TGF_DEVICE bool attend_all_see(const AttendSight &x, int s, int t_end) {
    if (D::masked || t_end > D::keys) return false;
    return D::causal ? t_end - 1 - s <= x.ahead : !D::bounded || t_end - 1 <= x.ahead;
}

// Scores that take no part become -inf. turned: rows are keys.
template <class D, int m, int n, bool turned>
TGF_DEVICE void attend_exclude(float (*acc)[n][4], const AttendSight &sight, int row, int column) {
#pragma unroll
    for (int i = 0; i < m; i++)
#pragma unroll
        for (int j = 0; j < n; j++)
#pragma unroll
            for (int e = 0; e < 4; e++) {
                int r = row + i * 16 + attend_lane() / 4 + e / 2 * 8, c = column + j * 8 + attend_lane() % 4 * 2 + e % 2;
                if (!attend_sees<D>(sight, turned ? c : r, turned ? r : c)) acc[i][j][e] = -attend_infinity();
            }
}

// The scale is D::sign * D::scale with D::scale > 0, so that scaled scores are in the order of unscaled ones.
template <class D, int m, int n> TGF_DEVICE void attend_turn(float (*acc)[n][4]) {
    if constexpr (D::sign != 1) {
#pragma unroll
        for (int i = 0; i < m; i++)
#pragma unroll
            for (int j = 0; j < n; j++)
#pragma unroll
                for (int e = 0; e < 4; e++) acc[i][j][e] *= (float)D::sign;
    }
}

// ---- forward
struct AttendForward {
    const char *q, *k, *v; // each operand's first element
    char *y, *lse;
    const char *mask, *last; // null where there is none
    i64 between;             // position of query 0 minus that of key 0
};

// Of each row of a warp: the highest score so far and this lane's part of the sum of exp2(scale (score - highest)).
template <int m> struct AttendRowState {
    float high[m][2], sum[m][2];
};

// Scores become exp2(scale (score - highest so far)); shrink: what to multiply earlier sums with.
template <class D, int m, int n>
TGF_DEVICE void attend_softmax(AttendRowState<m> &state, float (*acc)[n][4], float (*shrink)[2]) {
    const float scale = D::scale * attend_log2_e;
#pragma unroll
    for (int i = 0; i < m; i++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            float high = state.high[i][h], sum = 0;
#pragma unroll
            for (int j = 0; j < n; j++)
                high = attend_higher(high, attend_higher(acc[i][j][2 * h], acc[i][j][2 * h + 1]));
            high = attend_higher(high, shfl_xor(high, 1));
            high = attend_higher(high, shfl_xor(high, 2));
            // With no key seen so far everything is -inf: any finite shift gives exp2(-inf) = 0 and no NaN.
            float shift = high == -attend_infinity() ? 0 : high * scale;
#pragma unroll
            for (int j = 0; j < n; j++)
#pragma unroll
                for (int e = 2 * h; e < 2 * h + 2; e++) {
                    acc[i][j][e] = exp2_fast(fma_f32(acc[i][j][e], scale, -shift));
                    sum += acc[i][j][e];
                }
            shrink[i][h] = exp2_fast(fma_f32(state.high[i][h], scale, -shift));
            state.sum[i][h] = fma_f32(state.sum[i][h], shrink[i][h], sum);
            state.high[i][h] = high;
        }
}

// acc *= shrink, unless no row of the warp shrinks: highest scores come early.
template <int m, int n> TGF_DEVICE void attend_shrink(float (*acc)[n][4], const float (*shrink)[2]) {
    bool any = false;
#pragma unroll
    for (int i = 0; i < m; i++) any = any || shrink[i][0] != 1 || shrink[i][1] != 1;
    if (!warp_ballot(any)) return;
#pragma unroll
    for (int i = 0; i < m; i++)
#pragma unroll
        for (int j = 0; j < n; j++)
#pragma unroll
            for (int e = 0; e < 4; e++) acc[i][j][e] *= shrink[i][e / 2];
}

// Sums become 1 / sum, 0 for a row without keys, and the rows' log of the sum of exponentials is written.
template <class D, int m> TGF_DEVICE void attend_finish(AttendRowState<m> &state, float *lse, int count) {
#pragma unroll
    for (int i = 0; i < m; i++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            float sum = state.sum[i][h];
            sum += shfl_xor(sum, 1);
            sum += shfl_xor(sum, 2);
            int r = i * 16 + h * 8 + attend_lane() / 4;
            float value = sum == 0 ? -attend_infinity()
                                   : fma_f32(state.high[i][h], D::scale, log2_fast(sum) * attend_ln_2);
            if (r < count && attend_lane() % 4 == 0) gstore(lse + r * D::lse_row, value);
            state.sum[i][h] = sum == 0 ? 0 : 1 / sum;
        }
}

template <class D> TGF_DEVICE void attend_forward(const AttendForward &a) {
    typedef typename D::R R;
    constexpr int m = D::m, rows = D::threads / 2 * m, t_block = D::t_block, n = t_block / 8;
    constexpr int k_bytes = t_block * R::template pitch<D::q_width>, v_bytes = t_block * R::template pitch<D::v_width>;
    // Late queries see the most keys: they start first.
    int job = (int)blockIdx.x;
    int block = D::causal ? D::blocks - 1 - job / D::outers : job % D::blocks;
    int o = D::causal ? job % D::outers : job / D::blocks;
    int q0 = block * rows, mine = attend_warp() * 16 * m;
    AttendSight sight = attend_sight<D>(o, a.between, a.mask, a.last);
    int end = attend_key_end<D>(sight, attend_min(q0 + rows, D::queries));
    int warp_end = q0 + mine < D::queries ? end : 0;
    const char *k = a.k + D::at_k(o) * R::bytes, *v = a.v + D::at_v(o) * R::bytes;
    char *q_tile = tgf_shared(), *tiles = q_tile + rows * R::template pitch<D::q_width>;
    attend_load<D, rows, D::q_width, D::q_row, D::q_column, D::q_columns>(
        q_tile, a.q + (D::at_q(o) + q0 * D::q_row) * R::bytes, D::queries - q0);
    auto load = [&](int t, int stage) {
        char *to = tiles + stage * (k_bytes + v_bytes);
        attend_load<D, t_block, D::q_width, D::k_row, D::k_column, D::q_columns>(to, k + t * D::k_row * R::bytes,
                                                                                 D::keys - t);
        attend_load<D, t_block, D::v_width, D::v_row, D::v_column, D::v_columns>(
            to + k_bytes, v + t * D::v_row * R::bytes, D::keys - t);
        copy_async_commit();
    };
    copy_async_commit();
    if (D::stages == 2 && end > 0) load(0, 0);
    // Fragments of q are kept in registers where there are enough of them.
    constexpr bool hold = R::bytes == 2 && D::hold_q;
    u32 held[hold ? D::q_width / 16 : 1][m][4];
    if constexpr (hold) {
        copy_async_wait<1>();
        sync_block();
#pragma unroll
        for (int i = 0; i < D::q_width / 16; i++)
            attend_left<R, m, D::q_width>(held[i], q_tile + mine * R::template pitch<D::q_width>, i);
    }
    AttendRowState<m> state;
    float out[m][D::v_width / 8][4];
    attend_zero<m, D::v_width / 8>(out);
#pragma unroll
    for (int i = 0; i < m; i++)
#pragma unroll
        for (int h = 0; h < 2; h++) state.high[i][h] = -attend_infinity(), state.sum[i][h] = 0;
    for (int t = 0, stage = 0; t < end; t += t_block) {
        if (D::stages == 1) {
            sync_block();
            load(t, 0);
        }
        copy_async_wait<0>();
        sync_block();
        if (D::stages == 2 && t + t_block < end) load(t + t_block, stage ^ 1);
        const char *k_tile = tiles + stage * (k_bytes + v_bytes);
        if (D::stages == 2) stage ^= 1;
        if (D::causal ? t > q0 + mine + 16 * m - 1 + sight.ahead : t >= warp_end) continue;
        float acc[m][n][4], shrink[m][2];
        attend_zero<m, n>(acc);
        attend_rows_by_rows<R, m, n, D::q_width>(acc, q_tile + mine * R::template pitch<D::q_width>, k_tile,
                                                     hold ? held : nullptr);
        attend_turn<D, m, n>(acc);
        if (!attend_all_see<D>(sight, q0 + mine, t + t_block)) attend_exclude<D, m, n, false>(acc, sight, q0 + mine, t);
        attend_softmax<D, m, n>(state, acc, shrink);
        attend_shrink<m, D::v_width / 8>(out, shrink);
        attend_scores_by_rows<R, m, n, D::v_width>(out, acc, k_tile + k_bytes);
    }
    int first = q0 + mine, count = D::queries - first;
    attend_finish<D, m>(state, (float *)a.lse + D::at_lse(o) + first * D::lse_row, count);
    attend_store<R, m, D::v_width, D::y_row, D::y_column, D::v_columns>(
        a.y + (D::at_y(o) + first * D::y_row) * R::bytes, out, state.sum, count);
}
#endif
