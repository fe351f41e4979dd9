// SPDX-License-Identifier: Apache-2.0
// JSON's strings: escapes and halves of surrogate pairs, strict and as editors send them, and what is written.
#include "runtime/json.h"
#include <stdlib.h>
#include <string.h>

static int failures;

// NULL: refused.
static void reads(const char *json, const char *strict, const char *any, size_t any_size) {
    char out[100];
    size_t size = 0;
    Json j = json_open(json, strlen(json));
    bool ok = json_string(&j, out, sizeof out) && json_end(&j);
    if (ok != (strict != NULL) || (ok && strcmp(out, strict))) printf("json_string: %s\n", json), failures++;
    j = json_open(json, strlen(json));
    ok = json_text(&j, out, sizeof out, &size) && json_end(&j);
    if (ok != (any != NULL) || (ok && (size != any_size || memcmp(out, any, size + 1))))
        printf("json_text: %s\n", json), failures++;
}

static void writes(const char *text, const char *json) {
    char *out = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&out, &size);
    json_put_string(f, text);
    fclose(f);
    if (strcmp(out, json)) printf("json_put_string: %s\n", out), failures++;
    free(out);
}

int main(void) {
    reads("\"a\\u00e4\\n\\\"\"", "aä\n\"", "aä\n\"", 5);
    reads("\"\\ud83d\\ude00\"", "😀", "😀", 4);
    reads("\"\\uD834\\uDD1E!\"", "𝄞!", "𝄞!", 5);
    reads("\"\\ud83d\"", NULL, "\xef\xbf\xbd", 3);
    reads("\"\\ude00x\"", NULL, "\xef\xbf\xbdx", 4);
    reads("\"\\ud83d\\u0041\"", NULL,
          "\xef\xbf\xbd"
          "A",
          4);
    reads("\"\\ud83d\\ud83d\\ude00\"", NULL, "\xef\xbf\xbd😀", 7);
    reads("\"\\ud83dn\"", NULL, "\xef\xbf\xbdn", 4);
    reads("\"a\\u0000b\"", NULL, "a\0b", 3);
    reads("\"\\ud83d\\uzz00\"", NULL, NULL, 0);
    reads("\"\\x\"", NULL, NULL, 0);
    reads("\"\\u12\"", NULL, NULL, 0);
    reads("\"a", NULL, NULL, 0);
    reads("\"a\nb\"", NULL, NULL, 0);
    writes("a\"\\\n\x01 ä😀", "\"a\\\"\\\\\\u000a\\u0001 ä😀\"");
    writes("\xff\xc3(\xed\xa0\x80", "\"\\ufffd\\ufffd(\\ufffd\\ufffd\\ufffd\"");
    puts(failures ? "failed" : "ok");
    return failures != 0;
}
