// SPDX-License-Identifier: Apache-2.0
// plan text: prints a plan and reads it back, print(parse(print(p))) == print(p) byte for byte. The text may come from
// anywhere, so the parser takes nothing on trust; plan_check looks at the meaning.
//
//   tgf-plan 1
//   model "gpt2" strategy "mesh" hash "00000000deadbeef"
//   mesh data=2 tensor=2
//   slab 4096 params 1024 states 0 io 64 activations 2048
//   param "wte" as "wte.weight" f32[vocab=67/tensor:34, width=8:8] at 0 bytes 1088
//   input "tokens" i32[batch=4/data:2, seq=8:8] at 1088 bytes 64 ids 0..67
//   kernel "train_0" tasks 2 work 0 flops 128 bytes 512
//   func "train" inputs 1 outputs 2
//     loop 4 reverse {
//       kernel 0 (0+64*l0, 1088) [l0, 0+34*c(tensor), 7] # "take %x" @"gpt2.tgf":7
//       comm all_reduce sum f32 on tensor [1, 8, 4] 128 -> 256
//       copy 128 <- 0 bytes 64
//       zero 128 bytes 64
//     }
// `on -` and `c(-)` name no mesh axis. Axis and mesh names that are not identifiers are quoted.
#include "base/vec.h"
#include "runtime/plan.h"
#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static const char *const dtype_names[] = {"bool", "i32", "f32", "f64", "bf16", "f16", NULL};
static const char *const leaf_names[] = {"param", "state", "input", "output", NULL};
static const char *const comm_names[] = {"all_reduce", "all_gather", "reduce_scatter", "all_to_all",
                                         "broadcast",  "send",       "recv",           NULL};
static const char *const reduce_names[] = {"sum", "max", NULL};

// ---- printing -------------------------------------------------------------------------------------------------------
static void put_string(FILE *out, const char *s) {
    fputc('"', out);
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        if (c == '"' || c == '\\') fprintf(out, "\\%c", c);
        else if (c < 32 || c == 127) fprintf(out, "\\x%02x", c);
        else fputc(c, out);
    }
    fputc('"', out);
}

static bool is_word(const char *s) {
    if (!isalpha((unsigned char)*s) && *s != '_') return false;
    while (isalnum((unsigned char)*s) || *s == '_') s++;
    return !*s;
}

static void put_name(FILE *out, const char *s) {
    if (is_word(s)) fputs(s, out);
    else put_string(out, s);
}

static void put_mesh(FILE *out, const Plan *p, uint32_t mesh) {
    const char *sep = "";
    if (!mesh) fputc('-', out);
    for (int i = 0; i < p->nmesh; i++)
        if (mesh >> i & 1) {
            fputs(sep, out);
            put_name(out, p->mesh[i].name);
            sep = "+";
        }
}

static void put_leaf(FILE *out, const Plan *p, const PlanLeaf *l) {
    fprintf(out, "%s ", leaf_names[l->kind]);
    put_string(out, l->name);
    if (l->storage) {
        fputs(" as ", out);
        put_string(out, l->storage);
    }
    fprintf(out, " %s[", dtype_names[l->dtype]);
    for (int i = 0; i < l->rank; i++) {
        const PlanDim *d = &l->dim[i];
        if (i) fputs(", ", out);
        put_name(out, d->axis);
        fprintf(out, "=%" PRId64, d->extent);
        if (d->split) {
            fputc('/', out);
            put_mesh(out, p, d->split);
        }
        fprintf(out, ":%" PRId64, d->local);
    }
    fprintf(out, "] at %" PRId64 " bytes %" PRId64, l->offset, l->bytes);
    if (l->least || l->limit) fprintf(out, " ids %" PRId64 "..%" PRId64, l->least, l->limit);
    fputc('\n', out);
}

