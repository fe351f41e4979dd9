// SPDX-License-Identifier: Apache-2.0
// plan_tasks: see plan_tasks.h. A slab is exactly its pieces, in the order of plan.h; a step's function, chunk,
// channel, microbatch and slots exist and belong to the stage; every send is waited for.
#include "runtime/plan_tasks.h"
#include "base/checked.h"
#include <stdlib.h>
#include <string.h>

enum { MAX_PIECES = 1 << 20, MAX_MICROBATCHES = 1 << 20 };
#define BAD PLAN_BAD

// ---- the layout -----------------------------------------------------------------------------------------------------
static bool piece(int64_t bytes) { return bytes >= 0 && bytes <= INT64_MAX / 4 && bytes % PLAN_ALIGN == 0; }

static bool inside(int64_t offset, int64_t bytes, int64_t size) {
    int64_t end;
    return offset >= 0 && bytes >= 0 && checked_add(offset, bytes, &end) && end <= size;
}

static Status check_stage(const Plan *p, int stage) {
    int64_t at = p->rank_bytes, slots;
    const PlanStage *s = &p->stages[stage];
    for (int c = 0; c < p->nchunks; c++) {
        const PlanChunk *k = &p->chunks[c];
        const PlanVariant *v = &p->variants[k->variant];
        if (k->stage != stage) continue;
        if (k->base != at || !checked_add(at, v->chunk_bytes, &at) || k->slot_base != at ||
            !checked_mul(v->slot_bytes, k->slots, &slots) || !checked_add(at, slots, &at))
            BAD("chunk %d does not lie behind the one before it", c);
    }
    int64_t host = 0;
    for (int c = 0; c < p->nchunks; c++) {
        if (p->chunks[c].stage != stage) continue;
        if (p->chunks[c].host_base != host || !checked_add(host, p->variants[p->chunks[c].variant].host_bytes, &host))
            BAD("chunk %d: what it has on the host does not lie behind the one before it", c);
    }
    if (s->stash_base != host || s->host_bytes < host || !piece(s->host_bytes))
        BAD("stage %d: %lld bytes on the host", stage, (long long)s->host_bytes);
    if (s->work_base != at) BAD("stage %d: its activations do not lie behind its chunks", stage);
    if (s->slab_bytes < at || !piece(s->slab_bytes)) BAD("a slab of %lld bytes", (long long)s->slab_bytes);
    return status_ok();
}

Status plan_check_layout(const Plan *p) {
    if (p->microbatches < 1 || p->microbatches > MAX_MICROBATCHES) BAD("%lld microbatches", (long long)p->microbatches);
    if (p->stage_mesh >> p->nmesh) BAD("stages along an unknown mesh axis");
    if (p->nstages < 1 || p->nstages != plan_ways(p, p->stage_mesh))
        BAD("%d stages on %lld ranks along the stages' mesh axis", p->nstages, (long long)plan_ways(p, p->stage_mesh));
    if (p->nchunks < 1 || p->nvariants < 1) BAD("no chunk");
    if (!piece(p->rank_bytes) || !inside(p->rank_zero_offset, p->rank_zero_bytes, p->rank_bytes))
        BAD("a rank's own %lld bytes", (long long)p->rank_bytes);
    for (int i = 0; i < p->nvariants; i++) {
        const PlanVariant *v = &p->variants[i];
        if (v->layers < 0 || v->layers > MAX_PIECES || !piece(v->chunk_bytes) || !piece(v->slot_bytes) ||
            !piece(v->host_bytes) || !inside(v->zero_offset, v->zero_bytes, v->chunk_bytes))
            BAD("variant %d: %lld layers in %lld bytes", i, (long long)v->layers, (long long)v->chunk_bytes);
    }
    for (int i = 0; i < p->nchunks; i++) {
        const PlanChunk *c = &p->chunks[i];
        if (c->stage < 0 || c->stage >= p->nstages || c->variant < 0 || c->variant >= p->nvariants || c->first < 0 ||
            c->first > MAX_PIECES || c->slots < 0 || c->slots > MAX_PIECES)
            BAD("chunk %d is on no stage or of no variant", i);
    }
    int64_t parts = 0, most = 0, host = 0;
    for (int i = 0; i < p->nstages; i++) {
        STATUS_TRY(check_stage(p, i));
        if (p->stages[i].host_bytes > host) host = p->stages[i].host_bytes;
        if (p->stages[i].slab_bytes > most) most = p->stages[i].slab_bytes;
    }
    const int64_t sizes[] = {p->param_bytes, p->state_bytes, p->io_bytes, p->buffer_bytes, p->activation_bytes};
    for (int i = 0; i < 5; i++)
        if (sizes[i] < 0 || !checked_add(parts, sizes[i], &parts)) BAD("the slab's parts do not add up");
    if (p->host_bytes != host)
        BAD("%lld bytes on the host, the most are %lld", (long long)p->host_bytes, (long long)host);
    if (p->slab_bytes != most)
        BAD("a slab of %lld bytes, the largest is %lld", (long long)p->slab_bytes, (long long)most);
    if (parts != p->slab_bytes)
        BAD("parts of %lld bytes in a slab of %lld", (long long)parts, (long long)p->slab_bytes);
    return status_ok();
}

