// SPDX-License-Identifier: Apache-2.0
// dsl_line: lines of strategies and recipes.
#include "frontend/dsl_core.h"
#include <ctype.h>
#include <inttypes.h>
#include <math.h>

// ---- strategies ----

// A word of a strategy's line: a name, a number, or both run together (40GB). str NULL after reporting.
static Name word(TgfProgram *p, const char *text, const char *what) {
    bool ok = text && isdigit((unsigned char)*text) && strlen(text) <= NAME_MAX_BYTES;
    for (const char *c = text; ok && *c; c++) ok = isalnum((unsigned char)*c) || *c == '_';
    if (ok || (text && dsl_is_name(text))) return (Name){str_intern(p->strs, text), p->at};
    DSL_ERROR(p, text ? "%s, '%s', is not one word" : "%s is NULL: no text", what, text);
    return (Name){0};
}

static Name number_word(TgfProgram *p, double x) {
    if (fabs(x) < 0x1p53 && x == (double)(int64_t)x && x >= 0)
        return (Name){str_internf(p->strs, "%" PRId64, (int64_t)x), p->at};
    if (x >= 0 && x < 1e300) return (Name){dsl_number_text(p, x), p->at};
    DSL_ERROR(p, "a strategy has no such number");
    return (Name){0};
}

// An argument as one name. str NULL after reporting.
static Name plain(TgfProgram *p, const TgfArg *a, const char *what) {
    switch (a->kind) {
    case TGF_ARG_TEXT: return word(p, a->text, what);
    case TGF_ARG_AXIS: return dsl_axis_name(p, a->axis, what);
    case TGF_ARG_INTEGER:
        if (a->integer >= 0) return (Name){str_internf(p->strs, "%" PRId64, a->integer), p->at};
        DSL_ERROR(p, "a strategy has no negative numbers");
        return (Name){0};
    case TGF_ARG_NUMBER: return number_word(p, a->number);
    default: DSL_ERROR(p, "%s is a word, an axis or a number", what); return (Name){0};
    }
}

static bool set_option(TgfProgram *p, Option *o, const TgfArg *a) {
    const char *what = arena_printf(p->arena, "'%s'", a->key);
    o->key = dsl_name(p, a->key, "an option");
    if (!o->key.str) return false;
    if (a->kind == TGF_ARG_QUOTED) {
        o->quoted = true;
        o->value = dsl_string(p, a->text, what);
    } else if (a->kind == TGF_ARG_LIST) {
        for (int i = 0; i < a->list.n; i++) {
            Name item = number_word(p, a->list.at[i]);
            if (!item.str) return false;
            if (i) vec_push(p->arena, &o->more, item);
            else o->value = item;
        }
        if (!a->list.n) DSL_ERROR(p, "%s is an empty list", what);
    } else {
        o->value = plain(p, a, what);
    }
    return o->value.str != NULL;
}

static bool line_arg(TgfProgram *p, Line *l, int i, const TgfArg *a) {
    const char *what = arena_printf(p->arena, "argument %d of '%s'", i + 1, l->head.str);
    Option o = {0};
    if (a->kind == TGF_ARG_NONE || a->kind == TGF_ARG_PROGRAM) return true;
    if (a->key && a->over) {
        DSL_ERROR(p, "%s is behind 'over' and has a name, too", what);
        return false;
    }
    if (a->key) {
        if (!set_option(p, &o, a)) return false;
    } else if (a->kind == TGF_ARG_WORDS) {
        o.bare = true;
        o.key = dsl_name(p, a->words[0], "an option");
        if (o.key.str) o.value = dsl_name(p, a->words[1], "an option");
        if (!o.value.str) return false;
    } else {
        bool block = a->kind == TGF_ARG_TEXT && a->text && !strcmp(a->text, "block"); // recompute block
        Name name = block ? (Name){str_intern(p->strs, "block"), p->at} : plain(p, a, what);
        if (name.str && !block && !dsl_is_name(name.str)) {
            DSL_ERROR(p, "%s is a name; a number stands behind a key: tgf_key", what);
            return false;
        }
        if (name.str) vec_push(p->arena, a->over ? &l->over : &l->names, name);
        return name.str != NULL;
    }
    vec_push(p->arena, &l->options, o);
    return true;
}

// What the text's grammar has no place for. False after reporting.
static bool line_is_whole(TgfProgram *p, const Line *l) {
    const char *wrong = NULL;
    for (int i = 0; i < l->options.n; i++)
        if (!l->names.n && (l->options.at[i].bare || l->options.at[i].more.n))
            wrong = "needs a name in front of pairs of words and lists";
    for (int i = 0; i < l->names.n; i++)
        if (!strcmp(l->names.at[i].str, "block") && (l->names.n > 1 || l->over.n)) wrong = "takes 'block' alone";
    if (l->over.n && !l->names.n) wrong = "needs what is in front of 'over'";
    if (!l->names.n && !l->options.n && !l->over.n) wrong = "says nothing";
    if (wrong) DSL_ERROR(p, "the line '%s' %s", l->head.str, wrong);
    return !wrong;
}

