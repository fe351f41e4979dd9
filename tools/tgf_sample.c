// SPDX-License-Identifier: Apache-2.0
// tgf sample: text from a checkpoint. Models over bytes (vocabulary 256) read and write text; others token ids, one a
// word.
#include "ir/random.h"
#include "runtime/checkpoint.h"
#include "tools/common_built.h"
#include "tools/common_machine.h"
#include "tools/tgf.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct Sampler {
    Program *program;
    int64_t seq, vocab;
    int32_t *context; // seq ids, what has been said so far, padded behind
    float *logits;    // seq x vocab
    float *scratch;   // vocab
    double temperature;
    int64_t top_k, seed, drawn;
} Sampler;

static int descending(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x < y) - (x > y);
}

// The next id, from the logits of one position.
static int32_t choose(Sampler *s, const float *logits) {
    int32_t best = 0;
    for (int64_t i = 1; i < s->vocab; i++)
        if (logits[i] > logits[best]) best = (int32_t)i;
    if (s->temperature == 0) return best;
    float least = -INFINITY;
    if (s->top_k > 0 && s->top_k < s->vocab) {
        memcpy(s->scratch, logits, sizeof *logits * (size_t)s->vocab);
        qsort(s->scratch, (size_t)s->vocab, sizeof *logits, descending);
        least = s->scratch[s->top_k - 1];
    }
    double total = 0;
    for (int64_t i = 0; i < s->vocab; i++)
        total += logits[i] >= least ? exp((logits[i] - logits[best]) / s->temperature) : 0;
    uint32_t w[4];
    random_words(s->drawn++, 0, (int32_t[4]){(int32_t)s->seed, (int32_t)(s->seed >> 32), 0, 0}, w);
    double left = total * ((double)w[0] + 0.5) * 0x1p-32;
    for (int64_t i = 0; i < s->vocab; i++) {
        left -= logits[i] >= least ? exp((logits[i] - logits[best]) / s->temperature) : 0;
        if (left < 0) return (int32_t)i;
    }
    return best;
}

static void say(const Sampler *s, int32_t id) {
    if (s->vocab == 256) putchar(id);
    else printf("%d ", id);
    fflush(stdout);
}

static Status sample(Sampler *s, const char *prompt, int64_t length) {
    int64_t n = 0;
    // A prompt longer than the window keeps its end.
    if (s->vocab == 256) {
        for (const char *c = prompt; *c; c++) {
            if (n == s->seq) memmove(s->context, s->context + 1, sizeof *s->context * (size_t)--n);
            s->context[n++] = (unsigned char)*c;
            putchar(*c);
        }
    } else {
        for (char *end; *prompt; prompt = end) {
            long id = strtol(prompt, &end, 10);
            if (end == prompt || id < 0 || id >= s->vocab)
                return status_make(STATUS_INVALID, "the prompt holds '%s', not an id below %" PRId64, prompt, s->vocab);
            if (n == s->seq) memmove(s->context, s->context + 1, sizeof *s->context * (size_t)--n);
            s->context[n++] = (int32_t)id;
            say(s, (int32_t)id);
            end += strspn(end, " \t\n");
        }
    }
    if (!n) s->context[n++] = s->vocab == 256 ? '\n' : 0;
    for (int64_t i = 0; i < length; i++) {
        STATUS_TRY(program_set_input(s->program, "tokens", PLAN_I32, s->context, s->seq));
        STATUS_TRY(program_run(s->program, "predict"));
        STATUS_TRY(program_get_output(s->program, "logits", PLAN_F32, s->logits, s->seq * s->vocab));
        int32_t id = choose(s, s->logits + (n - 1) * s->vocab);
        say(s, id);
        if (n == s->seq) memmove(s->context, s->context + 1, sizeof *s->context * (size_t)--n);
        s->context[n++] = id;
    }
    putchar('\n');
    return status_ok();
}

