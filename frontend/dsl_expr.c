// SPDX-License-Identifier: Apache-2.0
// dsl_expr: expressions: calls, operators, views, and the arguments they take.
#include "frontend/builtins.h"
#include "frontend/dsl_core.h"
#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

typedef TgfTensorHandle Handle;

// ---- numbers ----

Str dsl_number_text(TgfProgram *p, double x) {
    char text[40];
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, sizeof text - 2, "%.*g", digits, x);
        if (strtod(text, NULL) == x) break;
    }
    if (!strpbrk(text, ".e")) strcat(text, ".0"); // no integer
    return str_intern(p->strs, text);
}

Expr *dsl_number(TgfProgram *p, double x, bool is_integer, int64_t integer) {
    if (!is_integer && !(fabs(x) < 1e300)) { // as in lex.l
        DSL_ERROR(p, isfinite(x) ? "this number is too large" : "this is not a finite number");
        return NULL;
    }
    bool negative = is_integer ? integer < 0 : signbit(x);
    uint64_t size = is_integer && integer < 0 ? 0 - (uint64_t)integer : (uint64_t)integer;
    Expr *e = expr_new(&p->parser, EXPR_NUMBER, p->at);
    e->number.value = is_integer ? (double)size : fabs(x);
    e->number.is_integer = is_integer && size <= INT64_MAX;
    if (e->number.is_integer) e->number.integer = (int64_t)size;
    e->number.text = is_integer ? str_internf(p->strs, "%" PRIu64, size) : dsl_number_text(p, fabs(x));
    return negative ? expr_op(&p->parser, OP_neg, e, NULL, p->at) : e;
}

// ---- arguments ----

TgfArg tgf_arg_none(void) { return (TgfArg){.kind = TGF_ARG_NONE}; }
TgfArg tgf_arg_same(TgfArg a) { return a; }
TgfArg tgf_arg_tensor(Handle x) { return (TgfArg){.kind = TGF_ARG_TENSOR, .tensor = x}; }
TgfArg tgf_arg_axis(TgfAxisHandle x) { return (TgfArg){.kind = TGF_ARG_AXIS, .axis = x}; }
TgfArg tgf_arg_integer(int64_t x) { return (TgfArg){.kind = TGF_ARG_INTEGER, .integer = x}; }
TgfArg tgf_arg_number(double x) { return (TgfArg){.kind = TGF_ARG_NUMBER, .number = x}; }
TgfArg tgf_arg_text(const char *x) { return (TgfArg){.kind = TGF_ARG_TEXT, .text = x}; }
TgfArg tgf_arg_program(TgfProgram *p) { return (TgfArg){.kind = TGF_ARG_PROGRAM, .program = p}; }
TgfArg tgf_quoted(const char *text) { return (TgfArg){.kind = TGF_ARG_QUOTED, .text = text}; }
TgfArg tgf_words(const char *first, const char *second) {
    return (TgfArg){.kind = TGF_ARG_WORDS, .words = {first, second}};
}
TgfArg tgf_list_of(int n, const double *numbers) {
    return (TgfArg){.kind = TGF_ARG_LIST, .list = {.at = numbers, .n = n}};
}
TgfArg tgf_key_of(const char *key, TgfArg value) {
    value.key = key ? key : "";
    return value;
}
TgfArg tgf_over_of(TgfArg axis) {
    axis.over = 1;
    return axis;
}
TgfArg tgf_piece_of(int nfrom, const TgfAxisHandle *from, int nto, const TgfAxisHandle *to, const TgfArg *at) {
    TgfArg a = {.kind = TGF_ARG_PIECE};
    for (int i = 0; i < nfrom && i < 4; i++) a.piece.from[i] = from[i];
    for (int i = 0; i < nto && i < 4; i++) a.piece.to[i] = to[i];
    a.piece.nfrom = nfrom;
    a.piece.nto = nto;
    a.piece.at = at;
    return a;
}
TgfArg tgf_rename(TgfAxisHandle from, TgfAxisHandle to) { return tgf_piece_of(1, &from, 1, &to, NULL); }
TgfArg tgf_unflatten(TgfAxisHandle from, TgfAxisHandle first, TgfAxisHandle second) {
    return tgf_piece_of(1, &from, 2, (TgfAxisHandle[]){first, second}, NULL);
}
TgfArg tgf_flatten(TgfAxisHandle first, TgfAxisHandle second, TgfAxisHandle to) {
    return tgf_piece_of(2, (TgfAxisHandle[]){first, second}, 1, &to, NULL);
}

