// SPDX-License-Identifier: Apache-2.0
// Wrong uses of the builder: each gives its message at the line of the call, once, and notes where they help.
#include "include/tgf/dsl.h"
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

typedef struct Case { // a program with axes n and k, inside of model `m` with parameters a and b, both f32[n]
    TgfProgram *p;
    Axis n, k;
    Tensor a, b;
    int opened; // line
    char wanted[4000];
    size_t at;
} Case;

static int failures;

__attribute__((format(printf, 4, 5))) static void want(Case *c, int line, const char *kind, const char *format, ...) {
    va_list ap;
    c->at += (size_t)snprintf(c->wanted + c->at, sizeof c->wanted - c->at, "%s:%d: %s: ", __FILE__, line, kind);
    va_start(ap, format);
    c->at += (size_t)vsnprintf(c->wanted + c->at, sizeof c->wanted - c->at, format, ap);
    va_end(ap);
    c->at += (size_t)snprintf(c->wanted + c->at, sizeof c->wanted - c->at, "\n");
}

// A call and the message at its line; a call whose line a note will name.
#define ERROR(call, ...) (want(c, __LINE__, "error", __VA_ARGS__), (call))
#define NOTE(line, ...) want(c, line, "note", __VA_ARGS__)
#define LINE(line, call) (line = __LINE__, (call))

static void open_model(Case *c) {
    c->p = tgf_program_new();
    c->n = tgf_axis(c->p, "n", 4);
    c->k = tgf_axis(c->p, "k", 3);
    tgf_axis(c->p, "batch", 2);
    LINE(c->opened, tgf_model(c->p, "m"));
    c->a = tgf_param(c->p, "a", 1, c->n);
    c->b = tgf_param(c->p, "b", 1, c->n);
}

static void close_model(Case *c) {
    tgf_let(c->p, "loss", tgf_sum(tgf_mul(c->a, c->b)));
    tgf_end(c->p);
}

// ---- where things stand ----

