// SPDX-License-Identifier: Apache-2.0
// tgf export: weights in the hub's form, as a file that has the same tensors. tgf logits: what a model says to given
// tokens, for comparisons with other implementations.
#include "runtime/checkpoint.h"
#include "tools/common_built.h"
#include "tools/common_machine.h"
#include "tools/tgf.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

typedef struct Flags {
    const char *load, *like, *out, *prefix, *tokens, *strategy;
    int64_t threads;
    Machine machine;
    OptionList defines;
} Flags;

// The model with its weights loaded, one sequence a batch. built_end is due in any case.
static int load_model(Flags *f, const char *doing, const char *path, Built *out) {
    CodegenOptions code = {0};
    if (f->defines.n == (int)(sizeof f->defines.at / sizeof *f->defines.at)) {
        fprintf(stderr, "tgf %s: too many -D\n", doing);
        return 2;
    }
    f->defines.at[f->defines.n++] = "batch=1";
    CompileRequest request = {.path = path, .defines = &f->defines, .strategy = f->strategy};
    char name[32];
    snprintf(name, sizeof name, "tgf %s", doing);
    if (!machine_read(&f->machine, name, &code)) return 1;
    int rc = built_make(&request, &code, &(ProgramOptions){.threads = (int)f->threads}, out);
    if (rc) return rc;
    Status s = checkpoint_load_weights(out->program, f->load, f->prefix, NULL);
    return status_failed(&s) ? status_report(&s, doing) : 0;
}

int tool_export(int argc, char **argv) {
    Flags f = {0};
    const Option options[] = {
        {"--load", "PATH", "the weights: a checkpoint folder or the hub's files", OPTION_TEXT, &f.load},
        {"--like", "PATH", "the hub's files whose names, shapes and types to use (those loaded)", OPTION_TEXT, &f.like},
        {"-o", "FILE", "the safetensors file to write", OPTION_TEXT, &f.out},
        {"--strategy", "NAME", "layout (one rank)", OPTION_TEXT, &f.strategy},
        {"--threads", "N", "over all ranks (one a processor)", OPTION_INT, &f.threads},
        {"-D", "AXIS=N", "override an axis", OPTION_DEFINE, &f.defines},
        MACHINE_OPTIONS(&f.machine),
        {0},
    };
    const Command command = {
        "tgf export MODEL.tgf --load PATH -o FILE [options]",
        "Writes a model's weights as one safetensors file that has the tensors of the hub's files.", options, 1, 1};
    const char *path;
    int count;
    bool done;
    int rc = options_read(&command, argc, argv, &path, &count, &done);
    if (rc || done) return rc;
    if (!f.load || !f.out) {
        fprintf(stderr, "tgf export needs --load PATH and -o FILE\n");
        return 2;
    }
    Built b = {0};
    rc = load_model(&f, "export", path, &b);
    if (!rc) {
        Status s = checkpoint_export_weights(b.program, f.like ? f.like : f.load, NULL, f.out);
        if (status_failed(&s)) rc = status_report(&s, "export");
    }
    built_end(&b);
    return rc;
}

// ids: count of them, with blanks between.
static Status read_ids(const char *text, int64_t count, int32_t *out_ids) {
    int64_t n = 0;
    for (char *end; *(text += strspn(text, " \t\n")); text = end) {
        long id = strtol(text, &end, 10);
        if (end == text || id < 0 || id > INT32_MAX)
            return status_make(STATUS_INVALID, "--tokens holds '%.40s', not a token id", text);
        if (n < count) out_ids[n] = (int32_t)id;
        n++;
    }
    return n == count ? status_ok()
                      : status_make(STATUS_INVALID, "--tokens: %" PRId64 " ids, the model reads %" PRId64, n, count);
}

static Status print_logits(Program *p, const char *text) {
    const Plan *plan = program_plan(p);
    int tokens = plan_leaf(plan, PLAN_INPUT, "tokens"), logits = plan_leaf(plan, PLAN_OUTPUT, "logits");
    const PlanLeaf *in = tokens >= 0 ? &plan->leaves[tokens] : NULL;
    const PlanLeaf *out = logits >= 0 ? &plan->leaves[logits] : NULL;
    if (!in || !out || in->rank != 2 || out->rank != 3 || in->dim[0].extent != 1)
        return status_make(STATUS_UNSUPPORTED,
                           "this needs a model with tokens [batch, seq] and logits [batch, seq, vocab]");
    int64_t seq = in->dim[1].extent, vocab = out->dim[2].extent;
    int32_t *ids = calloc((size_t)seq, sizeof *ids);
    float *values = calloc((size_t)(seq * vocab), sizeof *values);
    Status s = ids && values ? read_ids(text, seq, ids) : status_make(STATUS_MEMORY, "no memory");
    if (!status_failed(&s)) s = program_set_input(p, "tokens", PLAN_I32, ids, seq);
    if (!status_failed(&s)) s = program_run(p, "predict");
    if (!status_failed(&s)) s = program_get_output(p, "logits", PLAN_F32, values, seq * vocab);
    for (int64_t i = 0; i < seq * vocab && !status_failed(&s); i++)
        printf("%.9g%c", (double)values[i], (i + 1) % vocab ? ' ' : '\n');
    free(ids);
    free(values);
    return s;
}

int tool_logits(int argc, char **argv) {
    Flags f = {0};
    const Option options[] = {
        {"--load", "PATH", "the weights: a checkpoint folder or the hub's files", OPTION_TEXT, &f.load},
        {"--tokens", "IDS", "as many token ids as the model's seq", OPTION_TEXT, &f.tokens},
        {"--prefix", "TEXT", "before each stored parameter name (found by itself)", OPTION_TEXT, &f.prefix},
        {"--strategy", "NAME", "layout (one rank)", OPTION_TEXT, &f.strategy},
        {"--threads", "N", "over all ranks (one a processor)", OPTION_INT, &f.threads},
        {"-D", "AXIS=N", "override an axis", OPTION_DEFINE, &f.defines},
        MACHINE_OPTIONS(&f.machine),
        {0},
    };
    const Command command = {"tgf logits MODEL.tgf --load PATH --tokens IDS [options]",
                             "Prints a model's logits, a line for each position.", options, 1, 1};
    const char *path;
    int count;
    bool done;
    int rc = options_read(&command, argc, argv, &path, &count, &done);
    if (rc || done) return rc;
    if (!f.load || !f.tokens) {
        fprintf(stderr, "tgf logits needs --load PATH and --tokens IDS\n");
        return 2;
    }
    Built b = {0};
    rc = load_model(&f, "logits", path, &b);
    if (!rc) {
        Status s = print_logits(b.program, f.tokens);
        if (status_failed(&s)) rc = status_report(&s, "logits");
    }
    built_end(&b);
    return rc;
}
