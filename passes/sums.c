// SPDX-License-Identifier: Apache-2.0
// sums: a sum of very many elements to very few is done in two steps, so that many threads, and all processors of a
// GPU, have a part in the first: the norm of a gradient is a sum over a whole parameter. Sums of sums also round less.
//
//   before    %n: f32[] = sum %g over layer, width, hidden
//   after     %p: f32[layer=12, width=768] = sum %g over hidden
//             %n: f32[] = sum %p over layer, width
//
// The first step keeps the outermost axes, and lanes run along what it sums. Maxima likewise.
#include "passes/layout.h"
#include "passes/pass.h"

// A block of a GPU, or a core, has nothing to gain below some ten thousand elements each; a thousand parts are enough
// for either. Results that are many already are shared by their elements.
enum { LEAST_ELEMENTS = 1 << 16, MOST_RESULTS = 64, PARTS = 1024 };

static int64_t local_elements(const Unit *u, const Type *t) {
    int64_t n = 0;
    return type_local_elements(t, &u->mesh, &n) ? n : 0;
}

static bool split_sum(Func *f, Node *n, int64_t least) {
    Unit *u = f->unit;
    const Type *t = &n->args[0]->type;
    for (int d = 0; d < t->rank && n->op == OP_max;
         d++) // a maximum of what is pending over ranks would be pending twice
        if (axes_find(&n->attr.axes, t->dim[d].axis) >= 0 && mesh_extent(&u->mesh, t->dim[d].split) > 1) return true;
    if (local_elements(u, t) < least || local_elements(u, &n->results[0]->type) > MOST_RESULTS || n->attr.axes.n < 2)
        return true;
    Attr first = n->attr, second = n->attr;
    first.axes.n = second.axes.n = 0;
    int64_t parts = 1;
    int left = n->attr.axes.n;
    for (int d = 0; d < t->rank; d++) {
        const Dim *dim = &t->dim[d];
        if (axes_find(&n->attr.axes, dim->axis) < 0) continue;
        bool keeps = parts < PARTS && --left > 0; // the innermost is always summed first
        if (keeps) parts *= dim_local(dim, &u->mesh);
        axes_push(keeps ? &second.axes : &first.axes, dim->axis);
    }
    if (parts == 1) return true;
    Node *part = layout_node(f, n->parent, n->prev, n->op, n->args, 1, &first, NULL, n->loc);
    if (!part) return false;
    part->scope = n->scope;
    part->again = n->again;
    n->args[0] = part->results[0];
    n->attr.axes = second.axes;
    return true;
}

static bool split_block(Func *f, Block *b, int64_t least) {
    FOR_NODES(n, b) {
        if ((n->op == OP_sum || n->op == OP_max) && !split_sum(f, n, least)) return false;
        if (n->body && !split_block(f, n->body, least)) return false;
    }
    return true;
}

bool pass_sums(Unit *u) {
    // Models small enough to be verified have no long sums; there all go through both steps.
    int64_t least = u->keep_gradients ? 16 : LEAST_ELEMENTS;
    for (int i = 0; i < u->funcs.n; i++)
        if (!split_block(u->funcs.at[i], u->funcs.at[i]->top, least)) return false;
    return true;
}
