// SPDX-License-Identifier: Apache-2.0
// tgf verify: the same numbers on every layout (docs/promises.md, 1). One training step on one rank is the truth; each
// layout runs the same step on in-process ranks, and loss, every gradient, every updated parameter and state must agree
// within a tolerance that is derived from the program. With --faults, errors are seeded on purpose and each must be
// noticed.
#include "base/clock.h"
#include "tools/tgf.h"
#include "tools/common_machine.h"
#include "tools/tgf_verify.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

// One rank in one precision. Snapshots of steps in 16 bits hold their spreads.
typedef struct Truth {
    DType compute, reduce;
    bool tf32;
    int64_t scale;
    Built one;
    Snapshot made, probed; // probed: with probes
    double tolerance;
} Truth;
enum { TRUTHS = 8 };

typedef struct Verify {
    CompileRequest request;
    CodegenOptions cpu, machine; // of what is compared with; of what is verified
    ProgramOptions program;
    int64_t seed;
    bool quiet;
    OptionList faults; // to be seeded one by one
    Truth truths[TRUTHS];
    int ntruths;
} Verify;

// Each rank's slab is exactly what its steps touch (docs/promises.md, 3); else the first rank of which that is not so.
static Status check_used(const Program *p) {
    for (int r = 0; r < program_memory(p, 0).ranks; r++) {
        ProgramMemory m = program_memory(p, r);
        if (m.used != m.planned)
            return status_make(STATUS_INTERNAL, "rank %d uses %" PRId64 " bytes, the compiler said %" PRId64, r, m.used,
                               m.planned);
    }
    return status_ok();
}

// Runs init and one training step with inputs drawn from the seed, and takes everything it made.
static Status run_step(const Verify *v, Program *p, Snapshot *out) {
    STATUS_TRY(program_set_optional(p, "seed", (int32_t)v->seed));
    STATUS_TRY(program_run(p, "init"));
    STATUS_TRY(program_set_optional(p, "seed", (int32_t)v->seed));
    STATUS_TRY(program_set_optional(p, "step", 0));
    STATUS_TRY(snapshot_inputs(p, (uint64_t)v->seed));
    STATUS_TRY(snapshot_states(p, (uint64_t)v->seed));
    STATUS_TRY(program_run(p, "train"));
    return snapshot_take(p, "train", out);
}

// The same on the kernels of `b` with a fault seeded.
static Status run_faulty(const Verify *v, const Built *b, const Fault *fault, Snapshot *out) {
    ProgramOptions o = v->program;
    o.faults = fault;
    o.nfaults = fault->kind < FAULT_KINDS;
    o.late = fault->kind == FAULT_SKIP_WAIT; // else the collective is done already
    Program *p = NULL;
    Arena *a = arena_new();
    const Plan *plan = codegen_jit_plan(b->jit);
    if (fault->kind == FAULT_WASTED_MEMORY) plan = plan_wasteful(a, plan);
    Status s = program_make_from_plan(plan, codegen_jit_module(b->jit), &o, &p);
    if (!status_failed(&s)) s = check_used(p);
    if (!status_failed(&s)) s = run_step(v, p, out);
    program_free(p);
    arena_free(a);
    return s;
}

// The same step with started collectives done at their waits instead of at their starts: the same bits, since a plan
// says all that their order needs.
static Status check_late(const Verify *v, const Built *b, const Snapshot *want) {
    ProgramOptions o = v->program;
    o.late = true;
    Program *p = NULL;
    Snapshot got = {0};
    Status s = program_make_from_plan(codegen_jit_plan(b->jit), codegen_jit_module(b->jit), &o, &p);
    if (!status_failed(&s)) s = run_step(v, p, &got);
    int other = status_failed(&s) ? -1 : snapshot_other_bits(want, &got);
    if (other >= 0)
        s = status_make(STATUS_INTERNAL, "%s depends on when a collective is done: something does not wait for it",
                        want->at[other].name);
    snapshot_free(&got);
    program_free(p);
    return s;
}