int64_t plan_section_bytes(const Plan *p, const PlanFunc *f, PlanSection section) {
    const PlanVariant *v = f->variant < 0 ? NULL : &p->variants[f->variant];
    switch (section) {
    case PLAN_RANK_OWN: return p->rank_bytes;
    case PLAN_CHUNK: return v ? v->chunk_bytes : 0;
    case PLAN_SLOT: return v ? v->slot_bytes : 0;
    case PLAN_WORK: return f->work_bytes;
    case PLAN_HOST: return v ? v->host_bytes : 0;
    case PLAN_STASH: return f->stash_bytes;
    default: return 0;
    }
}

// ---- leaves ---------------------------------------------------------------------------------------------------------
Status plan_check_leaf_place(const Plan *p, const PlanLeaf *l) {
    if ((unsigned)l->section >= PLAN_SECTIONS || l->layered < -1 || l->layered >= l->rank)
        BAD("leaf '%s' is in no section", l->name);
    bool by_variant = plan_by_variant(l->section);
    if (l->section == PLAN_STASH || (l->section == PLAN_HOST && l->kind != PLAN_STATE))
        BAD("leaf '%s' cannot lie on the host", l->name);
    if (l->layered >= 0 && !by_variant) BAD("leaf '%s' has layers but is in no chunk", l->name);
    if (l->section == PLAN_WORK && (l->kind != PLAN_OUTPUT || p->nstages > 1))
        BAD("leaf '%s' does not outlive a task", l->name);
    if (l->section == PLAN_SLOT && l->kind != PLAN_BUFFER) BAD("leaf '%s' is not a microbatch's", l->name);
    int64_t held = 0;
    for (int v = 0; v < (by_variant ? p->nvariants : 1); v++) {
        const PlanVariant *of = &p->variants[v];
        int64_t size = l->section == PLAN_CHUNK  ? of->chunk_bytes
                       : l->section == PLAN_SLOT ? of->slot_bytes
                       : l->section == PLAN_HOST ? of->host_bytes
                       : l->section == PLAN_WORK ? p->slab_bytes - p->stages[0].work_base
                                                 : p->rank_bytes;
        int64_t bytes = l->bytes;
        if (by_variant && l->offset[v] == -1) continue;
        if (l->layered >= 0 && !checked_mul(bytes, of->layers, &bytes)) BAD("leaf '%s' is too large", l->name);
        if (!inside(l->offset[v], bytes, size)) BAD("leaf '%s' lies outside the slab", l->name);
        if (l->offset[v] % plan_dtype_bytes(l->dtype)) BAD("leaf '%s' is misaligned", l->name);
        for (int c = 0; c < p->nchunks && l->layered >= 0; c++)
            if (p->chunks[c].variant == v) {
                held += of->layers;
                if (p->chunks[c].first + of->layers > l->dim[l->layered].extent)
                    BAD("leaf '%s' has no layers of chunk %d", l->name, c);
            }
    }
    if (l->layered >= 0 && l->kind != PLAN_BUFFER && held != l->dim[l->layered].extent)
        BAD("leaf '%s': the chunks hold %lld of %lld layers", l->name, (long long)held,
            (long long)l->dim[l->layered].extent);
    return status_ok();
}

// What stays across calls shares no memory with anything. Buffers and outputs of different programs may share theirs.
typedef struct Place {
    int64_t from, to;
    bool shares;
    Str name;
} Place;

static int place_order(const void *a, const void *b) {
    const Place *x = a, *y = b;
    return x->from < y->from ? -1 : x->from > y->from;
}

