// SPDX-License-Identifier: Apache-2.0
// The public API with ranks that are processes: the hand-made plan's four ranks give what they give as threads, and one
// process's checkpoint is everybody's.
#include "check.h"
#include "include/tgf/tgf.h"
#include "sample_plan.h"
#include <sys/wait.h>
#include <unistd.h>

enum { RANKS = 4 };

typedef struct Seen {
    TgfStatus failed;
    float loss[3], w[15];
} Seen;

#define TRY(expr)                                                                                                      \
    do {                                                                                                               \
        seen->failed = (expr);                                                                                         \
        if (seen->failed.code != TGF_OK) return;                                                                       \
    } while (0)

static void use(TgfModel *m, const char *folder, Seen *seen) {
    int32_t x[4] = {1, 2, 3, 9};
    TRY(tgf_init(m));
    TRY(tgf_set_input(m, "x", TGF_I32, x, 4));
    TRY(tgf_run(m, "train"));
    TRY(tgf_get_output(m, "loss", TGF_F32, &seen->loss[0], 1));
    TRY(tgf_save(m, folder));
    TRY(tgf_run(m, "train"));
    TRY(tgf_get_output(m, "loss", TGF_F32, &seen->loss[1], 1));
    TRY(tgf_load(m, folder));
    TRY(tgf_run(m, "train"));
    TRY(tgf_get_output(m, "loss", TGF_F32, &seen->loss[2], 1));
    TRY(tgf_get(m, TGF_PARAMETER, "w", TGF_F32, seen->w, 15));
}

static void run(int processes, const char *folder, Seen *seen) {
    PlanModule module = sample_module();
    TgfModel *m;
    TRY(tgf_open(&module, &(TgfOptions){.size = sizeof(TgfOptions), .threads = 1, .seed = 5, .processes = processes},
                 &m));
    use(m, folder, seen);
    tgf_close(m);
}

static void remove_checkpoint(const char *folder) {
    static const char *const names[] = {"model.safetensors", "optimizer.safetensors", "state.json"};
    for (int i = 0; i < 3; i++) {
        char path[128];
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        unlink(path);
    }
    rmdir(folder);
}

static void one_process(int rank, int port, const char *folder, int out) {
    char text[16];
    Seen seen = {0};
    snprintf(text, sizeof text, "%d", rank);
    setenv("RANK", text, 1);
    setenv("WORLD_SIZE", "4", 1);
    setenv("MASTER_ADDR", "localhost", 1);
    snprintf(text, sizeof text, "%d", port);
    setenv("MASTER_PORT", text, 1);
    run(1, folder, &seen);
    CHECK(write(out, &seen, sizeof seen) == (ssize_t)sizeof seen);
    _exit(check_failures != 0);
}

int main(void) {
    PlanModule module = sample_module();
    TgfModel *m;
    Seen threads = {0}, seen;
    char folder[64];
    int out[2];
    snprintf(folder, sizeof folder, "/tmp/tgf-test-processes-%d", (int)getpid());
    static const char *const drop[] = {"RANK",     "WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE",
                                       "PMI_RANK", "PMI_SIZE",   "SLURM_STEP_ID",        "MASTER_PORT"};
    for (size_t i = 0; i < sizeof drop / sizeof *drop; i++) unsetenv(drop[i]);
    CHECK(pipe(out) == 0);
    pid_t pid[RANKS];
    int port = 21000 + (int)(getpid() % 9000);
    for (int r = 0; r < RANKS; r++)
        if (!(pid[r] = fork())) one_process(r, port, folder, out[1]);
    for (int r = 0; r < RANKS; r++) CHECK(waitpid(pid[r], NULL, 0) == pid[r]);
    remove_checkpoint(folder);
    run(1, folder, &threads); // nothing in the environment: alone
    remove_checkpoint(folder);
    CHECK(threads.failed.code == TGF_OK && threads.loss[1] == threads.loss[2]);
    for (int r = 0; r < RANKS; r++) {
        CHECK(read(out[0], &seen, sizeof seen) == (ssize_t)sizeof seen);
        if (seen.failed.code != TGF_OK) printf("%s\n", seen.failed.message);
        CHECK(!memcmp(&seen, &threads, sizeof seen));
    }
    setenv("RANK", "0", 1);
    TgfStatus s = tgf_open(&module, &(TgfOptions){.size = sizeof(TgfOptions), .processes = 1}, &m);
    CHECK(s.code == TGF_INVALID && strstr(s.message, "RANK is set, WORLD_SIZE is not") && !m);
    return check_report("processes");
}
