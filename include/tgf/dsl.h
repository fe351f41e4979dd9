/* SPDX-License-Identifier: Apache-2.0
 *
 * dsl: the language, embedded in C. A program built by these calls is the program that the .tgf text would be: the same
 * checks, the same messages (at the caller's file and line), the same IR byte for byte; and it prints as .tgf.
 *
 *     TgfProgram *p = tgf_program_new();
 *     Axis TGF_AXIS(p, vocab, 256), TGF_AXIS(p, seq, 128), TGF_AXIS(p, layer, 4), TGF_AXIS(p, width, 192);
 *     Axis TGF_AXIS(p, hidden, tgf_mul(4, width)), batch = tgf_axis_named(p, "batch");
 *     TGF_MODEL(p, "tiny") {
 *         Tensor TGF_INPUT(p, tokens, "i32", batch, seq), TGF_INPUT(p, labels, "i32", batch, seq);
 *         Tensor TGF_PARAM(p, wte, tgf_normal(p, 0.02), vocab, width);
 *         tgf_as(wte, "wte.weight");
 *         Tensor TGF_LET(p, x, tgf_take(wte, tokens, vocab));
 *         TGF_REPEAT(p, layer, "h.{layer}") {
 *             TGF_LET(p, x, tgf_add(x, tgf_as(tgf_call("mlp", x, width, hidden), "mlp")));
 *         }
 *         Tensor TGF_LET(p, logits, tgf_dot(tgf_call("layernorm", x, width), wte, width));
 *         tgf_let(p, "loss", tgf_call("cross_entropy", logits, labels, vocab));
 *     }
 *     TGF_STRATEGY(p, "tensor2") {
 *         tgf_line(p, "mesh", tgf_key("tensor", 2));
 *         tgf_line(p, "split", hidden, vocab, tgf_over("tensor"));
 *     }
 *     TGF_TRAIN(p) {
 *         tgf_line(p, "optimizer", "adamw", tgf_key("lr", 1e-3), tgf_key("betas", tgf_list(0.9, 0.95)));
 *         tgf_setting(p, "batch", 8);
 *     }
 *     TgfStatus s = tgf_program_start(p, NULL, NULL);
 *     while (s.code == TGF_OK && next_batch(ids, next_ids)) s = tgf_program_step(p, ids, next_ids, &loss);
 *     if (s.code) fputs(tgf_program_messages(p), stderr);
 *     tgf_program_free(p);
 *
 * Values: a Tensor stands for a value, not for a name. One that is used twice, in a repeat inside, or behind a later
 * assignment of what it reads, becomes a variable of its own in the text (`t1`, `t2`, ...), set where it was made.
 * Numbers and axes alone are written again at each use, and a value that TGF_LET named is that variable while it has
 * it. TGF_LET gives a variable its name; setting it again inside of `repeat`, where it was set before, carries it from
 * turn to turn, as in the text. Handles of an earlier value of a variable may not be used any more: that is refused.
 *
 * Order: calls that take the program say something where they stand (declarations, parameters, assignments, lines);
 * expressions may be made in any order.
 *
 * Failures: no call fails by itself. A mistake is noted with its file and line, what came of it may go on being used,
 * and every call that returns a TgfStatus says TGF_INVALID; tgf_program_messages has the text, in GNU format. When
 * memory runs out, all further calls do nothing and say TGF_MEMORY. Any handle may be NULL: then nothing is done.
 *
 * Ownership: one call, tgf_program_free, frees the program, all its handles, and all text it handed out. Names and text
 * passed in are copied.
 *
 * Threads: one thread uses a program at a time; different programs are independent.
 *
 * Macros: calls below have a plain function behind them (tgf_call_at, tgf_line_at, ...), which other languages and C++
 * use; the macros add the caller's place and turn C values into TgfArg. TGF_DSL_PLAIN, defined before this is included,
 * leaves all of them out.
 */
#ifndef TGF_DSL_H
#define TGF_DSL_H

#include "tgf.h"
#include <stdint.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct TgfProgram TgfProgram;
typedef struct TgfAxis *Axis;    /* a name with an extent */
typedef struct TgfValue *Tensor; /* a value: a tensor, a number, or an axis' extent in arithmetic */

typedef struct TgfSite { /* where in the caller's source; shown in messages */
    const char *file;
    int line;
} TgfSite;

