// SPDX-License-Identifier: Apache-2.0
#include "tools/common_man.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

bool option_takes_equals(const Option *o) { return !strncmp(o->name, "--", 2) || !strncmp(o->name, "-m", 2); }

void options_help(const Command *c, FILE *out) {
    fprintf(out, "usage: %s\n\n%s\n", c->usage, c->about);
    if (c->options->name) fputs("\noptions:\n", out);
    for (const Option *o = c->options; o->name; o++) {
        char left[80];
        snprintf(left, sizeof left, "%s%s%s", o->name, o->value ? option_takes_equals(o) ? "=" : " " : "",
                 o->value ? o->value : "");
        fprintf(out, strlen(left) > 26 ? "  %s\n%29s%s\n" : "  %-26s%s %s\n", left, "", o->help);
    }
    fputs("  --help                     this text; --help=man, bash or zsh: a manual page, a shell's completion\n",
          out);
}

static bool store(const Option *o, const char *value) {
    char *end;
    errno = 0;
    switch (o->kind) {
    case OPTION_FLAG: *(bool *)o->to = true; return true;
    case OPTION_TEXT: *(const char **)o->to = value; return true;
    case OPTION_INT:
        *(int64_t *)o->to = strtoll(value, &end, 10);
        return *value && !*end && !errno && *(int64_t *)o->to >= 0;
    case OPTION_REAL:
        *(double *)o->to = strtod(value, &end);
        return *value && !*end && !errno && isfinite(*(double *)o->to);
    case OPTION_DEFINE: {
        OptionList *list = o->to;
        if (list->n == (int)(sizeof list->at / sizeof *list->at) || !strchr(value, '=')) return false;
        list->at[list->n++] = value;
        return true;
    }
    }
    return false;
}

// The option argv[*i] spells, its value in *out_value (advancing *i when it is the next argument). NULL: none.
static const Option *find(const Command *c, int argc, char **argv, int *i, const char **out_value, bool *out_missing) {
    const char *arg = argv[*i];
    *out_value = NULL;
    *out_missing = false;
    for (const Option *o = c->options; o->name; o++) {
        size_t n = strlen(o->name);
        if (strncmp(arg, o->name, n)) continue;
        const char *rest = arg + n;
        if (o->kind == OPTION_FLAG) {
            if (!*rest) return o;
        } else if (!*rest) {
            if (*i + 1 < argc) *out_value = argv[++*i];
            else *out_missing = true;
            return o;
        } else if (*rest == '=') {
            *out_value = rest + 1;
            return o;
        } else if (n == 2 && o->name[1] != '-') { // -Dlayer=2, -ofile
            *out_value = rest;
            return o;
        }
    }
    return NULL;
}

int options_read(const Command *c, int argc, char **argv, const char **out_positional, int *out_count, bool *out_done) {
    *out_count = 0;
    *out_done = false;
    bool only_names = false;
    for (int i = 1; i < argc; i++) {
        const char *arg = argv[i];
        if (!only_names && !strcmp(arg, "--")) {
            only_names = true;
        } else if (!only_names && !strcmp(arg, "--help")) {
            options_help(c, stdout);
            *out_done = true;
            return 0;
        } else if (!only_names && !strncmp(arg, "--help=", 7)) {
            *out_done = true;
            return form_print(c, arg + 7, stdout);
        } else if (!only_names && arg[0] == '-' && arg[1]) {
            const char *value;
            bool missing;
            const Option *o = find(c, argc, argv, &i, &value, &missing);
            if (!o) {
                fprintf(stderr, "unknown option '%s'; usage: %s\n", arg, c->usage);
                return 2;
            }
            if (missing || !store(o, value)) {
                fprintf(stderr, "option %s needs %s%s\n", o->name, o->value ? o->value : "no value",
                        missing ? "" : " as its value");
                return 2;
            }
        } else if (*out_count == c->most) {
            fprintf(stderr, "unexpected argument '%s'; usage: %s\n", arg, c->usage);
            return 2;
        } else {
            out_positional[(*out_count)++] = arg;
        }
    }
    if (*out_count < c->least) {
        fprintf(stderr, "usage: %s\n", c->usage);
        return 2;
    }
    return 0;
}
