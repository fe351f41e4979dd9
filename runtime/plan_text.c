// SPDX-License-Identifier: Apache-2.0
// plan text: reads back what plan_print.c prints, print(parse(print(p))) == print(p) byte for byte. The text may come
// from anywhere, so the parser takes nothing on trust; plan_check looks at the meaning.
//
//   tgf-plan 4
//   model "gpt2" strategy "mesh" hash "00000000deadbeef"
//   mesh data=2 pipe=2
//   slab 4096 params 1024 states 0 io 64 buffers 960 activations 2048
//   tasks microbatches 4 stages pipe rank 64 zero 0 0
//   variant layers 2 chunk 1088 slot 192 zero 1024 64
//   chunk stage 0 variant 0 first 0 slots 2 at 64 slots at 1152
//   stage work 1536 slab 3584
//   channel 0 -> 1 leaves 3 4
//   param "wte" as "wte.weight" f32[vocab=67/tensor:34, width=8:8] chunk at 0 - bytes 1088
//   param "w" as "h.{layer}" f32[layer=4:*, width=8:8] chunk at 1088 0 bytes 32
//   input "tokens" i32[batch=4/data:2, seq=8:8] chunk at 1088 - bytes 64 ids 0..67
//   kernel "train_0" tasks 2 work 0 flops 128 bytes 512
//   kernel "k1_dot" tasks 8 work 0 flops 64 bytes 96 threads 384 shared 65536 map 0 at 0 bf16 [64 by 2 box 64, 8 by 128
//   box 8] swizzle 128 func "forward.0" variant 0 work 640
//     loop 4 reverse {
//       kernel 0 (c0+64*l0:32r, s1088+8*m:8) [l0+1*first, 0+34*c(tensor)+17*m+1*first, 7] # "take %x" @"gpt2.tgf":7
//       comm all_reduce sum f32 on tensor [1, 8, 4] w128 -> w256
//       start all_gather sum f32 on tensor [1, 8, 4] c64 -> w512    begun; ended by
//       start all_reduce sum f32 on tensor [1, 8, 1] w64 -> w64 joined    one call with the one in front
//       wait 3                                                       the number of the instruction, from the top
//       copy w128 <- c0 bytes 64
//       fetch w64 <- h64+64*l0 bytes 64 ahead    a copy from the host, begun; for the next iteration
//       stash h0+64*l0 <- w0 bytes 64            to the host
//       zero r128 bytes 64
//     }
//   program "train" inputs 1 outputs 2
//    stage 0
//     zero 0                   of chunk 0; -1: the rank's own
//     run 2 0 1 1              function, chunk, microbatch, slot
//     send 0 1 1               channel, microbatch, slot; recv the same
//     copy 0 1 1 0             channel, microbatch, slot, slot
//     wait 0 1                 channel, microbatch
// A leaf lies at an offset of a section, one for each variant (`-`: it lacks the leaf); `:*` marks the layered
// dimension, the bytes are then those of one layer. Addresses begin with their section: r(ank), c(hunk), s(lot),
// w(ork), h(ost), (s)t(ash). With something on the host, lines that say bytes end in `host 128` or `stash 128`. `on -`
// and `c(-)` name no mesh axis. Axis and mesh names that are not identifiers are quoted.
#include "base/vec.h"
#include "runtime/plan_text.h"
#include <ctype.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

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

static bool parse_keyed_small(Parser *p, const char *word, int *out) {
    return expect_word(p, word) && parse_small(p, out);
}

static bool next_is(Parser *p, const char *word) {
    size_t n = word_length(p);
    return n == strlen(word) && !memcmp(p->at, word, n);
}

static bool parse_host(Parser *p, const char *word, int64_t *out) { return !accept_word(p, word) || parse_int(p, out); }

