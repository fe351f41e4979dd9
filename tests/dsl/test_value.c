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
    chain();
    if (failures) printf("%d failed\n", failures);
    return failures != 0;
}
