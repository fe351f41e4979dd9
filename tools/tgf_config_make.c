// SPDX-License-Identifier: Apache-2.0
// The config.json of a model. Its axes and constants are read off the program that computes the logits; that the
// architecture's example with these computes the same is not assumed but compared, op by op.
#include "ir/text.h"
#include "runtime/json.h"
#include "tools/tgf_config.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct Maker {
    Arena *arena;
    Compilation model;
    Func *predict;
    const Architecture *arch;
    int n;
    const char *line[128]; // of the JSON, without the comma
} Maker;

static const char *axis_text(const Maker *m, const char *name) {
    const Axis *axis = unit_axis(m->model.unit, str_intern(m->model.strs, name));
    return axis ? arena_printf(m->arena, "%" PRId64, axis->extent) : NULL;
}

// "axis head = 32" -> head
static const char *axis_name(const Maker *m, const char *declared) {
    const char *end = strstr(declared, " ="), *begin = end;
    while (begin > declared && begin[-1] != ' ') begin--;
    return arena_printf(m->arena, "%.*s", (int)(end - begin), begin);
}

// ---- constants ------------------------------------------------------------------------------------------------------
// The constant beside the other operand of the first `outer` whose operand is an `inner`.
static bool find_constant(const Block *b, OpKind outer, OpKind inner, double *out) {
    for (const Node *n = b->first; n; n = n->next) {
        if (n->body && find_constant(n->body, outer, inner, out)) return true;
        const Node *of = n->op == outer ? n->args[0]->def : NULL;
        const Node *c = of && of->op == inner ? of->args[1]->def : NULL;
        if (!c || c->op != OP_const) continue;
        *out = c->attr.f;
        return true;
    }
    return false;
}

static bool is_epsilon(double x, double constant, double half) {
    (void)half;
    return x == constant;
}
static bool is_theta(double x, double constant, double half) { return -log(x) / half == constant; }

// The shortest decimal for which it holds, as JSON's real numbers are written.
static const char *shortest(const Maker *m, double x, double constant, double half,
                            bool (*holds)(double, double, double)) {
    const char *text = NULL;
    for (int digits = 1; digits <= 17; digits++) {
        text = arena_printf(m->arena, "%.*g", digits, x);
        if (holds(strtod(text, NULL), constant, half)) break;
    }
    x = strtod(text, NULL);
    return x == floor(x) && x < 1e15 ? arena_printf(m->arena, "%.1f", x) : text;
}

static const char *constant_text(const Maker *m, const Key *k) {
    double c = 0, half;
    if (k->use == EPSILON)
        return find_constant(m->predict->top, OP_rsqrt, OP_add, &c) ? shortest(m, c, c, 0, is_epsilon) : k->value;
    const char *extent = axis_text(m, "half");
    if (!extent || !find_constant(m->predict->top, OP_exp, OP_mul, &c)) return k->value;
    half = strtod(extent, NULL);
    return shortest(m, exp(-c * half), c, half, is_theta);
}

// Whether a parameter's storage begins so.
static const Node *stores(const Maker *m, const char *begin) {
    for (const Node *n = m->predict->top->first; n; n = n->next)
        if (n->op == OP_param && n->attr.s2 && !strncmp(n->attr.s2, begin, strlen(begin))) return n;
    return NULL;
}

// ---- the text -------------------------------------------------------------------------------------------------------
static void put(Maker *m, const char *key, const char *value) {
    m->line[m->n++] = arena_printf(m->arena, "  \"%s\": %s", key, value);
}

