// SPDX-License-Identifier: Apache-2.0
// Same numbers on every layout, op by op: each case, with its gradients, is laid out on meshes of 2, 3 and 2 x 2 ranks
// with every axis and every pair of axes split (extents the mesh does not divide included), run on all ranks with
// garbage in the padding, and compared with one rank. A layout may be refused only where one mesh axis would split a
// tensor twice; a row of the table that no layout of any case holds fails.
#include "ir/op.h"
#include "ir/strategy.h"
#include "passes/pass.h"
#include "tests/ops/cases.h"
#include <math.h>
#include <stdlib.h>

enum { SPLITS_MAX = 4 };

typedef struct Layout {
    int nmesh, nsplits;
    int64_t extent[2];
    struct {
        int axis; // of the unit
        MeshSet over;
    } split[SPLITS_MAX];
} Layout;

typedef struct Suite {
    const OpCase *k;
    Vec(const char *) names; // outputs, and what they hold on one rank
    Vec(double *) values;
    Vec(int64_t) counts;
    Arena *arena;
    int naxes;
} Suite;

static int failures, refused, done;
static bool seen[OP_COUNT];
static const double TOLERANCE = 1e-12; // of the largest element

static const char *layout_text(const CaseCtx *c, const Layout *l, Arena *arena) {
    const char *text =
        arena_printf(arena, l->nmesh == 2 ? "mesh %dx%d:" : "mesh %d:", (int)l->extent[0], (int)l->extent[1]);
    for (int i = 0; i < l->nsplits; i++)
        text = arena_printf(arena, "%s %s/%s", text, c->unit->axes.at[l->split[i].axis]->name,
                            (const char *[]){"", "m0", "m1", "m0/m1"}[l->split[i].over]);
    return text;
}