static Status check_overlap(const Plan *p, PlanSection section, int variant) {
    Place *at = calloc((size_t)p->nleaves + 1, sizeof *at);
    if (!at) return status_make(STATUS_MEMORY, "plan: no memory to check %d leaves", p->nleaves);
    int n = 0;
    for (int i = 0; i < p->nleaves; i++) {
        const PlanLeaf *l = &p->leaves[i];
        if (l->section != section || l->offset[variant] < 0) continue;
        at[n++] = (Place){l->offset[variant], l->offset[variant] + plan_leaf_bytes(p, l, variant),
                          l->kind == PLAN_BUFFER || l->kind == PLAN_OUTPUT, l->name};
    }
    Status s = status_ok();
    qsort(at, (size_t)n, sizeof *at, place_order);
    const Place *last[2] = {NULL, NULL}; // that reaches farthest: of others, of those that share
    for (int i = 0; i < n && !status_failed(&s); i++) {
        for (int k = 0; k <= !at[i].shares; k++)
            if (last[k] && last[k]->to > at[i].from)
                s = status_make(STATUS_CORRUPT, "plan: '%s' and '%s' overlap in the slab", last[k]->name, at[i].name);
        if (!last[at[i].shares] || last[at[i].shares]->to < at[i].to) last[at[i].shares] = &at[i];
    }
    free(at);
    return s;
}

// ---- programs -------------------------------------------------------------------------------------------------------
static Status check_channel(const Plan *p, int i) {
    const PlanChannel *c = &p->channels[i];
    if (c->from < 0 || c->from >= p->nchunks || c->to < 0 || c->to >= p->nchunks || c->from_leaf < 0 ||
        c->from_leaf >= p->nleaves || c->to_leaf < 0 || c->to_leaf >= p->nleaves)
        BAD("channel %d joins no buffers", i);
    const PlanLeaf *a = &p->leaves[c->from_leaf], *b = &p->leaves[c->to_leaf];
    int from = p->chunks[c->from].variant, to = p->chunks[c->to].variant;
    bool held =
        (a->section == PLAN_CHUNK || a->section == PLAN_SLOT) && (b->section == PLAN_CHUNK || b->section == PLAN_SLOT);
    if (!held || a->offset[from] < 0 || b->offset[to] < 0) BAD("channel %d: a chunk lacks its buffer", i);
    if (plan_leaf_bytes(p, a, from) != plan_leaf_bytes(p, b, to))
        BAD("channel %d: '%s' and '%s' differ in size", i, a->name, b->name);
    return status_ok();
}

static bool slot_fits(const Plan *p, int chunk, int leaf, int64_t slot) {
    bool none = leaf >= 0 && p->leaves[leaf].section != PLAN_SLOT;
    return slot >= 0 && (slot < p->chunks[chunk].slots || (none && slot == 0));
}

static Status check_step(const Plan *p, const PlanProgram *g, int stage, int64_t at, uint8_t *open) {
#define BAD_STEP(...)                                                                                                  \
    return status_make(STATUS_CORRUPT, "plan: program '%s', stage %d, step %lld: %s", g->name, stage, (long long)at,   \
                       __VA_ARGS__)
    const PlanStep *s = &g->steps[stage][at];
    if (s->kind > PLAN_STEP_ZERO) BAD_STEP("of unknown kind");
    if (s->microbatch < 0 || s->microbatch >= p->microbatches) BAD_STEP("no such microbatch");
    if (s->kind == PLAN_STEP_RUN || s->kind == PLAN_STEP_ZERO) {
        if (s->chunk < -1 || s->chunk >= p->nchunks || (s->chunk >= 0 && p->chunks[s->chunk].stage != stage))
            BAD_STEP("the stage has no such chunk");
        if (s->kind == PLAN_STEP_ZERO) return status_ok();
        if (s->what < 0 || s->what >= p->nfuncs) BAD_STEP("no such function");
        const PlanFunc *f = &p->funcs[s->what];
        if (f->variant >= 0 && (s->chunk < 0 || p->chunks[s->chunk].variant != f->variant))
            BAD_STEP("a function of another variant");
        if (s->slot < 0 || (s->slot && (s->chunk < 0 || s->slot >= p->chunks[s->chunk].slots)))
            BAD_STEP("no such slot");
        if (f->work_bytes > p->stages[stage].slab_bytes - p->stages[stage].work_base)
            BAD_STEP("the function needs more memory than the stage has");
        if (f->stash_bytes > p->stages[stage].host_bytes - p->stages[stage].stash_base)
            BAD_STEP("the function needs more of the host's memory than the stage has");
        return status_ok();
    }
    if (s->what < 0 || s->what >= p->nchannels) BAD_STEP("no such channel");
    const PlanChannel *c = &p->channels[s->what];
    bool from = p->chunks[c->from].stage == stage, to = p->chunks[c->to].stage == stage;
    bool local = s->kind == PLAN_STEP_COPY, mine = s->kind == PLAN_STEP_RECV ? to : from;
    if (local ? !from || !to : !mine || (from && to)) BAD_STEP("the channel joins other stages");
    if (s->kind == PLAN_STEP_WAIT || s->kind == PLAN_STEP_SEND) {
        uint8_t *sent = &open[(int64_t)s->what * p->microbatches + s->microbatch];
        if (*sent == (s->kind == PLAN_STEP_SEND))
            BAD_STEP(*sent ? "sends again what it has not waited for" : "waits for what it did not send");
        *sent = s->kind == PLAN_STEP_SEND;
    }
    if (s->kind == PLAN_STEP_WAIT) return status_ok();
    bool receives = s->kind == PLAN_STEP_RECV;
    if (!slot_fits(p, receives ? c->to : c->from, receives ? c->to_leaf : c->from_leaf, s->slot))
        BAD_STEP("no such slot");
    if (local && !slot_fits(p, c->to, c->to_leaf, s->to_slot)) BAD_STEP("no such slot");
    return status_ok();
}