static void formal_in_model(Case *c) {
    ERROR(tgf_formal(c->p, "x"), "a parameter of a block stands in a block, first; here is model 'm'");
    ERROR(tgf_formal_axis(c->p, "x"), "a parameter of a block stands in a block, first; here is model 'm'");
}
static void formal_behind_statement(Case *c) {
    int first;
    close_model(c);
    tgf_block(c->p, "f");
    Tensor x = tgf_formal(c->p, "x");
    Tensor y = LINE(first, tgf_let(c->p, "y", tgf_exp(x)));
    ERROR(tgf_formal(c->p, "z"), "the parameters of a block stand in front of its statements");
    NOTE(first, "the first statement is here");
    tgf_return(c->p, y);
    tgf_end(c->p);
}
static void outside(Case *c) {
    close_model(c);
    ERROR(tgf_param(c->p, "w", 0, c->n), "a param stands in a model or in a block; none is open");
    ERROR(tgf_input(c->p, "x", "f32", c->n), "an input stands in a model or in a block; none is open");
    ERROR(tgf_let(c->p, "x", 1), "an assignment stands in a model or in a block; none is open");
    ERROR(tgf_return(c->p, 1), "return stands in a model or in a block; none is open");
    ERROR(tgf_line(c->p, "mesh", tgf_key("t", 2)), "the line 'mesh' stands in a strategy or in train, not in the top");
    ERROR(tgf_end(c->p), "tgf_end, and nothing is open");
    ERROR(tgf_repeat(c->p, c->k, NULL), "repeat stands in a model or in a block; none is open");
    tgf_end(c->p);
}
static void inside(Case *c) {
    ERROR(tgf_axis(c->p, "late", 2), "an axis stands at the top, not inside of model 'm'");
    NOTE(c->opened, "it was opened here; tgf_end closes it");
    ERROR(tgf_use(c->p, "x.tgf"), "use stands at the top, not inside of model 'm'");
    NOTE(c->opened, "it was opened here; tgf_end closes it");
    ERROR(tgf_block(c->p, "f"), "a block stands at the top, not inside of model 'm'");
    NOTE(c->opened, "it was opened here; tgf_end closes it");
    tgf_end(c->p);
    ERROR(tgf_line(c->p, "clip", 1), "the line 'clip' stands in a strategy or in train, not in model 'm'");
}
static void model_in_block(Case *c) {
    int block;
    close_model(c);
    LINE(block, tgf_block(c->p, "f"));
    ERROR(tgf_model(c->p, "g"), "a model stands at the top, not inside of block 'f'");
    NOTE(block, "it was opened here; tgf_end closes it");
    tgf_let(c->p, "loss", 1); // in the second model, which is not made
    tgf_end(c->p);
    tgf_return(c->p, 1);
    tgf_end(c->p);
}
static void param_in_strategy(Case *c) {
    close_model(c);
    tgf_strategy(c->p, "s");
    ERROR(tgf_param(c->p, "w", 0, c->n), "a param stands in a model or in a block, not in strategy 's'");
    tgf_line(c->p, "mesh", tgf_key("t", 2));
    tgf_end(c->p);
}
static void behind_return(Case *c) {
    int line;
    close_model(c);
    tgf_block(c->p, "f");
    Tensor x = tgf_formal(c->p, "x");
    LINE(line, tgf_return(c->p, x));
    ERROR(tgf_let(c->p, "y", x), "nothing may stand behind return");
    NOTE(line, "return is here");
    ERROR(tgf_return(c->p, x), "a second return");
    NOTE(line, "return is here");
    tgf_end(c->p);
}
static void return_in_model(Case *c) { // as the text's checks say it
    tgf_let(c->p, "loss", 1);
    ERROR(tgf_return(c->p, c->a), "a model returns nothing: name the value 'loss'");
    tgf_end(c->p);
}
static void block_without_return(Case *c) {
    close_model(c);
    ERROR(tgf_block(c->p, "f"), "block 'f' does not end in return");
    tgf_let(c->p, "x", 1);
    tgf_end(c->p);
}
static void left_open(Case *c) {
    ERROR(tgf_repeat(c->p, c->k, NULL), "the repeat over 'k' is still open: tgf_end closes it");
    want(c, c->opened, "error", "model 'm' is still open: tgf_end closes it");
}

// ---- handles ----

