// SPDX-License-Identifier: Apache-2.0
// kernel_query: questions about a kernel that every machine's renderer asks.
#include "ir/kernel.h"

bool kindex_equal(const KIndex *a, const KIndex *b) {
    if (a->base != b->base || a->nvars != b->nvars || a->ndyn != b->ndyn) return false;
    for (int i = 0; i < a->nvars; i++)
        if (a->vars[i].var != b->vars[i].var || a->vars[i].stride != b->vars[i].stride) return false;
    for (int i = 0; i < a->ndyn; i++)
        if (a->dyn[i].at != b->dyn[i].at || a->dyn[i].stride != b->dyn[i].stride) return false;
    return true;
}

int64_t kindex_stride(const KIndex *x, int var) {
    for (int i = 0; i < x->nvars; i++)
        if (x->vars[i].var == var) return x->vars[i].stride;
    return 0;
}

const KExpr *kexpr_bare(const KExpr *x) {
    while (x->op == K_CAST) x = x->args[0];
    return x;
}

bool kbody_updates(const KBody *body, int acc) { return kbody_updates_behind(body, -1, acc); }

bool kbody_updates_behind(const KBody *body, int at, int acc) {
    for (int i = at + 1; i < body->stmts.n; i++) {
        const KStmt *s = body->stmts.at[i];
        if (s->kind == KSTMT_UPDATE && s->var == acc) return true;
        if (s->kind == KSTMT_LOOP && kbody_updates(&s->body, acc)) return true;
    }
    return false;
}

bool kstmt_is_effect(const KStmt *s) { return s->kind == KSTMT_STORE || s->kind == KSTMT_UPDATE; }

// Does one of the statements [from, to) update an accumulator that is declared in this body?
static bool updates_own(const KBody *body, int from, int to) {
    for (int i = from; i < to; i++)
        for (int j = 0; j < i; j++)
            if (body->stmts.at[i]->kind == KSTMT_UPDATE && body->stmts.at[j]->kind == KSTMT_ACC &&
                body->stmts.at[j]->var == body->stmts.at[i]->var)
                return true;
    return false;
}

int kbody_effects_end(const KBody *body, int from) {
    int to = from;
    // A sum over a single place is final at once: what reads it comes after.
    while (to < body->stmts.n && kstmt_is_effect(body->stmts.at[to]) &&
           !(to > from && body->stmts.at[to]->kind == KSTMT_STORE && updates_own(body, from, to)))
        to++;
    return to;
}
