// SPDX-License-Identifier: Apache-2.0
// Hover: what stands under the cursor: of a tensor the type, and for each strategy where its parts lie and the bytes a
// rank has of it, as the IR behind the pass `clean` says. While the text has mistakes, of the last text without.
#include "base/bytes.h"
#include "base/checked.h"
#include "frontend/std_tgf.h"
#include "ir/text.h"
#include "runtime/json.h"
#include "tools/tgf_lsp_server.h"
#include "tools/tgf_lsp_words.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { INSTANCES_MAX = 4, STRATEGIES_SHOWN = 24 };

typedef struct Hover {
    Server *server;
    Arena *a;
    Project *program;
    const Analysis *of; // the analysis that is shown: the program's last good one, else that of now
    FILE *out;          // the text, inside a code block
    const char *prose;  // behind it, or NULL
} Hover;

// Strategies to show: the one chosen where the program has it, else all.
static bool shows(const Hover *h, int i) {
    const FrontendResult *f = &h->of->front;
    for (int j = 0; h->server->strategy && j < f->nstrategies; j++)
        if (!strcmp(f->strategies[j]->name, h->server->strategy)) return i == j;
    return i < STRATEGIES_SHOWN;
}

static int name_width(const Hover *h) {
    int most = (int)strlen("one rank");
    for (int i = 0; h->of == h->program->good && i < h->of->front.nstrategies; i++)
        if (shows(h, i) && (int)strlen(h->of->front.strategies[i]->name) > most)
            most = (int)strlen(h->of->front.strategies[i]->name);
    return most;
}

static void put_bytes(Hover *h, int64_t bytes, const char *behind) {
    fprintf(h->out, "%" PRId64 " bytes", bytes);
    if (bytes >= 1000) fprintf(h->out, " (%s)", bytes_text((double)bytes, h->a));
    fprintf(h->out, "%s", behind);
}

static bool bytes_whole(const Type *t, int64_t *out) {
    return type_elements(t, out) && checked_mul(*out, dtype_bytes(t->dtype), out);
}

static bool bytes_local(const Type *t, const Mesh *m, int64_t *out) {
    return type_local_elements(t, m, out) && checked_mul(*out, dtype_bytes(t->dtype), out);
}

static void put_type(Hover *h, const char *label, int width, const Type *t, const Mesh *m, bool whole) {
    int64_t bytes;
    fprintf(h->out, "  %-*s  %s  ", width, label, type_text(t, m, h->a));
    if (whole ? bytes_whole(t, &bytes) : bytes_local(t, m, &bytes)) put_bytes(h, bytes, whole ? "\n" : " a rank\n");
    else fputs("too large to count\n", h->out);
}

// The collectives that a value goes through, behind it.
static void put_collectives(Hover *h, const Value *v, const Mesh *m, int width) {
    const Block *b = v->def ? v->def->parent : v->block;
    for (const Node *n = b ? b->first : NULL; n; n = n->next) {
        if (!(op_info(n->op)->traits & TRAIT_COMM) || n->args[0] != v || !n->nresults) continue;
        fprintf(h->out, "  %-*s    then %s -> %s\n", width, "", op_info(n->op)->name,
                type_text(&n->results[0]->type, m, h->a));
    }
}

static const char *plain_type(const Type *t, Arena *a) {
    const char *text = arena_printf(a, "%s[", dtype_name(t->dtype));
    for (int i = 0; i < t->rank; i++) text = arena_printf(a, "%s%s%s", text, i ? ", " : "", t->dim[i].axis->name);
    return arena_printf(a, "%s]", text);
}

