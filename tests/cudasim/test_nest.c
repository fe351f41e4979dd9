// SPDX-License-Identifier: Apache-2.0
// Loop nests as CUDA kernels (cuda_nest), run by the simulation, against the same nests run one place after another:
//   - the nests of every op's case, forward and backward, as lowered for a GPU, against those lowered for a CPU, in the
//     places that the memory pass gives them (in place, slices of larger values);
//   - nests of every shape that is mapped differently, over extents around the mapping's borders and all element types,
//     with operands that lie aligned or not.
// Each for a GPU of many processors and for one of few, which have other mappings. Around all operands lies poison.
//   test_cudasim_nest [CASE]
#include "codegen/jobs.h"
#include "codegen/plan.h"
#include "harness.h"
#include "nest_eval.h"
#include "ir/strategy.h"
#include "passes/pass.h"
#include "tests/ops/cases.h"
#include "tests/runtime/check.h"
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>

enum { KERNELS_MOST = 64, PROCESSORS = 2 };
static Arena *arena;
static CudaTarget targets[PROCESSORS];
static uint64_t state = 88172645463325252u;
static int launched;

static uint32_t draw(uint32_t below) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((state >> 33) % below);
}

// ---- operands

typedef struct Operand {
    const void *space; // operands of one space may overlap
    int64_t offset, bytes;
    DType type;
    bool written;
} Operand;

typedef struct Run {
    const char *what;
    const Kernel *gpu, *cpu;
    char symbol[PROCESSORS][48];
    CudaLaunch launch[PROCESSORS];
    bool is_same[PROCESSORS]; // as the first one's
    Operand *ops, *cpu_ops;   // of the two nests
    int64_t *scalars;
} Run;
static Vec(Run) runs;

typedef struct Image {
    const void *space;
    int64_t low, high;
    char *memory[2], *at[2]; // at: where offset 0 of the space would be
    size_t size;
} Image;
enum { IMAGES = 40, MARGIN = 256 };
typedef struct Images {
    Image list[IMAGES];
    int n;
} Images;

static Image *image_of(Images *m, const void *space) {
    for (int i = 0; i < m->n; i++)
        if (m->list[i].space == space) return &m->list[i];
    return NULL;
}

static void images_make(Images *m, const Run *r) {
    m->n = 0;
    for (int side = 0; side < 2; side++)
        for (int i = 0; i < (side ? r->cpu : r->gpu)->bufs.n; i++) {
            const Operand *o = &(side ? r->cpu_ops : r->ops)[i];
            Image *x = image_of(m, o->space);
            if (!x) {
                x = &m->list[m->n++];
                *x = (Image){.space = o->space, .low = o->offset, .high = o->offset};
            }
            if (o->offset < x->low) x->low = o->offset;
            if (o->offset + o->bytes > x->high) x->high = o->offset + o->bytes;
        }
    for (int i = 0; i < m->n; i++) {
        Image *x = &m->list[i];
        int64_t from = x->low & ~INT64_C(63);
        x->size = (size_t)((x->high - from + 63) & ~INT64_C(63)) + 2 * MARGIN;
        for (int side = 0; side < 2; side++) {
            x->memory[side] = aligned_alloc(64, x->size);
            memset(x->memory[side], 0xa5, x->size);
            x->at[side] = x->memory[side] + MARGIN - from;
        }
    }
}

static void fill(char *at, DType t, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        float f = (float)draw(2001) / 1000 - 1;
        uint32_t b;
        memcpy(&b, &f, 4);
        switch (t) {
        case DT_BOOL: at[i] = (char)draw(2); break;
        case DT_I32: ((int32_t *)at)[i] = (int32_t)draw(40) - 2; break;
        case DT_BF16: ((uint16_t *)at)[i] = (uint16_t)(b >> 16); break;
        case DT_F16: ((uint16_t *)at)[i] = (uint16_t)(draw(2) << 15 | (draw(15) + 1) << 10 | draw(1024)); break;
        default: ((float *)at)[i] = f;
        }
    }
}

