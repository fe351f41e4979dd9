// SPDX-License-Identifier: Apache-2.0
// object header: constants, then inline functions with the model's inputs and outputs as arguments. Each only fills in
// what tgf.h's functions want to know: nothing is decided here that a program could not write itself.
#include "codegen/object_header.h"
#include "base/version.h"
#include <inttypes.h>
#include <string.h>

typedef struct Input {
    int leaf;
    const char *variable, *count; // argument, and the constant of how many elements
} Input;

typedef struct Header {
    FILE *out;
    Arena *arena;
    const Plan *plan;
    const char *prefix, *constants; // "gpt2", "GPT2"
    ObjectNames functions, macros;
    const char **count_of; // by leaf: the constant
    int *inputs, ninputs;  // the model's own, in the order of the source
} Header;

static const char *const type_names[] = {"bool", "i32", "f32", "f64", "bf16", "f16"};
static const char *const tgf_types[] = {"TGF_BOOL", "TGF_I32", "TGF_F32", "TGF_F64", "TGF_BF16", "TGF_F16"};
// 16-bit floats are handed over as their bits.
static const char *const c_types[] = {"uint8_t", "int32_t", "float", "double", "uint16_t", "uint16_t"};

static bool is_own(const PlanLeaf *l) {
    return l->kind == PLAN_INPUT && strcmp(l->name, "step") && strcmp(l->name, "seed");
}

static int64_t elements(const PlanLeaf *l) {
    int64_t n = 1;
    for (int d = 0; d < l->rank; d++) n *= l->dim[d].extent;
    return n;
}

// As it may stand in a string and in a comment.
static const char *quoted(const Header *h, const char *name) {
    size_t n = strlen(name);
    char *text = NEW_ARRAY(h->arena, char, 4 * n + 1), *to = text;
    for (const char *c = name; *c; c++) {
        bool plain = *c >= ' ' && *c < 127 && *c != '"' && *c != '\\' && *c != '?';
        if (plain) *to++ = *c;
        else to += snprintf(to, 5, "\\%03o", (unsigned)(unsigned char)*c);
    }
    *to = 0;
    return text;
}

// ---- in comments ----------------------------------------------------------------------------------------------------
static void put_mesh(const Header *h, uint32_t mesh, const char *between) {
    const char *sep = "";
    for (int i = 0; i < h->plan->nmesh; i++)
        if (mesh >> i & 1) fprintf(h->out, "%s%s", sep, quoted(h, h->plan->mesh[i].name)), sep = between;
}

// "f32[vocab=256/tensor, width=192]"
static void put_type(const Header *h, const PlanLeaf *l) {
    PlanPlace place;
    plan_place(h->plan, l, 0, &place);
    fprintf(h->out, "%s[", type_names[l->dtype]);
    for (int d = 0; d < l->rank; d++) {
        fprintf(h->out, "%s%s=%" PRId64, d ? ", " : "", quoted(h, l->dim[d].axis), l->dim[d].extent);
        if (place.split[d]) fputc('/', h->out);
        put_mesh(h, place.split[d], "/");
    }
    fputc(']', h->out);
}

static void put_bytes(const Header *h, const PlanLeaf *l) {
    enum { MOST = 8 };
    const Plan *p = h->plan;
    int64_t bytes[MOST] = {0}, least = INT64_MAX, most = 0;
    PlanPlace place = {0};
    for (int s = 0; s < p->nstages; s++) {
        plan_place(p, l, s, &place);
        if (s < MOST) bytes[s] = place.bytes;
        if (place.bytes < least) least = place.bytes;
        if (place.bytes > most) most = place.bytes;
    }
    fprintf(h->out, "; %" PRId64, least == most || p->nstages > MOST ? most : bytes[0]);
    for (int s = 1; s < p->nstages && least < most && p->nstages <= MOST; s++) fprintf(h->out, ", %" PRId64, bytes[s]);
    fprintf(h->out, " bytes a rank%s", least == most ? "" : p->nstages > MOST ? " at most" : ", by stage");
    if (!place.replicated || plan_ways(p, place.replicated) < 2) return;
    fputs(", copies over ", h->out);
    put_mesh(h, place.replicated, ", ");
}

