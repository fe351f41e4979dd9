// SPDX-License-Identifier: Apache-2.0
// tgf train: trains a model on a file of text or tokens. Batches and random numbers are functions of (seed, step), so a
// run that was killed and resumed is, bit for bit, the run that was not.
#include "base/clock.h"
#include "runtime/checkpoint.h"
#include "tools/tgf_train.h"
#include "runtime/data.h"
#include "runtime/events.h"
#include "runtime/metrics.h"
#include "tools/common_built.h"
#include "tools/common_processes.h"
#include "tools/common_machine.h"
#include "tools/tgf.h"
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_VALUES = 6 }; // a step's metrics

typedef struct TrainFlags {
    const char *strategy, *data, *validation, *format, *metrics, *save, *resume, *load, *curve, *tensorboard;
    Machine machine;
    int64_t steps, threads, seed, save_every, eval_every, eval_batches;
    bool quiet;
    OptionList defines;
} TrainFlags;

typedef struct Trainer {
    const TrainFlags *flags;
    Program *program;
    World *world; // NULL: alone
    bool speaks;  // rank 0 of the processes: it alone prints and writes files
    bool common;  // the failure is that of all processes
    const Recipe *recipe;
    TokenFile *file, *held_file; // held_file: NULL when the validation part comes from the end of file
    TokenRange train, held;
    int64_t batch, seq, steps, seed;
    int32_t *tokens, *labels;
    MetricsFile *metrics;
    EventFile *events;
    const char *metrics_path;
    CheckpointInfo info;
    double began, shown; // seconds
    int64_t first;       // step the run began with
    bool line_open;
    bool scaled;     // precision f16: the loss is scaled, steps whose gradients are not finite are skipped
    float scale;     // of the loss, in the last step
    int32_t skipped; // steps, since step 1
} Trainer;

static volatile sig_atomic_t stopped;
static void on_signal(int number) {
    (void)number;
    stopped = 1;
}

// Ids of the whole file against what the model's input allows, so that a wrong file is refused before anything is
// trained.
static Status check_vocabulary(const TokenFile *f, const char *path, const PlanLeaf *input) {
    int32_t greatest = tokens_greatest(f);
    if (input->limit && greatest >= input->limit)
        return status_make(STATUS_RANGE, "%s: token %d is outside the vocabulary of %" PRId64, path, greatest,
                           input->limit);
    return status_ok();
}

static Status check_length(TokenRange range, int64_t seq, const char *path, const char *part) {
    Status s = batch_check(range, seq);
    return status_failed(&s) ? status_make(s.code, "%s%s: %s", path, part, s.message) : s;
}

static Status open_data(Trainer *t, const PlanLeaf *tokens) {
    const TrainFlags *f = t->flags;
    const char *data = f->data ? f->data : t->recipe->data, *held = f->validation ? f->validation
                                                                    : f->data     ? NULL
                                                                                  : t->recipe->validation;
    TokenFormat format = TOKENS_AUTO;
    if (!data) return status_make(STATUS_INVALID, "no training data: give --data FILE or a `data` line in the recipe");
    if (f->format && !token_format_parse(f->format, &format))
        return status_make(STATUS_INVALID, "--format %s: expected auto, bytes, u16 or llmc", f->format);
    STATUS_TRY(tokens_open(data, format, &t->file));
    STATUS_TRY(check_vocabulary(t->file, data, tokens));
    if (held) {
        STATUS_TRY(tokens_open(held, format, &t->held_file));
        STATUS_TRY(check_vocabulary(t->held_file, held, tokens));
        t->train = tokens_all(t->file);
        t->held = tokens_all(t->held_file);
    } else {
        tokens_split(t->file, 0.05, &t->train, &t->held);
    }
    snprintf(t->info.data, sizeof t->info.data, "%s", data);
    STATUS_TRY(check_length(t->train, t->seq, data, held ? "" : " (all but the last 5%)"));
    return check_length(t->held, t->seq, held ? held : data, held ? "" : " (the last 5%, held out)");
}

