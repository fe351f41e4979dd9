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
    CHECK(plan_program(p, "train") && !plan_program(p, "predict"));
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

// A counted all_to_all in place of the sample's all_gather prints and parses back.
static void counted(Arena *a) {
    Plan *p = NULL, *again = NULL;
    size_t size;
    CHECK_OK(parse(a, sample_plan_text, strlen(sample_plan_text), &p));
    for (int i = 0; p && i < p->ninstrs; i++) {
        PlanInstr *in = &p->instrs[i];
        if (in->kind != INSTR_COMM || in->comm != COMM_ALL_GATHER) continue;
        PlanArg args[4] = {in->args[0], in->args[1], in->args[0], in->args[0]};
        args[2].offset = 0, args[3].offset = 8;
        in->comm = COMM_ALL_TO_ALL;
        in->inner = 6, in->rows = 3, in->row = 2;
        in->args = args;
        in->nargs = 4;
        CHECK_OK(plan_check(p));
        char *text = print(a, p, &size);
        CHECK(strstr(text, " rows 3 of 2 counts c0 -> c8") != NULL);
        CHECK_OK(parse(a, text, size, &again));
        CHECK(again && !strcmp(print(a, again, &size), text));
        return;
    }
    CHECK(false);
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
    refuse(a, "tgf-plan 4", "tgf-plan 3", "made for version 3");
    refuse(a, "tgf-plan 4", "tgf-plot 4", "line 1: expected tgf-plan");
    refuse(a, "0123456789abcdef", "xyz", "16 hexadecimal");
    refuse(a, "data=2", "data=0", "extent 0");
    refuse(a, "data=2", "data=9223372036854775808", "beyond 64 bits");
    refuse(a, "data=2 tensor=2", "data=1048576 tensor=2", "more than 1048576 ranks");
    refuse(a, "data=2 tensor=2", "data=2 tensor=2 data=1", "'data' occurs twice");
    refuse(a, "slab 384", "slab -1", "a slab of -1 bytes");
    refuse(a, "slab 384 params 64", "slab 384 params 128", "parts of 448 bytes in a slab of 384");
    refuse(a, "params 64", "params 9223372036854775807", "do not add up");
    refuse(a, "width=5/tensor:3", "width=5/pipe:3", "unknown mesh axis 'pipe'");
    refuse(a, "width=5/tensor:3", "width=5/tensor:2", "2 local places of 5");
    refuse(a, "width=5/tensor:3", "layer=5/tensor:3", "axis 'layer' twice");
    refuse(a, "layer=3:3", "layer=3/tensor:2", "split twice");
    refuse(a, "layer=3:3", "layer=9223372036854775807:9223372036854775807", "too large");
    refuse(a, "at 0 bytes 36", "at 0 bytes 35", "needs 36 bytes");
    refuse(a, "at 0 bytes 36", "at 250 bytes 36", "outside the slab");
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
    refuse(a, "(c0+12*l0:12)", "(c0+300*l0:12)", "operand 0 lies outside");
    refuse(a, "(c0+12*l0:12)", "(c0+4611686018427387904*l0:12)", "operand 0 lies outside");
    refuse(a, "(c0+12*l0:12)", "(c0+12*l1:12)", "operand 0 lies outside");
    refuse(a, "(c0+12*l0:12)", "(c0+12*l7:12)", "expected a loop");
    refuse(a, "(c0+12*l0:12)", "(c0+0*l0:12)", "not 0");
    refuse(a, "[l0, ", "[l2, ", "asks for loop 2 of 1");
    refuse(a, "0+3*c(tensor)]", "1+9223372036854775807*c(tensor)]", "overflows");
    refuse(a, "all_reduce", "all_shuffle", "expected a collective");
    refuse(a, "sum f32 on tensor", "sum bool on tensor", "a sum of bool");
    refuse(a, "on tensor [1, 1, 1]", "on tensor [1, 0, 1]", "a collective of nothing");
    refuse(a, "on tensor [1, 1, 1]", "on tensor [4294967296, 4294967296, 1]", "size overflows");
    refuse(a, "on data [1, 2, 1] c128 -> c192", "on data [1, 2, 1] c128 -> c250", "received lies outside");
    refuse(a, "all_gather sum i32 on data [1, 2, 1]", "all_to_all sum i32 on data [1, 9223372036854775807, 1]",
           "size overflows");
    refuse(a, "all_gather sum i32 on data [1, 2, 1] c128 -> c192", "all_to_all sum i32 on data [1, 3, 1] c128 -> c242",
           "received lies outside"); // 12 bytes sent, but two members of two places each are received
    refuse(a, "copy r0 <- w4", "copy r0 <- w61", "a copy outside");
    refuse(a, "zero w0 bytes 4", "zero w0 bytes -4", "a clearing outside");
    refuse(a, "all_gather sum i32 on data [1, 2, 1] c128 -> c192",
           "all_to_all sum i32 on data [1, 2, 4] c128 -> c192 rows 3 of 1 counts c0 -> c8", "rows that do not make up");
    refuse(a, "all_gather sum i32 on data [1, 2, 1] c128 -> c192",
           "all_to_all sum i32 on data [1, 2, 4] c128 -> c192 rows 2 of 1 counts c0 -> c250",
           "counts of rows lie outside");
    refuse(a, "loop 3 reverse", "loop 0 reverse", "0 iterations");
    refuse(a, "  loop 3 reverse {\n", "", "an end of no loop");
    refuse(a, "  }\nfunc", "func", "does not end");
    refuse(a, "@\"sample.tgf\":3", "@\"sample.tgf:3", "does not end");
    refuse(a, "\"w = ...\"", "\"w \\x00\"", "zero byte");
    refuse(a, "\"w = ...\"", "\"w \\q\"", "unknown escape");
    refuse(a, "zero w0", "hero w0", "expected a step, found 'h'");
    // Sections, chunks and steps.
    refuse(a, "microbatches 1", "microbatches 0", "0 microbatches");
    refuse(a, "stages -", "stages tensor", "1 stages on 2 ranks");
    refuse(a, "rank 64 zero", "rank 63 zero", "a rank's own 63 bytes");
    refuse(a, "chunk 256 slot", "chunk 320 slot", "chunk 0 does not lie behind");
    refuse(a, "zero 0 0\nchunk", "zero 200 64\nchunk", "variant 0");
    refuse(a, "chunk stage 0", "chunk stage 1", "chunk 0 is on no stage");
    refuse(a, "slots 0 at 64", "slots 0 at 128", "chunk 0 does not lie behind");
    refuse(a, "stage work 320", "stage work 256", "activations do not lie behind");
    refuse(a, "stage work 320 slab 384", "stage work 320 slab 448", "a slab of 384 bytes, the largest is 448");
    refuse(a, "layer=3:3, width=5/tensor:3] chunk", "layer=3:*, width=5/tensor:3] chunk", "hold 0 of 3 layers");
    refuse(a, "[batch=4:4] chunk at 192", "[batch=4:4] slot at 192", "is not a microbatch's");
    refuse(a, "f32[] rank at 0", "f32[] rank at -", "outside the slab");
    refuse(a, "f32[] rank at 0", "f32[] rank at -4", "a negative offset");
    refuse(a, "f32[] rank at 0", "f32[] slab at 0", "expected a section");
    refuse(a, "func \"train\" variant 0 work 64", "func \"train\" variant -1 work 64", "operand 0 lies outside");
    refuse(a, "func \"train\" variant 0 work 64", "func \"train\" variant 1 work 64", "is for no variant");
    refuse(a, "func \"train\" variant 0 work 64", "func \"train\" variant 0 work 128", "more memory than the stage");
    refuse(a, "func \"train\" variant 0 work 64", "func \"train\" variant 0 work 8", "lies outside");
    refuse(a, "(c128:8, w8:4)", "(x128:8, w8:4)", "expected an address");
    refuse(a, "(c128:8, w8:4)", "(c250:8, w8:4)", "operand 0 lies outside");
    refuse(a, "run 1 0 0 0", "run 2 0 0 0", "no such function");
    refuse(a, "run 1 0 0 0", "run 1 1 0 0", "no such chunk");
    refuse(a, "run 1 0 0 0", "run 1 -1 0 0", "another variant");
    refuse(a, "run 1 0 0 0", "run 1 0 1 0", "no such microbatch");
    refuse(a, "run 1 0 0 0", "run 1 0 0 1", "no such slot");
    refuse(a, "run 1 0 0 0", "send 0 0 0", "no such channel");
    refuse(a, "run 1 0 0 0", "zero 3", "no such chunk");
    refuse(a, "run 1 0 0 0", "walk 1 0 0 0", "expected a step");
    refuse(a, "\" inputs 2 outputs 3 4\n stage 0", "\" inputs 2 outputs 3 4\n stage 1", "stage 1 where 0");
}

int main(void) {
    Arena *a = arena_new();
    counted(a);
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
