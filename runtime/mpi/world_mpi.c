// SPDX-License-Identifier: Apache-2.0
// world_mpi: notes and transfers are nonblocking messages of two tags. MPI wakes nobody: who waits looks again and
// again, and sleeps longer the longer nothing comes. Of a process that dies MPI says nothing here; mpirun does, and
// ends the others.
#include "runtime/mpi/world_mpi.h"
#include "base/clock.h"
#include "runtime/launch.h"
#include <limits.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    TAG_NOTE = 1,
    TAG_DATA = 2,
    NOTES = 8, // receives of notes that are posted at a time
    YIELDS = 200,
    SLEEP_LEAST_NS = 20000,
    SLEEP_MOST_NS = 400000,
    FLUSH_MS = 1000,
    LAST_WORDS_MS = 500
};
static const int BLOCK = 1 << 20;

typedef struct NoteSend {
    struct NoteSend *next;
    MPI_Request request;
    int64_t data[];
} NoteSend;

typedef struct Active { // a transfer under way
    WorldTransfer *transfer;
    MPI_Request request;
} Active;

typedef struct Mpi {
    World world;
    MPI_Comm comm;
    bool owns; // MPI was begun here
    int64_t *note[NOTES];
    MPI_Request note_request[NOTES];
    int next_note;
    NoteSend *sends;
    Active *active;
    int nactive, room;
    Status broken; // found where no status can be returned
} Mpi;

static Status mpi_status(int rc, const char *what) {
    char text[MPI_MAX_ERROR_STRING] = "";
    int n;
    if (rc == MPI_SUCCESS) return status_ok();
    MPI_Error_string(rc, text, &n);
    return status_make(STATUS_COMM, "%s: %.300s", what, text);
}

static void note_trouble(Mpi *m, Status s) {
    if (status_failed(&s) && !status_failed(&m->broken)) m->broken = s;
}

// ---- notes ----------------------------------------------------------------------------------------------------------
static void mpi_note(World *w, int to, const void *data, int bytes) {
    Mpi *m = (Mpi *)w;
    NoteSend *n = malloc(sizeof *n + (size_t)bytes);
    if (!n) {
        note_trouble(m, status_make(STATUS_MEMORY, "no memory for a note"));
        return;
    }
    memcpy(n->data, data, (size_t)bytes);
    int rc = MPI_Isend(n->data, bytes, MPI_BYTE, to, TAG_NOTE, m->comm, &n->request);
    if (rc != MPI_SUCCESS) {
        note_trouble(m, mpi_status(rc, "MPI_Isend"));
        free(n);
        return;
    }
    n->next = m->sends;
    m->sends = n;
}

static Status free_sent(Mpi *m) {
    for (NoteSend **at = &m->sends; *at;) {
        NoteSend *n = *at;
        int done = 0;
        STATUS_TRY(mpi_status(MPI_Test(&n->request, &done, MPI_STATUS_IGNORE), "MPI_Test"));
        if (!done) {
            at = &n->next;
            continue;
        }
        *at = n->next;
        free(n);
    }
    return status_ok();
}

static Status post_note(Mpi *m, int i) {
    return mpi_status(
        MPI_Irecv(m->note[i], WORLD_NOTE, MPI_BYTE, MPI_ANY_SOURCE, TAG_NOTE, m->comm, &m->note_request[i]),
        "MPI_Irecv");
}

// In the order they were posted, which is the order in which each process's notes fill them.
static Status take_notes(Mpi *m, bool *out_moved) {
    for (;;) {
        int i = m->next_note, done = 0, bytes;
        MPI_Status s;
        STATUS_TRY(mpi_status(MPI_Test(&m->note_request[i], &done, &s), "MPI_Test"));
        if (!done) return status_ok();
        *out_moved = true;
        MPI_Get_count(&s, MPI_BYTE, &bytes);
        world_deliver(&m->world, s.MPI_SOURCE, m->note[i], bytes);
        STATUS_TRY(post_note(m, i));
        m->next_note = (i + 1) % NOTES;
    }
}

// ---- transfers ------------------------------------------------------------------------------------------------------
// A type of more bytes than an int counts.
static int large_type(int64_t bytes, MPI_Datatype *out_type) {
    MPI_Datatype block, blocks, parts[2];
    int64_t whole = bytes / BLOCK, rest = bytes % BLOCK;
    MPI_Type_contiguous(BLOCK, MPI_BYTE, &block);
    MPI_Type_contiguous((int)whole, block, &blocks);
    parts[0] = blocks;
    parts[1] = MPI_BYTE;
    int rc =
        MPI_Type_create_struct(2, (int[]){1, (int)rest}, (MPI_Aint[]){0, (MPI_Aint)(whole * BLOCK)}, parts, out_type);
    MPI_Type_free(&block);
    MPI_Type_free(&blocks);
    return rc == MPI_SUCCESS ? MPI_Type_commit(out_type) : rc;
}