typedef enum TgfArgKind {
    TGF_ARG_NONE,
    TGF_ARG_TENSOR,
    TGF_ARG_AXIS,
    TGF_ARG_INTEGER,
    TGF_ARG_NUMBER,
    TGF_ARG_TEXT,    /* a bare word: an element type, an optimizer's name, a mesh axis */
    TGF_ARG_QUOTED,  /* a string in quotes: a file's name */
    TGF_ARG_LIST,    /* several numbers: (0.9, 0.95), or 7, 8, 8, 7 in a strategy's line */
    TGF_ARG_WORDS,   /* `between blocks` in a strategy's line */
    TGF_ARG_PIECE,   /* of tgf_view: from -> to */
    TGF_ARG_PROGRAM, /* no argument: says which program, where nothing else does */
} TgfArgKind;

typedef struct TgfNumbers {
    const double *at;
    int n;
} TgfNumbers;

typedef struct TgfPiece {
    Axis from[4], to[4];
    int nfrom, nto;
    const struct TgfArg *at; /* NULL: none */
} TgfPiece;

typedef struct TgfArg { /* what a call of the language takes; valid until the end of the block it was made in */
    TgfArgKind kind;
    int over;        /* not 0: behind the word `over` */
    const char *key; /* NULL, or the name before `=` */
    union {
        Tensor tensor;
        Axis axis;
        int64_t integer;
        double number;
        const char *text;
        TgfProgram *program;
        TgfNumbers list;
        const char *words[2];
        TgfPiece piece;
    };
} TgfArg;

/* ---- a program -------------------------------------------------------------------------------------------------- */
TgfProgram *tgf_program_new(void);    /* NULL: out of memory */
void tgf_program_free(TgfProgram *p); /* closes the running model, too */
/* All messages so far, in the order they came; "" when there are none. The program's, until the next call on it. */
const char *tgf_program_messages(TgfProgram *p);
int tgf_program_errors(const TgfProgram *p);
TgfStatus tgf_program_status(const TgfProgram *p); /* how things stand; the message is the first mistake */

/* The program as .tgf text. out_text: the program's. Refused while something is open or after mistakes. Paths of
 * tgf_use stand in it as given: relative to the working folder here, to the text's own folder there. */
TgfStatus tgf_program_text(TgfProgram *p, const char **out_text);

typedef struct TgfDefine { /* as -D name=value: an axis' extent instead of the declared one */
    const char *name;
    int64_t value;
} TgfDefine;

typedef struct TgfCompileOptions { /* all zero: one rank, this machine's CPU */
    const char *strategy;          /* its name, or NULL: one rank */
    const TgfDefine *defines;
    int ndefines;
    const char *target; /* as tgfc's --target, or NULL */
    const char *cpu;    /* as tgfc's -mcpu, or NULL */
} TgfCompileOptions;

/* Everything the text's compiler would check. options may be NULL, here and below. */
TgfStatus tgf_program_check(TgfProgram *p, const TgfCompileOptions *options);
/* The IR as `tgfc --emit=ir --after=PASS` writes it; pass NULL: as it is before the first. out_text: the program's.
 * locations 0: without the places in the source, which are all that differs between a program in C and its text. */
TgfStatus tgf_program_ir(TgfProgram *p, const TgfCompileOptions *options, const char *pass, int locations,
                         const char **out_text);
/* The object and the header that tgfc would write; header may be NULL. Nothing is left behind after a failure. */
TgfStatus tgf_compile(TgfProgram *p, const TgfCompileOptions *options, const char *object, const char *header);
/* Compiles in memory, opens the model (run may be NULL, see tgf_open) and initialises it: ready for steps. Once more:
 * closes the old model first. */
TgfStatus tgf_program_start(TgfProgram *p, const TgfCompileOptions *options, const TgfOptions *run);
TgfStatus tgf_program_step(TgfProgram *p, const int32_t *tokens, const int32_t *labels, float *out_loss); /* tgf_step */
/* Floating-point operations of one call of a function of the running model ("train": a step), over all ranks, as the
 * compiler's table of operations counts them: every operation, what is computed again included. */
TgfStatus tgf_program_flops(TgfProgram *p, const char *function, double *out_flops);
TgfModel *
tgf_program_model(TgfProgram *p); /* the running model for everything else in tgf.h; NULL: none; the program's */

/* ---- declarations: each at the top, in a model or in a block, as in the text ------------------------------------- */
void tgf_use_at(TgfSite at, TgfProgram *p, const char *path); /* use "path", relative to the working folder */
Axis tgf_axis_at(TgfSite at, TgfProgram *p, const char *name, TgfArg extent);
Axis tgf_axis_named_at(TgfSite at, TgfProgram *p,
                       const char *name); /* one declared elsewhere: `batch`, a used file's */

