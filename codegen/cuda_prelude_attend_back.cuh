// SPDX-License-Identifier: Apache-2.0
// Attention backward (Dao 2023, "FlashAttention-2", section 3.1), scores computed again instead of kept. One launch of
// two kinds of blocks, so that every gradient is summed by one thread in one order and nothing waits: some own keys and
// go through the queries that see them (dk, dv; through the group's outer indices, in order), others own queries and go
// through the keys they see (dq). With P = exp2(scale score - log2 of the sum) and delta = the sum over columns of dy y:
//
//   dv = P^T dy     dS = P (dy v^T - delta)     dk = scale dS^T q     dq = scale dS k
#ifndef TGF_PRELUDE_ATTEND_BACK
#define TGF_PRELUDE_ATTEND_BACK

struct AttendBack {
    AttendForward forward;
    const char *dy;
    char *dq, *dk, *dv;
};

// The y and dy rows of some queries and their log sums, in shared memory, and what is made of them: shift is what is
// subtracted from scaled scores before exp2, inf for a query that saw no key.
template <class D, int rows> struct AttendQueries {
    static constexpr int y_bytes = rows * D::R::template pitch<D::v_width>;
    static constexpr int log_bytes = rows * 4; // a float a row

    TGF_DEVICE void load_dy(char *dy, const AttendBack &a, int o, int s) {
        attend_load<D, rows, D::v_width, D::dy_row, D::dy_column, D::v_columns>(
            dy, a.dy + (D::at_dy(o) + s * D::dy_row) * D::R::bytes, D::queries - s);
    }
    TGF_DEVICE void load_y(char *y, char *lse, const AttendBack &a, int o, int s) {
        attend_load<D, rows, D::v_width, D::y_row, D::y_column, D::v_columns>(
            y, a.forward.y + (D::at_y(o) + s * D::y_row) * D::R::bytes, D::queries - s);
        int r = (int)threadIdx.x;
        if (r >= rows) return;
        const char *from = a.forward.lse + D::at_lse(o) * 4;
        bool there = s + r < D::queries;
        copy_async4(lse + r * 4, there ? from + (s + r) * D::lse_row * 4 : from, there ? 4 : 0);
    }
    TGF_DEVICE void prepare(float *shift, float *delta, const char *dy, const char *y, const char *lse) {
        typedef typename D::R R;
        constexpr int pitch = R::template pitch<D::v_width>, lanes = D::threads / rows; // lanes share a row
        int r = (int)threadIdx.x / lanes, part = (int)threadIdx.x % lanes;
        float sum = 0;
#pragma unroll 4
        for (int c = part; c < D::v_width / 2; c += lanes) {
            if constexpr (R::bytes == 2) {
                u32 u = *(const u32 *)(dy + r * pitch + c * 4), v = *(const u32 *)(y + r * pitch + c * 4);
                sum = fma_f32(R::from((u16)u), R::from((u16)v), sum);
                sum = fma_f32(R::from((u16)(u >> 16)), R::from((u16)(v >> 16)), sum);
            } else {
                AttendTwo u = *(const AttendTwo *)(dy + r * pitch + c * 8);
                AttendTwo v = *(const AttendTwo *)(y + r * pitch + c * 8);
                sum = fma_f32(u.y, v.y, fma_f32(u.x, v.x, sum));
            }
        }
#pragma unroll
        for (int i = 1; i < lanes; i *= 2) sum += shfl_xor(sum, i);
        if (part) return;
        float log = *(const float *)(lse + r * 4);
        shift[r] = log == -attend_infinity() ? attend_infinity() : log * attend_log2_e;
        delta[r] = sum;
    }
};

template <class D> TGF_DEVICE float attend_probability(float score, float shift) {
    return exp2_fast(fma_f32(score, D::scale * attend_log2_e, -shift));
}

