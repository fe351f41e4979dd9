// SPDX-License-Identifier: Apache-2.0
// check_attention: `split seq over context  attention = ring`. The line splits the axis of the keys too, which the
// attention knows under another name: k[seq -> key].
#include "frontend/front.h"
#include "ir/op.h"

AttentionKind strategy_attention(Front *f, const Line *l) {
    AttentionKind found = ATTENTION_GATHER;
    for (int i = 0; i < l->options.n; i++) {
        const Option *o = &l->options.at[i];
        if (strcmp(o->key.str, "attention")) continue;
        bool known = false;
        Near near = near_to(o->value.str);
        for (int k = ATTENTION_GATHER; k <= ATTENTION_HEADS; k++) {
            const char *name = attention_name((AttentionKind)k);
            near_try(&near, name);
            if (strcmp(name, o->value.str)) continue;
            found = (AttentionKind)k;
            known = true;
        }
        if (!known)
            diag_error(f->diag, o->value.loc, "attention is gather, ring, zigzag or heads, not '%s'%s", o->value.str,
                       near_text(&near, f->arena));
        for (int j = 0; j < l->options.n && found; j++)
            if (!strcmp(l->options.at[j].key.str, "between"))
                diag_error(f->diag, o->key.loc, "between blocks, attention sees the axis whole");
    }
    return found;
}

static bool renames(const Block *b, const Axis *from, const Axis *to) {
    for (const Node *n = b->first; n; n = n->next) {
        if (n->op == OP_rename && n->attr.axes.n == 1 && n->attr.to.n == 1 && n->attr.axes.at[0] == from &&
            n->attr.to.at[0] == to)
            return true;
        if (n->body && renames(n->body, from, to)) return true;
    }
    return false;
}

// The key axes of a block's attentions that `axis` is renamed to.
static void find_keys(const Block *b, const Block *top, const Axis *axis, Axes *keys) {
    for (const Node *n = b->first; n; n = n->next) {
        if (n->body) find_keys(n->body, top, axis, keys);
        if (n->op != OP_attend) continue;
        const Axis *key = n->attr.axes.at[1];
        if (key != axis && axes_find(keys, key) < 0 && renames(top, axis, key)) axes_push(keys, key);
    }
}

void strategy_split_keys(Front *f, Strategy *s) {
    int nsplits = s->nsplits;
    for (int i = 0; i < nsplits; i++) {
        Split split = s->splits[i];
        if (!split.attention) continue;
        Axes keys = {0};
        for (int j = 0; j < f->unit->funcs.n; j++)
            find_keys(f->unit->funcs.at[j]->top, f->unit->funcs.at[j]->top, split.axis, &keys);
        if (!keys.n) {
            bool is_key = false; // written out by the author, or found by way of another axis
            for (int j = 0; j < s->nsplits; j++) is_key |= j != i && s->splits[j].attention == split.attention;
            if (is_key) continue;
            diag_error(f->diag, split.loc, "no attention has keys that come from '%s'", split.axis->name);
        }
        for (int k = 0; k < keys.n; k++) {
            Split *old = NULL;
            for (int j = 0; j < s->nsplits; j++)
                if (s->splits[j].axis == keys.at[k]) old = &s->splits[j];
            if (old && old->over == split.over && !old->between) {
                old->attention = split.attention;
            } else if (old) {
                diag_error(f->diag, old->loc, "'%s' and '%s' are split differently, and attention goes over both",
                           split.axis->name, keys.at[k]->name);
                diag_note(f->diag, split.loc, "the queries' split is here");
            } else {
                Split *more = NEW_ARRAY(f->arena, Split, s->nsplits + 1);
                memcpy(more, s->splits, sizeof *more * (size_t)s->nsplits);
                more[s->nsplits] = split;
                more[s->nsplits++].axis = keys.at[k];
                s->splits = more;
            }
        }
    }
}
