// SPDX-License-Identifier: Apache-2.0
// check_precision: the line `precision bf16 (master = f32, reduce = f32)` of a strategy.
#include "frontend/front.h"

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

void check_precision(Front *f, const Line *l, Strategy *s) {
    DType compute = DT_F32, master = DT_F32, reduce = DT_F32;
    const Name *of_master = NULL, *of_reduce = NULL;
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
        bool is_master = !strcmp(o->key.str, "master");
        if (o->bare || (!is_master && strcmp(o->key.str, "reduce"))) {
            Near near = near_to(o->key.str);
            near_try(&near, "master");
            near_try(&near, "reduce");
            diag_error(f->diag, o->key.loc, "precision has no option '%s'%s", o->key.str, near_text(&near, f->arena));
            ok = false;
            continue;
        }
        *(is_master ? &of_master : &of_reduce) = &o->value;
        ok &= element_type(f, &o->value, is_master ? &master : &reduce);
    }
    if (!ok) return;
    if (compute == DT_F16)
        diag_error(f->diag, l->names.at[0].loc, "not yet supported: 'precision f16' (it needs loss scaling; use bf16)");
    else if (master != DT_F32)
        diag_error(f->diag, of_master->loc, "not yet supported: parameters kept in %s", dtype_name(master));
    else if (reduce != DT_F32 && reduce != compute)
        diag_error(f->diag, of_reduce->loc, "gradients are summed in f32 or in the type computed in, %s",
                   dtype_name(compute));
    s->has_precision = true;
    s->compute = compute;
    s->master = master;
    s->reduce = reduce;
    s->precision_loc = l->head.loc;
}