// `request` adds to the file's: strategy, text behind the file, what is to be seen.
static int build_layout(const Verify *v, const CodegenOptions *machine, const CompileRequest *request, Built *b) {
    CompileRequest r = *request;
    r.path = v->request.path;
    r.defines = v->request.defines;
    r.keep_gradients = true;
    return built_make(&r, machine, &v->program, b);
}

static int run_layout(const Verify *v, const CodegenOptions *machine, const CompileRequest *request, Built *b,
                      Snapshot *out) {
    int rc = build_layout(v, machine, request, b);
    if (rc) return rc;
    Status s = run_step(v, b->program, out);
    if (!status_failed(&s) && request->strategy && !machine->cuda) s = check_late(v, b, out);
    return status_failed(&s) ? status_report(&s, "verify") : 0;
}

// The spreads of a step on one rank that rounds to 16 bits.
static int run_moved(const Verify *v, const CompileRequest *request, Snapshot *made) {
    CompileRequest r = *request;
    r.perturb = true;
    Built b = {0};
    int rc = build_layout(v, &v->cpu, &r, &b);
    for (int i = 0; i < SPREAD_RUNS && !rc; i++) {
        Snapshot moved = {0};
        Status s = program_set_optional(b.program, "perturb", i + 1);
        if (!status_failed(&s)) s = run_step(v, b.program, &moved);
        if (!status_failed(&s) && !spread_add(made, &moved))
            s = status_make(STATUS_INTERNAL, "a perturbed step has other outputs");
        if (status_failed(&s)) rc = status_report(&s, "verify");
        snapshot_free(&moved);
    }
    built_end(&b);
    return rc;
}

static const char *precision_line(char *line, size_t size, DType compute, DType reduce, int64_t scale) {
    int n = snprintf(line, size, "\n    precision %s  reduce = %s", dtype_name(compute), dtype_name(reduce));
    if (compute == DT_F16) n += snprintf(line + n, size - (size_t)n, ", scale = %" PRId64, scale);
    snprintf(line + n, size - (size_t)n, "\n");
    return line;
}

static int run_truth(const Verify *v, const Truth *t, bool probe, Built *b, Snapshot *out) {
    char line[128], extra[256];
    snprintf(extra, sizeof extra, "strategy one_rank_ {%s}\n",
             precision_line(line, sizeof line, t->compute, t->reduce, t->scale));
    CompileRequest r = {.probe = probe};
    bool moves = t->compute != DT_F32;
    if (moves) r.strategy = "one_rank_", r.extra = extra;
    int rc = run_layout(v, &v->cpu, &r, b, out);
    Status s = rc ? status_ok() : check_used(b->program);
    if (status_failed(&s)) rc = status_report(&s, "verify");
    return rc || !moves ? rc : run_moved(v, &r, out);
}

// What a layout's step is compared with: one rank's in the same precision. 0, or a status after reporting.
static int truth_of(Verify *v, const Strategy *s, Truth **out) {
    Truth want = {.compute = DT_F32, .reduce = DT_F32};
    if (s && s->has_precision && s->compute != DT_F32)
        want = (Truth){.compute = s->compute, .reduce = s->reduce, .scale = s->compute == DT_F16 ? s->scale : 0};
    want.tf32 = s && s->tf32;
    for (int i = 0; i < v->ntruths; i++)
        if (v->truths[i].compute == want.compute && v->truths[i].reduce == want.reduce &&
            v->truths[i].tf32 == want.tf32 && v->truths[i].scale == want.scale) {
            *out = &v->truths[i];
            return 0;
        }
    if (v->ntruths == TRUTHS) {
        fprintf(stderr, "tgf: error: more than %d precisions to compare\n", TRUTHS);
        return 2;
    }
    Truth *t = &v->truths[v->ntruths++];
    *t = want;
    *out = t;
    int rc = run_truth(v, t, false, &t->one, &t->made);
    if (rc) return rc;
    t->tolerance = verify_tolerance(t->one.c.unit, "train") + (want.tf32 ? verify_tf32(t->one.c.unit, "train") : 0);
    if (want.compute == DT_F32)
        printf("tolerance %.3g: 2^-24 times the square roots of the lengths of all reductions of the step%s "
               "(docs/promises.md)\n",
               t->tolerance, want.tf32 ? ", and 2^-10 for each product in tf32" : "");
    else
        printf("tolerance in %s: %d times the spread of %d steps that round at random (docs/promises.md)\n",
               dtype_name(want.compute), SPREADS, SPREAD_RUNS);
    return 0;
}