static void put_arg(FILE *out, const PlanArg *a) {
    fprintf(out, "%" PRId64, a->offset);
    for (int i = 0; i < PLAN_LOOPS; i++)
        if (a->stride[i]) fprintf(out, "%+" PRId64 "*l%d", a->stride[i], i);
}

static void put_scalar(FILE *out, const Plan *p, const PlanScalar *s) {
    if (s->kind == SCALAR_ITERATION) {
        fprintf(out, "l%d", s->loop);
        return;
    }
    fprintf(out, "%" PRId64, s->base);
    if (s->factor || s->mesh) {
        fprintf(out, "%+" PRId64 "*c(", s->factor);
        put_mesh(out, p, s->mesh);
        fputc(')', out);
    }
}

static void put_instr(FILE *out, const Plan *p, const PlanInstr *in, int depth) {
    fprintf(out, "%*s", 2 + 2 * depth, "");
    switch (in->kind) {
    case INSTR_KERNEL:
        fprintf(out, "kernel %d (", in->kernel);
        for (int i = 0; i < in->nargs; i++) {
            if (i) fputs(", ", out);
            put_arg(out, &in->args[i]);
        }
        fputs(") [", out);
        for (int i = 0; i < in->nscalars; i++) {
            if (i) fputs(", ", out);
            put_scalar(out, p, &in->scalars[i]);
        }
        fputc(']', out);
        break;
    case INSTR_COMM:
        fprintf(out, "comm %s %s %s on ", comm_names[in->comm], reduce_names[in->reduce], dtype_names[in->dtype]);
        put_mesh(out, p, in->mesh);
        fprintf(out, " [%" PRId64 ", %" PRId64 ", %" PRId64 "] ", in->outer, in->middle, in->inner);
        if (in->peer) fprintf(out, "peer %" PRId64 " ", in->peer);
        put_arg(out, &in->args[0]);
        fputs(" -> ", out);
        put_arg(out, &in->args[1]);
        break;
    case INSTR_COPY:
        fputs("copy ", out);
        put_arg(out, &in->args[0]);
        fputs(" <- ", out);
        put_arg(out, &in->args[1]);
        fprintf(out, " bytes %" PRId64, in->bytes);
        break;
    case INSTR_ZERO:
        fputs("zero ", out);
        put_arg(out, &in->args[0]);
        fprintf(out, " bytes %" PRId64, in->bytes);
        break;
    case INSTR_LOOP: fprintf(out, "loop %" PRId64 "%s {", in->count, in->reverse ? " reverse" : ""); break;
    case INSTR_END: fputc('}', out); break;
    }
    if (in->op) {
        fputs(" # ", out);
        put_string(out, in->op);
    }
    if (in->file) {
        fputs(" @", out);
        put_string(out, in->file);
        fprintf(out, ":%d", in->line);
    }
    fputc('\n', out);
}

void plan_print(const Plan *p, FILE *out) {
    fprintf(out, "tgf-plan %d\nmodel ", p->abi);
    put_string(out, p->model);
    if (p->strategy) {
        fputs(" strategy ", out);
        put_string(out, p->strategy);
    }
    fprintf(out, " hash \"%016" PRIx64 "\"\nmesh", p->hash);
    for (int i = 0; i < p->nmesh; i++) {
        fputc(' ', out);
        put_name(out, p->mesh[i].name);
        fprintf(out, "=%" PRId64, p->mesh[i].extent);
    }
    fprintf(out, "\nslab %" PRId64 " params %" PRId64 " states %" PRId64 " io %" PRId64 " activations %" PRId64 "\n",
            p->slab_bytes, p->param_bytes, p->state_bytes, p->io_bytes, p->activation_bytes);
    for (int i = 0; i < p->nleaves; i++) put_leaf(out, p, &p->leaves[i]);
    for (int i = 0; i < p->nkernels; i++) {
        const PlanKernel *k = &p->kernels[i];
        fputs("kernel ", out);
        put_string(out, k->symbol);
        fprintf(out, " tasks %" PRId64 " work %" PRId64 " flops %.17g bytes %.17g\n", k->tasks, k->work_bytes, k->flops,
                k->bytes);
    }
    for (int i = 0; i < p->nfuncs; i++) {
        const PlanFunc *f = &p->funcs[i];
        fputs("func ", out);
        put_string(out, f->name);
        fputs(" inputs", out);
        for (int j = 0; j < f->ninputs; j++) fprintf(out, " %d", f->inputs[j]);
        fputs(" outputs", out);
        for (int j = 0; j < f->noutputs; j++) fprintf(out, " %d", f->outputs[j]);
        fputc('\n', out);
        for (int j = f->first, depth = 0; j < f->first + f->count; j++) {
            if (p->instrs[j].kind == INSTR_END) depth--;
            put_instr(out, p, &p->instrs[j], depth);
            if (p->instrs[j].kind == INSTR_LOOP) depth++;
        }
    }
}

