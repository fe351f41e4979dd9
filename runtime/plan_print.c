// SPDX-License-Identifier: Apache-2.0
// plan print: a plan as text; the format is described in plan_text.c, which reads it back.
#include "runtime/plan_text.h"
#include <ctype.h>
#include <inttypes.h>

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
        if (i == l->layered) fputs(":*", out);
        else fprintf(out, ":%" PRId64, d->local);
    }
    fprintf(out, "] %s at", section_names[l->section]);
    for (int v = 0; v < offsets_of(p, l->section); v++) {
        if (l->offset[v] < 0) fputs(" -", out);
        else fprintf(out, " %" PRId64, l->offset[v]);
    }
    fprintf(out, " bytes %" PRId64, l->bytes);
    if (l->least || l->limit) fprintf(out, " ids %" PRId64 "..%" PRId64, l->least, l->limit);
    fputc('\n', out);
}

static void put_arg(FILE *out, const PlanArg *a) {
    fprintf(out, "%c%" PRId64, section_letters[a->section], a->offset);
    for (int i = 0; i < PLAN_LOOPS; i++)
        if (a->stride[i]) fprintf(out, "%+" PRId64 "*l%d", a->stride[i], i);
    if (a->micro) fprintf(out, "%+" PRId64 "*m", a->micro);
}

static void put_scalar(FILE *out, const Plan *p, const PlanScalar *s) {
    if (s->kind == SCALAR_ITERATION) {
        fprintf(out, "l%d", s->loop);
        if (s->first_factor) fprintf(out, "%+" PRId64 "*first", s->first_factor);
        return;
    }
    fprintf(out, "%" PRId64, s->base);
    if (s->factor || s->mesh) {
        fprintf(out, "%+" PRId64 "*c(", s->factor);
        put_mesh(out, p, s->mesh);
        fputc(')', out);
    }
    if (s->micro_factor) fprintf(out, "%+" PRId64 "*m", s->micro_factor);
    if (s->first_factor) fprintf(out, "%+" PRId64 "*first", s->first_factor);
}

