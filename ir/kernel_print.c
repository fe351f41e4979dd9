// SPDX-License-Identifier: Apache-2.0
// kernel_print: kernels as text, for --emit=kernels and for people. Expressions used more than once get a name.
#include "ir/kernel.h"
#include <inttypes.h>
#include <stdio.h>

static const char *const op_names[K_OP_COUNT] = {
    [K_CONST] = "const",   [K_VAR] = "var",   [K_SCALAR] = "scalar", [K_LOAD] = "load", [K_ACC] = "acc", [K_ADD] = "+",
    [K_SUB] = "-",         [K_MUL] = "*",     [K_DIV] = "/",         [K_MIN] = "min",   [K_MAX] = "max", [K_NEG] = "-",
    [K_ABS] = "abs",       [K_SQRT] = "sqrt", [K_FLOOR] = "floor",   [K_FMA] = "fma",   [K_EQ] = "==",   [K_NE] = "!=",
    [K_LT] = "<",          [K_LE] = "<=",     [K_AND] = "and",       [K_OR] = "or",     [K_NOT] = "not", [K_SHL] = "<<",
    [K_SELECT] = "select", [K_CAST] = "cast", [K_BITCAST] = "bits",  [K_SHR] = ">>",    [K_XOR] = "xor", [K_IAND] = "&",
    [K_MULHI] = "mulhi",
};

typedef struct Printer {
    FILE *out;
    int *uses;    // by expression id
    bool *is_set; // its name is defined
    int depth;
} Printer;

static void count_expr(Printer *p, const KExpr *e);
static void count_index(Printer *p, const KIndex *x) {
    for (int i = 0; i < x->ndyn; i++) count_expr(p, x->dyn[i].at);
}
static void count_expr(Printer *p, const KExpr *e) {
    if (p->uses[e->id]++) return;
    for (int i = 0; i < e->nargs; i++) count_expr(p, e->args[i]);
    if (e->op == K_LOAD) count_index(p, &e->index);
}
static void count_body(Printer *p, const KBody *b) {
    for (int i = 0; i < b->stmts.n; i++) {
        const KStmt *s = b->stmts.at[i];
        if (s->value) count_expr(p, s->value);
        if (s->kind == KSTMT_STORE) count_index(p, &s->index);
        if (s->kind == KSTMT_LOOP) count_body(p, &s->body);
    }
}

static bool is_named(const Printer *p, const KExpr *e) { return p->uses[e->id] > 1 && (e->nargs || e->op == K_LOAD); }

static void print_expr(Printer *p, const KExpr *e, bool define);
static void print_index(Printer *p, const KIndex *x) {
    const char *sep = "";
    for (int i = 0; i < x->nvars; i++, sep = " + ")
        if (x->vars[i].stride == 1) fprintf(p->out, "%si%d", sep, x->vars[i].var);
        else fprintf(p->out, "%si%d*%" PRId64, sep, x->vars[i].var, x->vars[i].stride);
    for (int i = 0; i < x->ndyn; i++, sep = " + ") {
        fputs(sep, p->out);
        print_expr(p, x->dyn[i].at, false);
        if (x->dyn[i].stride != 1) fprintf(p->out, "*%" PRId64, x->dyn[i].stride);
    }
    if (x->base || !*sep) fprintf(p->out, "%s%" PRId64, sep, x->base);
}