// One tensor, by the number of its sight, the same in every analysis of the same texts.
static void put_tensor(Hover *h, int at) {
    const Sight *s = &h->of->sights.at.at[at];
    const Mesh one = {0};
    int width = name_width(h);
    put_type(h, "one rank", width, &s->type, &one, true);
    for (int i = 0; h->of == h->program->good && i < h->of->front.nstrategies; i++) {
        if (!shows(h, i)) continue;
        const Analysis *a = project_strategy(h->program, i);
        const char *label = h->of->front.strategies[i]->name;
        const Sight *own = a && a->passed && at < a->sights.at.n ? &a->sights.at.at[at] : NULL;
        if (!own || own->loc.line != s->loc.line || own->loc.col != s->loc.col) {
            fprintf(h->out, "  %-*s  does not compile\n", width, label);
            continue;
        }
        const Living *living = own->func == unit_func(a->front.unit, "train") ? &a->train : &a->eval;
        const Value *v = sight_value(living, own->value);
        if (!v) {
            fprintf(h->out, "  %-*s  no value of its own: folded into others\n", width, label);
            continue;
        }
        put_type(h, label, width, &v->type, &a->front.unit->mesh, false);
        put_collectives(h, v, &a->front.unit->mesh, width);
    }
    if (h->of == h->program->good && !h->server->strategy && h->of->front.nstrategies > STRATEGIES_SHOWN)
        fprintf(h->out, "  and %d strategies more\n", h->of->front.nstrategies - STRATEGIES_SHOWN);
}

static bool sight_same(const Sight *a, const Sight *b) {
    if (a->kind != b->kind || a->is_param != b->is_param) return false;
    switch (a->kind) {
    case SIGHT_TENSOR: return type_equal(&a->type, &b->type) && (!a->is_param || a->value->def == b->value->def);
    case SIGHT_NUMBER: return a->number == b->number;
    case SIGHT_AXIS: return a->axis == b->axis;
    }
    return false;
}

// The sights of a place, each that differs once, out of one function: eval, or what only another has.
static int sights_at(const Hover *h, Loc at, bool params, int *out, int most) {
    static const char *const funcs[] = {"eval", "train", "predict"};
    const Analysis *a = h->of;
    int n = 0;
    for (int f = 0; f < 3 && !n; f++)
        for (int i = 0; i < a->sights.at.n; i++) {
            const Sight *s = &a->sights.at.at[i];
            if (s->loc.line != at.line || s->loc.col != at.col || s->is_param != params) continue;
            if (!s->func || strcmp(s->func->name, funcs[f]) || !s->loc.file || strcmp(s->loc.file, at.file)) continue;
            bool known = false;
            for (int j = 0; j < n && j < most; j++) known |= sight_same(s, &a->sights.at.at[out[j]]);
            if (known) continue;
            if (n < most) out[n] = i;
            n++;
        }
    return n;
}

// ---- kinds of names

static void put_axis(Hover *h, const Axis *axis, const Def *def) {
    int width = name_width(h);
    fprintf(h->out, "axis %s = %" PRId64 "\n", axis->name, axis->extent);
    if (def && def->axis && def->axis->extent->kind != EXPR_NUMBER) {
        fprintf(h->out, "  declared as ");
        expr_print(def->axis->extent, h->out);
        fputc('\n', h->out);
    }
    for (int i = 0; i < h->of->front.nstrategies; i++) {
        const Strategy *s = h->of->front.strategies[i];
        if (!shows(h, i)) continue;
        for (int j = 0; j < s->nsplits; j++) {
            if (strcmp(s->splits[j].axis->name, axis->name)) continue;
            int64_t ways = mesh_extent(&s->mesh, s->splits[j].over);
            fprintf(h->out, "  %-*s  split over ", width, s->name);
            for (int k = 0, n = 0; k < s->mesh.n; k++)
                if (s->splits[j].over >> k & 1) fprintf(h->out, "%s%s", n++ ? ", " : "", s->mesh.axis[k].name);
            fprintf(h->out, "%s: %" PRId64 " a rank\n", s->splits[j].between ? " between blocks" : "",
                    ceil_div(axis->extent, ways));
        }
    }
}