static void put_leaves(const Header *h, PlanLeafKind kind, const char *title) {
    fprintf(h->out, "//\n// %s\n", title);
    bool inputs = kind == PLAN_INPUT;
    for (int i = 0; i < (inputs ? h->ninputs : h->plan->nleaves); i++) {
        const PlanLeaf *l = &h->plan->leaves[inputs ? h->inputs[i] : i];
        if (l->kind != kind) continue;
        fprintf(h->out, "//   %-32s ", quoted(h, l->name));
        put_type(h, l);
        if (l->limit) fprintf(h->out, " in [%" PRId64 ", %" PRId64 ")", l->least, l->limit);
        if (kind == PLAN_PARAM) put_bytes(h, l);
        fputc('\n', h->out);
    }
}

static void put_top(const Header *h) {
    const Plan *p = h->plan;
    FILE *out = h->out;
    const char *m = h->prefix;
    fprintf(out, "// Made by tgfc %s from the model '%s'", TGF_VERSION, quoted(h, p->model));
    if (p->strategy && *p->strategy) fprintf(out, ", strategy '%s'", quoted(h, p->strategy));
    fprintf(out, ", for %s. Do not edit.\n", p->target ? p->target : "a CPU");
    fprintf(
        out,
        "// C11 and C++17. Link the object made with this header, and tgf's runtime. All that <tgf/tgf.h> has works "
        "on\n// %s_model.model; its comments say more than these.\n//\n"
        "// Threads: one thread uses a model at a time, any thread. Open models are independent, also of one kind.\n"
        "// Ownership: arrays are the caller's; only those given to %s_bind are kept, until they are bound anew or\n"
        "//   the model is closed. %s_close gives back what %s_open took.\n"
        "// Shapes: arrays are dense and row-major over all of [axis, ...], whatever the mesh.\n"
        "// Units: losses in nats, memory in bytes. A step or eval gives the mean over what is not masked.\n"
        "// Errors: code TGF_OK is 0, message says the rest: TGF_INVALID an argument, TGF_RANGE an id outside its\n"
        "//   range or a loss that is no number, TGF_COMM a rank that failed, TGF_MEMORY, TGF_IO, TGF_CORRUPT,\n"
        "//   TGF_UNSUPPORTED. After TGF_COMM the model can only be closed.\n//\n// Functions:",
        m, m, m, m);
    for (int i = 0; i < p->nprograms; i++) fprintf(out, " %s", quoted(h, p->programs[i].name));
    fprintf(out, "\n// Ranks: %" PRId64, plan_ranks(p));
    for (int i = 0; i < p->nmesh; i++)
        fprintf(out, "%s%s=%" PRId64, i ? ", " : " (", quoted(h, p->mesh[i].name), p->mesh[i].extent);
    fprintf(out, "%s, %s%" PRId64 " bytes on each", p->nmesh ? ")" : "", p->nstages > 1 ? "at most " : "",
            p->slab_bytes);
    if (p->host_bytes) fprintf(out, " and %" PRId64 " of its host's", p->host_bytes);
    fputs("\n// [axis=extent/mesh axes it is split over]\n", out);
    put_leaves(h, PLAN_INPUT, "Inputs:");
    put_leaves(h, PLAN_OUTPUT, "Outputs:");
    put_leaves(h, PLAN_PARAM, "Parameters:");
}

// ---- constants ------------------------------------------------------------------------------------------------------
static const char *macro(Header *h, const char *name, const char *suffix) {
    Arena *a = h->arena;
    return object_unique(&h->macros, arena_printf(a, "%s_%s%s", h->constants, object_upper(a, name), suffix));
}

static void put_extent(const Header *h, const char *name, int64_t n) {
    if (n <= INT32_MAX) fprintf(h->out, "#define %s %" PRId64 "\n", name, n);
    else fprintf(h->out, "#define %s INT64_C(%" PRId64 ")\n", name, n);
}

static void put_wide(const Header *h, const char *name, int64_t n, const char *comment) {
    fprintf(h->out, "#define %s INT64_C(%" PRId64 ")%s%s\n", name, n, *comment ? " // " : "", comment);
}

