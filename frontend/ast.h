// SPDX-License-Identifier: Apache-2.0
// ast: a program as written, located. Made by the parser (parse.y), read by the checker and the builder, never changed
// after. ast_print writes it back as .tgf text in one canonical form: print(parse(print(x))) is print(x).
#pragma once
#include "base/diag.h"
#include "base/vec.h"
#include "ir/op.h"
#include <stdint.h>
#include <stdio.h>

enum {
    EXPR_DEPTH_MAX = 250, // nesting of one expression
    REPEAT_DEPTH_MAX = 4, // repeat in repeat
    NAME_MAX_BYTES = 100, // an identifier
    STRING_MAX_BYTES = 500,
    SOURCE_BYTES_MAX = 16 << 20, // a file
};

typedef struct Name {
    Str str; // NULL: absent
    Loc loc;
} Name;
typedef Vec(Name) Names;

typedef struct Expr Expr;
typedef Vec(Expr *) Exprs;

typedef struct Arg { // of a call: `e`, `key = e` or `over axis`
    Name key;        // str NULL: none
    bool over;       // value is a name
    Expr *value;
} Arg;
typedef Vec(Arg) Args;

// One item in the brackets behind a tensor: `a -> b`, `a -> b * c`, `a * b -> c`, `a -> part at 3`, `a at 3`.
typedef struct Piece {
    Names from, to;
    Expr *at; // NULL: none
    Loc loc;
} Piece;
typedef Vec(Piece) Pieces;

typedef enum ExprKind {
    EXPR_NUMBER,
    EXPR_NAME,
    EXPR_STRING, // in recipes
    EXPR_CALL,
    EXPR_OP, // an operator: a map of ops.def
    EXPR_INDEX,
    EXPR_TUPLE, // in recipes
} ExprKind;

struct Expr {
    ExprKind kind;
    int depth; // of the tree below, itself included
    Loc loc;
    union {
        struct {
            double value;
            int64_t integer;
            bool is_integer; // written without point and exponent, and fits
            Str text;
        } number;
        Str name;   // EXPR_NAME
        Str string; // EXPR_STRING
        struct {
            Name callee;
            Args args;
            Name as; // storage prefix
        } call;
        struct {
            OpKind op;
            Expr *a, *b; // b NULL: unary
        } op;
        struct {
            Expr *x;
            Pieces pieces;
        } index;
        Exprs tuple;
    };
};

typedef Vec(Names) Groups; // of a storage bracket: [a, b*c]

typedef struct Stmt Stmt;
typedef Vec(Stmt *) Stmts;
typedef enum StmtKind { STMT_PARAM, STMT_INPUT, STMT_ASSIGN, STMT_REPEAT, STMT_RETURN } StmtKind;

struct Stmt {
    StmtKind kind;
    Loc loc;
    union {
        struct {
            Name name;
            Names shape;
            Expr *init;
            Name as;         // storage name
            bool has_groups; // the file's shape was given
            Groups groups;
        } param;
        struct {
            Names names;
            Name dtype;
            Names shape;
        } input;
        struct {
            Names names;
            Expr *value;
        } assign;
        struct {
            Name axis;
            Name as;
            Stmts body;
        } repeat;
        Exprs values; // return
    };
};

typedef struct AxisDecl {
    Name name;
    Expr *extent;
} AxisDecl;

typedef struct Formal { // a block's parameter
    Name name;
    Expr *fallback; // NULL: must be given
} Formal;
typedef Vec(Formal) Formals;

typedef struct BlockDecl {
    Name name;
    Formals formals;
    Stmts body;
    bool is_std; // of std.tgf
    int mark;    // for searches
    bool failed; // an expansion gave an error: later ones stay silent
} BlockDecl;

typedef struct ModelDecl {
    Name name;
    Stmts body;
} ModelDecl;

typedef struct Option { // key = word, key = "string", key = 7, 8, 8, 7; or `key word` (bare) as in `between blocks`
    Name key, value;
    Names more; // values behind the first
    bool bare, quoted;
} Option;
typedef Vec(Option) Options;

// A line of a strategy: HEAD [options] | HEAD names [over names] [options].
typedef struct Line {
    Name head;
    bool assignment; // the first option begins the line: head is its key
    Names names, over;
    Options options;
} Line;
typedef Vec(Line) Lines;

typedef struct StrategyDecl {
    Name name;
    Lines lines;
} StrategyDecl;

// A line of a recipe: HEAD = values | HEAD "string" | HEAD word key = value, ...
typedef struct Entry {
    Name head, word;
    Exprs values;
    Args options;
} Entry;
typedef Vec(Entry) Entries;

typedef struct TrainDecl {
    Loc loc;
    Entries entries;
} TrainDecl;

typedef struct UseDecl {
    Name path;
} UseDecl;

typedef enum DeclKind { DECL_USE, DECL_AXIS, DECL_BLOCK, DECL_MODEL, DECL_STRATEGY, DECL_TRAIN } DeclKind;
typedef Vec(AxisDecl) AxisDecls;
typedef struct Decl {
    DeclKind kind;
    union {
        UseDecl use;
        AxisDecls axes;
        BlockDecl *block;
        ModelDecl *model;
        StrategyDecl *strategy;
        TrainDecl *train;
    };
} Decl;
typedef Vec(Decl) Decls;

typedef struct Source { // one file
    Str path;           // as shown in messages
    const char *text;   // NULL: made by a program (dsl.h)
    size_t size;
    Loc loc; // of messages on the whole
    Decls decls;
} Source;

// What the parser works on; the lexer's state is in it too.
typedef struct Parser {
    Arena *arena;
    StrTable *strs;
    Diag *diag;
    Source *source;
    void *scanner;
    int line, col;    // of the next byte
    int previous;     // the last token given, 0 at the start
    int held;         // a token read but not given yet, -1: none (its value and place below)
    void *held_value; // YYSTYPE
    Loc held_loc;
    int depth;    // open ( and [
    Loc open_loc; // of the outermost of them
    bool quiet;   // the next syntax error was said already
    bool failed;
} Parser;

// Parses source->text into source->decls. False after reporting.
bool source_parse(Source *source, Arena *arena, StrTable *strs, Diag *diag);
void source_print(const Source *source, FILE *out);
void expr_print(const Expr *e, FILE *out);

bool name_is_keyword(const char *name, size_t n); // a word of the grammar (lex.l): no identifier
Expr *expr_new(Parser *p, ExprKind kind, Loc loc);
Expr *expr_op(Parser *p, OpKind op, Expr *a, Expr *b, Loc loc);
void expr_measure(Parser *p, Expr *e); // sets e->depth from its parts; reports when it is beyond EXPR_DEPTH_MAX
Stmt *stmt_new(Parser *p, StmtKind kind, Loc loc);
