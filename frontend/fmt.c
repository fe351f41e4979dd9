// SPDX-License-Identifier: Apache-2.0
// fmt: where every token goes. Lines are the author's; what is decided is each line's indent, the space between two
// tokens, and the columns: a token (or comment) that stands, set apart by spaces, in one column with its like of a
// neighbouring line keeps that column, moved right together when the text in front has grown. A column is thus never
// less than what its members need, which is why a second formatting finds everything in place.
#include "frontend/fmt.h"
#include "frontend/ast.h"
#include "frontend/fmt_text.h"
#include <stdlib.h>

enum { INDENT = 4, OPTION_SPACE_MAX = 4, COMMENT_SPACE = 2 };

static bool is_word(const FmtToken *t) { return t->kind == FMT_VALUE || t->kind == FMT_STRING; }
static bool opens(const FmtToken *t) { return fmt_is(t, "(") || fmt_is(t, "["); }
static bool closes(const FmtToken *t) { return fmt_is(t, ")") || fmt_is(t, "]"); }

// As in lex.l: a line may end behind it.
static bool ends_statement(const FmtToken *t) {
    return is_word(t) || closes(t) || fmt_is(t, "}") || fmt_is(t, "block");
}

static bool is_operand_end(const FmtToken *t) { return is_word(t) || closes(t); }

static bool is_operator(const FmtToken *t) { return t->kind == FMT_MARK && strchr("+-*/<>=!", *t->text); }

typedef struct Walk { // what is known on the way from token to token
    int braces, depth;
    bool param, stored;                   // in a `param` statement; in the brackets of its stored shape
    const FmtToken *before, *last, *sign; // the last two tokens, comments aside; the last one that is a sign, not minus
} Walk;

// Spaces between w->last and t, on one line.
static int gap_between(const Walk *w, const FmtToken *t) {
    const FmtToken *p = w->last;
    if (opens(p) || closes(t) || fmt_is(t, ",") || fmt_is(t, ";") || p == w->sign) return 0;
    if (fmt_is(p, "{") && fmt_is(t, "}")) return 0;
    if (fmt_is(t, "(")) return p->kind == FMT_VALUE ? 0 : 1;
    if (fmt_is(t, "[")) {
        if (p->kind == FMT_STRING) return 1; // as "name" [a, b]
        if (p->kind == FMT_VALUE && w->before && fmt_is(w->before, "param")) return 1;
        return is_operand_end(p) ? 0 : 1;
    }
    if (w->stored && (fmt_is(t, "*") || fmt_is(p, "*"))) return 0;
    return 1;
}

static void walk_over(Walk *w, const FmtToken *t) {
    if (opens(t)) {
        if (w->depth++ == 0) w->stored = w->param && w->last && w->last->kind == FMT_STRING && fmt_is(t, "[");
    } else if (closes(t) && w->depth > 0) {
        if (--w->depth == 0) w->stored = false;
    }
    w->braces += fmt_is(t, "{") ? 1 : fmt_is(t, "}") ? -1 : 0;
    w->sign = fmt_is(t, "-") && !(w->last && is_operand_end(w->last)) ? t : NULL;
    w->before = w->last;
    w->last = t;
}

// Sets each line's indent and each token's least gap.
static void measure(FmtText *f) {
    Walk w = {0};
    for (int i = 0; i < f->lines.n; i++) {
        FmtLine *line = &f->lines.at[i];
        const FmtToken *first = &f->tokens.at[line->first];
        bool ended = !w.last || fmt_is(w.last, "{") || fmt_is(w.last, ";") || (w.depth == 0 && ends_statement(w.last));
        if (ended) w.param = fmt_is(first, "param");
        int level = w.braces;
        for (int j = line->first; j < line->end && fmt_is(&f->tokens.at[j], "}"); j++) level--;
        line->goes_on = !ended;
        line->indent = INDENT * (level + (!ended && !closes(first)));
        if (first->kind == FMT_COMMENT) {
            const FmtLine *above = i && !line->blank ? line - 1 : NULL;
            const FmtToken *other = above ? &f->tokens.at[above->end - 1] : NULL;
            line->beside = other && other->kind == FMT_COMMENT && other->column == first->column &&
                           (above->beside || above->end - above->first > 1);
        }
        for (int j = line->first; j < line->end; j++) {
            FmtToken *t = &f->tokens.at[j];
            if (t->kind == FMT_COMMENT) continue;
            t->gap = w.last ? gap_between(&w, t) : 0;
            t->top = j > line->first && w.depth == 0 && !line->goes_on && t->gap;
            t->option = t->top && is_word(t) && is_word(w.last);
            // `;` or a brace on the line begins another statement
            if (j > line->first && (fmt_is(w.last, ";") || fmt_is(w.last, "{"))) w.param = fmt_is(t, "param");
            walk_over(&w, t);
        }
    }
}

