// SPDX-License-Identifier: Apache-2.0
// Worlds over TCP: what all do together, who is let in, and how a run ends when one of it does.
#include "base/clock.h"
#include "runtime/launch.h"
#include "tests/runtime/check.h"
#include "worlds.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

// ---- together -------------------------------------------------------------------------------------------------------
enum { BIG = 300000 };

static void do_together(Worlds *worlds, int rank, void *context) {
    World *w = worlds->world[rank];
    Status s = world_barrier(w);
    (void)context;
    for (int root = 0; root < w->size && !status_failed(&s); root++)
        for (int64_t n = 1; n <= BIG && !status_failed(&s); n *= 67) {
            char *data = malloc((size_t)n);
            memset(data, rank == root ? root + 1 : 0, (size_t)n);
            s = world_broadcast(w, root, data, n);
            for (int64_t i = 0; i < n && !status_failed(&s); i++)
                if (data[i] != root + 1) s = status_make(STATUS_INTERNAL, "broadcast of %d is wrong", root);
            free(data);
        }
    for (int root = -1; root < w->size && !status_failed(&s); root++)
        for (int64_t each = 1; each <= BIG && !status_failed(&s); each *= 67) {
            int64_t bytes_of[WORLDS_MOST], total = 0, at = 0;
            for (int r = 0; r < w->size; r++) total += bytes_of[r] = each * (r % 3);
            char *own = malloc((size_t)bytes_of[rank] + 1), *all = malloc((size_t)total + 1);
            memset(own, rank + 1, (size_t)bytes_of[rank]);
            s = world_gather(w, root, own, bytes_of, all);
            for (int r = 0; r < w->size && (root < 0 || rank == root); r++)
                for (int64_t i = 0; i < bytes_of[r] && !status_failed(&s); i++)
                    if (all[at++] != r + 1) s = status_make(STATUS_INTERNAL, "gather to %d is wrong", root);
            free(own);
            free(all);
        }
    worlds->status[rank] = s;
}

static void do_agree(Worlds *worlds, int rank, void *context) {
    bool fails = context && rank >= 2;
    Status own = fails ? status_make(STATUS_IO, "the disk of %d is full", rank) : status_ok();
    worlds->status[rank] = world_agree(worlds->world[rank], own);
}

static void do_differ(Worlds *worlds, int rank, void *context) {
    int64_t x = 0;
    (void)context;
    worlds->status[rank] =
        rank == 1 ? world_broadcast(worlds->world[rank], 0, &x, sizeof x) : world_barrier(worlds->world[rank]);
}

static void do_abort(Worlds *worlds, int rank, void *context) {
    Status why = status_make(STATUS_IO, "there is no data");
    (void)context;
    if (rank == 1) world_abort(worlds->world[rank], &why);
    worlds->status[rank] = world_barrier(worlds->world[rank]);
}

static void do_leave(Worlds *worlds, int rank, void *context) { // rank 2 ends in order, the others still want it
    (void)context;
    worlds->status[rank] = status_ok();
    if (rank == 2) {
        world_free(worlds->world[rank]);
        worlds->world[rank] = NULL;
    } else {
        worlds->status[rank] = world_barrier(worlds->world[rank]);
    }
}

static void test_together(void) {
    for (int n = 1; n <= 7; n += n < 4 ? 1 : 3) {
        Worlds w;
        CHECK_OK(worlds_open(n, &w));
        worlds_each(&w, do_together, NULL);
        for (int r = 0; r < n; r++) CHECK_OK(w.status[r]);
        worlds_each(&w, do_agree, NULL);
        for (int r = 0; r < n; r++) CHECK_OK(w.status[r]);
        worlds_each(&w, do_agree, &w);
        for (int r = 0; r < n && n > 2; r++) CHECK_FAILS(w.status[r], STATUS_IO, "rank 2: the disk of 2 is full");
        worlds_close(&w);
    }
}

