// SPDX-License-Identifier: Apache-2.0
// fuse: groups elementwise chains, views and reductions into `fused` nodes, each of which becomes one kernel.
//
//   before                                          after
//   %m = sum %x over width                          %y = fused %x, %s {
//   %d = sub %x, %m                                     ^ %a, %b
//   %y = mul %d, %s                                     %m = sum %a over width
//   %z = dot %y, %w over width                          %d = sub %a, %m
//                                                       %c = mul %d, %b
//                                                       yield %c
//                                                   }
//                                                   %z = dot %y, %w over width
//
// First the roots are chosen: the values that get memory (operands of dot, attend, collectives, repeats, outputs), and
// reductions. All else is made again in each kernel that needs it, unless that costs more than keeping it. Roots over
// the same axes, split alike, that read one another or the same values join one kernel. Views of what is in memory stay
// nodes where only dot and attend read them: those follow any strides.
#include "passes/fuse.h"
#include "ir/strategy.h"
#include "passes/pass.h"

bool fuse_is_fusable(const Fuse *f, const Value *v) {
    return v->def && v->def->parent == f->block && op_is_fusable(v->def->op);
}
bool fuse_is_reduction(const Value *v) { return v->def && (v->def->op == OP_sum || v->def->op == OP_max); }
bool fuse_is_inlined(const Fuse *f, const Value *v) { return fuse_is_fusable(f, v) && !f->is_root[v->id]; }

static void fuse_block(Func *func, Block *b) {
    Unit *u = func->unit;
    FOR_NODES(n, b)
    if (n->op == OP_repeat) fuse_block(func, n->body);
    fuse_split_reductions(b);
    fuse_scatter_sums(b);
    Fuse f = {.func = func, .block = b, .arena = u->scratch, .ids = func->next_id};
    FOR_NODES(n, b) f.n++;
    f.nodes = NEW_ARRAY(f.arena, Node *, f.n + 1);
    f.at = NEW_ARRAY(f.arena, int, f.ids);
    f.is_root = NEW_ARRAY(f.arena, bool, f.ids);
    f.is_kept = NEW_ARRAY(f.arena, bool, f.ids);
    f.uses = NEW_ARRAY(f.arena, int, f.ids);
    f.of = NEW_ARRAY(f.arena, Cluster *, f.ids);
    int position = 0;
    FOR_NODES(n, b) {
        f.nodes[position++] = n;
        for (int i = 0; i < n->nresults; i++) f.at[n->results[i]->id] = position;
        for (int i = 0; i < n->nargs; i++) f.uses[n->args[i]->id]++;
    }
    fuse_mark_roots(&f);
    for (int round = 0; round < 4; round++) {
        fuse_make_clusters(&f);
        if (round == 3 || !fuse_promote(&f)) break;
    }
    fuse_build(&f);
}

bool pass_fuse(Unit *u) {
    for (int i = 0; i < u->funcs.n; i++) fuse_block(u->funcs.at[i], u->funcs.at[i]->top);
    return true;
}
