// SPDX-License-Identifier: Apache-2.0
// object names: what a model's names become in C and C++: no keyword, no name of theirs, none twice.
#include "codegen/object_header.h"
#include <ctype.h>
#include <string.h>
#include <strings.h>

char *object_word(Arena *a, const char *name) {
    char *word = arena_printf(a, "%s", name);
    for (char *c = word; *c; c++)
        if ((unsigned char)*c >= 128 || !isalnum((unsigned char)*c)) *c = '_';
    return word;
}

char *object_upper(Arena *a, const char *text) {
    char *word = object_word(a, text);
    for (char *c = word; *c; c++) *c = (char)toupper((unsigned char)*c);
    return word;
}

const char *object_unique(ObjectNames *names, const char *wanted) {
    const char *name = wanted;
    for (int i = 0, number = 2; i < names->n; i++) {
        if (strcmp(names->list[i], name)) continue;
        name = arena_printf(names->arena, "%s_%d", wanted, number++);
        i = -1;
    }
    if (names->n == names->room) {
        int room = names->room * 2 + 16;
        const char **list = NEW_ARRAY(names->arena, const char *, room);
        if (names->n) memcpy(list, names->list, (size_t)names->n * sizeof *list);
        names->list = list;
        names->room = room;
    }
    return names->list[names->n++] = name;
}

// Keywords of C23 and C++20, and names in small letters that headers of the C library or compilers may define as
// macros without parameters.
static const char taken[] =
    " alignas alignof and and_eq asm auto bitand bitor bool break case catch char char8_t char16_t char32_t class "
    "compl "
    "concept const consteval constexpr constinit const_cast continue co_await co_return co_yield decltype default "
    "delete do double dynamic_cast else enum explicit export extern false float for friend goto if inline int long "
    "mutable namespace new noexcept not not_eq nullptr operator or or_eq private protected public register "
    "reinterpret_cast requires restrict return short signed sizeof static static_assert static_cast struct switch "
    "template this thread_local throw true try typedef typeid typename typeof typeof_unqual union unsigned using "
    "virtual void volatile wchar_t while xor xor_eq "
    "complex errno i386 imaginary linux noreturn stderr stdin stdout unix ";

static bool is_taken(Arena *a, const char *word) { return strstr(taken, arena_printf(a, " %s ", word)) != NULL; }

static bool has_small(const char *word) {
    for (; *word; word++)
        if (islower((unsigned char)*word)) return true;
    return false;
}

// Words without a small letter are macros somewhere (I, NULL, EOF).
const char *object_variable(Arena *a, const char *name) {
    char *word = object_word(a, name);
    const char *front = isdigit((unsigned char)*word) || *word == '_' || !*word ? "x" : "";
    const char *behind = is_taken(a, word) || !has_small(word) ? "_" : "";
    return arena_printf(a, "%s%s%s", front, word, behind);
}

// Names of tgf.h begin with tgf; a leading '_' or digit is not for programs.
const char *object_prefix(Arena *a, const char *model) {
    char *word = object_word(a, model);
    bool own = isalpha((unsigned char)*word) && strncasecmp(word, "tgf", 3) != 0 && strncmp(word, "model_", 6) != 0;
    return arena_printf(a, "%s%s", own ? "" : "model_", word);
}

// In capitals, but for models that are not written in small letters: `gpt` and `GPT` may stand in one program.
const char *object_constants(Arena *a, const char *model) {
    const char *prefix = object_prefix(a, model);
    for (const char *c = prefix; *c; c++)
        if (isupper((unsigned char)*c)) return arena_printf(a, "tgf_%s", prefix);
    return object_upper(a, prefix);
}