// ---- columns

// Tokens of one kind may share a column; 0: such a token never does.
static int alignment_class(const FmtToken *t, const FmtToken *previous) {
    if (!t->top || is_operator(previous)) return 0;
    if (fmt_is(t, "=") || fmt_is(t, "[") || fmt_is(t, ":") || fmt_is(t, "{")) return *t->text;
    return is_word(t) ? 'v' : t->kind == FMT_KEYWORD ? 'k' : 0;
}

typedef struct Cell {
    FmtToken *token; // the one behind it on its line is token[1]
    int class;
} Cell;

static int compare_cells(const void *pa, const void *pb) {
    const Cell *a = pa, *b = pb;
    if (a->token->column != b->token->column) return a->token->column < b->token->column ? -1 : 1;
    if (a->class != b->class) return a->class < b->class ? -1 : 1;
    return a->token->line < b->token->line ? -1 : a->token->line > b->token->line;
}

static int end_of(const FmtToken *t) { return t->place + t->width; }

// Places n cells of one class in one column; what stands in front of them is placed.
static void place_column(const FmtText *f, const Cell *cells, int n) {
    bool apart = false;
    int place = 0, shift = 0;
    for (int i = 0; i < n; i++) {
        const FmtToken *t = cells[i].token;
        const FmtLine *line = &f->lines.at[t->line];
        int moved = line->indent - f->tokens.at[line->first].column;
        if (i == 0 || abs(moved) < abs(shift)) shift = moved;
        if (end_of(t - 1) + t->gap > place) place = end_of(t - 1) + t->gap;
        apart |= t->space > 1;
    }
    bool together = apart && n > 1 && cells->class;
    if (together && cells->token->column + shift > place) place = cells->token->column + shift;
    for (int i = 0; i < n; i++) {
        FmtToken *t = cells[i].token;
        int gap = t->gap;
        if (t->option && t->space > gap) gap = t->space < OPTION_SPACE_MAX ? t->space : OPTION_SPACE_MAX;
        t->place = together ? place : end_of(t - 1) + gap;
    }
}

// A paragraph is a run of lines of one indent, no empty line or brace between them.
static bool begins_paragraph(const FmtText *f, int i, int last) {
    const FmtLine *line = &f->lines.at[i];
    if (last < 0 || line->indent != f->lines.at[last].indent) return true;
    for (int j = last + 1; j <= i; j++)
        if (f->lines.at[j].blank) return true;
    return false;
}

static void place_paragraph(const FmtText *f, Cell *cells, int n) {
    qsort(cells, (size_t)n, sizeof *cells, compare_cells);
    for (int i = 0, j; i < n; i = j) {
        for (j = i; j < n && cells[j].token->column == cells[i].token->column && cells[j].class == cells[i].class;) j++;
        place_column(f, cells + i, j - i);
    }
}

static void place_code(FmtText *f, Arena *a) {
    Cell *cells = NEW_ARRAY(a, Cell, f->tokens.n + 1);
    int n = 0, last = -1; // the paragraph's last line
    for (int i = 0; i < f->lines.n; i++) {
        const FmtLine *line = &f->lines.at[i];
        FmtToken *first = &f->tokens.at[line->first];
        first->place = line->indent;
        if (first->kind == FMT_COMMENT) continue;
        if (!line->goes_on) {
            if (begins_paragraph(f, i, last)) {
                place_paragraph(f, cells, n);
                n = 0;
            }
            last = i;
        }
        for (int j = line->first + 1; j < line->end && f->tokens.at[j].kind != FMT_COMMENT; j++) {
            FmtToken *t = &f->tokens.at[j];
            if (line->goes_on) t->place = end_of(t - 1) + t->gap;
            else cells[n++] = (Cell){t, alignment_class(t, t - 1)};
        }
    }
    place_paragraph(f, cells, n);
}

