// SPDX-License-Identifier: Apache-2.0
// Compiling and running from C: a started program and its object behind a linker make the same losses bit for bit, on
// one rank and on 2x2; programs on several threads at once; starting again; what goes wrong leaves no file and no word
// on stderr. For the script beside this (run_text), which compares with the tools on the program's text:
//     test_dsl_run text FILE                             writes the text
//     test_dsl_run object STRATEGY OBJECT HEADER         tgf_compile; STRATEGY - is one rank
//     test_dsl_run losses STRATEGY DATA STEPS SEED [TARGET]   trains, a loss a line
//     test_dsl_run linked LIBRARY DATA STEPS SEED        the same of a library with the object in it
#include "include/tgf/dsl.h"
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BATCH = 4, SEQ = 8, VOCAB = 256, IDS = BATCH * SEQ, STEPS = 5, SEED = 7 };

static int failures;
static char folder[] = "/tmp/tgf_run_XXXXXX";

#define CHECK(cond, ...)                                                                                               \
    do {                                                                                                               \
        if (!(cond)) {                                                                                                 \
            printf("%s:%d: %s: ", __FILE__, __LINE__, #cond);                                                          \
            printf(__VA_ARGS__);                                                                                       \
            putchar('\n');                                                                                             \
            failures++;                                                                                                \
        }                                                                                                              \
    } while (0)

static const char *in_folder(const char *name) {
    static char path[4][200];
    static int next;
    next = (next + 1) % 4;
    snprintf(path[next], sizeof path[next], "%s/%s", folder, name);
    return path[next];
}

// Parameters of a repeat, random numbers, a product that two ranks share: what a step depends on.
static TgfProgram *small(int layers) {
    TgfProgram *p = tgf_program_new();
    Axis TGF_AXIS(p, vocab, VOCAB), TGF_AXIS(p, seq, SEQ), TGF_AXIS(p, layer, layers), TGF_AXIS(p, width, 8);
    Axis TGF_AXIS(p, hidden, tgf_mul(4, width)), batch = tgf_axis_named(p, "batch");
    tgf_model(p, "small");
    Tensor tokens = tgf_input(p, "tokens", "i32", batch, seq);
    Tensor labels = tgf_input(p, "labels", "i32", batch, seq);
    Tensor wte = tgf_as(tgf_param(p, "wte", tgf_call("normal", p, 0.02), vocab, width), "wte.weight");
    Tensor TGF_LET(p, x, tgf_take(wte, tokens, vocab));
    tgf_repeat(p, layer, "h.{layer}");
    TGF_LET(p, x, tgf_add(x, tgf_call("dropout", tgf_as(tgf_call("mlp", x, width, hidden), "mlp"), 0.1)));
    tgf_end(p);
    Tensor TGF_LET(p, logits, tgf_dot(tgf_as(tgf_call("layernorm", x, width), "ln"), wte, width));
    tgf_let(p, "loss", tgf_call("cross_entropy", logits, labels, vocab));
    tgf_end(p);
    tgf_strategy(p, "grid");
    tgf_line(p, "mesh", tgf_key("data", 2), tgf_key("tensor", 2));
    tgf_line(p, "split", batch, tgf_over("data"));
    tgf_line(p, "split", hidden, vocab, tgf_over("tensor"));
    tgf_end(p);
    tgf_train(p);
    tgf_line(p, "optimizer", "adamw", tgf_key("lr", 1e-2));
    tgf_setting(p, "batch", BATCH);
    tgf_end(p);
    return p;
}

static void ids(int step, int32_t *tokens, int32_t *labels) {
    for (int i = 0; i < IDS; i++) {
        tokens[i] = (i + step) % 4;
        labels[i] = (i + step + 1) % 4;
    }
}

static TgfOptions run_options(int32_t seed) {
    TgfOptions o = tgf_options();
    o.threads = 2;
    o.seed = seed;
    return o;
}

typedef struct Losses {
    float at[STEPS];
} Losses;

static TgfStatus train(TgfModel *m, Losses *out) {
    TgfStatus s = {TGF_OK, ""};
    int32_t tokens[IDS], labels[IDS];
    for (int i = 0; i < STEPS && s.code == TGF_OK; i++) {
        ids(i, tokens, labels);
        s = tgf_step(m, tokens, labels, &out->at[i]);
    }
    return s;
}

static bool same(const Losses *a, const Losses *b) { return !memcmp(a, b, sizeof *a) && a->at[STEPS - 1] < a->at[0]; }

static TgfStatus started(TgfProgram *p, const char *strategy, Losses *out) {
    TgfCompileOptions o = {.strategy = strategy};
    TgfOptions options = run_options(SEED);
    TgfStatus s = tgf_program_start(p, &o, &options);
    int32_t tokens[IDS], labels[IDS];
    for (int i = 0; i < STEPS && s.code == TGF_OK; i++) {
        ids(i, tokens, labels);
        s = tgf_program_step(p, tokens, labels, &out->at[i]);
    }
    return s;
}

// ---- objects --------------------------------------------------------------------------------------------------------
static void compiler(const char *object, const char *library) { // cc -shared
    pid_t child = fork();
    if (!child) {
        execlp("cc", "cc", "-shared", "-o", library, object, (char *)NULL);
        _exit(127);
    }
    int status = -1;
    CHECK(child > 0 && waitpid(child, &status, 0) == child && !status, "cc: %d", status);
}

static const TgfModule *linked(const char *library) {
    void *handle = dlopen(library, RTLD_NOW);
    const TgfModule *module = handle ? dlsym(handle, "tgf_model_small") : NULL;
    CHECK(module, "%s: %s", library, dlerror());
    return module;
}

static void as_object(const char *strategy, const Losses *wanted) {
    TgfProgram *p = small(2);
    TgfCompileOptions o = {.strategy = strategy};
    const char *object = in_folder("m.o"), *library = in_folder(strategy ? "grid.so" : "one.so");
    TgfStatus s = tgf_compile(p, &o, object, in_folder("m.h"));
    CHECK(s.code == TGF_OK, "%s", s.message);
    tgf_program_free(p);
    compiler(object, library);
    const TgfModule *module = linked(library);
    TgfModel *m = NULL;
    Losses losses = {{0}};
    TgfOptions options = run_options(SEED);
    if (module) s = tgf_open(module, &options, &m);
    if (s.code == TGF_OK && m) s = tgf_init(m);
    if (s.code == TGF_OK && m) s = train(m, &losses);
    CHECK(s.code == TGF_OK && same(&losses, wanted), "%s: %s, losses %g to %g", strategy ? strategy : "one rank",
          s.message, (double)losses.at[0], (double)losses.at[STEPS - 1]);
    tgf_close(m);
    unlink(object), unlink(library), unlink(in_folder("m.h"));
}

// ---- threads --------------------------------------------------------------------------------------------------------
typedef struct Task {
    const char *strategy;
    int layers;
    Losses wanted;
    TgfStatus status;
    bool same;
} Task;

static void *thread_main(void *task) {
    Task *t = task;
    TgfProgram *p = small(t->layers);
    for (int i = 0; i < 2; i++) {
        Losses losses;
        t->status = started(p, t->strategy, &losses);
        t->same = t->status.code == TGF_OK && same(&losses, &t->wanted);
        if (!t->same) break;
    }
    tgf_program_free(p);
    return NULL;
}

static void on_threads(void) {
    Task tasks[] = {{.layers = 2}, {.layers = 3, .strategy = "grid"}, {.layers = 3}};
    enum { N = sizeof tasks / sizeof *tasks };
    pthread_t threads[N];
    bool begun[N];
    for (int i = 0; i < N; i++) begun[i] = !pthread_create(&threads[i], NULL, thread_main, &tasks[i]);
    for (int i = 0; i < N; i++) // LLVM's first use in this process is by all of them; so the wanted losses come later
        if (begun[i]) pthread_join(threads[i], NULL);
    for (int i = 0; i < N; i++) {
        TgfProgram *p = small(tasks[i].layers);
        TgfStatus s = started(p, tasks[i].strategy, &tasks[i].wanted);
        CHECK(s.code == TGF_OK, "%s", s.message);
        tgf_program_free(p);
        begun[i] = !pthread_create(&threads[i], NULL, thread_main, &tasks[i]);
    }
    for (int i = 0; i < N; i++) {
        if (begun[i]) pthread_join(threads[i], NULL);
        CHECK(begun[i] && tasks[i].same, "thread %d: %s", i, tasks[i].status.message);
    }
}

// ---- starting again -------------------------------------------------------------------------------------------------
static void again(TgfProgram *p, const Losses *wanted) {
    Losses losses;
    double flops = 0, more = 0;
    TgfStatus s = started(p, NULL, &losses);
    CHECK(s.code == TGF_OK && same(&losses, wanted), "%s", s.message);
    CHECK(tgf_program_flops(p, "train", &flops).code == TGF_OK && flops > 6.0 * IDS * VOCAB * 8, "%g", flops);
    CHECK(tgf_program_flops(p, "predict", &more).code == TGF_OK && more > 0 && more < flops / 2, "%g", more);
    TgfDefine deeper = {"layer", 4};
    s = tgf_program_start(p, &(TgfCompileOptions){.defines = &deeper, .ndefines = 1}, NULL);
    CHECK(s.code == TGF_OK && tgf_program_flops(p, "train", &more).code == TGF_OK && more > flops, "%s: %g, %g",
          s.message, flops, more);
    CHECK(tgf_steps(tgf_program_model(p)) == 0, "a model of its own");
    s = tgf_program_flops(p, "sing", &more);
    CHECK(s.code == TGF_INVALID && strstr(s.message, "'sing'"), "%s", s.message);
}

// ---- what goes wrong ------------------------------------------------------------------------------------------------
static int files(void) {
    int n = 0;
    DIR *d = opendir(folder);
    for (struct dirent *e; d && (e = readdir(d));) n += e->d_name[0] != '.';
    if (d) closedir(d);
    return n;
}

static void refuses(TgfProgram *p, TgfStatus s, TgfCode code, const char *part) {
    CHECK(s.code == code && strstr(s.message, part), "%s: %s", tgf_code_name(s.code), s.message);
    CHECK(strstr(tgf_program_messages(p), part), "'%s' is not in the messages: %s", part, tgf_program_messages(p));
}

static void refusals(const Losses *wanted) {
    TgfProgram *p = small(2);
    const char *object = in_folder("x.o"), *text = NULL;
    int32_t tokens[IDS] = {VOCAB}, labels[IDS] = {0};
    Losses losses;
    refuses(p, tgf_program_step(p, tokens, labels, NULL), TGF_INVALID, "no model runs");
    CHECK(!tgf_program_model(p), "no model");
    TgfCompileOptions o = {.strategy = "gird"};
    refuses(p, tgf_compile(p, &o, object, in_folder("x.h")), TGF_INVALID, "'gird'");
    refuses(p, tgf_program_start(p, &o, NULL), TGF_INVALID, "'gird'");
    refuses(p, tgf_compile(p, NULL, in_folder("no/x.o"), in_folder("x.h")), TGF_IO, "no/x.o: cannot write");
    refuses(p, tgf_compile(p, NULL, object, in_folder("no/x.h")), TGF_IO, "no/x.h: cannot write");
    refuses(p, tgf_compile(p, &(TgfCompileOptions){.target = "tpu"}, object, NULL), TGF_INVALID, "'tpu'");
    refuses(p, tgf_compile(p, &(TgfCompileOptions){.cpu = "z80"}, object, NULL), TGF_INVALID, "'z80'");
    refuses(p, tgf_compile(p, NULL, NULL, NULL), TGF_INVALID, "no file");
    refuses(p, tgf_program_ir(p, NULL, "magic", 1, &text), TGF_INVALID, "'magic'");
    TgfDefine wide[] = {{"width", 0}, {"wdith", 8}};
    refuses(p, tgf_program_start(p, &(TgfCompileOptions){.defines = wide, .ndefines = 1}, NULL), TGF_INVALID, "width");
    refuses(p, tgf_program_start(p, &(TgfCompileOptions){.defines = wide + 1, .ndefines = 1}, NULL), TGF_INVALID,
            "wdith");
    CHECK(files() == 0, "%d files are left", files());
    // None of that is a mistake of the program; and a model that runs is closed by a start that fails.
    TgfStatus s = started(p, NULL, &losses);
    CHECK(s.code == TGF_OK && same(&losses, wanted), "%s", s.message);
    refuses(p, tgf_program_step(p, tokens, labels, NULL), TGF_RANGE, "256");
    CHECK(tgf_program_start(p, &o, NULL).code == TGF_INVALID && !tgf_program_model(p), "closed");
    tgf_program_free(p);
    p = small(2);
    tgf_line(p, "mesh", tgf_key("data", 2));
    refuses(p, tgf_compile(p, NULL, object, NULL), TGF_INVALID, "test_run.c:");
    refuses(p, tgf_program_start(p, NULL, NULL), TGF_INVALID, "test_run.c:");
    CHECK(files() == 0, "%d files are left", files());
    tgf_program_free(p);
    CHECK(tgf_program_start(NULL, NULL, NULL).code != TGF_OK && !tgf_program_model(NULL), "no program");
}

// ---- IR -------------------------------------------------------------------------------------------------------------
static void ir(void) {
    TgfProgram *p = small(2);
    const char *first = NULL, *bare = NULL, *last = NULL;
    TgfCompileOptions o = {.strategy = "grid"};
    CHECK(!tgf_program_ir(p, &o, NULL, 1, &first).code && strstr(first, "test_run.c:"), "locations");
    CHECK(!tgf_program_ir(p, &o, NULL, 0, &bare).code && !strchr(bare, '@') && strlen(bare) < strlen(first), "none");
    CHECK(!tgf_program_ir(p, &o, "memory", 0, &last).code && strstr(last, "passed memory"), "behind a pass");
    tgf_program_free(p);
}

// Everything, with stderr in a file.
static int all(void) {
    if (!mkdtemp(folder)) return perror(folder), 1;
    char said[] = "/tmp/tgf_said_XXXXXX";
    int file = mkstemp(said), console = dup(STDERR_FILENO);
    dup2(file, STDERR_FILENO);
    on_threads();
    Losses one, grid;
    TgfProgram *p = small(2);
    CHECK(started(p, "grid", &grid).code == TGF_OK && started(p, NULL, &one).code == TGF_OK, "%s",
          tgf_program_messages(p));
    as_object(NULL, &one);
    as_object("grid", &grid);
    again(p, &one);
    tgf_program_free(p);
    refusals(&one);
    ir();
    dup2(console, STDERR_FILENO);
    CHECK(lseek(file, 0, SEEK_END) == 0, "something was said on stderr: see %s", said);
    if (!failures) unlink(said);
    rmdir(folder);
    return failures != 0;
}

// ---- for the script -------------------------------------------------------------------------------------------------
static int failed(TgfStatus s) {
    if (s.code) fprintf(stderr, "%s\n", s.message);
    return s.code != TGF_OK;
}

static int write_text(const char *path) {
    TgfProgram *p = small(2);
    const char *text = NULL;
    int rc = failed(tgf_program_text(p, &text));
    FILE *f = rc ? NULL : fopen(path, "w");
    if (f) fputs(text, f);
    rc |= !f || fclose(f);
    tgf_program_free(p);
    return rc;
}

static int print_losses(TgfModel *m, char **argv) {
    int steps = atoi(argv[1]);
    int32_t tokens[IDS], labels[IDS];
    TgfData *data;
    if (failed(tgf_data_open(argv[0], &data))) return 1;
    int rc = 0;
    for (int i = 0; i < steps && !rc; i++) {
        float loss = 0;
        rc = failed(tgf_data_batch(data, tgf_seed(m), i, BATCH, SEQ, tokens, labels)) ||
             failed(tgf_step(m, tokens, labels, &loss));
        printf("%.9g\n", (double)loss);
    }
    tgf_data_close(data);
    return rc;
}

static int for_script(char **argv) {
    const char *strategy = strcmp(argv[2], "-") ? argv[2] : NULL;
    TgfOptions run = run_options(argv[4] && argv[5] ? atoi(argv[5]) : 0);
    if (!strcmp(argv[1], "text")) return write_text(argv[2]);
    if (!strcmp(argv[1], "linked")) {
        const TgfModule *module = linked(argv[2]);
        TgfModel *m;
        if (!module || failed(tgf_open(module, &run, &m))) return 1;
        int rc = failed(tgf_init(m)) || print_losses(m, argv + 3);
        tgf_close(m);
        return rc;
    }
    TgfProgram *p = small(2);
    TgfCompileOptions o = {.strategy = strategy};
    if (argv[3] && argv[4] && argv[5]) o.target = argv[6];
    int rc = !strcmp(argv[1], "object")
                 ? failed(tgf_compile(p, &o, argv[3], argv[4]))
                 : failed(tgf_program_start(p, &o, &run)) || print_losses(tgf_program_model(p), argv + 3);
    tgf_program_free(p);
    return rc;
}

int main(int argc, char **argv) { return argc > 2 ? for_script(argv) : all(); }
