// SPDX-License-Identifier: Apache-2.0
// Manual pages are mdoc(7) without a warning of `mandoc -T lint`; what a table cannot say (exit status, the other
// pages) is the same for all tools. Completion is data for the functions of completion.bash and completion.zsh, which
// go in front of it.
#include "tools/common_man.h"
#include "base/version.h"
#include <ctype.h>
#include <string.h>

// The pages' date: that of the last change to what is written here, so that builds are equal byte for byte.
#define MAN_DATE "November 22, 2026"
#define MAX_NAME 64

extern const char completion_bash[], completion_zsh[];

// "tgf train MODEL.tgf [options]": "tgf train", its words joined by `by`.
static void name_of(const Command *c, char by, char out_name[MAX_NAME]) {
    size_t n = 0;
    const char *p = c->usage;
    while (islower((unsigned char)*p) && n + 1 < MAX_NAME) {
        while (islower((unsigned char)*p) && n + 1 < MAX_NAME) out_name[n++] = *p++;
        if (*p != ' ' || !islower((unsigned char)p[1]) || n + 1 >= MAX_NAME) break;
        out_name[n++] = by;
        p++;
    }
    out_name[n] = 0;
}

// Text of several lines: none of them read as a request, no escape sequence begun, each sentence on its own line.
static void man_text(const char *s, size_t n, FILE *out) {
    for (size_t i = 0; i < n; i++) {
        if ((!i || s[i - 1] == '\n') && (s[i] == '.' || s[i] == '\'')) fputs("\\&", out);
        bool ends = i && i + 1 < n && s[i] == ' ' && s[i - 1] == '.' && isupper((unsigned char)s[i + 1]);
        if (ends) fputc('\n', out);
        else if (s[i] == '\\') fputs("\\e", out);
        else fputc(s[i], out);
    }
}

// One argument of a request: never itself the name of one (Ar, No), never punctuation.
static void man_word(const char *s, size_t n, FILE *out) {
    fputs(" \\&", out);
    man_text(s, n, out);
}

// A word of a usage line, without brackets: -o, --header, MODEL.tgf.
static void man_usage_word(const char *s, size_t n, FILE *out) {
    fputs(s[0] == '-' ? " Fl" : " Ar", out);
    if (s[0] == '-') s++, n--;
    man_word(s, n, out);
}

static void man_synopsis(const Command *c, FILE *out) {
    char name[MAX_NAME];
    name_of(c, ' ', name);
    fprintf(out, ".Sh SYNOPSIS\n.Nm %s", name);
    bool open = false;
    for (const char *p = c->usage + strlen(name); *p;) {
        p += strspn(p, " ");
        size_t n = strcspn(p, " ");
        const char *next = p + n;
        if (!n) break;
        if (*p == '[') p++, n--, open = true, fputs("\n.Op", out);
        else if (!open) fputs("\n.", out);
        bool closes = n && p[n - 1] == ']';
        if (closes) n--;
        if (open) man_usage_word(p, n, out);
        else fprintf(out, "%s", *p == '-' ? "Fl" : "Ar"), man_word(p + (*p == '-'), n - (*p == '-'), out);
        if (!open && *p == '-' && *next && !strchr("-[", next[1])) { // -o MODEL.o: flag and value in one line
            p = next + 1;
            n = strcspn(p, " ");
            next = p + n;
            man_usage_word(p, n, out);
        }
        if (closes) open = false;
        p = next;
    }
    fputc('\n', out);
}

// .Nd: the first sentence, as a phrase.
static void man_phrase(const char *about, FILE *out) {
    const char *end = about;
    while (*end && !(*end == '.' && (!end[1] || isspace((unsigned char)end[1])))) end++;
    fputs(".Nd ", out);
    for (const char *p = about; p < end; p++)
        fputc(p == about ? tolower((unsigned char)*p) : *p == '\n' ? ' ' : *p, out);
    fputc('\n', out);
}

static void man_head(const char *page, const char *about, FILE *out) {
    fputs(".\\\" SPDX-License-Identifier: Apache-2.0\n.\\\" Made from the tool's table of options by --help=man.\n"
          ".Dd " MAN_DATE "\n.Dt ",
          out);
    for (const char *p = page; *p; p++) fputc(toupper((unsigned char)*p), out);
    fprintf(out, " 1\n.Os tgf " TGF_VERSION "\n.Sh NAME\n.Nm %s\n", page);
    man_phrase(about, out);
}

static void man_about(const char *about, FILE *out) {
    fputs(".Sh DESCRIPTION\n", out);
    man_text(about, strlen(about), out);
    fputc('\n', out);
}

static void man_status(FILE *out) {
    fputs(".Sh EXIT STATUS\n.Bl -tag -width Ds\n.It 0\nAll went well.\n.It 1\nA file or a value is wrong, or the run "
          "failed; standard error says what and where.\n.It 2\nThe command line is wrong, or the tool found a mistake "
          "of its own.\n.El\n",
          out);
}