// Axes of inputs, outputs and parameters, in this order, each once.
static void put_axes(Header *h) {
    static const PlanLeafKind kinds[] = {PLAN_INPUT, PLAN_OUTPUT, PLAN_PARAM};
    const Plan *p = h->plan;
    ObjectNames seen = {.arena = h->arena};
    for (int k = 0; k < 3; k++)
        for (int i = 0; i < p->nleaves; i++)
            for (int d = 0; d < p->leaves[i].rank && p->leaves[i].kind == kinds[k]; d++) {
                const PlanDim *dim = &p->leaves[i].dim[d];
                if (strcmp(object_unique(&seen, dim->axis), dim->axis)) continue;
                put_extent(h, macro(h, dim->axis, ""), dim->extent);
            }
}

static void put_count(Header *h, int leaf) {
    const PlanLeaf *l = &h->plan->leaves[leaf];
    h->count_of[leaf] = macro(h, l->name, "_COUNT");
    put_wide(h, h->count_of[leaf], elements(l), "");
}

static void put_constants(Header *h) {
    const Plan *p = h->plan;
    FILE *out = h->out;
    int parameters = 0;
    // These first, so that no axis takes their names.
    const char *ranks = macro(h, "RANKS", ""), *slab = macro(h, "SLAB_BYTES", ""), *host = macro(h, "HOST_BYTES", "");
    const char *count = macro(h, "PARAMETERS", ""), *micro = macro(h, "MICROBATCHES", ""),
               *stages = macro(h, "STAGES", "");
    fputs("// Extents of the axes.\n", out);
    put_axes(h);
    fputs("\n// Elements of the inputs and outputs.\n", out);
    for (int i = 0; i < h->ninputs; i++) put_count(h, h->inputs[i]);
    for (int i = 0; i < p->nleaves; i++) {
        parameters += p->leaves[i].kind == PLAN_PARAM;
        if (p->leaves[i].kind == PLAN_OUTPUT) put_count(h, i);
    }
    fputs("\n// As compiled.\n", out);
    put_extent(h, ranks, plan_ranks(p));
    for (int i = 0; i < p->nmesh; i++) put_extent(h, macro(h, p->mesh[i].name, "_RANKS"), p->mesh[i].extent);
    put_extent(h, stages, p->nstages);
    put_extent(h, micro, p->microbatches);
    put_wide(h, slab, p->slab_bytes, p->nstages > 1 ? "of the rank that has most" : "of each rank");
    put_wide(h, host, p->host_bytes, "beside it, of its host");
    put_extent(h, count, parameters);
    fputc('\n', out);
}

// ---- functions ------------------------------------------------------------------------------------------------------
static const char *function(Header *h, const char *name) {
    return object_unique(&h->functions, arena_printf(h->arena, "%s_%s", h->prefix, name));
}

// The model's own inputs of a program (NULL: of all). Returns how many.
static int inputs_of(Header *h, const PlanProgram *g, Input *out) {
    const Plan *p = h->plan;
    ObjectNames variables = {.arena = h->arena};
    static const char *const own[] = {"model", "inputs", "out_loss", "out_values"};
    for (int i = 0; i < 4; i++) object_unique(&variables, own[i]);
    int n = 0;
    for (int k = 0; k < h->ninputs; k++) {
        const int i = h->inputs[k];
        bool reads = !g;
        for (int j = 0; g && j < g->ninputs; j++) reads = reads || g->inputs[j] == i;
        if (!reads) continue;
        out[n++] = (Input){i, object_unique(&variables, object_variable(h->arena, p->leaves[i].name)), h->count_of[i]};
    }
    return n;
}

// A function of the model, its inputs and a result (", float *out_loss" or nothing); in lines as long as the house's.
static void put_signature(const Header *h, const char *called, const Input *in, int n, const char *result) {
    enum { LINE = 120 };
    int indent = fprintf(h->out, "static inline TgfStatus %s(", called), column = indent;
    column += fprintf(h->out, "%s_model model", h->prefix);
    for (int i = 0; i <= n; i++) {
        const char *type = i < n ? c_types[h->plan->leaves[in[i].leaf].dtype] : NULL;
        const char *text = type ? arena_printf(h->arena, ", const %s *%s", type, in[i].variable) : result;
        int wide = (int)strlen(text);
        if (!wide) continue;
        if (column + wide + 3 <= LINE) column += fprintf(h->out, "%s", text);
        else column = fprintf(h->out, ",\n%*s%s", indent, "", text + 2) - 2;
    }
    fputs(") {\n", h->out);
}