static void test_wrong(WorldsFn *fn, const char *text) {
    Worlds w;
    bool told = false;
    CHECK_OK(worlds_open(4, &w));
    worlds_each(&w, fn, NULL);
    for (int r = 0; r < 4; r++) {
        if (fn != do_leave || r != 2) CHECK(status_failed(&w.status[r]));
        told = told || strstr(w.status[r].message, text);
    }
    CHECK(told);
    if (!told) printf("nobody tells '%s': %s\n", text, w.status[0].message);
    worlds_close(&w);
}

// ---- the door -------------------------------------------------------------------------------------------------------
typedef struct Comer {
    pthread_t thread;
    WorldTcpOptions options;
    _Atomic int port; // rank 0: where it listens
    Status status;
    World *world;
} Comer;

static void tell_port(void *context, int port) { ((Comer *)context)->port = port; }

static void *come(void *context) {
    Comer *c = context;
    c->status = world_tcp_make(&c->options, &c->world);
    return NULL;
}

static Comer comer(int rank, int size, int port, const char *nonce) {
    return (Comer){
        .options = {
            .rank = rank, .size = size, .host = "127.0.0.1", .port = port, .nonce = nonce, .timeout_ms = 20000}};
}

static void begin(Comer *c) { CHECK(pthread_create(&c->thread, NULL, come, c) == 0); }

// Rank 0 of two waits at its door; returns its port.
static int open_door(Comer *first, int64_t timeout_ms) {
    *first = comer(0, 2, 0, "right");
    first->options.timeout_ms = timeout_ms;
    first->options.on_port = tell_port;
    first->options.context = first;
    begin(first);
    while (!first->port) usleep(1000);
    return first->port;
}

static int stranger(int port) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(connect(fd, (struct sockaddr *)&at, sizeof at) == 0);
    return fd;
}

// Anything at all, the beginning of a hello and then anything, or nothing; some hold on.
static int strangers(int port, int *held) {
    uint32_t state = 12345;
    int n = 0;
    for (int i = 0; i < 100; i++) {
        char junk[1024] = "tgfwire";
        int fd = stranger(port);
        for (size_t k = i % 3 ? 0 : 8; k < sizeof junk; k++)
            junk[k] = (char)((state = state * 1664525 + 1013904223) >> 24);
        if (i % 5) CHECK(send(fd, junk, 1 + (size_t)i * 9, MSG_NOSIGNAL) > 0 || errno == EPIPE || errno == ECONNRESET);
        if (i % 4) close(fd);
        else held[n++] = fd;
    }
    return n;
}

static void refused(Comer c, const char *why) {
    come(&c);
    CHECK_FAILS(c.status, STATUS_COMM, why);
}

static void test_door(void) {
    Comer first, second;
    int held[100], port = open_door(&first, 20000), n = strangers(port, held);
    refused(comer(1, 2, port, "wrong"), "was refused: the nonce is not this run's");
    refused(comer(1, 2, port, "right "), "was refused: the nonce is not this run's");
    refused(comer(1, 3, port, "right"), "was refused: it counts 3 processes, rank 0 counts 2");
    refused(comer(5, 6, port, "right"), "was refused: it counts 6 processes");
    second = comer(1, 2, port, "right");
    begin(&second);
    pthread_join(second.thread, NULL);
    pthread_join(first.thread, NULL);
    CHECK_OK(first.status);
    CHECK_OK(second.status);
    while (n--) close(held[n]);
    Worlds w = {.n = 2, .world = {first.world, second.world}};
    worlds_each(&w, do_together, NULL);
    CHECK_OK(w.status[0]);
    CHECK_OK(w.status[1]);
    worlds_close(&w);
}

static void test_late(void) {
    Comer first;
    int port = open_door(&first, 1000);
    refused(comer(1, 2, port, "wrong"), "the nonce is not this run's");
    pthread_join(first.thread, NULL);
    CHECK_FAILS(first.status, STATUS_COMM, "0 of 1 processes came; missing: rank 1; 1 were refused, the last because");
    Comer nobody = comer(1, 2, port, "right");
    nobody.options.timeout_ms = 500;
    come(&nobody);
    CHECK_FAILS(nobody.status, STATUS_COMM, "rank 0 at 127.0.0.1 port");
}

