// SPDX-License-Identifier: Apache-2.0
// Gradients of every op that has one: what autodiff makes, evaluated, against central differences of the loss, both in
// double precision. An op with a gradient and no case fails: an op without tests cannot exist.
#include "ir/op.h"
#include "passes/pass.h"
#include "tests/ops/cases.h"
#include <math.h>
#include <stdlib.h>

static int failures;
#define FAIL(...) (printf("FAIL: "), printf(__VA_ARGS__), printf("\n"), failures++)

static const double STEP = 1e-5, TOLERANCE = 1e-6; // of the largest element of the parameter's gradient

static double loss_at(Eval *e) {
    double loss = NAN;
    if (eval_run(e, "train")) eval_get(e, "loss", &loss, 1);
    return loss;
}

// Against differences of `plain`, which autodiff has not seen.
static void check_leaf(const OpCase *k, CaseLeaf *leaf, Eval *plain, const double *gradient) {
    double largest = 0, *want = calloc((size_t)leaf->count, sizeof *want);
    for (int64_t i = 0; i < leaf->count; i++) {
        double at = leaf->values[i], loss[2];
        for (int side = 0; side < 2; side++) {
            leaf->values[i] = at + (side ? STEP : -STEP);
            eval_set(plain, leaf->name, leaf->values, leaf->count);
            loss[side] = loss_at(plain);
        }
        leaf->values[i] = at;
        want[i] = (loss[1] - loss[0]) / (2 * STEP);
        largest = fmax(largest, fabs(want[i]));
    }
    eval_set(plain, leaf->name, leaf->values, leaf->count);
    for (int64_t i = 0; i < leaf->count; i++) {
        if (fabs(gradient[i] - want[i]) <= TOLERANCE * fmax(largest, 1e-3)) continue;
        FAIL("%s: grad.%s[%lld] is %.10g, differences give %.10g", k->name, leaf->name, (long long)i, gradient[i],
             want[i]);
        break;
    }
    free(want);
}

static bool same_names(const Type *a, const Type *b) {
    bool same = a->rank == b->rank;
    for (int d = 0; same && d < a->rank; d++) same = !strcmp(a->dim[d].axis->name, b->dim[d].axis->name);
    return same;
}

static void check_case(const OpCase *k) {
    CaseCtx *c = case_open(k), *d = case_open(k);
    Eval *plain = eval_new(c->unit, c->arena);
    if (diag_errors(c->unit->diag) || !case_set(c, plain)) {
        FAIL("%s: %s", k->name, case_said(c));
        goto done;
    }
    double loss = loss_at(plain);
    PassOptions options = {.first = "autodiff", .last = "autodiff", .check_text = true, .keep_gradients = true};
    if (!passes_run(d->unit, &options)) {
        FAIL("%s: %s", k->name, case_said(d));
        goto done;
    }
    Eval *e = eval_new(d->unit, d->arena);
    if (!case_set(d, e)) FAIL("%s: the leaves changed", k->name);
    double same = loss_at(e);
    if (isnan(same)) FAIL("%s: %s", k->name, case_said(d));
    if (fabs(loss - same) > 1e-13 * fabs(loss)) FAIL("%s: the loss was %.17g, is %.17g", k->name, loss, same);
    for (int i = 0; i < c->leaves.n && !(k->flags & CASE_ANY_GRADIENT); i++) {
        CaseLeaf *leaf = &c->leaves.at[i];
        if (!leaf->param) continue;
        char name[64];
        snprintf(name, sizeof name, "grad.%s", leaf->name);
        double *gradient = NEW_ARRAY(d->arena, double, leaf->count);
        const Type *t = eval_type(e, name);
        if (!t || !eval_get(e, name, gradient, leaf->count)) FAIL("%s: no %s", k->name, name);
        else if (!same_names(t, &leaf->type)) FAIL("%s: %s has other dimensions than %s", k->name, name, leaf->name);
        else check_leaf(k, leaf, plain, gradient);
    }
done:
    case_close(c);
    case_close(d);
}

// stop(x) counts as a constant: the gradient of sum w x stop(x) is w x.
static void check_stop(const OpCase *k) {
    CaseCtx *c = case_open(k);
    PassOptions options = {.first = "autodiff", .last = "autodiff", .keep_gradients = true};
    double got[64];
    CaseLeaf *x = case_leaf(c, "x"), *w = case_leaf(c, "weight.0");
    bool ok = passes_run(c->unit, &options);
    Eval *e = eval_new(c->unit, c->arena);
    if (!ok || !case_set(c, e) || !eval_run(e, "train") || !eval_get(e, "grad.x", got, x->count))
        FAIL("%s: %s", k->name, case_said(c));
    else
        for (int64_t i = 0; i < x->count; i++)
            if (fabs(got[i] - w->values[i] * x->values[i]) > 1e-14) FAIL("%s: grad.x[%lld]", k->name, (long long)i);
    case_close(c);
}

static void mark_ops(const Block *b, bool *seen) {
    for (const Node *n = b->first; n; n = n->next) {
        seen[n->op] = true;
        if (n->body) mark_ops(n->body, seen);
    }
}

int main(int argc, char **argv) {
    int count, done = 0;
    const OpCase *cases = op_cases(&count);
    bool tested[OP_COUNT] = {0};
    for (int i = 0; i < count; i++) {
        const OpCase *k = &cases[i];
        if (argc > 1 && strcmp(argv[1], k->name)) continue;
        bool seen[OP_COUNT] = {0};
        CaseCtx *c = case_open(k);
        mark_ops(unit_func(c->unit, "train")->top, seen);
        case_close(c);
        if (!seen[k->op]) FAIL("%s: the case does not hold the op it is there for", k->name);
        if (k->flags & CASE_NO_GRADIENT) continue;
        tested[k->op] |= seen[k->op];
        check_case(k);
        if (!strcmp(k->name, "stop.product")) check_stop(k);
        done++;
    }
    for (int op = 0; op < OP_COUNT && argc == 1; op++)
        if (op_differentiable(op) && !tested[op]) FAIL("%s has a gradient and no case", op_info(op)->name);
    printf("%d cases, %d failures\n", done, failures);
    return failures != 0;
}
