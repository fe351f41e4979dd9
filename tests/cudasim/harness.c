// SPDX-License-Identifier: Apache-2.0
#include "harness.h"
#include "lib/sim_block.h"
#include "lib/sim_build.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_RANGES = 256 };
_Static_assert((int)SIM_MESSAGE >= (int)SIM_ERROR && (int)SIM_MESSAGE >= (int)SIM_LOG, "messages fit");

typedef struct Range {
    uintptr_t at, end;
    bool writable;
} Range;

struct Sim {
    SimLibrary library;
    char error[SIM_ERROR];
    uint64_t seed;
    int nranges, last;
    Range range[MOST_RANGES];
};

static char *read_prelude(size_t *out_bytes) {
    FILE *f = fopen(TGF_CUDASIM_PRELUDE, "r");
    if (!f) return NULL;
    fseek(f, 0, SEEK_END);
    long n = ftell(f);
    rewind(f);
    char *text = n < 0 ? NULL : malloc((size_t)n + 1);
    *out_bytes = text ? fread(text, 1, (size_t)n, f) : 0;
    fclose(f);
    return text;
}

Sim *sim_compile(const char *kernels, char *out_error) {
    size_t prelude_bytes = 0, bytes = strlen(kernels);
    char *prelude = read_prelude(&prelude_bytes), *text = prelude ? malloc(prelude_bytes + bytes + 2) : NULL;
    const char *folder = getenv("TMPDIR");
    char place[SIM_PATH], library[SIM_PATH + 20];
    Sim *s = calloc(1, sizeof *s);
    *out_error = 0;
    snprintf(place, sizeof place, "%s/cudasim-XXXXXX", folder ? folder : "/tmp");
    if (!text || !s || !mkdtemp(place)) {
        snprintf(out_error, SIM_MESSAGE, "%s or %s cannot be read or made", TGF_CUDASIM_PRELUDE, place);
        free(prelude), free(text), free(s);
        return NULL;
    }
    memcpy(text, prelude, prelude_bytes);
    text[prelude_bytes] = '\n';
    memcpy(text + prelude_bytes + 1, kernels, bytes);
    snprintf(library, sizeof library, "%s/kernels.so", place);
    bool made = sim_build(text, prelude_bytes + 1 + bytes, library, out_error, SIM_MESSAGE) &&
                sim_load(library, &s->library, out_error, SIM_MESSAGE);
    unlink(library);
    rmdir(place); // stays where the source is kept
    free(prelude), free(text);
    if (made) return s;
    free(s);
    return NULL;
}

void sim_free(Sim *s) {
    if (!s) return;
    sim_unload(&s->library);
    free(s);
}

static void allow(Sim *s, uintptr_t at, size_t bytes, bool writable) {
    if (s->nranges == MOST_RANGES) {
        fprintf(stderr, "sim_allow: more than %d ranges\n", MOST_RANGES);
        abort();
    }
    s->range[s->nranges++] = (Range){at, at + bytes, writable};
}
void sim_allow(Sim *s, void *at, size_t bytes) { allow(s, (uintptr_t)at, bytes, true); }
void sim_allow_reading(Sim *s, const void *at, size_t bytes) { allow(s, (uintptr_t)at, bytes, false); }
void sim_forget(Sim *s) { s->nranges = s->last = 0; }
void sim_seed(Sim *s, uint64_t seed) { s->seed = seed; }

static bool is_allowed(void *context, uintptr_t at, size_t bytes, bool write, char *why, size_t size) {
    Sim *s = context;
    const Range *near = NULL;
    for (int i = 0; i < s->nranges; i++) {
        int n = s->last + i < s->nranges ? s->last + i : s->last + i - s->nranges;
        const Range *r = &s->range[n];
        if (at >= r->at && at + bytes <= r->end && (r->writable || !write)) {
            s->last = n;
            return true;
        }
        if (!near || llabs((long long)(at - r->at)) < llabs((long long)(at - near->at))) near = r;
    }
    if (!near) snprintf(why, size, "nothing is allowed");
    else if (at >= near->at && at + bytes <= near->end) snprintf(why, size, "it may only be read");
    else
        snprintf(why, size, "outside what is allowed; the nearest begins %lld bytes before and has %zu",
                 (long long)(at - near->at), (size_t)(near->end - near->at));
    return false;
}

const char *sim_launch(Sim *s, const char *name, int64_t blocks, int threads, int64_t shared_bytes,
                       void *const *params) {
    const SimKernel *k = sim_kernel(&s->library, name);
    if (!k) {
        snprintf(s->error, sizeof s->error, "no kernel %s", name);
        return s->error;
    }
    SimLaunch l = {k,
                   params,
                   {(unsigned)blocks, 1, 1},
                   {(unsigned)threads, 1, 1},
                   (size_t)shared_bytes,
                   sim_random(&s->seed),
                   is_allowed,
                   s};
    return sim_run(&l, s->error) ? NULL : s->error;
}

int sim_params(const Sim *s, const char *name) {
    const SimKernel *k = sim_kernel(&s->library, name);
    return k ? k->nparams : -1;
}
