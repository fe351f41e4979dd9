// SPDX-License-Identifier: Apache-2.0
// ast: making nodes, and writing a program back as text.
#include "frontend/ast.h"

bool name_is_keyword(const char *p, size_t n) {
    static const char *const words[] = {"axis",   "use",    "block", "model", "strategy", "train", "param", "input",
                                        "repeat", "return", "as",    "over",  "at",       "and",   "or",    "not"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strlen(words[i]) == n && !memcmp(words[i], p, n)) return true;
    return false;
}

Expr *expr_new(Parser *p, ExprKind kind, Loc loc) {
    Expr *e = NEW(p->arena, Expr);
    e->kind = kind;
    e->depth = 1;
    e->loc = loc;
    return e;
}

void expr_measure(Parser *p, Expr *e) {
    int deepest = 0;
#define LOOK(x)                                                                                                        \
    if ((x) && (x)->depth > deepest) deepest = (x)->depth
    switch (e->kind) {
    case EXPR_NUMBER:
    case EXPR_NAME:
    case EXPR_STRING: break;
    case EXPR_CALL:
        for (int i = 0; i < e->call.args.n; i++) LOOK(e->call.args.at[i].value);
        break;
    case EXPR_OP:
        LOOK(e->op.a);
        LOOK(e->op.b);
        break;
    case EXPR_INDEX:
        LOOK(e->index.x);
        for (int i = 0; i < e->index.pieces.n; i++) LOOK(e->index.pieces.at[i].at);
        break;
    case EXPR_TUPLE:
        for (int i = 0; i < e->tuple.n; i++) LOOK(e->tuple.at[i]);
        break;
    }
#undef LOOK
    e->depth = deepest + 1;
    if (e->depth == EXPR_DEPTH_MAX + 1) {
        diag_error(p->diag, e->loc, "this expression is nested too deep (more than %d levels)", EXPR_DEPTH_MAX);
        p->failed = true;
    }
}

Expr *expr_op(Parser *p, OpKind op, Expr *a, Expr *b, Loc loc) {
    Expr *e = expr_new(p, EXPR_OP, loc);
    e->op.op = op;
    e->op.a = a;
    e->op.b = b;
    expr_measure(p, e);
    return e;
}

Stmt *stmt_new(Parser *p, StmtKind kind, Loc loc) {
    Stmt *s = NEW(p->arena, Stmt);
    s->kind = kind;
    s->loc = loc;
    return s;
}

// Binding strength of an operator, as in parse.y; 0 for what is not one.
static int strength(const Expr *e) {
    if (e->kind != EXPR_OP) return 100;
    switch (e->op.op) {
    case OP_or: return 1;
    case OP_and: return 2;
    case OP_not: return 3;
    case OP_add:
    case OP_sub: return 5;
    case OP_mul:
    case OP_div: return 6;
    case OP_neg: return 7;
    default: return 4; // comparisons
    }
}

static const char *operator_text(OpKind op) {
    switch (op) {
    case OP_or: return "or";
    case OP_and: return "and";
    case OP_add: return "+";
    case OP_sub: return "-";
    case OP_mul: return "*";
    case OP_div: return "/";
    case OP_lt: return "<";
    case OP_gt: return ">";
    case OP_le: return "<=";
    case OP_ge: return ">=";
    case OP_eq: return "==";
    default: return "!=";
    }
}

static void print_names(const Names *names, const char *between, FILE *out) {
    for (int i = 0; i < names->n; i++) fprintf(out, "%s%s", i ? between : "", names->at[i].str);
}

static void print_under(const Expr *e, int least, FILE *out) {
    bool wrap = strength(e) < least;
    if (wrap) fputc('(', out);
    expr_print(e, out);
    if (wrap) fputc(')', out);
}

static void print_args(const Args *args, FILE *out) {
    for (int i = 0; i < args->n; i++) {
        const Arg *a = &args->at[i];
        if (i) fputs(", ", out);
        if (a->over) fputs("over ", out);
        if (a->key.str) fprintf(out, "%s = ", a->key.str);
        expr_print(a->value, out);
    }
}

static void print_as(Name as, FILE *out) {
    if (as.str) fprintf(out, " as \"%s\"", as.str);
}

void expr_print(const Expr *e, FILE *out) {
    if (e->depth > EXPR_DEPTH_MAX) {
        fputs("...", out); // was reported
        return;
    }
    switch (e->kind) {
    case EXPR_NUMBER: fputs(e->number.text, out); break;
    case EXPR_NAME: fputs(e->name, out); break;
    case EXPR_STRING: fprintf(out, "\"%s\"", e->string); break;
    case EXPR_CALL:
        fprintf(out, "%s(", e->call.callee.str);
        print_args(&e->call.args, out);
        fputc(')', out);
        print_as(e->call.as, out);
        break;
    case EXPR_OP: {
        int s = strength(e);
        if (!e->op.b) {
            fputs(e->op.op == OP_not ? "not " : "-", out);
            print_under(e->op.a, s, out);
        } else { // comparisons do not chain: both sides bind tighter
            print_under(e->op.a, s == 4 ? 5 : s, out);
            fprintf(out, " %s ", operator_text(e->op.op));
            print_under(e->op.b, s + 1, out);
        }
        break;
    }
    case EXPR_INDEX:
        print_under(e->index.x, 100, out);
        fputc('[', out);
        for (int i = 0; i < e->index.pieces.n; i++) {
            const Piece *piece = &e->index.pieces.at[i];
            if (i) fputs(", ", out);
            print_names(&piece->from, " * ", out);
            if (piece->to.n) {
                fputs(" -> ", out);
                print_names(&piece->to, " * ", out);
            }
            if (piece->at) {
                fputs(" at ", out);
                expr_print(piece->at, out);
            }
        }
        fputc(']', out);
        break;
    case EXPR_TUPLE:
        fputc('(', out);
        for (int i = 0; i < e->tuple.n; i++) {
            if (i) fputs(", ", out);
            expr_print(e->tuple.at[i], out);
        }
        fputc(')', out);
        break;
    }
}