// ---- parsing --------------------------------------------------------------------------------------------------------
typedef struct Parser {
    Arena *arena;
    StrTable *strs;
    const char *at, *end;
    int line;
    Status status; // the first failure; once set, every step fails
    Plan *plan;
} Parser;

static bool fail(Parser *p, const char *format, ...) __attribute__((format(printf, 2, 3)));
static bool fail(Parser *p, const char *format, ...) {
    if (status_failed(&p->status)) return false;
    char what[300];
    va_list ap;
    va_start(ap, format);
    vsnprintf(what, sizeof what, format, ap);
    va_end(ap);
    p->status = status_make(STATUS_CORRUPT, "plan text, line %d: %s", p->line, what);
    return false;
}

static void skip_blanks(Parser *p) {
    while (p->at < p->end && *p->at == ' ') p->at++;
}
static int peek(Parser *p) {
    skip_blanks(p);
    return p->at < p->end ? (unsigned char)*p->at : -1;
}

static bool unexpected(Parser *p, const char *expected) {
    int c = peek(p);
    if (c < 0) return fail(p, "expected %s, the text ends", expected);
    if (c == '\n') return fail(p, "expected %s, the line ends", expected);
    return isprint(c) ? fail(p, "expected %s, found '%c'", expected, c)
                      : fail(p, "expected %s, found byte %d", expected, c);
}

static bool accept(Parser *p, const char *punct) {
    size_t n = strlen(punct);
    skip_blanks(p);
    if ((size_t)(p->end - p->at) < n || memcmp(p->at, punct, n)) return false;
    p->at += n;
    return true;
}

static bool expect(Parser *p, const char *punct) { return accept(p, punct) || unexpected(p, punct); }

static size_t word_length(Parser *p) {
    skip_blanks(p);
    const char *s = p->at;
    if (s == p->end || (!isalpha((unsigned char)*s) && *s != '_')) return 0;
    while (s < p->end && (isalnum((unsigned char)*s) || *s == '_')) s++;
    return (size_t)(s - p->at);
}

static bool accept_word(Parser *p, const char *word) {
    size_t n = word_length(p);
    if (n != strlen(word) || memcmp(p->at, word, n)) return false;
    p->at += n;
    return true;
}
static bool expect_word(Parser *p, const char *word) { return accept_word(p, word) || unexpected(p, word); }

static bool expect_line(Parser *p) {
    if (peek(p) != '\n') return unexpected(p, "the end of the line");
    p->at++;
    p->line++;
    return true;
}

static bool parse_int(Parser *p, int64_t *out) {
    skip_blanks(p);
    bool negative = accept(p, "-");
    if (!negative) accept(p, "+");
    if (p->at == p->end || !isdigit((unsigned char)*p->at)) return unexpected(p, "an integer");
    int64_t x = 0;
    while (p->at < p->end && isdigit((unsigned char)*p->at)) {
        int digit = *p->at++ - '0';
        if (__builtin_mul_overflow(x, (int64_t)10, &x) ||
            __builtin_add_overflow(x, (int64_t)(negative ? -digit : digit), &x))
            return fail(p, "an integer beyond 64 bits");
    }
    *out = x;
    return true;
}