// dk and dv of 16 keys_m warps keys, or only one of them where accumulators of both are more than registers hold.
template <class D, bool want_k, bool want_v>
TGF_DEVICE void attend_back_keys(const AttendBack &a, int head, int block) {
    typedef typename D::R R;
    typedef AttendQueries<D, D::s_block> Queries;
    constexpr int m = D::keys_m, rows = D::threads / 2 * m, s_block = D::s_block, n = s_block / 8;
    constexpr int q_pitch = R::template pitch<D::q_width>, v_pitch = R::template pitch<D::v_width>;
    constexpr int q_bytes = s_block * q_pitch, y_bytes = Queries::y_bytes;
    constexpr int stage_bytes = q_bytes + 2 * y_bytes + Queries::log_bytes;
    int t0 = block * rows, mine = attend_warp() * 16 * m, t_mine = t0 + mine;
    char *k_tile = tgf_shared(), *v_tile = k_tile + rows * q_pitch, *tiles = v_tile + rows * v_pitch;
    float *shift = (float *)(tiles + D::stages * stage_bytes), *delta = shift + s_block;
    float dk[m][want_k ? D::q_width / 8 : 1][4], dv[m][want_v ? D::v_width / 8 : 1][4];
    attend_zero<m, want_k ? D::q_width / 8 : 1>(dk);
    attend_zero<m, want_v ? D::v_width / 8 : 1>(dv);
    bool loaded = false;
#pragma unroll 1
    for (int group = 0; group < D::groups; group++) {
        int o = D::outer(head, group);
        AttendSight sight = attend_sight<D>(o, a.forward.between, a.forward.mask, a.forward.last);
        int first = 0; // query that sees a key of the block
        if (D::causal) first = attend_max(t0 - sight.ahead, 0) / s_block * s_block;
        else if (D::bounded && t0 > sight.ahead) first = D::queries;
        if (first >= D::queries) continue;
        auto load = [&](int s, int stage) {
            char *to = tiles + stage * stage_bytes;
            attend_load<D, s_block, D::q_width, D::q_row, D::q_column, D::q_columns>(
                to, a.forward.q + (D::at_q(o) + s * D::q_row) * R::bytes, D::queries - s);
            Queries::load_dy(to + q_bytes, a, o, s);
            Queries::load_y(to + q_bytes + y_bytes, to + q_bytes + 2 * y_bytes, a, o, s);
            copy_async_commit();
        };
        if (loaded) sync_block(); // the group's last tiles are still in use
        if (!loaded || !D::same_keys) {
            attend_load<D, rows, D::q_width, D::k_row, D::k_column, D::q_columns>(
                k_tile, a.forward.k + (D::at_k(o) + t0 * D::k_row) * R::bytes, D::keys - t0);
            attend_load<D, rows, D::v_width, D::v_row, D::v_column, D::v_columns>(
                v_tile, a.forward.v + (D::at_v(o) + t0 * D::v_row) * R::bytes, D::keys - t0);
        }
        loaded = true;
        if (D::stages == 2) load(first, 0);
        for (int s = first, stage = 0; s < D::queries; s += s_block) {
            if (D::stages == 1) {
                sync_block();
                load(s, 0);
            }
            copy_async_wait<0>();
            sync_block();
            if (D::stages == 2 && s + s_block < D::queries) load(s + s_block, stage ^ 1);
            const char *q_tile = tiles + stage * stage_bytes, *dy_tile = q_tile + q_bytes;
            Queries::prepare(shift, delta, dy_tile, dy_tile + y_bytes, dy_tile + 2 * y_bytes);
            sync_block();
            if (D::stages == 2) stage ^= 1;
            if (t_mine >= D::keys || (D::causal && s + s_block - 1 + sight.ahead < t_mine)) continue;
            float p[m][n][4];
            attend_zero<m, n>(p);
            attend_rows_by_rows<R, m, n, D::q_width>(p, k_tile + mine * q_pitch, q_tile);
            attend_turn<D, m, n>(p);
            if (!attend_all_see<D>(sight, s, attend_min(t_mine + 16 * m, D::keys)))
                attend_exclude<D, m, n, true>(p, sight, t_mine, s);
            int column = attend_lane() % 4 * 2;
#pragma unroll
            for (int j = 0; j < n; j++) {
                AttendTwo x = *(const AttendTwo *)(shift + j * 8 + column);
#pragma unroll
                for (int i = 0; i < m; i++)
#pragma unroll
                    for (int e = 0; e < 4; e++) p[i][j][e] = attend_probability<D>(p[i][j][e], e % 2 ? x.y : x.x);
            }
            if constexpr (want_v) attend_scores_by_rows<R, m, n, D::v_width>(dv, p, dy_tile);
            if constexpr (want_k) {
                float slope[m][n][4];
                attend_zero<m, n>(slope);
                attend_rows_by_rows<R, m, n, D::v_width>(slope, v_tile + mine * v_pitch, dy_tile);
#pragma unroll
                for (int j = 0; j < n; j++) {
                    AttendTwo x = *(const AttendTwo *)(delta + j * 8 + column);
#pragma unroll
                    for (int i = 0; i < m; i++)
#pragma unroll
                        for (int e = 0; e < 4; e++) slope[i][j][e] = p[i][j][e] * (slope[i][j][e] - (e % 2 ? x.y : x.x));
                }
                attend_scores_by_rows<R, m, n, D::q_width>(dk, slope, q_tile);
            }
        }
    }
    int o = D::outer(head, 0), count = D::keys - t_mine;
    float one[m][2], scale[m][2];
#pragma unroll
    for (int i = 0; i < m; i++) one[i][0] = one[i][1] = 1, scale[i][0] = scale[i][1] = (float)D::sign * D::scale;
    if constexpr (want_v)
        attend_store<R, m, D::v_width, D::dv_row, D::dv_column, D::v_columns>(
            a.dv + (D::at_dv(o) + t_mine * D::dv_row) * R::bytes, dv, one, count);
    if constexpr (want_k)
        attend_store<R, m, D::q_width, D::dk_row, D::dk_column, D::q_columns>(
            a.dk + (D::at_dk(o) + t_mine * D::dk_row) * R::bytes, dk, scale, count);
}

