// SPDX-License-Identifier: Apache-2.0
// tgf export: weights in the hub's form, as a file that has the same tensors or as a whole folder. tgf logits: what a
// model says to given tokens, for comparisons with other implementations.
#include "runtime/checkpoint.h"
#include "runtime/hub_shards.h"
#include "tools/common_built.h"
#include "tools/common_machine.h"
#include "tools/tgf.h"
#include "tools/tgf_hub_folder.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct Flags {
    const char *load, *like, *out, *shard, *prefix, *tokens, *strategy;
    int64_t threads;
    Machine machine;
    OptionList defines, inputs;
    CompileRequest request; // of load_model
} Flags;

// The model with its weights loaded, one sequence a batch. built_end is due in any case.
static int load_model(Flags *f, const char *doing, const char *path, Built *out) {
    CodegenOptions code = {0};
    if (f->defines.n == (int)(sizeof f->defines.at / sizeof *f->defines.at)) {
        fprintf(stderr, "tgf %s: too many -D\n", doing);
        return 2;
    }
    f->defines.at[f->defines.n++] = "batch=1";
    f->request = (CompileRequest){.path = path, .defines = &f->defines, .strategy = f->strategy};
    char name[32];
    snprintf(name, sizeof name, "tgf %s", doing);
    if (!machine_read(&f->machine, name, &code)) return 1;
    int rc = built_make(&f->request, &code, &(ProgramOptions){.threads = (int)f->threads}, out);
    if (rc) return rc;
    Status s = checkpoint_load_weights(out->program, f->load, f->prefix, NULL);
    return status_failed(&s) ? status_report(&s, doing) : 0;
}

static bool is_folder(const char *path) {
    struct stat st;
    return path[strlen(path) - 1] == '/' || (!stat(path, &st) && S_ISDIR(st.st_mode));
}

static Status export(Program *p, const Flags *f, int64_t shard) {
    if (!is_folder(f->out)) return checkpoint_export_weights(p, f->like ? f->like : f->load, NULL, f->out);
    const char *like = f->like ? f->like : checkpoint_exists(f->load) ? NULL : f->load;
    return hub_folder_write(p, &(HubFolder){.request = &f->request, .like = like, .shard = shard, .out = f->out});
}

int tool_export(int argc, char **argv) {
    Flags f = {0};
    const Option options[] = {
        {"--load", "PATH", "the weights: a checkpoint folder or the hub's files", OPTION_TEXT, &f.load},
        {"--like", "PATH", "the hub's files whose names, shapes and types to use (those loaded)", OPTION_TEXT, &f.like},
        {"-o", "FILE", "the safetensors file to write; DIR/: a folder with its config.json", OPTION_TEXT, &f.out},
        {"--max-shard-size", "SIZE", "of a file in the folder: 5GB, 200MB, ... (as in --like)", OPTION_TEXT, &f.shard},
        {"--strategy", "NAME", "layout (one rank)", OPTION_TEXT, &f.strategy},
        {"--threads", "N", "over all ranks (one a processor)", OPTION_INT, &f.threads},
        {"-D", "AXIS=N", "override an axis", OPTION_DEFINE, &f.defines},
        MACHINE_OPTIONS(&f.machine),
        {0},
    };
    const Command command = {
        "tgf export MODEL.tgf --load PATH -o FILE|DIR/ [options]",
        "Writes a model's weights in the hub's form: one safetensors file, or a folder for from_pretrained.", options,
        1, 1};
    const char *path;
    int count;
    bool done;
    int rc = options_read(&command, argc, argv, &path, &count, &done);
    if (rc || done) return rc;
    int64_t shard = 0;
    if (!f.load || !f.out || !*f.out) {
        fprintf(stderr, "tgf export needs --load PATH and -o FILE or -o DIR/\n");
        return 2;
    }
    if (f.shard && !hub_shards_size(f.shard, &shard)) {
        fprintf(stderr, "tgf export: --max-shard-size is '%.40s', not a size as 5GB, 200MB or 1.5KB\n", f.shard);
        return 2;
    }
    if (f.shard && !is_folder(f.out)) {
        fprintf(stderr, "tgf export: --max-shard-size makes several files: -o DIR/\n");
        return 2;
    }
    Built b = {0};
    rc = load_model(&f, "export", path, &b);
    if (!rc) {
        Status s = export(b.program, &f, shard);
        if (status_failed(&s)) rc = status_report(&s, "export");
    }
    built_end(&b);
    return rc;
}

