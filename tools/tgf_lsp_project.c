// SPDX-License-Identifier: Apache-2.0
// Programs: what the documents compile to. An analysis runs the frontend alone, or for a strategy the passes through
// `clean` too, behind which every type is placed and the functions are still whole.
#include "frontend/std_tgf.h"
#include "passes/pass.h"
#include "tools/tgf_lsp_server.h"
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { STRATEGIES_MAX = 64 }; // of a program, that are looked at

static void take_remark(void *data, DiagKind kind, Loc at, const char *text) {
    Analysis *a = data;
    Remark r = {.kind = kind, .at = at, .text = text};
    if (kind == DIAG_NOTE && a->remarks.n) vec_push(a->arena, &a->remarks.at[a->remarks.n - 1].notes, r);
    else vec_push(a->arena, &a->remarks, r);
}

static void load(Analysis *a, bool parse_only) {
    a->options.parse_only = parse_only;
    a->options.sights = &a->sights;
    a->good = frontend_load(&a->options, &a->front);
}

static void pass(Analysis *a) {
    a->passed = passes_run(a->front.unit, &(PassOptions){.last = "clean"});
    if (!a->passed) return;
    const Func *train = unit_func(a->front.unit, "train");
    if (train) a->train = living_values(train, a->arena);
    a->eval = living_values(unit_func(a->front.unit, "eval"), a->arena);
}

Analysis *analysis_make(const char *path, const char *strategy, const FrontendText *texts, int ntexts,
                        bool parse_only) {
    Arena *arena = arena_new(), *scratch = arena_new();
    Analysis *a = NEW(arena, Analysis);
    FrontendOptions *o = &a->options;
    a->arena = arena;
    a->scratch = scratch;
    a->diag = diag_new_taken(arena, take_remark, a);
    a->strategy = strategy ? arena_printf(arena, "%s", strategy) : NULL;
    *o = (FrontendOptions){.path = arena_printf(arena, "%s", path),
                           .nfiles = ntexts,
                           .strategy = a->strategy,
                           .arena = arena,
                           .scratch = scratch,
                           .strs = strtable_new(arena),
                           .diag = a->diag};
    FrontendText *files = NEW_ARRAY(arena, FrontendText, ntexts);
    for (int i = 0; i < ntexts; i++) {
        files[i] = (FrontendText){.path = arena_printf(arena, "%s", texts[i].path),
                                  .text = arena_dup(arena, texts[i].text, texts[i].size + 1),
                                  .size = texts[i].size};
        if (strcmp(files[i].path, path)) continue;
        o->text = files[i].text;
        o->size = files[i].size;
    }
    o->files = files;
    load(a, parse_only);
    if (!parse_only && !a->front.front->model && a->front.front->sources.n) { // parts of a program: only their syntax
        a->remarks.n = 0;
        a->diag = o->diag = diag_new_taken(arena, take_remark, a);
        load(a, true);
    }
    a->index = index_make(&a->front, arena);
    if (a->good && a->front.unit) pass(a);
    return a;
}

void analysis_free(Analysis *a) {
    if (!a) return;
    arena_free(a->scratch);
    arena_free(a->arena);
}

// ---- files of an analysis

const Source *analysis_source(Server *s, const Analysis *a, const char *path) {
    const Front *f = a->front.front;
    for (int i = 0; i < f->sources.n; i++)
        if (!strcmp(path_normal(s->call, f->sources.at[i]->path), path)) return f->sources.at[i];
    const char *std = std_path(s);
    return std && !strcmp(path, std) ? f->std : NULL;
}

const Source *analysis_source_of(const Analysis *a, Loc at) {
    const Front *f = a->front.front;
    for (int i = 0; at.file && i < f->sources.n; i++)
        if (f->sources.at[i]->path == at.file || !strcmp(f->sources.at[i]->path, at.file)) return f->sources.at[i];
    return at.file && f->std && !strcmp(f->std->path, at.file) ? f->std : NULL;
}

const char *source_path(Server *s, const Source *source) {
    if (source->text == std_tgf) return std_copy(s);
    return path_normal(s->call, source->path);
}

FrontendText *server_texts(Server *s, Arena *a, int *out_count) {
    FrontendText *texts = NEW_ARRAY(a, FrontendText, s->documents.n);
    for (int i = 0; i < s->documents.n; i++) {
        const Document *d = s->documents.at[i];
        texts[i] = (FrontendText){.path = d->path, .text = d->text, .size = d->size};
    }
    *out_count = s->documents.n;
    return texts;
}

// ---- programs

static void forget_strategies(Project *p) {
    for (int i = 0; p->good && i < p->good->front.nstrategies; i++) analysis_free(p->strategies[i]);
    free(p->strategies);
    p->strategies = NULL;
}

void project_free(Project *p) {
    forget_strategies(p);
    if (p->good != p->now) analysis_free(p->good);
    analysis_free(p->now);
    free(p->path);
    free(p);
}

static Project *project_at(Server *s, const char *path) {
    for (int i = 0; i < s->projects.n; i++)
        if (!strcmp(s->projects.at[i]->path, path)) return s->projects.at[i];
    Project *p = calloc(1, sizeof *p);
    if (p) p->path = strdup(path);
    if (!p || !p->path) return free(p), NULL;
    p->generation = -1;
    vec_push(s->arena, &s->projects, p);
    return p;
}

static bool has_model(const Project *p) { return p->now && p->now->front.front->model; }

