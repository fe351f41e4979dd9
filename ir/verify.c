// SPDX-License-Identifier: Apache-2.0
#include "ir/verify.h"
#include "ir/op.h"
#include "ir/text.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

typedef struct Verifier {
    Unit *u;
    const char *pass;
    bool pending;           // pending marks are set: from `resolve` on (or without a mesh)
    unsigned char *visible; // by value id: defined and in scope
    bool ok;
} Verifier;

static void fail(Verifier *v, const Node *n, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void fail(Verifier *v, const Node *n, const char *format, ...) {
    char text[400];
    va_list ap;
    va_start(ap, format);
    vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    diag_internal(v->u->diag, v->pass, n ? node_line(n, v->u->arena) : NULL, "%s", text);
    v->ok = false;
}

static void verify_block(Verifier *v, const Block *b);

static void verify_types(Verifier *v, const Node *n) {
    Type *types = NEW_ARRAY(v->u->scratch, Type, n->nresults > 3 ? n->nresults : 3);
    int before = diag_errors(v->u->diag), count = 0;
    Node *y = n->body ? block_yield(n->body) : NULL;
    if (n->body && y && y->nargs != n->nresults) {
        fail(v, n, "%d results but %d yielded", n->nresults, y->nargs);
        return;
    }
    if (!op_infer(v->u, n->op, n->args, n->nargs, &n->attr, n->body, n->nresults ? &n->results[0]->type : NULL, n->loc,
                  types, &count)) {
        fail(v, n, "the operands do not fit the op (%d messages above)", diag_errors(v->u->diag) - before);
        return;
    }
    if (count != n->nresults) {
        fail(v, n, "%d results, expected %d", n->nresults, count);
        return;
    }
    for (int i = 0; i < count; i++) {
        if (!v->pending) types[i].sum = types[i].max = n->results[i]->type.sum = n->results[i]->type.max = 0;
        if (op_info(n->op)->traits & TRAIT_LEAF &&
            n->op != OP_expand) { // a constant may be declared pending: zero on all ranks
            types[i].sum = n->results[i]->type.sum;
            types[i].max = n->results[i]->type.max;
        }
        if (!type_equal(&types[i], &n->results[i]->type))
            fail(v, n, "result %d has another type than derived: %s", i,
                 type_text(&types[i], &v->u->mesh, v->u->arena));
    }
}

static void verify_node(Verifier *v, const Node *n) {
    const OpInfo *info = op_info(n->op);
    for (int i = 0; i < n->nargs; i++)
        if (!n->args[i] || n->args[i]->id < 0 || n->args[i]->id >= n->parent->func->next_id ||
            !v->visible[n->args[i]->id]) {
            fail(v, n, "operand %d is used before its definition or outside its scope", i);
            return;
        }
    if (info->nargs >= 0 && n->nargs != info->nargs) fail(v, n, "%d operands, the row says %d", n->nargs, info->nargs);
    if (info->nresults >= 0 && n->nresults != info->nresults)
        fail(v, n, "%d results, the row says %d", n->nresults, info->nresults);
    if (!!(info->traits & TRAIT_BODY) != !!n->body)
        fail(v, n, "a body where the row has none, or none where it has one");
    for (int i = 0; i < n->nresults; i++)
        if (n->results[i]->def != n || n->results[i]->index != i) fail(v, n, "result %d does not point back", i);
    if (!v->ok) return;
    if (n->body) {
        if (n->body->owner != n || n->body->func != n->parent->func) fail(v, n, "the body does not point back");
        verify_block(v, n->body);
        if (!v->ok) return;
        if (!block_yield(n->body)) fail(v, n, "the body does not yield");
    }
    if (v->ok) verify_types(v, n);
}

static void verify_block(Verifier *v, const Block *b) {
    for (int i = 0; i < b->nparams; i++) v->visible[b->params[i]->id] = 1;
    const Node *prev = NULL;
    for (const Node *n = b->first; n && v->ok; prev = n, n = n->next) {
        if (n->prev != prev || n->parent != b) fail(v, n, "broken links");
        if (prev && prev->op == OP_yield) fail(v, n, "a node behind the yield");
        if (n->op == OP_yield && !b->owner) fail(v, n, "a yield outside a body");
        verify_node(v, n);
        for (int i = 0; i < n->nresults; i++) v->visible[n->results[i]->id] = 1;
    }
    if (v->ok && b->last != prev) fail(v, prev, "the block's last node is not last");
    for (int i = 0; i < b->nparams && b->owner; i++) v->visible[b->params[i]->id] = 0;
    for (const Node *n = b->first; n && b->owner && v->ok; n = n->next)
        for (int i = 0; i < n->nresults; i++) v->visible[n->results[i]->id] = 0;
}

bool unit_verify(Unit *u, const char *pass) {
    Verifier v = {u, pass, strcmp(pass, "shard") && !(u->passed && !strcmp(u->passed, "shard")), NULL, true};
    for (int i = 0; i < u->funcs.n && v.ok; i++) {
        const Func *f = u->funcs.at[i];
        v.visible = NEW_ARRAY(u->scratch, unsigned char, f->next_id);
        verify_block(&v, f->top);
    }
    return v.ok;
}