static void man_page(const Command *c, FILE *out) {
    char page[MAX_NAME];
    name_of(c, '-', page);
    man_head(page, c->about, out);
    man_synopsis(c, out);
    man_about(c->about, out);
    fputs(".Sh OPTIONS\n.Bl -tag -width Ds\n", out);
    for (const Option *o = c->options; o->name; o++) {
        fprintf(out, ".It Fl %s", o->name + 1);
        if (o->value) {
            fputs(option_takes_equals(o) ? " Ns = Ns Ar" : " Ar", out);
            man_word(o->value, strlen(o->value), out);
        }
        fputc('\n', out);
        man_text(o->help, strlen(o->help), out);
        fputs(".\n", out);
    }
    fputs(".It Fl -help\nPrint the options;\n.Fl -help Ns = Ns Cm man\nprints this page,\n"
          ".Fl -help Ns = Ns Cm bash\nand\n.Fl -help Ns = Ns Cm zsh\na shell's completion.\n.El\n",
          out);
    man_status(out);
    fprintf(out, ".Sh SEE ALSO\n.Xr tgf%s 1\n", strchr(page, '-') ? " 1 ,\n.Xr tgfc" : "");
}

static void man_program(const char *program, const char *about, const CommandName *commands, int n, FILE *out) {
    man_head(program, about, out);
    fprintf(out, ".Sh SYNOPSIS\n.Nm\n.Ar command\n.Op Ar argument ...\n");
    man_about(about, out);
    fputs(".Pp\nThe commands are:\n.Bl -tag -width Ds\n", out);
    for (int i = 0; i < n; i++) {
        fprintf(out, ".It Cm \\&%s\n", commands[i].name);
        man_text(commands[i].about, strlen(commands[i].about), out);
        fprintf(out, "; see\n.Xr %s-%s 1 .\n", program, commands[i].name);
    }
    fputs(".El\n.Sh OPTIONS\n.Bl -tag -width Ds\n.It Fl -help\nList the commands.\n.It Fl -version\n"
          "Print the version.\n.El\n",
          out);
    man_status(out);
    fputs(".Sh SEE ALSO\n", out);
    const char *last = ""; // in the order of the alphabet, as mandoc has it
    for (int i = 0; i < n; i++) {
        const char *least = NULL;
        for (int k = 0; k < n; k++)
            if (strcmp(commands[k].name, last) > 0 && (!least || strcmp(commands[k].name, least) < 0))
                least = commands[k].name;
        if (!least) break;
        fprintf(out, ".Xr %s-%s 1 ,\n", program, least);
        last = least;
    }
    fputs(".Xr tgfc 1\n", out);
}

// What may stand as an option's value, as completion.bash and completion.zsh name it. Words: its `a|b`.
typedef enum ValueKind { VALUE_OTHER, VALUE_WORDS, VALUE_FILE, VALUE_FOLDER, VALUE_STRATEGY, VALUE_AXIS } ValueKind;

static ValueKind value_kind(const Option *o) {
    if (!o->value) return VALUE_OTHER;
    if (strchr(o->value, '|')) return VALUE_WORDS;
    if (!strcmp(o->name, "--strategy")) return VALUE_STRATEGY;
    if (!strcmp(o->value, "AXIS=N")) return VALUE_AXIS;
    if (!strcmp(o->value, "FILE") || !strcmp(o->value, "PATH")) return VALUE_FILE;
    return !strcmp(o->value, "DIR") || !strcmp(o->value, "FOLDER") ? VALUE_FOLDER : VALUE_OTHER;
}

// The literal words of `a|b|FILE|c:N`, each behind `before`; those with capitals stand for something else.
static void print_words(const char *value, const char *before, FILE *out) {
    for (const char *p = value; *p;) {
        size_t n = strcspn(p, "|");
        bool literal = n > 0;
        for (size_t i = 0; i < n; i++) literal &= !isupper((unsigned char)p[i]);
        if (literal) fprintf(out, "%s%.*s", before, (int)n, p);
        p += n + (p[n] == '|');
    }
}

static const char *identifier(const Command *c, char out_name[MAX_NAME]) {
    name_of(c, '_', out_name);
    return out_name;
}

// A line an option: its name, then what its value can be: words, @file, ..., @any; nothing for a flag.
static void bash_table(const Command *c, FILE *out) {
    static const char *const kinds[] = {" @any", "", " @file", " @folder", " @strategy", " @axis"};
    char name[MAX_NAME];
    fprintf(out, "\n_%s_options='", identifier(c, name));
    for (const Option *o = c->options; o->name; o++) {
        ValueKind kind = value_kind(o);
        fprintf(out, "%s", o->name);
        if (o->value) fputs(kinds[kind], out);
        if (kind == VALUE_WORDS) print_words(o->value, " ", out);
        if (kind == VALUE_WORDS && strstr(o->value, "FILE")) fputs(" @file", out);
        fputc('\n', out);
    }
    fputs("--help'\n", out);
}

