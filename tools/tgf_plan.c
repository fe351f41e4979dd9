// SPDX-License-Identifier: Apache-2.0
// tgf plan: the schedule of a pipeline: how long its stages wait, what they hold, its picture. Of a strategy, or of a
// schedule named on the command line.
#include "ir/strategy.h"
#include "passes/schedule.h"
#include "tools/common_compile.h"
#include "tools/tgf.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

typedef struct PlanOptions {
    const char *path, *strategy, *schedule, *timeline, *text;
    int64_t stages, chunks, microbatches;
    double send;
    OptionList defines;
} PlanOptions;

static int mistake(const char *what) {
    fprintf(stderr, "tgf plan: %s\n", what);
    return 2;
}

static bool ends_in(const char *path, const char *with) {
    size_t n = strlen(path), m = strlen(with);
    return n > m && !strcmp(path + n - m, with);
}

// Of the strategy. NULL after saying why.
static Schedule *of_model(const PlanOptions *o, Compilation *c) {
    CompileRequest request = {.path = o->path, .defines = &o->defines, .strategy = o->strategy};
    if (!compile_load(&request, c)) return NULL;
    const Strategy *s = c->unit->strategy;
    if (!s->pipe_axis) {
        diag_error(c->diag, s->loc, "strategy '%s' has no pipeline: no line 'split layer over pipe'", s->name);
        return NULL;
    }
    return schedule_of_strategy(s, c->arena, c->scratch, c->diag);
}

// Of --schedule: a name, or a file. NULL after saying why.
static Schedule *of_options(const PlanOptions *o, Compilation *c) {
    c->arena = arena_new();
    c->scratch = arena_new();
    c->strs = strtable_new(c->arena);
    c->diag = diag_new(c->arena, stderr, diag_wants_colour(stderr));
    ScheduleName name;
    if (!schedule_find(o->schedule, &name)) {
        Str path = str_intern(c->strs, o->schedule);
        return schedule_read(path, path, c->arena, c->scratch, c->diag, (Loc){path, 1, 1, 0});
    }
    const int64_t chunks = o->chunks ? o->chunks : name == PIPE_ZBV ? 2 : 1;
    const char *why = o->stages > INT32_MAX || chunks > INT32_MAX
                          ? "too many stages or chunks"
                          : schedule_refuses(name, (int)o->stages, (int)chunks, o->microbatches);
    if (why) {
        diag_error(c->diag, (Loc){0}, "%s", why);
        return NULL;
    }
    Schedule *s = schedule_make(c->arena, name, (int)o->stages, (int)chunks, o->microbatches);
    return schedule_check(s, c->scratch, c->diag, (Loc){0}) ? s : NULL;
}

// A chunk takes as long as it has layers, where the strategy says how many; a stage has one forward pass on average.
static ChunkCost *costs_of(const Schedule *s, const Strategy *of, bool *out_even, Arena *a) {
    ChunkCost *costs = schedule_even_costs(s, a);
    *out_even = true;
    if (!of || of->nstages != s->chunks) return costs;
    for (int c = 0; c < s->chunks; c++) {
        const double part = (double)of->stages[c] * s->chunks / (double)of->pipe_axis->extent;
        *out_even &= of->stages[c] == of->stages[0];
        costs[c].forward *= part;
        costs[c].backward *= part;
        costs[c].input_grad *= part;
        costs[c].weight_grad *= part;
    }
    return costs;
}