static double element(const char *at, DType t, int64_t i) {
    uint16_t h = 0;
    if (dtype_is_half(t)) h = ((const uint16_t *)at)[i];
    if (t == DT_BF16) {
        uint32_t b = (uint32_t)h << 16;
        float f;
        memcpy(&f, &b, 4);
        return (double)f;
    }
    if (t == DT_F16) {
        int e = h >> 10 & 31;
        double x = e == 31 ? (h & 1023 ? NAN : INFINITY) : ldexp((h & 1023) + (e ? 1024 : 0), (e ? e : 1) - 25);
        return h & 0x8000 ? -x : x;
    }
    return t == DT_BOOL  ? (double)((const uint8_t *)at)[i]
           : t == DT_I32 ? (double)((const int32_t *)at)[i]
                         : (double)((const float *)at)[i];
}

static bool halves(const Run *r) {
    for (int i = 0; i < r->gpu->bufs.n; i++)
        if (dtype_is_half(r->ops[i].type)) return true;
    return false;
}

static void compare(const Run *r, const char *how, Images *m) {
    double tolerance = halves(r) ? 1.0 / 64 : 2e-4;
    for (int i = 0; i < r->gpu->bufs.n; i++) {
        const Operand *o = &r->ops[i];
        if (!o->written) continue;
        Image *x = image_of(m, o->space);
        char *got = x->at[1] + o->offset, *want = x->at[0] + o->offset;
        int64_t n = o->bytes / (int64_t)dtype_bytes(o->type);
        double largest = 1;
        for (int64_t j = 0; j < n; j++)
            if (isfinite(element(want, o->type, j))) largest = fmax(largest, fabs(element(want, o->type, j)));
        for (int64_t j = 0; j < n; j++) {
            double a = element(got, o->type, j), b = element(want, o->type, j);
            if (a == b || (isnan(a) && isnan(b)) || fabs(a - b) <= tolerance * largest) continue;
            printf("%s, %s: b%d[%" PRId64 "] is %.9g, not %.9g\n", r->what, how, i, j, a, b);
            check_failures++;
            break;
        }
        memcpy(want, got, (size_t)o->bytes);
    }
    for (int i = 0; i < m->n; i++)
        if (memcmp(m->list[i].memory[0], m->list[i].memory[1], m->list[i].size)) {
            printf("%s, %s: wrote beside its results\n", r->what, how);
            check_failures++;
        }
}

static void launch(Sim *sim, const Run *r, int which) {
    Images m;
    images_make(&m, r);
    int n = r->gpu->bufs.n;
    char *bufs[2][64];
    sim_forget(sim);
    for (int i = 0; i < n; i++) {
        const Operand *o = &r->ops[i];
        Image *x = image_of(&m, o->space);
        fill(x->at[0] + o->offset, o->type, o->bytes / (int64_t)dtype_bytes(o->type));
        bufs[1][i] = x->at[1] + o->offset;
        if (!o->bytes) continue;
        if (o->written) sim_allow(sim, bufs[1][i], (size_t)o->bytes);
        else sim_allow_reading(sim, bufs[1][i], (size_t)o->bytes);
    }
    for (int i = 0; i < m.n; i++) memcpy(m.list[i].memory[1], m.list[i].memory[0], m.list[i].size);
    for (int i = 0; i < r->cpu->bufs.n; i++)
        bufs[0][i] = image_of(&m, r->cpu_ops[i].space)->at[0] + r->cpu_ops[i].offset;
    nest_eval(r->cpu, bufs[0], r->scalars);
    void *params[96];
    for (int i = 0; i < n; i++) params[i] = &bufs[1][i];
    for (int i = 0; i < r->gpu->nscalars; i++) params[n + i] = &r->scalars[i];
    const CudaLaunch *l = &r->launch[which];
    const char *wrong =
        l->blocks ? sim_launch(sim, r->symbol[which], l->blocks, l->threads, l->shared_bytes, params) : NULL;
    const char *how = which ? "few processors" : "many processors";
    launched++;
    if (wrong) {
        printf("%s, %s: %s\n", r->what, how, wrong);
        check_failures++;
    } else {
        compare(r, how, &m);
    }
    for (int i = 0; i < m.n; i++) free(m.list[i].memory[0]), free(m.list[i].memory[1]);
}

