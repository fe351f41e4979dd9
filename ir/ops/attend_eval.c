// SPDX-License-Identifier: Apache-2.0
// attend_eval: attention and its adjoint with the score matrix computed a row at a time.
//
//   s[t] = scale * sum_f q[f] k[t, f], -inf where t may not be attended to
//   lse  = log sum_t exp(s[t]),  p[t] = exp(s[t] - lse),  y[f] = sum_t p[t] v[t, f]
// A row that may attend to nothing has y = 0 and lse = -inf, and no gradient.
#include "ir/eval_core.h"
#include <math.h>

enum { Q, K, V, MASK, LAST, Y, LSE, DY, DQ, DK, DV, TENSORS };

typedef struct Rows {
    Walk w; // the box of lse: a row of scores at each place
    const Value *value[TENSORS];
    int number[TENSORS];
    int64_t key[TENSORS], feature[TENSORS]; // strides; 0 without the axis
    int64_t keys, features;
    int query_at, query_dim; // causal: the query axis in the box and in q, else -1
    double *score;           // of one row
    const double *at[TENSORS];
} Rows;

static bool rows_make(Eval *e, const Node *n, Rows *rows) {
    const Axis *feature = n->attr.axes.at[0], *key = n->attr.axes.at[1];
    rows->w = walk_dims(e, n, &rows->value[LSE]->type);
    rows->keys = key->extent;
    rows->features = feature->extent;
    for (int i = 0; i < TENSORS; i++) {
        const Value *v = rows->value[i];
        if (!v) continue;
        if (!eval_whole(e, n, v, key) || !eval_whole(e, n, v, feature)) return false;
        rows->key[i] = eval_stride(e, &v->type, key);
        rows->feature[i] = eval_stride(e, &v->type, feature);
    }
    rows->query_at = n->attr.flag ? walk_position(&rows->w, n->attr.to.at[0]) : -1;
    rows->query_dim = n->attr.flag ? type_find(&rows->value[Q]->type, n->attr.to.at[0]) : -1;
    rows->score = eval_scratch(e, key->extent);
    for (int i = 0; i < TENSORS; i++)
        if (rows->value[i] && i < DY) rows->number[i] = walk_tensor(&rows->w, &rows->value[i]->type);
    rows->number[DY] = rows->number[DQ] = rows->number[Y]; // all like q
    rows->number[DK] = rows->number[K];
    rows->number[DV] = rows->number[V];
    return walk_ok(&rows->w);
}

static int64_t row_place(const Rows *rows, int tensor, int64_t key, int64_t feature) {
    return rows->w.offset[rows->number[tensor]] + key * rows->key[tensor] + feature * rows->feature[tensor];
}

static void rows_score(const Eval *e, const Node *n, Rows *rows, int64_t rank) {
    int64_t query = INT64_MAX;
    if (rows->query_at >= 0)
        query = eval_offset(e, &rows->value[Q]->type.dim[rows->query_dim], rank) + rows->w.at[rows->query_at];
    if (rows->value[LAST])
        query = (int64_t)rows->at[LAST][row_place(rows, LAST, 0, 0)] + (rows->query_at >= 0 ? query : 0);
    for (int64_t t = 0; t < rows->keys; t++) {
        bool seen = t <= query && (!rows->value[MASK] || rows->at[MASK][row_place(rows, MASK, t, 0)] != 0);
        double sum = 0;
        for (int64_t f = 0; f < rows->features; f++)
            sum += rows->at[Q][row_place(rows, Q, 0, f)] * rows->at[K][row_place(rows, K, t, f)];
        rows->score[t] = seen ? n->attr.f * sum : -INFINITY;
    }
}

static double row_lse(const Rows *rows) {
    double top = -INFINITY, sum = 0;
    for (int64_t t = 0; t < rows->keys; t++)
        if (rows->score[t] > top || isnan(rows->score[t])) top = rows->score[t];
    if (top == -INFINITY) return top;
    for (int64_t t = 0; t < rows->keys; t++) sum += exp(rows->score[t] - top);
    return top + log(sum);
}

static double row_weight(const Rows *rows, int64_t t, double lse) {
    return lse == -INFINITY ? 0 : exp(rows->score[t] - lse);
}