static void put_inputs(const Header *h, const Input *in, int n) {
    fputs("    const TgfInput inputs[] = {", h->out);
    for (int i = 0; i < n; i++) {
        const PlanLeaf *l = &h->plan->leaves[in[i].leaf];
        fprintf(h->out, "%s{\"%s\", %s, %s, %s}", i ? ",\n                               " : "", quoted(h, l->name),
                tgf_types[l->dtype], in[i].count, in[i].variable);
    }
    fputs("};\n", h->out);
}

// The output that a program's function hands out: the loss, else the first; -1: it has none.
static int output_of(const Header *h, const PlanProgram *g) {
    for (int i = 0; i < g->noutputs; i++)
        if (!strcmp(h->plan->leaves[g->outputs[i]].name, "loss")) return g->outputs[i];
    return g->noutputs ? g->outputs[0] : -1;
}

// One that takes its inputs and one that reads what is set or bound.
static void put_program(Header *h, const PlanProgram *g, const char *name, const char *comment) {
    Input *in = NEW_ARRAY(h->arena, Input, h->plan->nleaves + 1);
    int n = inputs_of(h, g, in), output = output_of(h, g);
    const PlanLeaf *l = output < 0 ? NULL : &h->plan->leaves[output];
    const char *out = l && !strcmp(l->name, "loss") ? "out_loss" : "out_values";
    const char *result = "", *read = "NULL, TGF_F32, NULL, 0";
    if (l) {
        result = arena_printf(h->arena, ", %s *%s", c_types[l->dtype], out);
        read = arena_printf(h->arena, "\"%s\", %s, %s, %s", quoted(h, l->name), tgf_types[l->dtype], out,
                            h->count_of[output]);
    }
    fprintf(h->out, "// %s\n", comment);
    for (int bound = n == 0; bound < 2; bound++) {
        const char *called = bound && n ? arena_printf(h->arena, "%s_bound", name) : name;
        put_signature(h, called, in, bound ? 0 : n, result);
        if (!bound) put_inputs(h, in, n);
        fprintf(h->out, "    return tgf_apply(model.model, \"%s\", %s, %d, %s);\n}\n", g->name,
                bound ? "NULL" : "inputs", bound ? 0 : n, read);
    }
}

static void put_open(const Header *h, const char *symbol) {
    const char *m = h->prefix;
    fprintf(h->out,
            "#ifdef __cplusplus\nextern \"C\" {\n#endif\nextern const TgfModule %s; // in the object\n"
            "#ifdef __cplusplus\n}\n#endif\n\n"
            "typedef struct %s_model {\n    TgfModel *model; // for all of <tgf/tgf.h>\n} %s_model;\n\n",
            symbol, m, m);
    fprintf(
        h->out,
        "// options NULL: ranks are threads of this process. Refuses a runtime or an object that this header was not "
        "made\n// for. *out_model is empty after a failure, and may be closed.\n"
        "static inline TgfStatus %s_open(const TgfOptions *options, %s_model *out_model) {\n"
        "    const TgfHeader header = {TGF_ABI, %d, UINT64_C(0x%016" PRIx64 "), \"%s\", \"tgfc %s\"};\n"
        "    return tgf_open_header(&%s, &header, options, &out_model->model);\n}\n"
        "static inline void %s_close(%s_model model) { tgf_close(model.model); }\n\n",
        m, m, PLAN_ABI, h->plan->hash, quoted(h, h->plan->model), TGF_VERSION, symbol, m, m);
}

static void put_values(const Header *h) {
    const char *m = h->prefix;
    fprintf(h->out,
            "// Parameters get values in one of three ways; before that, steps are refused.\n"
            "static inline TgfStatus %s_init(%s_model model) { return tgf_init(model.model); }\n"
            "static inline TgfStatus %s_load(%s_model model, const char *folder) { return tgf_load(model.model, "
            "folder); }\n"
            "static inline TgfStatus %s_load_weights(%s_model model, const char *path) {\n"
            "    return tgf_load_weights(model.model, path);\n}\n"
            "// Atomic: a kill leaves the old checkpoint or the new one.\n"
            "static inline TgfStatus %s_save(%s_model model, const char *folder) { return tgf_save(model.model, "
            "folder); }\n"
            "// Finished steps of training.\n"
            "static inline int64_t %s_steps(%s_model model) { return tgf_steps(model.model); }\n\n",
            m, m, m, m, m, m, m, m, m, m);
}

