// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "runtime/launch.h"
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct Names {
    const char *rank, *size, *local, *locals;
    bool mpi;
} Names;

static const Names by_hand = {"RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", false};
static const Names mpis[] = {
    {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE", true},
    {"PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS", true},
};

static const char *value(const char *name) {
    const char *v = getenv(name);
    return v && *v ? v : NULL;
}

static Status number(const char *name, int least, int most, int *out) {
    char *end;
    const char *text = value(name);
    errno = 0;
    long n = strtol(text, &end, 10);
    if (errno || *end || n < least || n > most)
        return status_make(STATUS_INVALID, "environment: %s=%.40s is no number from %d to %d", name, text, least, most);
    *out = (int)n;
    return status_ok();
}

// *out_there: both rank and size are said.
static Status read_names(const Names *n, Launch *l, bool *out_there) {
    const char *rank = value(n->rank), *size = value(n->size);
    *out_there = rank && size;
    if (!rank && !size) return status_ok();
    if (!rank || !size)
        return status_make(STATUS_INVALID, "environment: %s is set, %s is not", rank ? n->rank : n->size,
                           rank ? n->size : n->rank);
    STATUS_TRY(number(n->size, 1, WORLD_RANKS, &l->size));
    STATUS_TRY(number(n->rank, 0, WORLD_RANKS - 1, &l->rank));
    if (l->rank >= l->size)
        return status_make(STATUS_INVALID, "environment: %s=%d, but %s=%d", n->rank, l->rank, n->size, l->size);
    l->local = -1;
    l->locals = 0;
    if (n->local && value(n->local)) STATUS_TRY(number(n->local, 0, WORLD_RANKS - 1, &l->local));
    if (n->locals && value(n->locals)) STATUS_TRY(number(n->locals, 1, WORLD_RANKS, &l->locals));
    l->by = n->rank;
    l->mpi = n->mpi;
    return status_ok();
}

// Rank 0's host and port. torchrun's agent may itself listen on MASTER_PORT: then the next one is ours.
static Status read_master(Launch *l) {
    const char *host = value("MASTER_ADDR"), *store = value("TORCHELASTIC_USE_AGENT_STORE");
    if (host && snprintf(l->host, sizeof l->host, "%s", host) >= (int)sizeof l->host)
        return status_make(STATUS_INVALID, "environment: MASTER_ADDR is too long");
    if (value("MASTER_PORT")) STATUS_TRY(number("MASTER_PORT", 1, 65534, &l->port));
    if (l->port && store && !strcmp(store, "True")) l->port++;
    return status_ok();
}

bool launch_first_host(const char *list, char *host, size_t size) {
    size_t stem = strcspn(list, "[,"), first = 0;
    const char *from = list + stem;
    if (*from == '[') first = strcspn(++from, "-,]");
    int n = snprintf(host, size, "%.*s%.*s", (int)stem, list, (int)first, from);
    return n > 0 && (size_t)n < size;
}

static Status read_slurm(Launch *l) {
    const char *count = value("SLURM_STEP_NUM_TASKS") ? "SLURM_STEP_NUM_TASKS" : "SLURM_NTASKS";
    const char *nodes = value("SLURM_STEP_NODELIST") ? value("SLURM_STEP_NODELIST") : value("SLURM_JOB_NODELIST");
    const char *job = value("SLURM_JOB_ID"), *step = value("SLURM_STEP_ID");
    Names names = {"SLURM_PROCID", count, "SLURM_LOCALID", "SLURM_NTASKS_PER_NODE", false};
    bool there;
    if (!step || !value("SLURM_PROCID")) return status_ok(); // a batch script itself is no task
    STATUS_TRY(read_names(&names, l, &there));
    if (!l->host[0] && nodes && !launch_first_host(nodes, l->host, sizeof l->host))
        return status_make(STATUS_INVALID, "environment: SLURM_STEP_NODELIST=%.100s has no first host", nodes);
    if (!l->port && job) // the same for all, another for each step
        l->port = 20000 + (int)((strtoul(job, NULL, 10) * 64 + strtoul(step, NULL, 10)) % 12000);
    return status_ok();
}

static void choose_nonce(Launch *l) {
    static const char *const runs[] = {"TORCHELASTIC_RUN_ID", "PMIX_NAMESPACE", "SLURM_JOB_ID"};
    const char *nonce = value("TGF_NONCE");
    for (size_t i = 0; i < sizeof runs / sizeof *runs && !nonce; i++) nonce = value(runs[i]);
    snprintf(l->nonce, sizeof l->nonce, "%s", nonce ? nonce : "");
}

Status launch_times(Launch *l) {
    int seconds;
    l->timeout_ms = 60000;
    l->wait_ms = 1800000;
    if (value("TGF_TIMEOUT")) {
        STATUS_TRY(number("TGF_TIMEOUT", 1, 86400, &seconds));
        l->timeout_ms = seconds * (int64_t)1000;
    }
    if (value("TGF_COMM_TIMEOUT")) {
        STATUS_TRY(number("TGF_COMM_TIMEOUT", 0, 86400, &seconds));
        l->wait_ms = seconds * (int64_t)1000;
    }
    return status_ok();
}

Status launch_read(Launch *l) {
    bool there;
    *l = (Launch){.size = 1, .local = -1};
    STATUS_TRY(read_master(l));
    STATUS_TRY(read_names(&by_hand, l, &there));
    for (size_t i = 0; i < sizeof mpis / sizeof *mpis; i++) {
        Launch other = *l;
        bool also;
        STATUS_TRY(read_names(&mpis[i], &other, &also));
        if (also && l->by && (l->rank != other.rank || l->size != other.size))
            return status_make(STATUS_INVALID, "environment: %s says rank %d of %d, %s rank %d of %d", l->by, l->rank,
                               l->size, other.by, other.rank, other.size);
        if (also && !l->by) *l = other;
    }
    if (!l->by) STATUS_TRY(read_slurm(l));
    STATUS_TRY(launch_times(l));
    choose_nonce(l);
    if (l->by && !l->mpi && l->size > 1 && (!l->host[0] || !l->port))
        return status_make(STATUS_INVALID, "environment: %s is set, %s is not", l->by,
                           l->host[0] ? "MASTER_PORT" : "MASTER_ADDR");
    return status_ok();
}

// ---- the library of MPI ---------------------------------------------------------------------------------------------
#define MPI_LIBRARY "libtgf_mpi.so"

static void *open_library(const char *folder, size_t length, const char *below) {
    char path[4096 + 64];
    int n = snprintf(path, sizeof path, "%.*s%s/" MPI_LIBRARY, (int)length, folder, below);
    return n > 0 && (size_t)n < sizeof path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
}

static const char within; // an address of this file

static LaunchMpiFn *find_mpi(char *why, size_t size) {
    char program[4096];
    const char *folder = value("TGF_LIB");
    void *library = NULL;
    Dl_info at; // of the library that this is in, or of the program
    ssize_t n = readlink("/proc/self/exe", program, sizeof program);
    if (folder) library = open_library(folder, strlen(folder), "");
    while (n > 0 && program[n - 1] != '/') n--;
    if (!library && n > 0) library = open_library(program, (size_t)n - 1, "");
    if (!library && n > 0) library = open_library(program, (size_t)n - 1, "/../lib/tgf");
    const char *own = dladdr(&within, &at) && at.dli_fname ? strrchr(at.dli_fname, '/') : NULL;
    if (!library && own) library = open_library(at.dli_fname, (size_t)(own - at.dli_fname), "/tgf");
    if (library) {
        void *symbol = dlsym(library, "tgf_world_mpi");
        LaunchMpiFn *fn;
        _Static_assert(sizeof fn == sizeof symbol, "functions have addresses like data");
        memcpy(&fn, &symbol, sizeof fn);
        if (fn) return fn;
    }
    const char *error = dlerror();
    snprintf(why, size, "%s", error ? error : "it lacks tgf_world_mpi");
    return NULL;
}

static Status make_world(const Launch *l, World **out_world) {
    if (l->mpi) {
        char why[300] = "";
        LaunchMpiFn *make = find_mpi(why, sizeof why);
        if (make) return make(LAUNCH_MPI_ABI, l, out_world);
        if (l->mpi_comm)
            return status_make(STATUS_UNSUPPORTED,
                               "a communicator of MPI is given, and " MPI_LIBRARY " cannot be loaded (%.200s); it is "
                               "looked for in $TGF_LIB, beside the program, in ../lib/tgf and in tgf beside "
                               "libtgf_runtime.so",
                               why);
        if (!l->host[0] || !l->port)
            return status_make(STATUS_UNSUPPORTED,
                               "%s says %d processes, and " MPI_LIBRARY
                               " cannot be loaded (%.200s); MASTER_ADDR and MASTER_PORT let them talk over TCP",
                               l->by, l->size, why);
    }
    WorldTcpOptions o = {.rank = l->rank,
                         .size = l->size,
                         .local = l->local,
                         .locals = l->locals,
                         .host = l->host,
                         .port = l->port,
                         .nonce = l->nonce,
                         .timeout_ms = l->timeout_ms};
    return world_tcp_make(&o, out_world);
}

// ---- who shares a host ----------------------------------------------------------------------------------------------
typedef struct HostId { // of the kernel that runs
    char boot[40];
} HostId;

void launch_boot(char *out, size_t size) {
    memset(out, 0, size);
    FILE *f = fopen("/proc/sys/kernel/random/boot_id", "r");
    if (!f || !fgets(out, (int)size, f)) gethostname(out, size - 1);
    if (f) fclose(f);
}

static HostId host_id(void) {
    HostId id;
    launch_boot(id.boot, sizeof id.boot);
    return id;
}

Status launch_locals(const Launch *l, World *w) {
    HostId own = host_id(), *all = calloc((size_t)w->size, sizeof *all);
    int64_t *bytes_of = calloc((size_t)w->size, sizeof *bytes_of);
    Status s = all && bytes_of ? status_ok() : status_make(STATUS_MEMORY, "no memory for %d processes", w->size);
    for (int r = 0; r < w->size && !status_failed(&s); r++) bytes_of[r] = sizeof own;
    if (!status_failed(&s)) s = world_gather(w, -1, &own, bytes_of, all);
    int before = 0, here = 0;
    for (int r = 0; r < w->size && !status_failed(&s); r++) {
        bool same = !memcmp(&all[r], &own, sizeof own);
        before += same && r < w->rank;
        here += same;
    }
    w->local = l->local < 0 ? before : l->local;
    w->locals = l->locals ? l->locals : here;
    free(all);
    free(bytes_of);
    return s;
}

Status launch_world(const Launch *l, World **out_world) {
    *out_world = NULL;
    if (l->size == 1 && !l->mpi_comm) return status_ok();
    STATUS_TRY(make_world(l, out_world));
    (*out_world)->timeout_ms = l->wait_ms;
    Status s = launch_locals(l, *out_world);
    if (!status_failed(&s)) return s;
    world_abort(*out_world, &s);
    world_free(*out_world);
    *out_world = NULL;
    return s;
}