static Expr *list_expr(TgfProgram *p, const TgfArg *a) {
    Expr *e = expr_new(&p->parser, EXPR_TUPLE, p->at);
    for (int i = 0; i < a->list.n; i++) {
        double x = a->list.at[i];
        bool whole = fabs(x) < 0x1p53 && x == (double)(int64_t)x && !(x == 0 && signbit(x));
        Expr *item = dsl_number(p, x, whole, whole ? (int64_t)x : 0);
        if (!item) return NULL;
        vec_push(p->arena, &e->tuple, item);
    }
    expr_measure(&p->parser, e);
    return e;
}

static bool is_word_of_expr(const char *text) { // what has a fixed meaning among names
    DType dtype;
    return dtype_parse(text, &dtype) || !strcmp(text, "training");
}

static Expr *text_expr(TgfProgram *p, const TgfArg *a, const char *what) {
    bool recipe = p->scope->kind == DSL_TRAIN;
    Expr *e = expr_new(&p->parser, a->kind == TGF_ARG_QUOTED ? EXPR_STRING : EXPR_NAME, p->at);
    if (!a->text) {
        DSL_ERROR(p, "%s is NULL: no text", what);
        return NULL;
    }
    if (a->kind == TGF_ARG_QUOTED && recipe) {
        e->string = dsl_string(p, a->text, what).str;
        return e->string ? e : NULL;
    }
    if (a->kind == TGF_ARG_QUOTED) DSL_ERROR(p, "%s is a string in quotes: those stand in train only", what);
    else if (is_word_of_expr(a->text) || (recipe && dsl_is_name(a->text))) {
        e->name = str_intern(p->strs, a->text);
        return e;
    } else DSL_ERROR(p, "%s is the text '%s'; a tensor, a number, an axis or an element type is needed", what, a->text);
    return NULL;
}

Expr *dsl_arg(TgfProgram *p, const TgfArg *a, Handle user, const char *what) {
    switch (a->kind) {
    case TGF_ARG_TENSOR: return dsl_use(p, a->tensor, user, what);
    case TGF_ARG_AXIS: return dsl_use_axis(p, a->axis, what);
    case TGF_ARG_INTEGER: return dsl_number(p, 0, true, a->integer);
    case TGF_ARG_NUMBER: return dsl_number(p, a->number, false, 0);
    case TGF_ARG_TEXT:
    case TGF_ARG_QUOTED: return text_expr(p, a, what);
    case TGF_ARG_LIST:
        if (p->scope->kind == DSL_TRAIN) return list_expr(p, a);
        DSL_ERROR(p, "%s is a list of numbers: those stand in strategies and in train only", what);
        return NULL;
    case TGF_ARG_WORDS: DSL_ERROR(p, "%s is a pair of words: those stand in strategies only", what); return NULL;
    case TGF_ARG_PIECE: DSL_ERROR(p, "%s is a piece of tgf_view, and stands only there", what); return NULL;
    default: DSL_ERROR(p, "%s is missing", what); return NULL;
    }
}

bool dsl_axes(TgfProgram *p, int n, const TgfArg *axes, const char *what, Names *out) {
    for (int i = 0; i < n; i++) {
        if (axes[i].kind == TGF_ARG_NONE || axes[i].kind == TGF_ARG_PROGRAM) continue;
        if (axes[i].kind != TGF_ARG_AXIS || axes[i].key || axes[i].over) {
            DSL_ERROR(p, "%s takes axes, each by its handle; argument %d is something else", what, i + 1);
            return false;
        }
        Name name = dsl_axis_name(p, axes[i].axis, arena_printf(p->arena, "axis %d of %s", i + 1, what));
        if (!name.str) return false;
        vec_push(p->arena, out, name);
    }
    return true;
}

// ---- calls ----

// The program that an argument belongs to, or NULL.
static TgfProgram *program_of(const TgfArg *a) {
    if (a->kind == TGF_ARG_PROGRAM) return a->program;
    if (a->kind == TGF_ARG_TENSOR && a->tensor) return a->tensor->program;
    if (a->kind == TGF_ARG_AXIS && a->axis) return a->axis->program;
    return NULL;
}