// The truth with every contraction's result as an output; made once, when something differs.
static bool probe_truth(const Verify *v, Truth *t) {
    Built b = {0};
    bool ok = t->probed.n || !run_truth(v, t, true, &b, &t->probed);
    built_end(&b);
    return ok;
}

// The first probe, in program order, at which a step parts from one rank.
static void name_first(const Truth *t, const Snapshot *s, char *name, size_t size) {
    Difference d;
    snprintf(name, size, "behind the last contraction");
    for (int i = 0; i < t->probed.n; i++)
        if (!strncmp(t->probed.at[i].name, "probe.", 6) && snapshot_differs(&t->probed, i, s, t->tolerance, &d)) {
            snprintf(name, size, "%s", t->probed.at[i].name + strlen("probe.0000 "));
            return;
        }
}

// The step of b's training function that stands for step `at` of another compilation of the same layout; -1: none.
static int same_step(const Built *b, const PlanInstr *at) {
    const Plan *p = program_plan(b->program);
    const PlanProgram *f = plan_program(p, "train");
    for (int i = 0; i < p->ninstrs; i++) {
        const PlanInstr *n = &p->instrs[i];
        if (n->kind == at->kind && n->line == at->line && n->comm == at->comm && n->op && at->op &&
            !strcmp(n->op, at->op) && plan_runs(p, f, i))
            return i;
    }
    return -1;
}

// Compares a layout with the truth. 0 equal, 1 different (reported), else a status.
static int check_layout(Verify *v, const char *strategy, const char *extra, const char *label) {
    Built b = {0};
    Snapshot s = {0};
    CompileRequest request = {.strategy = strategy, .extra = extra}, probing = request;
    probing.probe = true;
    Truth *t = NULL;
    int rc = run_layout(v, &v->machine, &request, &b, &s);
    if (!rc) rc = truth_of(v, b.c.unit->strategy, &t);
    if (!rc) {
        Difference worst = {0};
        int wrong = snapshot_compare(&t->made, &s, t->tolerance, &worst);
        Status used = check_used(b.program);
        if (status_failed(&used)) {
            printf("%-36s MEMORY: %s%s\n", label, used.message, wrong ? "; and its numbers differ" : "");
            rc = 1;
        } else if (wrong) {
            char first[300] = "?";
            Built probe = {0};
            Snapshot many = {0};
            if (probe_truth(v, t) && !run_layout(v, &v->machine, &probing, &probe, &many))
                name_first(t, &many, first, sizeof first);
            snapshot_free(&many);
            built_end(&probe);
            printf("%-36s DIFFERS: %s by %.3g (allowed %.3g), %d of %d tensors; first op that differs: %s\n", label,
                   worst.name, worst.error, worst.allowed, wrong, t->made.n, first);
            rc = 1;
        } else if (!v->quiet) {
            printf("%-36s equal: %d tensors, worst %s at %.2g of what is allowed\n", label, t->made.n,
                   worst.name ? worst.name : "-", worst.allowed > 0 ? worst.error / worst.allowed : 0);
        }
    }
    fflush(stdout);
    snapshot_free(&s);
    built_end(&b);
    return rc;
}