static bool parse_chunk(Parser *p, PlanChunk *c) {
    return parse_keyed_small(p, "stage", &c->stage) && parse_keyed_small(p, "variant", &c->variant) &&
           parse_keyed(p, "first", &c->first) && parse_keyed(p, "slots", &c->slots) && parse_keyed(p, "at", &c->base) &&
           expect_word(p, "slots") && parse_keyed(p, "at", &c->slot_base) &&
           (!accept_word(p, "host") || parse_keyed(p, "at", &c->host_base));
}

static bool parse_layout(Parser *p) {
    Plan *plan = p->plan;
    Vec(PlanVariant) variants = {0};
    Vec(PlanChunk) chunks = {0};
    Vec(PlanStage) stages = {0};
    Vec(PlanChannel) channels = {0};
    if (!expect_word(p, "tasks") || !parse_keyed(p, "microbatches", &plan->microbatches) || !expect_word(p, "stages") ||
        !parse_mesh(p, &plan->stage_mesh) || !parse_keyed(p, "rank", &plan->rank_bytes) ||
        !parse_keyed(p, "zero", &plan->rank_zero_offset) || !parse_int(p, &plan->rank_zero_bytes) || !expect_line(p))
        return false;
    while (accept_word(p, "variant")) {
        PlanVariant v = {0};
        if (!parse_keyed(p, "layers", &v.layers) || !parse_keyed(p, "chunk", &v.chunk_bytes) ||
            !parse_keyed(p, "slot", &v.slot_bytes) || !parse_keyed(p, "zero", &v.zero_offset) ||
            !parse_int(p, &v.zero_bytes) || !parse_host(p, "host", &v.host_bytes) || !expect_line(p))
            return false;
        vec_push(p->arena, &variants, v);
    }
    while (accept_word(p, "chunk")) {
        PlanChunk c = {0};
        if (!parse_chunk(p, &c) || !expect_line(p)) return false;
        vec_push(p->arena, &chunks, c);
    }
    while (accept_word(p, "stage")) {
        PlanStage s = {0};
        if (!parse_keyed(p, "work", &s.work_base) || !parse_keyed(p, "slab", &s.slab_bytes) ||
            !parse_host(p, "stash", &s.stash_base) || !parse_host(p, "host", &s.host_bytes) || !expect_line(p))
            return false;
        vec_push(p->arena, &stages, s);
    }
    while (accept_word(p, "channel")) {
        PlanChannel c = {0};
        if (!parse_small(p, &c.from) || !expect(p, "->") || !parse_small(p, &c.to) ||
            !parse_keyed_small(p, "leaves", &c.from_leaf) || !parse_small(p, &c.to_leaf) || !expect_line(p))
            return false;
        vec_push(p->arena, &channels, c);
    }
    plan->variants = variants.at, plan->nvariants = variants.n;
    plan->chunks = chunks.at, plan->nchunks = chunks.n;
    plan->stages = stages.at, plan->nstages = stages.n;
    plan->channels = channels.at, plan->nchannels = channels.n;
    return true;
}

static bool parse_head(Parser *p) {
    Plan *plan = p->plan;
    Str hash;
    if (!expect(p, "tgf-plan")) return false;
    if (!parse_small(p, &plan->abi)) return false;
    if (plan->abi != PLAN_ABI)
        return fail(p, "made for version %d of the plan, this runtime has %d", plan->abi, PLAN_ABI);
    if (!expect_line(p) || !expect_word(p, "model") || !parse_string(p, &plan->model)) return false;
    if (accept_word(p, "strategy") && !parse_string(p, &plan->strategy)) return false;
    if (accept_word(p, "target") && !parse_string(p, &plan->target)) return false;
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
           parse_keyed(p, "io", &plan->io_bytes) && parse_keyed(p, "buffers", &plan->buffer_bytes) &&
           parse_keyed(p, "activations", &plan->activation_bytes) && parse_host(p, "host", &plan->host_bytes) &&
           expect_line(p) && parse_layout(p);
}