static void put_set(Header *h) {
    Input *in = NEW_ARRAY(h->arena, Input, h->plan->nleaves + 1);
    int n = inputs_of(h, NULL, in);
    const char *m = h->prefix;
    if (!n) return;
    fputs("// Copies the inputs: what the functions ending in _bound read.\n", h->out);
    for (int binds = 0; binds < 2; binds++) {
        if (binds)
            fputs(
                "// Keeps the arrays: from now on each step, eval and predict ending in _bound reads them, as they are "
                "then. NULL\n// unbinds one.\n",
                h->out);
        put_signature(h, arena_printf(h->arena, "%s_%s", m, binds ? "bind" : "set"), in, n, "");
        put_inputs(h, in, n);
        fprintf(h->out, "    return %s(model.model, inputs, %d);\n}\n", binds ? "tgf_bind" : "tgf_set_inputs", n);
    }
    fputc('\n', h->out);
}

static bool is_metric(const Plan *p, const PlanProgram *train, int leaf) {
    const PlanLeaf *l = &p->leaves[leaf];
    for (int i = 0; train && i < train->noutputs; i++)
        if (train->outputs[i] == leaf) return !l->rank;
    return false;
}

static void put_metrics(Header *h) {
    const Plan *p = h->plan;
    const PlanProgram *train = plan_program(p, "train");
    const char *m = h->prefix;
    ObjectNames members = {.arena = h->arena};
    const char **member = NEW_ARRAY(h->arena, const char *, p->nleaves + 1);
    int n = 0;
    fputs("// An output as the last function left it; each of train or eval has a loss.\n", h->out);
    for (int i = 0; i < p->nleaves; i++) {
        const PlanLeaf *l = &p->leaves[i];
        if (l->kind != PLAN_OUTPUT) continue;
        fprintf(h->out, "static inline TgfStatus %s(%s_model model, %s *%s) {\n",
                function(h, object_word(h->arena, l->name)), m, c_types[l->dtype], "out_values");
        fprintf(h->out, "    return tgf_get_output(model.model, \"%s\", %s, out_values, %s);\n}\n", quoted(h, l->name),
                tgf_types[l->dtype], h->count_of[i]);
        if (is_metric(p, train, i)) member[i] = object_unique(&members, object_variable(h->arena, l->name)), n++;
    }
    fputc('\n', h->out);
    if (!n) return;
    fprintf(h->out, "// Every number that a step gives.\ntypedef struct %s_metrics {\n", m);
    for (int i = 0; i < p->nleaves; i++)
        if (is_metric(p, train, i)) fprintf(h->out, "    %s %s;\n", c_types[p->leaves[i].dtype], member[i]);
    fprintf(h->out,
            "} %s_metrics;\nstatic inline TgfStatus %s_read_metrics(%s_model model, %s_metrics *out_metrics) {\n"
            "    TgfStatus s = {TGF_OK, \"\"};\n",
            m, m, m, m);
    for (int i = 0; i < p->nleaves; i++)
        if (is_metric(p, train, i))
            fprintf(h->out,
                    "    if (s.code == TGF_OK) s = tgf_get_output(model.model, \"%s\", %s, &out_metrics->%s, 1);\n",
                    quoted(h, p->leaves[i].name), tgf_types[p->leaves[i].dtype], member[i]);
    fputs("    return s;\n}\n\n", h->out);
}

static void put_parameters(const Header *h) {
    const char *m = h->prefix;
    fprintf(h->out,
            "// Parameter number `index` (0 and on): its name, type, axes and extents, and what `rank` holds of it. "
            "Values go "
            "in\n// and out whole, by name: tgf_set and tgf_get of <tgf/tgf.h>, with kind TGF_PARAMETER.\n"
            "static inline TgfStatus %s_parameter(%s_model model, int index, int rank, TgfTensor *out_tensor,\n"
            "                                     TgfPlacement *out_placement) {\n"
            "    TgfStatus s = tgf_describe_at(model.model, TGF_PARAMETER, index, out_tensor);\n"
            "    return s.code != TGF_OK ? s : tgf_place(model.model, TGF_PARAMETER, out_tensor->name, rank, "
            "out_placement);\n}\n",
            m, m);
}

