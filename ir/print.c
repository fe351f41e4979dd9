// SPDX-License-Identifier: Apache-2.0
// The IR as text. Value names: %hint the first time a hint occurs in a function, %hint.2 the second time; %0, %1 ...
// without a hint.
#include "ir/op.h"
#include "ir/recipe.h"
#include "ir/strategy.h"
#include "ir/text.h"
#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

typedef struct Printer {
    FILE *out;
    bool locations;
    const Unit *u;
    Arena *arena;       // its own, freed at the end
    const char **names; // by value id
    Vec(struct {
        const char *hint;
        int count;
    }) hints;
    int unnamed;
} Printer;

static int hint_count(Printer *p, const char *hint) {
    for (int i = 0; i < p->hints.n; i++)
        if (!strcmp(p->hints.at[i].hint, hint)) return ++p->hints.at[i].count;
    vec_reserve(p->arena, &p->hints, p->hints.n + 1);
    p->hints.at[p->hints.n].hint = hint;
    p->hints.at[p->hints.n++].count = 1;
    return 1;
}

static void name_value(Printer *p, const Value *v) {
    if (!v->name || !*v->name) {
        p->names[v->id] = arena_printf(p->arena, "%%%d", p->unnamed++);
        return;
    }
    char *hint = arena_printf(p->arena, "%s%s", isdigit((unsigned char)*v->name) ? "_" : "", v->name);
    for (char *c = hint; *c; c++)
        if (!isalnum((unsigned char)*c)) *c = '_';
    int count = hint_count(p, hint);
    p->names[v->id] =
        count == 1 ? arena_printf(p->arena, "%%%s", hint) : arena_printf(p->arena, "%%%s.%d", hint, count);
}

static const char *name_of(Printer *p, const Value *v) {
    if (!p->names[v->id]) name_value(p, v);
    return p->names[v->id];
}

static void print_mesh_set(FILE *out, const Mesh *m, MeshSet set, const char *separator) {
    const char *between = "";
    for (int i = 0; i < m->n; i++)
        if (set >> i & 1) {
            fprintf(out, "%s%s", between, m->axis[i].name);
            between = separator;
        }
}

static void print_type(FILE *out, const Type *t, const Mesh *m) {
    fprintf(out, "%s[", dtype_name(t->dtype));
    for (int i = 0; i < t->rank; i++) {
        fprintf(out, "%s%s", i ? ", " : "", t->dim[i].axis->name);
        if (t->dim[i].split) {
            fputc('/', out);
            print_mesh_set(out, m, t->dim[i].split, "/");
        }
        fprintf(out, "=%" PRId64, t->dim[i].axis->extent);
    }
    fputc(']', out);
    for (int max = 0; max < 2; max++)
        if (max ? t->max : t->sum) {
            fputs(max ? " +max(" : " +sum(", out);
            print_mesh_set(out, m, max ? t->max : t->sum, ", ");
            fputc(')', out);
        }
}

static void print_string(FILE *out, const char *s) {
    fputc('"', out);
    for (; *s; s++) {
        if (*s == '"' || *s == '\\') fputc('\\', out);
        if ((unsigned char)*s < ' ') fprintf(out, "\\x%02x", (unsigned char)*s);
        else fputc(*s, out);
    }
    fputc('"', out);
}

void string_print(const char *s, FILE *out) { print_string(out, s); }

static void print_double(FILE *out, double f) {
    char text[40];
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, f);
        if (strtod(text, NULL) == f) break;
    }
    fputs(text, out);
}

static void print_axes(FILE *out, const char *keyword, const Axes *axes) {
    for (int i = 0; i < axes->n; i++) fprintf(out, "%s%s", i ? ", " : keyword, axes->at[i]->name);
}

// @file:line:column, the file in quotes when it is not one plain word.
static void print_loc(FILE *out, Loc at, bool locations) {
    if (!at.file || !locations) return;
    fputs(" @", out);
    bool plain = *at.file;
    for (const char *c = at.file; *c; c++) plain &= (unsigned char)*c > ' ' && *c != '"';
    if (plain) fputs(at.file, out);
    else print_string(out, at.file);
    fprintf(out, ":%d:%d", at.line, at.col);
}

static void print_block(Printer *p, const Block *b, int depth);

