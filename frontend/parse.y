/* SPDX-License-Identifier: Apache-2.0
   parse: the grammar of .tgf, whole. docs/language.md shows the same productions without the actions. */
%code requires {
#include "frontend/ast.h"
}
%code {
int tgf_yylex(TGF_YYSTYPE *value, Loc *loc, Parser *p);
static void tgf_yyerror(const Loc *loc, Parser *p, const char *message);
#define A p->arena
#define YYLLOC_DEFAULT(current, rhs, n)                                                                                \
    do {                                                                                                               \
        (current) = YYRHSLOC(rhs, (n) ? 1 : 0);                                                                        \
        const Loc *last_ = &YYRHSLOC(rhs, (n) ? (n) : 0);                                                              \
        (current).end_col = last_->line == (current).line ? last_->end_col : 0;                                        \
    } while (0)
// The stacks are the arena's, like the scanner's memory.
static _Thread_local Arena *stack_arena;
#define YYMALLOC(size) arena_alloc(stack_arena, (size))
#define YYFREE(block) ((void)(block))
#define PUSH(list, ...) vec_push(A, list, __VA_ARGS__)
}
%define api.pure full
%define api.prefix {tgf_yy}
%define api.location.type {Loc}
%define parse.error custom
%define parse.lac full
%locations
%initial-action { (void)yynerrs; stack_arena = p->arena; }
%param {Parser *p}

%union {
    Str str;
    Name name;
    Names *names;
    Groups *groups;
    Expr *expr;
    Exprs *exprs;
    Arg *arg;
    Args *args;
    Piece *piece;
    Pieces *pieces;
    Stmt *stmt;
    Stmts *stmts;
    Formals *formals;
    AxisDecls *axes;
    Option *option;
    Options *options;
    Line *line;
    Lines *lines;
    Entry *entry;
    Entries *entries;
}
%token T_NEWLINE "end of line" T_AXIS "'axis'" T_USE "'use'" T_BLOCK "'block'" T_MODEL "'model'" T_STRATEGY "'strategy'"
%token T_TRAIN "'train'" T_PARAM "'param'" T_INPUT "'input'" T_REPEAT "'repeat'" T_RETURN "'return'" T_AS "'as'"
%token T_OVER "'over'" T_AT "'at'" T_AND "'and'" T_OR "'or'" T_NOT "'not'" T_ARROW "'->'"
%token T_LE "'<='" T_GE "'>='" T_EQ "'=='" T_NE "'!='"
%token <str> T_NAME "a name" T_WORD "a word" T_STRING "a string"
%token <expr> T_NUMBER "a number"
%token YYEOF 0 "end of file"

%left T_OR
%left T_AND
%precedence T_NOT
%nonassoc '<' '>' T_LE T_GE T_EQ T_NE
%left '+' '-'
%left '*' '/'
%precedence UNARY

%type <name> name string as_prefix word
%type <names> names shape product
%type <groups> groups
%type <expr> expr postfix primary call init value
%type <exprs> exprs values
%type <arg> arg setting
%type <args> args arg_list settings
%type <piece> piece
%type <pieces> pieces
%type <stmt> stmt param
%type <stmts> stmts
%type <formals> formals formal_list
%type <axes> axes
%type <option> option item
%type <options> options items trailer
%type <line> line
%type <lines> lines
%type <entry> entry
%type <entries> entries
%%
program: %empty | program decl;

decl: T_USE string T_NEWLINE { PUSH(&p->source->decls, ((Decl){.kind = DECL_USE, .use.path = $2})); }
    | T_AXIS axes T_NEWLINE { PUSH(&p->source->decls, ((Decl){.kind = DECL_AXIS, .axes = *$2})); }
    | T_BLOCK name '(' formals ')' '{' stmts '}' T_NEWLINE {
          BlockDecl *b = NEW(A, BlockDecl);
          *b = (BlockDecl){.name = $2, .formals = *$4, .body = *$7};
          PUSH(&p->source->decls, ((Decl){.kind = DECL_BLOCK, .block = b}));
      }
    | T_MODEL name '{' stmts '}' T_NEWLINE {
          ModelDecl *m = NEW(A, ModelDecl);
          *m = (ModelDecl){.name = $2, .body = *$4};
          PUSH(&p->source->decls, ((Decl){.kind = DECL_MODEL, .model = m}));
      }
    | T_STRATEGY name '{' lines '}' T_NEWLINE {
          StrategyDecl *s = NEW(A, StrategyDecl);
          *s = (StrategyDecl){$2, *$4};
          PUSH(&p->source->decls, ((Decl){.kind = DECL_STRATEGY, .strategy = s}));
      }
    | T_TRAIN '{' entries '}' T_NEWLINE {
          TrainDecl *t = NEW(A, TrainDecl);
          *t = (TrainDecl){@1, *$3};
          PUSH(&p->source->decls, ((Decl){.kind = DECL_TRAIN, .train = t}));
      }
    | error T_NEWLINE;