static void stale(Case *c) {
    int first, second;
    Tensor old = LINE(first, tgf_let(c->p, "x", tgf_exp(c->a)));
    Tensor new = LINE(second, tgf_let(c->p, "x", tgf_mul(old, 2)));
    ERROR(tgf_add(old, new), "argument 1 of '+' is an earlier value of 'x', which has another by now");
    NOTE(first, "it was set here");
    NOTE(second, "and set anew here; give a value that is needed longer a name of its own");
    close_model(c);
}
static void stale_repeat(Case *c) { // carried: the value from before is not there behind it
    int first, second;
    Tensor x = LINE(first, tgf_let(c->p, "x", tgf_exp(c->a)));
    tgf_repeat(c->p, c->k, NULL);
    LINE(second, tgf_let(c->p, "x", tgf_mul(x, 2)));
    tgf_end(c->p);
    ERROR(tgf_exp(x), "argument 1 of 'exp' is an earlier value of 'x', which has another by now");
    NOTE(first, "it was set here");
    NOTE(second, "and set anew here; give a value that is needed longer a name of its own");
    close_model(c);
}
static void ended_repeat(Case *c) {
    int y_made, e_made, end;
    Tensor x = tgf_let(c->p, "x", tgf_exp(c->a));
    tgf_repeat(c->p, c->k, NULL);
    Tensor y = LINE(y_made, tgf_let(c->p, "y", tgf_exp(x)));
    Tensor e = LINE(e_made, tgf_exp(y));
    x = tgf_let(c->p, "x", tgf_mul(x, y));
    LINE(end, tgf_end(c->p));
    ERROR(tgf_exp(y), "argument 1 of 'exp' was made in the repeat over 'k', which has ended");
    NOTE(y_made, "it was made here");
    NOTE(end, "the repeat over 'k' ended here");
    ERROR(tgf_add(x, e), "argument 2 of '+' was made in the repeat over 'k', which has ended");
    NOTE(e_made, "it was made here");
    NOTE(end, "the repeat over 'k' ended here");
    close_model(c);
}
static void other_block(Case *c) {
    int made, axis, end;
    close_model(c);
    LINE(axis, tgf_block(c->p, "f"));
    Axis of = tgf_formal_axis(c->p, "of");
    Tensor x = LINE(made, tgf_formal(c->p, "x"));
    tgf_return(c->p, x);
    LINE(end, tgf_end(c->p));
    tgf_block(c->p, "g");
    ERROR(tgf_return(c->p, x), "value 1 of return was made in block 'f', which has ended");
    NOTE(made, "it was made here");
    NOTE(end, "block 'f' ended here");
    ERROR(tgf_param(c->p, "w", 0, of), "axis 1 of a param was made in block 'f', which has ended");
    NOTE(axis, "it was made here");
    NOTE(end, "block 'f' ended here");
    tgf_end(c->p);
}
static void other_program(Case *c) {
    TgfProgram *q = tgf_program_new();
    Axis far = tgf_axis(q, "far", 2);
    tgf_block(q, "f");
    Tensor x = tgf_formal(q, "x");
    ERROR(tgf_add(c->a, x), "argument 2 of '+' is a value of another program");
    ERROR(tgf_let(c->p, "y", x), "the value is a value of another program");
    ERROR(tgf_sum(c->a, far), "argument 2 of 'sum' is an axis of another program");
    ERROR(tgf_call("f", c->a, q), "argument 2 of 'f' is another program");
    ERROR(tgf_repeat(c->p, far, NULL), "the axis of repeat is an axis of another program");
    tgf_end(c->p);
    close_model(c);
    tgf_program_free(q);
}
static void null_handles(Case *c) {
    Tensor none = NULL;
    Axis nowhere = NULL;
    ERROR(tgf_add(c->a, none), "argument 2 of '+' is NULL: no value");
    ERROR(tgf_sum(c->a, nowhere), "argument 2 of 'sum' is NULL: no axis");
    ERROR(tgf_let(c->p, "x", none), "the value is NULL: no value");
    ERROR(tgf_param(c->p, "w", 0, nowhere), "axis 1 of a param is NULL: no axis");
    close_model(c);
}
static void taken_apart(Case *c) {
    int line;
    Tensor parts = tgf_unstack(c->a, c->n), x, y, z;
    LINE(line, tgf_unpack_at(TGF_HERE, c->p, tgf_arg_tensor(parts), 3, (const char *const[]){"x", "y", "z"},
                             (Tensor *const[]){&x, &y, &z}));
    ERROR(tgf_exp(parts), "argument 1 of 'exp' was taken apart already: use its parts");
    NOTE(line, "it was taken apart here");
    close_model(c);
}
static void wrong_parts(Case *c) {
    Tensor x, y;
    ERROR(TGF_UNPACK2(c->p, tgf_unstack(c->a, c->n), x, y), "2 names for 4 values");
    close_model(c);
}

// ---- names ----