// A mapping that does not depend on the number of processors is run once.
static void write_kernels(Run *r, int number, FILE *out) {
    char *text[PROCESSORS];
    size_t size;
    for (int p = 0; p < PROCESSORS; p++) {
        FILE *own = open_memstream(&text[p], &size);
        Kernel named = *r->gpu;
        named.name = "kernel_";
        CHECK_OK(cuda_nest(own, &targets[p], &named, &r->launch[p]));
        fclose(own);
        r->is_same[p] = p && !strcmp(text[0], text[p]) && r->launch[0].blocks == r->launch[p].blocks;
        snprintf(r->symbol[p], sizeof r->symbol[p], "n%d_%c", number, p ? 'f' : 'm');
        for (const char *at = text[p], *next; !r->is_same[p] && *at; at = next) {
            next = strstr(at, named.name);
            size_t n = next ? (size_t)(next - at) : strlen(at);
            fwrite(at, 1, n, out);
            if (next) fputs(r->symbol[p], out);
            next = at + n + (next ? strlen(named.name) : 0);
        }
        if (p) free(text[p]);
    }
    free(text[0]);
}

static void run_all(void) {
    for (int from = 0; from < runs.n; from += KERNELS_MOST) {
        int to = from + KERNELS_MOST < runs.n ? from + KERNELS_MOST : runs.n;
        char *text = NULL, error[SIM_MESSAGE];
        size_t size = 0;
        FILE *out = open_memstream(&text, &size);
        for (int i = from; i < to; i++) write_kernels(&runs.at[i], i, out);
        fclose(out);
        Sim *sim = sim_compile(text, error);
        if (!sim) {
            printf("%s\n", error);
            check_failures++;
        }
        for (int i = from; sim && i < to; i++)
            for (int p = 0; p < PROCESSORS; p++) {
                if (runs.at[i].is_same[p]) continue;
                sim_seed(sim, (uint64_t)(2 * i + p));
                launch(sim, &runs.at[i], p);
            }
        sim_free(sim);
        free(text);
    }
    runs.n = 0;
}

// ---- the ops

static const void *space_of(const PlanArg *a, const PlanArg *all, int n) {
    for (int i = 0; i < n; i++)
        if (all[i].section == a->section && all[i].micro == a->micro &&
            !memcmp(all[i].stride, a->stride, sizeof a->stride))
            return &all[i];
    return a;
}

static Operand *operands(const PlanInstr *in, const PlanInstr *spaces, const Kernel *k) {
    Operand *o = NEW_ARRAY(arena, Operand, in->nargs + 1);
    for (int i = 0; i < in->nargs; i++)
        o[i] = (Operand){.space = space_of(&in->args[i], spaces->args, spaces->nargs),
                         .offset = in->args[i].offset,
                         .bytes = in->args[i].bytes,
                         .type = k->bufs.at[i].type,
                         .written = k->bufs.at[i].written};
    return o;
}

static Jobs gpu_jobs;
static bool *done; // by job
static int ndone;

