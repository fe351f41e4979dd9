// SPDX-License-Identifier: Apache-2.0
#include "tools/tgf_lsp_json.h"
#include "runtime/json.h"
#include <string.h>

static Json open_span(Span s) { return json_open(s.text, s.text ? s.size : 0); }

// The next value, which is skipped.
static Span next_value(Json *j) {
    json_peek(j);
    const char *from = j->at;
    return json_skip(j) ? (Span){from, (size_t)(j->at - from)} : (Span){0};
}

bool span_valid(Span message) {
    Json j = open_span(message);
    return json_skip(&j) && json_end(&j);
}

char span_kind(Span s) {
    Json j = open_span(s);
    return json_peek(&j);
}

static Span member(Span object, const char *name, size_t size) {
    Json j = open_span(object);
    if (json_peek(&j) != '{') return (Span){0};
    json_enter(&j, '{');
    while (json_next(&j, '}')) {
        char key[64];
        Json again = j;
        bool fits = json_key(&again, key, sizeof key); // longer ones are not asked for
        if (!json_key(&j, NULL, 0)) break;
        Span value = next_value(&j);
        if (fits && strlen(key) == size && !memcmp(key, name, size)) return value;
    }
    return (Span){0};
}

Span span_at(Span object, const char *path) {
    while (*path && object.text) {
        size_t n = strcspn(path, ".");
        object = member(object, path, n);
        path += n + (path[n] == '.');
    }
    return object;
}

Span span_item(Span array, int i) {
    Json j = open_span(array);
    if (json_peek(&j) != '[') return (Span){0};
    json_enter(&j, '[');
    while (json_next(&j, ']')) {
        Span value = next_value(&j);
        if (i-- == 0) return value;
    }
    return (Span){0};
}

char *span_text(Span s, Arena *a, size_t *out_size) {
    size_t size = 0;
    if (span_kind(s) != '"') return NULL;
    Json j = open_span(s);
    char *text = arena_alloc(a, s.size + 1);
    if (!json_text(&j, text, s.size + 1, &size)) return NULL;
    if (out_size) *out_size = size;
    return text;
}

bool span_int(Span s, int64_t *out) {
    Json j = open_span(s);
    return s.text && json_int(&j, out) && json_end(&j);
}

bool span_equal(Span a, Span b) { return a.size == b.size && a.text && b.text && !memcmp(a.text, b.text, a.size); }
