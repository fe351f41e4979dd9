// SPDX-License-Identifier: Apache-2.0
// What runs at the same time as a started collective: each case is a function of 512 bytes of activations; the text
// with `?` left out is refused, with it accepted (`?` marks the waits that are needed, and a place where one is too
// late). What is expected was worked out by hand from the rule in plan.h, not from the checker.
#include "base/str.h"
#include "runtime/plan.h"
#include "tests/runtime/check.h"

static const char head[] = "tgf-plan 4\nmodel \"m\" hash \"0000000000000000\"\nmesh data=2\n"
                           "slab 576 params 64 states 0 io 0 buffers 0 activations 512\n"
                           "tasks microbatches 1 stages - rank 0 zero 0 0\n"
                           "variant layers 0 chunk 64 slot 0 zero 0 0\n"
                           "chunk stage 0 variant 0 first 0 slots 0 at 0 slots at 64\n"
                           "stage work 64 slab 576\n"
                           "param \"w\" f32[a=16:16] chunk at 0 bytes 64\n"
                           "kernel \"k\" tasks 1 work 0 flops 0 bytes 0\n"
                           "func \"train\" variant 0 work 512\n";
static const char tail[] = "program \"train\" inputs outputs\n stage 0\n  run 0 0 0 0\n";

static Status check_body(Arena *a, const char *body) {
    Plan *p = NULL;
    char *text = arena_printf(a, "%s%s%s", head, body, tail);
    return plan_parse(a, strtable_new(a), text, strlen(text), &p);
}

typedef struct Order {
    const char *what, *body;
    const char *message; // NULL: in order
} Order;

