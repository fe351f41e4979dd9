// SPDX-License-Identifier: Apache-2.0
// check_axes: the extents: -D definitions, then the declarations in order, and `batch`.
#include "frontend/front.h"
#include <inttypes.h>

enum { EXTENT_MAX = 2147483647 }; // indices are i32

static const Axis *add(Front *f, Str name, int64_t extent, Loc loc) {
    if (extent < 1 || extent > EXTENT_MAX) {
        diag_error(f->diag, loc, "the extent of axis '%s' is %" PRId64 "; it must be from 1 to %d", name, extent,
                   EXTENT_MAX);
        extent = 1;
    }
    return unit_add_axis(f->unit, name, extent, loc);
}

static const FrontendDefine *find_define(const Front *f, const char *name) {
    for (int i = f->options->ndefines - 1; i >= 0; i--) // the last counts
        if (!strcmp(f->options->defines[i].name, name)) return &f->options->defines[i];
    return NULL;
}

static const Entry *batch_entry(const Front *f) {
    for (int i = 0; f->train && i < f->train->entries.n; i++)
        if (!strcmp(f->train->entries.at[i].head.str, "batch")) return &f->train->entries.at[i];
    return NULL;
}

static const AxisDecl *find_decl(const Front *f, Str name) {
    for (int i = 0; i < f->axes.n; i++)
        if (f->axes.at[i].name.str == name) return &f->axes.at[i];
    return NULL;
}

// `batch`, unless an axis declaration makes it: from the options, else from the recipe. NULL when nothing says it.
static const Axis *add_batch(Front *f) {
    Str name = str_intern(f->strs, "batch");
    const FrontendDefine *define = find_define(f, "batch");
    const Entry *entry = batch_entry(f);
    Loc loc = entry ? entry->head.loc : (Loc){0};
    if (f->options->batch) return add(f, name, f->options->batch, loc);
    if (define) return add(f, name, define->value, loc);
    if (!entry || entry->values.n != 1 || f->in_batch) return NULL;
    int64_t extent = 1;
    f->in_batch = true;
    bool ok = number_integer(f, entry->values.at[0], &extent);
    f->in_batch = false;
    return ok ? add(f, name, extent, loc) : unit_add_axis(f->unit, name, 1, loc);
}

const Axis *axis_lookup(Front *f, Str name, Loc loc) {
    const Axis *axis = unit_axis(f->unit, name);
    if (axis) return axis;
    const AxisDecl *later = find_decl(f, name);
    if (!strcmp(name, "batch") && !later && (axis = add_batch(f))) return axis;
    if (later) diag_error(f->diag, loc, "axis '%s' is declared only further down", name);
    else if (!strcmp(name, "batch"))
        diag_error(f->diag, loc,
                   "the batch is not known: write 'train { batch = N }', an axis batch, or give -D batch=N");
    else diag_error(f->diag, loc, "unknown axis '%s'%s", name, axis_near(f, name));
    return NULL;
}

static void declare(Front *f, const AxisDecl *a) {
    bool is_batch = !strcmp(a->name.str, "batch");
    const FrontendDefine *define = find_define(f, a->name.str);
    int64_t extent = 1;
    if (unit_axis(f->unit, a->name.str)) return; // declared twice: was reported
    DType dtype;
    if (dtype_parse(a->name.str, &dtype) || !strcmp(a->name.str, "training"))
        diag_error(f->diag, a->name.loc, "'%s' has a fixed meaning and cannot be a name", a->name.str);
    if (is_batch && batch_entry(f)) {
        diag_error(f->diag, a->name.loc, "batch is an axis here and set by 'train' too: keep one");
        diag_note(f->diag, batch_entry(f)->head.loc, "set here");
    }
    if (is_batch && f->options->batch) extent = f->options->batch;
    else if (define) extent = define->value;
    else if (!number_integer(f, a->extent, &extent)) extent = 1;
    add(f, a->name.str, extent, a->name.loc);
}

void check_axes(Front *f) {
    for (int i = 0; i < f->axes.n; i++) declare(f, &f->axes.at[i]);
    Str batch = str_intern(f->strs, "batch");
    if (!unit_axis(f->unit, batch)) add_batch(f);
    for (int i = 0; i < f->options->ndefines; i++) {
        const char *name = f->options->defines[i].name;
        if (unit_axis(f->unit, str_intern(f->strs, name))) continue;
        diag_error(f->diag, (Loc){0}, "-D %s: no such axis%s", name, axis_near(f, str_intern(f->strs, name)));
    }
    if (f->options->batch < 0) diag_error(f->diag, (Loc){0}, "the batch must be at least 1");
}