static void print_node(Printer *p, const Node *n, int depth) {
    const OpInfo *info = op_info(n->op);
    FILE *out = p->out;
    const Attr *a = &n->attr;
    fprintf(out, "%*s", depth * 4, "");
    for (int i = 0; i < n->nresults; i++) {
        fprintf(out, "%s%s: ", i ? ", " : "", name_of(p, n->results[i]));
        print_type(out, &n->results[i]->type, &p->u->mesh);
    }
    fprintf(out, "%s%s", n->nresults ? " = " : "", info->name);
    for (int i = 0; i < n->nargs; i++) fprintf(out, "%s%s", i ? ", " : " ", name_of(p, n->args[i]));
    if (info->attrs & ATTR_AXES) print_axes(out, " over ", &a->axes);
    if (info->attrs & ATTR_TO) print_axes(out, " to ", &a->to);
    if (info->attrs & ATTR_I && a->i) fprintf(out, " %s %" PRId64, info->key_i, a->i);
    if (info->attrs & ATTR_J && a->j) fprintf(out, " %s %" PRId64, info->key_j, a->j);
    if (info->attrs & ATTR_F && a->f != 0) {
        fputs(" value ", out);
        print_double(out, a->f);
    } else if (info->attrs & ATTR_F && __builtin_signbit(a->f)) {
        fputs(" value -0", out);
    }
    if (info->attrs & ATTR_DTYPE) fprintf(out, " as %s", dtype_name(a->dtype));
    if (info->attrs & ATTR_MESH) {
        fputs(" on ", out);
        print_mesh_set(out, &p->u->mesh, a->mesh, ", ");
    }
    if (info->attrs & ATTR_FLAG && a->flag) fprintf(out, " %s", info->key_flag);
    if (info->attrs & ATTR_S) {
        fputc(' ', out);
        print_string(out, a->s ? a->s : "");
    }
    if (info->attrs & ATTR_S2 && a->s2) {
        fputc(' ', out);
        print_string(out, a->s2);
    }
    if (n->scope) {
        fputs(" in ", out);
        print_string(out, n->scope);
    }
    if (n->again) fputs(" again", out);
    print_loc(out, n->loc, p->locations);
    if (n->body) {
        fputs(" {\n", out);
        print_block(p, n->body, depth + 1);
        fprintf(out, "%*s}", depth * 4, "");
    }
    fputc('\n', out);
}

static void print_block(Printer *p, const Block *b, int depth) {
    if (b->owner) {
        fprintf(p->out, "%*s^", depth * 4, "");
        for (int i = 0; i < b->nparams; i++) {
            fprintf(p->out, "%s%s: ", i ? ", " : " ", name_of(p, b->params[i]));
            print_type(p->out, &b->params[i]->type, &p->u->mesh);
        }
        fputc('\n', p->out);
    }
    for (const Node *n = b->first; n; n = n->next) print_node(p, n, depth);
}

static Printer printer_new(const Func *f, FILE *out, bool locations) {
    Printer p = {.out = out, .locations = locations, .u = f->unit, .arena = arena_new()};
    p.names = NEW_ARRAY(p.arena, const char *, f->next_id);
    return p;
}

static void print_func(const Func *f, FILE *out, bool locations) {
    Printer p = printer_new(f, out, locations);
    fprintf(out, "func %s\n", f->name);
    print_block(&p, f->top, 1);
    arena_free(p.arena);
}

void func_print(const Func *f, FILE *out) { print_func(f, out, true); }

static void print_recipe(const Recipe *r, FILE *out, bool locations) {
    static const char *const optimizers[] = {"adamw", "sgd"}, *const schedules[] = {"constant", "linear", "cosine"};
    fprintf(out, "recipe %s schedule %s", optimizers[r->optimizer], schedules[r->schedule]);
    const struct {
        const char *key;
        double value;
    } numbers[] = {
        {"lr", r->lr},
        {"floor", r->floor},
        {"beta1", r->beta1},
        {"beta2", r->beta2},
        {"eps", r->eps},
        {"momentum", r->momentum},
        {"decay", r->decay},
        {"clip", r->clip},
        {"warmup", (double)r->warmup},
        {"steps", (double)r->steps},
        {"batch", (double)r->batch},
        {"seed", (double)r->seed},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        fprintf(out, " %s ", numbers[i].key);
        print_double(out, numbers[i].value);
    }
    for (int i = 0; i < r->nno_decay; i++) {
        fputs(" no_decay ", out);
        print_string(out, r->no_decay[i]);
    }
    if (r->data) fputs(" data ", out), print_string(out, r->data);
    if (r->validation) fputs(" validation ", out), print_string(out, r->validation);
    print_loc(out, r->loc, locations);
    fputc('\n', out);
}

static void print_recompute(const Strategy *s, FILE *out, bool locations) {
    if (s->recompute != RECOMPUTE_NOTHING) {
        fputs("    recompute", out);
        if (s->recompute == RECOMPUTE_BLOCK) fputs(" block", out);
        if (s->recompute == RECOMPUTE_AUTO) fputs(" auto", out);
        for (int i = 0; i < s->nrecompute; i++) {
            fputs(i ? ", " : " ", out);
            print_string(out, s->recompute_names[i]);
        }
        print_loc(out, s->recompute_loc, locations);
        fputc('\n', out);
    }
    if (!s->memory) return;
    fprintf(out, "    memory %" PRId64, s->memory);
    print_loc(out, s->memory_loc, locations);
    fputc('\n', out);
}