static void add_plan(const char *what, Unit *u) {
    Jobs cpu_jobs = {.arena = arena};
    Plan *gpu = plan_build(u, arena, &gpu_jobs), *cpu = plan_build(u, arena, &cpu_jobs);
    CHECK(gpu && cpu && gpu->ninstrs == cpu->ninstrs);
    for (int i = 0; gpu && cpu && i < gpu->ninstrs; i++) {
        const PlanInstr *a = &gpu->instrs[i], *b = &cpu->instrs[i];
        if (a->kind != INSTR_KERNEL || gpu_jobs.list.at[a->kernel].kind != JOB_NEST) continue;
        if (a->kernel >= ndone || done[a->kernel]) continue;
        done[a->kernel] = true;
        Run r = {.gpu = gpu_jobs.list.at[a->kernel].nest, .cpu = cpu_jobs.list.at[b->kernel].nest};
        r.what = arena_printf(arena, "%s, %s", what, a->op);
        r.ops = operands(a, a, r.gpu);
        r.cpu_ops = operands(b, a, r.cpu);
        r.scalars = NEW_ARRAY(arena, int64_t, a->nscalars + 1);
        for (int j = 0; j < a->nscalars; j++) {
            const PlanScalar *s = &a->scalars[j];
            r.scalars[j] = s->kind == SCALAR_AFFINE ? s->base + s->factor + s->micro_factor : 1;
        }
        vec_push(arena, &runs, r);
    }
}

static void add_case(const OpCase *k, DType compute, int axis) {
    CaseCtx *c = case_open(k);
    const char *what = arena_printf(arena, "%s, %s", k->name, dtype_name(compute));
    Strategy *s = NEW(c->arena, Strategy);
    s->name = str_intern(c->unit->strs, "test");
    s->loc = c->b.loc;
    if (compute != DT_F32) {
        s->has_precision = true;
        s->scale = 1;
        s->compute = compute;
        s->master = s->reduce = DT_F32;
        c->unit->strategy = s;
    }
    if (axis >= 0 && axis < c->unit->axes.n) {
        s->mesh.n = s->nsplits = 1;
        s->mesh.axis[0].name = str_intern(c->unit->strs, "m");
        s->mesh.axis[0].extent = 2;
        s->splits = NEW_ARRAY(c->arena, Split, 1);
        s->splits[0] = (Split){.axis = c->unit->axes.at[axis], .over = 1, .loc = c->b.loc, .over_loc = c->b.loc};
        c->unit->strategy = s;
        what = arena_printf(arena, "%s, %s split", what, c->unit->axes.at[axis]->name);
    }
    PassOptions options = {.first = k->flags & CASE_NO_GRADIENT ? "shard" : "precision", .last = "memory"};
    options.keep_gradients = true;
    if (passes_run(c->unit, &options)) add_plan(what, c->unit);
    else if (axis < 0) CHECK(!"the passes went through");
    case_close(c);
}

static void test_ops(const char *only) {
    int count;
    const OpCase *cases = op_cases(&count);
    gpu_jobs = (Jobs){.arena = arena, .cuda = &targets[0]};
    ndone = 1 << 16;
    done = NEW_ARRAY(arena, bool, ndone);
    for (int i = 0; i < count; i++) {
        if (only && strcmp(cases[i].name, only)) continue;
        add_case(&cases[i], DT_F32, -1);
        if (i % 4 == 0 || only) add_case(&cases[i], DT_F32, i / 4 % 3);
        if (!(cases[i].flags & CASE_NO_GRADIENT)) add_case(&cases[i], i % 2 ? DT_BF16 : DT_F16, -1);
    }
    run_all();
}

// ---- shapes

typedef struct Shape {
    Kernel *k;
    int64_t rows, columns;
    DType type;
} Shape;

static KIndex at(int64_t base, int n, ...) { // pairs of variable and stride
    KIndex x = {.base = base};
    va_list list;
    va_start(list, n);
    for (int i = 0; i < n; i++) {
        int var = va_arg(list, int);
        kindex_add_var(&x, var, va_arg(list, int64_t));
    }
    va_end(list);
    return x;
}