static const char *kind_name(DefKind kind) {
    static const char *const names[] = {"axis",     "block", "model", "strategy", "mesh axis", "parameter of a block",
                                        "variable", "param", "input", "function", "word",      "file"};
    return names[kind];
}

static void put_sight(Hover *h, const Def *def, int at) {
    const Sight *s = &h->of->sights.at.at[at];
    switch (s->kind) {
    case SIGHT_TENSOR:
        fprintf(h->out, "%s: %s\n", def->kind == DEF_FUNCTION || def->kind == DEF_BLOCK ? "result" : def->name,
                plain_type(&s->type, h->a));
        if (s->is_param) {
            const Node *n = s->value->def;
            fprintf(h->out, "  named \"%s\", stored as \"%s\"\n", n->attr.s, n->attr.s2);
        }
        put_tensor(h, at);
        break;
    case SIGHT_NUMBER: fprintf(h->out, "%s = %.10g\n", def->name, s->number); break;
    case SIGHT_AXIS:
        if (strcmp(def->name, s->axis->name)) fprintf(h->out, "%s is ", def->name);
        put_axis(h, s->axis, def);
        break;
    }
}

static void put_instances(Hover *h, const Def *def, Loc at, bool params) {
    int found[INSTANCES_MAX], n = sights_at(h, at, params, found, INSTANCES_MAX);
    for (int i = 0; i < n && i < INSTANCES_MAX; i++) put_sight(h, def, found[i]);
    if (n > INSTANCES_MAX) fprintf(h->out, "and %d more, one for each call of the block\n", n - INSTANCES_MAX);
}

static void put_param(Hover *h, const Def *def) {
    const Stmt *s = def->stmt;
    fprintf(h->out, "param %s [", def->name);
    for (int i = 0; i < s->param.shape.n; i++) fprintf(h->out, "%s%s", i ? ", " : "", s->param.shape.at[i].str);
    fputs("] = ", h->out);
    expr_print(s->param.init, h->out);
    if (s->param.as.str) fprintf(h->out, " as \"%s\"", s->param.as.str);
    fputc('\n', h->out);
    put_instances(h, def, def->loc, true);
}

// The lines of comment straight above a declaration.
static const char *comment_above(Hover *h, const Source *source, Loc at) {
    if (!source) return NULL;
    const char *text = NULL, *start = source->text + text_offset_at(source->text, source->size, at.line, 1);
    while (start > source->text) {
        const char *line = start - 1;
        while (line > source->text && line[-1] != '\n') line--;
        int n = (int)(start - 1 - line);
        if (n < 1 || *line != '#' || (n > 6 && !strncmp(line, "# SPDX", 6))) break;
        int skip = n > 1 && line[1] == ' ' ? 2 : 1;
        text = arena_printf(h->a, "%.*s%s%s", n - skip, line + skip, text ? "\n" : "", text ? text : "");
        start = line;
    }
    return text;
}

static void put_block(Hover *h, const Def *def, Loc at) {
    const BlockDecl *b = def->block;
    fprintf(h->out, "block %s(", b->name.str);
    for (int i = 0; i < b->formals.n; i++) {
        fprintf(h->out, "%s%s", i ? ", " : "", b->formals.at[i].name.str);
        if (!b->formals.at[i].fallback) continue;
        fputs(" = ", h->out);
        expr_print(b->formals.at[i].fallback, h->out);
    }
    fprintf(h->out, ")%s\n", b->is_std ? "  # of std.tgf" : "");
    put_instances(h, def, at, false);
    h->prose = comment_above(h, analysis_source_of(h->of, def->loc), def->loc);
}

// Parameters of a unit: how many numbers, and the bytes of them that a rank has.
static void count_params(const Func *f, const Mesh *m, double *out_numbers, double *out_bytes) {
    *out_numbers = *out_bytes = 0;
    for (const Node *n = f ? f->top->first : NULL; n; n = n->next) {
        int64_t whole = 0, local = 0;
        if (n->op != OP_param) continue;
        const Type *t = &n->results[0]->type;
        if (type_elements(t, &whole)) *out_numbers += (double)whole;
        if (bytes_local(t, m, &local)) *out_bytes += (double)local;
    }
}

