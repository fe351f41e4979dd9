// SPDX-License-Identifier: Apache-2.0
// load: the files of a program, put together in the order they are used: each once, never in a circle.
#include "frontend/front.h"
#include "frontend/std_tgf.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { USE_DEPTH_MAX = 32 };

typedef struct Opened { // a file by identity
    const char *key;    // its real path, or the name of a text in memory
    const char *shown;
    bool open; // being read: using it again is a circle
} Opened;

typedef struct Load {
    Front *front;
    Vec(Opened) files;
    int depth;
} Load;

static bool load_source(Load *l, const char *path, const char *text, size_t size, bool is_std);

const char *path_joined(Arena *a, const char *of_file, const char *path) {
    const char *slash = strrchr(of_file, '/');
    if (!slash || path[0] == '/') return path;
    return arena_printf(a, "%.*s/%s", (int)(slash - of_file), of_file, path);
}

// The whole of a regular file. NULL after reporting at `at`.
static const char *read_disk(Front *f, const char *path, Loc at, size_t *out_size) {
    struct stat st;
    FILE *file = fopen(path, "rb");
    char *text = NULL; // malloc's: the file is open
    if (!file && errno == ENOMEM) arena_exhausted();
    if (!file || fstat(fileno(file), &st)) {
        diag_error(f->diag, at, "cannot read '%s': %s", path, strerror(errno));
    } else if (!S_ISREG(st.st_mode)) {
        diag_error(f->diag, at, "cannot read '%s': not a regular file", path);
    } else if (st.st_size > SOURCE_BYTES_MAX) {
        diag_error(f->diag, at, "'%s' is too large (more than %d MB)", path, SOURCE_BYTES_MAX >> 20);
    } else if (!(text = calloc(1, (size_t)st.st_size + 1))) {
        fclose(file);
        arena_exhausted();
    } else {
        *out_size = fread(text, 1, (size_t)st.st_size, file);
        if (ferror(file)) {
            diag_error(f->diag, at, "cannot read '%s': %s", path, strerror(errno));
            free(text);
            text = NULL;
        }
    }
    if (file) fclose(file);
    if (!text) return NULL;
    text = arena_take(f->arena, text, *out_size + 1);
    vec_push(f->arena, &f->files, (const char *)arena_printf(f->arena, "%s", path));
    return text;
}

char *path_normal(Arena *a, const char *path) {
    char *out = arena_dup(a, path, strlen(path) + 1);
    size_t n = 0, root = *path == '/';
    for (const char *p = path + root; *p;) {
        size_t size = strcspn(p, "/");
        bool up = size == 2 && !strncmp(p, "..", 2);
        size_t last = n;
        while (last > 0 && out[root + last - 1] != '/') last--;
        bool can = n > 0 && !(n - last == 2 && !strncmp(out + root + last, "..", 2));
        if (up && can) {
            n = last ? last - 1 : 0;
        } else if (!(up && root) && size && !(size == 1 && *p == '.')) { // nothing is above /
            if (n) out[root + n++] = '/';
            memmove(out + root + n, p, size);
            n += size;
        }
        p += size;
        p += *p == '/';
    }
    if (!n && !root) out[n++] = '.';
    out[root + n] = 0;
    return out;
}

static const FrontendText *find_text(const Front *f, const char *path) {
    if (!f->options->nfiles) return NULL;
    path = path_normal(f->arena, path);
    for (int i = 0; i < f->options->nfiles; i++)
        if (!strcmp(path_normal(f->arena, f->options->files[i].path), path)) return &f->options->files[i];
    return NULL;
}

static void load_use(Load *l, const Source *user, Name use) {
    Front *f = l->front;
    const char *path = user->text ? path_joined(f->arena, user->path, use.str) : use.str;
    const FrontendText *memory = find_text(f, path);
    const char *key = path;
    if (!*use.str) {
        diag_error(f->diag, use.loc, "a file name is needed");
        return;
    }
    if (!memory && f->options->no_disk) {
        diag_error(f->diag, use.loc, "cannot read '%s': no such file", path);
        return;
    }
    if (memory) key = memory->path;
    if (!memory) {
        char *real = realpath(path, NULL);
        if (real) key = arena_take(f->arena, real, strlen(real) + 1);
    }
    for (int i = 0; i < l->files.n; i++) {
        if (strcmp(l->files.at[i].key, key)) continue;
        if (!l->files.at[i].open) return; // was used before
        const char *chain = "";
        for (int j = i; j < l->files.n; j++)
            if (l->files.at[j].open) chain = arena_printf(f->arena, "%s%s -> ", chain, l->files.at[j].shown);
        diag_error(f->diag, use.loc, "'%s' uses itself (%s%s)", use.str, chain, l->files.at[i].shown);
        return;
    }
    if (l->depth == USE_DEPTH_MAX) {
        diag_error(f->diag, use.loc, "files use files more than %d deep", USE_DEPTH_MAX);
        return;
    }
    size_t size = memory ? memory->size : 0;
    const char *text = memory ? memory->text : read_disk(f, path, use.loc, &size);
    if (!text) return;
    int at = l->files.n;
    vec_push(f->arena, &l->files, ((Opened){key, path, true}));
    load_source(l, path, text, size, false);
    l->files.at[at].open = false;
}