static KBody *open_loop(Kernel *k, KBody *into, KLoopKind kind, int64_t extent, int *out_var) {
    *out_var = kernel_var(k);
    return &kbody_loop(k, into, kind, *out_var, extent)->body;
}
static KExpr *load(Kernel *k, int buf, KIndex x) {
    KExpr *e = kb_load(k, buf, x);
    return dtype_is_half(e->type) ? kb_cast(k, e, DT_F32) : e;
}
static void put(Kernel *k, KBody *into, int buf, KIndex x, KExpr *e) {
    kbody_store(k, into, buf, x, kb_cast(k, e, k->bufs.at[buf].type));
}
static const int64_t ONE = 1;

// y = tanh(x) * b + y, y in place; b a row.
static void shape_map(Shape *s) {
    Kernel *k = s->k;
    int y = kernel_buf(k, s->type, true), x = kernel_buf(k, s->type, false), b = kernel_buf(k, DT_F32, false), r, c;
    KBody *body = open_loop(k, &k->body, KLOOP_PARALLEL, s->rows, &r);
    body = open_loop(k, body, KLOOP_PARALLEL, s->columns, &c);
    KIndex i = at(0, 2, r, s->columns, c, ONE);
    put(k, body, y, i, kb_add(k, kb_mul(k, kb_tanh(k, load(k, x, i)), load(k, b, at(0, 1, c, ONE))), load(k, y, i)));
}

// y = x / exp(b) by rows: what belongs to a row is made once.
static void shape_scaled(Shape *s) {
    Kernel *k = s->k;
    int y = kernel_buf(k, s->type, true), x = kernel_buf(k, s->type, false), b = kernel_buf(k, DT_F32, false), r, c;
    KBody *body = open_loop(k, &k->body, KLOOP_PARALLEL, s->rows, &r);
    body = open_loop(k, body, KLOOP_PARALLEL, s->columns, &c);
    KIndex i = at(0, 2, r, s->columns, c, ONE);
    put(k, body, y, i, kb_div(k, load(k, x, i), kb_exp(k, load(k, b, at(0, 1, r, ONE)))));
}

// Softmax of rows, in place; also the rows' sums, and those of half of each row.
static void shape_rows(Shape *s) {
    Kernel *k = s->k;
    int y = kernel_buf(k, s->type, true), z = kernel_buf(k, DT_F32, true), r, c, half;
    KBody *row = open_loop(k, &k->body, KLOOP_PARALLEL, s->rows, &r), *body;
    int most = kernel_acc(k), sum = kernel_acc(k), part = kernel_acc(k);
    kbody_acc(k, row, most, KREDUCE_MAX);
    body = open_loop(k, row, KLOOP_VECTOR, s->columns, &c);
    kbody_update(k, body, most, load(k, y, at(0, 2, r, s->columns, c, ONE)));
    kbody_acc(k, row, sum, KREDUCE_SUM);
    kbody_acc(k, row, part, KREDUCE_SUM);
    body = open_loop(k, row, KLOOP_VECTOR, s->columns, &c);
    KExpr *shifted = kb_sub(k, load(k, y, at(0, 2, r, s->columns, c, ONE)), kb_acc(k, most, DT_F32));
    kbody_update(k, body, sum, kb_exp(k, shifted));
    body = open_loop(k, row, KLOOP_VECTOR, (s->columns + 1) / 2, &half);
    kbody_update(k, body, part, load(k, y, at(s->columns / 2, 2, r, s->columns, half, ONE)));
    put(k, row, z, at(0, 1, r, ONE), kb_add(k, kb_acc(k, sum, DT_F32), kb_acc(k, part, DT_F32)));
    body = open_loop(k, row, KLOOP_VECTOR, s->columns, &c);
    KIndex i = at(0, 2, r, s->columns, c, ONE);
    shifted = kb_sub(k, load(k, y, i), kb_acc(k, most, DT_F32));
    put(k, body, y, i, kb_div(k, kb_exp(k, shifted), kb_acc(k, sum, DT_F32)));
}

