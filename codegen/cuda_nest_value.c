// SPDX-License-Identifier: Apache-2.0
// cuda_nest_value: expressions of a nest as CUDA C. Loads and what is used more than once become statements of their
// own; the rest stands where it is used.
#include "codegen/cuda_nest.h"
#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <string.h>

enum { LINE_LONG = 60 };

static void indent(NestEmit *e) { fprintf(e->out, "%*s", 4 * e->depth, ""); }

void nest_line(NestEmit *e, const char *format, ...) {
    va_list args;
    va_start(args, format);
    indent(e);
    vfprintf(e->out, format, args);
    fputc('\n', e->out);
    va_end(args);
}

void nest_open(NestEmit *e, const char *format, ...) {
    va_list args;
    va_start(args, format);
    indent(e);
    vfprintf(e->out, format, args);
    fputs(" {\n", e->out);
    va_end(args);
    e->depth++;
}

void nest_close(NestEmit *e) {
    e->depth--;
    nest_line(e, "}");
}

const char *nest_name(NestEmit *e, const char *stem) { return arena_printf(e->arena, "%s%d", stem, e->names++); }

const char *nest_type(DType t, bool in_memory) {
    switch (t) {
    case DT_BOOL: return in_memory ? "u8" : "bool";
    case DT_I32: return "int";
    case DT_F32: return "float";
    case DT_BF16:
    case DT_F16: return "u16";
    default: return "double";
    }
}

// ---- what depends on what

static bool varies(NestEmit *e, const KExpr *x);
bool nest_index_varies(NestEmit *e, const KIndex *x) {
    for (int i = 0; i < x->nvars; i++)
        if (x->vars[i].var == e->lane_var) return true;
    for (int i = 0; i < x->ndyn; i++)
        if (varies(e, x->dyn[i].at)) return true;
    return false;
}
static bool varies(NestEmit *e, const KExpr *x) {
    if (e->lane_var < 0) return false;
    int8_t *known = &e->varies[x->id];
    if (*known >= 0) return *known;
    bool found = (x->op == K_VAR && x->var == e->lane_var) || (x->op == K_ACC && e->acc[x->var].is_array) ||
                 (x->op == K_LOAD && nest_index_varies(e, &x->index));
    for (int i = 0; i < x->nargs; i++) found |= varies(e, x->args[i]);
    *known = found;
    return found;
}
bool nest_varies(NestEmit *e, const KExpr *x) { return varies(e, x); }

// ---- names

void nest_remember(NestEmit *e, const KExpr *x, NestName name) {
    vec_push(e->arena, &e->log, x->id);
    e->memo[x->id] = name;
}
void nest_undo(NestEmit *e, int mark) {
    while (e->log.n > mark) e->memo[e->log.at[--e->log.n]] = (NestName){0};
}
void nest_forget(NestEmit *e) { nest_undo(e, 0); }
// What was loaded from these buffers no longer holds.
void nest_forget_loads(NestEmit *e, uint64_t bufs) {
    for (int i = 0; i < e->log.n; i++) {
        int id = e->log.at[i];
        if (e->reads[id] & bufs) e->memo[id] = (NestName){0};
    }
}

// ---- addresses

static const char *var_text(const NestEmit *e, int var) {
    assert(e->var[var] && "an address names a variable whose loop is not open");
    if (var == e->lane_var && e->in_lanes) return arena_printf(e->arena, "(%s + u)", e->var[var]);
    return e->var[var];
}

// In elements: an int where every value fits.
static const char *index_text(NestEmit *e, const KIndex *x) {
    double span = fabs((double)x->base);
    for (int i = 0; i < x->nvars; i++)
        span += fabs((double)x->vars[i].stride) * (double)(e->extent[x->vars[i].var] - 1);
    bool wide = span > 2147483647.0 || x->ndyn > 0;
    const char *sum = "";
    for (int i = 0; i < x->nvars; i++) {
        int64_t stride = x->vars[i].stride;
        double own = fabs((double)stride) * (double)(e->extent[x->vars[i].var] - 1);
        const char *cast = wide && (!*sum || own > 2147483647.0) ? "(i64)" : "";
        const char *v = var_text(e, x->vars[i].var), *plus = *sum ? " + " : "";
        if (stride == 1) sum = arena_printf(e->arena, "%s%s%s%s", sum, plus, cast, v);
        else sum = arena_printf(e->arena, "%s%s%s%s * %" PRId64, sum, plus, cast, v, stride);
    }
    for (int i = 0; i < x->ndyn; i++) {
        const char *v = nest_value(e, x->dyn[i].at), *plus = *sum ? " + " : "";
        if (x->dyn[i].stride == 1) sum = arena_printf(e->arena, "%s%s(i64)%s", sum, plus, v);
        else sum = arena_printf(e->arena, "%s%s(i64)%s * %" PRId64, sum, plus, v, x->dyn[i].stride);
    }
    if (!*sum) return arena_printf(e->arena, "%" PRId64, x->base);
    if (x->base < 0) return arena_printf(e->arena, "%s - %" PRId64, sum, -x->base);
    return x->base ? arena_printf(e->arena, "%s + %" PRId64, sum, x->base) : sum;
}