static void print_initial(const Expr *e, FILE *out) { // the short forms of an initial value, else brackets
    bool plain = e->kind == EXPR_NUMBER || e->kind == EXPR_NAME || e->kind == EXPR_CALL ||
                 (e->kind == EXPR_OP && e->op.op == OP_neg && e->op.a->kind == EXPR_NUMBER);
    print_under(e, plain ? 0 : 1000, out);
}

static void print_stmts(const Stmts *body, int indent, FILE *out) {
    for (int i = 0; i < body->n; i++) {
        const Stmt *s = body->at[i];
        fprintf(out, "%*s", indent, "");
        switch (s->kind) {
        case STMT_PARAM:
            fprintf(out, "param %s [", s->param.name.str);
            print_names(&s->param.shape, ", ", out);
            fputs("] = ", out);
            print_initial(s->param.init, out);
            print_as(s->param.as, out);
            if (s->param.has_groups) {
                fputs(" [", out);
                for (int j = 0; j < s->param.groups.n; j++) {
                    if (j) fputs(", ", out);
                    print_names(&s->param.groups.at[j], " * ", out);
                }
                fputc(']', out);
            }
            break;
        case STMT_INPUT:
            fputs("input ", out);
            print_names(&s->input.names, ", ", out);
            fprintf(out, " : %s[", s->input.dtype.str);
            print_names(&s->input.shape, ", ", out);
            fputc(']', out);
            break;
        case STMT_ASSIGN:
            print_names(&s->assign.names, ", ", out);
            fputs(" = ", out);
            expr_print(s->assign.value, out);
            break;
        case STMT_REPEAT:
            fprintf(out, "repeat %s", s->repeat.axis.str);
            print_as(s->repeat.as, out);
            fputs(" {\n", out);
            print_stmts(&s->repeat.body, indent + 4, out);
            fprintf(out, "%*s}", indent, "");
            break;
        case STMT_RETURN:
            fputs("return ", out);
            for (int j = 0; j < s->values.n; j++) {
                if (j) fputs(", ", out);
                expr_print(s->values.at[j], out);
            }
            break;
        }
        fputc('\n', out);
    }
}

static void print_options(const Options *options, FILE *out) {
    for (int i = 0; i < options->n; i++) {
        const Option *o = &options->at[i];
        const char *quote = o->quoted ? "\"" : "";
        fprintf(out, "%s%s%s%s%s%s", i ? ", " : "", o->key.str, o->bare ? " " : " = ", quote, o->value.str, quote);
        for (int k = 0; k < o->more.n; k++) fprintf(out, ", %s", o->more.at[k].str);
    }
}

static void print_strategy(const StrategyDecl *s, FILE *out) {
    fprintf(out, "strategy %s {\n", s->name.str);
    for (int i = 0; i < s->lines.n; i++) {
        const Line *l = &s->lines.at[i];
        fputs("    ", out);
        if (!l->assignment) fprintf(out, "%s ", l->head.str);
        print_names(&l->names, ", ", out);
        if (l->over.n) {
            fputs(" over ", out);
            print_names(&l->over, ", ", out);
        }
        if (l->names.n && l->options.n) fputc(' ', out);
        print_options(&l->options, out);
        fputc('\n', out);
    }
    fputs("}\n", out);
}

static void print_train(const TrainDecl *t, FILE *out) {
    fputs("train {\n", out);
    for (int i = 0; i < t->entries.n; i++) {
        const Entry *e = &t->entries.at[i];
        fprintf(out, "    %s", e->head.str);
        if (e->word.str) fprintf(out, " %s", e->word.str);
        if (e->options.n) fputc(' ', out);
        print_args(&e->options, out);
        if (e->values.n) fputs(" = ", out);
        for (int j = 0; j < e->values.n; j++) {
            if (j) fputs(", ", out);
            expr_print(e->values.at[j], out);
        }
        fputc('\n', out);
    }
    fputs("}\n", out);
}

static void print_block(const BlockDecl *b, FILE *out) {
    fprintf(out, "block %s(", b->name.str);
    for (int i = 0; i < b->formals.n; i++) {
        const Formal *f = &b->formals.at[i];
        fprintf(out, "%s%s", i ? ", " : "", f->name.str);
        if (f->fallback) {
            fputs(" = ", out);
            expr_print(f->fallback, out);
        }
    }
    fputs(") {\n", out);
    print_stmts(&b->body, 4, out);
    fputs("}\n", out);
}

void source_print(const Source *source, FILE *out) {
    for (int i = 0; i < source->decls.n; i++) {
        const Decl *d = &source->decls.at[i];
        switch (d->kind) {
        case DECL_USE: fprintf(out, "use \"%s\"\n", d->use.path.str); break;
        case DECL_AXIS:
            fputs("axis ", out);
            for (int j = 0; j < d->axes.n; j++) {
                fprintf(out, "%s%s = ", j ? ", " : "", d->axes.at[j].name.str);
                expr_print(d->axes.at[j].extent, out);
            }
            fputc('\n', out);
            break;
        case DECL_BLOCK: print_block(d->block, out); break;
        case DECL_MODEL:
            fprintf(out, "model %s {\n", d->model->name.str);
            print_stmts(&d->model->body, 4, out);
            fputs("}\n", out);
            break;
        case DECL_STRATEGY: print_strategy(d->strategy, out); break;
        case DECL_TRAIN: print_train(d->train, out); break;
        }
    }
}