axes: name '=' expr { $$ = NEW(A, AxisDecls); PUSH($$, ((AxisDecl){$1, $3})); }
    | axes ',' name '=' expr { $$ = $1; PUSH($$, ((AxisDecl){$3, $5})); };

formals: %empty { $$ = NEW(A, Formals); } | formal_list;
formal_list: name { $$ = NEW(A, Formals); PUSH($$, ((Formal){$1, NULL})); }
    | name '=' expr { $$ = NEW(A, Formals); PUSH($$, ((Formal){$1, $3})); }
    | formal_list ',' name { $$ = $1; PUSH($$, ((Formal){$3, NULL})); }
    | formal_list ',' name '=' expr { $$ = $1; PUSH($$, ((Formal){$3, $5})); };

stmts: %empty { $$ = NEW(A, Stmts); }
    | stmts stmt T_NEWLINE { $$ = $1; PUSH($$, $2); }
    | stmts error T_NEWLINE { $$ = $1; yyerrok; };

stmt: param { $$ = $1; }
    | param T_AS string { $$ = $1; $$->param.as = $3; }
    | param T_AS string '[' groups ']' { $$ = $1; $$->param.as = $3; $$->param.has_groups = true; $$->param.groups = *$5; }
    | param T_AS string '[' ']' { $$ = $1; $$->param.as = $3; $$->param.has_groups = true; }
    | T_INPUT names ':' name shape {
          $$ = stmt_new(p, STMT_INPUT, @$);
          $$->input.names = *$2; $$->input.dtype = $4; $$->input.shape = *$5;
      }
    | names '=' expr { $$ = stmt_new(p, STMT_ASSIGN, @$); $$->assign.names = *$1; $$->assign.value = $3; }
    | T_REPEAT name as_prefix '{' stmts '}' {
          $$ = stmt_new(p, STMT_REPEAT, @1);
          $$->repeat.axis = $2; $$->repeat.as = $3; $$->repeat.body = *$5;
      }
    | T_RETURN exprs { $$ = stmt_new(p, STMT_RETURN, @$); $$->values = *$2; };

param: T_PARAM name shape '=' init {
          $$ = stmt_new(p, STMT_PARAM, @$);
          $$->param.name = $2; $$->param.shape = *$3; $$->param.init = $5;
      };
init: T_NUMBER | '-' T_NUMBER { $$ = expr_op(p, OP_neg, $2, NULL, @$); }
    | name { $$ = expr_new(p, EXPR_NAME, @$); $$->name = $1.str; }
    | name '(' args ')' { $$ = expr_new(p, EXPR_CALL, @$); $$->call.callee = $1; $$->call.args = *$3; expr_measure(p, $$); }
    | '(' expr ')' { $$ = $2; };

as_prefix: %empty { $$ = (Name){0}; } | T_AS string { $$ = $2; };
shape: '[' ']' { $$ = NEW(A, Names); } | '[' names ']' { $$ = $2; };
groups: product { $$ = NEW(A, Groups); PUSH($$, *$1); } | groups ',' product { $$ = $1; PUSH($$, *$3); };
product: name { $$ = NEW(A, Names); PUSH($$, $1); } | product '*' name { $$ = $1; PUSH($$, $3); };
names: name { $$ = NEW(A, Names); PUSH($$, $1); } | names ',' name { $$ = $1; PUSH($$, $3); };
name: T_NAME { $$ = (Name){$1, @1}; };
string: T_STRING { $$ = (Name){$1, @1}; };