static void print_pipe(const Strategy *s, FILE *out, bool locations) {
    if (s->microbatches) {
        fprintf(out, "    microbatches %" PRId64, s->microbatches);
        print_loc(out, s->microbatches_loc, locations);
        fputc('\n', out);
    }
    if (!s->pipe_axis) return;
    fprintf(out, "    pipe %s on %s schedule %s", s->pipe_axis->name, s->mesh.axis[s->pipe].name,
            schedule_name(s->schedule));
    if (s->schedule == PIPE_FILE) fputc(' ', out), print_string(out, s->schedule_file);
    fprintf(out, " chunks %d", s->chunks);
    for (int i = 0; i < s->nstages; i++) fprintf(out, "%s%" PRId64, i ? ", " : " stages ", s->stages[i]);
    print_loc(out, s->pipe_loc, locations);
    fputc('\n', out);
}

static void print_precision(const Strategy *s, FILE *out, bool locations) {
    if (!s->has_precision) return;
    fprintf(out, "    precision %s master %s reduce %s", dtype_name(s->compute), dtype_name(s->master),
            dtype_name(s->reduce));
    if (s->compute == DT_F16) fprintf(out, " scale %" PRId64, s->scale);
    if (s->tf32) fputs(" dot tf32", out);
    print_loc(out, s->precision_loc, locations);
    fputc('\n', out);
}

static void print_unit(const Unit *u, FILE *out, bool locations) {
    fputs("unit ", out);
    print_string(out, u->name ? u->name : "");
    fputc('\n', out);
    if (u->passed) fprintf(out, "passed %s\n", u->passed);
    for (int i = 0; i < u->mesh.n; i++)
        fprintf(out, "mesh %s=%" PRId64 "%s%s\n", u->mesh.axis[i].name, u->mesh.axis[i].extent,
                u->mesh.time >> i & 1 ? " time" : "", u->mesh.stages >> i & 1 ? " stages" : "");
    for (int i = 0; i < u->axes.n; i++) {
        fprintf(out, "axis %s=%" PRId64, u->axes.at[i]->name, u->axes.at[i]->extent);
        if (u->axes.at[i]->whole) fprintf(out, " of %s", u->axes.at[i]->whole->name);
        print_loc(out, u->axes.at[i]->loc, locations);
        fputc('\n', out);
    }
    if (u->strategy) {
        const Strategy *s = u->strategy;
        fputs("strategy ", out);
        print_string(out, s->name);
        print_loc(out, s->loc, locations);
        fputc('\n', out);
        for (int i = 0; i < s->mesh.n; i++)
            fprintf(out, "    over %s=%" PRId64 "\n", s->mesh.axis[i].name, s->mesh.axis[i].extent);
        for (int i = 0; i < s->nsplits; i++) {
            fprintf(out, "    split %s on ", s->splits[i].axis->name);
            print_mesh_set(out, &s->mesh, s->splits[i].over, ", ");
            if (s->splits[i].between) fputs(" between", out);
            if (s->splits[i].attention) fprintf(out, " attention %s", attention_name(s->splits[i].attention));
            if (s->splits[i].counted) fputs(" counted", out);
            print_loc(out, s->splits[i].loc, locations);
            fputc('\n', out);
        }
        if (s->shard) {
            fprintf(out, "    shard %s on ", shard_name(s->shard));
            print_mesh_set(out, &s->mesh, s->shard_over, ", ");
            print_loc(out, s->shard_loc, locations);
            fputc('\n', out);
        }
        for (OffloadSet bit = 1; bit < OFFLOAD_END; bit <<= 1)
            if (s->offload & bit)
                fprintf(out, "%s%s", s->offload & (bit - 1) ? ", " : "    offload ", offload_name(bit));
        if (s->offload) {
            print_loc(out, s->offload_loc, locations);
            fputc('\n', out);
        }
        print_recompute(s, out, locations);
        print_pipe(s, out, locations);
        print_precision(s, out, locations);
    }
    if (u->recipe) print_recipe(u->recipe, out, locations);
    for (int i = 0; i < u->funcs.n; i++) {
        fputc('\n', out);
        print_func(u->funcs.at[i], out, locations);
    }
    if (u->pipeline) pipeline_print(u, out);
}

void unit_print(const Unit *u, FILE *out) { print_unit(u, out, true); }
void unit_print_bare(const Unit *u, FILE *out) { print_unit(u, out, false); }

char *node_line(const Node *n, Arena *a) {
    const Block *b = n->parent;
    if (!b) return "";
    Printer p = printer_new(b->func, NULL, true);
    p.out = arena_stream(p.arena);
    Node alone = *n;
    alone.body = NULL;
    print_node(&p, &alone, 0);
    const char *text = arena_stream_text(p.arena, NULL);
    char *line = arena_printf(a, "%.*s", (int)strcspn(text, "\n"), text);
    arena_free(p.arena);
    return line;
}

char *type_text(const Type *t, const Mesh *m, Arena *a) {
    print_type(arena_stream(a), t, m);
    return arena_stream_text(a, NULL);
}