static Status check_program(const Plan *p, const PlanProgram *g, uint8_t *open) {
    if (!g->name || !*g->name) BAD("a program has no name");
    for (int i = 0; i < g->ninputs; i++)
        if (g->inputs[i] < 0 || g->inputs[i] >= p->nleaves) BAD("program '%s': no leaf %d", g->name, g->inputs[i]);
    for (int i = 0; i < g->noutputs; i++)
        if (g->outputs[i] < 0 || g->outputs[i] >= p->nleaves) BAD("program '%s': no leaf %d", g->name, g->outputs[i]);
    for (int stage = 0; stage < p->nstages; stage++) {
        int64_t sent = 0;
        for (int64_t i = 0; i < g->count[stage]; i++) {
            STATUS_TRY(check_step(p, g, stage, i, open));
            sent += g->steps[stage][i].kind == PLAN_STEP_SEND;
            sent -= g->steps[stage][i].kind == PLAN_STEP_WAIT;
        }
        if (sent) BAD("program '%s', stage %d: a send that is not waited for", g->name, stage);
    }
    return status_ok();
}

Status plan_check_programs(const Plan *p) {
    STATUS_TRY(check_overlap(p, PLAN_RANK_OWN, 0));
    for (int v = 0; v < p->nvariants; v++) {
        STATUS_TRY(check_overlap(p, PLAN_CHUNK, v));
        STATUS_TRY(check_overlap(p, PLAN_SLOT, v));
        STATUS_TRY(check_overlap(p, PLAN_HOST, v));
    }
    for (int i = 0; i < p->nchannels; i++) STATUS_TRY(check_channel(p, i));
    if ((int64_t)p->nchannels * p->microbatches > INT32_MAX) BAD("%d channels", p->nchannels);
    uint8_t *open = calloc((size_t)(p->nchannels * p->microbatches) + 1, 1);
    if (!open) return status_make(STATUS_MEMORY, "plan: no memory to check %d channels", p->nchannels);
    Status s = status_ok();
    for (int i = 0; i < p->nprograms && !status_failed(&s); i++) {
        s = check_program(p, &p->programs[i], open);
        for (int j = 0; j < i && !status_failed(&s); j++)
            if (!strcmp(p->programs[i].name, p->programs[j].name))
                s = status_make(STATUS_CORRUPT, "plan: program '%s' occurs twice", p->programs[i].name);
    }
    free(open);
    return s;
}

// ---- what is used ---------------------------------------------------------------------------------------------------
typedef struct Reach {
    int64_t end[PLAN_SECTIONS]; // behind the last byte touched in each section
} Reach;

static void touch(Reach *r, PlanSection section, int64_t end) {
    if (end > r->end[section]) r->end[section] = end;
}

static void touch_arg(const Plan *p, Reach *r, const PlanArg *a, const int64_t *counts, int depth, int64_t bytes) {
    int64_t high = a->offset + (a->micro > 0 ? a->micro * (p->microbatches - 1) : 0);
    for (int i = 0; i < depth; i++)
        if (a->stride[i] > 0) high += a->stride[i] * (counts[i] - 1);
    touch(r, a->section, high + bytes);
}