const char *nest_address(NestEmit *e, int buf, const KIndex *x) {
    const char *at = index_text(e, x);
    const char *p = arena_printf(e->arena, "%c%d", e->k->bufs.at[buf].written ? 'y' : 'x', buf);
    if (!strcmp(at, "0")) return p;
    return arena_printf(e->arena, strpbrk(at, " ") ? "%s + (%s)" : "%s + %s", p, at);
}

// ---- operations

static const char *constant(NestEmit *e, const KExpr *x) {
    if (x->type == DT_BOOL) return x->i ? "true" : "false";
    if (x->type == DT_I32)
        return x->i == INT32_MIN ? "(-2147483647 - 1)" : arena_printf(e->arena, x->i < 0 ? "(%d)" : "%d", (int)x->i);
    const char *wide = x->type == DT_F64 ? "(double)" : "";
    if (isnan(x->f)) return arena_printf(e->arena, "%sbits_float(0x7fc00000u)", wide);
    if (isinf(x->f)) return arena_printf(e->arena, "%sbits_float(0x%cf800000u)", wide, x->f < 0 ? 'f' : '7');
    const char *digits = arena_printf(e->arena, "%.*g", *wide ? 17 : 9, x->f), *suffix = *wide ? "" : "f";
    const char *point = strpbrk(digits, ".e") ? "" : ".0";
    return arena_printf(e->arena, signbit(x->f) ? "(%s%s%s)" : "%s%s%s", digits, point, suffix);
}

static const char *cast_text(NestEmit *e, const char *a, DType from, DType to) {
    if (from == DT_BF16 || from == DT_F16) {
        a = arena_printf(e->arena, "from_%s(%s)", from == DT_BF16 ? "bf16" : "f16", a);
        from = DT_F32;
    }
    if (to == DT_BF16 || to == DT_F16) {
        if (from != DT_F32) a = arena_printf(e->arena, "(float)%s", a);
        return arena_printf(e->arena, "to_%s(%s)", to == DT_BF16 ? "bf16" : "f16", a);
    }
    return from == to ? a : arena_printf(e->arena, "(%s)%s", nest_type(to, false), a);
}

