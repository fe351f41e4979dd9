// SPDX-License-Identifier: Apache-2.0
// tgf_model: the inside of a TgfModel, shared by the files behind include/tgf/tgf.h.
#pragma once
#include "include/tgf/tgf.h"
#include "runtime/bind.h"
#include "runtime/world.h"

struct TgfModel {
    Program *program;
    World *world; // NULL: no other processes
    int32_t seed;
    int64_t steps, tokens;
    char data[1024];
    const void **bound; // by leaf: the caller's array, or NULL
    TgfLogFn *log;
    void *log_user;
};

struct TgfData {
    struct TokenFile *file;
};

TgfStatus model_give(Status s);
// STATUS_INVALID when something that must be there is NULL.
Status model_need(const void *it, const char *what);
Status model_run(TgfModel *m, const char *function);
Status model_save(TgfModel *m, const char *folder);
void model_say(const TgfModel *m, TgfLevel level, const char *format, ...) __attribute__((format(printf, 3, 4)));

#define GIVE_TRY(expr)                                                                                                 \
    do {                                                                                                               \
        Status give_try_ = (expr);                                                                                     \
        if (status_failed(&give_try_)) return model_give(give_try_);                                                   \
    } while (0)

// tgf_world.c: the processes that the options tell of; NULL: none.
Status model_join(const TgfOptions *options, World **out_world);
// The same for all: whether they have the same model, one for as many ranks as there are processes.
Status model_agree(World *w, const TgfModule *module);