static int by_text(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

static Status put_keys(Maker *m) {
    const char *head = axis_text(m, "head"), *dim = axis_text(m, "dim");
    for (const Key *k = m->arch->keys; k->name; k++) {
        const char *axis = k->use == COUNT || k->use == COUNT_OR_NULL ? axis_name(m, k->from) : NULL;
        const char *value = axis ? axis_text(m, axis) : NULL;
        if (axis && !value)
            return status_make(STATUS_UNSUPPORTED, "the model has no axis '%s', which '%s' of config.json is", axis,
                               k->name);
        if (k->use == EPSILON || k->use == THETA) value = constant_text(m, k);
        if (k->use == MUST && strcmp(k->value, "null")) value = k->value;
        if (value && !strchr(k->name, '.')) put(m, k->name, value); // the dotted ones are new names of others
    }
    if (!head || !dim) return status_make(STATUS_UNSUPPORTED, "the model has no axes 'head' and 'dim'");
    put(m, m->arch->width, arena_printf(m->arena, "%lld", atoll(head) * atoll(dim)));
    if (m->arch->dim) put(m, m->arch->dim, dim);
    if (stores(m, "lm_head.weight ")) put(m, "tie_word_embeddings", "false");
    static const char *const tokens[] = {"bos_token_id", "eos_token_id", "pad_token_id"}; // not the model's to know
    for (int i = 0; i < 3; i++) put(m, tokens[i], "null");
    return status_ok();
}

static Status make_json(Maker *m, const Node *mark, const char **out_json) {
    static const char *const dtypes[] = {
        [DT_F32] = "float32", [DT_F64] = "float64", [DT_BF16] = "bfloat16", [DT_F16] = "float16"};
    DType type = mark->results[0]->type.dtype;
    STATUS_TRY(put_keys(m));
    put(m, "architectures", arena_printf(m->arena, "[\n    \"%s\"\n  ]", m->arch->model_class));
    put(m, "model_type", arena_printf(m->arena, "\"%s\"", m->arch->type));
    put(m, "dtype", arena_printf(m->arena, "\"%s\"", dtype_is_float(type) ? dtypes[type] : "float32"));
    qsort(m->line, (size_t)m->n, sizeof *m->line, by_text);
    const char *json = "{\n";
    for (int i = 0; i < m->n; i++) json = arena_printf(m->arena, "%s%s%s\n", json, m->line[i], i + 1 < m->n ? "," : "");
    *out_json = arena_printf(m->arena, "%s}\n", json);
    return status_ok();
}

// ---- the same program -----------------------------------------------------------------------------------------------
// Leaves what is computed: no names of values, blocks and parameters, no places in files.
static void strip(Block *b) {
    for (int i = 0; i < b->nparams; i++) b->params[i]->name = NULL;
    for (Node *n = b->first; n; n = n->next) {
        n->loc = (Loc){0};
        n->scope = NULL;
        if (n->op == OP_param) n->attr.s = NULL;
        for (int i = 0; i < n->nresults; i++) n->results[i]->name = NULL;
        if (n->body) strip(n->body);
    }
}

static Status program_text(Arena *a, Func *f, const char **out_text) {
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (!out) return status_make(STATUS_MEMORY, "no memory to compare models");
    strip(f->top);
    func_print(f, out);
    bool ok = !fclose(out);
    if (ok) *out_text = arena_dup(a, text, size + 1);
    free(text);
    return ok ? status_ok() : status_make(STATUS_MEMORY, "no memory to compare models");
}

static Status compare(Maker *m, const char *json) {
    const char *ours, *theirs, *text;
    STATUS_TRY(config_read(m->arena, "the model's config.json", json, strlen(json), &text));
    char *messages = NULL;
    size_t size = 0;
    FILE *sink = open_memstream(&messages, &size);
    if (!sink) return status_make(STATUS_MEMORY, "no memory to compare models");
    const Axis *batch = unit_axis(m->model.unit, str_intern(m->model.strs, "batch"));
    Compilation c;
    CompileRequest request = {.path = "config.json", .text = text};
    OptionList defines = {0};
    if (batch) defines.at[defines.n++] = arena_printf(m->arena, "batch=%" PRId64, batch->extent);
    request.defines = &defines;
    Func *predict = compile_load_to(&request, sink, &c) ? unit_func(c.unit, "predict") : NULL;
    Status s = predict ? program_text(m->arena, m->predict, &ours)
                       : status_make(STATUS_INTERNAL, "the text of the model's config.json does not compile");
    if (!status_failed(&s)) s = program_text(m->arena, predict, &theirs);
    if (!status_failed(&s) && strcmp(ours, theirs))
        s = status_make(
            STATUS_UNSUPPORTED,
            "the model does not compute what a config.json of \"%s\" can say, which is examples/%s.tgf with "
            "other axes and constants",
            m->arch->type, m->arch->type);
    compile_end(&c);
    fclose(sink);
    free(messages);
    return s;
}

static Status make(Maker *m, const char **out_json, const char **out_prefix) {
    const Node *mark = NULL;
    m->predict = unit_func(m->model.unit, "predict");
    if (!m->predict) return status_make(STATUS_UNSUPPORTED, "no config.json for a model that names no 'logits'");
    for (m->arch = config_architectures; m->arch->type && !(mark = stores(m, m->arch->mark));) m->arch++;
    if (!mark)
        return status_make(STATUS_UNSUPPORTED, "no config.json for this model: its parameters are not stored as those "
                                               "of GPT-2, Llama or BERT");
    STATUS_TRY(make_json(m, mark, out_json));
    *out_prefix = m->arch->prefix;
    return compare(m, *out_json);
}

Status config_of_model(Arena *a, const CompileRequest *request, const char **out_json, const char **out_prefix) {
    CompileRequest plain = *request;
    Maker m = {.arena = a};
    plain.strategy = NULL;
    Status s = compile_load(&plain, &m.model) ? make(&m, out_json, out_prefix)
                                              : status_make(STATUS_INVALID, "the model does not compile");
    compile_end(&m.model);
    return s;
}