static bool parse_offsets(Parser *p, PlanLeaf *l) {
    int section = 0;
    if (!parse_choice(p, section_names, "a section", &section) || !expect_word(p, "at")) return false;
    l->section = (PlanSection)section;
    int n = offsets_of(p->plan, l->section);
    l->offset = NEW_ARRAY(p->arena, int64_t, n + 1);
    for (int v = 0; v < n; v++) {
        if (peek(p) == '-') { // `-` alone: absent
            p->at++;
            if (isdigit(peek(p)) && p->at[-1] == '-') return fail(p, "a negative offset");
            l->offset[v] = -1;
        } else if (!parse_int(p, &l->offset[v])) {
            return false;
        }
    }
    return true;
}

static bool parse_leaf(Parser *p, int kind, PlanLeaf *l) {
    int dtype = 0;
    l->layered = -1;
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
        if (!expect(p, ":")) return false;
        if (accept(p, "*")) {
            if (l->layered >= 0) return fail(p, "two layered dimensions");
            l->layered = l->rank - 1;
            d->local = d->extent;
        } else if (!parse_int(p, &d->local)) {
            return false;
        }
    }
    if (!parse_offsets(p, l) || !parse_keyed(p, "bytes", &l->bytes)) return false;
    if (accept_word(p, "ids") && !(parse_int(p, &l->least) && expect(p, "..") && parse_int(p, &l->limit))) return false;
    return expect_line(p);
}

static bool parse_loop_number(Parser *p, int *out) {
    static const char *const names[] = {"l0", "l1", "l2", "l3", NULL};
    _Static_assert(PLAN_LOOPS == 4, "a name for each loop");
    return parse_choice(p, names, "a loop (l0 to l3)", out);
}

// `+64*m`, `+64*first` or `+64*` and something else that the caller reads.
typedef enum Term { TERM_OTHER, TERM_MICRO, TERM_FIRST } Term;
static bool parse_term(Parser *p, int64_t *out_factor, Term *out_term) {
    if (!parse_int(p, out_factor) || !expect(p, "*")) return false;
    *out_term = accept_word(p, "m") ? TERM_MICRO : accept_word(p, "first") ? TERM_FIRST : TERM_OTHER;
    if (*out_term != TERM_OTHER && !*out_factor) return fail(p, "a factor of 0");
    return true;
}

static bool parse_arg(Parser *p, PlanArg *a) {
    int c = peek(p);
    const char *letter = c > 0 ? strchr(section_letters, c) : NULL;
    if (!letter) return unexpected(p, "an address (r, c, s, w, h or t and a number)");
    a->section = (PlanSection)(letter - section_letters);
    p->at++;
    if (!parse_int(p, &a->offset)) return false;
    for (int least = 0; p->at < p->end && (*p->at == '+' || *p->at == '-');) {
        int64_t stride;
        Term term;
        int loop = 0;
        if (!parse_term(p, &stride, &term)) return false;
        if (term == TERM_MICRO && !a->micro) {
            a->micro = stride;
            least = PLAN_LOOPS;
            continue;
        }
        if (term != TERM_OTHER) return fail(p, "not part of an address");
        if (!parse_loop_number(p, &loop)) return false;
        if (loop < least || !stride) return fail(p, "strides go by rising loop and are not 0");
        a->stride[loop] = stride;
        least = loop + 1;
    }
    return true;
}

static bool parse_scalar(Parser *p, PlanScalar *s) {
    Term term = TERM_OTHER;
    int64_t factor;
    if (word_length(p)) {
        s->kind = SCALAR_ITERATION;
        if (!parse_loop_number(p, &s->loop)) return false;
        if (peek(p) != '+' && peek(p) != '-') return true;
        return parse_term(p, &s->first_factor, &term) && (term == TERM_FIRST || fail(p, "only the chunk's first"));
    }
    s->kind = SCALAR_AFFINE;
    if (!parse_int(p, &s->base)) return false;
    for (int least = 0; peek(p) == '+' || peek(p) == '-'; least = (int)term + 1) {
        if (!parse_term(p, &factor, &term)) return false;
        if ((int)term < least) return fail(p, "terms go by coordinate, microbatch, first layer");
        if (term == TERM_MICRO) s->micro_factor = factor;
        else if (term == TERM_FIRST) s->first_factor = factor;
        else if (s->factor = factor, !expect(p, "c") || !expect(p, "(") || !parse_mesh(p, &s->mesh) || !expect(p, ")"))
            return false;
    }
    return true;
}

