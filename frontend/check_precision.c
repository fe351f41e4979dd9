// SPDX-License-Identifier: Apache-2.0
// check_precision: the line `precision bf16  master = f32, reduce = f32` of a strategy; f16 also has `scale = 65536`,
// and GPUs `dot = tf32`.
#include "frontend/front.h"
#include <stdlib.h>

static bool element_type(Front *f, const Name *name, DType *out) {
    static const char *const words[] = {"f32", "bf16", "f16"};
    Near near = near_to(name->str);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (!strcmp(words[i], name->str)) return dtype_parse(name->str, out);
        near_try(&near, words[i]);
    }
    diag_error(f->diag, name->loc, "unknown element type '%s'%s", name->str, near_text(&near, f->arena));
    return false;
}

static bool read_scale(Front *f, const Name *value, int64_t *out) {
    int64_t x = 0;
    bool digits = *value->str && strspn(value->str, "0123456789") == strlen(value->str) && strlen(value->str) < 10;
    if (digits) x = strtoll(value->str, NULL, 10);
    if (x >= 1 && x <= SCALE_MAX && !(x & (x - 1))) return *out = x, true;
    diag_error(f->diag, value->loc, "the first loss scale is a power of two, from 1 to %d", SCALE_MAX);
    return false;
}

static bool read_dot(Front *f, const Name *value, bool *out_tf32) {
    *out_tf32 = !strcmp(value->str, "tf32");
    if (*out_tf32 || !strcmp(value->str, "f32")) return true;
    diag_error(f->diag, value->loc, "f32 operands of products are taken as f32 or tf32, not '%s'", value->str);
    return false;
}

void check_precision(Front *f, const Line *l, Strategy *s) {
    DType compute = DT_F32, master = DT_F32, reduce = DT_F32;
    const Name *of_master = NULL, *of_reduce = NULL, *of_scale = NULL, *of_dot = NULL;
    int64_t scale = 65536;
    bool tf32 = false;
    if (s->has_precision) {
        diag_error(f->diag, l->head.loc, "a strategy has one precision line");
        diag_note(f->diag, s->precision_loc, "the first is here");
        return;
    }
    if (l->names.n != 1 || l->over.n) {
        diag_error(f->diag, l->head.loc, "precision is written: precision bf16  master = f32, reduce = f32");
        return;
    }
    bool ok = element_type(f, &l->names.at[0], &compute);
    for (int i = 0; i < l->options.n; i++) {
        const Option *o = &l->options.at[i];
        const Name **of = !strcmp(o->key.str, "master")   ? &of_master
                          : !strcmp(o->key.str, "reduce") ? &of_reduce
                          : !strcmp(o->key.str, "scale")  ? &of_scale
                          : !strcmp(o->key.str, "dot")    ? &of_dot
                                                          : NULL;
        if (o->bare || !of) {
            Near near = near_to(o->key.str);
            near_try(&near, "master");
            near_try(&near, "reduce");
            near_try(&near, "scale");
            near_try(&near, "dot");
            diag_error(f->diag, o->key.loc, "precision has no option '%s'%s", o->key.str, near_text(&near, f->arena));
            ok = false;
            continue;
        }
        *of = &o->value;
        ok &= of == &of_scale ? read_scale(f, &o->value, &scale)
              : of == &of_dot ? read_dot(f, &o->value, &tf32)
                              : element_type(f, &o->value, of == &of_master ? &master : &reduce);
    }
    if (!ok) return;
    if (of_scale && compute != DT_F16)
        diag_error(f->diag, of_scale->loc, "the loss is scaled with f16 only: %s has the range of f32",
                   dtype_name(compute));
    else if (master != DT_F32)
        diag_error(f->diag, of_master->loc, "not yet supported: parameters kept in %s", dtype_name(master));
    else if (reduce != DT_F32 && reduce != compute)
        diag_error(f->diag, of_reduce->loc, "gradients are summed in f32 or in the type computed in, %s",
                   dtype_name(compute));
    s->has_precision = true;
    s->compute = compute;
    s->master = master;
    s->reduce = reduce;
    s->tf32 = tf32;
    s->scale = scale;
    s->precision_loc = l->head.loc;
}