// The model must read tokens and labels of [batch, seq], and nothing a text file cannot give.
static Status check_inputs(Trainer *t) {
    const Plan *p = program_plan(t->program);
    const PlanProgram *f = plan_program(p, "train");
    if (!f) return status_make(STATUS_INVALID, "the model has no `train { ... }` recipe");
    t->scaled = plan_leaf(p, PLAN_OUTPUT, "loss_scale") >= 0;
    const PlanLeaf *tokens = NULL, *labels = NULL;
    for (int i = 0; i < f->ninputs; i++) {
        const PlanLeaf *l = &p->leaves[f->inputs[i]];
        if (!strcmp(l->name, "tokens")) tokens = l;
        else if (!strcmp(l->name, "labels")) labels = l;
        else if (strcmp(l->name, "step") && strcmp(l->name, "seed"))
            return status_make(
                STATUS_UNSUPPORTED,
                "input '%s': tgf train gives tokens and labels only; use the C interface (include/tgf/tgf.h)", l->name);
    }
    if (!tokens || !labels || tokens->rank != 2 || labels->rank != 2 || tokens->dtype != PLAN_I32 ||
        labels->dtype != PLAN_I32 || tokens->dim[0].extent != labels->dim[0].extent ||
        tokens->dim[1].extent != labels->dim[1].extent)
        return status_make(STATUS_UNSUPPORTED, "tgf train needs inputs tokens and labels, both i32[batch, seq]");
    t->batch = tokens->dim[0].extent;
    t->seq = tokens->dim[1].extent;
    size_t count = (size_t)(t->batch * t->seq);
    t->tokens = calloc(count, sizeof *t->tokens);
    t->labels = calloc(count, sizeof *t->labels);
    if (!t->tokens || !t->labels) return status_make(STATUS_MEMORY, "no memory for a batch");
    return open_data(t, tokens);
}

static Status bind_batch(Trainer *t) {
    STATUS_TRY(program_set_input(t->program, "tokens", PLAN_I32, t->tokens, t->batch * t->seq));
    return program_set_input(t->program, "labels", PLAN_I32, t->labels, t->batch * t->seq);
}

static Status validate(Trainer *t, double *out_loss) {
    double sum = 0;
    for (int64_t i = 0; i < t->flags->eval_batches; i++) {
        float loss;
        batch_spread(t->held, i, t->flags->eval_batches, t->batch, t->seq, t->tokens, t->labels);
        STATUS_TRY(bind_batch(t));
        STATUS_TRY(program_run(t->program, "eval"));
        STATUS_TRY(program_get_output(t->program, "loss", PLAN_F32, &loss, 1));
        sum += loss;
    }
    *out_loss = sum / (double)t->flags->eval_batches;
    return status_ok();
}

static void show(Trainer *t, int64_t step, double loss, bool last) {
    double now = now_seconds(), took = now - t->began;
    bool terminal = isatty(STDOUT_FILENO);
    if (!t->speaks || t->flags->quiet || (!last && now - t->shown < (terminal ? 0.2 : 5))) return;
    t->shown = now;
    double done = (double)(step + 1 - t->first), left = took / done * (double)(t->steps - step - 1);
    printf("%sstep %" PRId64 "/%" PRId64 "  loss %.4f  %.0f tokens/s  %d:%02d left", terminal ? "\r" : "", step + 1,
           t->steps, loss, done * (double)(t->batch * t->seq) / took, (int)left / 60, (int)left % 60);
    if (t->skipped) printf("  %d skipped", t->skipped);
    fputs(terminal ? "   " : "\n", stdout);
    t->line_open = terminal;
    fflush(stdout);
}

static void end_line(Trainer *t) {
    if (t->line_open) putchar('\n');
    t->line_open = false;
}

// A status that all processes have: rank 0 tells it.
static Status in_common(Trainer *t, Status s) {
    if (t->world && status_failed(&s) && !status_failed(&t->world->why)) t->common = true;
    return s;
}

static Status save(Trainer *t, int64_t finished) {
    if (!t->flags->save) return status_ok();
    t->info.step = finished;
    t->info.seed = t->seed;
    t->info.tokens = finished * t->batch * t->seq;
    return in_common(t, checkpoint_save(t->program, t->flags->save, &t->info));
}

static Status one_step(Trainer *t, int64_t step, float *out_loss) {
    batch_draw(t->train, (uint64_t)t->seed, step, t->batch, t->seq, t->tokens, t->labels);
    STATUS_TRY(bind_batch(t));
    STATUS_TRY(program_set_optional(t->program, "step", (int32_t)step));
    STATUS_TRY(program_set_optional(t->program, "seed", (int32_t)t->seed));
    STATUS_TRY(program_run(t->program, "train"));
    STATUS_TRY(program_get_output(t->program, "loss", PLAN_F32, out_loss, 1));
    return status_ok();
}

// The values of a step that took so many seconds, and its speed, which is not in the metrics: those are equal however
// often a run was resumed.
static Status record_events(Trainer *t, int64_t step, const MetricsValue *values, int n, double took) {
    if (!t->events) return status_ok();
    MetricsValue all[MAX_VALUES + 1];
    memcpy(all, values, (size_t)n * sizeof *all);
    all[n] = (MetricsValue){"tokens_per_s", (double)(t->batch * t->seq) / took};
    return events_write(t->events, step, all, n + 1);
}

