// SPDX-License-Identifier: Apache-2.0
// kit_kernels: products and attention alone, at the sizes of GPT-2 124M, of a Llama of 350M parameters and beyond, each
// an image of its own.
#include "codegen/cuda_image.h"
#include "tests/gpu/kit_make.h"
#include <inttypes.h>
#include <string.h>

typedef struct Made {
    FILE *out;
    CudaTarget target;
    int done, refused;
} Made;

static Jobs *jobs_open(const Made *made, Arena **out_arena) {
    *out_arena = arena_new();
    Jobs *jobs = NEW(*out_arena, Jobs);
    jobs->arena = *out_arena;
    jobs->cuda = &made->target;
    return jobs;
}

// Compiles the one job and writes its case; shape: see the callers.
static void put_kernel(Made *made, Jobs *jobs, const char *name, int nbufs, const char *kind, const char *shape) {
    CudaImage image;
    Status s = cuda_image_make(jobs, false, &image);
    if (status_failed(&s)) {
        fprintf(stderr, "%s: %s: %s\n", name, status_name(s.code), s.message);
        made->refused++;
        return;
    }
    const Job *j = &jobs->list.at[0];
    kit_put_text(made->out, "case", "%s", name);
    kit_put_text(made->out, "kind", "%s", kind);
    kit_put_text(made->out, "shape", "%s", shape);
    kit_put_text(made->out, "symbol", "%s", j->name);
    kit_put_text(made->out, "launch", "%" PRId64 " %d %" PRId64 " %d %d", j->launch.blocks, j->launch.threads,
                 j->launch.shared_bytes, nbufs, j->launch.nmaps);
    kit_put_text(made->out, "work", "%.17g %.17g", j->flops, j->bytes);
    kit_put_text(made->out, "use", "%d registers, %" PRId64 " bytes spilled", image.use[0].registers,
                 image.use[0].spill_bytes);
    kit_put(made->out, j->launch.maps, sizeof *j->launch.maps * (size_t)j->launch.nmaps, "maps");
    kit_put_image(made->out, &image.code);
    printf("%-48s %3d registers, %" PRId64 " bytes spilled, %" PRId64 " bytes shared, %" PRId64 " blocks of %d\n", name,
           image.use[0].registers, image.use[0].spill_bytes, j->launch.shared_bytes, j->launch.blocks,
           j->launch.threads);
    made->done++;
}

static int finish(const Made *made) {
    printf("%d kernels made, %d refused\n", made->done, made->refused);
    return made->done == 0;
}

// ---- products: C [m, n] = A [m, k] B [k, n], bf16; `t`: the operand lies transposed

typedef struct Product {
    const char *name;
    int64_t m, n, k;
    bool a_t, b_t;
} Product;

static void put_product(Made *made, const Product *p) {
    TileMatmul d;
    memset(&d, 0, sizeof d);
    d.type = REAL_BF16;
    d.a = 0, d.b = 1, d.c = 2;
    for (int i = 0; i < 3; i++) d.align[i] = PLAN_ALIGN;
    d.m.count = d.n.count = d.k.count = 1;
    d.m.axis[0] = (TileAxis){.extent = p->m, .a = p->a_t ? 1 : p->k, .c = p->n};
    d.n.axis[0] = (TileAxis){.extent = p->n, .b = p->b_t ? p->k : 1, .c = 1};
    d.k.axis[0] = (TileAxis){.extent = p->k, .a = p->a_t ? p->m : 1, .b = p->b_t ? 1 : p->n};
    double flops = 2.0 * (double)p->m * (double)p->n * (double)p->k;
    double bytes = 2.0 * ((double)p->m * (double)p->k + (double)p->k * (double)p->n + (double)p->m * (double)p->n);
    char name[120], shape[120];
    snprintf(shape, sizeof shape, "%" PRId64 " %" PRId64 " %" PRId64 " %d %d", p->m, p->n, p->k, p->a_t, p->b_t);
    snprintf(name, sizeof name, "%s %" PRId64 "x%" PRId64 "x%" PRId64 " %c%c", p->name, p->m, p->n, p->k,
             p->a_t ? 't' : 'n', p->b_t ? 't' : 'n');
    Arena *a;
    Jobs *jobs = jobs_open(made, &a);
    jobs_add_matmul(jobs, &d, "product", flops, bytes);
    put_kernel(made, jobs, name, 3, "product", shape);
    arena_free(a);
}

// A layer y [t, n] = x [t, k] w [k, n], or w [n, k] when `b_t`, forward and backward.
static void put_layer(Made *made, const char *name, int64_t t, int64_t k, int64_t n, bool b_t) {
    char text[80];
    snprintf(text, sizeof text, "%s forward", name);
    put_product(made, &(Product){text, t, n, k, false, b_t});
    snprintf(text, sizeof text, "%s dx", name);
    put_product(made, &(Product){text, t, k, n, false, !b_t});
    snprintf(text, sizeof text, "%s dw", name);
    put_product(made, b_t ? &(Product){text, n, k, t, true, false} : &(Product){text, k, n, t, true, false});
}

