// SPDX-License-Identifier: Apache-2.0
#include "runtime/hub_names.h"
#include <stdio.h>
#include <string.h>

static const char *const bodies[] = {"transformer.", "model.", "bert."};
enum { NBODIES = sizeof bodies / sizeof *bodies };

static bool has_head(const char *s, const char *head) { return !strncmp(s, head, strlen(head)); }
static bool has_tail(const char *s, const char *tail) {
    size_t n = strlen(s), t = strlen(tail);
    return n >= t && !strcmp(s + n - t, tail);
}

bool hub_is_head(const char *name) { return !strcmp(name, "lm_head.weight"); }
// Stands beside the body in a whole model's files, not in it.
static bool is_outside(const char *name) { return has_head(name, "lm_head.") || has_head(name, "cls."); }

const Tensor *hub_embedding(const HubFiles *f) {
    static const char *const names[] = {"wte.weight", "embed_tokens.weight", "word_embeddings.weight"};
    const Tensor *found = NULL;
    for (int i = 0; i < hub_count(f); i++) {
        const Tensor *t = hub_at(f, i);
        for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
            size_t before = strlen(t->name) - strlen(names[k]);
            if (!has_tail(t->name, names[k]) || (before && t->name[before - 1] != '.')) continue;
            if (found) return NULL;
            found = t;
        }
    }
    return found;
}

const Tensor *hub_repeated(const HubFiles *f, const char *name) {
    if (hub_is_head(name) || !strcmp(name, "cls.predictions.decoder.weight")) return hub_embedding(f);
    return !strcmp(name, "cls.predictions.decoder.bias") ? hub_find(f, "cls.predictions.bias") : NULL;
}

static bool spell(const HubNames *n, const char *stored, char *out_name, size_t size) {
    static const char *const norms[2][2] = {{"LayerNorm.weight", "LayerNorm.gamma"},
                                            {"LayerNorm.bias", "LayerNorm.beta"}};
    bool inside = has_head(stored, n->prefix);
    const char *before = n->strip || (is_outside(stored) && !n->literal) ? "" : n->prefix;
    const char *tail = "";
    if (n->strip && inside) stored += strlen(n->prefix);
    int length = (int)strlen(stored);
    for (int i = 0; i < 2 && n->gamma; i++)
        if (has_tail(stored, norms[i][0])) {
            length -= (int)strlen(norms[i][0]);
            tail = norms[i][1];
            break;
        }
    return (size_t)snprintf(out_name, size, "%s%.*s%s", before, length, stored, tail) < size;
}

bool hub_leaf_name(const HubNames *n, const PlanLeaf *l, const StoredAs *s, int64_t i, char *out_name, size_t size) {
    char stored[TENSOR_NAME];
    return stored_name(l, s, i, stored, sizeof stored) && spell(n, stored, out_name, size);
}

// What a spelling finds.
typedef struct Match {
    int64_t wanted, found;
    char found_name[128]; // the first
} Match;

static Status too_long(const PlanLeaf *l) {
    return status_make(STATUS_INVALID, "the stored name of '%s' is too long", l->name);
}

// beside: count only names that this spelling does not share; NULL: all.
static Status match(const Plan *plan, const HubFiles *f, const HubNames *n, const HubNames *beside, Match *out) {
    *out = (Match){0};
    for (int leaf = 0; leaf < plan->nleaves; leaf++) {
        const PlanLeaf *l = &plan->leaves[leaf];
        StoredAs s;
        if (l->kind != PLAN_PARAM) continue;
        STATUS_TRY(stored_as(l, &s));
        for (int64_t i = 0; i < s.count; i++) {
            char name[TENSOR_NAME], other[TENSOR_NAME];
            if (!hub_leaf_name(n, l, &s, i, name, sizeof name)) return too_long(l);
            if (beside && hub_leaf_name(beside, l, &s, i, other, sizeof other) && !strcmp(name, other)) continue;
            out->wanted++;
            if (!hub_find(f, name)) continue;
            if (!out->found++) snprintf(out->found_name, sizeof out->found_name, "%.127s", name);
        }
    }
    return status_ok();
}