// Which check a run with a seeded fault ended in; `ran`: the step was done, and its copies were compared.
static const char *check_name(const Status *s, bool ran) {
    if (s->code == STATUS_CORRUPT) return "plan_check";
    if (s->code == STATUS_INTERNAL) return "memory";
    return ran ? "copies" : "communicator";
}

// Seeds a fault and says whether it was noticed.
static bool is_caught(const Verify *v, const Truth *t, const Built *plain, const Built *probe, const Fault *fault) {
    const Plan *p = program_plan(plain->program);
    char where[300], first[300] = "a step that probes hide";
    fault_describe(p, fault, where, sizeof where);
    Snapshot snap = {0}, many = {0};
    Difference worst = {0};
    Status s = run_faulty(v, plain, fault, &snap);
    bool wrong = status_failed(&s) || snapshot_compare(&t->made, &snap, t->tolerance, &worst);
    if (wrong && fault->kind < FAULT_KINDS && !fault_is_step(fault->kind)) {
        Fault same = {.kind = fault->kind, .instr = same_step(probe, &p->instrs[fault->instr]), .rank = fault->rank};
        Status r =
            same.instr < 0 ? status_make(STATUS_INVALID, "none") : fault_resolve(program_plan(probe->program), &same);
        if (!status_failed(&r)) r = run_faulty(v, probe, &same, &many);
        if (many.n) name_first(t, &many, first, sizeof first);
    } else if (wrong) {
        snprintf(first, sizeof first, "a whole task");
    }
    const char *kind = fault_text(fault->kind);
    if (status_failed(&s))
        printf("fault %-14s at %s: caught: %s: %s; first op that differs: %s\n", kind, where,
               check_name(&s, snap.n > 0), s.message, first);
    else if (wrong)
        printf("fault %-14s at %s: caught: numbers: %s differs by %.3g (allowed %.3g); first op that differs: %s\n",
               kind, where, worst.name, worst.error, worst.allowed, first);
    else printf("fault %-14s at %s: NOT NOTICED\n", kind, where);
    fflush(stdout);
    snapshot_free(&snap);
    snapshot_free(&many);
    return wrong;
}

// Seeds the faults asked for one by one, or faults of every kind, `each` of one kind, spread over the training
// function. Returns how many went unnoticed, or -1.
static int check_faults(Verify *v, const char *strategy, const char *extra, int each) {
    Built plain = {0}, probe = {0};
    CompileRequest request = {.strategy = strategy, .extra = extra}, probing = request;
    probing.probe = true;
    Truth *t = NULL;
    if (build_layout(v, &v->machine, &request, &plain) || build_layout(v, &v->machine, &probing, &probe) ||
        truth_of(v, plain.c.unit->strategy, &t) || !probe_truth(v, t)) {
        built_end(&plain);
        built_end(&probe);
        return -1;
    }
    int missed = 0, seeded = 0;
    Arena *a = arena_new();
    for (int i = 0; i < v->faults.n; i++) {
        Fault f;
        if (!fault_wanted(a, program_plan(plain.program), v->faults.at[i], &f)) {
            missed = -1;
            break;
        }
        missed += !is_caught(v, t, &plain, &probe, &f);
        seeded++;
    }
    for (FaultKind kind = FAULT_DROP_COMM; kind < FAULT_KINDS && !v->faults.n; kind++) {
        if (kind == FAULT_WRONG_PART) continue; // where the part only masks zeros it does nothing
        FaultList list = faults_of(a, program_plan(plain.program), kind);
        int want = list.n < each ? list.n : each;
        for (int taken = 0; taken < want; taken++) { // spread over the program
            const Fault *f = &list.at[((int64_t)taken * list.n + want - 1) / want];
            missed += !is_caught(v, t, &plain, &probe, f);
            seeded++;
        }
    }
    arena_free(a);
    if (missed >= 0) printf("%d faults seeded, %d caught\n", seeded, seeded - missed);
    built_end(&plain);
    built_end(&probe);
    return missed;
}