static void strategy_line(TgfProgram *p, Name head, int n, const TgfArg *args) {
    Line l = {.head = head};
    for (int i = 0; i < n; i++)
        if (!line_arg(p, &l, i, &args[i])) return;
    if (line_is_whole(p, &l)) vec_push(p->arena, &p->scope->strategy->lines, l);
}

static void strategy_setting(TgfProgram *p, Name head, TgfArg value) {
    Line l = {.head = head, .assignment = true};
    Option o = {0};
    if (value.kind == TGF_ARG_LIST) {
        DSL_ERROR(p, "'%s' is a word, an axis or a number", head.str);
        return;
    }
    value.key = head.str;
    if (!set_option(p, &o, &value)) return;
    vec_push(p->arena, &l.options, o);
    vec_push(p->arena, &p->scope->strategy->lines, l);
}

// ---- recipes ----

static bool entry_options(TgfProgram *p, Entry *e, int n, const TgfArg *args) {
    for (int i = 0; i < n; i++) {
        const TgfArg *a = &args[i];
        if (a->kind == TGF_ARG_NONE || a->kind == TGF_ARG_PROGRAM) continue;
        if (!a->key || a->over) {
            DSL_ERROR(p, "behind '%s %s' stand named values: tgf_key", e->head.str, e->word.str);
            return false;
        }
        Arg made = {.key = dsl_name(p, a->key, "an option")};
        if (made.key.str) made.value = dsl_arg(p, a, NULL, arena_printf(p->arena, "'%s'", a->key));
        if (!made.value) return false;
        vec_push(p->arena, &e->options, made);
    }
    return true;
}

static bool entry_values(TgfProgram *p, Entry *e, int n, const TgfArg *args) {
    for (int i = 0; i < n; i++) {
        const TgfArg *a = &args[i];
        if (a->kind == TGF_ARG_NONE || a->kind == TGF_ARG_PROGRAM) continue;
        if (a->key || a->over) {
            DSL_ERROR(p, "the line '%s' takes no 'over', and named values only behind a word", e->head.str);
            return false;
        }
        Expr *value = dsl_arg(p, a, NULL, arena_printf(p->arena, "value %d of '%s'", i + 1, e->head.str));
        if (!value) return false;
        vec_push(p->arena, &e->values, value);
    }
    if (e->values.n) return true;
    DSL_ERROR(p, "the line '%s' says nothing", e->head.str);
    return false;
}

// `head word key = value, ...`; one string, or several values, are head = value, value.
static void recipe_line(TgfProgram *p, Name head, int n, const TgfArg *args) {
    Entry e = {.head = head};
    bool keyed = n > 1 && args[1].key;
    bool ok;
    if (n > 0 && args[0].kind == TGF_ARG_TEXT && !args[0].key && !args[0].over && (n == 1 || keyed)) {
        bool is_word = args[0].text && dsl_is_name(args[0].text);
        if (is_word) e.word = (Name){str_intern(p->strs, args[0].text), p->at};
        else if (!args[0].text) DSL_ERROR(p, "argument 1 of '%s' is NULL: no text", head.str);
        else DSL_ERROR(p, "'%s' is not one word: a string is written tgf_quoted(\"%s\")", args[0].text, args[0].text);
        ok = is_word && entry_options(p, &e, n - 1, args + 1);
    } else {
        ok = entry_values(p, &e, n, args);
    }
    if (ok) vec_push(p->arena, &p->scope->train->entries, e);
}

static void add_line(TgfProgram *p, const char *text, int n, const TgfArg *args, bool setting) {
    DslScopeKind kind = p->scope->kind;
    Name head = dsl_name(p, text, "a line");
    if (!head.str) return;
    if (kind != DSL_STRATEGY && kind != DSL_TRAIN) {
        DSL_ERROR(p, "the line '%s' stands in a strategy or in train, not in %s", head.str,
                  dsl_scope_text(p, p->scope));
        return;
    }
    if (kind == DSL_STRATEGY && setting) {
        strategy_setting(p, head, args[0]);
    } else if (kind == DSL_STRATEGY) {
        strategy_line(p, head, n, args);
    } else if (setting) {
        Entry e = {.head = head};
        if (entry_values(p, &e, n, args)) vec_push(p->arena, &p->scope->train->entries, e);
    } else {
        recipe_line(p, head, n, args);
    }
}

void tgf_line_at(TgfSite at, TgfProgram *p, const char *head, int n, const TgfArg *args) {
    DSL_CALL(p, at, );
    add_line(p, head, n, args, false);
    dsl_leave(p);
}

void tgf_setting_at(TgfSite at, TgfProgram *p, const char *name, TgfArg value) {
    DSL_CALL(p, at, );
    add_line(p, name, 1, &value, true);
    dsl_leave(p);
}