expr: postfix
    | '-' expr %prec UNARY { $$ = expr_op(p, OP_neg, $2, NULL, @$); }
    | T_NOT expr { $$ = expr_op(p, OP_not, $2, NULL, @$); }
    | expr '+' expr { $$ = expr_op(p, OP_add, $1, $3, @$); }
    | expr '-' expr { $$ = expr_op(p, OP_sub, $1, $3, @$); }
    | expr '*' expr { $$ = expr_op(p, OP_mul, $1, $3, @$); }
    | expr '/' expr { $$ = expr_op(p, OP_div, $1, $3, @$); }
    | expr '<' expr { $$ = expr_op(p, OP_lt, $1, $3, @$); }
    | expr '>' expr { $$ = expr_op(p, OP_gt, $1, $3, @$); }
    | expr T_LE expr { $$ = expr_op(p, OP_le, $1, $3, @$); }
    | expr T_GE expr { $$ = expr_op(p, OP_ge, $1, $3, @$); }
    | expr T_EQ expr { $$ = expr_op(p, OP_eq, $1, $3, @$); }
    | expr T_NE expr { $$ = expr_op(p, OP_ne, $1, $3, @$); }
    | expr T_AND expr { $$ = expr_op(p, OP_and, $1, $3, @$); }
    | expr T_OR expr { $$ = expr_op(p, OP_or, $1, $3, @$); };
postfix: primary
    | postfix '[' pieces ']' { $$ = expr_new(p, EXPR_INDEX, @$); $$->index.x = $1; $$->index.pieces = *$3; expr_measure(p, $$); };
primary: T_NUMBER | call
    | name { $$ = expr_new(p, EXPR_NAME, @$); $$->name = $1.str; }
    | '(' expr ')' { $$ = $2; };
call: name '(' args ')' as_prefix {
          $$ = expr_new(p, EXPR_CALL, @$);
          $$->call.callee = $1; $$->call.args = *$3; $$->call.as = $5;
          expr_measure(p, $$);
      };
args: %empty { $$ = NEW(A, Args); } | arg_list;
arg_list: arg { $$ = NEW(A, Args); PUSH($$, *$1); } | arg_list ',' arg { $$ = $1; PUSH($$, *$3); };
arg: expr { $$ = NEW(A, Arg); $$->value = $1; }
    | name '=' expr { $$ = NEW(A, Arg); $$->key = $1; $$->value = $3; }
    | T_AT '=' expr { $$ = NEW(A, Arg); $$->key = (Name){str_intern(p->strs, "at"), @1}; $$->value = $3; }
    | T_OVER name { $$ = NEW(A, Arg); $$->over = true; $$->value = expr_new(p, EXPR_NAME, @2); $$->value->name = $2.str; };
pieces: piece { $$ = NEW(A, Pieces); PUSH($$, *$1); } | pieces ',' piece { $$ = $1; PUSH($$, *$3); };
piece: product T_ARROW product { $$ = NEW(A, Piece); *$$ = (Piece){*$1, *$3, NULL, @$}; }
    | product T_ARROW product T_AT expr { $$ = NEW(A, Piece); *$$ = (Piece){*$1, *$3, $5, @$}; }
    | product T_AT expr { $$ = NEW(A, Piece); *$$ = (Piece){*$1, {0}, $3, @$}; };
exprs: expr { $$ = NEW(A, Exprs); PUSH($$, $1); } | exprs ',' expr { $$ = $1; PUSH($$, $3); };

lines: %empty { $$ = NEW(A, Lines); }
    | lines line T_NEWLINE { $$ = $1; PUSH($$, *$2); }
    | lines error T_NEWLINE { $$ = $1; yyerrok; };
line: option { $$ = NEW(A, Line); $$->head = $1->key; $$->assignment = true; PUSH(&$$->options, *$1); }
    | option ',' options { $$ = NEW(A, Line); $$->head = $1->key; $$->assignment = true; PUSH(&$$->options, *$1);
                           for (int i = 0; i < $3->n; i++) PUSH(&$$->options, $3->at[i]); }
    | name options { $$ = NEW(A, Line); $$->head = $1; $$->options = *$2; }
    | name names trailer { $$ = NEW(A, Line); $$->head = $1; $$->names = *$2; $$->options = *$3; }
    | name T_BLOCK trailer { $$ = NEW(A, Line); $$->head = $1; $$->options = *$3;
                             PUSH(&$$->names, ((Name){str_intern(p->strs, "block"), @2})); }
    | name names T_OVER names trailer { $$ = NEW(A, Line); $$->head = $1; $$->names = *$2; $$->over = *$4; $$->options = *$5; };
option: name '=' word { $$ = NEW(A, Option); *$$ = (Option){.key = $1, .value = $3}; }
    | name '=' string { $$ = NEW(A, Option); *$$ = (Option){.key = $1, .value = $3, .quoted = true}; };