static bool parse_small(Parser *p, int *out) {
    int64_t x;
    if (!parse_int(p, &x)) return false;
    if (x < INT32_MIN || x > INT32_MAX) return fail(p, "%lld is out of range", (long long)x);
    *out = (int)x;
    return true;
}

static bool parse_real(Parser *p, double *out) {
    char text[64];
    size_t n = 0;
    skip_blanks(p);
    while (p->at < p->end && n < sizeof text - 1 && (isalnum((unsigned char)*p->at) || strchr("+-.", *p->at)) && *p->at)
        text[n++] = *p->at++;
    text[n] = 0;
    char *end;
    *out = strtod(text, &end);
    if (!n || *end || !isfinite(*out)) return fail(p, "expected a number, found '%s'", text);
    return true;
}

static int hex_value(int c) { return isdigit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1; }

static bool parse_string(Parser *p, Str *out) {
    if (!accept(p, "\"")) return unexpected(p, "a string");
    const char *s = p->at;
    while (s < p->end && *s != '"' && *s != '\n') s += *s == '\\' && p->end - s > 1 ? 2 : 1;
    if (s >= p->end || *s != '"') return fail(p, "a string that does not end");
    char *text = arena_alloc(p->arena, (size_t)(s - p->at) + 1);
    size_t n = 0;
    while (p->at < s) {
        int c = (unsigned char)*p->at++;
        if (c == '\\') {
            c = (unsigned char)*p->at++;
            if (c == 'x') {
                int high = s - p->at >= 2 ? hex_value((unsigned char)p->at[0]) : -1;
                int low = high >= 0 ? hex_value((unsigned char)p->at[1]) : -1;
                if (low < 0) return fail(p, "a bad \\x in a string");
                c = high * 16 + low;
                p->at += 2;
            } else if (c != '"' && c != '\\') {
                return fail(p, "an unknown escape in a string");
            }
        }
        if (!c) return fail(p, "a zero byte in a string");
        text[n++] = (char)c;
    }
    p->at = s + 1;
    *out = str_intern_n(p->strs, text, n);
    return true;
}

static bool parse_name(Parser *p, Str *out) {
    size_t n = word_length(p);
    if (!n) return peek(p) == '"' ? parse_string(p, out) : unexpected(p, "a name");
    *out = str_intern_n(p->strs, p->at, n);
    p->at += n;
    return true;
}

static bool parse_choice(Parser *p, const char *const *names, const char *what, int *out) {
    for (int i = 0; names[i]; i++)
        if (accept_word(p, names[i])) {
            *out = i;
            return true;
        }
    return unexpected(p, what);
}

static bool parse_mesh(Parser *p, uint32_t *out) {
    *out = 0;
    if (accept(p, "-")) return true;
    do {
        Str name;
        if (!parse_name(p, &name)) return false;
        int i = 0;
        while (i < p->plan->nmesh && p->plan->mesh[i].name != name) i++;
        if (i == p->plan->nmesh) return fail(p, "unknown mesh axis '%.64s'", name);
        if (*out >> i & 1) return fail(p, "mesh axis '%.64s' twice", name);
        *out |= 1u << i;
    } while (accept(p, "+"));
    return true;
}

static bool parse_keyed(Parser *p, const char *word, int64_t *out) { return expect_word(p, word) && parse_int(p, out); }