static void put_instr(FILE *out, const Plan *p, const PlanInstr *in, int depth) {
    fprintf(out, "%*s", 2 + 2 * depth, "");
    switch (in->kind) {
    case INSTR_KERNEL:
        fprintf(out, "kernel %d (", in->kernel);
        for (int i = 0; i < in->nargs; i++) {
            if (i) fputs(", ", out);
            put_arg(out, &in->args[i]);
            if (in->args[i].bytes) fprintf(out, ":%" PRId64 "%s", in->args[i].bytes, in->args[i].reads ? "r" : "");
        }
        fputs(") [", out);
        for (int i = 0; i < in->nscalars; i++) {
            if (i) fputs(", ", out);
            put_scalar(out, p, &in->scalars[i]);
        }
        fputc(']', out);
        break;
    case INSTR_COMM:
        fprintf(out, "%s %s %s %s on ", in->start ? "start" : "comm", comm_names[in->comm], reduce_names[in->reduce],
                dtype_names[in->dtype]);
        put_mesh(out, p, in->mesh);
        fprintf(out, " [%" PRId64 ", %" PRId64 ", %" PRId64 "] ", in->outer, in->middle, in->inner);
        if (in->peer) fprintf(out, "peer %" PRId64 " ", in->peer);
        put_arg(out, &in->args[0]);
        fputs(" -> ", out);
        put_arg(out, &in->args[1]);
        if (in->joined) fputs(" joined", out);
        if (!in->rows) break;
        fprintf(out, " rows %" PRId64 " of %" PRId64 " counts ", in->rows, in->row);
        put_arg(out, &in->args[2]);
        fputs(" -> ", out);
        put_arg(out, &in->args[3]);
        break;
    case INSTR_COPY:
        fputs(!in->start ? "copy " : plan_is_host(in->args[0].section) ? "stash " : "fetch ", out);
        put_arg(out, &in->args[0]);
        fputs(" <- ", out);
        put_arg(out, &in->args[1]);
        fprintf(out, " bytes %" PRId64 "%s", in->bytes, in->ahead ? " ahead" : "");
        break;
    case INSTR_ZERO:
        fputs("zero ", out);
        put_arg(out, &in->args[0]);
        fprintf(out, " bytes %" PRId64, in->bytes);
        break;
    case INSTR_LOOP: fprintf(out, "loop %" PRId64 "%s {", in->count, in->reverse ? " reverse" : ""); break;
    case INSTR_END: fputc('}', out); break;
    case INSTR_WAIT: fprintf(out, "wait %d", in->of); break;
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

// What only plans with something on the host have.
static void put_host(FILE *out, const char *what, int64_t bytes) {
    if (bytes) fprintf(out, " %s %" PRId64, what, bytes);
}

static void put_layout(FILE *out, const Plan *p) {
    fprintf(out, "tasks microbatches %" PRId64 " stages ", p->microbatches);
    put_mesh(out, p, p->stage_mesh);
    fprintf(out, " rank %" PRId64 " zero %" PRId64 " %" PRId64 "\n", p->rank_bytes, p->rank_zero_offset,
            p->rank_zero_bytes);
    for (int i = 0; i < p->nvariants; i++) {
        const PlanVariant *v = &p->variants[i];
        fprintf(out, "variant layers %" PRId64 " chunk %" PRId64 " slot %" PRId64 " zero %" PRId64 " %" PRId64,
                v->layers, v->chunk_bytes, v->slot_bytes, v->zero_offset, v->zero_bytes);
        put_host(out, "host", v->host_bytes);
        fputc('\n', out);
    }
    for (int i = 0; i < p->nchunks; i++) {
        const PlanChunk *c = &p->chunks[i];
        fprintf(out, "chunk stage %d variant %d first %" PRId64 " slots %" PRId64 " at %" PRId64 " slots at %" PRId64,
                c->stage, c->variant, c->first, c->slots, c->base, c->slot_base);
        put_host(out, "host at", c->host_base);
        fputc('\n', out);
    }
    for (int i = 0; i < p->nstages; i++) {
        fprintf(out, "stage work %" PRId64 " slab %" PRId64, p->stages[i].work_base, p->stages[i].slab_bytes);
        put_host(out, "stash", p->stages[i].stash_base);
        put_host(out, "host", p->stages[i].host_bytes);
        fputc('\n', out);
    }
    for (int i = 0; i < p->nchannels; i++)
        fprintf(out, "channel %d -> %d leaves %d %d\n", p->channels[i].from, p->channels[i].to,
                p->channels[i].from_leaf, p->channels[i].to_leaf);
}

static void put_program(FILE *out, const Plan *p, const PlanProgram *g) {
    fputs("program ", out);
    put_string(out, g->name);
    fputs(" inputs", out);
    for (int i = 0; i < g->ninputs; i++) fprintf(out, " %d", g->inputs[i]);
    fputs(" outputs", out);
    for (int i = 0; i < g->noutputs; i++) fprintf(out, " %d", g->outputs[i]);
    fputc('\n', out);
    for (int stage = 0; stage < p->nstages; stage++) {
        fprintf(out, " stage %d\n", stage);
        for (int64_t i = 0; i < g->count[stage]; i++) {
            const PlanStep *s = &g->steps[stage][i];
            fprintf(out, "  %s", plan_step_name(s->kind));
            switch ((PlanStepKind)s->kind) {
            case PLAN_STEP_RUN: fprintf(out, " %d %d %d %d\n", s->what, s->chunk, s->microbatch, s->slot); break;
            case PLAN_STEP_SEND:
            case PLAN_STEP_RECV: fprintf(out, " %d %d %d\n", s->what, s->microbatch, s->slot); break;
            case PLAN_STEP_COPY: fprintf(out, " %d %d %d %d\n", s->what, s->microbatch, s->slot, s->to_slot); break;
            case PLAN_STEP_WAIT: fprintf(out, " %d %d\n", s->what, s->microbatch); break;
            default: fprintf(out, " %d\n", s->chunk);
            }
        }
    }
}

static void put_gemm(FILE *out, const PlanGemm *g) {
    const PlanGemmOperand *side[] = {&g->a, &g->b, &g->c};
    fprintf(out, " gemm %" PRId64 " x %" PRId64 " x %" PRId64 " x %" PRId64 " %s to %s", g->batch, g->m, g->n, g->k,
            dtype_names[g->type], dtype_names[g->out]);
    for (int i = 0; i < 3; i++)
        fprintf(out, " %c %d at %" PRId64 " [%" PRId64 ", %" PRId64 ", %" PRId64 "] align %d", 'a' + i, side[i]->arg,
                side[i]->first, side[i]->batch, side[i]->row, side[i]->column, side[i]->align);
    if (g->tf32) fputs(" tf32", out);
    if (g->accumulate) fputs(" accumulate", out);
}

static void put_map(FILE *out, const PlanMap *m) {
    fprintf(out, " map %d at %" PRId64 " %s [", m->arg, m->first, dtype_names[m->dtype]);
    for (int d = 0; d < m->rank; d++)
        fprintf(out, "%s%" PRId64 " by %" PRId64 " box %d", d ? ", " : "", m->extent[d], m->stride[d], m->box[d]);
    fprintf(out, "] swizzle %d", m->swizzle);
}

void plan_print(const Plan *p, FILE *out) {
    fprintf(out, "tgf-plan %d\nmodel ", p->abi);
    put_string(out, p->model);
    if (p->strategy) {
        fputs(" strategy ", out);
        put_string(out, p->strategy);
    }
    if (p->target) {
        fputs(" target ", out);
        put_string(out, p->target);
    }
    fprintf(out, " hash \"%016" PRIx64 "\"\nmesh", p->hash);
    for (int i = 0; i < p->nmesh; i++) {
        fputc(' ', out);
        put_name(out, p->mesh[i].name);
        fprintf(out, "=%" PRId64, p->mesh[i].extent);
    }
    fprintf(out,
            "\nslab %" PRId64 " params %" PRId64 " states %" PRId64 " io %" PRId64 " buffers %" PRId64
            " activations %" PRId64,
            p->slab_bytes, p->param_bytes, p->state_bytes, p->io_bytes, p->buffer_bytes, p->activation_bytes);
    put_host(out, "host", p->host_bytes);
    fputc('\n', out);
    put_layout(out, p);
    for (int i = 0; i < p->nleaves; i++) put_leaf(out, p, &p->leaves[i]);
    for (int i = 0; i < p->nkernels; i++) {
        const PlanKernel *k = &p->kernels[i];
        fputs("kernel ", out);
        put_string(out, k->symbol);
        fprintf(out, " tasks %" PRId64 " work %" PRId64 " flops %.17g bytes %.17g", k->tasks, k->work_bytes, k->flops,
                k->bytes);
        if (k->threads) fprintf(out, " threads %d shared %" PRId64, k->threads, k->shared_bytes);
        if (k->gemm) put_gemm(out, k->gemm);
        for (int m = 0; m < k->nmaps; m++) put_map(out, &k->maps[m]);
        fputc('\n', out);
    }
    for (int i = 0; i < p->nfuncs; i++) {
        const PlanFunc *f = &p->funcs[i];
        fputs("func ", out);
        put_string(out, f->name);
        fprintf(out, " variant %d work %" PRId64, f->variant, f->work_bytes);
        put_host(out, "stash", f->stash_bytes);
        fputc('\n', out);
        for (int j = f->first, depth = 0; j < f->first + f->count; j++) {
            if (p->instrs[j].kind == INSTR_END) depth--;
            put_instr(out, p, &p->instrs[j], depth);
            if (p->instrs[j].kind == INSTR_LOOP) depth++;
        }
    }
    for (int i = 0; i < p->nprograms; i++) put_program(out, p, &p->programs[i]);
}