// Sums and maxima of columns over the rows of three pieces; then the columns less their mean.
static void shape_columns(Shape *s) {
    Kernel *k = s->k;
    int y = kernel_buf(k, s->type, true), sums = kernel_buf(k, DT_F32, true), top = kernel_buf(k, DT_F32, true);
    int x = kernel_buf(k, s->type, false), p, c, r, q;
    int64_t piece = s->rows * s->columns;
    KBody *point = open_loop(k, &k->body, KLOOP_PARALLEL, 3, &p);
    point = open_loop(k, point, KLOOP_PARALLEL, s->columns, &c);
    int sum = kernel_acc(k), most = kernel_acc(k);
    kbody_acc(k, point, sum, KREDUCE_SUM);
    kbody_acc(k, point, most, KREDUCE_MAX);
    KBody *body = open_loop(k, point, KLOOP_SERIAL, s->rows, &r);
    KIndex i = at(0, 3, p, piece, r, s->columns, c, ONE), o = at(0, 2, p, s->columns, c, ONE);
    kbody_update(k, body, sum, load(k, x, i));
    kbody_update(k, body, most, kb_neg(k, load(k, x, i)));
    put(k, point, sums, o, kb_acc(k, sum, DT_F32));
    put(k, point, top, o, kb_acc(k, most, DT_F32));
    body = open_loop(k, point, KLOOP_SERIAL, s->rows, &q);
    i = at(0, 3, p, piece, q, s->columns, c, ONE);
    KExpr *mean = kb_div(k, kb_acc(k, sum, DT_F32), kb_const(k, DT_F32, (double)s->rows));
    put(k, body, y, i, kb_sub(k, load(k, x, i), mean));
}

// The sum of everything, over loops that are not one; and how many are positive.
static void shape_total(Shape *s) {
    Kernel *k = s->k;
    int y = kernel_buf(k, DT_F32, true), n = kernel_buf(k, DT_I32, true), x = kernel_buf(k, s->type, false), r, c;
    int sum = kernel_acc(k), count = kernel_acc(k);
    kbody_acc(k, &k->body, sum, KREDUCE_SUM);
    kbody_acc(k, &k->body, count, KREDUCE_SUM);
    KBody *body = open_loop(k, &k->body, KLOOP_SERIAL, s->rows, &r);
    body = open_loop(k, body, KLOOP_VECTOR, s->columns, &c);
    KExpr *v = load(k, x, at(0, 2, r, s->columns, c, ONE));
    kbody_update(k, body, sum, v);
    kbody_update(k, body, count, kb_cast(k, kb_lt(k, kb_const(k, DT_F32, 0), v), DT_I32));
    put(k, &k->body, y, at(0, 0), kb_acc(k, sum, DT_F32));
    put(k, &k->body, n, at(0, 0), kb_acc(k, count, DT_I32));
}

// y[r] = three pieces one after the other, the middle one from rows that ids name, where they are valid.
static void shape_pieces(Shape *s) {
    Kernel *k = s->k;
    int y = kernel_buf(k, s->type, true), ok = kernel_buf(k, DT_BOOL, true), x = kernel_buf(k, s->type, false);
    int ids = kernel_buf(k, DT_I32, false), r, c;
    int64_t all = 3 * s->columns;
    KBody *row = open_loop(k, &k->body, KLOOP_PARALLEL, s->rows, &r);
    KExpr *id = kb_load(k, ids, at(0, 1, r, ONE)), *none = kb_const(k, DT_I32, 0);
    KExpr *last = kb_const(k, DT_I32, (double)s->rows - 1);
    KExpr *valid = kb_and(k, kb_le(k, none, id), kb_le(k, id, last));
    for (int piece = 0; piece < 3; piece++) {
        KBody *body = open_loop(k, row, KLOOP_PARALLEL, s->columns, &c);
        KIndex from = at(0, 1, c, ONE);
        if (piece == 1) kindex_add_expr(k, &from, kb_max(k, none, kb_min(k, id, last)), s->columns);
        else kindex_add_var(&from, r, s->columns);
        KExpr *v = load(k, x, from);
        if (piece == 1) v = kb_select(k, valid, v, kb_const(k, DT_F32, 0));
        if (piece == 2) v = kb_neg(k, v);
        put(k, body, y, at(piece * s->columns, 2, r, all, c, ONE), v);
        kbody_store(k, body, ok, at(piece * s->columns, 2, r, all, c, ONE),
                    kb_and(k, valid, kb_lt(k, v, kb_const(k, DT_F32, 0))));
    }
}