static void mpi_begin(World *w, WorldTransfer *t) {
    Mpi *m = (Mpi *)w;
    t->moved = 0;
    t->done = t->bytes == 0;
    if (t->done) return;
    if (m->nactive == m->room) {
        int room = m->room * 2 + 16;
        Active *active = realloc(m->active, sizeof *active * (size_t)room);
        if (!active) {
            note_trouble(m, status_make(STATUS_MEMORY, "no memory for a transfer"));
            return;
        }
        m->active = active;
        m->room = room;
    }
    Active *a = &m->active[m->nactive];
    MPI_Datatype type = MPI_BYTE;
    bool large = t->bytes > INT_MAX;
    int count = large ? 1 : (int)t->bytes, rc = large ? large_type(t->bytes, &type) : MPI_SUCCESS;
    if (rc == MPI_SUCCESS)
        rc = t->sends ? MPI_Isend(t->data, count, type, t->peer, TAG_DATA, m->comm, &a->request)
                      : MPI_Irecv(t->data, count, type, t->peer, TAG_DATA, m->comm, &a->request);
    if (large && rc == MPI_SUCCESS) MPI_Type_free(&type);
    if (rc != MPI_SUCCESS) {
        note_trouble(m, mpi_status(rc, t->sends ? "MPI_Isend" : "MPI_Irecv"));
        return;
    }
    a->transfer = t;
    m->nactive++;
}

static void mpi_cancel(World *w, WorldTransfer *t) {
    Mpi *m = (Mpi *)w;
    for (int i = 0; i < m->nactive; i++) {
        if (m->active[i].transfer != t) continue;
        MPI_Cancel(&m->active[i].request);
        MPI_Wait(&m->active[i].request, MPI_STATUS_IGNORE);
        m->active[i] = m->active[--m->nactive];
        break;
    }
    t->done = true;
}

static Status move_transfers(Mpi *m, bool *out_moved) {
    for (int i = m->nactive - 1; i >= 0; i--) {
        int done = 0;
        STATUS_TRY(mpi_status(MPI_Test(&m->active[i].request, &done, MPI_STATUS_IGNORE), "MPI_Test"));
        if (!done) continue;
        m->active[i].transfer->moved = m->active[i].transfer->bytes;
        m->active[i].transfer->done = true;
        m->active[i] = m->active[--m->nactive];
        *out_moved = true;
    }
    return status_ok();
}

// ---- progress -------------------------------------------------------------------------------------------------------
static Status look(Mpi *m, bool *out_moved) {
    STATUS_TRY(m->broken);
    STATUS_TRY(take_notes(m, out_moved));
    STATUS_TRY(move_transfers(m, out_moved));
    return free_sent(m);
}

static Status mpi_progress(World *w, int64_t wait_ms, bool *out_moved) {
    Mpi *m = (Mpi *)w;
    long pause = SLEEP_LEAST_NS;
    int64_t until = now_ms() + wait_ms;
    *out_moved = false;
    for (int i = 0;; i++) {
        STATUS_TRY(look(m, out_moved));
        if (*out_moved || now_ms() >= until) return status_ok();
        if (i < YIELDS) {
            sched_yield();
            continue;
        }
        nanosleep(&(struct timespec){.tv_nsec = pause}, NULL);
        if (pause < SLEEP_MOST_NS) pause += pause / 2;
    }
}

// ---- ends -----------------------------------------------------------------------------------------------------------
// After a failure MPI is not ended: that would wait for those who are gone. Its requests stay as they are.
static void mpi_free(World *w, bool clean) {
    Mpi *m = (Mpi *)w;
    int64_t until = now_ms() + FLUSH_MS;
    Status s = status_ok();
    while (m->comm != MPI_COMM_NULL && m->sends && !status_failed(&s) && now_ms() < until) {
        s = free_sent(m);
        sched_yield();
    }
    clean = clean && !m->sends && !m->nactive && !status_failed(&s);
    if (!clean && m->comm != MPI_COMM_NULL) { // mpirun kills the others once this process has ended: they may say why
        nanosleep(&(struct timespec){.tv_nsec = LAST_WORDS_MS * 1000000L}, NULL);
        world_end(w);
        return; // the memory is MPI's still
    }
    for (int i = 0; i < NOTES; i++) {
        if (m->note_request[i] != MPI_REQUEST_NULL) {
            MPI_Cancel(&m->note_request[i]);
            MPI_Wait(&m->note_request[i], MPI_STATUS_IGNORE);
        }
        free(m->note[i]);
    }
    if (m->comm != MPI_COMM_NULL) MPI_Comm_free(&m->comm);
    if (m->owns) MPI_Finalize();
    free(m->active);
    world_end(w);
    free(m);
}