// ---- a process that dies --------------------------------------------------------------------------------------------
// Ranks 1 and 2 are processes; rank 2 is killed while the others wait for it.
static void child(int rank, int port, int said) {
    Comer c = comer(rank, 3, port, "right");
    come(&c);
    Status s = status_failed(&c.status) ? c.status : world_barrier(c.world);
    if (rank == 2) pause();
    if (!status_failed(&s)) s = world_barrier(c.world);
    CHECK(write(said, s.message, sizeof s.message) == (ssize_t)sizeof s.message);
    if (c.world) world_free(c.world);
    _exit(0);
}

static void test_death(void) {
    Comer first = comer(0, 3, 0, "right");
    int said[2];
    pid_t pid[3] = {0};
    char message[sizeof(Status)] = "";
    CHECK(pipe(said) == 0);
    first.options.on_port = tell_port;
    first.options.context = &first;
    begin(&first);
    while (!first.port) usleep(1000);
    for (int r = 1; r < 3; r++)
        if (!(pid[r] = fork())) child(r, first.port, said[1]);
    pthread_join(first.thread, NULL);
    CHECK_OK(first.status);
    CHECK_OK(world_barrier(first.world));
    kill(pid[2], SIGKILL);
    int64_t since = now_ms();
    CHECK_FAILS(world_barrier(first.world), STATUS_COMM, "rank 2 has ended");
    CHECK(read(said[0], message, sizeof(((Status *)0)->message)) > 0);
    CHECK(strstr(message, "rank 2 has ended"));
    CHECK(now_ms() - since < 5000);
    world_free(first.world);
    for (int r = 1; r < 3; r++) waitpid(pid[r], NULL, 0);
}

// ---- the environment ------------------------------------------------------------------------------------------------
static const char *const variables[] = {"RANK",
                                        "WORLD_SIZE",
                                        "LOCAL_RANK",
                                        "LOCAL_WORLD_SIZE",
                                        "MASTER_ADDR",
                                        "MASTER_PORT",
                                        "OMPI_COMM_WORLD_RANK",
                                        "OMPI_COMM_WORLD_SIZE",
                                        "PMI_RANK",
                                        "PMI_SIZE",
                                        "SLURM_PROCID",
                                        "SLURM_STEP_ID",
                                        "SLURM_STEP_NUM_TASKS",
                                        "SLURM_NTASKS",
                                        "SLURM_LOCALID",
                                        "SLURM_STEP_NODELIST",
                                        "SLURM_JOB_NODELIST",
                                        "SLURM_JOB_ID",
                                        "TGF_NONCE",
                                        "TGF_TIMEOUT",
                                        "TORCHELASTIC_USE_AGENT_STORE",
                                        "OMPI_COMM_WORLD_LOCAL_RANK",
                                        "OMPI_COMM_WORLD_LOCAL_SIZE"};

// "NAME=VALUE NAME=VALUE"
static Status read_with(const char *text, Launch *l) {
    char copy[512], *at = copy, *word;
    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++) unsetenv(variables[i]);
    snprintf(copy, sizeof copy, "%s", text);
    while ((word = strsep(&at, " "))) {
        char *value = strchr(word, '=');
        if (!value) continue;
        *value = 0;
        setenv(word, value + 1, 1);
    }
    return launch_read(l);
}

static void reads(const char *text, int rank, int size, int local, bool mpi, const char *host, int port) {
    Launch l;
    CHECK_OK(read_with(text, &l));
    if (l.rank == rank && l.size == size && l.local == local && l.mpi == mpi && !strcmp(l.host, host) && l.port == port)
        return;
    printf("%s: rank %d of %d, local %d, mpi %d, %s port %d\n", text, l.rank, l.size, l.local, l.mpi, l.host, l.port);
    check_failures++;
}

