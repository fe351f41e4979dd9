// SPDX-License-Identifier: Apache-2.0
// Random calls with random arguments, right or not, on two programs at once: nothing crashes or leaks (sanitizers), no
// mistake is the compiler's, every message has its place, and what passes all checks has the IR of its text.
#include "include/tgf/dsl.h"
#include "tests/dsl/dsl_ir.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { POOL = 40, CALLS = 150 };

typedef struct World {
    unsigned seed;
    int careful; // only what the builder takes: the mistakes are then those of the checks behind it
    int open;    // then: repeats
    TgfProgram *program[2];
    Tensor tensor[POOL];
    Axis axis[POOL];
    double numbers[3];
} World;

static unsigned draw(World *w, unsigned below) {
    w->seed = w->seed * 1664525u + 1013904223u;
    return (w->seed >> 10) % below;
}

static const char *name(World *w) {
    static const char *const names[] = {
        "a",   "b",        "x",     "y",         "t1",    "loss",  "logits", "f",         "g",     "n",    "k", "mesh",
        "dot", "sum",      "batch", "layernorm", "split", "block", "over",   "two words", "\"",    "\377", "",  "seed",
        "f32", "training", "i32",   "clip",      "lr",    "zeros", "adamw",  "normal",    "h.{k}", NULL};
    return names[draw(w, w->careful ? 12 : sizeof names / sizeof *names)];
}

static TgfProgram *program(World *w) { return w->program[!w->careful && draw(w, 12) == 0]; }
static Tensor tensor(World *w) {
    Tensor x = w->tensor[draw(w, POOL)];
    return w->careful && !x ? w->tensor[0] : x;
}
static Axis axis(World *w) {
    Axis x = w->axis[draw(w, POOL)];
    return w->careful && !x ? w->axis[draw(w, 2) ? 0 : 2] : x;
}

static TgfArg arg(World *w) {
    TgfArg a;
    unsigned kind = draw(w, w->careful ? 18 : 30);
    Axis axes[4] = {axis(w), axis(w), axis(w), axis(w)};
    static const double odd[] = {0, -0.0, 1e-300, 1e300, NAN, INFINITY, 2.5, -7};
    if (kind < 12) a = tgf_arg_tensor(tensor(w));
    else if (kind < 18) a = tgf_arg_axis(axis(w));
    else if (kind == 18) a = tgf_arg_integer(draw(w, 2) ? (int64_t)draw(w, 20) - 4 : INT64_MIN + draw(w, 2));
    else if (kind == 19) a = tgf_arg_number(odd[draw(w, 8)]);
    else if (kind == 20) a = tgf_arg_text(name(w));
    else if (kind == 21) a = tgf_quoted(name(w));
    else if (kind == 22) a = tgf_list_of((int)draw(w, 4), w->numbers);
    else if (kind == 23) a = tgf_words(name(w), name(w));
    else if (kind == 24) a = tgf_piece_of((int)draw(w, 6), axes, (int)draw(w, 6), axes, NULL);
    else if (kind == 25) a = tgf_rename(axes[0], axes[1]);
    else if (kind == 26) a = tgf_unflatten(axes[0], axes[1], axes[2]);
    else if (kind == 27) a = tgf_arg_program(program(w));
    else if (kind == 28) a = tgf_arg_none();
    else a = tgf_arg_integer(3);
    if (draw(w, w->careful ? 100 : 12) == 0) a = tgf_key_of(name(w), a);
    if (draw(w, w->careful ? 100 : 12) == 0) a = tgf_over_of(a);
    return a;
}

static void call(World *w) {
    static const char *const callees[] = {
        "+",         "-",       "*",     "/",    "<",      "and", "not", "dot", "sum",    "max",    "take",   "attend",
        "layernorm", "unstack", "index", "cast", "select", "f",   "g",   "mlp", "random", "concat", "normal", "cosine"};
    TgfProgram *p = program(w);
    TgfSite at = {draw(w, 50) ? "misuse.c" : NULL, (int)draw(w, 1000)};
    TgfArg args[5];
    int n = (int)draw(w, 6);
    for (int i = 0; i < n; i++) args[i] = arg(w);
    Tensor *t = &w->tensor[draw(w, POOL)], parts[3] = {0};
    const char *names[3] = {name(w), name(w), name(w)};
    switch (w->careful ? 15 + draw(w, 15) : draw(w, 30)) {
    case 0: tgf_use_at(at, p, draw(w, 2) ? "tests/dsl/used.tgf" : name(w)); break;
    case 1: w->axis[draw(w, POOL)] = tgf_axis_at(at, p, name(w), arg(w)); break;
    case 2: w->axis[draw(w, POOL)] = tgf_axis_named_at(at, p, name(w)); break;
    case 3: tgf_block_at(at, p, name(w)); break;
    case 4: tgf_model_at(at, p, name(w)); break;
    case 5: tgf_repeat_at(at, p, axis(w), name(w)); break;
    case 6: tgf_strategy_at(at, p, name(w)); break;
    case 7: tgf_train_at(at, p); break;
    case 8:
    case 9: tgf_end_at(at, p); break;
    case 10: *t = tgf_formal_at(at, p, name(w), arg(w)); break;
    case 11: w->axis[draw(w, POOL)] = tgf_formal_axis_at(at, p, name(w)); break;
    case 12: tgf_return_at(at, p, n, args); break;
    case 13: *t = tgf_input_at(at, p, name(w), name(w), n, args); break;
    case 14: *t = tgf_param_at(at, p, name(w), arg(w), n, args); break;
    case 15:
    case 16: *t = tgf_let_at(at, p, name(w), arg(w)); break;
    case 17:
        tgf_unpack_at(at, p, arg(w), (int)draw(w, 4), names, (Tensor *const[]){&parts[0], &parts[1], &parts[2]});
        if (parts[0]) *t = parts[0];
        break;
    case 18:
        if (w->careful) *t = tgf_view_at(at, tensor(w), 1, (TgfArg[]){tgf_rename(axis(w), axis(w))});
        else tgf_line_at(at, p, name(w), n, args);
        break;
    case 19:
        if (w->careful && draw(w, 3)) tgf_repeat_at(at, p, axis(w), NULL), w->open++;
        else if (w->careful && w->open) tgf_end_at(at, p), w->open--;
        else if (w->careful) break;
        else tgf_setting_at(at, p, name(w), arg(w));
        break;
    case 20: *t = tgf_as_at(at, *t, name(w)); break;
    case 21: *t = tgf_stored_at(at, *t, name(w), n, args); break;
    case 22: *t = tgf_view_at(at, *t, n, args); break;
    default: *t = tgf_call_at(at, draw(w, 20) ? callees[draw(w, sizeof callees / sizeof *callees)] : name(w), n, args);
    }
}