// Without the parentheses around it all; *out_loose: it needs them as an operand.
static const char *operation(NestEmit *e, const KExpr *x, bool *out_loose) {
    const char *a[3] = {"", "", ""};
    for (int i = 0; i < x->nargs; i++) a[i] = nest_value(e, x->args[i]);
    bool is_int = x->nargs && x->args[0]->type == DT_I32;
    bool is_double = x->type == DT_F64;
    const char *call = NULL, *sign = NULL;
    switch (x->op) {
    case K_ADD: *(is_int ? &call : &sign) = is_int ? "add_i32" : "+"; break;
    case K_SUB: *(is_int ? &call : &sign) = is_int ? "sub_i32" : "-"; break;
    case K_MUL: *(is_int ? &call : &sign) = is_int ? "mul_i32" : "*"; break;
    case K_DIV: sign = "/"; break;
    case K_MIN: call = "min_of"; break;
    case K_MAX: call = "max_of"; break;
    case K_NEG:
        if (is_int) return arena_printf(e->arena, "sub_i32(0, %s)", a[0]);
        *out_loose = true;
        return arena_printf(e->arena, "-%s", a[0]);
    case K_ABS:
        if (is_int) return arena_printf(e->arena, "max_of(%s, sub_i32(0, %s))", a[0], a[0]);
        call = is_double ? NULL : "abs_f32";
        break;
    case K_SQRT: call = is_double ? NULL : "sqrt_f32"; break;
    case K_FLOOR: call = is_double ? "floor_f64" : "floor_f32"; break;
    case K_FMA:
        if (is_double) {
            *out_loose = true;
            return arena_printf(e->arena, "%s * %s + %s", a[0], a[1], a[2]);
        }
        call = "fma_f32";
        break;
    case K_EQ: sign = "=="; break;
    case K_NE: sign = "!="; break;
    case K_LT: sign = "<"; break;
    case K_LE: sign = "<="; break;
    case K_AND: sign = "&&"; break;
    case K_OR: sign = "||"; break;
    case K_XOR: sign = "^"; break;
    case K_IAND: sign = "&"; break;
    case K_NOT: *out_loose = true; return arena_printf(e->arena, "!%s", a[0]);
    case K_SELECT: *out_loose = true; return arena_printf(e->arena, "%s ? %s : %s", a[0], a[1], a[2]);
    case K_CAST: return cast_text(e, a[0], x->args[0]->type, x->type);
    case K_BITCAST:
        return arena_printf(e->arena, x->type == DT_F32 ? "bits_float((u32)%s)" : "(int)float_bits(%s)", a[0]);
    case K_SHL: call = "shl_i32"; break;
    case K_SHR: call = "shr_i32"; break;
    case K_MULHI: call = "mul_high_i32"; break;
    default: assert(!"kernel op"); break;
    }
    if (sign) {
        *out_loose = true;
        return arena_printf(e->arena, "%s %s %s", a[0], sign, a[1]);
    }
    if (!call) e->status = status_make(STATUS_UNSUPPORTED, "an operation on f64 has no kernels on a GPU");
    if (!call) return a[0];
    if (x->nargs == 1) return arena_printf(e->arena, "%s(%s)", call, a[0]);
    if (x->nargs == 2) return arena_printf(e->arena, "%s(%s, %s)", call, a[0], a[1]);
    return arena_printf(e->arena, "%s(%s, %s, %s)", call, a[0], a[1], a[2]);
}

static const char *named(NestEmit *e, const KExpr *x, const char *text) {
    const char *name = nest_name(e, "t");
    nest_line(e, "%s %s = %s;", nest_type(x->type, false), name, text);
    nest_remember(e, x, (NestName){.text = name});
    return name;
}

static const char *value(NestEmit *e, const KExpr *x, bool settle) {
    const NestName *m = &e->memo[x->id];
    if (m->text) {
        if (!m->is_array) return m->text;
        return arena_printf(e->arena, m->is_byte ? "(%s[u] != 0)" : "%s[u]", m->text);
    }
    switch (x->op) {
    case K_CONST: return constant(e, x);
    case K_VAR:
        if (e->extent[x->var] > INT32_MAX) return arena_printf(e->arena, "(int)%s", var_text(e, x->var));
        return var_text(e, x->var);
    case K_SCALAR: return arena_printf(e->arena, "(int)s%d", (int)x->i);
    case K_ACC:
        assert(e->acc[x->var].is_final && "an accumulator is read before its loop");
        return arena_printf(e->arena, e->acc[x->var].is_array && e->in_lanes ? "a%d[u]" : "a%d", x->var);
    case K_LOAD: {
        const char *at = nest_address(e, x->buf, &x->index);
        return named(e, x, arena_printf(e->arena, x->type == DT_BOOL ? "gload(%s) != 0" : "gload(%s)", at));
    }
    default: break;
    }
    bool loose = false;
    const char *text = operation(e, x, &loose);
    if (settle || e->uses[x->id] > 1 || strlen(text) > LINE_LONG) return named(e, x, text);
    return loose ? arena_printf(e->arena, "(%s)", text) : text;
}

const char *nest_value(NestEmit *e, const KExpr *x) { return value(e, x, false); }

// As a name: a statement of its own.
const char *nest_settle(NestEmit *e, const KExpr *x) { return value(e, x, true); }

// As the right side of a statement.
const char *nest_right_side(NestEmit *e, const KExpr *x) {
    const char *text = nest_value(e, x);
    size_t n = strlen(text);
    if (*text != '(' || text[n - 1] != ')') return text;
    int depth = 0;
    for (size_t i = 0; i + 1 < n; i++) {
        depth += text[i] == '(' ? 1 : text[i] == ')' ? -1 : 0;
        if (!depth) return text;
    }
    return arena_printf(e->arena, "%.*s", (int)n - 2, text + 1);
}