#define REDUCE(from, to) "  start all_reduce sum f32 on data [1, 16, 1] " from " -> " to "\n"
static const Order orders[] = {
    {"waited for", REDUCE("w0", "w0") "  kernel 0 (w64:64) []\n  wait 0\n  kernel 0 (w0:64) []\n", NULL},
    {"never waited for", REDUCE("w0", "w0") "  kernel 0 (w64:64) []\n", "ends before collective 0"},
    {"waited for too late", REDUCE("w0", "w0") "  kernel 0 (w60:8) []\n  wait 0\n", "step 1 touches"},
    {"a kernel may write what is sent", REDUCE("w0", "w64") "  kernel 0 (w0:64) []\n  wait 0\n", "step 1 touches"},
    {"a copy may read what is sent", REDUCE("w0", "w64") "  copy w128 <- w0 bytes 64\n  wait 0\n", NULL},
    {"a copy of what is received", REDUCE("w0", "w64") "  copy w128 <- w64 bytes 64\n  wait 0\n", "step 1 touches"},
    {"a copy over what is sent", REDUCE("w0", "w64") "  copy w0 <- w128 bytes 64\n  wait 0\n", "step 1 touches"},
    {"clearing what is received", REDUCE("w0", "w64") "  zero w124 bytes 8\n  wait 0\n", "step 1 touches"},
    {"clearing beside it", REDUCE("w0", "w64") "  zero w128 bytes 8\n  wait 0\n", NULL},
    {"another section", REDUCE("w0", "w64") "  zero c0 bytes 64\n  wait 0\n", NULL},
    {"two of one source", REDUCE("w0", "w64") REDUCE("w0", "w128") "  wait 1\n  wait 0\n", NULL},
    {"one reads the other's result", REDUCE("w0", "w64") REDUCE("w64", "w128") "  wait 0\n  wait 1\n",
     "step 1 touches"},
    {"one call",
     REDUCE("w0", "w64") "  start all_reduce sum f32 on data [1, 16, 1] w128 -> w128 joined\n  wait 0\n  wait 1\n",
     NULL},
    {"one call with a kernel",
     "  kernel 0 (w0:64) []\n  start all_reduce sum f32 on data [1, 16, 1] w128 -> w128 joined\n  wait 1\n",
     "no started collective"},
    {"one call with another group's",
     "  start all_reduce sum f32 on - [1, 16, 1] w0 -> w0\n"
     "  start all_reduce sum f32 on data [1, 16, 1] w128 -> w128 joined\n  wait 0\n  wait 1\n",
     "no started collective"},
    {"one call that needs its own result",
     REDUCE("w0", "w64") "  start all_reduce sum f32 on data [1, 16, 1] w64 -> w128 joined\n  wait 0\n  wait 1\n",
     "step 1 touches"},
    {"the wrong one is waited for",
     REDUCE("w0", "w0") REDUCE("w64", "w64") "  wait 1\n  kernel 0 (w0:64) []\n  wait 0\n", "step 3 touches"},
    {"a wait for what is done at once", "  comm all_reduce sum f32 on data [1, 16, 1] w0 -> w0\n  wait 0\n",
     "begins no collective"},
    {"a wait for a kernel", "  kernel 0 (w0:64) []\n  wait 0\n", "begins no collective"},
    // Each iteration its own 64 bytes: only the loop's end waits.
    {"slices", "  loop 4 {\n    kernel 0 (w0+64*l0:64) []\n  " REDUCE("w0+64*l0", "w0+64*l0") "  }\n  wait 2\n", NULL},
    {"slices, reversed",
     "  loop 4 reverse {\n    kernel 0 (w0+64*l0:64) []\n  " REDUCE("w0+64*l0", "w0+64*l0") "  }\n  wait 2\n", NULL},
    {"slices, no wait", "  loop 4 {\n    kernel 0 (w0+64*l0:64) []\n  " REDUCE("w0+64*l0", "w0+64*l0") "  }\n",
     "ends before collective 2"},
    {"slices that overlap",
     "  loop 4 {\n    kernel 0 (w0+60*l0:64) []\n  " REDUCE("w0+60*l0", "w0+60*l0") "  }\n  wait 2\n",
     "step 1 touches"},
    // Kernel of iteration i touches what iteration i - 1 reduces; and, reversed, what iteration i + 1 will.
    {"the slice before",
     "  loop 4 {\n    kernel 0 (w0+64*l0:64) []\n  " REDUCE("w64+64*l0", "w64+64*l0") "  }\n  wait 2\n",
     "step 1 touches"},
    {"the slice after",
     "  loop 4 reverse {\n    kernel 0 (w0+64*l0:64) []\n  " REDUCE("w64+64*l0", "w64+64*l0") "  }\n  wait 2\n", NULL},
    // In order, by a hair: refused all the same, since it is not kept which earlier iterations were waited for.
    {"the slice of two iterations before, one waited for",
     "  loop 4 {\n    kernel 0 (w0+64*l0:64) []\n    wait 3\n  " REDUCE("w128+64*l0", "w128+64*l0") "  }\n  wait 3\n",
     "step 1 touches"},
    // One buffer for all iterations.
    {"the next iteration waits",
     "  loop 4 {\n    wait 3\n    kernel 0 (w0:64) []\n  " REDUCE("w0", "w64") "  }\n  wait 3\n", NULL},
    {"nobody waits in the loop", "  loop 4 {\n    kernel 0 (w0:64) []\n  " REDUCE("w0", "w64") "  }\n  wait 2\n",
     "step 1 touches"},
    {"a loop of one needs none", "  loop 1 {\n    kernel 0 (w0:64) []\n  " REDUCE("w0", "w64") "  }\n  wait 2\n", NULL},
    {"the last iteration's is missing",
     "  loop 4 {\n    wait 3\n    kernel 0 (w0:64) []\n  " REDUCE("w0", "w64") "  }\n", "ends before collective 3"},
    {"two iterations receive in one place", "  loop 4 {\n  " REDUCE("w0", "w64") "  }\n  wait 1\n", "step 1 touches"},
    {"begun before the loop", REDUCE("w0", "w0") "  loop 4 {\n    kernel 0 (w64+64*l0:64) []\n  }\n  wait 0\n", NULL},
    {"begun before, touched by the last iteration",
     REDUCE("w256", "w256") "  loop 4 {\n    kernel 0 (w64+64*l0:64) []\n  }\n  wait 0\n", "step 2 touches"},
    {"begun before, waited for inside",
     REDUCE("w256", "w256") "  loop 4 {\n    wait 0\n    kernel 0 (w64+64*l0:64) []\n  }\n", NULL},
    // Rows of two inner iterations: the inner loop's are apart, the outer loop's are not.
    {"an inner loop's slices in an outer loop",
     "  loop 2 {\n    loop 2 {\n      kernel 0 (w0+64*l1:64) []\n  " REDUCE("w0+64*l1",
                                                                            "w0+64*l1") "    }\n  }\n  wait 3\n",
     "step 2 touches"},
    {"slices of both loops",
     "  loop 2 {\n    loop 2 {\n      kernel 0 (w0+128*l0+64*l1:64) []\n  " REDUCE(
         "w0+128*l0+64*l1", "w0+128*l0+64*l1") "    }\n  }\n  wait 3\n",
     NULL},
    {"an inner loop's slices, waited for behind it",
     "  loop 2 {\n    loop 2 {\n      kernel 0 (w0+64*l1:64) []\n  " REDUCE("w0+64*l1",
                                                                            "w0+64*l1") "    }\n    wait 3\n  }\n",
     NULL},
};

int main(void) {
    Arena *a = arena_new();
    for (size_t i = 0; i < sizeof orders / sizeof *orders; i++) {
        const Order *o = &orders[i];
        Status s = check_body(a, o->body);
        bool right = o->message ? s.code == STATUS_CORRUPT && strstr(s.message, o->message) : !status_failed(&s);
        if (right) continue;
        printf("%s: expected %s, got %s\n", o->what, o->message ? o->message : "no complaint", s.message);
        check_failures++;
    }
    arena_free(a);
    return check_report("plan order");
}