static void bad_names(Case *c) {
    static const char made[] = "letters, digits and _ make a name, and no word of the language";
    ERROR(tgf_let(c->p, "two words", 1), "'two words' cannot be the name of a variable: %s", made);
    ERROR(tgf_let(c->p, "repeat", 1), "'repeat' cannot be the name of a variable: %s", made);
    ERROR(tgf_let(c->p, "", 1), "'' cannot be the name of a variable: %s", made);
    ERROR(tgf_param(c->p, "2w", 0, c->n), "'2w' cannot be the name of a param: %s", made);
    ERROR(tgf_let(c->p, NULL, 1), "a variable needs a name, not NULL");
    ERROR(tgf_input(c->p, "x", NULL, c->n), "an element type needs a name, not NULL");
    ERROR(tgf_call(NULL, c->a), "a call needs the name of what is called, not NULL");
    char longest[200] = "";
    memset(longest, 'x', 150);
    ERROR(tgf_let(c->p, longest, 1), "the name of a variable is too long (at most 100 bytes)");
    close_model(c);
    ERROR(tgf_axis(c->p, "axis", 2), "'axis' cannot be the name of an axis: %s", made);
    ERROR(tgf_axis_named(c->p, "ax\303\251"), "'ax\303\251' cannot be the name of an axis: %s", made);
    ERROR(tgf_strategy(c->p, NULL), "a strategy needs a name, not NULL");
    tgf_end(c->p);
    ERROR(tgf_use(c->p, NULL), "the path is NULL");
    ERROR(tgf_use(c->p, "a\"b"), "the path holds a quote or the end of a line");
    ERROR(tgf_use(c->p, "\377"), "the path is not UTF-8 text");
}
static void taken_names(Case *c) { // as the text's checks say it
    int second;
    tgf_let(c->p, "loss", tgf_sum(c->a));
    ERROR(tgf_let(c->p, "n", 1), "'n' is an axis and cannot be the name of a tensor too");
    LINE(second, tgf_let(c->p, "a", 1));
    want(c, second, "error", "'a' is a param and cannot be assigned");
    NOTE(c->opened + 1, "declared here");
    tgf_end(c->p);
}
static void twice(Case *c) {
    int axis, block;
    close_model(c);
    LINE(axis, tgf_axis(c->p, "again", 2));
    ERROR(tgf_axis(c->p, "again", 3), "axis 'again' is declared twice");
    NOTE(axis, "first declared here");
    for (int i = 0; i < 2; i++) {
        LINE(block, tgf_block(c->p, "f"));
        tgf_return(c->p, tgf_formal(c->p, "x"));
        tgf_end(c->p);
    }
    want(c, block, "error", "block 'f' is declared twice");
    NOTE(block, "first declared here");
    ERROR(tgf_model(c->p, "second"), "a program has one model; this is a second");
    NOTE(c->opened, "the first is here");
    tgf_end(c->p);
}

static void no_file(Case *c) { // as the text's checks say it; what is wrong in a file is said where it stands there
    close_model(c);
    ERROR(tgf_use(c->p, "tests/dsl/none.tgf"), "cannot read 'tests/dsl/none.tgf': No such file or directory");
}

// ---- calls ----

