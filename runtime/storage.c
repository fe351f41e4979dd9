// SPDX-License-Identifier: Apache-2.0
#include "runtime/storage.h"
#include <stdbool.h>
#include <string.h>

static int find_axis(const PlanLeaf *l, const char *name, size_t n) {
    for (int i = 0; i < l->rank; i++)
        if (strlen(l->dim[i].axis) == n && !memcmp(l->dim[i].axis, name, n)) return i;
    return -1;
}

#define BAD(...) return status_make(STATUS_INVALID, __VA_ARGS__)

static Status use_axis(const PlanLeaf *l, bool *used, const char *name, size_t n, int *out_dim) {
    *out_dim = find_axis(l, name, n);
    if (*out_dim < 0) BAD("parameter '%s' is stored with axis '%.*s', which it does not have", l->name, (int)n, name);
    if (used[*out_dim]) BAD("parameter '%s' is stored with axis '%.*s' twice", l->name, (int)n, name);
    used[*out_dim] = true;
    return status_ok();
}

static Status parse_indexes(const PlanLeaf *l, StoredAs *s, bool *used) {
    const char *end = s->name + s->name_length;
    s->count = 1;
    for (const char *at = s->name; (at = memchr(at, '{', (size_t)(end - at)));) {
        const char *close = memchr(at, '}', (size_t)(end - at));
        int dim;
        if (!close) BAD("parameter '%s': a '{' without '}' in its stored name", l->name);
        STATUS_TRY(use_axis(l, used, at + 1, (size_t)(close - at - 1), &dim));
        s->indexed[s->nindexed++] = dim;
        s->count *= l->dim[dim].extent;
        at = close;
    }
    return status_ok();
}

static Status parse_bracket(const PlanLeaf *l, StoredAs *s, bool *used, const char *at) {
    for (bool product = false; *at != ']';) {
        size_t n = strcspn(at, ",*] ");
        int dim;
        STATUS_TRY(use_axis(l, used, at, n, &dim));
        s->order[s->norder++] = dim;
        if (product) s->shape[s->rank - 1] *= l->dim[dim].extent;
        else s->shape[s->rank++] = l->dim[dim].extent;
        at += n;
        at += strspn(at, " ");
        product = *at == '*';
        if (*at == ',' || *at == '*') at += 1 + strspn(at + 1, " ");
        else if (*at != ']') BAD("parameter '%s': its stored shape does not end in ']'", l->name);
    }
    if (at[1]) BAD("parameter '%s': text behind its stored shape", l->name);
    for (int i = 0; i < l->rank; i++)
        if (!used[i]) BAD("parameter '%s' is stored without its axis '%s'", l->name, l->dim[i].axis);
    return status_ok();
}

Status stored_as(const PlanLeaf *l, StoredAs *out_stored) {
    StoredAs *s = out_stored;
    bool used[PLAN_RANK] = {false};
    *s = (StoredAs){.name = l->storage ? l->storage : l->name, .elements = 1};
    s->name_length = (int)strcspn(s->name, " ");
    if (!s->name_length) BAD("parameter '%s' has no stored name", l->name);
    STATUS_TRY(parse_indexes(l, s, used));
    const char *rest = s->name + s->name_length;
    rest += strspn(rest, " ");
    if (*rest == '[') {
        STATUS_TRY(parse_bracket(l, s, used, rest + 1 + strspn(rest + 1, " ")));
    } else if (*rest) {
        BAD("parameter '%s': its stored shape does not begin with '['", l->name);
    } else {
        for (int i = 0; i < l->rank; i++)
            if (!used[i]) {
                s->order[s->norder++] = i;
                s->shape[s->rank++] = l->dim[i].extent;
            }
    }
    for (int i = 0; i < s->rank; i++) s->elements *= s->shape[i];
    return status_ok();
}