static TgfProgram *program_of_all(int n, const TgfArg *args) {
    for (int i = 0; args && i < n; i++)
        if (program_of(&args[i])) return program_of(&args[i]);
    return NULL;
}

static const struct {
    const char *text;
    int least, most; // operands; most -1: any
    OpKind op;
} operators[] = {
    {"+", 2, -1, OP_add},   {"-", 1, 2, OP_sub},  {"*", 2, -1, OP_mul},  {"/", 2, 2, OP_div}, {"<", 2, 2, OP_lt},
    {"<=", 2, 2, OP_le},    {">", 2, 2, OP_gt},   {">=", 2, 2, OP_ge},   {"==", 2, 2, OP_eq}, {"!=", 2, 2, OP_ne},
    {"and", 2, -1, OP_and}, {"or", 2, -1, OP_or}, {"not", 1, 1, OP_not},
};

static int find_operator(const char *callee) {
    for (int i = 0; i < (int)(sizeof operators / sizeof *operators); i++)
        if (!strcmp(operators[i].text, callee)) return i;
    return -1;
}

static bool is_constant_arg(const TgfArg *a) {
    if (a->kind == TGF_ARG_TENSOR) return a->tensor->constant;
    if (a->kind == TGF_ARG_AXIS) return !a->axis->block;
    return a->kind != TGF_ARG_TEXT;
}

static bool is_constant_callee(TgfProgram *p, const char *callee) {
    static const char *const laws[] = {"normal", "uniform", "causal", "zeros", "ones"};
    const Builtin *b = builtin_find(callee);
    if (b) return b->kind == BUILTIN_MAP || b->kind == BUILTIN_MIN || b->kind == BUILTIN_MAX;
    for (int i = 0; i < p->source.decls.n; i++)
        if (p->source.decls.at[i].kind == DECL_BLOCK && !strcmp(p->source.decls.at[i].block->name.str, callee))
            return false;
    for (int i = 0; i < (int)(sizeof laws / sizeof *laws); i++)
        if (!strcmp(laws[i], callee)) return true;
    return false;
}

typedef struct Made { // what a call is made of
    TgfProgram *p;
    const char *callee;
    Handle value; // what it becomes
    Args args;
    bool constant;
} Made;

// Takes the arguments that are there. False after reporting.
static bool take_args(Made *m, int n, const TgfArg *args) {
    TgfProgram *p = m->p;
    bool ok = true;
    m->constant = true;
    for (int i = 0; i < n; i++) {
        const TgfArg *a = &args[i];
        if (a->kind == TGF_ARG_PROGRAM && a->program != p && a->program) {
            DSL_ERROR(p, "argument %d of '%s' is another program", i + 1, m->callee);
            ok = false;
        }
        if (a->kind == TGF_ARG_NONE || a->kind == TGF_ARG_PROGRAM) continue;
        const char *what = a->key && *a->key ? arena_printf(p->arena, "'%s' of '%s'", a->key, m->callee)
                                             : arena_printf(p->arena, "argument %d of '%s'", i + 1, m->callee);
        Arg made = {.over = a->over};
        if (a->key && !(strcmp(a->key, "at") ? dsl_is_name(a->key) : true)) {
            DSL_ERROR(p, "'%s' cannot be the name of an argument", a->key);
            ok = false;
            continue;
        }
        if (a->key) made.key = (Name){str_intern(p->strs, a->key), p->at};
        if (a->over && a->kind != TGF_ARG_AXIS) {
            DSL_ERROR(p, "'over' is for an axis, which %s is not", what);
            ok = false;
            continue;
        }
        made.value = dsl_arg(p, a, m->value, what);
        if (!made.value) {
            ok = false;
            continue;
        }
        m->constant &= is_constant_arg(a);
        vec_push(p->arena, &m->args, made);
    }
    return ok;
}

