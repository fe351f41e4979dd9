// SPDX-License-Identifier: Apache-2.0
// Values of the builder: which of them become variables, what repeat carries, and that the text a program prints is the
// program: both have one IR.
#include "include/tgf/dsl.h"
#include "tests/dsl/dsl_ir.h"
#include <stdlib.h>
#include <string.h>

static int failures;

// The program's text is `expected`, behind its first line, and both have the same IR.
static void same(const char *what, TgfProgram *p, const char *expected) {
    const char *text = NULL, *again = NULL;
    TgfStatus s = tgf_program_text(p, &text);
    const char *body = text ? strchr(text, '\n') + 1 : "";
    if (s.code || strcmp(body, expected)) {
        printf("%s: %s\n--- wanted\n%s--- is\n%s%s", what, s.message, expected, body, tgf_program_messages(p));
        failures++;
    } else if ((s = tgf_program_check(p, NULL)).code) {
        printf("%s: %s\n", what, s.message);
        failures++;
    } else if (tgf_program_text(p, &again).code || strcmp(text, again)) {
        printf("%s: printed again, it is another text\n", what);
        failures++;
    } else {
        char *mine = ir_of_program(p, NULL), *of_text = ir_of_text("expected.tgf", expected, NULL);
        if (strncmp(mine, "unit ", 5) || strcmp(mine, of_text)) printf("%s: the IR differs\n", what), failures++;
        free(mine);
        free(of_text);
    }
    tgf_program_free(p);
}

typedef struct Small { // a model that is open: a is f32[n], k = 3
    TgfProgram *p;
    Axis n, k;
    Tensor a, b;
} Small;

#define HEAD                                                                                                           \
    "\naxis n = 4\naxis k = 3\naxis batch = 2\n\nmodel small {\n    param a [n] = 1\n    param b [n] = normal(0.02)\n"

static Small small(void) {
    Small s = {.p = tgf_program_new()};
    s.n = tgf_axis(s.p, "n", 4);
    s.k = tgf_axis(s.p, "k", 3);
    tgf_axis(s.p, "batch", 2);
    tgf_model(s.p, "small");
    s.a = tgf_param(s.p, "a", 1, s.n);
    s.b = tgf_param(s.p, "b", tgf_call("normal", s.p, 0.02), s.n);
    return s;
}

static TgfProgram *finish(const Small *s, Tensor x) {
    tgf_let(s->p, "loss", tgf_sum(x));
    tgf_end(s->p);
    return s->p;
}

static void inline_values(void) {
    Small s = small();
    same("used once", finish(&s, tgf_add(tgf_mul(s.a, s.b), tgf_exp(s.a))), HEAD "    loss = sum(a * b + exp(a))\n}\n");
    s = small();
    Tensor e = tgf_exp(s.a);
    same("used twice", finish(&s, tgf_mul(e, e)), HEAD "    t1 = exp(a)\n    loss = sum(t1 * t1)\n}\n");
    s = small();
    Tensor first = tgf_exp(s.a), second = tgf_mul(first, first), third = tgf_add(second, second);
    same("each used twice", finish(&s, tgf_mul(third, third)),
         HEAD "    t1 = exp(a)\n    t2 = t1 * t1\n    t3 = t2 + t2\n    loss = sum(t3 * t3)\n}\n");
    s = small();
    Tensor half = tgf_div(1, tgf_sqrt(s.n));
    same("a number used twice", finish(&s, tgf_add(tgf_mul(s.a, half), half)),
         HEAD "    loss = sum(a * (1 / sqrt(n)) + 1 / sqrt(n))\n}\n");
}