static void fail(const Suite *s, const CaseCtx *c, const Layout *l, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
static void fail(const Suite *s, const CaseCtx *c, const Layout *l, const char *format, ...) {
    va_list args;
    va_start(args, format);
    printf("FAIL: %s, %s: ", s->k->name, l ? layout_text(c, l, c->arena) : "one rank");
    vprintf(format, args);
    printf("\n");
    va_end(args);
    failures++;
}

static void apply(CaseCtx *c, const Layout *l) {
    Strategy *s = NEW(c->arena, Strategy);
    s->name = str_intern(c->unit->strs, "test");
    s->loc = c->b.loc;
    s->mesh.n = l->nmesh;
    for (int i = 0; i < l->nmesh; i++) {
        s->mesh.axis[i].name = str_internf(c->unit->strs, "m%d", i);
        s->mesh.axis[i].extent = l->extent[i];
    }
    s->splits = NEW_ARRAY(c->arena, Split, l->nsplits);
    s->nsplits = l->nsplits;
    for (int i = 0; i < l->nsplits; i++)
        s->splits[i] = (Split){.axis = c->unit->axes.at[l->split[i].axis],
                               .over = l->split[i].over,
                               .loc = c->b.loc,
                               .over_loc = c->b.loc};
    c->unit->strategy = s;
}

static bool run_passes(const Suite *s, CaseCtx *c, const char *last) {
    bool gradient = !(s->k->flags & CASE_NO_GRADIENT);
    PassOptions options = {.first = gradient ? "autodiff" : "shard", .last = last, .check_text = true};
    options.keep_gradients = true;
    return (!gradient && !strcmp(last, "autodiff")) || passes_run(c->unit, &options);
}

static void mark_ops(const Block *b) {
    for (const Node *n = b->first; n; n = n->next) {
        seen[n->op] = true;
        if (n->body) mark_ops(n->body);
    }
}

// One rank: every output's values.
static bool suite_reference(Suite *s) {
    CaseCtx *c = case_open(s->k);
    bool ok = run_passes(s, c, "autodiff");
    Eval *e = ok ? eval_new(c->unit, c->arena) : NULL;
    ok = ok && case_set(c, e) && eval_run(e, "train");
    if (!ok) fail(s, c, NULL, "%s", case_said(c));
    s->naxes = c->unit->axes.n;
    for (const Node *n = unit_func(c->unit, "train")->top->first; ok && n; n = n->next) {
        if (n->op != OP_output) continue;
        int64_t count;
        type_elements(&n->args[0]->type, &count);
        double *values = NEW_ARRAY(s->arena, double, count);
        eval_get(e, n->attr.s, values, count);
        vec_push(s->arena, &s->names, arena_dup(s->arena, n->attr.s, strlen(n->attr.s) + 1));
        vec_push(s->arena, &s->values, values);
        vec_push(s->arena, &s->counts, count);
    }
    mark_ops(unit_func(c->unit, "train")->top);
    case_close(c);
    return ok;
}

static void compare(const Suite *s, CaseCtx *c, const Layout *l, Eval *e) {
    for (int i = 0; i < s->names.n; i++) {
        int64_t count = s->counts.at[i];
        const double *want = s->values.at[i];
        double *got = NEW_ARRAY(c->arena, double, count), largest = 0;
        if (!eval_get(e, s->names.at[i], got, count)) {
            fail(s, c, l, "no output %s of %lld elements", s->names.at[i], (long long)count);
            continue;
        }
        for (int64_t j = 0; j < count; j++) largest = fmax(largest, fabs(want[j]));
        for (int64_t j = 0; j < count; j++) {
            if (fabs(got[j] - want[j]) <= TOLERANCE * fmax(largest, 1e-3)) continue;
            fail(s, c, l, "%s[%lld] is %.17g, not %.17g", s->names.at[i], (long long)j, got[j], want[j]);
            break;
        }
    }
}

static void check_layout(const Suite *s, const Layout *l) {
    CaseCtx *c = case_open(s->k);
    apply(c, l);
    if (!run_passes(s, c, "clean")) {
        bool twice = strstr(case_said(c), "both split over") && !diag_had_internal(c->unit->diag);
        if (!twice || l->nsplits == 1) fail(s, c, l, "%s", case_said(c));
        refused++;
    } else {
        Eval *e = eval_new(c->unit, c->arena);
        eval_poison(e, true);
        if (!case_set(c, e) || !eval_run(e, "train")) fail(s, c, l, "%s", case_said(c));
        else compare(s, c, l, e);
        mark_ops(unit_func(c->unit, "train")->top);
        done++;
    }
    case_close(c);
}

static void check_case(const OpCase *k) {
    Suite s = {.k = k, .arena = arena_new()};
    if (suite_reference(&s)) {
        for (int64_t ways = 2; ways <= 3; ways++)
            for (int a = 0; a < s.naxes; a++)
                for (int b = a; b < s.naxes; b++)
                    check_layout(&s, &(Layout){1, 1 + (b != a), {ways, 0}, {{a, 1}, {b, 1}}});
        for (int a = 0; a < s.naxes; a++)
            for (int b = 0; b < s.naxes; b++)
                if (a == b) check_layout(&s, &(Layout){2, 1, {2, 2}, {{a, 3}}});
                else check_layout(&s, &(Layout){2, 2, {2, 2}, {{a, 1}, {b, 2}}});
    }
    arena_free(s.arena);
}

int main(int argc, char **argv) {
    int count;
    const OpCase *cases = op_cases(&count);
    for (int i = 0; i < count; i++)
        if (argc < 2 || !strcmp(argv[1], cases[i].name)) check_case(&cases[i]);
    for (int op = 0; op < OP_COUNT && argc < 2; op++) {
        bool later = op == OP_fused || op == OP_buffer;                         // made by passes behind these
        bool elsewhere = op == OP_state || op == OP_assign || op == OP_permute; // tests/ir: updates, rings
        bool unused = op == OP_reduce_scatter || op == OP_all_to_all;           // tests/ir: layouts of whole models
        if (seen[op] || later || elsewhere || unused) continue;
        printf("FAIL: no case holds %s on any layout\n", op_info(op)->name);
        failures++;
    }
    printf("%d layouts, %d refused, %d failures\n", done, refused, failures);
    return failures != 0;
}
