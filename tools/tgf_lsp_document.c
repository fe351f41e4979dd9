// SPDX-License-Identifier: Apache-2.0
// Documents that the editor has open, and what their URIs name.
#include "tools/tgf_lsp_server.h"
#include "tools/tgf_lsp_std.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static int hex_digit(char c) {
    return c >= '0' && c <= '9' ? c - '0' : isxdigit((unsigned char)c) ? tolower((unsigned char)c) - 'a' + 10 : -1;
}

// file:///a%20b and file://localhost/a: the path; any other URI stands for itself.
char *path_of_uri(const char *uri, Arena *a) {
    static const char scheme[] = "file://";
    if (strncasecmp(uri, scheme, sizeof scheme - 1)) return arena_printf(a, "%s", uri);
    const char *p = strchr(uri + sizeof scheme - 1, '/');
    if (!p) return arena_printf(a, "%s", uri);
    char *out = arena_alloc(a, strlen(p) + 1);
    size_t n = 0;
    while (*p) {
        int high = *p == '%' ? hex_digit(p[1]) : -1, low = high >= 0 ? hex_digit(p[2]) : -1;
        bool escaped = low >= 0 && 16 * high + low;
        out[n++] = escaped ? (char)(16 * high + low) : *p;
        p += escaped ? 3 : 1;
    }
    return path_normal(a, out);
}

char *uri_of_path(const char *path, Arena *a) {
    if (*path != '/') return arena_printf(a, "%s", path);
    char *out = arena_alloc(a, 3 * strlen(path) + sizeof "file://");
    char *to = out + sprintf(out, "file://");
    for (; *path; path++) {
        unsigned char c = (unsigned char)*path;
        if (isalnum(c) || strchr("-._~/", c)) *to++ = (char)c;
        else to += sprintf(to, "%%%02X", c);
    }
    return out;
}

Document *document_find(const Server *s, const char *uri) {
    for (int i = 0; i < s->documents.n; i++)
        if (!strcmp(s->documents.at[i]->uri, uri)) return s->documents.at[i];
    return document_at(s, path_of_uri(uri, s->call)); // the same file, spelled otherwise
}

Document *document_at(const Server *s, const char *path) {
    for (int i = 0; i < s->documents.n; i++)
        if (!strcmp(s->documents.at[i]->path, path)) return s->documents.at[i];
    return NULL;
}

void document_open(Server *s, const char *uri, char *text, size_t size, int64_t version) {
    Document *old = document_find(s, uri);
    if (old) document_close(s, old);
    Document *d = calloc(1, sizeof *d);
    char *path = path_of_uri(uri, s->call);
    if (d) *d = (Document){.uri = strdup(uri), .path = strdup(path), .text = text, .size = size, .version = version};
    if (!d || !d->uri || !d->path) {
        if (d) free(d->uri), free(d->path);
        free(d);
        free(text);
        return;
    }
    const char *std = std_path(s);
    d->is_std = std && !strcmp(std, path);
    vec_push(s->arena, &s->documents, d);
    s->generation++;
}

void document_close(Server *s, Document *d) {
    int at = 0;
    while (s->documents.at[at] != d) at++;
    s->documents.at[at] = s->documents.at[--s->documents.n];
    free(d->uri);
    free(d->path);
    free(d->text);
    free(d->used_by);
    free(d);
    s->generation++;
}

bool document_edit(Document *d, size_t from, size_t to, const char *text, size_t size) {
    size_t new_size = d->size - (to - from) + size;
    char *out = malloc(new_size + 1);
    if (!out) return false;
    memcpy(out, d->text, from);
    memcpy(out + from, text, size);
    memcpy(out + from + size, d->text + to, d->size - to);
    out[new_size] = 0;
    free(d->text);
    d->text = out;
    d->size = new_size;
    return true;
}

const char *std_path(Server *s) {
    if (!s->std_path) s->std_path = std_copy_path(s->arena);
    return s->std_path;
}

const char *std_copy(Server *s) {
    const char *path = std_path(s);
    return path && std_copy_write(path, s->call) ? path : NULL;
}