static void names(void) {
    Small s = small();
    Tensor e = tgf_exp(s.a), h = tgf_let(s.p, "h", e);
    same("a value that was named", finish(&s, tgf_mul(e, h)), HEAD "    h = exp(a)\n    loss = sum(h * h)\n}\n");
    s = small();
    e = tgf_exp(s.a);
    tgf_let(s.p, "h", e);
    h = tgf_let(s.p, "h", tgf_mul(2, s.b));
    same("whose name was set anew", finish(&s, tgf_mul(e, h)),
         HEAD "    t1 = exp(a)\n    h = t1\n    h = 2 * b\n    loss = sum(t1 * h)\n}\n");
    s = small();
    h = tgf_let(s.p, "h", s.a);
    e = tgf_add(h, 1);
    h = tgf_let(s.p, "h", tgf_mul(h, s.b));
    same("behind an assignment", finish(&s, tgf_add(e, h)),
         HEAD "    h = a\n    t1 = h + 1\n    h = h * b\n    loss = sum(t1 + h)\n}\n");
    s = small();
    Tensor t1 = tgf_let(s.p, "t1", s.a);
    e = tgf_exp(t1);
    same("a name that is taken", finish(&s, tgf_mul(e, e)),
         HEAD "    t1 = a\n    t2 = exp(t1)\n    loss = sum(t2 * t2)\n}\n");
}

static void carried(void) {
    Small s = small();
    Tensor outside = tgf_exp(s.a), before = tgf_exp(s.b), x = tgf_let(s.p, "x", s.a), reads = tgf_add(x, 5);
    tgf_repeat(s.p, s.k, NULL);
    Tensor y = tgf_let(s.p, "y", tgf_mul(x, outside));
    Tensor late = tgf_add(x, 7);
    x = tgf_let(s.p, "x", tgf_add(x, y));
    x = tgf_let(s.p, "x", tgf_mul(x, late));
    tgf_end(s.p);
    same("repeat", finish(&s, tgf_add(tgf_mul(x, before), reads)),
         HEAD "    t1 = exp(a)\n    x = a\n    t2 = x + 5\n    repeat k {\n        y = x * t1\n        t3 = x + 7\n"
              "        x = x + y\n        x = x * t3\n    }\n    loss = sum(x * exp(b) + t2)\n}\n");
    s = small();
    Tensor e = tgf_exp(s.a), h = tgf_let(s.p, "h", e);
    tgf_repeat(s.p, s.k, NULL);
    h = tgf_let(s.p, "h", tgf_add(h, e)); // in each turn the same e
    tgf_end(s.p);
    same("a value whose name is carried", finish(&s, h),
         HEAD "    t1 = exp(a)\n    h = t1\n    repeat k {\n        h = h + t1\n    }\n    loss = sum(h)\n}\n");
}

static void used(void) { // a file's blocks and axes
    Small s = {.p = tgf_program_new()};
    tgf_use(s.p, "tests/dsl/used.tgf");
    s.n = tgf_axis(s.p, "n", tgf_mul(2, tgf_axis_named(s.p, "part")));
    tgf_axis(s.p, "batch", 2);
    tgf_model(s.p, "small");
    s.a = tgf_param(s.p, "a", "ones", s.n, tgf_axis_named(s.p, "part"));
    Tensor scalar = tgf_param(s.p, "b", -0.5, tgf_arg_none());
    same("use", finish(&s, tgf_mul(tgf_call("halved", s.a), scalar)),
         "\nuse \"tests/dsl/used.tgf\"\n\naxis n = 2 * part\naxis batch = 2\n\nmodel small {\n"
         "    param a [n, part] = ones\n    param b [] = -0.5\n    loss = sum(halved(a) * b)\n}\n");
}

static void numbers(void) { // the shortest that is the same
    static const double xs[] = {0.1, 1e-5, 6e-4, 2, 1e22, 1.0 / 3, 5e-324, -0.0, 1e299, 123456789012345680.0};
    static const char *const texts[] = {"0.1",    "1e-05",
                                        "0.0006", "2.0",
                                        "1e+22",  "0.3333333333333333",
                                        "5e-324", "-0.0",
                                        "1e+299", "1.2345678901234568e+17"};
    for (size_t i = 0; i < sizeof xs / sizeof *xs; i++) {
        TgfProgram *p = tgf_program_new();
        const char *text = NULL;
        char wanted[100];
        tgf_train(p);
        tgf_setting(p, "clip", xs[i]);
        tgf_end(p);
        TgfStatus s = tgf_program_text(p, &text);
        snprintf(wanted, sizeof wanted, "    clip = %s\n", texts[i]);
        if (s.code || !strstr(text, wanted)) printf("%.17g: %s%s\n", xs[i], s.message, text ? text : ""), failures++;
        tgf_program_free(p);
    }
}

