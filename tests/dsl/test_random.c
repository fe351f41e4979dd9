// SPDX-License-Identifier: Apache-2.0
// Random programs, each read in two ways: by the builder, whose text the reference interpreter runs; and by this file,
// where a call's value is computed when the call is made, which is what a handle stands for. Both give one loss. The
// program's IR is its text's.
#include "include/tgf/dsl.h"
#include "tests/dsl/dsl_ir.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PLACES = 3, TURNS = 3, VARS = 4, OPS_MAX = 400, DEPTH = 3 };

typedef enum What { EXPR, LET, REPEAT, END } What;
typedef struct Op { // a call of the builder
    What what;
    int kind;      // EXPR: which
    int a, b;      // earlier ops whose values are used
    int var;       // LET: which variable
    double number; // EXPR
} Op;

typedef struct Plan { // what the calls are, and what may be used at each place
    Op ops[OPS_MAX];
    int n;
    int scope[OPS_MAX];               // of an op: index of the repeat it is in, -1: the model
    int version_of[OPS_MAX];          // LET: the variable's version
    int version[VARS], made_in[VARS]; // 0: not set; the repeat it was first set in
    int open[DEPTH + 1], depth;       // repeats
    unsigned seed;
} Plan;

static unsigned draw(Plan *p, unsigned below) {
    p->seed = p->seed * 1664525u + 1013904223u;
    return (p->seed >> 10) % below;
}

static int is_open(const Plan *p, int repeat) {
    if (repeat < 0) return 1;
    for (int i = 0; i < p->depth; i++)
        if (p->open[i] == repeat) return 1;
    return 0;
}

static int usable(const Plan *p, int op) {
    const Op *o = &p->ops[op];
    if (o->what == EXPR) return is_open(p, p->scope[op]);
    return o->what == LET && p->version_of[op] == p->version[o->var] && is_open(p, p->made_in[o->var]);
}

static int pick(Plan *p) {
    for (int tries = 0; tries < 8; tries++) { // rather what is near
        int op = p->n - 1 - (int)draw(p, p->n < 12 ? (unsigned)p->n : 12);
        if (usable(p, op)) return op;
    }
    for (;;) {
        int op = (int)draw(p, (unsigned)p->n);
        if (usable(p, op)) return op;
    }
}

static void add(Plan *p, Op op) {
    p->scope[p->n] = p->depth ? p->open[p->depth - 1] : -1;
    if (op.what == LET) {
        int v = op.var;
        if (!p->version[v] || !is_open(p, p->made_in[v])) p->made_in[v] = p->scope[p->n];
        p->version_of[p->n] = ++p->version[v];
    }
    p->ops[p->n++] = op;
}

static void plan(Plan *p, unsigned seed) {
    *p = (Plan){.seed = seed * 7919u + 1};
    int most = 10 + (int)draw(p, 120);
    if (seed % 50 == 0) most = OPS_MAX - 20; // chains longer than an expression may be deep
    add(p, (Op){.what = EXPR, .kind = 0});
    add(p, (Op){.what = LET, .a = 0, .var = 0});
    while (p->n < most) {
        unsigned which = draw(p, 20);
        if (which < 4) {
            add(p, (Op){.what = LET, .a = pick(p), .var = (int)draw(p, VARS)});
        } else if (which == 4 && p->depth < DEPTH && most - p->n > 8) {
            add(p, (Op){.what = REPEAT, .kind = p->depth});
            p->open[p->depth++] = p->n - 1;
        } else if (which == 5 && p->depth) {
            add(p, (Op){.what = LET, .a = pick(p), .var = 0}); // something is carried
            p->depth--;
            add(p, (Op){.what = END});
        } else {
            add(p, (Op){EXPR, 1 + (int)draw(p, 5), pick(p), pick(p), 0, 0.25 * draw(p, 9) - 1});
        }
    }
    while (p->depth) {
        add(p, (Op){.what = LET, .a = pick(p), .var = 0});
        p->depth--;
        add(p, (Op){.what = END});
    }
    int last = p->n - 2;
    for (int i = 0; i < last && p->n < OPS_MAX; i++) // some of what is left counts, too
        if (usable(p, i) && !draw(p, 4)) {
            int x = usable(p, p->n - 1) ? p->n - 1 : pick(p);
            add(p, (Op){.what = EXPR, .kind = 1, .a = x, .b = i});
        }
}

// ---- read here ----