// y[c, r] = x[r, c], plus the place's number.
static void shape_turned(Shape *s) {
    Kernel *k = s->k;
    int y = kernel_buf(k, s->type, true), x = kernel_buf(k, s->type, false), r, c;
    KBody *body = open_loop(k, &k->body, KLOOP_PARALLEL, s->columns, &c);
    body = open_loop(k, body, KLOOP_PARALLEL, s->rows, &r);
    KExpr *number = kb_cast(k, kb_add(k, kb_var(k, r), kb_scalar(k, 0)), DT_F32);
    KExpr *v = kb_add(k, load(k, x, at(0, 2, r, s->columns, c, ONE)), kb_mul(k, number, kb_const(k, DT_F32, 1e-3)));
    put(k, body, y, at(0, 2, c, s->rows, r, ONE), v);
}

// The nests of a CPU: lanes inside tasks, in chunks; running sums down the columns.
static void shape_chunks(Shape *s) {
    Kernel *k = s->k;
    int y = kernel_buf(k, DT_F32, true), x = kernel_buf(k, s->type, false), chunk, r, v = kernel_var(k);
    KBody *body = open_loop(k, &k->body, KLOOP_PARALLEL, (s->columns + 15) / 16, &chunk);
    KBody *lanes = &kbody_chunk(k, body, KLOOP_VECTOR, v, 16, chunk, s->columns)->body;
    KIndex i = at(0, 2, chunk, (int64_t)16, v, ONE);
    put(k, lanes, y, i, load(k, x, i));
    if (s->rows == 1) return;
    body = open_loop(k, body, KLOOP_SERIAL, s->rows - 1, &r);
    v = kernel_var(k);
    lanes = &kbody_chunk(k, body, KLOOP_VECTOR, v, 16, chunk, s->columns)->body;
    KIndex before = at(0, 3, r, s->columns, chunk, (int64_t)16, v, ONE), here = before;
    here.base += s->columns;
    put(k, lanes, y, here, kb_add(k, load(k, y, before), load(k, x, here)));
}

// A scatter: updates that ids name, added to rows that lie there or to those of another value.
static void shape_picked(Shape *s) {
    Kernel *k = s->k;
    int64_t picks = 3 * s->rows, rows = picks < 37 ? picks : 37;
    bool in_place = s->rows % 2;
    int y = kernel_buf(k, DT_F32, true), base = in_place ? y : kernel_buf(k, DT_F32, false);
    int ids = kernel_buf(k, DT_I32, false), x = kernel_buf(k, s->type, false), r, c, t, sum = kernel_acc(k);
    KBody *point = open_loop(k, &k->body, KLOOP_PARALLEL, rows, &r);
    point = open_loop(k, point, KLOOP_PARALLEL, s->columns, &c);
    kbody_acc(k, point, sum, KREDUCE_SUM);
    KBody *body = open_loop(k, point, KLOOP_SERIAL, picks, &t);
    KExpr *is = kb_eq(k, kb_load(k, ids, at(0, 1, t, ONE)), kb_var(k, r));
    is = kb_and(k, is, kb_lt(k, kb_load(k, ids, at(0, 1, t, ONE)), kb_const(k, DT_I32, 30)));
    KExpr *update = load(k, x, at(0, 2, t, s->columns, c, ONE));
    kbody_update(k, body, sum, kb_select(k, is, update, kb_const(k, DT_F32, 0)));
    KIndex i = at(0, 2, r, s->columns, c, ONE);
    put(k, point, y, i, kb_add(k, load(k, base, i), kb_acc(k, sum, DT_F32)));
}