static void unknown_names(Case *c) {
    Axis nowhere = tgf_axis_named(c->p, "nn");
    tgf_let(
        c->p, "loss",
        ERROR(tgf_call("layernrom", c->a, c->n), "unknown block or function 'layernrom'; did you mean 'layernorm'?"));
    tgf_let(c->p, "x", ERROR(tgf_sum(c->a, nowhere), "unknown axis 'nn'; did you mean 'n'?"));
    tgf_end(c->p);
}
static void wrong_arguments(Case *c) {
    int block;
    close_model(c);
    LINE(block, tgf_block(c->p, "f"));
    Tensor x = tgf_formal(c->p, "x");
    Tensor y = tgf_formal_or(c->p, "y", 2);
    tgf_return(c->p, tgf_mul(x, y));
    tgf_end(c->p);
    tgf_block(c->p, "g");
    tgf_let(c->p, "p", ERROR(tgf_call("f", 1, 2, 3, c->p), "block 'f' takes 2 arguments, not 3"));
    NOTE(block, "declared here");
    tgf_let(c->p, "q", ERROR(tgf_call("f", c->p), "block 'f' needs 'x'"));
    NOTE(block, "declared here");
    tgf_let(c->p, "r", ERROR(tgf_call("f", 1, tgf_over(c->n)), "block 'f' takes no 'over'"));
    tgf_let(c->p, "s", ERROR(tgf_call("f", c->p, 1, tgf_key("z", 1)), "block 'f' has no parameter 'z'"));
    tgf_return(c->p, 1);
    tgf_end(c->p);
}
static void in_block(Case *c) { // found where the block is called
    int call;
    tgf_let(c->p, "loss", LINE(call, tgf_call("f", c->a, c->p)));
    tgf_end(c->p);
    tgf_block(c->p, "f");
    Tensor x = tgf_formal(c->p, "x");
    tgf_return(c->p, ERROR(tgf_sum(x, c->k), "'k' does not occur in the first operand of sum: f32[n=4]"));
    NOTE(call, "in block 'f', called here");
    tgf_end(c->p);
}
static void operators(Case *c) {
    ERROR(tgf_call("-", c->a, c->a, c->a), "'-' takes 1 or 2 operands, not 3");
    ERROR(tgf_call("<", c->a), "'<' takes 2 operands, not 1");
    ERROR(tgf_call("+", c->a), "'+' takes at least 2 operands, not 1");
    ERROR(tgf_call("not", c->a, c->b), "'not' takes 1 operand, not 2");
    ERROR(tgf_add(c->a, tgf_over(c->n)), "'+' is an operator: it takes no 'over' and no names of arguments");
    ERROR(tgf_mul(c->a, tgf_key("x", 2)), "'*' is an operator: it takes no 'over' and no names of arguments");
    ERROR(tgf_call("%", c->a, c->b), "'%%' cannot be the name of a block or function: letters, digits and _ make a "
                                     "name, and no word of the language");
    close_model(c);
}
static void no_program(Case *c) { // located at the call that nothing else is known of
    Tensor five = ERROR(tgf_add(2, 3), "no argument of '+' says which program this belongs to: give it the program, "
                                       "too");
    tgf_let(c->p, "x", tgf_add(c->a, five));
    tgf_let(c->p, "y", tgf_mul(c->a, five)); // said once
    close_model(c);
}
static void wrong_kinds(Case *c) {
    ERROR(tgf_add(c->a, "b"),
          "argument 2 of '+' is the text 'b'; a tensor, a number, an axis or an element type is needed");
    ERROR(tgf_let(c->p, "x", "a"),
          "the value is the text 'a'; a tensor, a number, an axis or an element type is needed");
    ERROR(tgf_add(c->a, tgf_quoted("b")), "argument 2 of '+' is a string in quotes: those stand in train only");
    ERROR(tgf_add(c->a, tgf_list(1, 2)),
          "argument 2 of '+' is a list of numbers: those stand in strategies and in train only");
    ERROR(tgf_add(c->a, tgf_words("between", "blocks")),
          "argument 2 of '+' is a pair of words: those stand in strategies only");
    ERROR(tgf_add(c->a, tgf_rename(c->n, c->k)), "argument 2 of '+' is a piece of tgf_view, and stands only there");
    ERROR(tgf_call("attend", c->a, tgf_over(c->b)), "'over' is for an axis, which argument 2 of 'attend' is not");
    ERROR(tgf_call("f", c->a, tgf_key("not", 1)), "'not' cannot be the name of an argument");
    ERROR(tgf_add(c->a, (char *)NULL), "argument 2 of '+' is NULL: no text");
    ERROR(tgf_param(c->p, "w", 0, c->a), "a param takes axes, each by its handle; argument 1 is something else");
    ERROR(tgf_param(c->p, "w", 0, "n"), "a param takes axes, each by its handle; argument 1 is something else");
    ERROR(tgf_view(c->a, c->n),
          "argument 1 of tgf_view is no piece: tgf_rename, tgf_unflatten, tgf_flatten, tgf_piece_of");
    ERROR(tgf_add(c->a, 1e301), "this number is too large");
    ERROR(tgf_add(c->a, NAN), "this is not a finite number");
    ERROR(tgf_let(c->p, "x", tgf_arg_none()), "the value is missing");
    close_model(c);
}
static void wrong_as(Case *c) {
    int sum, param, named;
    Tensor x = LINE(sum, tgf_add(c->a, c->b));
    ERROR(tgf_as(x, "x"), "'as' names what a call or a parameter has in files; this is neither");
    NOTE(sum, "it was made here");
    ERROR(tgf_stored(x, "x", c->n), "a shape in files is of a parameter, which this is not");
    NOTE(sum, "it was made here");
    Tensor w = LINE(param, tgf_param(c->p, "w", 0, c->n, c->k));
    LINE(named, tgf_as(w, "first"));
    ERROR(tgf_as(w, "second"), "this has a name in files already: 'first'");
    NOTE(named, "given here");
    Tensor v = tgf_param(c->p, "v", 0, c->n, c->k);
    ERROR(tgf_as(v, NULL), "the name behind 'as' is NULL");
    ERROR(tgf_stored(v, "v", tgf_add(c->n, c->k)), "axis 1 of the stored shape is an axis or a product of axes "
                                                   "(tgf_product)");
    (void)param;
    close_model(c);
}
static void too_deep(Case *c) {
    Tensor x = tgf_mul(2, c->n);
    for (int i = 0; i < 248; i++) x = tgf_add(x, 1);
    close_model(c);
    tgf_axis(c->p, "deep", x); // 250
    ERROR(tgf_add(x, 1), "this expression is nested too deep (more than 250 levels)");
}