static Expr *operator_expr(Made *m, int which) {
    TgfProgram *p = m->p;
    int n = m->args.n, least = operators[which].least, most = operators[which].most;
    for (int i = 0; i < n; i++)
        if (m->args.at[i].key.str || m->args.at[i].over) {
            DSL_ERROR(p, "'%s' is an operator: it takes no 'over' and no names of arguments", m->callee);
            return NULL;
        }
    if (n < least || (most >= 0 && n > most)) {
        if (most < 0) DSL_ERROR(p, "'%s' takes at least %d operands, not %d", m->callee, least, n);
        else if (least < most) DSL_ERROR(p, "'%s' takes %d or %d operands, not %d", m->callee, least, most, n);
        else DSL_ERROR(p, "'%s' takes %d operand%s, not %d", m->callee, least, least == 1 ? "" : "s", n);
        return NULL;
    }
    OpKind op = n == 1 && operators[which].op == OP_sub ? OP_neg : operators[which].op;
    Expr *e = expr_op(&p->parser, op, m->args.at[0].value, n > 1 ? m->args.at[1].value : NULL, p->at);
    for (int i = 2; i < n; i++) e = expr_op(&p->parser, op, e, m->args.at[i].value, p->at);
    return e;
}

static Expr *function_expr(Made *m) {
    Expr *e = expr_new(&m->p->parser, EXPR_CALL, m->p->at);
    e->call.callee = (Name){str_intern(m->p->strs, m->callee), m->p->at};
    e->call.args = m->args;
    expr_measure(&m->p->parser, e);
    return e;
}

// Nodes made since were not too deep; else the mistake was said.
static bool is_measured(TgfProgram *p) {
    bool ok = !p->parser.failed;
    p->parser.failed = false;
    return ok;
}

static Handle call(TgfProgram *p, const char *callee, int n, const TgfArg *args) {
    if (!callee) {
        DSL_ERROR(p, "a call needs the name of what is called, not NULL");
        return &p->bad;
    }
    Made m = {.p = p, .callee = callee, .value = dsl_expr_value(p, NULL)};
    int which = find_operator(callee);
    if (which < 0 && !dsl_name(p, callee, "a block or function").str) return &p->bad;
    if (!take_args(&m, n, args)) return &p->bad;
    Expr *e = which >= 0 ? operator_expr(&m, which) : function_expr(&m);
    if (!is_measured(p) || !e) return &p->bad;
    m.value->expr = m.value->made = e;
    m.value->constant = m.constant && (which >= 0 || is_constant_callee(p, callee));
    return m.value;
}

// A call whose arguments say no program: what it gives is one of these, refused where it is used. A few are enough for
// one expression; there is nobody who would free more.
enum { ORPHANS = 16 };
static Handle orphan(TgfSite at, const char *callee) {
    static _Thread_local struct TgfValue orphans[ORPHANS];
    static _Thread_local int next;
    Handle x = &orphans[next++ % ORPHANS];
    *x = (struct TgfValue){.kind = DSL_BAD, .orphan = at, .callee = callee};
    return x;
}

Handle tgf_call_at(TgfSite at, const char *callee, int n, const TgfArg *args) {
    TgfProgram *p = program_of_all(n, args);
    bool known = true;
    for (int i = 0; i < n; i++) known &= args[i].kind != TGF_ARG_TENSOR || args[i].tensor;
    for (int i = 0; i < n; i++) known &= args[i].kind != TGF_ARG_AXIS || args[i].axis;
    for (int i = 0; i < n; i++) known &= args[i].kind != TGF_ARG_PROGRAM;
    if (!p && known) return orphan(at, callee);
    DSL_CALL(p, at, NULL);
    Handle x = call(p, callee, n, args);
    dsl_leave(p);
    return x;
}

// ---- names in files ----

static Handle set_as(TgfProgram *p, Handle x, const char *text) {
    if (x->kind == DSL_BAD) return x;
    bool is_param = x->kind == DSL_NAME && x->stmt, is_call = x->kind == DSL_EXPR && x->made->kind == EXPR_CALL;
    if (!is_param && !is_call) {
        DSL_ERROR(p, "'as' names what a call or a parameter has in files; this is neither");
        diag_note(p->diag, x->loc, "it was made here");
        return &p->bad;
    }
    Name name = dsl_string(p, text, "the name behind 'as'"), *as = is_param ? &x->stmt->param.as : &x->made->call.as;
    if (!name.str) return &p->bad;
    if (as->str) {
        DSL_ERROR(p, "this has a name in files already: '%s'", as->str);
        diag_note(p->diag, as->loc, "given here");
        return x;
    }
    *as = name;
    x->constant = false; // each is a call of its own
    return x;
}

Handle tgf_as_at(TgfSite at, Handle x, const char *name) {
    TgfProgram *p = x ? x->program : NULL;
    DSL_CALL(p, at, x);
    x = set_as(p, x, name);
    dsl_leave(p);
    return x;
}