// ids: count of them, with blanks between. option: for messages.
static Status read_ids(const char *option, const char *text, int64_t count, int32_t *out_ids) {
    int64_t n = 0;
    for (char *end; *(text += strspn(text, " \t\n")); text = end) {
        long id = strtol(text, &end, 10);
        if (end == text || id < 0 || id > INT32_MAX)
            return status_make(STATUS_INVALID, "%s holds '%.40s', not a token id", option, text);
        if (n < count) out_ids[n] = (int32_t)id;
        n++;
    }
    return n == count ? status_ok()
                      : status_make(STATUS_INVALID, "%s: %" PRId64 " ids, the model reads %" PRId64, option, n, count);
}

// text: what --input says of it; NULL: nothing.
static const char *input_text(const OptionList *inputs, const char *name) {
    const char *found = NULL;
    for (int i = 0; i < inputs->n; i++)
        if (!strncmp(inputs->at[i], name, strlen(name)) && inputs->at[i][strlen(name)] == '=')
            found = inputs->at[i] + strlen(name) + 1;
    return found;
}

static Status set_input(Program *p, const char *name, const char *text, int64_t seq, int32_t *ids) {
    const Plan *plan = program_plan(p);
    int leaf = plan_leaf(plan, PLAN_INPUT, name);
    const PlanLeaf *l = leaf >= 0 ? &plan->leaves[leaf] : NULL;
    char option[160];
    bool tokens = !strcmp(name, "tokens");
    snprintf(option, sizeof option, tokens ? "--%s" : "--input %s", name);
    if (!l || l->dtype != PLAN_I32 || l->rank != 2 || l->dim[0].extent != 1 || l->dim[1].extent != seq)
        return status_make(STATUS_UNSUPPORTED, "%s: the model has no such input i32[batch, seq]", option);
    if (!text) return status_make(STATUS_INVALID, "the model also reads '%s': %s=\"IDS\"", name, option);
    STATUS_TRY(read_ids(option, text, seq, ids));
    return program_set_input(p, name, PLAN_I32, ids, seq);
}

// The inputs of `predict` beside the tokens; nothing else may be given.
static Status set_inputs(Program *p, const Unit *u, const OptionList *inputs, int64_t seq, int32_t *ids) {
    const Func *predict = unit_func(u, "predict");
    int used = 0;
    for (const Node *n = predict ? predict->top->first : NULL; n; n = n->next) {
        if (n->op != OP_input || !strcmp(n->attr.s, "tokens")) continue;
        STATUS_TRY(set_input(p, n->attr.s, input_text(inputs, n->attr.s), seq, ids));
        used++;
    }
    return used >= inputs->n ? status_ok()
                             : status_make(STATUS_INVALID, "--input names what the logits do not need, or one twice");
}

static Status print_logits(const Built *b, const Flags *f) {
    Program *p = b->program;
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
    Status s = ids && values ? set_input(p, "tokens", f->tokens, seq, ids) : status_make(STATUS_MEMORY, "no memory");
    if (!status_failed(&s)) s = set_inputs(p, b->c.unit, &f->inputs, seq, ids);
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
        {"--input", "NAME=IDS", "another input of as many (BERT's types and mask)", OPTION_DEFINE, &f.inputs},
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
        Status s = print_logits(&b, &f);
        if (status_failed(&s)) rc = status_report(&s, "logits");
    }
    built_end(&b);
    return rc;
}