Project *project_refresh(Server *s, Project *p) {
    if (p->generation == s->generation) return p;
    int n;
    const FrontendText *texts = server_texts(s, s->call, &n);
    Analysis *now = analysis_make(p->path, NULL, texts, n, false);
    bool good = now->good && now->front.unit;
    if (good) {
        forget_strategies(p);
        if (p->good != p->now) analysis_free(p->good);
    }
    if (p->now != p->good || good) analysis_free(p->now);
    p->now = now;
    if (good) {
        p->good = now;
        p->strategies = calloc((size_t)now->front.nstrategies + 1, sizeof *p->strategies);
    }
    p->generation = s->generation;
    p->said = false;
    return p;
}

Analysis *project_strategy(Project *p, int i) {
    if (!p->good || !p->strategies || i >= p->good->front.nstrategies) return NULL;
    const FrontendOptions *o = &p->good->options;
    if (!p->strategies[i])
        p->strategies[i] = analysis_make(p->path, p->good->front.strategies[i]->name, o->files, o->nfiles, false);
    return p->strategies[i];
}

static bool uses(Server *s, const Analysis *a, const char *path) { return a && analysis_source(s, a, path) != NULL; }

// Reads no more than the syntax of files on disk that the editor has not open.
static void find_user(Server *s, Document *d) {
    Paths near = {0};
    d->searched = true;
    files_near(s, d->path, &near);
    for (int i = 0; i < near.n && !d->used_by; i++) {
        if (!strcmp(near.at[i], d->path)) continue;
        int n;
        const FrontendText *texts = server_texts(s, s->call, &n);
        Analysis *a = analysis_make(near.at[i], NULL, texts, n, true);
        if (a->front.front->model && uses(s, a, d->path)) d->used_by = strdup(near.at[i]);
        analysis_free(a);
    }
}

Project *project_of(Server *s, Document *d) {
    Project *own = project_at(s, d->path);
    if (!own) return NULL;
    project_refresh(s, own);
    if (has_model(own) || d->is_std) return own;
    for (int i = 0; i < s->documents.n; i++) {
        if (s->documents.at[i] == d) continue;
        Project *other = project_at(s, s->documents.at[i]->path);
        if (other && has_model(project_refresh(s, other)) && uses(s, other->now, d->path)) return other;
    }
    if (!d->searched) find_user(s, d);
    if (d->used_by) {
        Project *other = project_at(s, d->used_by);
        if (other && has_model(project_refresh(s, other)) && uses(s, other->now, d->path)) return other;
    }
    return own;
}

// ---- what is done while no message waits

static void drop_unwanted(Server *s) {
    int kept = 0;
    for (int i = 0; i < s->projects.n; i++) {
        Project *p = s->projects.at[i];
        if (p->wanted || document_at(s, p->path)) s->projects.at[kept++] = p;
        else project_free(p);
    }
    s->projects.n = kept;
}

bool projects_work(Server *s) {
    bool said = true;
    for (int i = 0; i < s->projects.n; i++) s->projects.at[i]->wanted = false;
    for (int i = 0; i < s->documents.n; i++) {
        if (s->documents.at[i]->is_std) continue;
        Project *p = project_of(s, s->documents.at[i]);
        if (p) p->wanted = true;
    }
    drop_unwanted(s);
    if (s->sent_generation != s->generation) {
        s->sent_generation = s->generation;
        diagnostics_send(s);
        return true;
    }
    for (int i = 0; i < s->projects.n; i++) {
        Project *p = s->projects.at[i];
        if (!p->wanted || p->good != p->now) continue;
        for (int j = 0; j < p->good->front.nstrategies && j < STRATEGIES_MAX; j++) {
            if (p->strategies[j]) continue;
            project_strategy(p, j);
            return true;
        }
        said &= p->said;
    }
    if (!said) diagnostics_send(s);
    for (int i = 0; i < s->projects.n; i++) s->projects.at[i]->said = true;
    return false;
}

// ---- files around

enum { FILES_MAX = 1000, ENTRIES_MAX = 20000, DEPTH_MAX = 8 }; // a workspace may be a home folder

static int by_text(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

static void list_folder(Server *s, const char *folder, int depth, int *entries, Paths *out) {
    DIR *dir = opendir(folder);
    Paths folders = {0};
    for (struct dirent *e; dir && out->n < FILES_MAX && *entries < ENTRIES_MAX && (e = readdir(dir)); ++*entries) {
        struct stat st;
        size_t n = strlen(e->d_name);
        if (e->d_name[0] == '.') continue;
        char *path = path_normal(s->call, arena_printf(s->call, "%s/%s", folder, e->d_name));
        bool known = false;
        if (lstat(path, &st)) continue;
        if (S_ISDIR(st.st_mode) && depth) vec_push(s->call, &folders, path);
        if (!S_ISREG(st.st_mode) || n < 5 || strcmp(e->d_name + n - 4, ".tgf")) continue;
        for (int i = 0; i < out->n && !known; i++) known = !strcmp(out->at[i], path);
        if (!known) vec_push(s->call, out, path);
    }
    if (dir) closedir(dir);
    for (int i = 0; i < folders.n; i++) list_folder(s, folders.at[i], depth - 1, entries, out);
}

static void list_beside(Server *s, const char *path, Paths *out) {
    const char *slash = strrchr(path, '/');
    int entries = 0;
    if (slash && *path == '/')
        list_folder(s, arena_printf(s->call, "%.*s", (int)(slash - path), path), 0, &entries, out);
}

void files_near(Server *s, const char *path, Paths *out) {
    list_beside(s, path, out);
    for (int i = 0; i < s->documents.n; i++)
        if (!s->documents.at[i]->is_std) list_beside(s, s->documents.at[i]->path, out);
    int entries = 0;
    for (int i = 0; i < s->roots.n; i++) list_folder(s, s->roots.at[i], DEPTH_MAX, &entries, out);
    if (out->n) qsort(out->at, (size_t)out->n, sizeof *out->at, by_text);
}