// A skipped step halves the loss scale; at 1 there is nothing left to halve.
static Status check_finite(Trainer *t, int64_t step, float loss, float norm) {
    bool skipped = t->scaled && !isfinite(norm);
    if (skipped && t->scale <= 1)
        return status_make(STATUS_RANGE, "gradients of step %" PRId64 " are not finite at a loss scale of 1", step + 1);
    if (loss != loss && !skipped)
        return status_make(STATUS_RANGE, "the loss of step %" PRId64 " is not a number", step + 1);
    return status_ok();
}

static Status loop(Trainer *t) {
    const TrainFlags *f = t->flags;
    t->began = now_seconds();
    for (int64_t step = t->first; step < t->steps; step++) {
        float loss, rate = 0, norm = 0;
        double started = now_seconds();
        STATUS_TRY(one_step(t, step, &loss));
        double took = now_seconds() - started;
        STATUS_TRY(program_get_output(t->program, "lr", PLAN_F32, &rate, 1));
        if (plan_leaf(program_plan(t->program), PLAN_OUTPUT, "grad_norm") >= 0)
            STATUS_TRY(program_get_output(t->program, "grad_norm", PLAN_F32, &norm, 1));
        if (t->scaled) {
            STATUS_TRY(program_get_output(t->program, "loss_scale", PLAN_F32, &t->scale, 1));
            STATUS_TRY(program_get_output(t->program, "skipped_steps", PLAN_I32, &t->skipped, 1));
        }
        STATUS_TRY(in_common(t, check_finite(t, step, loss, norm)));
        bool stop = stopped; // of all, at the same step
        if (t->world) STATUS_TRY(world_any(t->world, stop, &stop));
        bool last = step + 1 == t->steps || stop;
        MetricsValue values[MAX_VALUES] = {{"loss", loss}, {"lr", rate}, {"grad_norm", norm}};
        int n = 3;
        if (t->scaled) {
            values[n++] = (MetricsValue){"loss_scale", t->scale};
            values[n++] = (MetricsValue){"skipped_steps", t->skipped};
        }
        if (step + 1 == t->steps || (f->eval_every && (step + 1) % f->eval_every == 0)) {
            double held;
            STATUS_TRY(validate(t, &held));
            values[n++] = (MetricsValue){"val_loss", held};
            end_line(t);
            if (t->speaks && !f->quiet) printf("step %" PRId64 "  validation loss %.4f\n", step + 1, held);
        }
        if (t->metrics) STATUS_TRY(metrics_write(t->metrics, step + 1, values, n));
        STATUS_TRY(record_events(t, step + 1, values, n, took));
        show(t, step, loss, last);
        if (last || (f->save_every && (step + 1) % f->save_every == 0)) STATUS_TRY(save(t, step + 1));
        if (stop && step + 1 < t->steps) {
            end_line(t);
            return in_common(t, status_make(STATUS_INVALID, "stopped by a signal after step %" PRId64 "%s", step + 1,
                                            f->save ? "; --resume goes on from there" : ""));
        }
    }
    end_line(t);
    return status_ok();
}

static Status start(Trainer *t) {
    const TrainFlags *f = t->flags;
    Status fit = check_inputs(t);
    if (t->world) fit = in_common(t, world_agree(t->world, fit));
    STATUS_TRY(fit);
    t->seed = f->seed ? f->seed : t->recipe->seed;
    t->steps = f->steps ? f->steps : t->recipe->steps;
    if (t->seed > INT32_MAX) return status_make(STATUS_INVALID, "--seed: at most %d", INT32_MAX);
    if (f->resume) {
        CheckpointInfo info;
        STATUS_TRY(in_common(t, checkpoint_load(t->program, f->resume, &info)));
        t->first = info.step;
        t->seed = info.seed;
    } else {
        STATUS_TRY(program_set_optional(t->program, "seed", (int32_t)t->seed));
        STATUS_TRY(program_run(t->program, "init"));
        if (f->load) STATUS_TRY(in_common(t, checkpoint_load_weights(t->program, f->load, NULL, NULL)));
    }
    if (t->speaks && f->save && mkdir(f->save, 0777) && errno != EEXIST)
        return status_errno("cannot make the folder", f->save);
    if (t->speaks && t->metrics_path)
        STATUS_TRY(metrics_open(t->metrics_path, f->resume != NULL, t->first + 1, &t->metrics));
    if (t->speaks && f->tensorboard) STATUS_TRY(events_open(f->tensorboard, t->first + 1, &t->events));
    return status_ok();
}

