// SPDX-License-Identifier: Apache-2.0
// perturb: makes `train` round at random, when unit->perturb asks for it (tgf verify): each result of 16 bits moves by
// up to 1.5 of its last place, as the new input "perturb" says (Monte Carlo arithmetic: Parker, Pierce, Eggert 2000).
// How far outputs of such runs lie apart is how far any correct order of the same sums may move them.
//
//   %y: bf16[batch, out] = dot %x, %w over in        gains, u = 2^-8 being the unit roundoff,
//   %1: f32[batch, out]  = cast %y as f32
//   %2: f32[batch, out]  = random %perturb, %layer   from 0 to 1; one key for each repeat around
//   %3: f32[batch, out]  = mul %1, %2 * 4u + (1 - 2u)
//   %4: bf16[batch, out] = cast %3 as bf16           which users of %y take instead
//
// What is rounded to 16 bits from leaves alone (weights) is the same on every layout and stays.
#include "ir/build.h"
#include "passes/pass.h"
#include "passes/simplify.h"

enum { STREAM = 1 << 20, MOST_KEYS = 4 };

typedef struct Perturb {
    Value *keys[MOST_KEYS]; // the input, then iterations, the innermost last
    int nkeys;
    int64_t stream;
} Perturb;

// Made from leaves alone by what moves or rounds?
static bool is_given(const Value *v) {
    if (!v->def) {
        const Node *repeat = v->block->owner;
        return v->index > repeat_carries(repeat) && is_given(repeat->args[v->index - 1]);
    }
    const OpInfo *info = op_info(v->def->op);
    bool moves = info->traits & TRAIT_VIEW || v->def->op == OP_cast || v->def->op == OP_take;
    if (!moves) return info->traits & TRAIT_LEAF;
    for (int i = 0; i < v->def->nargs; i++)
        if (!is_given(v->def->args[i])) return false;
    return true;
}

static bool is_rounded(const Node *n, const Value *v) {
    bool moves = n->op == OP_repeat || op_info(n->op)->traits & (TRAIT_VIEW | TRAIT_LEAF);
    return dtype_is_half(v->type.dtype) && !moves && !is_given(v);
}

static void perturb_value(Perturb *p, Node *n, Value *v) {
    Builder b = builder_before(n);
    b.before = n->next;
    double u = dtype_roundoff(v->type.dtype);
    Type t = v->type;
    t.dtype = DT_F32;
    Value *wide = build_cast(&b, v, DT_F32), *at = build_random(&b, &t, 0, STREAM + p->stream++, p->keys, p->nkeys);
    at = build_map(&b, OP_mul, at, build_const(&b, DT_F32, 4 * u), NULL);
    at = build_map(&b, OP_add, at, build_const(&b, DT_F32, 1 - 2 * u), NULL);
    Value *moved = build_cast(&b, build_map(&b, OP_mul, wide, at, NULL), v->type.dtype);
    if (moved) value_replace_uses_after(moved->def, v, moved);
}

static void perturb_block(Perturb *p, Block *block) {
    FOR_NODES(n, block) {
        if (n->op == OP_repeat) {
            bool room = p->nkeys < MOST_KEYS; // else iterations of the innermost repeat are moved alike
            if (room) p->keys[p->nkeys++] = n->body->params[0];
            perturb_block(p, n->body);
            p->nkeys -= room;
        }
        for (int i = 0; i < n->nresults; i++)
            if (is_rounded(n, n->results[i])) perturb_value(p, n, n->results[i]);
    }
}

bool pass_perturb(Unit *u) {
    Func *f = unit_func(u, "train");
    if (!u->perturb || !f) return true;
    Builder first = builder_before(f->top->first);
    Type scalar = type_scalar(DT_I32);
    Perturb p = {.nkeys = 1};
    p.keys[0] = build_input(&first, &scalar, str_intern(u->strs, "perturb"), 0, 0);
    perturb_block(&p, f->top);
    return repeat_close_bodies(f);
}