static void lines(void) { // every form a strategy's and a recipe's line has
    Small s = small();
    finish(&s, s.a);
    tgf_strategy(s.p, "all");
    tgf_line(s.p, "mesh", tgf_key("data", 2), tgf_key("pipe", 2));
    tgf_line(s.p, "split", "batch", s.n, tgf_over("data"), tgf_over("pipe"), tgf_key("exchange", "counted"));
    tgf_line(s.p, "split", s.k, tgf_over("pipe"), tgf_words("between", "blocks"),
             tgf_key("schedule", tgf_quoted("x.txt")), tgf_key("stages", tgf_list(1, 2)), tgf_key("chunks", 2));
    tgf_line(s.p, "recompute", "block");
    tgf_line(s.p, "recompute", "auto", tgf_key("memory", "40GB"));
    tgf_line(s.p, "offload", "optimizer", "activations", tgf_words("to", "host"));
    tgf_setting(s.p, "memory", "40GB");
    tgf_setting(s.p, "microbatches", 8);
    tgf_end(s.p);
    tgf_train(s.p);
    tgf_line(s.p, "optimizer", "adamw", tgf_key("lr", tgf_call("linear", s.p, 1e-3, tgf_key("warmup", 5))),
             tgf_key("betas", tgf_list(0, 0.95)), tgf_key("decay", tgf_call("/", s.p, 1, 8)));
    tgf_line(s.p, "no_decay", "a", tgf_quoted("h.b"));
    tgf_setting(s.p, "no_decay", "a");
    tgf_line(s.p, "data", tgf_quoted("train.bin"));
    tgf_end(s.p);
    static const char wanted[] =
        "strategy all {\n    mesh data = 2, pipe = 2\n    split batch, n over data, pipe exchange = counted\n"
        "    split k over pipe between blocks, schedule = \"x.txt\", stages = 1, 2, chunks = 2\n    recompute block\n"
        "    recompute auto memory = 40GB\n    offload optimizer, activations to host\n    memory = 40GB\n"
        "    microbatches = 8\n}\n\ntrain {\n"
        "    optimizer adamw lr = linear(0.001, warmup = 5), betas = (0, 0.95), decay = 1 / 8\n"
        "    no_decay = a, \"h.b\"\n    no_decay = a\n    data = \"train.bin\"\n}\n";
    const char *text = NULL;
    TgfStatus status = tgf_program_text(s.p, &text);
    if (status.code || !strstr(text, wanted)) printf("lines: %s\n%s", status.message, text ? text : ""), failures++;
    tgf_program_free(s.p);
}

static void defines(void) { // as -D; what is wrong with them is not the program's mistake
    static const struct {
        TgfDefine define;
        const char *message;
    } cases[] = {{{"n", 7}, ""},
                 {{"m", 7}, "tgf: error: -D m: no such axis"},
                 {{NULL, 7}, "tgf: error: a define without a name"},
                 {{"k", 2}, ""}};
    Small s = small();
    finish(&s, tgf_exp(s.a));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        TgfStatus status = tgf_program_check(s.p, &(TgfCompileOptions){.defines = &cases[i].define, .ndefines = 1});
        if (strcmp(status.message, cases[i].message) || (status.code == TGF_OK) != !*cases[i].message)
            printf("define %zu: %s\n", i, status.message), failures++;
    }
    tgf_program_free(s.p);
}

static void chain(void) { // longer than an expression may be deep
    Small s = small();
    Tensor x = s.a;
    for (int i = 0; i < 1000; i++) x = tgf_add(x, s.b);
    tgf_let(s.p, "loss", tgf_sum(x));
    tgf_end(s.p);
    if (tgf_program_check(s.p, NULL).code) printf("chain: %s", tgf_program_messages(s.p)), failures++;
    tgf_program_free(s.p);
}

int main(void) {
    inline_values();
    names();
    carried();
    used();
    numbers();
    lines();
    defines();
    chain();
    if (failures) printf("%d failed\n", failures);
    return failures != 0;
}