static char *mesh_text(Arena *a, const Mesh *m, MeshSet set) {
    char *text = "";
    for (int i = 0; i < m->n; i++)
        if (set >> i & 1) text = arena_printf(a, "%s%s %s", text, *text ? "," : "", m->axis[i].name);
    return text;
}

// A strategy of the file, as text for a mesh of other extents.
static char *strategy_text(Arena *a, const Strategy *s, const char *name, const int64_t *extents) {
    char *text = arena_printf(a, "strategy %s {\n    mesh ", name);
    for (int i = 0; i < s->mesh.n; i++)
        text = arena_printf(a, "%s%s%s = %" PRId64, text, i ? ", " : "", s->mesh.axis[i].name, extents[i]);
    for (int i = 0; i < s->nsplits; i++)
        text = arena_printf(a, "%s\n    split %s over%s%s", text, s->splits[i].axis->name,
                            mesh_text(a, &s->mesh, s->splits[i].over), s->splits[i].between ? " between blocks" : "");
    if (s->shard)
        text = arena_printf(a, "%s\n    shard %s over%s", text, shard_name(s->shard),
                            mesh_text(a, &s->mesh, s->shard_over));
    if (s->recompute == RECOMPUTE_BLOCK) text = arena_printf(a, "%s\n    recompute block", text);
    for (int i = 0; i < s->nrecompute; i++)
        text = arena_printf(a, "%s%s %s", text, i ? "," : "\n    recompute", s->recompute_names[i]);
    char line[128];
    if (s->has_precision)
        text = arena_printf(a, "%s%s", text, precision_line(line, sizeof line, s->compute, s->reduce, s->scale));
    return arena_printf(a, "%s\n}\n", text);
}

// Every mesh of the strategy's axes up to `ranks` ranks.
static int check_meshes(Verify *v, Arena *a, const Strategy *s, int64_t ranks, int64_t each_faults) {
    int64_t e[MESH_MAX];
    int wrong = 0, layouts = 0;
    for (int i = 0; i < s->mesh.n; i++) e[i] = 1;
    while (true) {
        int64_t product = 1;
        for (int i = 0; i < s->mesh.n; i++) product *= e[i];
        if (product > 1 && product <= ranks) {
            char *label = arena_printf(a, "%s", s->name);
            for (int i = 0; i < s->mesh.n; i++)
                label = arena_printf(a, "%s %s=%" PRId64, label, s->mesh.axis[i].name, e[i]);
            const char *extra = strategy_text(a, s, "verify_", e);
            int rc = check_layout(v, "verify_", extra, label);
            if (rc > 1) return -1;
            layouts++;
            wrong += rc;
            if (each_faults && product == ranks && wrong >= 0 && s->mesh.n > 1 && e[0] > 1 && e[1] > 1) {
                int missed = check_faults(v, "verify_", extra, (int)each_faults);
                if (missed < 0) return -1;
                wrong += missed;
                each_faults = 0;
            }
        }
        int i = s->mesh.n - 1;
        while (i >= 0 && e[i] == ranks) e[i--] = 1;
        if (i < 0) break;
        e[i]++;
    }
    printf("%d meshes of strategy %s up to %" PRId64 " ranks, %d wrong\n", layouts, s->name, ranks, wrong);
    return wrong;
}