static bool parse_head(Parser *p) {
    Plan *plan = p->plan;
    Str hash;
    if (!expect(p, "tgf-plan")) return false;
    if (!parse_small(p, &plan->abi)) return false;
    if (plan->abi != PLAN_ABI)
        return fail(p, "made for version %d of the plan, this runtime has %d", plan->abi, PLAN_ABI);
    if (!expect_line(p) || !expect_word(p, "model") || !parse_string(p, &plan->model)) return false;
    if (accept_word(p, "strategy") && !parse_string(p, &plan->strategy)) return false;
    if (!expect_word(p, "hash") || !parse_string(p, &hash)) return false;
    if (strlen(hash) != 16) return fail(p, "a hash is 16 hexadecimal digits");
    for (int i = 0; i < 16; i++) {
        int digit = hex_value((unsigned char)hash[i]);
        if (digit < 0) return fail(p, "a hash is 16 hexadecimal digits");
        plan->hash = plan->hash << 4 | (uint64_t)digit;
    }
    if (!expect_line(p) || !expect_word(p, "mesh")) return false;
    while (peek(p) != '\n') {
        if (plan->nmesh == PLAN_MESH) return fail(p, "more than %d mesh axes", PLAN_MESH);
        if (!parse_name(p, &plan->mesh[plan->nmesh].name) || !expect(p, "=") ||
            !parse_int(p, &plan->mesh[plan->nmesh].extent))
            return false;
        plan->nmesh++;
    }
    return expect_line(p) && parse_keyed(p, "slab", &plan->slab_bytes) &&
           parse_keyed(p, "params", &plan->param_bytes) && parse_keyed(p, "states", &plan->state_bytes) &&
           parse_keyed(p, "io", &plan->io_bytes) && parse_keyed(p, "activations", &plan->activation_bytes) &&
           expect_line(p);
}

static bool parse_leaf(Parser *p, int kind, PlanLeaf *l) {
    int dtype = 0;
    l->kind = (PlanLeafKind)kind;
    if (!parse_string(p, &l->name)) return false;
    if (accept_word(p, "as") && !parse_string(p, &l->storage)) return false;
    if (!parse_choice(p, dtype_names, "an element type", &dtype) || !expect(p, "[")) return false;
    l->dtype = (PlanDType)dtype;
    while (!accept(p, "]")) {
        if (l->rank && !expect(p, ",")) return false;
        if (l->rank == PLAN_RANK) return fail(p, "more than %d dimensions", PLAN_RANK);
        PlanDim *d = &l->dim[l->rank++];
        if (!parse_name(p, &d->axis) || !expect(p, "=") || !parse_int(p, &d->extent)) return false;
        if (accept(p, "/") && !parse_mesh(p, &d->split)) return false;
        if (!expect(p, ":") || !parse_int(p, &d->local)) return false;
    }
    if (!parse_keyed(p, "at", &l->offset) || !parse_keyed(p, "bytes", &l->bytes)) return false;
    if (accept_word(p, "ids") && !(parse_int(p, &l->least) && expect(p, "..") && parse_int(p, &l->limit))) return false;
    return expect_line(p);
}

static bool parse_loop_number(Parser *p, int *out) {
    static const char *const names[] = {"l0", "l1", "l2", "l3", NULL};
    _Static_assert(PLAN_LOOPS == 4, "a name for each loop");
    return parse_choice(p, names, "a loop (l0 to l3)", out);
}

static bool parse_arg(Parser *p, PlanArg *a) {
    if (!parse_int(p, &a->offset)) return false;
    for (int least = 0; p->at < p->end && (*p->at == '+' || *p->at == '-');) {
        int64_t stride;
        int loop = 0;
        if (!parse_int(p, &stride) || !expect(p, "*") || !parse_loop_number(p, &loop)) return false;
        if (loop < least || !stride) return fail(p, "strides go by rising loop and are not 0");
        a->stride[loop] = stride;
        least = loop + 1;
    }
    return true;
}

static bool parse_scalar(Parser *p, PlanScalar *s) {
    if (word_length(p)) {
        s->kind = SCALAR_ITERATION;
        return parse_loop_number(p, &s->loop);
    }
    s->kind = SCALAR_AFFINE;
    if (!parse_int(p, &s->base)) return false;
    if (peek(p) != '+' && peek(p) != '-') return true;
    return parse_int(p, &s->factor) && expect(p, "*") && expect(p, "c") && expect(p, "(") && parse_mesh(p, &s->mesh) &&
           expect(p, ")");
}