// Running sums down the columns, from the last place to the first where there is an odd number of columns.
static void shape_running(Shape *s) {
    Kernel *k = s->k;
    int y = kernel_buf(k, DT_F32, true), x = kernel_buf(k, s->type, false), c, v;
    bool back = s->columns % 2;
    int64_t first = back ? (s->rows - 1) * s->columns : 0, step = back ? -s->columns : s->columns;
    KBody *line = open_loop(k, &k->body, KLOOP_PARALLEL, s->columns, &c);
    put(k, line, y, at(first, 1, c, ONE), load(k, x, at(first, 1, c, ONE)));
    if (s->rows == 1) return;
    KBody *body = open_loop(k, line, KLOOP_SERIAL, s->rows - 1, &v);
    KIndex before = at(first, 2, c, ONE, v, step), here = before;
    here.base += step;
    put(k, body, y, here, kb_add(k, load(k, y, before), load(k, x, here)));
}

static void add_shape(const char *name, void (*build)(Shape *s), int64_t rows, int64_t columns, DType type, bool off) {
    Shape s = {.k = kernel_new(arena, ""), .rows = rows, .columns = columns, .type = type};
    build(&s);
    static const char spaces[64];
    Run r = {.gpu = s.k, .cpu = s.k};
    r.what = arena_printf(arena, "%s [%d, %d] %s%s", name, (int)rows, (int)columns, dtype_name(type),
                          off ? ", not aligned" : "");
    r.ops = r.cpu_ops = NEW_ARRAY(arena, Operand, s.k->bufs.n);
    for (int i = 0; i < s.k->bufs.n; i++) {
        const KBuf *b = &s.k->bufs.at[i];
        int64_t size = (int64_t)dtype_bytes(b->type);
        // The largest that any buffer of any shape is; what a nest does not reach stays as it is.
        r.ops[i] = (Operand){.space = &spaces[i],
                             .offset = off ? size : 0,
                             .bytes = size * 3 * rows * columns,
                             .type = b->type,
                             .written = b->written};
    }
    r.scalars = NEW_ARRAY(arena, int64_t, 4);
    r.scalars[0] = 7;
    vec_push(arena, &runs, r);
}

static void test_shapes(void) {
    static const struct {
        const char *name;
        void (*build)(Shape *s);
    } shapes[] = {{"map", shape_map},       {"rows", shape_rows},     {"columns", shape_columns},
                  {"total", shape_total},   {"pieces", shape_pieces}, {"turned", shape_turned},
                  {"chunks", shape_chunks}, {"picked", shape_picked}, {"running", shape_running},
                  {"scaled", shape_scaled}};
    static const int64_t extents[][2] = {{1, 1},   {3, 1},    {1, 3},    {31, 33},  {33, 31}, {3, 1000}, {1000, 3},
                                         {33, 64}, {1025, 8}, {5, 1025}, {2, 2048}, {70, 72}, {6, 2056}};
    static const DType types[] = {DT_F32, DT_BF16, DT_F16};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (size_t j = 0; j < sizeof extents / sizeof *extents; j++)
            add_shape(shapes[i].name, shapes[i].build, extents[j][0], extents[j][1], types[(i + j) % 3],
                      (i + j) % 4 == 3);
    run_all();
}

int main(int argc, char **argv) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    arena = arena_new();
    for (int i = 0; i < PROCESSORS; i++) CHECK_OK(cuda_target_make("sm_90a", &targets[i]));
    targets[1].processors = 1;
    if (argc == 1 || !strcmp(argv[1], "shapes")) test_shapes();
    test_ops(argc > 1 ? argv[1] : NULL);
    printf("%d launches\n", launched);
    arena_free(arena);
    return check_report("nest");
}