int tool_verify(int argc, char **argv) {
    const char *strategy = NULL;
    Machine machine = {0};
    bool all = false, quiet = false;
    int64_t meshes = 0, random = 0, seed = 1, threads = 0, faults = 0;
    OptionList defines = {0}, single = {0};
    const Option options[] = {
        {"--strategy", "NAME", "verify this strategy", OPTION_TEXT, &strategy},
        {"--all", NULL, "verify every strategy of the file (the default)", OPTION_FLAG, &all},
        {"--meshes", "N", "every mesh of the strategy's axes up to N ranks", OPTION_INT, &meshes},
        {"--random", "N", "draw N strategies: meshes up to 8 ranks, any axis over any mesh axis", OPTION_INT, &random},
        {"--seed", "S", "of parameters, inputs and random strategies (1)", OPTION_INT, &seed},
        {"--faults", "N", "seed N faults of every kind; each must be noticed", OPTION_INT, &faults},
        {"--fault", "KIND=AT", "seed this fault, may be given several times: AT is text of its place, #N the Nth such",
         OPTION_DEFINE, &single},
        {"--threads", "N", "over all ranks (one a processor)", OPTION_INT, &threads},
        {"--quiet", NULL, "print only what differs, and totals", OPTION_FLAG, &quiet},
        {"-D", "AXIS=N", "override an axis", OPTION_DEFINE, &defines},
        MACHINE_OPTIONS(&machine),
        {0},
    };
    const Command command = {
        "tgf verify MODEL.tgf [options]",
        "Runs a training step on one rank and on every layout asked for, and compares loss, gradients, updated\n"
        "parameters and optimizer states. Exit status 1 when a layout differs or a seeded fault goes unnoticed.",
        options, 1, 1};
    const char *path;
    int count;
    bool done;
    int rc = options_read(&command, argc, argv, &path, &count, &done);
    if (rc || done) return rc;
    if (seed > INT32_MAX) {
        fprintf(stderr, "--seed: at most %d\n", INT32_MAX);
        return 2;
    }
    Verify v = {.request = {.path = path, .defines = &defines, .keep_gradients = true},
                .program = {.threads = (int)threads, .comm_timeout_ms = 60000, .poison = true},
                .seed = seed,
                .quiet = quiet,
                .faults = single};
    v.cpu.mcpu = machine.mcpu;
    if (!machine_read(&machine, "tgf verify", &v.machine)) return 1;
    double began = now_seconds();
    Arena *a = arena_new();
    int wrong = 0;
    Truth *plain;
    rc = truth_of(&v, NULL, &plain);
    if (!rc && v.machine.cuda) { // the machine itself, before any layout
        int r = check_layout(&v, NULL, NULL, "one rank");
        if (r > 1) rc = r;
        else wrong += r;
    }
    if (!rc) {
        const FrontendResult *front = &plain->one.c.front;
        int matched = 0;
        for (int i = 0; i < front->nstrategies && rc <= 1 && !random; i++) {
            const Strategy *s = front->strategies[i];
            if (strategy && strcmp(strategy, s->name)) continue;
            matched++;
            int r;
            if (meshes) {
                r = check_meshes(&v, a, s, meshes, faults);
            } else {
                r = check_layout(&v, s->name, NULL, s->name);
                if (r == 0 && (faults || single.n)) r = check_faults(&v, s->name, NULL, (int)faults);
                else if (r > 1) r = -1;
            }
            if (r < 0) rc = 2;
            else wrong += r;
        }
        if (random) {
            RandomStrategies draw = {.unit = plain->one.c.unit, .arena = a, .seed = (uint64_t)seed, .ranks = 8};
            int illegal = 0;
            for (int64_t i = 0; i < random && rc <= 1; i++) {
                const char *label, *extra = random_strategy(&draw, &v.request, "random_", &label, &illegal);
                int r = extra ? check_layout(&v, "random_", extra, label) : 2;
                if (r > 1) rc = 2;
                else wrong += r;
            }
            printf("%" PRId64 " random strategies (seed %" PRId64 "; %d more were drawn and refused as illegal)\n",
                   random, seed, illegal);
        } else if (!matched) {
            fprintf(stderr, strategy ? "%s: no strategy '%s'\n" : "%s: the file has no strategy to verify\n", path,
                    strategy);
            rc = 1;
        }
    }
    if (!rc) printf("%s, in %.1f s\n", wrong ? "NOT verified" : "verified", now_seconds() - began);
    for (int i = 0; i < v.ntruths; i++) {
        snapshot_free(&v.truths[i].made);
        snapshot_free(&v.truths[i].probed);
        built_end(&v.truths[i].one);
    }
    arena_free(a);
    return rc ? rc : wrong ? 1 : 0;
}
