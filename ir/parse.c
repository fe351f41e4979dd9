// SPDX-License-Identifier: Apache-2.0
// The IR's text read back. Recursive descent over one line at a time; types are taken as written (unit_verify checks
// them).
#include "ir/op.h"
#include "ir/parse_core.h"
#include "ir/recipe.h"
#include "ir/strategy.h"
#include "ir/text.h"

enum { DEPTH_MAX = 64 };

static const Axis *axis(Parser *s) {
    Str name = dotted(s);
    const Axis *a = unit_axis(s->u, name);
    if (!a) fail(s, "unknown axis '%s'", name);
    return a;
}
static Axes axis_list(Parser *s) {
    Axes list = {0};
    do
        if (!axes_push(&list, axis(s))) fail(s, "more than %d axes", RANK_MAX);
    while (accept(s, ','));
    return list;
}
static MeshSet mesh_axis(Parser *s, const Mesh *m) {
    Str name = word(s);
    int i = mesh_find(m, name);
    if (i < 0) fail(s, "unknown mesh axis '%s'", name);
    return 1u << i;
}
static MeshSet mesh_list(Parser *s, const Mesh *m) {
    MeshSet set = 0;
    do set |= mesh_axis(s, m);
    while (accept(s, ','));
    return set;
}
static DType dtype(Parser *s) {
    DType t;
    Str name = word(s);
    if (!dtype_parse(name, &t)) fail(s, "unknown element type '%s'", name);
    return t;
}

static Type type(Parser *s) {
    Type t = type_scalar(dtype(s));
    expect(s, '[');
    while (!accept(s, ']')) {
        if (t.rank) expect(s, ',');
        const Axis *a = axis(s);
        if (!type_push(&t, a)) fail(s, "more than %d axes", RANK_MAX);
        while (accept(s, '/')) t.dim[t.rank - 1].split |= mesh_axis(s, &s->u->mesh);
        expect(s, '=');
        if (integer(s) != a->extent) fail(s, "'%s' has another extent", a->name);
    }
    while (accept(s, '+')) {
        bool max = accept_word(s, "max");
        if (!max && !accept_word(s, "sum")) fail(s, "expected sum or max");
        expect(s, '(');
        *(max ? &t.max : &t.sum) |= mesh_list(s, &s->u->mesh);
        expect(s, ')');
    }
    return t;
}

static Str value_name(Parser *s) {
    expect(s, '%');
    const char *start = s->p;
    while (s->p < s->end && (word_char(*s->p) || *s->p == '.')) s->p++;
    if (s->p == start) fail(s, "expected a value's name");
    return str_intern_n(s->u->strs, start, (size_t)(s->p - start));
}
static Str hint_of(Parser *s, Str name) { // %hint.2 has the hint "hint", %7 has none
    const char *dot = strchr(name, '.');
    if (isdigit((unsigned char)*name)) return NULL;
    return dot ? str_intern_n(s->u->strs, name, (size_t)(dot - name)) : name;
}
static Value *use(Parser *s) {
    Str name = value_name(s);
    for (int i = s->scope.n - 1; i >= 0; i--)
        if (s->scope.at[i].name == name) return s->scope.at[i].value;
    fail(s, "unknown value '%%%s'", name);
}
static void define(Parser *s, Str name, Value *v) {
    for (int i = 0; i < s->scope.n; i++)
        if (s->scope.at[i].name == name) fail(s, "'%%%s' is defined twice", name);
    v->name = hint_of(s, name);
    vec_push(s->u->arena, &s->scope, ((Named){name, v}));
}

static void block(Parser *s, Block *b);

