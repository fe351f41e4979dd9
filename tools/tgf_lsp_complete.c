// SPDX-License-Identifier: Apache-2.0
// Completion: what may stand in a model or block, in a strategy, in a recipe, or at the top of a file. And formatting.
#include "frontend/fmt.h"
#include "runtime/json.h"
#include "tools/tgf_lsp_server.h"
#include "tools/tgf_lsp_words.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

typedef struct Context { // the declaration around a place
    char keyword[16];    // "" at the top
    char owner[128];     // its name
    bool silent;         // in a comment or string
} Context;

static size_t take_word(const char *text, size_t end, size_t at, char *out, size_t size) {
    size_t n = 0;
    while (at < end && (text[at] == ' ' || text[at] == '\t')) at++;
    while (at < end && (isalnum((unsigned char)text[at]) || text[at] == '_')) {
        if (n + 1 < size) out[n++] = text[at];
        at++;
    }
    out[n] = 0;
    return at;
}

static Context context_at(const char *text, size_t end) {
    Context c = {0};
    int depth = 0;
    bool starts = true;
    for (size_t i = 0; i < end; i++) {
        char ch = text[i];
        if (c.silent && ch != '\n' && ch != '"') continue;
        if (ch == '"') c.silent = !c.silent;
        if (ch == '\n') c.silent = false;
        if (ch == '#') {
            while (i < end && text[i] != '\n') i++;
            if (i == end) c.silent = true;
            ch = '\n';
        }
        depth += (ch == '{') - (ch == '}');
        if (depth <= 0 && starts && isalpha((unsigned char)ch)) {
            depth = 0;
            size_t at = take_word(text, end, i, c.keyword, sizeof c.keyword);
            if (at < end) i = take_word(text, end, at, c.owner, sizeof c.owner) - 1;
            else c.keyword[0] = 0; // the word being written
        }
        starts = ch == '\n' || ch == '}' || (starts && isspace((unsigned char)ch));
        if (ch == '}' && depth <= 0) c.keyword[0] = c.owner[0] = 0;
    }
    if (!depth && strcmp(c.keyword, "axis") && strcmp(c.keyword, "train")) c.keyword[0] = 0;
    return c;
}

enum {
    KIND_FUNCTION = 3,
    KIND_VARIABLE = 6,
    KIND_MODULE = 9,
    KIND_PROPERTY = 10,
    KIND_VALUE = 12,
    KIND_ENUM = 13,
    KIND_KEYWORD = 14
};

typedef struct Offers {
    Call *call;
    Vec(const char *) said;
} Offers;

static void offer(Offers *o, const char *label, int kind, const char *detail, const char *text) {
    for (int i = 0; i < o->said.n; i++)
        if (!strcmp(o->said.at[i], label)) return;
    FILE *out = o->call->out;
    fputs(o->said.n ? ",{\"label\":" : "{\"label\":", out);
    vec_push(o->call->server->call, &o->said, label);
    json_put_string(out, label);
    fprintf(out, ",\"kind\":%d", kind);
    if (detail) {
        fputs(",\"detail\":", out);
        json_put_string(out, detail);
    }
    if (text) {
        fputs(",\"documentation\":", out);
        json_put_string(out, text);
    }
    fputc('}', out);
}

static void offer_words(Offers *o, WordKind kind, int as) {
    for (int i = 0; word_at_index(i); i++)
        if (word_at_index(i)->kind == kind)
            offer(o, word_at_index(i)->name, as, word_at_index(i)->usage, word_at_index(i)->text);
}

static const char *block_detail(Arena *a, const BlockDecl *b) {
    const char *text = arena_printf(a, "%s(", b->name.str);
    for (int i = 0; i < b->formals.n; i++)
        text = arena_printf(a, "%s%s%s", text, i ? ", " : "", b->formals.at[i].name.str);
    return arena_printf(a, "%s)", text);
}

static void offer_defs(Offers *o, const Index *index, const Context *c) {
    bool expression = !strcmp(c->keyword, "block") || !strcmp(c->keyword, "model");
    bool strategy = !strcmp(c->keyword, "strategy");
    Arena *a = o->call->server->call;
    for (int i = 0; i < index->defs.n; i++) {
        const Def *d = &index->defs.at[i];
        bool own = d->owner && !strcmp(d->owner, c->owner);
        switch (d->kind) {
        case DEF_AXIS: offer(o, d->name, KIND_ENUM, "axis", NULL); break;
        case DEF_BLOCK:
            if (expression || strategy) offer(o, d->name, KIND_FUNCTION, block_detail(a, d->block), NULL);
            break;
        case DEF_FORMAL:
        case DEF_VARIABLE:
        case DEF_PARAM:
        case DEF_INPUT:
            if (expression && own && !d->is_std) offer(o, d->name, KIND_VARIABLE, NULL, NULL);
            break;
        case DEF_MESH:
            if (strategy && own) offer(o, d->name, KIND_MODULE, "mesh axis", NULL);
            break;
        default: break;
        }
    }
}

void answer_completion(Call *c) {
    Offers o = {.call = c};
    const Context context = context_at(c->document->text, c->offset);
    const Project *p = project_of(c->server, c->document);
    const Analysis *a = !p ? NULL : p->now->good || !p->good ? p->now : p->good;
    bool expression = !strcmp(context.keyword, "block") || !strcmp(context.keyword, "model");
    fputc('[', c->out);
    if (!context.silent) {
        if (a && *context.keyword) offer_defs(&o, a->index, &context);
        if (expression) offer_words(&o, WORD_FUNCTION, KIND_FUNCTION);
        if (!strcmp(context.keyword, "strategy")) offer_words(&o, WORD_STRATEGY, KIND_PROPERTY);
        if (!strcmp(context.keyword, "train")) offer_words(&o, WORD_RECIPE, KIND_PROPERTY);
        if (*context.keyword && strcmp(context.keyword, "axis")) offer_words(&o, WORD_VALUE, KIND_VALUE);
        offer_words(&o, WORD_KEYWORD, KIND_KEYWORD);
    }
    fputc(']', c->out);
}

// The lines that differ, replaced by the formatted ones.
void answer_formatting(Call *c) {
    Arena *a = arena_new();
    const Document *d = c->document;
    Diag *diag = diag_new_taken(a, NULL, NULL);
    StrTable *strs = strtable_new(a);
    size_t size = 0, head = 0, tail = 0, lines = 0;
    const char *text = source_format(str_intern(strs, d->path), d->text, d->size, a, strs, diag, &size);
    if (!text) {
        call_fail(c, RPC_REQUEST_FAILED, "this does not parse, so it is left as it is");
        arena_free(a);
        return;
    }
    size_t least = size < d->size ? size : d->size;
    while (lines < least && text[lines] == d->text[lines])
        if (text[lines++] == '\n') head = lines;
    lines = 0;
    while (lines < least - head && text[size - 1 - lines] == d->text[d->size - 1 - lines])
        if (text[size - 1 - lines++] == '\n') tail = lines - 1;
    bool same = size == d->size && !memcmp(text, d->text, size);
    fputc('[', c->out);
    if (!same) {
        fputs("{\"range\":", c->out);
        put_positions(c->out, d->text, d->size, head, d->size - tail);
        fputs(",\"newText\":", c->out);
        json_put_string(c->out, arena_printf(a, "%.*s", (int)(size - head - tail), text + head));
        fputc('}', c->out);
    }
    fputc(']', c->out);
    arena_free(a);
}
