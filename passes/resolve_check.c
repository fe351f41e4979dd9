// SPDX-License-Identifier: Apache-2.0
// resolve_check: what microbatches and stages cannot do. A sum over microbatches is finished when all of them are done:
// behind the layers, where gradients, the loss and the number of labels are summed. Within the layers, or as a value of
// the whole batch, it would ask for every microbatch before the first is done: refused where the author can see it. So
// are values of all layers at once, which no stage has.
#include "passes/resolve.h"
#include "passes/pass.h"

typedef struct Check {
    Unit *u;
    Func *f;
    Vec(Loc) said;
    bool ok;
} Check;

static const Node *user_in(const Block *b, const Value *v) {
    for (const Node *n = b->first; n; n = n->next) {
        for (int i = 0; i < n->nargs; i++)
            if (n->args[i] == v) return n;
        const Node *inside = n->body ? user_in(n->body, v) : NULL;
        if (inside) return inside;
    }
    return NULL;
}

static bool said_at(Check *c, Loc at) {
    for (int i = 0; i < c->said.n; i++)
        if (c->said.at[i].file == at.file && c->said.at[i].line == at.line && c->said.at[i].col == at.col) return true;
    vec_push(c->u->scratch, &c->said, at);
    return false;
}

static void refuse(Check *c, const Node *n) {
    const Strategy *s = c->u->strategy;
    const Value *x = n->args[0];
    bool batch = n->attr.mesh & c->u->mesh.time;
    Loc made = x->def && x->def->loc.file ? x->def->loc : n->loc;
    c->ok = false;
    if (said_at(c, n->loc)) return;
    const char *quote = x->name ? "'" : "", *name = x->name ? x->name : "a value";
    if (batch)
        diag_error(c->u->diag, n->loc, "%s%s%s needs the whole batch here, so it cannot be done in microbatches", quote,
                   name, quote);
    else
        diag_error(c->u->diag, n->loc, "%s%s%s needs all of '%s' here, so '%s' cannot be cut into stages", quote, name,
                   quote, s->pipe_axis ? s->pipe_axis->name : "the layers", s->pipe_axis ? s->pipe_axis->name : "they");
    if (made.line != n->loc.line || made.file != n->loc.file)
        diag_note(c->u->diag, made, "%s%s%s is made here, a part in each %s", quote, name, quote,
                  batch ? "microbatch" : "stage");
    const Node *user = user_in(c->f->top, n->results[0]);
    if (user && user->loc.file && (user->loc.line != n->loc.line || user->loc.file != n->loc.file))
        diag_note(c->u->diag, user->loc, "it is used here");
    Loc asked = batch ? s->microbatches_loc : s->pipe_loc;
    if (asked.file) diag_note(c->u->diag, asked, "%s are asked for here", batch ? "microbatches" : "stages");
}

static void check_block(Check *c, const Block *b) {
    MeshSet in_order = c->u->mesh.time | c->u->mesh.stages;
    for (const Node *n = b->first; n; n = n->next) {
        bool moves = op_info(n->op)->traits & TRAIT_COMM || n->op == OP_part;
        if (moves && n->attr.mesh & in_order && (n->op != OP_all_reduce || b->owner)) refuse(c, n);
        if (n->body) check_block(c, n->body);
    }
}

bool resolve_check(Unit *u, Func *f) {
    Check c = {.u = u, .f = f, .ok = true};
    if (u->strategy && (u->mesh.time | u->mesh.stages)) check_block(&c, f->top);
    return c.ok;
}
