// SPDX-License-Identifier: Apache-2.0
// The plan's text: prints and parses back byte for byte; text that is damaged or hostile is refused, each with its own
// message.
#include "check.h"
#include "sample_plan.h"

static Status parse(Arena *a, const char *text, size_t size, Plan **out) {
    return plan_parse(a, strtable_new(a), text, size, out);
}

static char *print(Arena *a, const Plan *p, size_t *size) {
    char *text = NULL;
    FILE *f = open_memstream(&text, size);
    plan_print(p, f);
    fclose(f);
    char *copy = arena_dup(a, text, *size + 1);
    free(text);
    return copy;
}

static void round_trip(Arena *a) {
    Plan *p = NULL;
    size_t size;
    CHECK_OK(parse(a, sample_plan_text, strlen(sample_plan_text), &p));
    if (!p) return;
    char *text = print(a, p, &size);
    CHECK(!strcmp(text, sample_plan_text));
    CHECK(plan_ranks(p) == 4 && plan_ways(p, 1) == 2 && plan_ways(p, 0) == 1);
    CHECK(plan_coord(p, 1, 2) == 1 && plan_coord(p, 2, 2) == 0 && plan_coord(p, 3, 3) == 3);
    CHECK(plan_func(p, "train") && !plan_func(p, "predict"));
    CHECK(plan_leaf(p, PLAN_STATE, "adam.m/w") == 1 && plan_leaf(p, PLAN_PARAM, "adam.m/w") == -1);
    // Names that need quoting, negative strides, extreme numbers.
    p->model = "a \"b\" \\ \n\x01\xc3\xa9";
    p->strategy = NULL;
    p->mesh[0].name = "two words";
    p->kernels[0].flops = 1.0 / 3;
    p->kernels[1].tasks = INT64_MAX;
    p->instrs[1].args[0].offset = 24;
    p->instrs[1].args[0].stride[0] = -12;
    p->instrs[1].scalars[1] = (PlanScalar){.kind = SCALAR_AFFINE, .base = -7, .factor = -3, .mesh = 3};
    p->leaves[2].least = -5;
    p->hash = ~0ull;
    CHECK_OK(plan_check(p));
    text = print(a, p, &size);
    Plan *again = NULL;
    CHECK_OK(parse(a, text, size, &again));
    if (!again) return;
    char *twice = print(a, again, &size);
    CHECK(!strcmp(text, twice));
    CHECK(!strcmp(again->model, p->model) && !again->strategy && again->kernels[0].flops == 1.0 / 3);
    CHECK(again->instrs[1].scalars[1].mesh == 3 && again->instrs[1].args[0].stride[0] == -12);
}

// The sample with `from` replaced by `to` once must be refused with `message`.
static void refuse(Arena *a, const char *from, const char *to, const char *message) {
    const char *at = strstr(sample_plan_text, from);
    Plan *p = NULL;
    if (!at) {
        printf("the sample does not hold '%s'\n", from);
        check_failures++;
        return;
    }
    char *text = arena_printf(a, "%.*s%s%s", (int)(at - sample_plan_text), sample_plan_text, to, at + strlen(from));
    CHECK_FAILS(parse(a, text, strlen(text), &p), STATUS_CORRUPT, message);
    CHECK(!p);
}