static bool parse_kernel_call(Parser *p, PlanInstr *in) {
    Vec(PlanArg) args = {0};
    Vec(PlanScalar) scalars = {0};
    if (!parse_small(p, &in->kernel) || !expect(p, "(")) return false;
    while (!accept(p, ")")) {
        PlanArg a = {0};
        if ((args.n && !expect(p, ",")) || !parse_arg(p, &a)) return false;
        if (accept(p, ":")) {
            if (!parse_int(p, &a.bytes)) return false;
            a.reads = accept(p, "r");
        }
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
    in->args = NEW_ARRAY(p->arena, PlanArg, 4);
    in->nargs = 2;
    if (!parse_arg(p, &in->args[0]) || !expect(p, "->") || !parse_arg(p, &in->args[1])) return false;
    if (!accept_word(p, "rows")) return true;
    in->nargs = 4;
    return parse_int(p, &in->rows) && parse_keyed(p, "of", &in->row) && expect_word(p, "counts") &&
           parse_arg(p, &in->args[2]) && expect(p, "->") && parse_arg(p, &in->args[3]);
}

static bool parse_instr(Parser *p, PlanInstr *in) {
    if (accept_word(p, "kernel")) {
        in->kind = INSTR_KERNEL;
        if (!parse_kernel_call(p, in)) return false;
    } else if (accept_word(p, "comm")) {
        in->kind = INSTR_COMM;
        if (!parse_comm(p, in)) return false;
    } else if (accept_word(p, "start")) {
        in->kind = INSTR_COMM;
        in->start = true;
        if (!parse_comm(p, in)) return false;
        in->joined = accept_word(p, "joined");
    } else if (accept_word(p, "wait")) {
        in->kind = INSTR_WAIT;
        if (!parse_small(p, &in->of)) return false;
    } else if (next_is(p, "copy") || next_is(p, "fetch") || next_is(p, "stash")) {
        in->kind = INSTR_COPY;
        in->start = !accept_word(p, "copy");
        bool stash = in->start && !accept_word(p, "fetch") && accept_word(p, "stash");
        in->args = NEW_ARRAY(p->arena, PlanArg, 2);
        in->nargs = 2;
        if (!parse_arg(p, &in->args[0]) || !expect(p, "<-") || !parse_arg(p, &in->args[1]) ||
            !parse_keyed(p, "bytes", &in->bytes))
            return false;
        in->ahead = accept_word(p, "ahead");
        if (in->start && stash != plan_is_host(in->args[0].section)) return fail(p, "stash is to the host");
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
    int open[PLAN_LOOPS], depth = 0;
    if (!parse_string(p, &f->name) || !parse_keyed_small(p, "variant", &f->variant) ||
        !parse_keyed(p, "work", &f->work_bytes) || !parse_host(p, "stash", &f->stash_bytes))
        return false;
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

static bool parse_numbers(Parser *p, int *out_n, int **out) {
    Vec(int) list = {0};
    int leaf = 0;
    while (isdigit(peek(p))) {
        if (!parse_small(p, &leaf)) return false;
        vec_push(p->arena, &list, leaf);
    }
    *out = list.at;
    *out_n = list.n;
    return true;
}

static bool parse_step(Parser *p, PlanStep *s) {
    static const char *const names[] = {"run", "send", "recv", "copy", "wait", "zero", NULL};
    static const int counts[] = {4, 3, 3, 4, 2, 1};
    int kind = 0, n[4] = {0};
    if (!parse_choice(p, names, "a step", &kind)) return false;
    for (int i = 0; i < counts[kind]; i++)
        if (!parse_small(p, &n[i])) return false;
    int chunk = kind == PLAN_STEP_RUN ? n[1] : kind == PLAN_STEP_ZERO ? n[0] : 0;
    if (chunk < INT16_MIN || chunk > INT16_MAX) return fail(p, "%d is out of range", chunk);
    *s = (PlanStep){.kind = (uint8_t)kind, .chunk = (int16_t)chunk};
    if (kind == PLAN_STEP_ZERO) return expect_line(p);
    s->what = n[0];
    s->microbatch = kind == PLAN_STEP_RUN ? n[2] : n[1];
    s->slot = kind == PLAN_STEP_RUN ? n[3] : kind == PLAN_STEP_WAIT ? 0 : n[2];
    s->to_slot = kind == PLAN_STEP_COPY ? n[3] : 0;
    return expect_line(p);
}

static bool parse_program(Parser *p, PlanProgram *g) {
    if (!parse_string(p, &g->name) || !expect_word(p, "inputs") || !parse_numbers(p, &g->ninputs, &g->inputs) ||
        !expect_word(p, "outputs") || !parse_numbers(p, &g->noutputs, &g->outputs) || !expect_line(p))
        return false;
    g->count = NEW_ARRAY(p->arena, int64_t, p->plan->nstages + 1);
    g->steps = NEW_ARRAY(p->arena, PlanStep *, p->plan->nstages + 1);
    for (int stage = 0; stage < p->plan->nstages; stage++) {
        Vec(PlanStep) steps = {0};
        int number = 0;
        if (!parse_keyed_small(p, "stage", &number) || !expect_line(p)) return false;
        if (number != stage) return fail(p, "stage %d where %d should be", number, stage);
        while (p->end - p->at > 1 && p->at[0] == ' ' && p->at[1] == ' ') {
            PlanStep s;
            if (!parse_step(p, &s)) return false;
            vec_push(p->arena, &steps, s);
        }
        g->count[stage] = steps.n;
        g->steps[stage] = steps.at;
    }
    return true;
}

static bool parse_map(Parser *p, PlanMap *m) {
    int dtype = 0;
    if (!parse_small(p, &m->arg) || !parse_keyed(p, "at", &m->first) ||
        !parse_choice(p, dtype_names, "an element type", &dtype) || !expect(p, "["))
        return false;
    m->dtype = (PlanDType)dtype;
    do {
        if (m->rank == PLAN_MAP_RANK) return fail(p, "a map of more than %d dimensions", PLAN_MAP_RANK);
        int d = m->rank++;
        if (!parse_int(p, &m->extent[d]) || !parse_keyed(p, "by", &m->stride[d]) ||
            !parse_keyed_small(p, "box", &m->box[d]))
            return false;
    } while (accept(p, ","));
    return expect(p, "]") && parse_keyed_small(p, "swizzle", &m->swizzle);
}

static bool parse_gemm_operand(Parser *p, const char *name, PlanGemmOperand *o) {
    return parse_keyed_small(p, name, &o->arg) && parse_keyed(p, "at", &o->first) && expect(p, "[") &&
           parse_int(p, &o->batch) && expect(p, ",") && parse_int(p, &o->row) && expect(p, ",") &&
           parse_int(p, &o->column) && expect(p, "]") && parse_keyed_small(p, "align", &o->align);
}

static bool parse_gemm(Parser *p, PlanKernel *k) {
    PlanGemm *g = NEW(p->arena, PlanGemm);
    k->gemm = g;
    int type = 0, out = 0;
    if (!parse_int(p, &g->batch) || !parse_keyed(p, "x", &g->m) || !parse_keyed(p, "x", &g->n) ||
        !parse_keyed(p, "x", &g->k) || !parse_choice(p, dtype_names, "an element type", &type) ||
        !expect_word(p, "to") || !parse_choice(p, dtype_names, "an element type", &out) ||
        !parse_gemm_operand(p, "a", &g->a) || !parse_gemm_operand(p, "b", &g->b) || !parse_gemm_operand(p, "c", &g->c))
        return false;
    g->type = (PlanDType)type;
    g->out = (PlanDType)out;
    g->tf32 = accept_word(p, "tf32");
    g->accumulate = accept_word(p, "accumulate");
    return true;
}

static bool parse_kernel(Parser *p, PlanKernel *k) {
    if (!expect_word(p, "kernel") || !parse_string(p, &k->symbol) || !parse_keyed(p, "tasks", &k->tasks) ||
        !parse_keyed(p, "work", &k->work_bytes) || !expect_word(p, "flops") || !parse_real(p, &k->flops) ||
        !expect_word(p, "bytes") || !parse_real(p, &k->bytes))
        return false;
    if (accept_word(p, "threads") && (!parse_small(p, &k->threads) || !parse_keyed(p, "shared", &k->shared_bytes)))
        return false;
    if (accept_word(p, "gemm") && !parse_gemm(p, k)) return false;
    Vec(PlanMap) maps = {0};
    while (accept_word(p, "map")) {
        PlanMap m = {0};
        if (!parse_map(p, &m)) return false;
        vec_push(p->arena, &maps, m);
    }
    k->maps = maps.at;
    k->nmaps = maps.n;
    return expect_line(p);
}

static bool parse_plan(Parser *p) {
    Vec(PlanLeaf) leaves = {0};
    Vec(PlanKernel) kernels = {0};
    Vec(PlanFunc) funcs = {0};
    Vec(PlanProgram) programs = {0};
    Instrs instrs = {0};
    int kind = 0;
    if (!parse_head(p)) return false;
    while (p->at < p->end && !next_is(p, "kernel") && !next_is(p, "func") && !next_is(p, "program")) {
        PlanLeaf l = {0};
        if (!parse_choice(p, leaf_names, "a leaf, a kernel or a function", &kind) || !parse_leaf(p, kind, &l))
            return false;
        vec_push(p->arena, &leaves, l);
    }
    while (p->at < p->end && *p->at == 'k') {
        PlanKernel k = {0};
        if (!parse_kernel(p, &k)) return false;
        vec_push(p->arena, &kernels, k);
    }
    while (p->at < p->end && *p->at == 'f') {
        PlanFunc f = {0};
        if (!expect_word(p, "func") || !parse_func(p, &f, &instrs)) return false;
        vec_push(p->arena, &funcs, f);
    }
    while (p->at < p->end) {
        PlanProgram g = {0};
        if (!expect_word(p, "program") || !parse_program(p, &g)) return false;
        vec_push(p->arena, &programs, g);
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
    plan->programs = programs.at;
    plan->nprograms = programs.n;
    return true;
}

Status plan_parse(Arena *a, StrTable *strs, const char *text, size_t size, Plan **out_plan) {
    enum { LARGEST = 1 << 30 };
    *out_plan = NULL;
    if (size > LARGEST) return status_make(STATUS_CORRUPT, "plan text of %zu bytes; at most %d", size, LARGEST);
    Parser p = {.arena = a, .strs = strs, .at = text, .end = text + size, .line = 1, .plan = NEW(a, Plan)};
    if (!parse_plan(&p)) return p.status;
    STATUS_TRY(plan_check(p.plan));
    *out_plan = p.plan;
    return status_ok();
}

Status plan_read(const PlanModule *m, Arena **out_arena, Plan **out_plan) {
    ArenaCatch caught;
    if (ARENA_CAUGHT(&caught)) return status_make(STATUS_MEMORY, "no memory for the plan");
    Arena *a = arena_new();
    Status s = plan_parse(a, strtable_new(a), m->plan, m->plan_bytes, out_plan);
    if (status_failed(&s)) arena_free(a);
    else *out_arena = a;
    arena_catch_end(&caught);
    return s;
}
