// SPDX-License-Identifier: Apache-2.0
// lower_scan: running sums along an axis. Tasks share the lines along it, lanes are neighbouring lines, and each line
// is added from its first place to its last: the same sums for any number of threads. On a GPU every line is a point of
// its own, and cuda_nest knows what it is.
#include "base/checked.h"
#include "codegen/lower_loops.h"
#include <string.h>

bool lower_scan(const Unit *u, const FuncStorage *places, const Node *n, LowerMachine machine, Arena *arena,
                const char *name, Lowered *out) {
    const Value *x = n->args[0], *y = n->results[0];
    const Axis *axis = n->attr.axes.at[0];
    int at = type_find(&y->type, axis);
    Lower l = lower_start(u, places, n, machine, arena, out);
    for (int d = 0; d < y->type.rank; d++)
        if (d != at) lower_add_axis(&l, &y->type.dim[d]);
    do {
        Kernel *k = l.k = kernel_new(arena, name);
        memset(out, 0, sizeof *out);
        out->kernel = k;
        l.again = false;
        lower_forget(&l);
        lower_group_loops(&l);
        int written = lower_buf(&l, y, true), read = lower_buf(&l, x, false);
        if (l.failed) return false;
        KBody *into = &k->body;
        bool gpu = machine == LOWER_GPU;
        for (int g = 0; g + !gpu < l.ngroups; g++) {
            l.group[g].var = kernel_var(k);
            into = &kbody_loop(k, into, gpu || k->tasks < TASKS_MANY ? KLOOP_PARALLEL : KLOOP_SERIAL, l.group[g].var,
                               l.group[g].extent)
                        ->body;
        }
        LoopGroup *lanes = l.ngroups && !gpu ? &l.group[l.ngroups - 1] : NULL;
        bool chunked = lanes && k->tasks < TASKS_FEW && lanes->extent >= 2 * COLUMNS;
        if (chunked) {
            lanes->chunk = COLUMNS;
            lanes->chunk_var = kernel_var(k);
            into = &kbody_loop(k, into, KLOOP_PARALLEL, lanes->chunk_var, ceil_div(lanes->extent, COLUMNS))->body;
        }
        int64_t first = n->attr.flag ? axis->extent - 1 : 0, step = n->attr.flag ? -1 : 1;
        for (int rest = 0; rest < (axis->extent > 1 ? 2 : 1); rest++) { // the first place, then the others
            KBody *body = into;
            int v = -1;
            if (rest) {
                v = kernel_var(k);
                body = &kbody_loop(k, body, KLOOP_SERIAL, v, axis->extent - 1)->body;
            }
            if (lanes) {
                lanes->var = kernel_var(k);
                body = chunked
                           ? &kbody_chunk(k, body, KLOOP_VECTOR, lanes->var, COLUMNS, lanes->chunk_var, lanes->extent)
                                  ->body
                           : &kbody_loop(k, body, KLOOP_VECTOR, lanes->var, lanes->extent)->body;
            }
            KIndex c[RANK_MAX];
            for (int d = 0; d < y->type.rank; d++)
                c[d] = d == at ? (KIndex){0} : lower_coordinate(&l, y->type.dim[d].axis);
            KIndex to = lower_address(&l, y, c), from = lower_address(&l, x, c);
            int64_t line = lower_place(&l, y)->dim_stride[at], source = lower_place(&l, x)->dim_stride[at];
            to.base += first * line;
            from.base += first * source;
            if (!rest) {
                lower_store(k, body, written, to, lower_load(k, read, from));
                continue;
            }
            KIndex before = to;
            kindex_add_var(&before, v, step * line);
            to = before;
            to.base += step * line;
            from.base += step * source;
            kindex_add_var(&from, v, step * source);
            lower_store(k, body, written, to, kb_add(k, lower_load(k, written, before), lower_load(k, read, from)));
        }
    } while (l.again);
    return !l.failed;
}