static void refusals(Arena *a) {
    refuse(a, "tgf-plan 1", "tgf-plan 2", "made for version 2");
    refuse(a, "tgf-plan 1", "tgf-plot 1", "line 1: expected tgf-plan");
    refuse(a, "0123456789abcdef", "xyz", "16 hexadecimal");
    refuse(a, "data=2", "data=0", "extent 0");
    refuse(a, "data=2", "data=9223372036854775808", "beyond 64 bits");
    refuse(a, "data=2 tensor=2", "data=1048576 tensor=2", "more than 1048576 ranks");
    refuse(a, "data=2 tensor=2", "data=2 tensor=2 data=1", "'data' occurs twice");
    refuse(a, "slab 512", "slab -1", "a slab of -1 bytes");
    refuse(a, "slab 512", "slab 300", "parts of 512 bytes in a slab of 300");
    refuse(a, "params 64", "params 9223372036854775807", "do not add up");
    refuse(a, "width=5/tensor:3", "width=5/pipe:3", "unknown mesh axis 'pipe'");
    refuse(a, "width=5/tensor:3", "width=5/tensor:2", "2 local places of 5");
    refuse(a, "width=5/tensor:3", "layer=5/tensor:3", "axis 'layer' twice");
    refuse(a, "layer=3:3", "layer=3/tensor:2", "split twice");
    refuse(a, "layer=3:3", "layer=9223372036854775807:9223372036854775807", "too large");
    refuse(a, "at 0 bytes 36", "at 0 bytes 35", "needs 36 bytes");
    refuse(a, "at 0 bytes 36", "at 500 bytes 36", "outside the slab");
    refuse(a, "at 0 bytes 36", "at 9223372036854775807 bytes 36", "outside the slab");
    refuse(a, "at 0 bytes 36", "at 2 bytes 36", "misaligned");
    refuse(a, "at 0 bytes 36", "at 40 bytes 36", "overlap");
    refuse(a, "output \"ids\"", "output \"loss\"", "'loss' occurs twice");
    refuse(a, "ids -1..10", "ids 11..10", "allows no value");
    refuse(a, "flops 3", "flops inf", "expected a number");
    refuse(a, "flops 3", "flops -1", "no finite cost");
    refuse(a, "tasks 1", "tasks -1", "-1 tasks");
    refuse(a, "\"init_w\"", "\"\"", "has no name");
    refuse(a, "outputs 3 4", "outputs 3 9", "no leaf 9");
    refuse(a, "func \"train\"", "func \"init\"", "'init' occurs twice");
    refuse(a, "kernel 0 (", "kernel 7 (", "kernel 7 of 5");
    refuse(a, "(0+12*l0)", "(0+300*l0)", "operand 0 lies outside");
    refuse(a, "(0+12*l0)", "(0+4611686018427387904*l0)", "operand 0 lies outside");
    refuse(a, "(0+12*l0)", "(0+12*l1)", "operand 0 lies outside");
    refuse(a, "(0+12*l0)", "(0+12*l7)", "expected a loop");
    refuse(a, "(0+12*l0)", "(0+0*l0)", "not 0");
    refuse(a, "[l0, ", "[l2, ", "asks for loop 2 of 1");
    refuse(a, "0+3*c(tensor)]", "1+9223372036854775807*c(tensor)]", "overflows");
    refuse(a, "all_reduce", "all_shuffle", "expected a collective");
    refuse(a, "sum f32 on tensor", "sum bool on tensor", "a sum of bool");
    refuse(a, "on tensor [1, 1, 1]", "on tensor [1, 0, 1]", "a collective of nothing");
    refuse(a, "on tensor [1, 1, 1]", "on tensor [4294967296, 4294967296, 1]", "size overflows");
    refuse(a, "on data [1, 2, 1] 128 -> 196", "on data [1, 2, 1] 128 -> 500", "received lies outside");
    refuse(a, "all_gather sum i32 on data [1, 2, 1]", "all_to_all sum i32 on data [1, 9223372036854775807, 1]", "size overflows");
    refuse(a, "all_gather sum i32 on data [1, 2, 1] 128 -> 196", "all_to_all sum i32 on data [1, 3, 1] 128 -> 500",
           "received lies outside"); // 12 bytes sent, but two members of two places each are received
    refuse(a, "copy 192 <- 260", "copy 192 <- 512", "a copy outside");
    refuse(a, "zero 256 bytes 4", "zero 256 bytes -4", "a clearing outside");
    refuse(a, "loop 3 reverse", "loop 0 reverse", "0 iterations");
    refuse(a, "  loop 3 reverse {\n", "", "an end of no loop");
    refuse(a, "  }\nfunc", "func", "does not end");
    refuse(a, "@\"sample.tgf\":3", "@\"sample.tgf:3", "does not end");
    refuse(a, "\"w = ...\"", "\"w \\x00\"", "zero byte");
    refuse(a, "\"w = ...\"", "\"w \\q\"", "unknown escape");
    refuse(a, "zero 256", "hero 256", "expected a step, found 'h'");
}

int main(void) {
    Arena *a = arena_new();
    round_trip(a);
    refusals(a);
    for (size_t n = 0; n < strlen(sample_plan_text); n++) { // no prefix crashes; only whole functions pass
        Plan *p = NULL;
        char *exact = malloc(n + 1);
        memcpy(exact, sample_plan_text, n);
        Status s = parse(a, exact, n, &p);
        CHECK(status_failed(&s) == (p == NULL));
        free(exact);
    }
    arena_free(a);
    return check_report("plan");
}