#define DUPLICATE(found, what, name, loc, old)                                                                         \
    if (found) {                                                                                                       \
        diag_error(f->diag, loc, "%s '%s' is declared twice", what, name);                                             \
        diag_note(f->diag, old, "first declared here");                                                                \
    }

static void add_block(Front *f, BlockDecl *b, bool is_std) {
    b->is_std = is_std;
    b->mark = 0; // a program made by calls is loaded more than once
    b->failed = false;
    for (int i = 0; i < f->blocks.n; i++) {
        const BlockDecl *old = f->blocks.at[i];
        DUPLICATE(old->name.str == b->name.str && old->is_std == is_std, "block", b->name.str, b->name.loc,
                  old->name.loc);
    }
    vec_push(f->arena, &f->blocks, b);
}

static void add_axes(Front *f, const AxisDecls *axes) {
    for (int i = 0; i < axes->n; i++) {
        const Name name = axes->at[i].name;
        for (int j = 0; j < f->axes.n; j++)
            DUPLICATE(f->axes.at[j].name.str == name.str, "axis", name.str, name.loc, f->axes.at[j].name.loc);
        vec_push(f->arena, &f->axes, axes->at[i]);
    }
}

static void add_strategy(Front *f, StrategyDecl *s) {
    for (int i = 0; i < f->strategy_decls.n; i++) {
        const Name old = f->strategy_decls.at[i]->name;
        DUPLICATE(old.str == s->name.str, "strategy", s->name.str, s->name.loc, old.loc);
    }
    vec_push(f->arena, &f->strategy_decls, s);
}

static void add_decl(Load *l, const Source *source, const Decl *d, bool is_std, bool parsed) {
    Front *f = l->front;
    switch (d->kind) {
    case DECL_USE:
        if (parsed) load_use(l, source, d->use.path);
        break;
    case DECL_AXIS: add_axes(f, &d->axes); break;
    case DECL_BLOCK: add_block(f, d->block, is_std); break;
    case DECL_MODEL:
        if (f->model) {
            diag_error(f->diag, d->model->name.loc, "a program has one model; this is a second");
            diag_note(f->diag, f->model->name.loc, "the first is here");
        } else {
            f->model = d->model;
        }
        break;
    case DECL_STRATEGY: add_strategy(f, d->strategy); break;
    case DECL_TRAIN:
        if (f->train) {
            diag_error(f->diag, d->train->loc, "a program has one 'train'; this is a second");
            diag_note(f->diag, f->train->loc, "the first is here");
        } else {
            f->train = d->train;
        }
        break;
    }
}

static void add_decls(Load *l, const Source *s, bool is_std, bool parsed) {
    l->depth++;
    for (int i = 0; i < s->decls.n; i++) add_decl(l, s, &s->decls.at[i], is_std, parsed);
    l->depth--;
}

static bool load_source(Load *l, const char *path, const char *text, size_t size, bool is_std) {
    Front *f = l->front;
    Source *s = NEW(f->arena, Source);
    *s = (Source){.path = str_intern(f->strs, path), .text = text, .size = size};
    s->loc = (Loc){s->path, 1, 1, 0};
    diag_source(f->diag, s->path, text, size);
    if (is_std) f->std = s;
    else vec_push(f->arena, &f->sources, s);
    if (size > SOURCE_BYTES_MAX) {
        diag_error(f->diag, s->loc, "this text is too large (more than %d MB)", SOURCE_BYTES_MAX >> 20);
        return false;
    }
    bool ok = source_parse(s, f->arena, f->strs, f->diag);
    add_decls(l, s, is_std, ok);
    return ok;
}

bool load_program(Front *f) {
    const FrontendOptions *o = f->options;
    Load l = {.front = f};
    int before = diag_errors(f->diag);
    load_source(&l, "std.tgf", std_tgf, std_tgf_size, true);
    if (o->source) {
        vec_push(f->arena, &f->sources, o->source);
        add_decls(&l, o->source, false, true);
        if (o->extra) load_source(&l, "(given)", o->extra, strlen(o->extra), false);
        return diag_errors(f->diag) == before;
    }
    const char *text = o->text;
    size_t size = o->size;
    if (!text) text = read_disk(f, o->path, (Loc){0}, &size);
    if (!text) return false;
    char *real = o->text ? NULL : realpath(o->path, NULL);
    const char *key = real ? arena_take(f->arena, real, strlen(real) + 1) : o->path;
    vec_push(f->arena, &l.files, ((Opened){key, o->path, true}));
    load_source(&l, o->path, text, size, false);
    if (o->extra) load_source(&l, "(given)", o->extra, strlen(o->extra), false);
    return diag_errors(f->diag) == before;
}

BlockDecl *front_block(const Front *f, Str name, bool from_std) {
    BlockDecl *std = NULL;
    for (int i = 0; i < f->blocks.n; i++) {
        if (f->blocks.at[i]->name.str != name) continue;
        if (!f->blocks.at[i]->is_std && !from_std) return f->blocks.at[i];
        if (f->blocks.at[i]->is_std) std = f->blocks.at[i];
    }
    return std;
}
