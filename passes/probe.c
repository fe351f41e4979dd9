// SPDX-License-Identifier: Apache-2.0
// probe: makes what happens inside `train` visible, when unit->probe asks for it (tgf verify, to name the first op at
// which two layouts part). Results of contractions become outputs, numbered in program order; those made inside a
// repeat are stacked. Runs before the strategy is applied, so a probe has the same name on every layout.
//
//   %h = dot %x, %w over width @gpt2.tgf:27:9    gains    output %h "probe.0003 dot h gpt2.tgf:27"
#include "ir/build.h"
#include "passes/pass.h"

typedef struct Probe {
    Value *value;
    Str label;
} Probe;
typedef Vec(Probe) Probes;

static bool worth_probing(const Node *n) {
    switch (n->op) {
    case OP_dot:
    case OP_attend:
    case OP_attend_grad:
    case OP_take:
    case OP_scatter:
    case OP_sum:
    case OP_max: return true;
    default: return false;
    }
}

static void collect(Unit *u, Block *b, Probes *probes, int *count) {
    FOR_NODES(n, b) {
        if (n->op == OP_repeat) {
            int first = probes->n;
            collect(u, n->body, probes, count);
            for (int i = first; i < probes->n; i++) {
                Value *inner = probes->at[i].value;
                bool fits = inner->type.rank < RANK_MAX && type_find(&inner->type, n->attr.axes.at[0]) < 0;
                probes->at[i].value = fits ? repeat_stack(n, inner) : NULL;
            }
        }
        for (int r = 0; worth_probing(n) && r < n->nresults; r++) {
            Str label = str_internf(u->strs, "probe.%04d %s %s%s%s:%d", (*count)++, op_info(n->op)->name,
                                    n->results[r]->name ? n->results[r]->name : "", n->results[r]->name ? " " : "",
                                    n->loc.file ? n->loc.file : "?", n->loc.line);
            vec_push(u->scratch, probes, ((Probe){n->results[r], label}));
        }
    }
    int kept = 0;
    for (int i = 0; i < probes->n; i++)
        if (probes->at[i].value) probes->at[kept++] = probes->at[i];
    probes->n = kept;
}

bool pass_probe(Unit *u) {
    Func *f = unit_func(u, "train");
    if (!u->probe || !f) return true;
    Probes probes = {0};
    int count = 0;
    collect(u, f->top, &probes, &count);
    Builder b = builder_at_end(f->top, (Loc){0});
    for (int i = 0; i < probes.n; i++) build_output(&b, probes.at[i].value, probes.at[i].label);
    return true;
}