static void put_functions(Header *h, const char *symbol) {
    static const char *const own[] = {"open",       "close",   "init",       "load",      "load_weights",
                                      "save",       "steps",   "set",        "bind",      "step",
                                      "eval",       "predict", "loop",       "model",     "read_metrics",
                                      "step_bound", "metrics", "eval_bound", "parameter", "predict_bound"};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) function(h, own[i]);
    const Plan *p = h->plan;
    const char *m = h->prefix;
    put_open(h, symbol);
    put_values(h);
    put_set(h);
    for (int i = 0; i < p->nprograms; i++) {
        const PlanProgram *g = &p->programs[i];
        if (!strcmp(g->name, "train"))
            put_program(h, g, arena_printf(h->arena, "%s_step", m),
                        "A step of training. out_loss: before the update; may be NULL.");
        else if (!strcmp(g->name, "eval"))
            put_program(h, g, arena_printf(h->arena, "%s_eval", m), "The loss without an update and without dropout.");
        else if (!strcmp(g->name, "predict"))
            put_program(h, g, arena_printf(h->arena, "%s_predict", m),
                        "What the model says of its inputs, without labels.");
    }
    if (plan_program(p, "train"))
        fprintf(h->out,
                "// Many steps, with batches and reports by callbacks: tgf_loop of <tgf/tgf.h>.\n"
                "static inline TgfStatus %s_loop(%s_model model, const TgfLoop *loop) { return tgf_loop(model.model, "
                "loop); }\n",
                m, m);
    fputc('\n', h->out);
    put_metrics(h);
    put_parameters(h);
}

// ---- order ----------------------------------------------------------------------------------------------------------
static const Node *find_input(const Unit *u, const char *name) {
    for (int i = 0; i < u->funcs.n; i++) FOR_NODES(n, u->funcs.at[i]->top)
    if (n->op == OP_input && !strcmp(n->attr.s, name)) return n;
    return NULL;
}

static bool stands_before(const Node *a, const Node *b) {
    if (!a || !b || !a->loc.file || !b->loc.file || strcmp(a->loc.file, b->loc.file)) return false;
    return a->loc.line != b->loc.line ? a->loc.line < b->loc.line : a->loc.col < b->loc.col;
}

// The leaves' own order is that of memory, which a strategy may change.
static void order_inputs(Header *h, const Unit *u) {
    const Plan *p = h->plan;
    h->inputs = NEW_ARRAY(h->arena, int, p->nleaves + 1);
    for (int i = 0; i < p->nleaves; i++) {
        if (!is_own(&p->leaves[i])) continue;
        const Node *n = find_input(u, p->leaves[i].name);
        int at = h->ninputs++;
        for (; at && stands_before(n, find_input(u, p->leaves[h->inputs[at - 1]].name)); at--)
            h->inputs[at] = h->inputs[at - 1];
        h->inputs[at] = i;
    }
}

void object_header_print(FILE *out, Arena *a, const Unit *u, const Plan *p, const char *name) {
    Header h = {.out = out, .arena = a, .plan = p, .functions.arena = a, .macros.arena = a};
    h.prefix = object_prefix(a, name);
    h.constants = object_constants(a, name);
    order_inputs(&h, u);
    h.count_of = NEW_ARRAY(a, const char *, p->nleaves + 1);
    const char *symbol = arena_printf(a, "tgf_model_%s", object_word(a, name));
    put_top(&h);
    fprintf(out, "#ifndef %s_h\n#define %s_h\n#include <tgf/tgf.h>\n\n", symbol, symbol);
    fprintf(
        out,
        "#if TGF_ABI != %d\n#error \"this header was made by tgfc %s for interface %d of <tgf/tgf.h>; the one that is "
        "included has another\"\n#endif\n\n",
        PLAN_INTERFACE, TGF_VERSION, PLAN_INTERFACE);
    put_constants(&h);
    put_functions(&h, symbol);
    fputs("#endif\n", out);
}