static Reach reach_of(const Plan *p, const PlanFunc *f) {
    Reach r = {0};
    int64_t counts[PLAN_LOOPS];
    int depth = 0;
    for (int at = f->first; at < f->first + f->count; at++) {
        const PlanInstr *in = &p->instrs[at];
        int64_t sent, received, rows;
        switch (in->kind) {
        case INSTR_KERNEL:
            for (int i = 0; i < in->nargs; i++) touch_arg(p, &r, &in->args[i], counts, depth, in->args[i].bytes);
            break;
        case INSTR_COPY: touch_arg(p, &r, &in->args[1], counts, depth, in->bytes); // fall through
        case INSTR_ZERO: touch_arg(p, &r, &in->args[0], counts, depth, in->bytes); break;
        case INSTR_COMM:
            plan_comm_bytes(p, in, &sent, &received);
            touch_arg(p, &r, &in->args[0], counts, depth, sent);
            touch_arg(p, &r, &in->args[1], counts, depth, received);
            if (!in->rows) break;
            rows = in->rows * in->row * plan_dtype_bytes(in->dtype); // bytes that have one count, of four
            touch_arg(p, &r, &in->args[2], counts, depth, sent / rows * 4);
            touch_arg(p, &r, &in->args[3], counts, depth, received / rows * 4);
            break;
        case INSTR_LOOP: counts[depth++] = in->count; break;
        case INSTR_END: depth--; break;
        case INSTR_WAIT: break;
        }
    }
    return r;
}

static int64_t chunk_end(const Plan *p, const PlanChunk *c, const Reach *r, int64_t slot) {
    int64_t end = r->end[PLAN_CHUNK] ? c->base + r->end[PLAN_CHUNK] : 0;
    int64_t in_slot = c->slot_base + slot * p->variants[c->variant].slot_bytes + r->end[PLAN_SLOT];
    return r->end[PLAN_SLOT] && in_slot > end ? in_slot : end;
}

int64_t plan_used_bytes(const Plan *p, int stage) {
    Reach *reach = calloc((size_t)(p->nfuncs + p->nvariants) + 1, sizeof *reach), *leaves = reach + p->nfuncs;
    if (!reach) return -1;
    int64_t most = 0;
    const PlanStage *s = &p->stages[stage];
    for (int i = 0; i < p->nfuncs; i++) reach[i] = reach_of(p, &p->funcs[i]);
    for (int i = 0; i < p->nleaves; i++) {
        const PlanLeaf *l = &p->leaves[i];
        for (int v = 0; v < p->nvariants; v++) {
            bool by_variant = plan_by_variant(l->section);
            int64_t at = l->offset[by_variant ? v : 0];
            if (at >= 0 && l->section != PLAN_WORK) touch(&leaves[v], l->section, at + plan_leaf_bytes(p, l, v));
        }
    }
#define REACH(x) most = (x) > most ? (x) : most
    for (int c = 0; c < p->nchunks; c++) {
        const PlanChunk *k = &p->chunks[c];
        if (k->stage != stage) continue;
        REACH(leaves[k->variant].end[PLAN_RANK_OWN]);
        REACH(chunk_end(p, k, &(Reach){.end = {[PLAN_CHUNK] = leaves[k->variant].end[PLAN_CHUNK]}}, 0));
    }
    for (int i = 0; i < p->nprograms; i++)
        for (int64_t k = 0; k < p->programs[i].count[stage]; k++) {
            const PlanStep *step = &p->programs[i].steps[stage][k];
            if (step->kind == PLAN_STEP_RECV || step->kind == PLAN_STEP_COPY) {
                const PlanChannel *c = &p->channels[step->what];
                const PlanChunk *to = &p->chunks[c->to];
                const PlanLeaf *l = &p->leaves[c->to_leaf];
                Reach got = {0};
                touch(&got, l->section, l->offset[to->variant] + plan_leaf_bytes(p, l, to->variant));
                REACH(chunk_end(p, to, &got, step->kind == PLAN_STEP_RECV ? step->slot : step->to_slot));
            }
            if (step->kind != PLAN_STEP_RUN) continue;
            const Reach *r = &reach[step->what];
            REACH(r->end[PLAN_RANK_OWN]);
            if (step->chunk >= 0) REACH(chunk_end(p, &p->chunks[step->chunk], r, step->slot));
            if (r->end[PLAN_WORK]) REACH(s->work_base + r->end[PLAN_WORK]);
        }
#undef REACH
    free(reach);
    return (most + PLAN_ALIGN - 1) / PLAN_ALIGN * PLAN_ALIGN;
}