// dq of 16 queries_m warps queries.
template <class D> TGF_DEVICE void attend_back_queries(const AttendBack &a, int o, int block) {
    typedef typename D::R R;
    constexpr int m = D::queries_m, rows = D::threads / 2 * m, t_block = D::t_block, n = t_block / 8;
    typedef AttendQueries<D, rows> Queries;
    constexpr int q_pitch = R::template pitch<D::q_width>, v_pitch = R::template pitch<D::v_width>;
    constexpr int k_bytes = t_block * q_pitch, stage_bytes = k_bytes + t_block * v_pitch;
    int q0 = block * rows, mine = attend_warp() * 16 * m, q_mine = q0 + mine;
    AttendSight sight = attend_sight<D>(o, a.forward.between, a.forward.mask, a.forward.last);
    int end = attend_key_end<D>(sight, attend_min(q0 + rows, D::queries));
    int warp_end = q_mine < D::queries ? attend_key_end<D>(sight, q_mine + 16 * m) : 0;
    char *q_tile = tgf_shared(), *dy_tile = q_tile + rows * q_pitch;
    float *shifts = (float *)(dy_tile + rows * v_pitch), *deltas = shifts + rows;
    char *tiles = (char *)(deltas + rows), *y_tile = tiles, *lse = y_tile + Queries::y_bytes; // y is needed first only
    attend_load<D, rows, D::q_width, D::q_row, D::q_column, D::q_columns>(
        q_tile, a.forward.q + (D::at_q(o) + q0 * D::q_row) * R::bytes, D::queries - q0);
    Queries::load_dy(dy_tile, a, o, q0);
    Queries::load_y(y_tile, lse, a, o, q0);
    copy_async_commit();
    copy_async_wait<0>();
    sync_block();
    Queries::prepare(shifts, deltas, dy_tile, y_tile, lse);
    sync_block();
    auto load = [&](int t, int stage) {
        char *to = tiles + stage * stage_bytes;
        attend_load<D, t_block, D::q_width, D::k_row, D::k_column, D::q_columns>(
            to, a.forward.k + (D::at_k(o) + t * D::k_row) * R::bytes, D::keys - t);
        attend_load<D, t_block, D::v_width, D::v_row, D::v_column, D::v_columns>(
            to + k_bytes, a.forward.v + (D::at_v(o) + t * D::v_row) * R::bytes, D::keys - t);
        copy_async_commit();
    };
    if (D::stages == 2 && end > 0) load(0, 0);
    float shift[m][2], delta[m][2], dq[m][D::q_width / 8][4];
#pragma unroll
    for (int i = 0; i < m; i++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            int r = mine + i * 16 + h * 8 + attend_lane() / 4;
            shift[i][h] = shifts[r], delta[i][h] = deltas[r];
        }
    attend_zero<m, D::q_width / 8>(dq);
    for (int t = 0, stage = 0; t < end; t += t_block) {
        if (D::stages == 1) {
            sync_block();
            load(t, 0);
        }
        copy_async_wait<0>();
        sync_block();
        if (D::stages == 2 && t + t_block < end) load(t + t_block, stage ^ 1);
        const char *k_tile = tiles + stage * stage_bytes;
        if (D::stages == 2) stage ^= 1;
        if (t >= warp_end) continue;
        float p[m][n][4], slope[m][n][4];
        attend_zero<m, n>(p);
        attend_rows_by_rows<R, m, n, D::q_width>(p, q_tile + mine * q_pitch, k_tile);
        attend_turn<D, m, n>(p);
        if (!attend_all_see<D>(sight, q_mine, t + t_block)) attend_exclude<D, m, n, false>(p, sight, q_mine, t);
        attend_zero<m, n>(slope);
        attend_rows_by_rows<R, m, n, D::v_width>(slope, dy_tile + mine * v_pitch, k_tile + k_bytes);
#pragma unroll
        for (int i = 0; i < m; i++)
#pragma unroll
            for (int j = 0; j < n; j++)
#pragma unroll
                for (int e = 0; e < 4; e++)
                    slope[i][j][e] = attend_probability<D>(p[i][j][e], shift[i][e / 2]) * (slope[i][j][e] - delta[i][e / 2]);
        attend_scores_by_rows<R, m, n, D::q_width>(dq, slope, k_tile);
    }
    float scale[m][2];
#pragma unroll
    for (int i = 0; i < m; i++) scale[i][0] = scale[i][1] = (float)D::sign * D::scale;
    attend_store<R, m, D::q_width, D::dq_row, D::dq_column, D::q_columns>(
        a.dq + (D::at_dq(o) + q_mine * D::dq_row) * R::bytes, dq, scale, D::queries - q_mine);
}

// Blocks of keys first, then of queries; those that have the most to go through first when causal.
template <class D> TGF_DEVICE void attend_back(const AttendBack &a) {
    int job = (int)blockIdx.x, key_jobs = D::heads * D::key_blocks;
    if (D::apart) {
        if (job < key_jobs) return attend_back_keys<D, !D::apart, true>(a, job % D::heads, job / D::heads);
        job -= key_jobs;
    }
    if (job < key_jobs) return attend_back_keys<D, true, !D::apart>(a, job % D::heads, job / D::heads);
    job -= key_jobs;
    attend_back_queries<D>(a, job % D::outers, D::query_blocks - 1 - job / D::outers);
}
#endif