static const WorldVtable mpi_vtable = {"mpi", mpi_note, mpi_begin, mpi_cancel, mpi_progress, mpi_free};

Status world_mpi_make(const MPI_Comm *comm, int local, int locals, World **out_world) {
    int rank, size, provided, running;
    *out_world = NULL;
    Mpi *m = calloc(1, sizeof *m);
    if (!m) return status_make(STATUS_MEMORY, "no memory for a run over MPI");
    m->comm = MPI_COMM_NULL;
    for (int i = 0; i < NOTES; i++) m->note_request[i] = MPI_REQUEST_NULL;
    Status s = mpi_status(MPI_Initialized(&running), "MPI_Initialized");
    if (!status_failed(&s) && !running) {
        s = mpi_status(MPI_Init_thread(NULL, NULL, MPI_THREAD_SERIALIZED, &provided), "MPI_Init_thread");
        m->owns = !status_failed(&s);
    }
    MPI_Comm from = comm ? *comm : MPI_COMM_WORLD;
    if (!status_failed(&s)) s = mpi_status(MPI_Comm_dup(from, &m->comm), "MPI_Comm_dup");
    if (!status_failed(&s)) {
        MPI_Comm_set_errhandler(m->comm, MPI_ERRORS_RETURN);
        MPI_Comm_rank(m->comm, &rank);
        MPI_Comm_size(m->comm, &size);
        s = world_init(&m->world, &mpi_vtable, rank, size, local, locals);
    }
    for (int i = 0; i < NOTES && !status_failed(&s); i++) {
        m->note[i] = malloc(WORLD_NOTE);
        s = m->note[i] ? post_note(m, i) : status_make(STATUS_MEMORY, "no memory for notes");
    }
    if (status_failed(&s)) mpi_free(&m->world, true);
    else *out_world = &m->world;
    return s;
}

// The caller's own.
static Status take_communicator(const Launch *l, World **out_world) {
    int running, ended, between = 0, level = 0, is_main = 0;
    const MPI_Comm *comm = l->mpi_comm;
    MPI_Initialized(&running);
    MPI_Finalized(&ended);
    if (!running || ended)
        return status_make(STATUS_INVALID, "a communicator of MPI is given, and MPI %s (as libtgf_mpi.so sees it)",
                           ended ? "has ended" : "has not begun");
    MPI_Query_thread(&level);
    MPI_Is_thread_main(&is_main);
    if (!is_main && level < MPI_THREAD_SERIALIZED)
        return status_make(STATUS_INVALID, "MPI was begun without MPI_THREAD_SERIALIZED, and this is not the thread "
                                           "that began it");
    if (*comm == MPI_COMM_NULL)
        return status_make(STATUS_INVALID, "the communicator is MPI_COMM_NULL: this process has no part in it");
    STATUS_TRY(mpi_status(MPI_Comm_test_inter(*comm, &between), "MPI_Comm_test_inter"));
    if (between) return status_make(STATUS_INVALID, "the communicator is one between two groups of processes");
    return world_mpi_make(comm, l->local, l->locals, out_world);
}

Status tgf_world_mpi(int abi, const Launch *l, World **out_world);
Status tgf_world_mpi(int abi, const Launch *l, World **out_world) {
    *out_world = NULL;
    if (abi != LAUNCH_MPI_ABI)
        return status_make(STATUS_UNSUPPORTED, "libtgf_mpi.so is of version %d, this program needs %d", LAUNCH_MPI_ABI,
                           abi);
    if (l->mpi_comm) return take_communicator(l, out_world);
    STATUS_TRY(world_mpi_make(NULL, l->local, l->locals, out_world));
    World *w = *out_world;
    if (w->size == l->size && w->rank == l->rank) return status_ok();
    Status s = status_make(STATUS_INVALID,
                           "%s says rank %d of %d, the MPI that libtgf_mpi.so was built for sees rank %d of %d", l->by,
                           l->rank, l->size, w->rank, w->size);
    *out_world = NULL;
    world_free(w);
    return s;
}