static bool parse_kernel_call(Parser *p, PlanInstr *in) {
    Vec(PlanArg) args = {0};
    Vec(PlanScalar) scalars = {0};
    if (!parse_small(p, &in->kernel) || !expect(p, "(")) return false;
    while (!accept(p, ")")) {
        PlanArg a = {0};
        if ((args.n && !expect(p, ",")) || !parse_arg(p, &a)) return false;
        vec_push(p->arena, &args, a);
    }
    if (!expect(p, "[")) return false;
    while (!accept(p, "]")) {
        PlanScalar s = {0};
        if ((scalars.n && !expect(p, ",")) || !parse_scalar(p, &s)) return false;
        vec_push(p->arena, &scalars, s);
    }
    in->args = args.at;
    in->nargs = args.n;
    in->scalars = scalars.at;
    in->nscalars = scalars.n;
    return true;
}

static bool parse_comm(Parser *p, PlanInstr *in) {
    int comm = 0, reduce = 0, dtype = 0;
    if (!parse_choice(p, comm_names, "a collective", &comm) || !parse_choice(p, reduce_names, "sum or max", &reduce) ||
        !parse_choice(p, dtype_names, "an element type", &dtype) || !expect_word(p, "on") || !parse_mesh(p, &in->mesh))
        return false;
    in->comm = (PlanCommKind)comm;
    in->reduce = (PlanReduce)reduce;
    in->dtype = (PlanDType)dtype;
    if (!expect(p, "[") || !parse_int(p, &in->outer) || !expect(p, ",") || !parse_int(p, &in->middle) ||
        !expect(p, ",") || !parse_int(p, &in->inner) || !expect(p, "]"))
        return false;
    if (accept_word(p, "peer") && !parse_int(p, &in->peer)) return false;
    in->args = NEW_ARRAY(p->arena, PlanArg, 2);
    in->nargs = 2;
    return parse_arg(p, &in->args[0]) && expect(p, "->") && parse_arg(p, &in->args[1]);
}

static bool parse_instr(Parser *p, PlanInstr *in) {
    if (accept_word(p, "kernel")) {
        in->kind = INSTR_KERNEL;
        if (!parse_kernel_call(p, in)) return false;
    } else if (accept_word(p, "comm")) {
        in->kind = INSTR_COMM;
        if (!parse_comm(p, in)) return false;
    } else if (accept_word(p, "copy")) {
        in->kind = INSTR_COPY;
        in->args = NEW_ARRAY(p->arena, PlanArg, 2);
        in->nargs = 2;
        if (!parse_arg(p, &in->args[0]) || !expect(p, "<-") || !parse_arg(p, &in->args[1]) ||
            !parse_keyed(p, "bytes", &in->bytes))
            return false;
    } else if (accept_word(p, "zero")) {
        in->kind = INSTR_ZERO;
        in->args = NEW_ARRAY(p->arena, PlanArg, 1);
        in->nargs = 1;
        if (!parse_arg(p, &in->args[0]) || !parse_keyed(p, "bytes", &in->bytes)) return false;
    } else if (accept_word(p, "loop")) {
        in->kind = INSTR_LOOP;
        if (!parse_int(p, &in->count)) return false;
        in->reverse = accept_word(p, "reverse");
        if (!expect(p, "{")) return false;
    } else if (accept(p, "}")) {
        in->kind = INSTR_END;
    } else {
        return unexpected(p, "a step");
    }
    if (accept(p, "#") && !parse_string(p, &in->op)) return false;
    if (accept(p, "@") && !(parse_string(p, &in->file) && expect(p, ":") && parse_small(p, &in->line))) return false;
    return expect_line(p);
}

typedef Vec(PlanInstr) Instrs;