static void put_model(Hover *h, const Def *def) {
    double numbers, bytes;
    const Mesh one = {0};
    fprintf(h->out, "model %s\n", def->name);
    if (h->of != h->program->good) return;
    count_params(unit_func(h->of->front.unit, "init"), &one, &numbers, &bytes);
    fprintf(h->out, "  %.0f parameters, %s\n", numbers, bytes_text(bytes, h->a));
    for (int i = 0; i < h->of->front.nstrategies; i++) {
        const Analysis *a = shows(h, i) ? project_strategy(h->program, i) : NULL;
        if (!a || !a->passed) continue;
        count_params(unit_func(a->front.unit, "init"), &a->front.unit->mesh, &numbers, &bytes);
        fprintf(h->out, "  %-*s  %s of parameters a rank\n", name_width(h), a->strategy, bytes_text(bytes, h->a));
    }
}

static void put_strategy(Hover *h, const Def *def) {
    fprintf(h->out, "strategy %s\n", def->name);
    for (int i = 0; i < h->of->front.nstrategies; i++) {
        const Strategy *s = h->of->front.strategies[i];
        double numbers, bytes;
        if (strcmp(s->name, def->name)) continue;
        fprintf(h->out, "  %" PRId64 " rank%s", mesh_devices(&s->mesh), mesh_devices(&s->mesh) == 1 ? "" : "s");
        for (int k = 0; k < s->mesh.n; k++)
            fprintf(h->out, "%s%s = %" PRId64, k ? ", " : ": ", s->mesh.axis[k].name, s->mesh.axis[k].extent);
        fputc('\n', h->out);
        const Analysis *a = h->of == h->program->good ? project_strategy(h->program, i) : NULL;
        if (!a || !a->passed) continue;
        count_params(unit_func(a->front.unit, "init"), &a->front.unit->mesh, &numbers, &bytes);
        fprintf(h->out, "  %s of parameters a rank\n", bytes_text(bytes, h->a));
    }
}

static void put_word(Hover *h, const char *name) {
    const Word *w = word_find(name);
    fprintf(h->out, "%s\n", w ? w->usage : name);
    if (w) h->prose = w->text;
}

static void put_def(Hover *h, const Def *def, Loc at) {
    switch (def->kind) {
    case DEF_AXIS: {
        const Axis *axis = NULL;
        for (int i = 0; h->of->front.unit && i < h->of->front.unit->axes.n; i++)
            if (!strcmp(h->of->front.unit->axes.at[i]->name, def->name)) axis = h->of->front.unit->axes.at[i];
        if (axis) put_axis(h, axis, def);
        else fprintf(h->out, "axis %s\n", def->name);
        break;
    }
    case DEF_BLOCK: put_block(h, def, at); break;
    case DEF_MODEL: put_model(h, def); break;
    case DEF_STRATEGY: put_strategy(h, def); break;
    case DEF_MESH:
        fprintf(h->out, "mesh axis %s of strategy %s\n", def->name, def->owner);
        for (int i = 0; i < h->of->front.nstrategies; i++) {
            const Strategy *s = h->of->front.strategies[i];
            int m = strcmp(s->name, def->owner) ? -1 : mesh_find(&s->mesh, def->name);
            for (int k = 0; k < s->mesh.n && m < 0 && !strcmp(s->name, def->owner); k++)
                if (!strcmp(s->mesh.axis[k].name, def->name)) m = k;
            if (m >= 0) fprintf(h->out, "  %" PRId64 " ranks along it\n", s->mesh.axis[m].extent);
        }
        break;
    case DEF_PARAM: put_param(h, def); break;
    case DEF_FORMAL:
    case DEF_VARIABLE:
    case DEF_INPUT:
        fprintf(h->out, "%s of %s\n", kind_name(def->kind), def->owner ? def->owner : "the program");
        put_instances(h, def, at, false);
        break;
    case DEF_FUNCTION:
        put_word(h, def->name);
        put_instances(h, def, at, false);
        break;
    case DEF_WORD: put_word(h, def->name); break;
    case DEF_FILE: fprintf(h->out, "%s\n", def->name); break;
    }
}