// The indexed axes' places in tensor i.
static void split_index(const PlanLeaf *l, const StoredAs *s, int64_t i, int64_t *at) {
    for (int k = s->nindexed - 1; k >= 0; k--) {
        at[k] = i % l->dim[s->indexed[k]].extent;
        i /= l->dim[s->indexed[k]].extent;
    }
}

bool stored_name(const PlanLeaf *l, const StoredAs *s, int64_t i, char *out_name, size_t size) {
    int64_t at[PLAN_RANK];
    size_t n = 0;
    int k = 0;
    split_index(l, s, i, at);
    for (const char *c = s->name, *end = c + s->name_length; c < end; c++) {
        if (*c == '{') {
            n += (size_t)snprintf(out_name + n, size - n, "%lld", (long long)at[k++]);
            while (*c != '}') c++;
        } else if (n + 1 < size) {
            out_name[n++] = *c;
        } else {
            return false;
        }
        if (n + 1 > size) return false;
    }
    out_name[n] = 0;
    return true;
}

// Rows of the tensor that have one stride in the leaf.
typedef struct Walk {
    int64_t base, n, stride; // of a row, in elements of the leaf
    int64_t rows;
    int nouter;
    int64_t extent[PLAN_RANK], outer_stride[PLAN_RANK], at[PLAN_RANK];
} Walk;

static Walk walk_make(const PlanLeaf *l, const StoredAs *s, int64_t i) {
    Walk w = {.n = 1, .stride = 1, .rows = 1};
    int64_t strides[PLAN_RANK], stride = 1, at[PLAN_RANK];
    for (int d = l->rank - 1; d >= 0; d--) {
        strides[d] = stride;
        stride *= l->dim[d].extent;
    }
    split_index(l, s, i, at);
    for (int k = 0; k < s->nindexed; k++) w.base += at[k] * strides[s->indexed[k]];
    int k = s->norder - 1;
    if (k >= 0) {
        w.n = l->dim[s->order[k]].extent;
        w.stride = strides[s->order[k]];
        for (k--; k >= 0 && strides[s->order[k]] == w.stride * w.n; k--) w.n *= l->dim[s->order[k]].extent;
    }
    for (int d = 0; d <= k; d++) {
        w.extent[w.nouter] = l->dim[s->order[d]].extent;
        w.outer_stride[w.nouter++] = strides[s->order[d]];
        w.rows *= l->dim[s->order[d]].extent;
    }
    return w;
}

static int64_t walk_next(Walk *w) { // the row's first element in the leaf
    int64_t at = w->base;
    for (int i = 0; i < w->nouter; i++) at += w->at[i] * w->outer_stride[i];
    for (int i = w->nouter - 1; i >= 0 && ++w->at[i] == w->extent[i]; i--) w->at[i] = 0;
    return at;
}

static void copy_strided(char *to, int64_t to_stride, const char *from, int64_t from_stride, int64_t n, int element) {
    if (to_stride == 1 && from_stride == 1) {
        memcpy(to, from, (size_t)(n * element));
        return;
    }
    for (int64_t i = 0; i < n; i++)
        memcpy(to + i * to_stride * element, from + i * from_stride * element, (size_t)element);
}

void stored_take(const PlanLeaf *l, const StoredAs *s, int64_t i, const void *whole, int element, void *out_tensor) {
    Walk w = walk_make(l, s, i);
    for (int64_t row = 0; row < w.rows; row++)
        copy_strided((char *)out_tensor + row * w.n * element, 1, (const char *)whole + walk_next(&w) * element,
                     w.stride, w.n, element);
}

void stored_put(const PlanLeaf *l, const StoredAs *s, int64_t i, void *whole, int element, const void *tensor) {
    Walk w = walk_make(l, s, i);
    for (int64_t row = 0; row < w.rows; row++)
        copy_strided((char *)whole + walk_next(&w) * element, w.stride, (const char *)tensor + row * w.n * element, 1,
                     w.n, element);
}