static void node(Parser *s, Block *b) {
    typedef struct Result {
        Str name;
        Type type;
    } Result;
    Vec(Result) results = {0};
    Vec(Value *) args = {0};
    Arena *a = s->u->arena;
    blanks(s);
    if (peek(s) == '%') {
        do {
            Result r = {.name = value_name(s)};
            expect(s, ':');
            r.type = type(s);
            vec_push(a, &results, r);
        } while (accept(s, ','));
        expect(s, '=');
    }
    OpKind op;
    Str name = word(s);
    if (!op_parse(name, &op)) fail(s, "unknown op '%s'", name);
    const OpInfo *info = op_info(op);
    blanks(s);
    if (peek(s) == '%') do
            vec_push(a, &args, use(s));
        while (accept(s, ','));
    Attr attr = {0};
    if (info->attrs & ATTR_AXES && accept_word(s, "over")) attr.axes = axis_list(s);
    if (info->attrs & ATTR_TO && accept_word(s, "to")) attr.to = axis_list(s);
    if (info->attrs & ATTR_I && accept_word(s, info->key_i)) attr.i = integer(s);
    if (info->attrs & ATTR_J && accept_word(s, info->key_j)) attr.j = integer(s);
    if (info->attrs & ATTR_F && accept_word(s, "value")) attr.f = number(s);
    if (info->attrs & ATTR_DTYPE) {
        if (!accept_word(s, "as")) fail(s, "expected 'as'");
        attr.dtype = dtype(s);
    }
    if (info->attrs & ATTR_MESH) {
        if (!accept_word(s, "on")) fail(s, "expected 'on'");
        attr.mesh = mesh_list(s, &s->u->mesh);
    }
    if (info->attrs & ATTR_FLAG && accept_word(s, info->key_flag)) attr.flag = true;
    if (info->attrs & ATTR_S) attr.s = string(s);
    blanks(s);
    if (info->attrs & ATTR_S2 && peek(s) == '"') attr.s2 = string(s);
    Str scope = accept_word(s, "in") ? string(s) : NULL;
    bool again = accept_word(s, "again");
    Loc loc = location(s);
    Node *n = node_new(b->func, op, args.at, args.n, results.n, &attr, loc);
    n->scope = scope;
    n->again = again;
    if (info->traits & TRAIT_BODY) {
        expect(s, '{');
        newline(s);
        if (++s->depth > DEPTH_MAX) fail(s, "bodies are nested too deeply");
        n->body = block_new(b->func, n);
        block(s, n->body);
        s->depth--;
        expect(s, '}');
    }
    node_append(b, n);
    for (int i = 0; i < results.n; i++) {
        n->results[i]->type = results.at[i].type;
        define(s, results.at[i].name, n->results[i]);
    }
    newline(s);
}

static void block(Parser *s, Block *b) {
    if (b->owner) {
        expect(s, '^');
        blanks(s);
        while (peek(s) == '%') {
            Str name = value_name(s);
            expect(s, ':');
            Type t = type(s);
            define(s, name, block_add_param(b, &t, NULL));
            if (!accept(s, ',')) break;
            blanks(s);
        }
        newline(s);
    }
    while (blanks(s), s->p < s->end && peek(s) != '}') {
        const char *before = s->p;
        if (!b->owner && (accept_word(s, "func") || accept_word(s, "pipeline"))) {
            s->p = before;
            return;
        }
        node(s, b);
    }
}

static void mesh_line(Parser *s, Mesh *m) {
    if (m->n == MESH_MAX) fail(s, "more than %d mesh axes", MESH_MAX);
    m->axis[m->n].name = word(s);
    expect(s, '=');
    m->axis[m->n].extent = integer(s);
    if (m->axis[m->n].extent < 1 || m->axis[m->n].extent > 1 << 20) fail(s, "bad mesh extent");
    m->n++;
}

static void recompute(Parser *s, Strategy *st) {
    if (accept_word(s, "recompute")) {
        Vec(Str) names = {0};
        if (accept_word(s, "block")) st->recompute = RECOMPUTE_BLOCK;
        else if (accept_word(s, "auto")) st->recompute = RECOMPUTE_AUTO;
        else {
            st->recompute = RECOMPUTE_NAMES;
            do vec_push(s->u->arena, &names, string(s));
            while (accept(s, ','));
        }
        st->recompute_names = names.at;
        st->nrecompute = names.n;
        st->recompute_loc = location(s);
        newline(s);
    }
    if (accept_word(s, "memory")) {
        st->memory = integer(s);
        if (st->memory < 1) fail(s, "a budget is a positive number of bytes");
        st->memory_loc = location(s);
        newline(s);
    }
}

enum { COUNT_MAX = 1 << 20 };