// Help within '...[HERE]...': quotes, brackets and colons as zsh's _arguments wants them.
static void zsh_text(const char *s, FILE *out) {
    for (; *s; s++) {
        if (*s == '\'') fputs("'\\'", out);
        else if (strchr("[]:\\", *s)) fputc('\\', out);
        fputc(*s == '\n' ? ' ' : *s, out);
    }
}

static void zsh_function(const Command *c, FILE *out) {
    static const char *const kinds[] = {" ", "", "_files", "_files -/", "_tgf_strategies", "_tgf_axes"};
    char name[MAX_NAME];
    fprintf(out, "\n_%s() {\n    _arguments \\\n", identifier(c, name));
    for (const Option *o = c->options; o->name; o++) {
        ValueKind kind = value_kind(o);
        fprintf(out, "        '%s%s%s[", o->kind == OPTION_DEFINE ? "*" : "", o->name,
                !o->value                          ? ""
                : o->name[1] != '-' && !o->name[2] ? "+"
                                                   : "=");
        zsh_text(o->help, out);
        fputc(']', out);
        if (o->value) {
            fputc(':', out);
            zsh_text(kind == VALUE_WORDS ? "word" : o->value, out);
            fprintf(out, ":%s", kinds[kind]);
        }
        if (kind == VALUE_WORDS) {
            bool or_file = strstr(o->value, "FILE");
            fputs(or_file ? " _tgf_words_files" : "(", out);
            print_words(o->value, " ", out);
            if (!or_file) fputc(')', out);
        }
        fputs("' \\\n", out);
    }
    fputs("        '--help[list the options]' \\\n        '*:model:_files -g \"*.tgf\"'\n}\n", out);
}

static int unknown_form(const char *form) {
    fprintf(stderr, "--help=%s: expected man, bash or zsh\n", form);
    return 2;
}

int form_print(const Command *c, const char *form, FILE *out) {
    char name[MAX_NAME];
    bool alone = !strchr((identifier(c, name), name), '_'); // not a part of a program's
    if (!strcmp(form, "man")) {
        man_page(c, out);
    } else if (!strcmp(form, "bash")) {
        if (alone) fputs(completion_bash, out);
        bash_table(c, out);
        if (alone)
            fprintf(out, "\n_%s() { _tgf_complete 1 \"$_%s_options\"; }\ncomplete -F _%s %s\n", name, name, name, name);
    } else if (!strcmp(form, "zsh")) {
        if (alone) fprintf(out, "#compdef %s\n%s", name, completion_zsh);
        zsh_function(c, out);
        if (alone) fprintf(out, "\n_%s \"$@\"\n", name);
    } else {
        return unknown_form(form);
    }
    return 0;
}

static int print_parts(const CommandName *commands, int n, const char *form) {
    char option[32];
    snprintf(option, sizeof option, "--help=%s", form);
    int rc = 0;
    for (int i = 0; i < n && !rc; i++) rc = commands[i].run(2, (char *[]){(char *)commands[i].name, option, NULL});
    return rc;
}

int form_print_program(const char *program, const char *about, const CommandName *commands, int n, const char *form) {
    int rc = 0;
    if (!strcmp(form, "commands")) {
        for (int i = 0; i < n; i++) puts(commands[i].name);
    } else if (!strcmp(form, "man")) {
        man_program(program, about, commands, n, stdout);
    } else if (!strcmp(form, "bash")) {
        fputs(completion_bash, stdout);
        if ((rc = print_parts(commands, n, form))) return rc;
        printf("\n_%s_commands='", program);
        for (int i = 0; i < n; i++) printf("%s ", commands[i].name);
        printf("--help --version'\n\n_%s() {\n    local table=_%s_${COMP_WORDS[1]}_options\n"
               "    if ((COMP_CWORD == 1)); then\n"
               "        mapfile -t COMPREPLY < <(compgen -W \"$_%s_commands\" -- \"${COMP_WORDS[1]}\")\n"
               "    elif [[ ${COMP_WORDS[1]} == [a-z]* ]]; then\n        _tgf_complete 2 \"${!table}\"\n    fi\n}\n"
               "complete -F _%s %s\n",
               program, program, program, program, program);
    } else if (!strcmp(form, "zsh")) {
        printf("#compdef %s\n%s", program, completion_zsh);
        if ((rc = print_parts(commands, n, form))) return rc;
        printf("\n_%s() {\n    local -a commands=(\n", program);
        for (int i = 0; i < n; i++) {
            printf("        '%s:", commands[i].name);
            zsh_text(commands[i].about, stdout);
            puts("'");
        }
        printf("    )\n    if ((CURRENT == 2)); then\n        _describe command commands\n"
               "    elif (($+functions[_%s_$words[2]])); then\n        shift words\n        ((CURRENT--))\n"
               "        _%s_$words[1]\n    fi\n}\n\n_%s \"$@\"\n",
               program, program, program);
    } else {
        return unknown_form(form);
    }
    return rc;
}