static void test_environment(void) {
    Launch l;
    reads("", 0, 1, -1, false, "", 0);
    reads("MASTER_ADDR=here MASTER_PORT=5", 0, 1, -1, false, "here", 5);
    reads("RANK=1 WORLD_SIZE=4 LOCAL_RANK=0 MASTER_ADDR=a MASTER_PORT=9", 1, 4, 0, false, "a", 9);
    reads("RANK=1 WORLD_SIZE=4 MASTER_ADDR=a MASTER_PORT=9 TORCHELASTIC_USE_AGENT_STORE=True", 1, 4, -1, false, "a",
          10);
    reads("RANK=0 WORLD_SIZE=1", 0, 1, -1, false, "", 0);
    reads("OMPI_COMM_WORLD_RANK=2 OMPI_COMM_WORLD_SIZE=4 OMPI_COMM_WORLD_LOCAL_RANK=1", 2, 4, 1, true, "", 0);
    reads("PMI_RANK=2 PMI_SIZE=3", 2, 3, -1, true, "", 0);
    reads("RANK=2 WORLD_SIZE=3 PMI_RANK=2 PMI_SIZE=3 MASTER_ADDR=a MASTER_PORT=9", 2, 3, -1, false, "a", 9);
    reads("SLURM_PROCID=3 SLURM_STEP_NUM_TASKS=4 SLURM_LOCALID=1 SLURM_STEP_ID=0 SLURM_JOB_ID=7 "
          "SLURM_STEP_NODELIST=n[03-05,9],x",
          3, 4, 1, false, "n03", 20448);
    reads("SLURM_PROCID=0 SLURM_NTASKS=4 SLURM_JOB_ID=7", 0, 1, -1, false, "", 0); // the batch script itself
    reads("OMPI_COMM_WORLD_RANK=2 OMPI_COMM_WORLD_SIZE=4 SLURM_PROCID=0 SLURM_NTASKS=2 SLURM_STEP_ID=0", 2, 4, -1, true,
          "", 0);
    CHECK_FAILS(read_with("RANK=1", &l), STATUS_INVALID, "RANK is set, WORLD_SIZE is not");
    CHECK_FAILS(read_with("WORLD_SIZE=2", &l), STATUS_INVALID, "WORLD_SIZE is set, RANK is not");
    CHECK_FAILS(read_with("RANK=1 WORLD_SIZE=2", &l), STATUS_INVALID, "RANK is set, MASTER_ADDR is not");
    CHECK_FAILS(read_with("RANK=1 WORLD_SIZE=2 MASTER_ADDR=a", &l), STATUS_INVALID, "RANK is set, MASTER_PORT is not");
    CHECK_FAILS(read_with("RANK=2 WORLD_SIZE=2", &l), STATUS_INVALID, "RANK=2, but WORLD_SIZE=2");
    CHECK_FAILS(read_with("RANK=two WORLD_SIZE=2", &l), STATUS_INVALID, "RANK=two is no number");
    CHECK_FAILS(read_with("MASTER_PORT=70000", &l), STATUS_INVALID, "MASTER_PORT=70000 is no number from 1 to 65534");
    CHECK_FAILS(read_with("RANK=1 WORLD_SIZE=2 MASTER_ADDR=a MASTER_PORT=9 OMPI_COMM_WORLD_RANK=0 "
                          "OMPI_COMM_WORLD_SIZE=2",
                          &l),
                STATUS_INVALID, "RANK says rank 1 of 2, OMPI_COMM_WORLD_RANK rank 0 of 2");
    char host[64];
    CHECK(launch_first_host("one", host, sizeof host) && !strcmp(host, "one"));
    CHECK(launch_first_host("one,two", host, sizeof host) && !strcmp(host, "one"));
    CHECK(launch_first_host("c[1,3]", host, sizeof host) && !strcmp(host, "c1"));
    CHECK(!launch_first_host("", host, sizeof host));
}

int main(void) {
    test_environment();
    test_together();
    test_wrong(do_differ, "processes do not match");
    test_wrong(do_abort, "stopped because rank 1 failed: there is no data");
    test_wrong(do_leave, "rank 2 has ended");
    test_door();
    test_late();
    test_death();
    return check_report("world");
}