typedef struct Run {
    const Plan *plan;
    double value[OPS_MAX][PLACES]; // EXPR
    double var[VARS][PLACES];
} Run;

static const double *value_of(const Run *r, int op) {
    return r->plan->ops[op].what == LET ? r->var[r->plan->ops[op].var] : r->value[op];
}

static double equation(const Op *o, double a, double b, int place) {
    switch (o->kind) {
    case 0: return 0.3 * place;
    case 1: return (a + b) * 0.5;
    case 2: return tanh(a * b);
    case 3: return sin(a + o->number);
    case 4: return (a - b) * 0.5;
    default: return fmax(a, -b);
    }
}

static int run(Run *r, int from) { // up to the end of the repeat; the op behind it
    const Plan *p = r->plan;
    for (int i = from; i < p->n; i++) {
        const Op *o = &p->ops[i];
        int end = i;
        switch (o->what) {
        case EXPR:
            for (int j = 0; j < PLACES; j++)
                r->value[i][j] = equation(o, value_of(r, o->a)[j], value_of(r, o->b)[j], j);
            break;
        case LET: memmove(r->var[o->var], value_of(r, o->a), sizeof r->var[0]); break;
        case REPEAT:
            for (int turn = 0; turn < TURNS; turn++) end = run(r, i + 1);
            i = end;
            break;
        case END: return i;
        }
    }
    return p->n;
}

// ---- read by the builder ----

static TgfProgram *build(const Plan *plan, int last) {
    static const char *const repeats[DEPTH] = {"k", "l", "m"}, *const vars[VARS] = {"x", "y", "t2", "z"};
    TgfProgram *p = tgf_program_new();
    Axis n = tgf_axis(p, "n", PLACES), axes[DEPTH];
    for (int i = 0; i < DEPTH; i++) axes[i] = tgf_axis(p, repeats[i], TURNS);
    Tensor at[OPS_MAX];
    tgf_model(p, "random");
    for (int i = 0; i < plan->n; i++) {
        const Op *o = &plan->ops[i];
        Tensor a = at[o->a], b = at[o->b];
        at[i] = NULL;
        if (o->what == REPEAT) tgf_repeat(p, axes[o->kind], NULL);
        else if (o->what == END) tgf_end(p);
        else if (o->what == LET) at[i] = tgf_let(p, vars[o->var], a);
        else if (o->kind == 0) at[i] = tgf_mul(0.3, tgf_cast(tgf_index(n), "f32"));
        else if (o->kind == 1) at[i] = tgf_mul(tgf_add(a, b), 0.5);
        else if (o->kind == 2) at[i] = tgf_tanh(tgf_mul(a, b));
        else if (o->kind == 3) at[i] = tgf_sin(tgf_add(a, o->number));
        else if (o->kind == 4) at[i] = tgf_div(tgf_sub(a, b), 2);
        else at[i] = tgf_maximum(a, tgf_neg(b));
    }
    tgf_let(p, "loss", tgf_sum(at[last]));
    tgf_end(p);
    return p;
}

static int check(unsigned seed) {
    static Plan p;
    static Run r;
    plan(&p, seed);
    r = (Run){.plan = &p};
    run(&r, 0);
    int last = p.n - 1, ok = 0;
    while (!usable(&p, last)) last--;
    double wanted = 0;
    for (int j = 0; j < PLACES; j++) wanted += value_of(&r, last)[j];
    TgfProgram *program = build(&p, last);
    const char *text = NULL;
    if (tgf_program_text(program, &text).code) {
        printf("seed %u: %s", seed, tgf_program_messages(program));
    } else {
        double loss = loss_of_text(text);
        char *mine = ir_of_program(program, NULL), *of_text = ir_of_text("random.tgf", text, NULL);
        ok = fabs(loss - wanted) < 1e-9 && !strncmp(mine, "unit ", 5) && !strcmp(mine, of_text);
        if (!ok)
            printf("seed %u: %.15g, and not %.15g%s\n%s", seed, loss, wanted,
                   strcmp(mine, of_text) ? "; the IR differs" : "", text);
        free(mine);
        free(of_text);
    }
    tgf_program_free(program);
    return ok;
}

int main(int argc, char **argv) {
    int failures = 0;
    if (argc > 1) return !check((unsigned)strtoul(argv[1], NULL, 10));
    for (unsigned seed = 0; seed < 600 && failures < 5; seed++) failures += !check(seed);
    return failures != 0;
}