// Each line is FILE:LINE: or FILE:LINE:COLUMN: and error, note or warning; or belongs to a line of a file that is
// shown.
static int has_places(const char *said) {
    for (const char *line = said, *end; *line; line = end + 1) {
        end = strchr(line, '\n');
        size_t at = strcspn(line, ":\n");
        if (line[at] == ':') {
            at += 1 + strspn(line + at + 1, "0123456789:");
            if (!strncmp(line + at - 1, ": error: ", 9) || !strncmp(line + at - 1, ": note: ", 8)) continue;
        }
        if (!strncmp(line, "tgf: too many errors", 20) || strspn(line, " 0123456789") == strcspn(line, "|")) continue;
        printf("%.*s\n", (int)(end - line), line);
        return 0;
    }
    return 1;
}

static int run(unsigned seed) {
    World w = {.careful = seed % 2, .seed = seed * 7919u + 1, .numbers = {1, 0.5, -3}};
    int ok = 1;
    Tensor other = NULL; // of the second program
    for (int i = 0; i < 2; i++) {
        TgfProgram *p = w.program[i] = tgf_program_new();
        Axis n = tgf_axis(p, "n", 4), k = tgf_axis(p, "k", 3);
        tgf_axis(p, "batch", 2);
        if (w.careful || draw(&w, 3)) tgf_model(p, "m");
        static const char *const names[] = {"u", "v", "w", "p", "q", "r"};
        for (int j = 0; j < 6; j++) w.tensor[i ? 6 + j : j] = tgf_param(p, names[j], 1, n, k);
        if (i) other = w.tensor[6];
        if (i && w.careful) memset(&w.tensor[6], 0, 6 * sizeof(Tensor));
        w.axis[i] = i && w.careful ? NULL : n;
        w.axis[2 + i] = i && w.careful ? NULL : k;
    }
    int n = (int)draw(&w, w.careful ? 12 : CALLS);
    for (int i = 0; i < n; i++) call(&w);
    for (int i = 0; i < 2; i++) {
        const char *text;
        for (; w.careful && !i && w.open; w.open--) tgf_end(w.program[0]);
        if (w.careful && i) tgf_let(w.program[1], "loss", tgf_sum(other));
        if (w.careful && !i) tgf_let(w.program[0], "loss", tgf_sum(w.tensor[0]));
        for (int j = 0; j < 8 && draw(&w, 6) && !w.careful; j++) tgf_end(w.program[i]);
        if (w.careful) tgf_end(w.program[i]);
        TgfCode a = tgf_program_text(w.program[i], &text).code;
        TgfCode b = tgf_program_check(w.program[i], &(TgfCompileOptions){.strategy = draw(&w, 9) ? NULL : "x"}).code;
        ok &= a != TGF_INTERNAL && b != TGF_INTERNAL && (a == TGF_OK) == (text != NULL);
        if (a == TGF_OK && b == TGF_OK) { // then the text is the program
            char *mine = ir_of_program(w.program[i], NULL), *of_text = ir_of_text("misuse.tgf", text, NULL);
            ok &= !strcmp(mine, of_text);
            free(mine);
            free(of_text);
        }
        ok &= has_places(tgf_program_messages(w.program[i]));
    }
    if (!ok) printf("seed %u\n%s%s", seed, tgf_program_messages(w.program[0]), tgf_program_messages(w.program[1]));
    tgf_program_free(w.program[0]);
    tgf_program_free(w.program[1]);
    return ok;
}

int main(int argc, char **argv) {
    int failures = 0;
    if (argc > 1) return !run((unsigned)strtoul(argv[1], NULL, 10));
    for (unsigned seed = 0; seed < 3000 && failures < 3; seed++) failures += !run(seed);
    return failures != 0;
}