static void pipe(Parser *s, Strategy *st) {
    if (accept_word(s, "microbatches")) {
        st->microbatches = bounded(s, 1, COUNT_MAX);
        st->microbatches_loc = location(s);
        newline(s);
    }
    if (!accept_word(s, "pipe")) return;
    st->pipe_axis = axis(s);
    if (!accept_word(s, "on")) fail(s, "expected 'on'");
    st->pipe = __builtin_ctz(mesh_axis(s, &st->mesh));
    if (!accept_word(s, "schedule")) fail(s, "expected 'schedule'");
    if (accept_word(s, "file")) {
        st->schedule = PIPE_FILE;
        st->schedule_file = string(s);
    } else if (!schedule_find(word(s), &st->schedule)) {
        fail(s, "unknown schedule");
    }
    if (!accept_word(s, "chunks")) fail(s, "expected 'chunks'");
    st->chunks = (int)bounded(s, 0, COUNT_MAX);
    Vec(int64_t) stages = {0};
    if (accept_word(s, "stages")) do
            vec_push(s->u->arena, &stages, bounded(s, 1, COUNT_MAX));
        while (accept(s, ','));
    st->stages = stages.at;
    st->nstages = stages.n;
    st->pipe_loc = location(s);
    newline(s);
}

static void precision(Parser *s, Strategy *st) {
    if (!accept_word(s, "precision")) return;
    st->has_precision = true;
    st->compute = dtype(s);
    if (!accept_word(s, "master")) fail(s, "expected 'master'");
    st->master = dtype(s);
    if (!accept_word(s, "reduce")) fail(s, "expected 'reduce'");
    st->reduce = dtype(s);
    if (accept_word(s, "scale")) st->scale = bounded(s, 1, SCALE_MAX);
    if (accept_word(s, "dot")) {
        st->tf32 = accept_word(s, "tf32");
        if (!st->tf32) fail(s, "expected 'tf32'");
    }
    st->precision_loc = location(s);
    newline(s);
}

static void strategy(Parser *s) {
    Strategy *st = NEW(s->u->arena, Strategy);
    st->name = string(s);
    st->loc = location(s);
    newline(s);
    while (accept_word(s, "over")) {
        mesh_line(s, &st->mesh);
        newline(s);
    }
    Vec(Split) splits = {0};
    while (accept_word(s, "split")) {
        Split split = {.axis = axis(s)};
        if (!accept_word(s, "on")) fail(s, "expected 'on'");
        split.over = mesh_list(s, &st->mesh);
        split.between = accept_word(s, "between");
        if (accept_word(s, "attention"))
            split.attention = accept_word(s, "zigzag")  ? ATTENTION_ZIGZAG
                              : accept_word(s, "heads") ? ATTENTION_HEADS
                                                        : ATTENTION_RING;
        if (split.attention == ATTENTION_RING && !accept_word(s, "ring")) fail(s, "expected ring, zigzag or heads");
        split.counted = accept_word(s, "counted");
        split.loc = split.over_loc = location(s);
        vec_push(s->u->arena, &splits, split);
        newline(s);
    }
    st->splits = splits.at;
    st->nsplits = splits.n;
    if (accept_word(s, "shard")) {
        for (int i = SHARD_OPTIMIZER; i <= SHARD_PARAMETERS; i++)
            if (accept_word(s, shard_name((ShardLevel)i))) st->shard = (ShardLevel)i;
        if (!st->shard) fail(s, "expected 'optimizer', 'gradients' or 'parameters'");
        if (!accept_word(s, "on")) fail(s, "expected 'on'");
        st->shard_over = mesh_list(s, &st->mesh);
        st->shard_loc = location(s);
        newline(s);
    }
    if (accept_word(s, "offload")) {
        do {
            OffloadSet one = 0;
            for (OffloadSet bit = 1; bit < OFFLOAD_END; bit <<= 1)
                if (accept_word(s, offload_name(bit))) one = bit;
            if (!one || one <= st->offload) fail(s, "expected 'optimizer', 'activations'");
            st->offload |= one;
        } while (accept(s, ','));
        st->offload_loc = location(s);
        newline(s);
    }
    recompute(s, st);
    pipe(s, st);
    precision(s, st);
    s->u->strategy = st;
}

