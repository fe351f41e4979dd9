// SPDX-License-Identifier: Apache-2.0
#include "tools/common_places.h"
#include "ir/recipe.h"
#include "ir/strategy.h"
#include "passes/pass_try.h"
#include <string.h>

typedef struct Common {
    Str file;      // any of those seen; NULL: none yet
    size_t length; // of the folder in it
} Common;

static void add_file(Common *c, Str file) {
    if (!file || !strcmp(file, "std.tgf")) return;
    if (!c->file) {
        const char *slash = strrchr(file, '/');
        *c = (Common){file, slash ? (size_t)(slash - file) + 1 : 0};
    } else if (file != c->file) {
        size_t same = 0, length = 0;
        for (; same < c->length && file[same] == c->file[same]; same++)
            if (file[same] == '/') length = same + 1;
        c->length = length;
    }
}

static void add_block(Common *c, const Block *b) {
    for (const Node *n = b->first; n; n = n->next) {
        add_file(c, n->loc.file);
        if (n->body) add_block(c, n->body);
    }
}

Str places_folder(const Unit *u) {
    Common c = {0};
    for (int i = 0; i < u->axes.n; i++) add_file(&c, u->axes.at[i]->loc.file);
    if (u->strategy) add_file(&c, u->strategy->loc.file);
    if (u->recipe) add_file(&c, u->recipe->loc.file);
    for (int i = 0; i < u->funcs.n; i++) add_block(&c, u->funcs.at[i]->top);
    return c.file ? str_intern_n(u->strs, c.file, c.length) : str_intern(u->strs, "");
}

static uint64_t hash_more(uint64_t h, const char *text, size_t size) {
    for (size_t i = 0; i < size; i++) h = (h ^ (unsigned char)text[i]) * 1099511628211ull;
    return h;
}

uint64_t places_hash(const Unit *u, Str folder, const char *also) {
    Arena *arena = arena_new();
    size_t size = 0, length = strlen(folder);
    const char *text = unit_text(u, true, arena, &size);
    if (!text) return arena_free(arena), 0;
    uint64_t h = 14695981039346656037ull;
    for (const char *p = text, *end = text + size; p < end;) {
        // A location: @FILE:LINE:COLUMN or @"FILE":LINE:COLUMN, where the quotes go with the folder's spaces.
        size_t quoted = p[0] == '@' && p[1] == '"';
        const char *file = p + 1 + quoted;
        if (p[0] == '@' && !strncmp(file, folder, length)) {
            h = hash_more(h, "@", 1);
            p = file + length;
            const char *stop = quoted ? strchr(p, '"') : NULL;
            if (stop) {
                h = hash_more(h, p, (size_t)(stop - p));
                p = stop + 1;
            }
        } else {
            h = hash_more(h, p++, 1);
        }
    }
    arena_free(arena);
    return hash_more(h, also, strlen(also));
}