// ---- finding what to show

static bool same_text(const char *a, const char *b) { return a == b || (a && b && !strcmp(a, b)); }

// The same occurrence in the last analysis without mistakes: of the same name of the same kind in the same block or
// model, the one with as many in front of it when there are as many in all, else its definition.
static const Occurrence *occurrence_then(const Analysis *now, const Occurrence *o, const Analysis *then) {
    const Def *def = &now->index->defs.at[o->def];
    int before = 0, all = 0, all_then = 0;
    const Occurrence *first = NULL, *same = NULL;
    for (int i = 0; i < now->index->at.n; i++) {
        before += now->index->at.at[i].def == o->def && &now->index->at.at[i] < o;
        all += now->index->at.at[i].def == o->def;
    }
    for (int i = 0; i < then->index->at.n; i++) {
        const Occurrence *p = &then->index->at.at[i];
        const Def *d = &then->index->defs.at[p->def];
        if (d->kind != def->kind || !same_text(d->name, def->name) || !same_text(d->owner, def->owner)) continue;
        if (!first || p->makes) first = first && first->makes ? first : p;
        if (all_then++ == before) same = p;
    }
    return all == all_then ? same : first;
}

static const Occurrence *by_word(const Analysis *a, const char *word) {
    for (int i = 0; i < a->index->at.n; i++) {
        const Occurrence *o = &a->index->at.at[i];
        if (o->makes && !strcmp(a->index->defs.at[o->def].name, word)) return o;
    }
    return NULL;
}

static void put_result(const Hover *h, const Occurrence *here, const Source *source, const char *text, FILE *out) {
    const char *open = h->server->markdown ? "```tgf\n" : "", *close = h->server->markdown ? "```\n" : "";
    const char *shown = arena_printf(h->a, "%s%s%s%s", open, text, close, h->prose ? h->prose : "");
    fprintf(out, "{\"contents\":{\"kind\":\"%s\",\"value\":", h->server->markdown ? "markdown" : "plaintext");
    json_put_string(out, shown);
    fputc('}', out);
    if (here && source) {
        fputs(",\"range\":", out);
        put_range(out, source->text, source->size, here->loc);
    }
    fputc('}', out);
}

void answer_hover(Call *c) {
    Project *p = NULL;
    const Occurrence *here = call_occurrence(c, &p), *shown = here;
    Hover h = {.server = c->server, .a = c->server->call, .program = p};
    char *text = NULL;
    size_t size = 0, start, n = text_word(c->document->text, c->document->size, c->offset, &start);
    const char *word = arena_printf(h.a, "%.*s", (int)n, c->document->text + start);
    if (!p || (!here && !n)) {
        fputs("null", c->out);
        return;
    }
    h.of = p->good ? p->good : p->now;
    if (h.of != p->now) {
        shown = here ? occurrence_then(p->now, here, h.of) : by_word(h.of, word);
        if (!shown && here) h.of = p->now, shown = here;
    }
    h.out = open_memstream(&text, &size);
    if (!h.out) {
        call_fail(c, RPC_INTERNAL, "not enough memory");
        return;
    }
    if (shown) put_def(&h, &h.of->index->defs.at[shown->def], shown->loc);
    else if (word_find(word)) put_word(&h, word);
    fclose(h.out);
    const Source *source = here ? analysis_source_of(p->now, here->loc) : NULL;
    if (size) put_result(&h, here, source, text, c->out);
    else fputs("null", c->out);
    free(text);
}