// Where the code in front of the line's comment ends, with the least space behind it.
static int comment_least(const FmtText *f, const FmtLine *line) {
    return line->beside ? 0 : end_of(&f->tokens.at[line->end - 2]) + COMMENT_SPACE;
}

static bool has_comment(const FmtText *f, const FmtLine *line) {
    return f->tokens.at[line->end - 1].kind == FMT_COMMENT && (line->beside || line->end - line->first > 1);
}

// Comments behind code: those in one column on lines that follow each other stay so.
static void place_comments(FmtText *f) {
    for (int i = 0, j; i < f->lines.n; i = j) {
        j = i + 1;
        if (!has_comment(f, &f->lines.at[i])) continue;
        int column = f->tokens.at[f->lines.at[i].end - 1].column, place = 0;
        bool apart = false;
        for (j = i; j < f->lines.n; j++) {
            const FmtLine *line = &f->lines.at[j];
            const FmtToken *t = &f->tokens.at[line->end - 1];
            if ((j > i && line->blank) || !has_comment(f, line) || t->column != column) break;
            if (comment_least(f, line) > place) place = comment_least(f, line);
            apart |= !line->beside && t->space > COMMENT_SPACE;
        }
        if (apart && column > place) place = column;
        for (int k = i; k < j; k++) f->tokens.at[f->lines.at[k].end - 1].place = place;
    }
}

// ---- text

static char *text_print(const FmtText *f, Arena *a, size_t *out_size) {
    size_t size = 1;
    for (int i = 0; i < f->lines.n; i++) {
        const FmtToken *last = &f->tokens.at[f->lines.at[i].end - 1];
        size += (size_t)end_of(last) + 2;
        for (int j = f->lines.at[i].first; j < f->lines.at[i].end; j++) size += (size_t)f->tokens.at[j].size;
    }
    char *text = arena_alloc(a, size), *p = text;
    for (int i = 0; i < f->lines.n; i++) {
        const FmtLine *line = &f->lines.at[i];
        if (line->blank) *p++ = '\n';
        int column = 0;
        for (int j = line->first; j < line->end; j++) {
            const FmtToken *t = &f->tokens.at[j];
            memset(p, ' ', (size_t)(t->place - column));
            p += t->place - column;
            memcpy(p, t->text, (size_t)t->size);
            p += t->size;
            column = end_of(t);
        }
        *p++ = '\n';
    }
    *p = 0;
    *out_size = (size_t)(p - text);
    return text;
}

static bool same_tokens(const FmtText *a, const FmtText *b) {
    if (a->tokens.n != b->tokens.n) return false;
    for (int i = 0; i < a->tokens.n; i++) {
        const FmtToken *x = &a->tokens.at[i], *y = &b->tokens.at[i];
        if (x->kind != y->kind || x->size != y->size || memcmp(x->text, y->text, (size_t)x->size)) return false;
    }
    return true;
}

static char *ast_text(const Source *s, Arena *a, size_t *out_size) {
    source_print(s, arena_stream(a));
    return arena_stream_text(a, out_size);
}

static bool same_program(const Source *x, const Source *y, Arena *a) {
    size_t nx, ny;
    char *of_x = ast_text(x, a, &nx), *of_y = ast_text(y, a, &ny);
    return nx == ny && !memcmp(of_x, of_y, nx);
}

char *source_format(Str path, const char *in, size_t size, Arena *a, StrTable *strs, Diag *diag, size_t *out_size) {
    Source source = {.path = path, .text = in, .size = size};
    diag_source(diag, path, in, size);
    if (size > SOURCE_BYTES_MAX) {
        diag_error(diag, (Loc){path, 1, 1, 0}, "this text is too large (more than %d MB)", SOURCE_BYTES_MAX >> 20);
        return NULL;
    }
    if (!source_parse(&source, a, strs, diag)) return NULL;
    FmtText before = {0}, after = {0};
    fmt_lex(&before, in, size, a);
    measure(&before);
    place_code(&before, a);
    place_comments(&before);
    char *text = text_print(&before, a, out_size);
    // Nothing but white space may have changed, and no statement may end elsewhere.
    Source again = {.path = path, .text = text, .size = *out_size};
    fmt_lex(&after, text, *out_size, a);
    if (!same_tokens(&before, &after) || !source_parse(&again, a, strs, diag) || !same_program(&source, &again, a)) {
        diag_internal(diag, "fmt", NULL, "formatting %s would change it", path);
        return NULL;
    }
    return text;
}