static Status run(Trainer *t, Arena *a) {
    const TrainFlags *f = t->flags;
    STATUS_TRY(start(t));
    if (t->speaks && !f->quiet)
        printf("%s: %" PRId64 " ranks of %d threads, %" PRId64 " sequences of %" PRId64
               " tokens a step, slab %.1f MB a rank\n",
               program_plan(t->program)->model, plan_ranks(program_plan(t->program)), program_threads(t->program),
               t->batch, t->seq, (double)program_memory(t->program, 0).slab / 1e6);
    STATUS_TRY(loop(t));
    if (t->skipped && t->speaks && !f->quiet)
        printf("%d steps skipped: their gradients were beyond f16; loss scale %.0f\n", t->skipped, t->scale);
    metrics_close(t->metrics);
    t->metrics = NULL;
    const char *curve = f->curve ? f->curve : f->save ? arena_printf(a, "%s/loss.svg", f->save) : NULL;
    if (curve && t->metrics_path && t->speaks) {
        STATUS_TRY(curve_from_metrics(t->metrics_path, program_plan(t->program)->model, curve));
        if (!f->quiet) printf("loss curve: %s\n", curve);
    }
    return status_ok();
}

int tool_train(int argc, char **argv) {
    TrainFlags f = {.eval_every = 100, .eval_batches = 8};
    const Option options[] = {
        {"--strategy", "NAME", "layout (one rank)", OPTION_TEXT, &f.strategy},
        {"--data", "FILE", "text (bytes), or llm.c / nanoGPT .bin tokens", OPTION_TEXT, &f.data},
        {"--validation", "FILE", "held-out data (the last 5% of --data)", OPTION_TEXT, &f.validation},
        {"--format", "auto|bytes|u16|llmc", "of the data (auto)", OPTION_TEXT, &f.format},
        {"--steps", "N", "stop after step N (the recipe's steps)", OPTION_INT, &f.steps},
        {"--threads", "N", "over all ranks (one a processor)", OPTION_INT, &f.threads},
        {"--seed", "S", "of parameters, batches and dropout (the recipe's)", OPTION_INT, &f.seed},
        {"--save", "DIR", "write checkpoints, metrics.jsonl and loss.svg there", OPTION_TEXT, &f.save},
        {"--save-every", "N", "steps between checkpoints; 0: at the end (0)", OPTION_INT, &f.save_every},
        {"--resume", "DIR", "go on from a checkpoint, bit for bit", OPTION_TEXT, &f.resume},
        {"--load", "PATH", "begin with the weights of a checkpoint or safetensors file", OPTION_TEXT, &f.load},
        {"--metrics", "FILE", "JSON lines of every step (DIR/metrics.jsonl)", OPTION_TEXT, &f.metrics},
        {"--tensorboard", "FOLDER", "write TensorBoard event files there", OPTION_TEXT, &f.tensorboard},
        {"--curve", "FILE", "the loss curve, SVG (DIR/loss.svg)", OPTION_TEXT, &f.curve},
        {"--eval-every", "N", "steps between validations; 0: at the end (100)", OPTION_INT, &f.eval_every},
        {"--eval-batches", "N", "batches of a validation (8)", OPTION_INT, &f.eval_batches},
        {"--quiet", NULL, "print errors only", OPTION_FLAG, &f.quiet},
        {"-D", "AXIS=N", "override an axis", OPTION_DEFINE, &f.defines},
        MACHINE_OPTIONS(&f.machine),
        {0},
    };
    const Command command = {"tgf train MODEL.tgf [options]", "Trains a model as its recipe says.", options, 1, 1};
    const char *path;
    int count;
    bool done;
    int rc = options_read(&command, argc, argv, &path, &count, &done);
    if (rc || done) return rc;
    if (!f.eval_batches) f.eval_batches = 1;
    CompileRequest request = {.path = path, .defines = &f.defines, .strategy = f.strategy};
    Built b = {0};
    CodegenOptions code = {0};
    if (!machine_read(&f.machine, "tgf train", &code)) return 1;
    World *world;
    Status s = status_ok();
    if ((rc = processes_join("train", &world))) return rc;
    rc = built_make(&request, &code, &(ProgramOptions){.threads = (int)f.threads, .world = world}, &b);
    if (!rc) {
        Arena *a = arena_new();
        struct sigaction action = {.sa_handler = on_signal};
        sigaction(SIGINT, &action, NULL);
        sigaction(SIGTERM, &action, NULL);
        Trainer t = {.flags = &f,
                     .program = b.program,
                     .world = world,
                     .speaks = !world || world->rank == 0,
                     .recipe = b.c.unit->recipe};
        t.metrics_path = f.metrics ? f.metrics : f.save ? arena_printf(a, "%s/metrics.jsonl", f.save) : NULL;
        s = t.recipe ? run(&t, a)
                     : in_common(&t, status_make(STATUS_INVALID, "the model has no `train { ... }` recipe"));
        end_line(&t);
        if (status_failed(&s)) rc = t.common ? processes_report(world, &s, "train") : status_report(&s, "train");
        if (t.common) s = status_ok();
        metrics_close(t.metrics);
        events_close(t.events);
        tokens_close(t.file);
        tokens_close(t.held_file);
        free(t.tokens);
        free(t.labels);
        arena_free(a);
    }
    built_end(&b);
    processes_end(world, &s);
    return rc;
}
