// SPDX-License-Identifier: Apache-2.0
// Models whose names are no names in C or C++, or differ in nothing but case. Compiled as gnu11 too, where `linux` and
// `unix` are macros.
#include <complex.h> // I, complex
#include <errno.h>   // errno
#include <stdbool.h>
#include "New.h"
#include "class.h"
#include "new.h"
#include "tgf_data.h"
#include "expect.h"

// The extents say which model a constant is of.
_Static_assert(NEW_BATCH == 4 && NEW_INT == 5 && NEW_INT_2 == 6 && NEW_RANKS == 1 && NEW_RANKS_2 == 7, "of new");
_Static_assert(tgf_New_INT == 8 && CLASS_INT == 9 && MODEL_TGF_DATA_INT == 10, "of the others");

static int32_t ids[NEW_CLASS_COUNT], more[tgf_New_CLASS_COUNT], still[CLASS_CLASS_COUNT],
    last[MODEL_TGF_DATA_CLASS_COUNT];

int main(void) {
    new_model a;
    New_model b;
    class_model c;
    model_tgf_data_model e;
    float one = 0, two = 0;
    OK(new_open(NULL, &a));
    OK(New_open(NULL, &b));
    OK(class_open(NULL, &c));
    OK(model_tgf_data_open(NULL, &e));
    OK(new_init(a));
    OK(New_init(b));
    OK(class_init(c));
    OK(model_tgf_data_init(e));
    // class, Class, unix, X, inputs, labels
    for (int i = 0; i < NEW_CLASS_COUNT; i++) ids[i] = i % 4;
    OK(new_step(a, ids, ids, ids, ids, ids, ids, &one));
    OK(new_eval(a, ids, ids, ids, ids, ids, ids, &two));
    CHECK(one > 0 && two < one);
    OK(New_step(b, more, more, more, more, more, more, &two));
    OK(class_step(c, still, still, still, still, still, still, &two));
    OK(model_tgf_data_step(e, last, last, last, last, last, last, &two));
    // Arguments are not mixed up.
    ids[0] = 99;
    FAILS(new_eval(a, ids, more, more, more, more, more, NULL), TGF_RANGE, "'class' has 99");
    FAILS(new_eval(a, more, ids, more, more, more, more, NULL), TGF_RANGE, "'Class' has 99");
    FAILS(new_eval(a, more, more, ids, more, more, more, NULL), TGF_RANGE, "'unix' has 99");
    FAILS(new_eval(a, more, more, more, ids, more, more, NULL), TGF_RANGE, "'X' has 99");
    FAILS(new_eval(a, more, more, more, more, ids, more, NULL), TGF_RANGE, "'inputs' has 99");
    FAILS(new_eval(a, more, more, more, more, more, ids, NULL), TGF_RANGE, "'labels' has 99");
    model_tgf_data_close(e);
    class_close(c);
    New_close(b);
    new_close(a);
    if (!expect_failures) printf("ok\n");
    return expect_failures != 0;
}