int kit_products(FILE *out, const char *arch, bool small) {
    Made made = {.out = out};
    Status s = cuda_target_make(arch, &made.target);
    if (status_failed(&s)) {
        fprintf(stderr, "%s\n", s.message);
        return 2;
    }
    if (small) {
        put_product(&made, &(Product){"square", 64, 64, 64, false, false});
        put_layer(&made, "layer", 96, 40, 72, false);
        put_layer(&made, "odd layer", 33, 24, 37, true);
        put_layer(&made, "tiles", 256, 128, 192, false);
        for (int lay = 0; lay < 3; lay++) // enough for warpgroups, tiles that end outside
            put_product(&made, &(Product){"large", 1600, 1288, 96, lay == 2, lay == 1});
        return finish(&made);
    }
    static const struct {
        const char *name;
        int64_t k, n;
        bool b_t;
    } layers[] = {
        {"gpt2 qkv", 768, 2304, false},      {"gpt2 projection", 768, 768, false}, {"gpt2 hidden", 768, 3072, false},
        {"gpt2 down", 3072, 768, false},     {"gpt2 logits", 768, 50257, true},    {"llama q", 1024, 1024, false},
        {"llama k", 1024, 256, false},       {"llama gate", 1024, 3072, false},    {"llama down", 3072, 1024, false},
        {"llama logits", 1024, 32000, true},
    };
    put_product(&made, &(Product){"square", 8192, 8192, 8192, false, false});
    put_product(&made, &(Product){"square", 8192, 8192, 8192, false, true});
    put_product(&made, &(Product){"square", 8192, 8192, 8192, true, false});
    put_product(&made, &(Product){"square", 4096, 4096, 4096, false, false});
    put_product(&made, &(Product){"square", 2048, 2048, 2048, false, false});
    for (size_t i = 0; i < sizeof layers / sizeof *layers; i++)
        put_layer(&made, layers[i].name, 16384, layers[i].k, layers[i].n, layers[i].b_t);
    return finish(&made);
}

// ---- attention: operands [batch, seq, head, dim] in bf16, lse [batch, head, seq]

typedef struct Attention {
    int64_t batch, head, seq, dim;
    bool causal;
} Attention;

static TileRows rows_of(const Attention *x, int buf) {
    return (TileRows){.buf = buf, .outer = {x->seq * x->head * x->dim, x->dim}, .row = x->head * x->dim, .column = 1};
}

static void fill(const Attention *x, TileAttend *d) {
    memset(d, 0, sizeof *d);
    d->outer_count = 2;
    d->outer[0] = x->batch, d->outer[1] = x->head;
    d->queries = d->keys = x->seq;
    d->q_columns = d->v_columns = x->dim;
    d->scale = 0.125f; // dim 64's; any will do
    d->causal = x->causal;
    d->query_position = d->key_position = -1;
    d->type = REAL_BF16;
    d->q = rows_of(x, 0);
    d->k = rows_of(x, 1);
    d->v = rows_of(x, 2);
    d->y = rows_of(x, 3);
    d->lse = (TileRows){.buf = 4, .outer = {x->head * x->seq, x->seq}, .row = 1};
}

static void put_attention(Made *made, const Attention *x) {
    double work = 4.0 * (double)x->batch * (double)x->head * (double)x->seq * (double)x->seq * (double)x->dim;
    double bytes = 2.0 * (double)x->batch * (double)x->head * (double)x->seq * (double)x->dim;
    char name[120], shape[120];
    if (x->causal) work /= 2;
    snprintf(shape, sizeof shape, "%" PRId64 " %" PRId64 " %" PRId64 " %" PRId64 " %d", x->batch, x->head, x->seq,
             x->dim, x->causal);
    Arena *a;
    Jobs *jobs = jobs_open(made, &a);
    TileAttend forward;
    fill(x, &forward);
    jobs_add_attend(jobs, &forward, "attend", work, 4 * bytes);
    snprintf(name, sizeof name, "attend b%" PRId64 " h%" PRId64 " s%" PRId64 " d%" PRId64 "%s", x->batch, x->head,
             x->seq, x->dim, x->causal ? " causal" : "");
    put_kernel(made, jobs, name, 5, "attend", shape);
    arena_free(a);
    jobs = jobs_open(made, &a);
    TileAttendBack back;
    memset(&back, 0, sizeof back);
    fill(x, &back.forward);
    back.dy = rows_of(x, 5);
    back.dq = rows_of(x, 6);
    back.dk = rows_of(x, 7);
    back.dv = rows_of(x, 8);
    jobs_add_attend_back(jobs, &back, "attend_back", 2.5 * work, 8 * bytes);
    snprintf(name, sizeof name, "attend backward b%" PRId64 " h%" PRId64 " s%" PRId64 " d%" PRId64 "%s", x->batch,
             x->head, x->seq, x->dim, x->causal ? " causal" : "");
    put_kernel(made, jobs, name, 9, "attend_back", shape);
    arena_free(a);
}

int kit_attention(FILE *out, const char *arch, bool small) {
    Made made = {.out = out};
    Status s = cuda_target_make(arch, &made.target);
    if (status_failed(&s)) {
        fprintf(stderr, "%s\n", s.message);
        return 2;
    }
    static const int64_t shapes[][2] = {{12, 64}, {16, 64}, {16, 128}, {32, 128}}; // heads, dim
    for (int causal = 1; causal >= 0; causal--)
        for (size_t i = 0; i < (small ? 1 : sizeof shapes / sizeof *shapes); i++)
            for (int64_t seq = 1024; seq <= (small ? 1024 : 8192); seq *= 2) {
                Attention x = {8, shapes[i][0], seq, shapes[i][1], causal};
                if (small) x = (Attention){1, 2, 80, 64, causal};
                put_attention(&made, &x);
            }
    return finish(&made);
}