// Files of a deeper model than this one: a tensor one beyond the last of a layer axis.
static Status check_depth(const Plan *plan, const HubFiles *f, const HubNames *n) {
    for (int leaf = 0; leaf < plan->nleaves; leaf++) {
        PlanLeaf l = plan->leaves[leaf];
        StoredAs s;
        if (l.kind != PLAN_PARAM) continue;
        STATUS_TRY(stored_as(&l, &s));
        for (int k = 0; k < s.nindexed; k++) {
            PlanLeaf more = l;
            int dim = s.indexed[k];
            int64_t at = more.dim[dim].extent++; // of the tensor (0, ..., extent, ..., 0)
            for (int i = k + 1; i < s.nindexed; i++) at *= more.dim[s.indexed[i]].extent;
            char name[TENSOR_NAME];
            if (hub_leaf_name(n, &more, &s, at, name, sizeof name) && hub_find(f, name))
                return status_make(STATUS_INVALID, "%s holds '%s': more than the %lld of '%s' the model has",
                                   hub_path(f), name, (long long)l.dim[dim].extent, l.dim[dim].axis);
        }
    }
    return status_ok();
}

// An output layer that the model has as another parameter says what that one says.
static Status check_repeated(const HubFiles *f, bool has_leaf) {
    for (int i = 0; i < hub_count(f); i++) {
        const Tensor *t = hub_at(f, i), *of = hub_repeated(f, t->name);
        if (!of || (has_leaf && hub_is_head(t->name))) continue;
        if (t->dtype != of->dtype || t->bytes != of->bytes || memcmp(t->data, of->data, (size_t)t->bytes))
            return status_make(STATUS_INVALID, "%s: '%s' differs from '%s': the model has one for both", hub_path(f),
                               t->name, of->name);
    }
    return status_ok();
}

// The model's output layer, and the files': either may be the embedding instead.
static Status check_head(const Plan *plan, const HubFiles *f, HubNames *n) {
    bool has_leaf = false, tied;
    for (int leaf = 0; leaf < plan->nleaves; leaf++) {
        const PlanLeaf *l = &plan->leaves[leaf];
        StoredAs s;
        char name[TENSOR_NAME];
        if (l->kind != PLAN_PARAM) continue;
        STATUS_TRY(stored_as(l, &s));
        if (s.count == 1 && stored_name(l, &s, 0, name, sizeof name)) has_leaf |= hub_is_head(name);
    }
    if (has_leaf && !hub_find(f, "lm_head.weight") && hub_embedding(f)) {
        STATUS_TRY(hub_tied(f, &tied));
        n->tied = tied;
        if (!tied)
            return status_make(STATUS_INVALID,
                               "%s has no tensor 'lm_head.weight', and no config.json beside it says "
                               "\"tie_word_embeddings\": true",
                               hub_path(f));
    }
    return check_repeated(f, has_leaf);
}

Status hub_names_find(const Plan *plan, const HubFiles *f, const char *prefix, HubNames *out_names) {
    enum { BODIES = 1 + 2 * NBODIES, SPELLINGS = 2 * BODIES };
    HubNames all[SPELLINGS] = {{.prefix = ""}};
    HubNames *best = &all[0];
    Match m, most;
    if (prefix) {
        *out_names = (HubNames){.prefix = prefix, .literal = true};
        return check_depth(plan, f, out_names);
    }
    for (int i = 0; i < NBODIES; i++) {
        all[1 + 2 * i] = (HubNames){.prefix = bodies[i]};
        all[2 + 2 * i] = (HubNames){.prefix = bodies[i], .strip = true};
    }
    for (int i = 0; i < BODIES; i++) {
        all[BODIES + i] = all[i];
        all[BODIES + i].gamma = true;
    }
    STATUS_TRY(match(plan, f, best, NULL, &most));
    for (int i = 1; i < SPELLINGS; i++) {
        STATUS_TRY(match(plan, f, &all[i], NULL, &m));
        if (m.found <= most.found) continue; // a spelling that changes nothing finds what the first does
        best = &all[i];
        most = m;
    }
    for (int i = 0; i < SPELLINGS; i++) {
        if (&all[i] == best) continue;
        STATUS_TRY(match(plan, f, &all[i], best, &m));
        if (m.found) {
            Match mine;
            STATUS_TRY(match(plan, f, best, &all[i], &mine));
            return status_make(STATUS_INVALID, "%s holds '%s' beside '%s': which of the two to load is not clear",
                               hub_path(f), m.found_name, mine.found_name);
        }
    }
    *out_names = *best;
    STATUS_TRY(check_depth(plan, f, out_names));
    return check_head(plan, f, out_names);
}