// The axes of a product, in order. False when it is not made of axes alone.
static bool product_names(TgfProgram *p, const Expr *e, Names *out) {
    if (e->kind == EXPR_NAME) {
        vec_push(p->arena, out, ((Name){e->name, p->at}));
        return true;
    }
    return e->kind == EXPR_OP && e->op.op == OP_mul && product_names(p, e->op.a, out) && product_names(p, e->op.b, out);
}

static Handle set_stored(TgfProgram *p, Handle x, const char *name, int n, const TgfArg *axes) {
    if (x->kind == DSL_BAD) return x;
    if (x->kind != DSL_NAME || !x->stmt) {
        DSL_ERROR(p, "a shape in files is of a parameter, which this is not");
        diag_note(p->diag, x->loc, "it was made here");
        return &p->bad;
    }
    Groups groups = {0};
    for (int i = 0; i < n; i++) {
        if (axes[i].kind == TGF_ARG_NONE || axes[i].kind == TGF_ARG_PROGRAM) continue;
        Names group = {0};
        const char *what = arena_printf(p->arena, "axis %d of the stored shape", i + 1);
        Expr *e = axes[i].over || axes[i].key ? NULL : dsl_arg(p, &axes[i], NULL, what);
        if (axes[i].over || axes[i].key || (e && !product_names(p, e, &group)))
            DSL_ERROR(p, "%s is an axis or a product of axes (tgf_product)", what), e = NULL;
        if (!e) return &p->bad;
        vec_push(p->arena, &groups, group);
    }
    Handle out = set_as(p, x, name);
    if (out != x) return out;
    x->stmt->param.has_groups = true;
    x->stmt->param.groups = groups;
    return x;
}

Handle tgf_stored_at(TgfSite at, Handle x, const char *name, int n, const TgfArg *axes) {
    TgfProgram *p = x ? x->program : NULL;
    DSL_CALL(p, at, x);
    x = set_stored(p, x, name, n, axes);
    dsl_leave(p);
    return x;
}

// ---- views ----

static bool piece_axes(TgfProgram *p, int n, TgfAxisHandle const *axes, Names *out) {
    for (int i = 0; i < n; i++) {
        Name name = dsl_axis_name(p, axes[i], "an axis of the piece");
        if (!name.str) return false;
        vec_push(p->arena, out, name);
    }
    return true;
}

static Handle view(TgfProgram *p, Handle x, int n, const TgfArg *pieces) {
    Handle out = dsl_expr_value(p, NULL);
    Expr *e = expr_new(&p->parser, EXPR_INDEX, p->at);
    if (!(e->index.x = dsl_use(p, x, out, "the value"))) return &p->bad;
    for (int i = 0; i < n; i++) {
        Piece made = {.loc = p->at};
        const TgfArg *a = &pieces[i];
        if (a->kind != TGF_ARG_PIECE) {
            DSL_ERROR(p, "argument %d of tgf_view is no piece: tgf_rename, tgf_unflatten, tgf_flatten, tgf_piece_of",
                      i + 1);
            return &p->bad;
        }
        if (a->piece.nfrom < 1 || a->piece.nfrom > 4 || a->piece.nto < 0 || a->piece.nto > 4 ||
            (!a->piece.nto && !a->piece.at)) {
            DSL_ERROR(p, "a piece is cut from 1 to 4 axes, and becomes 1 to 4, or none with 'at'");
            return &p->bad;
        }
        if (!piece_axes(p, a->piece.nfrom, a->piece.from, &made.from)) return &p->bad;
        if (!piece_axes(p, a->piece.nto, a->piece.to, &made.to)) return &p->bad;
        if (a->piece.at && !(made.at = dsl_arg(p, a->piece.at, out, "the place"))) return &p->bad;
        vec_push(p->arena, &e->index.pieces, made);
    }
    if (!e->index.pieces.n) {
        DSL_ERROR(p, "tgf_view without pieces");
        return &p->bad;
    }
    expr_measure(&p->parser, e);
    if (!is_measured(p)) return &p->bad;
    out->expr = out->made = e;
    return out;
}

Handle tgf_view_at(TgfSite at, Handle x, int n, const TgfArg *pieces) {
    TgfProgram *p = x ? x->program : NULL;
    DSL_CALL(p, at, x);
    x = view(p, x, n, pieces);
    dsl_leave(p);
    return x;
}
