// SPDX-License-Identifier: Apache-2.0
// dsl_core: the inside of dsl.h: what the handles are, and what its files ask of each other.
#pragma once
#include "base/memory_stream.h"
#include "frontend/dsl.h"

typedef enum DslScopeKind {
    DSL_TOP,
    DSL_BLOCK,
    DSL_MODEL,
    DSL_REPEAT,
    DSL_STRATEGY,
    DSL_TRAIN,
} DslScopeKind;

typedef struct DslScope DslScope;

typedef struct DslVar { // of a block or the model; gone when the scope it was set in first has ended
    Str name;
    DslScope *scope;
    int version; // counts assignments
    Loc set;     // the last of them
} DslVar;

typedef struct DslPlaced { // a statement, at its place among the program's calls
    int order;
    Stmt *stmt;
} DslPlaced;

struct DslScope {
    DslScopeKind kind;
    Name name;       // of the block, model, strategy, the repeat's axis; where it was opened
    Loc ended;       // file NULL: open
    DslScope *outer; // NULL: the top
    DslScope *body;  // the block or model it is in, itself included; NULL: in none
    bool dropped;    // it stood where it may not
    Vec(DslPlaced) placed;
    Vec(DslVar *) vars;             // of a body
    Vec(TgfTensorHandle) variables; // of a body: values that became one
    Loc returned;                   // of a body: file NULL: not yet
    union {                         // what it becomes
        BlockDecl *block;
        ModelDecl *model;
        Stmt *repeat;
        StrategyDecl *strategy;
        TrainDecl *train;
    };
};

struct TgfAxis {
    TgfProgram *program;
    Str name;        // NULL: bad, was reported
    DslScope *block; // of which it is a parameter; NULL: of the program
};

typedef enum DslValueKind { DSL_BAD, DSL_EXPR, DSL_NAME } DslValueKind;

struct TgfValue {
    TgfProgram *program;
    DslValueKind kind; // DSL_BAD: a mistake was reported
    Loc loc;
    TgfSite orphan; // DSL_BAD without a program: a call of `callee`, whose arguments say none
    const char *callee;
    DslScope *scope; // where it was made
    int order;       // when
    Stmt *stmt;      // the param, or the assignment it became
    // DSL_NAME: a variable
    DslVar *var;
    int version;
    // DSL_EXPR
    Expr *expr;                 // as its user has it: the expression, or the name of the variable it became
    Expr *made;                 // the expression itself
    bool constant;              // of numbers and axes only: may be written again
    bool used;                  // by `expr`
    Loc used_at;                // there
    bool unpacked;              // by tgf_unpack
    Vec(TgfTensorHandle) reads; // variables and expressions in it, where they still stand in it
    TgfTensorHandle named;      // the variable it was set to by its only use, or NULL
    Vec(Expr *) names;          // it became a variable: each use
};

struct TgfProgram {
    Arena *arena;
    StrTable *strs;
    Diag *diag;
    Parser parser;     // only what making nodes needs
    MemoryStream said; // messages
    Source source;
    DslScope *scope, *top;  // the innermost open one
    Vec(DslScope *) bodies; // blocks and the model
    Loc at;                 // of the call that is running
    int order;              // counts calls that make something
    int errors;             // of uses of the source
    bool internal;          // one of them a bug of the compiler
    bool no_memory;
    ArenaCatch catch;
    struct TgfValue bad;
    struct TgfAxis bad_axis;
    void *running;
    void (*close)(void *);
};

#define DSL_ERROR(p, ...) diag_error((p)->diag, (p)->at, __VA_ARGS__)
// At the start and end of each call of dsl.h.
#define DSL_CALL(p, site, otherwise)                                                                                   \
    DSL_ENTER(p, otherwise)                                                                                            \
    dsl_here(p, site)
void dsl_here(TgfProgram *p, TgfSite at);

// dsl.c
const char *dsl_scope_text(TgfProgram *p, const DslScope *s); // "block 'mlp'"
bool dsl_is_inside(const DslScope *inner, const DslScope *outer);
DslScope *dsl_open(TgfProgram *p, DslScopeKind kind, Name name);
bool dsl_at_top(TgfProgram *p, const char *what);  // reports when something is open
bool dsl_in_body(TgfProgram *p, const char *what); // reports outside of models and blocks
void dsl_place(TgfProgram *p, Stmt *s);            // in the open scope
Stmt *dsl_stmt(TgfProgram *p, StmtKind kind);
// Names and strings as the text may have them. str NULL after reporting; `what` says what it names.
Name dsl_name(TgfProgram *p, const char *text, const char *what);
Name dsl_string(TgfProgram *p, const char *text, const char *what);
bool dsl_is_name(const char *text); // a name, no word of the grammar

// dsl_value.c
TgfTensorHandle dsl_expr_value(TgfProgram *p, Expr *made); // made here
TgfTensorHandle dsl_name_value(TgfProgram *p, Str name);   // of a variable that is set here
// The node to use here. NULL after reporting. `user`: the value it becomes a part of, or NULL. `what` is for messages.
Expr *dsl_use(TgfProgram *p, TgfTensorHandle x, TgfTensorHandle user, const char *what);
bool dsl_is_orphan(TgfProgram *p, TgfTensorHandle x);                   // reports it in p
Expr *dsl_use_once(TgfProgram *p, TgfTensorHandle x, const char *what); // an initial value: written again at each use
Expr *dsl_use_axis(TgfProgram *p, TgfAxisHandle x, const char *what);
Name dsl_axis_name(TgfProgram *p, TgfAxisHandle x, const char *what); // str NULL after reporting
void dsl_close_body(TgfProgram *p, DslScope *s, Stmts *out);          // its statements, in order
void dsl_name_variables(TgfProgram *p, const DslScope *body);

// dsl_expr.c
Expr *dsl_number(TgfProgram *p, double x, bool is_integer, int64_t integer);           // NULL after reporting
Str dsl_number_text(TgfProgram *p, double x);                                          // the shortest that is x
Expr *dsl_arg(TgfProgram *p, const TgfArg *a, TgfTensorHandle user, const char *what); // NULL after reporting
bool dsl_axes(TgfProgram *p, int n, const TgfArg *axes, const char *what, Names *out); // false after reporting