bool eval_attend(Eval *e, const Node *n) {
    Rows rows = {.value = {[Q] = n->args[0],
                           [K] = n->args[1],
                           [V] = n->args[2],
                           [MASK] = attend_mask(n),
                           [LAST] = attend_last(n),
                           [Y] = n->results[0],
                           [LSE] = n->results[1]}};
    if (!rows_make(e, n, &rows)) return false;
    for (int64_t r = 0; r < e->ranks; r++) {
        for (int i = Q; i <= LAST; i++) rows.at[i] = rows.value[i] ? eval_at(e, rows.value[i], r) : NULL;
        double *y = eval_at(e, rows.value[Y], r), *lse = eval_at(e, rows.value[LSE], r);
        WALK(rows.w) {
            rows_score(e, n, &rows, r);
            double total = row_lse(&rows);
            lse[row_place(&rows, LSE, 0, 0)] = total;
            for (int64_t f = 0; f < rows.features; f++) {
                double sum = 0;
                for (int64_t t = 0; t < rows.keys; t++) {
                    double p = row_weight(&rows, t, total);
                    if (p != 0) sum += p * rows.at[V][row_place(&rows, V, t, f)];
                }
                y[row_place(&rows, Y, 0, f)] = sum;
            }
        }
    }
    return true;
}

//   dp[t] = sum_f dy[f] v[t, f],  ds[t] = p[t] (dp[t] - sum_f dy[f] y[f])
//   dq[f] = scale sum_t ds[t] k[t, f],  dk[t, f] += scale ds[t] q[f],  dv[t, f] += p[t] dy[f]
bool eval_attend_grad(Eval *e, const Node *n) {
    Value *const *rest = n->args + 3 + n->attr.i;
    Rows rows = {.value = {[Q] = n->args[0],
                           [K] = n->args[1],
                           [V] = n->args[2],
                           [MASK] = attend_mask(n),
                           [LAST] = attend_last(n),
                           [Y] = rest[0],
                           [LSE] = rest[1],
                           [DY] = rest[2],
                           [DQ] = n->results[0],
                           [DK] = n->results[1],
                           [DV] = n->results[2]}};
    if (!rows_make(e, n, &rows)) return false;
    for (int64_t r = 0; r < e->ranks; r++) {
        for (int i = Q; i <= DY; i++) rows.at[i] = rows.value[i] ? eval_at(e, rows.value[i], r) : NULL;
        double *dq = eval_at(e, rows.value[DQ], r), *dk = eval_at(e, rows.value[DK], r);
        double *dv = eval_at(e, rows.value[DV], r);
        memset(dq, 0, sizeof *dq * (size_t)eval_count(e, rows.value[DQ]));
        memset(dk, 0, sizeof *dk * (size_t)eval_count(e, rows.value[DK]));
        memset(dv, 0, sizeof *dv * (size_t)eval_count(e, rows.value[DV]));
        WALK(rows.w) {
            rows_score(e, n, &rows, r);
            double lse = rows.at[LSE][row_place(&rows, LSE, 0, 0)], dot = 0;
            for (int64_t f = 0; f < rows.features; f++)
                dot += rows.at[DY][row_place(&rows, DY, 0, f)] * rows.at[Y][row_place(&rows, Y, 0, f)];
            for (int64_t t = 0; t < rows.keys; t++) {
                double p = row_weight(&rows, t, lse), dp = 0;
                if (p == 0) continue;
                for (int64_t f = 0; f < rows.features; f++)
                    dp += rows.at[DY][row_place(&rows, DY, 0, f)] * rows.at[V][row_place(&rows, V, t, f)];
                double ds = p * (dp - dot) * n->attr.f;
                for (int64_t f = 0; f < rows.features; f++) {
                    dq[row_place(&rows, DQ, 0, f)] += ds * rows.at[K][row_place(&rows, K, t, f)];
                    dk[row_place(&rows, DK, t, f)] += ds * rows.at[Q][row_place(&rows, Q, 0, f)];
                    dv[row_place(&rows, DV, t, f)] += p * rows.at[DY][row_place(&rows, DY, 0, f)];
                }
            }
        }
    }
    return true;
}
