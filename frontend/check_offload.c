// SPDX-License-Identifier: Apache-2.0
// check_offload: the line `offload optimizer, activations to host` of a strategy.
#include "frontend/front.h"

static OffloadSet read_names(Front *f, const Line *l) {
    OffloadSet set = 0;
    for (int i = 0; i < l->names.n; i++) {
        const Name name = l->names.at[i];
        OffloadSet one = 0;
        Near near = near_to(name.str);
        for (OffloadSet bit = 1; bit < OFFLOAD_END; bit <<= 1) {
            if (!strcmp(name.str, offload_name(bit))) one = bit;
            near_try(&near, offload_name(bit));
        }
        if (!one)
            diag_error(f->diag, name.loc, "unknown thing to offload '%s'%s", name.str, near_text(&near, f->arena));
        if (set & one) diag_error(f->diag, name.loc, "'%s' is listed twice", name.str);
        set |= one;
    }
    return set;
}

void strategy_offload(Front *f, Strategy *s, const Line *l) {
    const Option *to = l->options.n == 1 ? &l->options.at[0] : NULL;
    if (s->offload) {
        diag_error(f->diag, l->head.loc, "a strategy has one offload line: offload optimizer, activations to host");
        diag_note(f->diag, s->offload_loc, "the first is here");
        return;
    }
    if (!l->names.n || l->over.n || !to || !to->bare || strcmp(to->key.str, "to") || strcmp(to->value.str, "host")) {
        diag_error(f->diag, l->head.loc,
                   "offload is written: offload optimizer to host, or with activations: offload optimizer, "
                   "activations to host");
        return;
    }
    s->offload = read_names(f, l);
    s->offload_loc = l->head.loc;
}

void strategy_check_offload(Front *f, const Strategy *s) {
    if (!(s->offload & OFFLOAD_ACTIVATIONS) || (s->microbatches <= 1 && !s->pipe_axis)) return;
    diag_error(f->diag, s->offload_loc,
               "activations of microbatches cannot be offloaded: each task would wait for its own; write: offload "
               "optimizer to host, or recompute block");
    diag_note(f->diag, s->pipe_axis ? s->pipe_loc : s->microbatches_loc, "microbatches are asked for here");
}