int tool_sample(int argc, char **argv) {
    const char *load = NULL, *prompt = "", *prefix = NULL, *strategy = NULL;
    Sampler s = {.temperature = 0.8};
    int64_t length = 500, threads = 0;
    s.seed = 1;
    OptionList defines = {0};
    Machine machine = {0};
    const Option options[] = {
        {"--load", "DIR", "checkpoint folder, or the hub's files", OPTION_TEXT, &load},
        {"--prompt", "TEXT", "what the text begins with", OPTION_TEXT, &prompt},
        {"--length", "N", "tokens to add (500)", OPTION_INT, &length},
        {"--temperature", "T", "0 always takes the likeliest (0.8)", OPTION_REAL, &s.temperature},
        {"--top-k", "K", "only among the K likeliest; 0: all (0)", OPTION_INT, &s.top_k},
        {"--seed", "S", "same seed, same text (1)", OPTION_INT, &s.seed},
        {"--prefix", "TEXT", "before each stored parameter name (found by itself)", OPTION_TEXT, &prefix},
        {"--strategy", "NAME", "layout (one rank)", OPTION_TEXT, &strategy},
        {"--threads", "N", "over all ranks (one a processor)", OPTION_INT, &threads},
        {"-D", "AXIS=N", "override an axis", OPTION_DEFINE, &defines},
        MACHINE_OPTIONS(&machine),
        {0},
    };
    const Command command = {
        "tgf sample MODEL.tgf --load DIR [options]",
        "Writes text (models over bytes) or token ids, drawn from a checkpoint of a model that names its logits.",
        options, 1, 1};
    const char *path;
    int count;
    bool done;
    int rc = options_read(&command, argc, argv, &path, &count, &done);
    if (rc || done) return rc;
    if (!load || s.temperature < 0) {
        fprintf(stderr, load ? "--temperature is at least 0\n" : "tgf sample needs --load DIR\n");
        return 2;
    }
    if (defines.n == (int)(sizeof defines.at / sizeof *defines.at)) {
        fprintf(stderr, "tgf sample: too many -D\n");
        return 2;
    }
    defines.at[defines.n++] = "batch=1";
    CompileRequest request = {.path = path, .defines = &defines, .strategy = strategy};
    ProgramOptions o = {.threads = (int)threads};
    Built b = {0};
    CodegenOptions code = {0};
    if (!machine_read(&machine, "tgf sample", &code)) return 1;
    rc = built_make(&request, &code, &o, &b);
    if (!rc) {
        const Plan *p = program_plan(b.program);
        int tokens = plan_leaf(p, PLAN_INPUT, "tokens"), logits = plan_leaf(p, PLAN_OUTPUT, "logits");
        const PlanLeaf *in = tokens >= 0 ? &p->leaves[tokens] : NULL, *out = logits >= 0 ? &p->leaves[logits] : NULL;
        Status st = status_ok();
        if (!in || !out || in->rank != 2 || out->rank != 3 || in->dim[0].extent != 1)
            st = status_make(STATUS_UNSUPPORTED,
                             "sampling needs a model with tokens [batch, seq] and logits [batch, seq, vocab]");
        else st = checkpoint_load_weights(b.program, load, prefix, NULL);
        if (!status_failed(&st)) {
            s.program = b.program;
            s.seq = in->dim[1].extent;
            s.vocab = out->dim[2].extent;
            s.context = calloc((size_t)s.seq, sizeof *s.context);
            s.logits = calloc((size_t)(s.seq * s.vocab), sizeof *s.logits);
            s.scratch = calloc((size_t)s.vocab, sizeof *s.scratch);
            st = s.context && s.logits && s.scratch ? sample(&s, prompt, length)
                                                    : status_make(STATUS_MEMORY, "no memory");
            free(s.context);
            free(s.logits);
            free(s.scratch);
        }
        if (status_failed(&st)) rc = status_report(&st, "sample");
    }
    built_end(&b);
    return rc;
}