// ---- strategies and recipes ----

static void lines(Case *c) {
    close_model(c);
    tgf_strategy(c->p, "s");
    ERROR(tgf_line(c->p, "mesh", 2), "argument 1 of 'mesh' is a name; a number stands behind a key: tgf_key");
    ERROR(tgf_line(c->p, "split", c->a, tgf_over("t")), "argument 1 of 'split' is a word, an axis or a number");
    ERROR(tgf_line(c->p, "split", tgf_over("t")), "the line 'split' needs what is in front of 'over'");
    ERROR(tgf_line(c->p, "split", "two words", tgf_over("t")), "argument 1 of 'split', 'two words', is not one word");
    ERROR(tgf_line(c->p, "recompute", "block", "attend"), "the line 'recompute' takes 'block' alone");
    ERROR(tgf_line(c->p, "mesh", tgf_key("t", tgf_list(1, 2))),
          "the line 'mesh' needs a name in front of pairs of words and lists");
    ERROR(tgf_line(c->p, "mesh", tgf_key("t", -2)), "a strategy has no negative numbers");
    ERROR(tgf_line(c->p, "mesh", tgf_arg_none()), "the line 'mesh' says nothing");
    ERROR(tgf_line(c->p, "mesh", tgf_key("over", 2)), "'over' cannot be the name of an option: letters, digits and _ "
                                                      "make a name, and no word of the language");
    tgf_end(c->p);
    tgf_train(c->p);
    ERROR(tgf_line(c->p, "optimizer", "adamw", tgf_key("lr", 1), 2),
          "behind 'optimizer adamw' stand named values: tgf_key");
    ERROR(tgf_line(c->p, "clip", tgf_key("x", 2)),
          "the line 'clip' takes no 'over', and named values only behind a word");
    ERROR(tgf_line(c->p, "clip", tgf_arg_none()), "the line 'clip' says nothing");
    ERROR(tgf_line(c->p, "data", "train.bin"), "'train.bin' is not one word: a string is written "
                                               "tgf_quoted(\"train.bin\")");
    tgf_end(c->p);
}
static void unknown_words(Case *c) { // as the text's checks say it
    close_model(c);
    tgf_train(c->p);
    ERROR(tgf_line(c->p, "optimizer", "adamv"), "unknown optimizer 'adamv'; did you mean 'adamw'?");
    ERROR(tgf_setting(c->p, "clop", 1), "a recipe has no line 'clop'; did you mean 'clip'?");
    tgf_end(c->p);
    tgf_strategy(c->p, "s");
    tgf_line(c->p, "mesh", tgf_key("tensor", 2));
    ERROR(tgf_line(c->p, "split", c->n, tgf_over("tenser")), "unknown mesh axis 'tenser'; did you mean 'tensor'?");
    tgf_end(c->p);
}
static void no_strategy(Case *c) {
    close_model(c);
    tgf_strategy(c->p, "s");
    ERROR(tgf_line(c->p, "spilt", c->n, tgf_over("t")), "a strategy has no line 'spilt'; did you mean 'split'?");
    tgf_end(c->p);
}