static void recipe(Parser *s) {
    Recipe *r = NEW(s->u->arena, Recipe);
    if (accept_word(s, "sgd")) r->optimizer = OPTIMIZER_SGD;
    else if (!accept_word(s, "adamw")) fail(s, "unknown optimizer");
    if (!accept_word(s, "schedule")) fail(s, "expected 'schedule'");
    if (accept_word(s, "linear")) r->schedule = SCHEDULE_LINEAR;
    else if (accept_word(s, "cosine")) r->schedule = SCHEDULE_COSINE;
    else if (!accept_word(s, "constant")) fail(s, "unknown schedule");
    const struct {
        const char *key;
        double *value;
        int64_t *count;
    } keys[] = {
        {"lr", &r->lr, NULL},       {"floor", &r->floor, NULL}, {"beta1", &r->beta1, NULL},
        {"beta2", &r->beta2, NULL}, {"eps", &r->eps, NULL},     {"momentum", &r->momentum, NULL},
        {"decay", &r->decay, NULL}, {"clip", &r->clip, NULL},   {"warmup", NULL, &r->warmup},
        {"steps", NULL, &r->steps}, {"batch", NULL, &r->batch}, {"seed", NULL, &r->seed},
    };
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        if (!accept_word(s, keys[i].key)) fail(s, "expected '%s'", keys[i].key);
        double v = number(s);
        if (keys[i].value) *keys[i].value = v;
        else if (v >= -9e15 && v <= 9e15) *keys[i].count = (int64_t)v;
        else fail(s, "'%s' is out of range", keys[i].key);
    }
    Vec(Str) none = {0};
    while (accept_word(s, "no_decay")) vec_push(s->u->arena, &none, string(s));
    r->no_decay = none.at;
    r->nno_decay = none.n;
    if (accept_word(s, "data")) r->data = string(s);
    if (accept_word(s, "validation")) r->validation = string(s);
    r->loc = location(s);
    s->u->recipe = r;
    newline(s);
}

static void unit(Parser *s) {
    if (!accept_word(s, "unit")) fail(s, "expected 'unit'");
    s->u->name = string(s);
    newline(s);
    if (accept_word(s, "passed")) {
        s->u->passed = word(s);
        newline(s);
    }
    while (accept_word(s, "mesh")) {
        mesh_line(s, &s->u->mesh);
        MeshSet bit = (MeshSet)1 << (s->u->mesh.n - 1);
        if (accept_word(s, "time")) s->u->mesh.time |= bit;
        if (accept_word(s, "stages")) s->u->mesh.stages |= bit;
        newline(s);
    }
    while (accept_word(s, "axis")) {
        Str name = dotted(s);
        if (unit_axis(s->u, name)) fail(s, "axis '%s' is declared twice", name);
        expect(s, '=');
        int64_t extent = integer(s);
        if (extent < 1) fail(s, "an axis has at least one place");
        const Axis *whole = accept_word(s, "of") ? axis(s) : NULL;
        unit_add_axis(s->u, name, extent, location(s))->whole = whole;
        newline(s);
    }
    if (accept_word(s, "strategy")) strategy(s);
    if (accept_word(s, "recipe")) recipe(s);
    while (accept_word(s, "func")) {
        Str name = dotted(s);
        if (unit_func(s->u, name)) fail(s, "func '%s' is defined twice", name);
        newline(s);
        s->scope.n = 0;
        block(s, unit_add_func(s->u, name)->top);
    }
    if (accept_word(s, "pipeline")) pipeline_parse(s);
    if (s->p < s->end) fail(s, "expected 'func'");
}

Unit *unit_parse(Arena *arena, Arena *scratch, StrTable *strs, Diag *diag, Str file, const char *text, size_t size) {
    Unit *u = unit_new(arena, scratch, strs, diag, NULL);
    diag_source(diag, file, text, size);
    jmp_buf jump;
    Parser s = {.u = u, .file = file, .p = text, .end = text + size, .line_start = text, .line = 1, .fail = &jump};
    if (setjmp(jump)) return NULL;
    if (memchr(text, 0, size)) fail(&s, "a NUL byte in the text");
    blanks(&s);
    unit(&s);
    return u;
}
