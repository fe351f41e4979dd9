// SPDX-License-Identifier: Apache-2.0
// sweep: trains a family of models of growing size, each built in C, and draws held-out loss against compute.
//     sweep [--quick] [--threads N] FILE OUT       FILE: any text; writes OUT.csv and OUT.svg
#include "chart.h"
#include "family.h"
#include "law.h"
#include "text.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct Plan {
    int largest, warmup, evals; // members 1 to `largest` of the family; evals: batches of an evaluation
    int64_t steps;              // of each
} Plan;

static double now(void) {
    struct timespec t;
    timespec_get(&t, TIME_UTC);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int64_t parameters(TgfModel *m) {
    int64_t total = 0;
    for (int i = 0; i < tgf_count(m, TGF_PARAMETER); i++) {
        TgfTensor t;
        if (tgf_describe_at(m, TGF_PARAMETER, i, &t).code == TGF_OK) total += t.count;
    }
    return total;
}

enum { IDS = FAMILY_BATCH * FAMILY_SEQ };

static TgfStatus evaluate(TgfModel *m, const Text *text, int batches, double *out_loss) {
    static int32_t tokens[IDS], labels[IDS];
    TgfStatus s = {TGF_OK, ""};
    *out_loss = 0;
    for (int i = 0; i < batches && s.code == TGF_OK; i++) {
        float loss = 0;
        text_held_out(text, i, batches, FAMILY_BATCH, FAMILY_SEQ, tokens, labels);
        s = tgf_eval(m, tokens, labels, &loss);
        *out_loss += (double)loss / batches;
    }
    return s;
}

// Evaluates behind twice the warmup, at steps a factor of about 1.12 apart, and at the last.
static TgfStatus train(TgfProgram *p, const Plan *plan, const Text *text, Run *r) {
    static int32_t tokens[IDS], labels[IDS];
    TgfModel *m = tgf_program_model(p);
    TgfStatus s = {TGF_OK, ""};
    double next = 2.0 * plan->warmup;
    for (int64_t step = 1; step <= plan->steps && s.code == TGF_OK; step++) {
        text_batch(text, step, FAMILY_BATCH, FAMILY_SEQ, tokens, labels);
        s = tgf_program_step(p, tokens, labels, NULL);
        if (s.code != TGF_OK || ((double)step < next && step < plan->steps)) continue;
        next = 1.12 * (double)step;
        Point *at = &r->points[r->npoints++];
        *at = (Point){.step = step, .tokens = step * IDS, .flops = (double)step * r->step_flops};
        s = evaluate(m, text, plan->evals, &at->loss);
    }
    return s;
}

static TgfStatus run_one(TgfProgram *p, const Plan *plan, const Text *text, int threads, Run *r) {
    double began = now();
    TgfOptions options = tgf_options();
    options.seed = 1;
    options.threads = threads;
    TgfStatus s = tgf_program_start(p, NULL, &options);
    if (s.code == TGF_OK) s = tgf_program_flops(p, "train", &r->step_flops);
    if (s.code != TGF_OK) return s;
    r->parameters = parameters(tgf_program_model(p));
    s = train(p, plan, text, r);
    r->seconds = now() - began;
    return s;
}

static void print_run(const Run *r) {
    const Point *last = &r->points[r->npoints - 1];
    printf("%2d layers, %3lld wide, %8lld parameters: %lld steps, %.3g FLOPs (%.2f times 6ND), loss %.4f, %.1f s\n",
           r->layers, (long long)r->width, (long long)r->parameters, (long long)last->step, last->flops,
           r->step_flops / (6.0 * (double)r->parameters * IDS), last->loss, r->seconds);
    fflush(stdout);
}

static int write_csv(const char *path, const Run *runs, int nruns) {
    FILE *f = fopen(path, "w");
    if (!f) return -1;
    fputs("layers,width,parameters,step,tokens,flops,flops_6nd,loss,frontier\n", f);
    for (int i = 0; i < nruns; i++)
        for (int k = 0; k < runs[i].npoints; k++) {
            const Run *r = &runs[i];
            const Point *p = &r->points[k];
            fprintf(f, "%d,%lld,%lld,%lld,%lld,%.6g,%.6g,%.6f,%d\n", r->layers, (long long)r->width,
                    (long long)r->parameters, (long long)p->step, (long long)p->tokens, p->flops,
                    6.0 * (double)r->parameters * (double)p->tokens, p->loss, p->frontier);
        }
    return fclose(f);
}

static int finish(Run *runs, const Plan *plan, const char *out) {
    Law law = law_fit(runs, plan->largest, plan->warmup);
    printf("loss = %.4g * FLOPs^-%.4f: least squares in logarithms over %d points of the frontier, r^2 = %.4f\n", law.a,
           law.b, law.npoints, law.r2);
    char csv[1000], svg[1000];
    snprintf(csv, sizeof csv, "%s.csv", out);
    snprintf(svg, sizeof svg, "%s.svg", out);
    if (write_csv(csv, runs, plan->largest)) return perror(csv), 1;
    if (chart_write(svg, runs, plan->largest, &law)) return perror(svg), 1;
    printf("%s, %s\n", csv, svg);
    return 0;
}

static int sweep(const Plan *plan, const Text *text, int threads, const char *out) {
    static Run runs[16];
    for (int i = 0; i < plan->largest; i++) {
        Run *r = &runs[i];
        *r = (Run){.layers = family_layers(i + 1), .width = family_width(i + 1)};
        TgfProgram *p = family_member(i + 1, plan->warmup);
        TgfStatus s = p ? run_one(p, plan, text, threads, r) : (TgfStatus){TGF_MEMORY, "out of memory"};
        if (s.code == TGF_OK) print_run(r);
        else fprintf(stderr, "sweep: %s\n%s", s.message, p ? tgf_program_messages(p) : "");
        tgf_program_free(p);
        if (s.code != TGF_OK) return 1;
    }
    return finish(runs, plan, out);
}

int main(int argc, char **argv) {
    static const Plan full = {.largest = 7, .warmup = 50, .evals = 16, .steps = 2400};
    static const Plan quick = {.largest = 3, .warmup = 30, .evals = 4, .steps = 300};
    const Plan *plan = &full;
    int threads = 0; // one a processor
    if (argc > 1 && !strcmp(argv[1], "--quick")) plan = &quick, argv++, argc--;
    if (argc > 2 && !strcmp(argv[1], "--threads")) threads = atoi(argv[2]), argv += 2, argc -= 2;
    if (argc != 3) {
        fprintf(stderr, "usage: sweep [--quick] [--threads N] FILE OUT\n");
        return 2;
    }
    Text text;
    if (text_read(argv[1], FAMILY_SEQ, &text)) return 1;
    int rc = sweep(plan, &text, threads, argv[2]);
    text_free(&text);
    return rc;
}