#define CASE(f)                                                                                                        \
    { #f, f }
static const struct {
    const char *name;
    void (*run)(Case *c);
} cases[] = {
    CASE(formal_in_model),
    CASE(formal_behind_statement),
    CASE(outside),
    CASE(inside),
    CASE(model_in_block),
    CASE(param_in_strategy),
    CASE(behind_return),
    CASE(return_in_model),
    CASE(block_without_return),
    CASE(left_open),
    CASE(stale),
    CASE(stale_repeat),
    CASE(ended_repeat),
    CASE(other_block),
    CASE(other_program),
    CASE(null_handles),
    CASE(taken_apart),
    CASE(wrong_parts),
    CASE(bad_names),
    CASE(taken_names),
    CASE(twice),
    CASE(unknown_names),
    CASE(wrong_arguments),
    CASE(in_block),
    CASE(operators),
    CASE(no_program),
    CASE(wrong_kinds),
    CASE(wrong_as),
    CASE(too_deep),
    CASE(lines),
    CASE(unknown_words),
    CASE(no_strategy),
    CASE(no_file),
};

static void no_model(void) {
    TgfProgram *p = tgf_program_new();
    int line = __LINE__ + 1;
    tgf_axis(p, "n", 4);
    char wanted[200];
    snprintf(wanted, sizeof wanted, "%s:%d: error: this program has no model", __FILE__, line);
    TgfStatus s = tgf_program_check(p, NULL);
    if (s.code != TGF_INVALID || strcmp(s.message, wanted)) printf("no model: %s\n", s.message), failures++;
    tgf_program_free(p);
}

// A handle that is NULL does nothing, everywhere.
static void no_handles(void) {
    Tensor none = NULL, x = NULL, y = NULL;
    Axis axis = tgf_axis(NULL, "n", 4);
    tgf_model(NULL, "m");
    TGF_UNPACK2(NULL, none, x, y);
    tgf_repeat(NULL, axis, NULL);
    tgf_end(NULL);
    tgf_strategy(NULL, "s");
    tgf_line(NULL, "mesh", tgf_key("t", 2));
    const char *text = "";
    int ok = !axis && !x && !y && !tgf_add(none, 1) && !tgf_as(none, "x") && !tgf_view(none, tgf_rename(axis, axis)) &&
             !tgf_param(NULL, "w", 0, axis) && !tgf_let(NULL, "x", 1) && !tgf_formal(NULL, "x") &&
             tgf_program_text(NULL, &text).code == TGF_MEMORY && !text && !*tgf_program_messages(NULL) &&
             !tgf_program_errors(NULL) && tgf_program_check(NULL, NULL).code == TGF_MEMORY;
    tgf_program_free(NULL);
    if (!ok) printf("NULL handles\n"), failures++;
}

int main(void) {
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Case *c = calloc(1, sizeof *c);
        const char *text = NULL;
        open_model(c);
        cases[i].run(c);
        TgfStatus s = tgf_program_check(c->p, NULL);
        const char *said = tgf_program_messages(c->p);
        if (strcmp(said, c->wanted))
            printf("%s\n--- wanted\n%s--- is\n%s\n", cases[i].name, c->wanted, said), failures++;
        if (s.code != TGF_INVALID || strncmp(s.message, c->wanted, strcspn(c->wanted, "\n")))
            printf("%s: status %s: %s\n", cases[i].name, tgf_code_name(s.code), s.message), failures++;
        if (tgf_program_check(c->p, NULL).code != TGF_INVALID)
            printf("%s: checked again, it is right\n", cases[i].name), failures++;
        if (tgf_program_status(c->p).code != TGF_INVALID) printf("%s: status is lost\n", cases[i].name), failures++;
        tgf_program_text(c->p, &text);
        tgf_program_free(c->p);
        free(c);
    }
    no_model();
    no_handles();
    if (failures) printf("%d failed\n", failures);
    return failures != 0;
}
