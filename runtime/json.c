// SPDX-License-Identifier: Apache-2.0
#include "runtime/json.h"
#include "base/str.h"
#include <string.h>

Json json_open(const char *text, size_t size) { return (Json){.start = text, .at = text, .end = text + size}; }

static bool mistake(Json *j, const char *what) {
    if (!j->error) {
        j->error = what;
        j->error_at = (size_t)(j->at - j->start);
    }
    return false;
}

char json_peek(Json *j) {
    while (j->at < j->end && (*j->at == ' ' || *j->at == '\n' || *j->at == '\t' || *j->at == '\r')) j->at++;
    return j->at < j->end ? *j->at : 0;
}

bool json_enter(Json *j, char bracket) {
    if (j->error) return false;
    if (json_peek(j) != bracket) return mistake(j, bracket == '{' ? "expected an object" : "expected an array");
    if (j->depth == JSON_DEPTH) return mistake(j, "nested too deep");
    j->first[j->depth++] = true;
    j->at++;
    return true;
}

bool json_next(Json *j, char close) {
    if (j->error) return false;
    bool *first = &j->first[j->depth - 1];
    char c = json_peek(j);
    if (c == close) {
        j->at++;
        j->depth--;
        return false;
    }
    if (!*first) {
        if (c != ',') return mistake(j, close == '}' ? "expected ',' or '}'" : "expected ',' or ']'");
        j->at++;
    }
    *first = false;
    return true;
}

static int hex4(Json *j) {
    int value = 0;
    if (j->end - j->at < 4) return -1;
    for (int i = 0; i < 4; i++) {
        char c = *j->at++;
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0) return -1;
        value = value * 16 + digit;
    }
    return value;
}

enum { BAD_ESCAPE = -1, LONE_SURROGATE = -2 };

// After `\u`: the code point, surrogate pairs joined; or what is wrong.
static int32_t unicode_escape(Json *j) {
    int high = hex4(j);
    if (high < 0) return BAD_ESCAPE;
    if (high >= 0xdc00 && high < 0xe000) return LONE_SURROGATE;
    if (high < 0xd800 || high >= 0xe000) return high;
    const char *behind = j->at;
    if (j->end - j->at < 2 || j->at[0] != '\\' || j->at[1] != 'u') return LONE_SURROGATE;
    j->at += 2;
    int low = hex4(j);
    if (low < 0) return BAD_ESCAPE;
    if (low < 0xdc00 || low >= 0xe000) {
        j->at = behind;
        return LONE_SURROGATE;
    }
    return 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
}

static int utf8(int32_t c, char out[4]) {
    if (c < 0x80) return out[0] = (char)c, 1;
    if (c < 0x800) return out[0] = (char)(0xc0 | c >> 6), out[1] = (char)(0x80 | (c & 63)), 2;
    if (c < 0x10000)
        return out[0] = (char)(0xe0 | c >> 12), out[1] = (char)(0x80 | (c >> 6 & 63)), out[2] = (char)(0x80 | (c & 63)),
               3;
    return out[0] = (char)(0xf0 | c >> 18), out[1] = (char)(0x80 | (c >> 12 & 63)),
           out[2] = (char)(0x80 | (c >> 6 & 63)), out[3] = (char)(0x80 | (c & 63)), 4;
}

