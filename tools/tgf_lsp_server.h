// SPDX-License-Identifier: Apache-2.0
// lsp_server: what the parts of the language server share. One thread: messages are answered in order, and while none
// wait, the programs of the open documents are analysed, one step at a time, and their diagnostics sent.
//
//   documents  texts as the editor has them, saved or not
//   programs   what they compile to: one for each document that is a main file; made again when a text changes
#pragma once
#include "frontend/front.h"
#include "frontend/index.h"
#include "frontend/sight.h"
#include "tools/tgf_lsp_text.h"
#include "tools/tgf_lsp_rpc.h"

typedef struct Document {
    char *uri, *path; // malloc'ed; the path normal (path_normal), or what the URI is when it names no file
    char *text;       // malloc'ed, ends with a zero byte that does not count
    size_t size;
    int64_t version;
    bool is_std;   // the copy of std.tgf that definitions lead to
    bool searched; // files on disk were searched for one that uses it
    char *used_by; // malloc'ed: the one that was found, or NULL
} Document;

typedef struct Remark { // a message of the compiler
    DiagKind kind;
    Loc at;
    const char *text;
    Vec(struct Remark) notes;
} Remark;
typedef Vec(Remark) Remarks;

// A program under one strategy, or none, as it was once.
typedef struct Analysis {
    Arena *arena, *scratch;
    Diag *diag;
    FrontendOptions options; // texts and names live in the arena
    const char *strategy;    // NULL: one rank
    bool good, passed;       // the frontend had no complaint; nor the passes through `clean`
    FrontendResult front;
    Index *index;
    Sights sights;
    Living train, eval; // after the passes
    Remarks remarks;
} Analysis;

typedef struct Project {
    char *path; // malloc'ed: of the main file
    Analysis *now;
    Analysis *good;        // the last without mistakes; may be `now`
    Analysis **strategies; // of `good`, in order; NULL where not made yet
    int64_t generation;    // of the texts that `now` saw
    bool wanted;           // by a document that is open
    bool said;             // its remarks were sent
} Project;

typedef struct Server {
    Rpc rpc;
    enum { SERVER_NEW, SERVER_RUNS, SERVER_SHUT } state;
    bool markdown, document_changes;
    const char *strategy; // the one to show; NULL: all
    Vec(char *) roots;    // folders of the workspace
    Arena *arena;         // of what lives as long as the server
    Arena *call;          // of one message
    Vec(Document *) documents;
    Vec(Project *) projects;
    int64_t generation;      // counts changes of texts
    int64_t sent_generation; // whose diagnostics were sent
    char *std_path;
    Vec(char *) said; // URIs with diagnostics at the editor; malloc'ed
} Server;

// ---- documents
Document *document_find(const Server *s, const char *uri);
Document *document_at(const Server *s, const char *path);
void document_open(Server *s, const char *uri, char *text, size_t size, int64_t version); // takes over `text`
void document_close(Server *s, Document *d);
// Replaces bytes. False: no memory.
bool document_edit(Document *d, size_t from, size_t to, const char *text, size_t size);
char *path_of_uri(const char *uri, Arena *a);
char *uri_of_path(const char *path, Arena *a);
const char *server_uri(Server *s, const char *path); // as the editor spells it when it has it open
const char *std_path(Server *s); // of the copy of std.tgf that definitions lead to (tgf_lsp_std.h); NULL: none
const char *std_copy(Server *s); // the same, written; NULL when it cannot be

// ---- programs
// The program that a document is looked at in: its own, or, when it has no model, one that uses it.
Project *project_of(Server *s, Document *d);
Project *project_refresh(Server *s, Project *p);      // sees the texts of now
Analysis *project_strategy(Project *p, int strategy); // of p->good
bool projects_work(Server *s);                        // one step of what is not urgent; false: nothing left
void project_free(Project *p);
// `parse_only`: the syntax alone, and the index of it; so also when a program has no model.
Analysis *analysis_make(const char *path, const char *strategy, const FrontendText *texts, int ntexts, bool parse_only);
void analysis_free(Analysis *a);
// A file of the program by its path, normal; std.tgf by its copy's. NULL: not in it.
const Source *analysis_source(Server *s, const Analysis *a, const char *path);
const Source *analysis_source_of(const Analysis *a, Loc at); // of a place; NULL for nowhere
const char *source_path(Server *s, const Source *source);    // normal; the copy's for std.tgf, NULL when there is none
FrontendText *server_texts(Server *s, Arena *a, int *out_count); // all open documents
void diagnostics_send(Server *s);
// The .tgf files that may use one: in its folder, beside the open documents, and in the workspace's folders. Bounded.
typedef Vec(const char *) Paths;
void files_near(Server *s, const char *path, Paths *out);

// ---- answers: what each writes is the result; NULL_RESULT when there is nothing to say
typedef struct Call {
    Server *server;
    Span params;
    FILE *out;          // takes the result
    Document *document; // that params name
    size_t offset;      // of params.position in it
    int error;          // RpcError; 0: none
    const char *message;
} Call;
// The occurrence at the call's position and the analysis it is in (the program's now), or NULL.
const Occurrence *call_occurrence(Call *c, Project **out_program);
void call_fail(Call *c, int error, const char *format, ...) __attribute__((format(printf, 3, 4)));
void answer_hover(Call *c);
void answer_definition(Call *c);
void answer_references(Call *c);
void answer_highlights(Call *c);
void answer_symbols(Call *c);
void answer_prepare_rename(Call *c);
void answer_rename(Call *c);
void answer_formatting(Call *c);
void answer_completion(Call *c);
bool server_handle(Server *s, Message m); // false: it was `exit`