// `plain`: equal chunks and no time for sending, which the sources assume.
static void report(const Schedule *s, const ScheduleTime *t, bool plain, Arena *scratch, FILE *out) {
    const ScheduleMemory memory = schedule_memory(s, scratch);
    const int per_stage = s->chunks / s->stages;
    fprintf(out, "%s: %d stages, %d chunk%s a stage, %" PRId64 " microbatches\n", schedule_name(s->name), s->stages,
            per_stage, per_stage > 1 ? "s" : "", s->microbatches);
    fprintf(out, "time in forward passes of a stage: %g; most work of a stage: %g; longest stage: %g\n", t->makespan,
            t->ideal, t->longest);
    fprintf(out, "bubble: %.2f%% of the time, %.2f%% over the ideal\n", 100 * (1 - t->ideal / t->makespan),
            100 * (t->makespan / t->ideal - 1));
    const char *formula;
    double value;
    if (plain && schedule_formula(s, &formula, &value))
        fprintf(out, "its source: %s = %.2f%% over the ideal%s\n", formula, 100 * value,
                s->name == PIPE_ZBV ? ", of the longest stage" : "");
    fprintf(out, "in flight at most:");
    for (int i = 0; i < s->stages; i++) fprintf(out, "%s stage %d: %" PRId64, i ? "," : "", i, memory.in_flight[i]);
    fprintf(out, "%s\nslots:", per_stage > 1 ? " (microbatches of a chunk)" : "");
    for (int c = 0; c < s->chunks; c++)
        fprintf(out, "%s chunk %d on stage %d: %" PRId64, c ? "," : "", c, s->place[c], memory.slots[c]);
    fputc('\n', out);
}

// Draws or prints into memory first, so that a failure leaves no file. False after saying why.
static bool write_file(const char *path, const Schedule *s, const ScheduleTime *t, Arena *scratch) {
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    if (f && t && ends_in(path, ".svg")) schedule_svg(s, t, "forward passes of a stage", scratch, f);
    else if (f && t) schedule_chrome(s, t, 1000, f);
    else if (f) schedule_print(s, f);
    bool good = f && !fclose(f);
    if (!good) fprintf(stderr, "tgf plan: no memory\n");
    good = good && write_whole(path, text, size);
    free(text);
    return good;
}

int tool_plan(int argc, char **argv) {
    PlanOptions o = {0};
    const Option options[] = {
        {"--strategy", "NAME", "the model's layout, which has a pipeline", OPTION_TEXT, &o.strategy},
        {"--schedule", "1f1b|gpipe|interleaved|zbh1|zbv|FILE", "without a model: this schedule, or a file's",
         OPTION_TEXT, &o.schedule},
        {"--stages", "P", "of --schedule", OPTION_INT, &o.stages},
        {"--chunks", "V", "of --schedule, a stage (1; zbv: 2)", OPTION_INT, &o.chunks},
        {"--microbatches", "M", "of --schedule", OPTION_INT, &o.microbatches},
        {"--send", "TIME", "from stage to stage, in forward passes of a stage (0)", OPTION_REAL, &o.send},
        {"--timeline", "FILE", "draw it: .svg, or .json (Chrome trace, a millisecond a forward pass)", OPTION_TEXT,
         &o.timeline},
        {"--text", "FILE", "write the schedule as text, as --schedule reads it; -: stdout", OPTION_TEXT, &o.text},
        {"-D", "AXIS=N", "override an axis", OPTION_DEFINE, &o.defines},
        {0},
    };
    const Command command = {"tgf plan [MODEL.tgf] [options]", "Shows the schedule of a pipeline.", options, 0, 1};
    int count;
    bool done;
    int rc = options_read(&command, argc, argv, &o.path, &count, &done);
    if (rc || done) return rc;
    if (count ? !o.strategy || o.schedule != NULL : !o.schedule || o.strategy != NULL)
        return mistake("give a model and --strategy, or --schedule without a model");
    if (count && (o.stages || o.chunks || o.microbatches))
        return mistake("a strategy says its stages, chunks and microbatches itself");
    if (o.timeline && !ends_in(o.timeline, ".svg") && !ends_in(o.timeline, ".json"))
        return mistake("--timeline needs a file ending in .svg or .json");
    if (o.send < 0) return mistake("--send must not be negative");
    Compilation c = {0};
    const Schedule *s = count ? of_model(&o, &c) : of_options(&o, &c);
    rc = s ? 0 : compile_status(&c);
    if (s) {
        bool even;
        const ChunkCost *costs = costs_of(s, c.unit ? c.unit->strategy : NULL, &even, c.scratch);
        const ScheduleTime t = schedule_time(s, costs, o.send, c.scratch);
        if (o.timeline && !write_file(o.timeline, s, &t, c.scratch)) rc = 1;
        if (!rc && o.text && !write_file(o.text, s, NULL, c.scratch)) rc = 1;
        if (!rc && !(o.text && !strcmp(o.text, "-"))) report(s, &t, even && o.send == 0, c.scratch, stdout);
    }
    compile_end(&c);
    return rc;
}