void tgf_block_at(TgfSite at, TgfProgram *p, const char *name); /* opens; formals come first */
/* A block's parameter: a Tensor to compute with, or an Axis. fallback of kind TGF_ARG_NONE: must be given. */
Tensor tgf_formal_at(TgfSite at, TgfProgram *p, const char *name, TgfArg fallback);
Axis tgf_formal_axis_at(TgfSite at, TgfProgram *p, const char *name);
void tgf_return_at(TgfSite at, TgfProgram *p, int n, const TgfArg *values); /* a block's last statement */
void tgf_model_at(TgfSite at, TgfProgram *p, const char *name);             /* opens */
void tgf_repeat_at(TgfSite at, TgfProgram *p, Axis axis, const char *as);   /* opens; as: names in files, or NULL */
void tgf_strategy_at(TgfSite at, TgfProgram *p, const char *name);          /* opens */
void tgf_train_at(TgfSite at, TgfProgram *p);                               /* opens */
void tgf_end_at(TgfSite at, TgfProgram *p);                                 /* closes what was opened last */

Tensor tgf_input_at(TgfSite at, TgfProgram *p, const char *name, const char *type, int n, const TgfArg *axes);
/* initial: a number, "zeros", "ones", a call of "normal" or "uniform". No axes (n 0, or tgf_arg_none()): a scalar. */
Tensor tgf_param_at(TgfSite at, TgfProgram *p, const char *name, TgfArg initial, int n, const TgfArg *axes);
/* name = value; a value of several parts (unstack, a block that returns two) is set by tgf_unpack_at. */
Tensor tgf_let_at(TgfSite at, TgfProgram *p, const char *name, TgfArg value);
void tgf_unpack_at(TgfSite at, TgfProgram *p, TgfArg value, int n, const char *const *names,
                   Tensor *const *out_tensors);

/* A line of the open strategy or recipe: `head args`, e.g. "split", head, vocab, tgf_over("tensor"), tgf_key(...). */
void tgf_line_at(TgfSite at, TgfProgram *p, const char *head, int n, const TgfArg *args);
void tgf_setting_at(TgfSite at, TgfProgram *p, const char *name, TgfArg value); /* `name = value`: batch, clip, ... */

/* ---- expressions ------------------------------------------------------------------------------------------------- */
/* callee: an operator ("+", "-", "*", "/", "<", "<=", ">", ">=", "==", "!=", "and", "or", "not"; "-" of one argument
 * negates), a function of the language, a block of std.tgf, of a used file or of this program. */
Tensor tgf_call_at(TgfSite at, const char *callee, int n, const TgfArg *args);
/* as "name" behind a call (names of the parameters inside begin with it) or a parameter (its name in files). Returns x.
 */
Tensor tgf_as_at(TgfSite at, Tensor x, const char *name);
/* The same for a parameter whose shape in files differs: axes, products by tgf_product, in the file's order. */
Tensor tgf_stored_at(TgfSite at, Tensor x, const char *name, int n, const TgfArg *axes);
Tensor tgf_view_at(TgfSite at, Tensor x, int n, const TgfArg *pieces); /* x[seq -> key, a -> b * c] */

/* ---- arguments --------------------------------------------------------------------------------------------------- */
TgfArg tgf_arg_none(void);
TgfArg tgf_arg_same(TgfArg a);
TgfArg tgf_arg_tensor(Tensor x);
TgfArg tgf_arg_axis(Axis x);
TgfArg tgf_arg_integer(int64_t x);
TgfArg tgf_arg_number(double x);
TgfArg tgf_arg_text(const char *x);
TgfArg tgf_arg_program(TgfProgram *p);
TgfArg tgf_quoted(const char *text);
TgfArg tgf_words(const char *first, const char *second);
TgfArg tgf_list_of(int n, const double *numbers);
TgfArg tgf_key_of(const char *key, TgfArg value);
TgfArg tgf_over_of(TgfArg axis);
/* Pieces of tgf_view. */
TgfArg tgf_rename(Axis from, Axis to);                    /* [from -> to] */
TgfArg tgf_unflatten(Axis from, Axis first, Axis second); /* [from -> first * second] */
TgfArg tgf_flatten(Axis first, Axis second, Axis to);     /* [first * second -> to] */
TgfArg tgf_piece_of(int nfrom, const Axis *from, int nto, const Axis *to, const TgfArg *at); /* any; at: NULL or `at` */

#ifdef __cplusplus
}
#endif

#if !defined(TGF_DSL_PLAIN) && !defined(__cplusplus)
#include "dsl_macros.h"
#endif
#endif
