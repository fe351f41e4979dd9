// SPDX-License-Identifier: Apache-2.0
// The IR's text: prints what it parsed, byte for byte; the verifier accepts it, and refuses each of a list of damages.
#include "ir/text.h"
#include "ir/verify.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *read_file(const char *path) {
    FILE *f = fopen(path, "rb");
    if (!f) {
        perror(path);
        exit(1);
    }
    char *text = calloc(1, 1 << 16);
    size_t n = fread(text, 1, (1 << 16) - 1, f);
    text[n] = 0;
    fclose(f);
    return text;
}

// Parses and verifies; the printed text goes to *out_text (to be freed) if it parsed. Messages go to a buffer.
static bool accepts(const char *text, char **out_text) {
    Arena *arena = arena_new(), *scratch = arena_new();
    StrTable *strs = strtable_new(arena);
    FILE *sink = tmpfile();
    Diag *diag = diag_new(arena, sink, false);
    Unit *u = unit_parse(arena, scratch, strs, diag, str_intern(strs, "text.tgi"), text, strlen(text));
    bool ok = u && unit_verify(u, "test");
    if (out_text && u) {
        size_t size;
        FILE *out = open_memstream(out_text, &size);
        unit_print(u, out);
        fclose(out);
    }
    if (out_text && !ok) {
        rewind(sink);
        for (int c; (c = fgetc(sink)) != EOF;) putchar(c);
    }
    fclose(sink);
    arena_free(scratch);
    arena_free(arena);
    return ok;
}

static char *replaced(const char *text, const char *from, const char *to) {
    const char *at = strstr(text, from);
    if (!at) {
        printf("the example does not hold '%s'\n", from);
        exit(1);
    }
    char *out = calloc(1, strlen(text) + strlen(to) + 1);
    memcpy(out, text, (size_t)(at - text));
    strcat(strcat(out, to), at + strlen(from));
    return out;
}

typedef const char *Damage[2];

// Accepted, and printed as it is; refused with each of the damages.
static int check(const char *path, const Damage *damages, size_t ndamages) {
    int failures = 0;
    char *text = read_file(path), *printed = NULL;
    if (!accepts(text, &printed)) printf("FAIL: %s is refused\n", path), failures++;
    if (printed && strcmp(text, printed)) printf("FAIL: printed differently:\n%s", printed), failures++;
    free(printed);
    for (size_t i = 0; i < ndamages; i++) {
        char *bad = replaced(text, damages[i][0], damages[i][1]);
        if (accepts(bad, NULL)) printf("FAIL: accepted with '%s' for '%s'\n", damages[i][1], damages[i][0]), failures++;
        free(bad);
    }
    free(text);
    return failures;
}

int main(void) {
    static const Damage damages[] = {
        {"over width @tiny", "over hidden @tiny"},            // contracts an axis one operand lacks
        {"+sum(tensor) = dot", "= dot"},                      // pending mark missing
        {"all_reduce %y on tensor", "all_reduce %y on data"}, // wrong group
        {"add %x.3, %3", "add %x.3, %y"},                     // pending meets replicated
        {"tanh %h", "tanh %4"},                               // used before its definition
        {"output %loss", "output %h"},                        // outside its scope
        {"tanh %h", "tanh %h, %h"},                           // operand count
        {"yield %4, %h", "yield %4"},                         // too few yields
        {"yield %4, %h", "yield %h, %4"},                     // carried type changes
        {"carry 1 stack 1", "carry 2"},                       //
        {"axis vocab=11", "axis vocab=12"},                   // extents disagree
        {"%6: f32[]", "%5: f32[]"},                           // defined twice
        {"= tanh", "= tanhh"},                                // no such op
        {"take %wte, %ids over vocab", "take %wte, %ids over width"},
        {"i32[batch/data=8]", "f32[batch/data=8]"}, // ids must be integers
        {"f32[vocab=11, width=6] = param", "f32[vocab/tensor=11, width/tensor=6] = param"},
        {"add %x.3, %3\n        yield", "add %x.3, %3\n        yield %4\n        yield"},
        {"over data=2", "over data=0"},
        {"\"ids\"", "\"ids"},
    };
    static const Damage tasks[] = {
        {"over layer.0 first", "over layer.2 first"}, // unknown axis
        {"axis layer.0=2 of layer", "axis layer.0=2 of larger"},
        {"chunk on 1", "chunk on 2"},                     // no such stage
        {"chunk on 0 variant 0", "chunk on 0 variant 2"}, // no such variant
        {"channel from 0", "channel from 2"},             // no such chunk
        {"task train.f0", "task train.f2"},               // no such function
        {"chunks 2 halves", "chunks 3 halves"},           // not the pipeline's
        {"place 0 1", "place 0 2"},
        {"F0.0 F0.1", "F0.0 F0.2"}, // no such microbatch
        {"F0.0 F0.1", "F0.0 G0.1"},
        {"schedule zbh1", "schedule zbh9"},
        {"6: zero 0", "7: zero 0"}, // fewer steps than announced
        {"6: zero 0", "5: zero 0"},
        {"wait 0 m0", "wait 1 m0"}, // no such channel
        {"run clip -1", "run clip -2"},
        {"send 0 m0", "sent 0 m0"},
        {"stages 2, 3 @", "stages 2, 0 @"},
        {"schedule 1f1b", "schedule file"},           // without its path
        {"        0:\n        0:\n", "        0:\n"}, // a stage is absent
    };
    int failures = check("tests/ir/text.tgi", damages, sizeof damages / sizeof *damages) +
                   check("tests/ir/tasks.tgi", tasks, sizeof tasks / sizeof *tasks);
    printf("%d failures\n", failures);
    return failures != 0;
}