static bool parse_func(Parser *p, PlanFunc *f, Instrs *instrs) {
    Vec(int) inputs = {0}, outputs = {0};
    int open[PLAN_LOOPS], depth = 0, leaf = 0;
    if (!parse_string(p, &f->name) || !expect_word(p, "inputs")) return false;
    while (isdigit(peek(p))) {
        if (!parse_small(p, &leaf)) return false;
        vec_push(p->arena, &inputs, leaf);
    }
    if (!expect_word(p, "outputs")) return false;
    while (isdigit(peek(p))) {
        if (!parse_small(p, &leaf)) return false;
        vec_push(p->arena, &outputs, leaf);
    }
    f->inputs = inputs.at;
    f->ninputs = inputs.n;
    f->outputs = outputs.at;
    f->noutputs = outputs.n;
    f->first = instrs->n;
    if (!expect_line(p)) return false;
    while (p->at < p->end && *p->at == ' ') {
        PlanInstr in = {0};
        if (!parse_instr(p, &in)) return false;
        if (in.kind == INSTR_LOOP) {
            if (depth == PLAN_LOOPS) return fail(p, "more than %d loops nested", PLAN_LOOPS);
            open[depth++] = instrs->n;
        } else if (in.kind == INSTR_END) {
            if (!depth) return fail(p, "an end of no loop");
            instrs->at[open[--depth]].end = instrs->n;
        }
        vec_push(p->arena, instrs, in);
    }
    if (depth) return fail(p, "a loop that does not end");
    f->count = instrs->n - f->first;
    return true;
}

static bool parse_plan(Parser *p) {
    Vec(PlanLeaf) leaves = {0};
    Vec(PlanKernel) kernels = {0};
    Vec(PlanFunc) funcs = {0};
    Instrs instrs = {0};
    int kind = 0;
    if (!parse_head(p)) return false;
    while (p->at < p->end && *p->at != 'k' && *p->at != 'f') {
        PlanLeaf l = {0};
        if (!parse_choice(p, leaf_names, "a leaf, a kernel or a function", &kind) || !parse_leaf(p, kind, &l))
            return false;
        vec_push(p->arena, &leaves, l);
    }
    while (p->at < p->end && *p->at == 'k') {
        PlanKernel k = {0};
        if (!expect_word(p, "kernel") || !parse_string(p, &k.symbol) || !parse_keyed(p, "tasks", &k.tasks) ||
            !parse_keyed(p, "work", &k.work_bytes) || !expect_word(p, "flops") || !parse_real(p, &k.flops) ||
            !expect_word(p, "bytes") || !parse_real(p, &k.bytes) || !expect_line(p))
            return false;
        vec_push(p->arena, &kernels, k);
    }
    while (p->at < p->end) {
        PlanFunc f = {0};
        if (!expect_word(p, "func") || !parse_func(p, &f, &instrs)) return false;
        vec_push(p->arena, &funcs, f);
    }
    Plan *plan = p->plan;
    plan->leaves = leaves.at;
    plan->nleaves = leaves.n;
    plan->kernels = kernels.at;
    plan->nkernels = kernels.n;
    plan->funcs = funcs.at;
    plan->nfuncs = funcs.n;
    plan->instrs = instrs.at;
    plan->ninstrs = instrs.n;
    return true;
}

Status plan_parse(Arena *a, StrTable *strs, const char *text, size_t size, Plan **out_plan) {
    enum { LARGEST = 256 << 20 };
    *out_plan = NULL;
    if (size > LARGEST) return status_make(STATUS_CORRUPT, "plan text of %zu bytes; at most %d", size, LARGEST);
    Parser p = {.arena = a, .strs = strs, .at = text, .end = text + size, .line = 1, .plan = NEW(a, Plan)};
    if (!parse_plan(&p)) return p.status;
    STATUS_TRY(plan_check(p.plan));
    *out_plan = p.plan;
    return status_ok();
}
