// SPDX-License-Identifier: Apache-2.0
// Same numbers on every layout, in the IR: whole training functions (tests/ir/layout/*.tgi, differentiated, with their
// optimizer) are sharded over hand-picked and over random meshes and splits, extents the mesh does not divide included,
// and run by the interpreter on all ranks; outputs, gradients, updated parameters and states must equal one rank's.
// Padding that is not zero is poisoned. Then how many collectives the classic layouts get, and where.
#include "ir/eval.h"
#include "ir/op.h"
#include "ir/strategy.h"
#include "ir/text.h"
#include "ir/verify.h"
#include "passes/pass.h"
#include <math.h>
#include <stdlib.h>

typedef struct World { // one unit with its memory
    Arena *arena, *scratch;
    StrTable *strs;
    Diag *diag;
    Unit *u;
    char *said;
    size_t said_size;
    FILE *out;
} World;

static int failures;
static void fail(const char *what, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void fail(const char *what, const char *format, ...) {
    va_list ap;
    va_start(ap, format);
    fprintf(stderr, "FAIL %s: ", what);
    vfprintf(stderr, format, ap);
    fputc('\n', stderr);
    va_end(ap);
    failures++;
}

static char *read_file(const char *path, size_t *out_size) {
    FILE *f = fopen(path, "rb");
    if (!f) return NULL;
    char *text = NULL;
    FILE *copy = open_memstream(&text, out_size);
    for (int ch; (ch = fgetc(f)) != EOF;) fputc(ch, copy);
    fclose(copy);
    fclose(f);
    return text;
}

static void world_new(World *w, const char *path, const char *text, size_t size) {
    *w = (World){.arena = arena_new(), .scratch = arena_new()};
    w->strs = strtable_new(w->arena);
    w->out = open_memstream(&w->said, &w->said_size);
    w->diag = diag_new(w->arena, w->out, false);
    w->u = unit_parse(w->arena, w->scratch, w->strs, w->diag, str_intern(w->strs, path), text, size);
}

static void world_free(World *w) {
    fclose(w->out);
    free(w->said);
    arena_free(w->scratch);
    arena_free(w->arena);
}

static const char *world_said(World *w) {
    fflush(w->out);
    return w->said ? w->said : "";
}

typedef struct Layout {
    const char *mesh;   // "data=2 tensor=4 microbatch=3": the last is none of the mesh, but the number of microbatches
    const char *splits; // "batch:data head:tensor seq:~tensor zero3:data layer:|pipe", ~: between blocks; zero3 for
                        // `shard parameters over data`; |: in stages; @: attention = ring, ^:
                        // zigzag, *: heads; #: exchange = counted; recompute:block
} Layout;

static void set_strategy(World *w, const Layout *l) {
    Strategy *s = NEW(w->arena, Strategy);
    s->name = str_intern(w->strs, "test");
    s->splits = NEW_ARRAY(w->arena, Split, 64);
    char name[64];
    int used;
    long extent;
    for (const char *p = l->mesh; sscanf(p, " %63[^=]=%ld%n", name, &extent, &used) == 2; p += used) {
        if (!strcmp(name, "microbatch")) {
            s->microbatches = extent;
            continue;
        }
        s->mesh.axis[s->mesh.n].name = str_intern(w->strs, name);
        s->mesh.axis[s->mesh.n++].extent = extent;
    }
    char over[64];
    for (const char *p = l->splits; sscanf(p, " %63[^:]:%63s%n", name, over, &used) == 2; p += used) {
        const Axis *axis = unit_axis(w->u, str_intern(w->strs, name));
        bool between = *over == '~', stages = *over == '|', ring = *over && strchr("@^*", *over),
             counted = *over == '#';
        int m = mesh_find(&s->mesh, str_intern(w->strs, over + (between || stages || ring || counted)));
        if (stages && m >= 0) {
            s->pipe_axis = axis;
            s->pipe = m;
        }
        if (!strcmp(name, "recompute")) {
            s->recompute = strcmp(over, "block") ? RECOMPUTE_NAMES : RECOMPUTE_BLOCK;
            s->recompute_names = NEW(w->arena, Str);
            s->recompute_names[0] = str_intern(w->strs, over);
            s->nrecompute = s->recompute == RECOMPUTE_NAMES;
            continue;
        }
        if (!strncmp(name, "zero", 4) && m >= 0) {
            s->shard = (ShardLevel)atoi(name + 4);
            s->shard_over |= 1u << m;
        }
        for (int i = 0; i < s->nsplits && between && m >= 0; i++) // the frontend refuses these
            if (s->splits[i].axis == axis || (s->splits[i].between && s->splits[i].over >> m & 1)) m = -1;
        for (int i = 0; i < s->nsplits; i++)
            if (s->splits[i].axis == axis && s->splits[i].between) m = -1;
        if (axis == s->pipe_axis && !stages) m = -1;
        if (between && (s->microbatches > 1 || s->pipe_axis) && !strcmp(name, "batch")) m = -1;
        if (axis && m >= 0)
            s->splits[s->nsplits++] = (Split){.axis = axis, .over = 1u << m, .between = between, .counted = counted};
        const Axis *key = unit_axis(w->u, str_intern(w->strs, "key"));
        if (!axis || m < 0 || !ring || strcmp(name, "seq") || !key) continue; // as the frontend does
        s->splits[s->nsplits - 1].attention = *over == '@'   ? ATTENTION_RING
                                              : *over == '^' ? ATTENTION_ZIGZAG
                                                             : ATTENTION_HEADS;
        s->splits[s->nsplits] = s->splits[s->nsplits - 1];
        s->splits[s->nsplits++].axis = key;
    }
    w->u->strategy = s;
}

typedef struct Step {
    const char *label;
    bool (*run)(Unit *u);
} Step;

static bool run_steps(World *w, const Step *steps, int n) {
    for (int i = 0; i < n; i++) {
        if (!steps[i].run(w->u) || !unit_verify(w->u, steps[i].label)) return false;
        arena_reset(w->scratch);
    }
    return true;
}

static const Step whole[] = {{"autodiff", pass_autodiff}, {"optimizer", pass_optimizer}, {"tidy", pass_simplify}};
static const Step sharded[] = {{"shard", pass_shard}, {"resolve", pass_resolve}, {"clean", pass_simplify}};
#define RUN(w, steps) run_steps(w, steps, (int)(sizeof(steps) / sizeof *(steps)))

static uint64_t noise_state;
static double noise(void) { // uniform in [-1, 1)
    noise_state = noise_state * 6364136223846793005u + 1442695040888963407u;
    return (double)(noise_state >> 11) * 0x1p-52 - 1;
}

static bool set_leaves(Eval *e, const Func *f, Arena *arena) {
    for (const Node *n = f->top->first; n; n = n->next) {
        if (n->op != OP_param && n->op != OP_state && n->op != OP_input) continue;
        int64_t count;
        type_elements(&n->results[0]->type, &count);
        double *v = NEW_ARRAY(arena, double, count), least = (double)n->attr.j,
               limit = n->attr.i ? (double)n->attr.i : 3;
        noise_state = 7;
        for (const char *p = n->attr.s; *p; p++) noise_state = noise_state * 31 + (unsigned char)*p;
        for (int i = 0; i < 4; i++) noise();
        for (int64_t i = 0; i < count; i++) {
            v[i] = noise();
            if (n->results[0]->type.dtype == DT_I32) v[i] = floor(least + (v[i] + 1) / 2 * (limit - least));
            else if (!strncmp(n->attr.s, "adam.v", 6)) v[i] = fabs(v[i]);
        }
        if (!eval_set(e, n->attr.s, v, count)) return false;
    }
    return true;
}

static Eval *evaluate(World *w, const char *func) {
    Eval *e = eval_new(w->u, w->arena);
    eval_poison(e, true);
    return set_leaves(e, unit_func(w->u, func), w->arena) && eval_run(e, func) ? e : NULL;
}

static void compare(const char *what, World *one, Eval *a, Eval *b, const char *name, const char *dump) {
    const Type *t = eval_type(a, name);
    int64_t count;
    type_elements(t, &count);
    double *x = NEW_ARRAY(one->arena, double, count), *y = NEW_ARRAY(one->arena, double, count), scale = 1e-3;
    if (!eval_get(a, name, x, count) || !eval_get(b, name, y, count)) {
        fail(what, "no %s", name);
        return;
    }
    for (int64_t i = 0; i < count; i++) scale = fmax(scale, fabs(x[i]));
    for (int64_t i = 0; i < count; i++)
        if (!(fabs(x[i] - y[i]) <= 1e-9 * scale)) {
            fail(what, "%s[%lld] is %.12g on the mesh, %.12g on one rank", name, (long long)i, y[i], x[i]);
            if (dump) fprintf(stderr, "%s\n", dump);
            return;
        }
}

static bool world_start(World *w, const char *path, const char *text, size_t size, const char *what, const Layout *l) {
    world_new(w, path, text, size);
    if (w->u && l) set_strategy(w, l);
    if (w->u) w->u->keep_gradients = true;
    if (w->u && RUN(w, whole)) return true;
    fail(what, "%s", world_said(w));
    return false;
}

// False when the layout is refused with a located error, which is fine for random ones.
static bool check_layout(const char *path, const char *text, size_t size, const Layout *l, bool must) {
    char what[400];
    snprintf(what, sizeof what, "%s, mesh %s, split %s", path, l->mesh, l->splits);
    World one, many;
    bool legal = true;
    if (!world_start(&one, path, text, size, what, NULL) || !world_start(&many, path, text, size, what, l))
        return false;
    Eval *a = evaluate(&one, "train"), *b = NULL;
    char *dump = NULL;
    size_t dump_size;
    if (!a) fail(what, "one rank does not run: %s", world_said(&one));
    if (!RUN(&many, sharded)) {
        legal = false;
        if (must || diag_had_internal(many.diag) ||
            (!strstr(world_said(&many), "are both split over") && !strstr(world_said(&many), "needs the whole batch")))
            fail(what, "%s", world_said(&many));
    } else if (!(b = evaluate(&many, "train"))) {
        fail(what, "%s", world_said(&many));
    }
    if (getenv("TGF_DUMP") && legal) {
        FILE *f = open_memstream(&dump, &dump_size);
        unit_print(many.u, f);
        fclose(f);
    }
    const Func *f = unit_func(one.u, "train");
    int before = failures;
    for (const Node *n = f->top->first; n && a && b && failures < before + 3; n = n->next) {
        if (n->op == OP_output) compare(what, &one, a, b, n->attr.s, dump);
        if (n->op == OP_assign) compare(what, &one, a, b, n->args[0]->def->attr.s, dump);
    }
    free(dump);
    world_free(&one);
    world_free(&many);
    return legal;
}

static uint64_t choices = 1;
static int choose(int n) {
    choices = choices * 6364136223846793005u + 1442695040888963407u;
    return (int)((choices >> 33) % (uint64_t)n);
}

// A random mesh of at most 8 ranks and up to four split axes, two mesh axes on one axis included.
static int check_random(const char *path, const char *text, size_t size, int count) {
    static const char *const meshes[] = {"a=2", "a=3",         "a=2 b=2", "a=2 b=3", "a=4",
                                         "a=5", "a=2 b=2 c=2", "a=4 b=2", "a=1 b=2", "a=8"};
    int legal = 0;
    World w;
    world_new(&w, path, text, size);
    for (int i = 0; i < count && failures < 3; i++) {
        const char *mesh = meshes[choose(10)];
        int n = (int)(strlen(mesh) + 1) / 4;
        char splits[300] = "", all[100];
        bool stages = !choose(3);
        snprintf(all, sizeof all, "%s%s", mesh, !stages ? "" : choose(2) ? " pipe=2" : " pipe=3");
        if (stages) strcpy(splits, "layer:|pipe ");
        for (int k = 1 + choose(4); k > 0; k--) {
            const char *axis = w.u->axes.at[choose(w.u->axes.n)]->name;
            const char *how = !strcmp(axis, "seq") ? (const char *[]){"", "@", "^", "*", "~"}[choose(5)]
                                                   : (const char *[]){"", "#", "~"}[choose(3)];
            snprintf(splits + strlen(splits), sizeof splits - strlen(splits), "%s:%s%c ", axis, how, "abc"[choose(n)]);
        }
        int level = 1 + choose(6);
        for (int m = 0; m < n && level <= 3; m++)
            if (choose(2))
                snprintf(splits + strlen(splits), sizeof splits - strlen(splits), "zero%d:%c ", level, "abc"[m]);
        if (!choose(4)) strcat(splits, choose(2) ? "recompute:block " : "recompute:attend ");
        if (!choose(3))
            snprintf(all + strlen(all), sizeof all - strlen(all), " microbatch=%d",
                     2 + choose(strlen(mesh) > 7 ? 1 : 3));
        legal += check_layout(path, text, size, &(Layout){all, splits}, false);
    }
    world_free(&w);
    return legal;
}

// ---- how many collectives, and where ----

typedef struct Count {
    int top, forward, backward, others; // all_reduces at the top, in the first and the second repeat; other collectives
} Count;

static int count_in(const Block *b, int *others) {
    int n = 0;
    for (const Node *x = b->first; x; x = x->next) {
        n += x->op == OP_all_reduce;
        *others += x->op != OP_all_reduce && op_info(x->op)->traits & TRAIT_COMM;
    }
    return n;
}

static void check_count(const char *path, const char *text, size_t size, const Layout *l, Count want) {
    World w;
    if (!world_start(&w, path, text, size, path, l)) return;
    if (!RUN(&w, sharded)) {
        fail(path, "%s", world_said(&w));
        return;
    }
    Count got = {0};
    const Block *top = unit_func(w.u, "train")->top;
    got.top = count_in(top, &got.others);
    int repeats = 0;
    for (const Node *n = top->first; n; n = n->next)
        if (n->op == OP_repeat) *(repeats++ ? &got.backward : &got.forward) += count_in(n->body, &got.others);
    if (memcmp(&got, &want, sizeof got)) {
        fail(path, "%s %s: %d all_reduces at the top, %d forward, %d backward, %d others; expected %d, %d, %d, %d",
             l->mesh, l->splits, got.top, got.forward, got.backward, got.others, want.top, want.forward, want.backward,
             want.others);
        if (getenv("TGF_DUMP")) func_print(unit_func(w.u, "train"), stderr);
    }
    world_free(&w);
}

// Megatron's sequence parallelism: each all_reduce of a layer becomes a reduce_scatter and an all_gather, and the
// backward half gathers the inputs of the two column-parallel products once more for their weights' gradients.
typedef struct Pairs {
    int reduces, gathers, scatters;
} Pairs;

static Pairs pairs_in(const Block *b) {
    Pairs p = {0};
    for (const Node *n = b->first; n; n = n->next) {
        p.reduces += n->op == OP_all_reduce;
        p.gathers += n->op == OP_all_gather;
        p.scatters += n->op == OP_reduce_scatter;
    }
    return p;
}

static void check_pairs(const char *path, const char *text, size_t size, const Layout *l, const Pairs want[3]) {
    static const char *const places[] = {"at the top", "forward", "backward"};
    World w;
    if (!world_start(&w, path, text, size, path, l)) return;
    if (!RUN(&w, sharded)) {
        fail(path, "%s", world_said(&w));
        return;
    }
    const Block *top = unit_func(w.u, "train")->top;
    Pairs got[3] = {pairs_in(top)};
    int repeats = 0;
    for (const Node *n = top->first; n; n = n->next)
        if (n->op == OP_repeat && repeats < 2) got[++repeats] = pairs_in(n->body);
    for (int i = 0; i < 3; i++)
        if (memcmp(&got[i], &want[i], sizeof *want))
            fail(path, "%s %s: %s %d all_reduces, %d all_gathers, %d reduce_scatters; expected %d, %d, %d", l->mesh,
                 l->splits, places[i], got[i].reduces, got[i].gathers, got[i].scatters, want[i].reduces,
                 want[i].gathers, want[i].scatters);
    if (getenv("TGF_DUMP")) func_print(unit_func(w.u, "train"), stderr);
    world_free(&w);
}

// A sum over microbatches comes before what is scattered once a step; with sharded gradients behind the scatter, which
// each microbatch does.
static void check_scatters(const char *path, const char *text, size_t size, const Layout *l, bool each) {
    World w;
    if (!world_start(&w, path, text, size, path, l)) return;
    if (!RUN(&w, sharded)) {
        fail(path, "%s", world_said(&w));
        return;
    }
    int scatters = 0, inside = 0;
    for (const Node *n = unit_func(w.u, "train")->top->first; n; n = n->next) {
        if (n->body) inside += pairs_in(n->body).scatters;
        if (n->op != OP_reduce_scatter) continue;
        scatters++;
        if (!!(n->args[0]->type.sum & w.u->mesh.time) != each)
            fail(path, "%s %s: %s is %sa sum over microbatches", l->mesh, l->splits, n->args[0]->name,
                 each ? "no longer " : "still ");
    }
    if (!scatters || !inside == each) fail(path, "%s %s: %d scatters, %d inside", l->mesh, l->splits, scatters, inside);
    world_free(&w);
}

int main(int argc, char **argv) {
    static const char *const paths[] = {"tests/ir/layout/gpt.tgi", "tests/ir/layout/gqa.tgi",
                                        "tests/ir/layout/moe.tgi"};
    static const Layout layouts[] = {
        {"microbatch=5", ""},
        {"microbatch=2", ""},
        {"data=2 microbatch=2", "batch:data"},
        {"data=2 microbatch=2", "batch:data zero1:data"},
        {"data=2 microbatch=3", "batch:data zero2:data"},
        {"data=2 microbatch=2", "batch:data zero3:data"},
        {"data=2 tensor=2 microbatch=2", "batch:data head:tensor hidden:tensor vocab:tensor seq:~tensor zero3:data"},
        {"pipe=2", "layer:|pipe"},
        {"pipe=3", "layer:|pipe"},
        {"pipe=2 tensor=2 microbatch=3", "layer:|pipe head:tensor hidden:tensor vocab:tensor"},
        {"data=2 pipe=2 tensor=2 microbatch=2",
         "batch:data layer:|pipe head:tensor hidden:tensor vocab:tensor seq:~tensor zero1:data"},
        {"data=2 pipe=2 microbatch=2", "batch:data layer:|pipe zero3:data"},
        {"data=2 pipe=2 microbatch=2", "batch:data layer:|pipe zero2:data recompute:block"},
        {"pipe=3 tensor=2 microbatch=2", "layer:|pipe head:tensor hidden:tensor vocab:tensor recompute:dot"},
        {"data=2", "batch:data zero1:data"},
        {"data=5", "batch:data zero2:data"}, // nothing is even
        {"data=4", "batch:data zero3:data"},
        {"data=2 tensor=3", "batch:data head:tensor hidden:tensor vocab:tensor zero1:data"},
        {"data=2 tensor=2", "batch:data head:tensor hidden:tensor vocab:tensor zero2:data"},
        {"data=3 tensor=2", "batch:data head:tensor hidden:tensor vocab:tensor zero3:data"},
        {"node=2 data=2", "batch:data batch:node zero3:data"},                 // hybrid
        {"data=2 tensor=2", "batch:data head:tensor zero3:data zero3:tensor"}, // over an axis that splits some by name
        {"data=2", "batch:data"},
        {"data=8", "batch:data"},
        {"tensor=2", "head:tensor hidden:tensor vocab:tensor kv:tensor"},
        {"tensor=4", "head:tensor hidden:tensor vocab:tensor"},
        {"tensor=2", "head:tensor hidden:tensor vocab:tensor kv:tensor seq:~tensor"},
        {"data=2 tensor=3", "batch:data head:tensor hidden:tensor vocab:tensor kv:tensor seq:~tensor"},
        {"data=2 tensor=2", "batch:data head:tensor hidden:tensor vocab:tensor seq:~tensor zero3:data"},
        {"tensor=2", "hidden:tensor seq:~tensor"},
        {"tensor=2", "seq:~tensor"},
        {"data=2 tensor=3", "batch:data head:tensor hidden:tensor vocab:tensor"},
        {"data=2 tensor=2", "batch:data kv:tensor head:tensor hidden:tensor vocab:tensor"},
        {"tensor=2", "vocab:tensor"},
        {"seq=2", "seq:seq"},
        {"seq=2", "seq:@seq"},
        {"seq=3", "seq:@seq"},
        {"seq=2", "seq:^seq"},
        {"seq=3", "seq:^seq"},
        {"seq=2", "seq:*seq"},
        {"seq=5", "seq:*seq"},
        {"tensor=3 seq=2", "seq:*seq head:tensor kv:tensor hidden:tensor vocab:tensor"},
        {"seq=5", "seq:^seq"}, // a rank has no place of its own
        {"data=2 seq=2 tensor=2", "batch:data seq:^seq head:tensor kv:tensor hidden:tensor vocab:tensor zero3:data"},
        {"width=4", "width:width"},
        {"a=2 b=2", "vocab:a vocab:b hidden:b hidden:a"},
        {"tensor=2", "layer:tensor qkv:tensor"},
        {"tensor=2", "dim:tensor half:tensor key:tensor"},
        {"experts=3", "expert:experts"},
        {"data=2 experts=2", "batch:data expert:experts"},
        {"experts=2 tensor=2", "expert:experts kvhead:tensor hidden:tensor vocab:tensor choice:tensor"},
        {"a=2 b=2", "slot:a expert:b"},
        {"data=2", "batch:data expert:data"}, // tokens travel; nothing is even
        {"data=3", "batch:data expert:data"},
        {"data=8", "batch:data expert:data"}, // more ranks than places of either
        {"node=2 data=2", "batch:node batch:data expert:data"},
        {"node=2 data=2", "batch:node batch:data expert:node"},
        {"node=2 data=2", "batch:node batch:data expert:node expert:data"},
        {"data=2 tensor=2", "batch:data expert:data kvhead:tensor hidden:tensor vocab:tensor"},
        {"data=2 tensor=2", "batch:data expert:data expert:tensor"},
        {"data=3", "batch:data expert:data zero3:data"},
        {"data=2", "batch:data expert:#data"},
        {"data=3 tensor=2", "batch:data expert:#data hidden:tensor seq:tensor"},
        {"node=2 data=2", "batch:node batch:data expert:node expert:#data"},
        {"data=2", "seq:#data expert:data"},
        {"data=2", "seq:data expert:data"},
        {"data=2", "batch:data expert:data slot:data"},
        {"data=2", "batch:data head:data kvhead:data hidden:data"},
        {"a=2 b=3", "choice:a seq:b"},
    };
    static const struct {
        int model;
        Layout layout;
        Count count;
    } counts[] = {
        {0, {"tensor=3", "head:tensor hidden:tensor vocab:tensor"}, {.top = 6, .forward = 2, .backward = 2}},
        // the seventh: the gradient of the table every layer shares, carried pending
        {1, {"tensor=2", "kv:tensor head:tensor hidden:tensor vocab:tensor"}, {.top = 7, .forward = 2, .backward = 2}},
        {0, {"data=5", "batch:data"}, {.top = 16}}, // 14 parameters, loss, number of labels
        {0,
         {"data=5 tensor=3", "batch:data head:tensor hidden:tensor vocab:tensor"},
         {.top = 22, .forward = 2, .backward = 2}},
        {0, {"seq=2", "seq:seq"}, {.top = 16, .others = 6}},
        // the norm; the gathered one is the gates' gradient
        {2, {"experts=3", "expert:experts"}, {.top = 1, .forward = 1, .backward = 1, .others = 1}},
    };
    // At the top, all_reduces: maximum, sum of exponentials and picked logit, norm, and one for each parameter that is
    // used on split values. Embedding and head: a pair each; the embedding's gradient and wpe's are gathered.
    static const struct {
        int model;
        Layout layout;
        Pairs pairs[3];
    } pairs[] = {
        {0, {"tensor=2", "head:tensor hidden:tensor vocab:tensor seq:~tensor"}, {{10, 3, 2}, {0, 2, 2}, {0, 4, 2}}},
        {1,
         {"tensor=2", "kv:tensor head:tensor hidden:tensor vocab:tensor seq:~tensor"},
         {{6, 2, 2}, {0, 2, 2}, {0, 4, 2}}},
    };
    int random = argc > 1 ? atoi(argv[1]) : 100;
    if (argc > 2) choices = (uint64_t)atoll(argv[2]);
    for (int p = 0; p < 3; p++) {
        size_t size;
        char *text = read_file(paths[p], &size);
        if (!text) {
            fail(paths[p], "cannot be read: run from the source folder");
            continue;
        }
        for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++)
            check_layout(paths[p], text, size, &layouts[i], i < 44);
        printf("%s: %d of %d random layouts are legal\n", paths[p], check_random(paths[p], text, size, random), random);
        for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
            if (counts[i].model == p) check_count(paths[p], text, size, &counts[i].layout, counts[i].count);
        for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
            if (pairs[i].model == p) check_pairs(paths[p], text, size, &pairs[i].layout, pairs[i].pairs);
        check_scatters(paths[p], text, size, &(Layout){"data=2 microbatch=2", "batch:data zero1:data"}, false);
        check_scatters(paths[p], text, size, &(Layout){"data=2 microbatch=2", "batch:data zero2:data"}, true);
        free(text);
    }
    printf("%d failures\n", failures);
    return failures != 0;
}