options: option { $$ = NEW(A, Options); PUSH($$, *$1); } | options ',' option { $$ = $1; PUSH($$, *$3); };
trailer: %empty { $$ = NEW(A, Options); } | items;
items: item { $$ = NEW(A, Options); PUSH($$, *$1); }
    | items item { $$ = $1; PUSH($$, *$2); } | items ',' item { $$ = $1; PUSH($$, *$3); }
    | items ',' T_NUMBER { $$ = $1; PUSH(&$$->at[$$->n - 1].more, ((Name){$3->number.text, @3})); };
item: option | name name { $$ = NEW(A, Option); *$$ = (Option){.key = $1, .value = $2, .bare = true}; };
word: T_NAME { $$ = (Name){$1, @1}; } | T_WORD { $$ = (Name){$1, @1}; } | T_NUMBER { $$ = (Name){$1->number.text, @1}; };

entries: %empty { $$ = NEW(A, Entries); }
    | entries entry T_NEWLINE { $$ = $1; PUSH($$, *$2); }
    | entries error T_NEWLINE { $$ = $1; yyerrok; };
entry: name '=' values { $$ = NEW(A, Entry); $$->head = $1; $$->values = *$3; }
    | name T_STRING { $$ = NEW(A, Entry); $$->head = $1;
                      Expr *e = expr_new(p, EXPR_STRING, @2); e->string = $2; PUSH(&$$->values, e); }
    | name name { $$ = NEW(A, Entry); $$->head = $1; $$->word = $2; }
    | name name settings { $$ = NEW(A, Entry); $$->head = $1; $$->word = $2; $$->options = *$3; };
settings: setting { $$ = NEW(A, Args); PUSH($$, *$1); } | settings ',' setting { $$ = $1; PUSH($$, *$3); };
setting: name '=' value { $$ = NEW(A, Arg); $$->key = $1; $$->value = $3; };
values: value { $$ = NEW(A, Exprs); PUSH($$, $1); } | values ',' value { $$ = $1; PUSH($$, $3); };
value: expr
    | T_STRING { $$ = expr_new(p, EXPR_STRING, @$); $$->string = $1; }
    | '(' expr ',' exprs ')' {
          $$ = expr_new(p, EXPR_TUPLE, @$);
          PUSH(&$$->tuple, $2);
          for (int i = 0; i < $4->n; i++) PUSH(&$$->tuple, $4->at[i]);
          expr_measure(p, $$);
      };
%%
static void tgf_yyerror(const Loc *loc, Parser *p, const char *message) {
    diag_error(p->diag, *loc, "%s", !strcmp(message, "memory exhausted") ? "this is nested too deep" : message);
    p->failed = true;
}

// The source text of a token, for messages; at most 40 bytes.
static Str token_text(const Parser *p, Loc loc) {
    const char *t = p->source->text, *end = t + p->source->size;
    for (int line = 1; line < loc.line && t < end; t++) line += *t == '\n';
    t += loc.col - 1;
    int length = loc.end_col - loc.col;
    if (t >= end || length <= 0) return "";
    if (length > end - t) length = (int)(end - t);
    return str_intern_n(p->strs, t, (size_t)(length > 40 ? 40 : length));
}

static int yyreport_syntax_error(const yypcontext_t *context, Parser *p) {
    enum { MAX = 60, SHOWN = 5 };
    p->failed = true;
    int depth = p->depth;
    p->depth = 0; // lines end statements again
    if (p->quiet) return p->quiet = false, 0;
    yysymbol_kind_t found = yypcontext_token(context), expected[MAX];
    const Loc loc = *yypcontext_location(context);
    int n = yypcontext_expected_tokens(context, expected, MAX);
    char wanted[300] = "";
    size_t at = 0;
    for (int i = 0; i < n && n <= SHOWN; i++)
        at += (size_t)snprintf(wanted + at, sizeof wanted - at, "%s%s",
                               i == 0 ? ", expected " : i == n - 1 ? " or " : ", ", yysymbol_name(expected[i]));
    bool is_text = found != YYSYMBOL_T_NEWLINE && found != YYSYMBOL_YYEOF && found != YYSYMBOL_YYEMPTY;
    Str text = is_text ? token_text(p, loc) : "";
    const char *name = found == YYSYMBOL_YYEMPTY ? "input" : found == YYSYMBOL_T_NEWLINE ? "end of line" : "end of file";
    if (is_text) diag_error(p->diag, loc, "unexpected %s%s%s%s", *text == '"' ? "" : "'", text, *text == '"' ? "" : "'", wanted);
    else diag_error(p->diag, loc, "unexpected %s%s", name, wanted);
    if (depth > 0 && p->open_loc.line < loc.line) diag_note(p->diag, p->open_loc, "this bracket is open");
    return 0;
}
