// SPDX-License-Identifier: Apache-2.0
// cuda_attend_parts: see cuda_attend_parts.h.
#include "codegen/cuda_attend_parts.h"
#include "base/checked.h"
#include <math.h>

int64_t attend_outers(const TileAttend *d) {
    int64_t n = 1;
    for (int i = 0; i < d->outer_count; i++) n *= d->outer[i];
    return n;
}

Status attend_check_cuda(const char *name, const TileAttend *d) {
    int64_t outers = 1, most = INT64_C(1) << 30; // rows, jobs and tasks are int in the kernels
    bool ok = d->queries >= 0 && d->keys >= 0 && d->q_columns > 0 && d->v_columns > 0 && d->outer_count <= TILE_AXES;
    for (int i = 0; ok && i < d->outer_count; i++) ok = d->outer[i] >= 0 && checked_mul(outers, d->outer[i], &outers);
    int64_t rows = d->queries > d->keys ? d->queries : d->keys, all;
    // A launch has at most twice as many blocks of 16 keys, and once as many of queries.
    ok = ok && rows < most && checked_mul(outers, rows / 16 + 1, &all) && all < most / 2;
    if (!ok) return status_make(STATUS_INVALID, "attention '%s': an extent is negative or too large", name);
    if (d->q_columns > ATTEND_WIDEST || d->v_columns > ATTEND_WIDEST)
        return status_make(STATUS_UNSUPPORTED,
                           "attention '%s' has no kernels for heads of %lld columns on a GPU: at most %d", name,
                           (long long)(d->q_columns > d->v_columns ? d->q_columns : d->v_columns), ATTEND_WIDEST);
    return status_ok();
}

void attend_write_rows(FILE *out, const char *operand, const TileAttend *d, const TileRows *x) {
    fprintf(out, "    static constexpr i64 %s_row = %lld, %s_column = %lld;\n", operand, (long long)x->row, operand,
            (long long)x->column);
    fprintf(out, "    TGF_DEVICE i64 at_%s(int o) { return ", operand);
    int64_t inner = attend_outers(d);
    const char *plus = "";
    for (int i = 0; i < d->outer_count; i++) {
        if (d->outer[i]) inner /= d->outer[i];
        if (d->outer[i] <= 1 || x->outer[i] == 0) continue;
        fprintf(out, "%s(i64)(o", plus);
        if (inner != 1) fprintf(out, " / %lld", (long long)inner);
        if (inner * d->outer[i] != attend_outers(d)) fprintf(out, " %% %lld", (long long)d->outer[i]);
        fprintf(out, ") * %lld", (long long)x->outer[i]);
        plus = " + ";
    }
    fprintf(out, "%s; }\n", *plus ? "" : "0 * o");
}

void attend_write_shape(FILE *out, const TileAttend *d, int threads) {
    static const char *const types[] = {[REAL_F32] = "F32", [REAL_BF16] = "Bf16", [REAL_F16] = "F16"};
    fprintf(out, "    typedef Attend%s R;\n", types[d->type]);
    fprintf(out, "    static constexpr int threads = %d, outers = %lld, queries = %lld, keys = %lld;\n", threads,
            (long long)attend_outers(d), (long long)d->queries, (long long)d->keys);
    fprintf(out, "    static constexpr int q_columns = %lld, q_width = %d, v_columns = %lld, v_width = %d;\n",
            (long long)d->q_columns, attend_width(d->q_columns), (long long)d->v_columns, attend_width(d->v_columns));
    fprintf(out, "    static constexpr bool causal = %d, masked = %d, bounded = %d;\n", d->causal, d->masked,
            d->bounded);
    fprintf(out, "    static constexpr int sign = %d;\n", (d->scale > 0) - (d->scale < 0));
    fprintf(out, "    static constexpr float scale = %.9ef;\n", d->scale == 0 ? 1.0 : fabs((double)d->scale));
    static const TileRows none = {0};
    attend_write_rows(out, "q", d, &d->q);
    attend_write_rows(out, "k", d, &d->k);
    attend_write_rows(out, "v", d, &d->v);
    attend_write_rows(out, "y", d, &d->y);
    attend_write_rows(out, "lse", d, &d->lse);
    attend_write_rows(out, "mask", d, d->masked ? &d->mask : &none);
    attend_write_rows(out, "last", d, d->bounded ? &d->last : &none);
}

void attend_count(AttendParameters *p, const TileRows *x) {
    if (x->buf >= p->bufs) p->bufs = x->buf + 1;
}

AttendParameters attend_parameters(const TileAttend *d) {
    AttendParameters p = {0};
    const TileRows *const all[] = {&d->q, &d->k, &d->v, &d->y, &d->lse};
    for (int i = 0; i < 5; i++) attend_count(&p, all[i]);
    if (d->masked) attend_count(&p, &d->mask);
    if (d->bounded) attend_count(&p, &d->last);
    p.scalars = (d->query_position > d->key_position ? d->query_position : d->key_position) + 1;
    return p;
}

void attend_write_operand(FILE *out, const char *prefix, const char *operand, const TileRows *x, int bytes) {
    fprintf(out, "    %s%s = b%d", prefix, operand, x->buf);
    if (x->first) fprintf(out, " + %lld", (long long)x->first * bytes);
    fputs(";\n", out);
}

static void write_position(FILE *out, int scalar) {
    if (scalar < 0) fputs("0", out);
    else fprintf(out, "s%d", scalar);
}

void attend_write_operands(FILE *out, const TileAttend *d, const char *prefix) {
    int bytes = real_bytes(d->type);
    attend_write_operand(out, prefix, "q", &d->q, bytes);
    attend_write_operand(out, prefix, "k", &d->k, bytes);
    attend_write_operand(out, prefix, "v", &d->v, bytes);
    attend_write_operand(out, prefix, "y", &d->y, bytes);
    attend_write_operand(out, prefix, "lse", &d->lse, 4);
    if (d->masked) attend_write_operand(out, prefix, "mask", &d->mask, 1);
    else fprintf(out, "    %smask = 0;\n", prefix);
    if (d->bounded) attend_write_operand(out, prefix, "last", &d->last, 4);
    else fprintf(out, "    %slast = 0;\n", prefix);
    fprintf(out, "    %sbetween = ", prefix);
    write_position(out, d->query_position);
    fputs(" - ", out);
    write_position(out, d->key_position);
    fputs(";\n", out);
}