// out NULL: skipped. `any`: what is no text is taken too, as json_text says; the bytes before the zero in *out_size.
static bool read_string(Json *j, char *out, size_t size, bool any, size_t *out_size) {
    static const char escapes[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
    size_t n = 0;
    if (j->error) return false;
    if (json_peek(j) != '"') return mistake(j, "expected a string");
    j->at++;
    while (j->at < j->end && *j->at != '"') {
        char bytes[4] = {*j->at++};
        int count = 1;
        if ((unsigned char)bytes[0] < 32) return mistake(j, "a control character in a string");
        if (bytes[0] == '\\') {
            char c = j->at < j->end ? *j->at++ : 0;
            const char *known = c ? strchr(escapes, c) : NULL;
            if (known) {
                bytes[0] = meant[known - escapes];
            } else {
                int32_t code = c == 'u' ? unicode_escape(j) : BAD_ESCAPE;
                if (any && code == LONE_SURROGATE) code = 0xfffd;
                if (code < 0 || (!code && !any)) return mistake(j, "a bad escape in a string");
                count = utf8(code, bytes);
            }
        }
        if (!out) continue;
        if (n + (size_t)count >= size) return mistake(j, "a string is too long");
        memcpy(out + n, bytes, (size_t)count);
        n += (size_t)count;
    }
    if (j->at == j->end) return mistake(j, "a string does not end");
    j->at++;
    if (out) out[n] = 0;
    if (out_size) *out_size = n;
    return true;
}

bool json_string(Json *j, char *out_string, size_t size) { return read_string(j, out_string, size, false, NULL); }
bool json_text(Json *j, char *out_text, size_t size, size_t *out_size) {
    return read_string(j, out_text, size, true, out_size);
}

bool json_key(Json *j, char *out_key, size_t size) {
    if (!read_string(j, out_key, size, false, NULL)) return false;
    if (json_peek(j) != ':') return mistake(j, "expected ':'");
    j->at++;
    return true;
}

static bool is_digit(const Json *j) { return j->at < j->end && *j->at >= '0' && *j->at <= '9'; }

bool json_int(Json *j, int64_t *out_value) {
    if (j->error) return false;
    bool negative = json_peek(j) == '-';
    int64_t x = 0;
    j->at += negative;
    if (!is_digit(j)) return mistake(j, "expected an integer");
    const char *first = j->at;
    while (is_digit(j)) {
        int digit = *j->at++ - '0';
        if (__builtin_mul_overflow(x, (int64_t)10, &x) ||
            __builtin_add_overflow(x, (int64_t)(negative ? -digit : digit), &x))
            return mistake(j, "an integer beyond 64 bits");
    }
    if (*first == '0' && j->at - first > 1) return mistake(j, "an integer begins with 0");
    if (j->at < j->end && (*j->at == '.' || *j->at == 'e' || *j->at == 'E')) return mistake(j, "expected an integer");
    *out_value = x;
    return true;
}

static bool skip_number(Json *j) {
    if (*j->at == '-') j->at++;
    if (!is_digit(j)) return mistake(j, "expected a value");
    while (is_digit(j)) j->at++;
    if (j->at < j->end && *j->at == '.') {
        j->at++;
        if (!is_digit(j)) return mistake(j, "a bad number");
        while (is_digit(j)) j->at++;
    }
    if (j->at < j->end && (*j->at == 'e' || *j->at == 'E')) {
        j->at++;
        if (j->at < j->end && (*j->at == '+' || *j->at == '-')) j->at++;
        if (!is_digit(j)) return mistake(j, "a bad number");
        while (is_digit(j)) j->at++;
    }
    return true;
}

bool json_skip(Json *j) { // recursion is bounded by JSON_DEPTH
    static const char *const words[] = {"true", "false", "null"};
    if (j->error) return false;
    char c = json_peek(j);
    if (c == '"') return read_string(j, NULL, 0, true, NULL);
    if (c == '{') {
        json_enter(j, '{');
        while (json_next(j, '}'))
            if (!json_key(j, NULL, 0) || !json_skip(j)) return false;
        return !j->error;
    }
    if (c == '[') {
        json_enter(j, '[');
        while (json_next(j, ']'))
            if (!json_skip(j)) return false;
        return !j->error;
    }
    for (int i = 0; i < 3; i++) {
        size_t n = strlen(words[i]);
        if ((size_t)(j->end - j->at) >= n && !memcmp(j->at, words[i], n)) {
            j->at += n;
            return true;
        }
    }
    return c ? skip_number(j) : mistake(j, "expected a value, the text ends");
}

bool json_end(Json *j) {
    if (j->error) return false;
    json_peek(j);
    return j->at == j->end || mistake(j, "text behind the value");
}

void json_put_string(FILE *out, const char *s) {
    fputc('"', out);
    for (size_t left = strlen(s); left;) {
        unsigned char c = (unsigned char)*s;
        size_t n = (size_t)str_utf8(s, left);
        if (c == '"' || c == '\\') fprintf(out, "\\%c", c);
        else if (c < 32) fprintf(out, "\\u%04x", c);
        else if (n) fwrite(s, 1, n, out);
        else fputs("\\ufffd", out);
        s += n ? n : 1;
        left -= n ? n : 1;
    }
    fputc('"', out);
}