static void print_expr(Printer *p, const KExpr *e, bool define) {
    if (!define && is_named(p, e)) {
        fprintf(p->out, "t%d", e->id);
        return;
    }
    switch (e->op) {
    case K_CONST:
        if (dtype_is_float(e->type)) fprintf(p->out, "%.9g", e->f);
        else if (e->type == DT_BOOL) fputs(e->i ? "true" : "false", p->out);
        else fprintf(p->out, "%" PRId64, e->i);
        return;
    case K_VAR: fprintf(p->out, "i%d", e->var); return;
    case K_SCALAR: fprintf(p->out, "s%" PRId64, e->i); return;
    case K_ACC: fprintf(p->out, "a%d", e->var); return;
    case K_LOAD:
        fprintf(p->out, "b%d[", e->buf);
        print_index(p, &e->index);
        fputc(']', p->out);
        return;
    case K_ADD:
    case K_SUB:
    case K_MUL:
    case K_DIV:
    case K_EQ:
    case K_NE:
    case K_LT:
    case K_LE:
    case K_AND:
    case K_OR:
    case K_SHL:
    case K_SHR:
    case K_XOR:
    case K_IAND:
        fputc('(', p->out);
        print_expr(p, e->args[0], false);
        fprintf(p->out, " %s ", op_names[e->op]);
        print_expr(p, e->args[1], false);
        fputc(')', p->out);
        return;
    default: break;
    }
    if (e->op == K_CAST || e->op == K_BITCAST) fprintf(p->out, "%s ", dtype_name(e->type));
    fprintf(p->out, "%s(", op_names[e->op]);
    for (int i = 0; i < e->nargs; i++) {
        if (i) fputs(", ", p->out);
        print_expr(p, e->args[i], false);
    }
    fputc(')', p->out);
}

static void indent(const Printer *p) { fprintf(p->out, "%*s", 2 * p->depth + 2, ""); }

static void define_index(Printer *p, const KIndex *x);
static void define_expr(Printer *p, const KExpr *e) {
    if (p->is_set[e->id]) return;
    p->is_set[e->id] = true;
    for (int i = 0; i < e->nargs; i++) define_expr(p, e->args[i]);
    if (e->op == K_LOAD) define_index(p, &e->index);
    if (!is_named(p, e)) return;
    indent(p);
    fprintf(p->out, "t%d = ", e->id);
    print_expr(p, e, true);
    fputc('\n', p->out);
}
static void define_index(Printer *p, const KIndex *x) {
    for (int i = 0; i < x->ndyn; i++) define_expr(p, x->dyn[i].at);
}

static void print_body(Printer *p, const KBody *b) {
    static const char *const kinds[] = {"parallel", "serial", "vector"};
    for (int i = 0; i < b->stmts.n; i++) {
        const KStmt *s = b->stmts.at[i];
        if (s->kind == KSTMT_STORE) define_index(p, &s->index);
        if (s->value) define_expr(p, s->value);
        indent(p);
        switch (s->kind) {
        case KSTMT_LOOP:
            fprintf(p->out, "%s i%d in %" PRId64, kinds[s->loop], s->var, s->extent);
            if (s->chunk_var >= 0)
                fprintf(p->out, " while i%d*%" PRId64 " + i%d < %" PRId64, s->chunk_var, s->extent, s->var, s->total);
            fputc('\n', p->out);
            p->depth++;
            print_body(p, &s->body);
            p->depth--;
            continue;
        case KSTMT_STORE:
            fprintf(p->out, "b%d[", s->buf);
            print_index(p, &s->index);
            fputs("] = ", p->out);
            break;
        case KSTMT_ACC: fprintf(p->out, "acc a%d (%s)\n", s->var, s->reduce == KREDUCE_SUM ? "sum" : "max"); continue;
        case KSTMT_UPDATE: fprintf(p->out, "a%d <- ", s->var); break;
        }
        print_expr(p, s->value, false);
        fputc('\n', p->out);
    }
}

void kernel_print(const Kernel *k, void *file) {
    Printer p = {.out = file};
    p.uses = NEW_ARRAY(k->arena, int, k->nexprs + 1);
    p.is_set = NEW_ARRAY(k->arena, bool, k->nexprs + 1);
    fprintf(p.out, "kernel %s(", k->name);
    for (int i = 0; i < k->bufs.n; i++)
        fprintf(p.out, "%sb%d %s%s", i ? ", " : "", i, dtype_name(k->bufs.at[i].type),
                k->bufs.at[i].written ? " written" : "");
    for (int i = 0; i < k->nscalars; i++) fprintf(p.out, "%ss%d", i || k->bufs.n ? ", " : "", i);
    fprintf(p.out, ") tasks %" PRId64 "\n", k->tasks);
    count_body(&p, &k->body);
    print_body(&p, &k->body);
}
