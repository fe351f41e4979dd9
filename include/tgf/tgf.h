/* SPDX-License-Identifier: Apache-2.0
 *
 * tgf: train and run a compiled model from C or C++.
 *
 *     tgfc gpt2.tgf -o gpt2.o --header gpt2.h          makes the object and a header with gpt2_open, gpt2_step, ...
 *     cc main.c gpt2.o $(pkg-config --cflags --libs tgf)
 *
 * The generated header has the model's own names and types; it is a thin layer over what is declared here, which works
 * for any model. docs/interface.md walks through both. Neither the compiler nor LLVM is needed to link or run.
 *
 * Ownership: what a function hands out through out_x belongs to the caller and goes back with the matching close; names
 * and shapes in a TgfTensor belong to the model. Arrays are the caller's, read or filled before the function returns,
 * but for those that tgf_bind was given.
 * Shapes: arrays are dense and row-major over the whole value, whatever mesh the model was compiled for: the runtime
 * gives each rank its part. Counts are elements.
 * Units: losses are in nats, times in seconds, memory in bytes.
 * Threads: one thread uses a model at a time, any thread; different models are independent. Ranks are threads of this
 * process, unless TgfOptions says otherwise; the model starts its own. Callbacks run on the thread that called.
 * Failures: every call says how it went; code 0 is success, message is for people. Nothing prints or exits.
 */
#ifndef TGF_TGF_H
#define TGF_TGF_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Of what this file declares. A program, the generated headers it includes and the runtime it links have the same. */
#define TGF_ABI 1
int tgf_abi(void);             /* of the linked runtime */
const char *tgf_version(void); /* "0.1.0" */

typedef struct PlanModule TgfModule; /* what model.o exports */
typedef struct TgfModel TgfModel;
typedef struct TgfData TgfData;

typedef enum TgfCode {
    TGF_OK = 0,
    TGF_INVALID,     /* an argument, a name, a shape */
    TGF_CORRUPT,     /* a file that is not what it says it is */
    TGF_IO,          /* the system refused */
    TGF_MEMORY,      /* not enough memory */
    TGF_UNSUPPORTED, /* not known to this version */
    TGF_RANGE,       /* a token id outside the vocabulary */
    TGF_COMM,        /* a collective failed */
    TGF_INTERNAL     /* a bug */
} TgfCode;

typedef struct TgfStatus {
    TgfCode code;
    char message[500];
} TgfStatus;
const char *tgf_code_name(TgfCode code); /* "invalid" */

typedef enum TgfType { TGF_BOOL, TGF_I32, TGF_F32, TGF_F64, TGF_BF16, TGF_F16 } TgfType;
typedef enum TgfKind { TGF_PARAMETER, TGF_STATE, TGF_INPUT, TGF_OUTPUT } TgfKind;

enum { TGF_RANK = 12 };
typedef struct TgfTensor {
    const char *name;
    TgfType type;
    int rank;
    const char *axis[TGF_RANK];
    int64_t extent[TGF_RANK];
    int64_t count; /* elements: the product of the extents */
} TgfTensor;

/* ---- a model ---------------------------------------------------------------------------------------------------- */
/* Bytes for a rank's slab (TgfMemory.planned), with an address that is a multiple of alignment; NULL: there are none.
 * Asked for by tgf_open, one rank after the other, and given back by tgf_close. The runtime clears it. */
typedef void *TgfAllocateFn(void *user, int64_t bytes, int64_t alignment, int rank);
typedef void TgfReleaseFn(void *user, void *memory, int64_t bytes, int rank);

typedef enum TgfLevel {
    TGF_NOTE,   /* opened, loaded, saved, closed */
    TGF_STEP,   /* a step of tgf_loop */
    TGF_WARNING /* goes on, and somebody should know */
} TgfLevel;
/* One line without its end. With processes, each has its own messages. */
typedef void TgfLogFn(void *user, TgfLevel level, const char *message);

/* Begin with tgf_options(), or in C with .size = sizeof(TgfOptions): later versions have more members, and what a
 * program does not know of is zero. All but size may be zero. */
typedef struct TgfOptions {
    size_t size;  /* sizeof(TgfOptions) */
    int threads;  /* over all ranks; each rank has at least one. 0: one a processor */
    int32_t seed; /* of initialisation, dropout and the choice of batches */

    /* Where the ranks are. Nothing: threads of this process. At most one of processes, mpi and host; each means that
     * this process is one rank of several. Then all of them make the same calls with the same arguments and get the
     * same results; rank 0's process reads and writes the checkpoints. docs/processes.md. */
    int processes;      /* not 0: as the environment says (mpirun, torchrun, srun), or alone if it says nothing. One
                           such model at a time */
    const void *mpi;    /* address of an MPI_Comm: all its processes open the model. It is copied (MPI_Comm_dup); MPI
                           runs, and runs until the model is closed, with MPI_THREAD_SERIALIZED where another thread
                           than the main one uses the model. Needs libtgf_mpi.so of the same MPI */
    const char *host;   /* TCP: name or address of rank 0's machine, with port, rank, ranks */
    int port;           /* where rank 0 listens */
    const char *secret; /* who does not know it is not let in; NULL: "" */
    int rank, ranks;    /* this process's rank and how many there are: of host, and of nccl alone; else 0 or as there */
    /* An ncclComm_t of all ranks, this process's; the GPU it is of is the rank's. What the model needs is split off
     * (ncclCommSplit), the communicator itself stays the caller's. Alone it also tells the processes of each other;
     * beside processes, mpi or host only the GPUs use it. Models for GPUs only. */
    void *nccl;

    /* The slab's memory: both or none. CPUs only. */
    TgfAllocateFn *allocate;
    TgfReleaseFn *release;
    void *memory_user;

    TgfLogFn *log; /* NULL: nothing is said */
    void *log_user;
} TgfOptions;

static inline TgfOptions tgf_options(void) {
#ifdef __cplusplus
    TgfOptions options = {};
#else
    TgfOptions options = {0};
#endif
    options.size = sizeof options;
    return options;
}

/* What a generated header knows of the object it was made with. */
typedef struct TgfHeader {
    int32_t abi;          /* TGF_ABI of the tgf.h it was compiled with */
    int32_t object;       /* version of the object's format */
    uint64_t hash;        /* of model, strategy and compiler */
    const char *model;    /* "gpt2" */
    const char *compiler; /* "tgfc 0.1.0" */
} TgfHeader;

/* All memory is taken here, steps take none. options may be NULL: all zero. */
TgfStatus tgf_open(const TgfModule *module, const TgfOptions *options, TgfModel **out_model);
/* The same for a generated header: TGF_UNSUPPORTED, naming both, when it was made for another runtime, TGF_INVALID when
 * it was made with another object than the linked one. */
TgfStatus tgf_open_header(const TgfModule *module, const TgfHeader *header, const TgfOptions *options,
                          TgfModel **out_model);
void tgf_close(TgfModel *model); /* NULL is fine */

/* Parameters get values in one of three ways; before that, steps are refused. */
TgfStatus tgf_init(TgfModel *model);                           /* as the model says, from the seed; step 0 */
TgfStatus tgf_load(TgfModel *model, const char *folder);       /* goes on where tgf_save was; takes over its seed */
TgfStatus tgf_load_weights(TgfModel *model, const char *path); /* a safetensors file or a folder; step 0 */
TgfStatus tgf_save(TgfModel *model, const char *folder);       /* atomic: a kill leaves the old one or the new */

int tgf_has_checkpoint(const char *folder); /* whether tgf_save has written there */

/* For models whose inputs are `tokens` and `labels`: one step of training on them (each as many ids as tgf_describe
 * says). out_loss: the mean in nats before the update; may be NULL. */
TgfStatus tgf_step(TgfModel *model, const int32_t *tokens, const int32_t *labels, float *out_loss);
/* The loss without an update and without dropout. */
TgfStatus tgf_eval(TgfModel *model, const int32_t *tokens, const int32_t *labels, float *out_loss);
int64_t tgf_steps(const TgfModel *model); /* finished */
int32_t tgf_seed(const TgfModel *model);

/* ---- ranks ------------------------------------------------------------------------------------------------------- */
int tgf_ranks(const TgfModel *model);
int tgf_rank(const TgfModel *model);      /* the first that this process runs */
int tgf_mesh_axes(const TgfModel *model); /* ranks are numbered over them row-major: the last axis runs fastest */
TgfStatus tgf_mesh_axis(const TgfModel *model, int index, const char **out_name, int64_t *out_extent);

typedef struct TgfMemory { /* bytes of one rank */
    int64_t planned;       /* of the slab, as compiled: parameters, states, gradients, activations, all there is */
    int64_t slab, scratch; /* taken: the slab, and beside it what its threads need */
    int64_t host;          /* of its host, beside the slab: what the strategy offloads */
} TgfMemory;
TgfStatus tgf_memory(const TgfModel *model, int rank, TgfMemory *out_memory);

/* ---- by name ---------------------------------------------------------------------------------------------------- */
/* Any model: set the inputs a function reads, run it, get its outputs. Functions: "init", "train", "eval" and, for
 * models that name their logits, "predict". `step` and `seed` are set by the runtime. A run of "train" is a step. */
TgfStatus tgf_set_input(TgfModel *model, const char *name, TgfType type, const void *values, int64_t count);
TgfStatus tgf_run(TgfModel *model, const char *function);
TgfStatus tgf_get_output(TgfModel *model, const char *name, TgfType type, void *out_values, int64_t count);
TgfStatus tgf_get(TgfModel *model, TgfKind kind, const char *name, TgfType type, void *out_values, int64_t count);
TgfStatus tgf_set(TgfModel *model, TgfKind kind, const char *name, TgfType type, const void *values, int64_t count);

typedef struct TgfInput {
    const char *name;
    TgfType type;
    int64_t count;
    const void *values;
} TgfInput;
TgfStatus tgf_set_inputs(TgfModel *model, const TgfInput *inputs, int n); /* copies */
/* From now on each run of a function reads these arrays, as they are then; they must live and not change during a run.
 * An input set otherwise is no longer bound, nor is one whose values are NULL here. */
TgfStatus tgf_bind(TgfModel *model, const TgfInput *inputs, int n);
/* Copies the inputs, runs, and reads an output unless out_values is NULL. */
TgfStatus tgf_apply(TgfModel *model, const char *function, const TgfInput *inputs, int n, const char *output,
                    TgfType type, void *out_values, int64_t count);

int tgf_count(const TgfModel *model, TgfKind kind);
TgfStatus tgf_describe(const TgfModel *model, TgfKind kind, const char *name, TgfTensor *out_tensor);
TgfStatus tgf_describe_at(const TgfModel *model, TgfKind kind, int index, TgfTensor *out_tensor);

typedef struct TgfPlacement { /* of a tensor on one rank */
    int64_t bytes;            /* there, padding included; 0: other stages hold it */
    int64_t local[TGF_RANK];  /* places along each axis */
    uint32_t split[TGF_RANK]; /* of each axis: bit i for mesh axis i */
    uint32_t replicated;      /* mesh axes along which ranks hold equal copies */
    int host;                 /* not 0: in the memory of the rank's host */
} TgfPlacement;
/* rank: any; the placement of others is known everywhere. TGF_RANGE: no such rank. */
TgfStatus tgf_place(const TgfModel *model, TgfKind kind, const char *name, int rank, TgfPlacement *out_placement);

/* ---- training data ---------------------------------------------------------------------------------------------- */
/* Any file as bytes (vocabulary 256); `.bin`: the 16-bit token files of llm.c and nanoGPT. */
TgfStatus tgf_data_open(const char *path, TgfData **out_data);
void tgf_data_close(TgfData *data);          /* NULL is fine */
int64_t tgf_data_count(const TgfData *data); /* tokens */
/* `batch` rows of `seq` tokens begun at random, labels one token further: a function of seed and step alone. Each array
 * has batch * seq elements. */
TgfStatus tgf_data_batch(const TgfData *data, int32_t seed, int64_t step, int64_t batch, int64_t seq,
                         int32_t *out_tokens, int32_t *out_labels);

/* ---- training -----------------------------------------------------------------------------------------------------
 */
typedef struct TgfProgress { /* a finished step; numbers the model does not give are NaN */
    int64_t step, steps;     /* 1 for the first; of how many */
    double loss, lr, grad_norm;
    double seconds;           /* of this step, its batch included */
    double tokens_per_second; /* 0: no input `tokens` */
    int64_t slab_bytes;       /* of the largest rank */
    int64_t skipped;          /* steps since the first whose gradients were beyond f16 */
} TgfProgress;

/* Sets or binds the inputs of step `step` (0 for the first). *out_stop not 0: there is no such step, the loop ends. */
typedef TgfStatus TgfBatchFn(void *user, TgfModel *model, int64_t step, int *out_stop);
/* After a step. May run "eval", save, or set *out_stop. */
typedef TgfStatus TgfStepFn(void *user, TgfModel *model, const TgfProgress *progress, int *out_stop);

/* As TgfOptions: begin with tgf_training(), or in C with .size = sizeof(TgfLoop). */
typedef struct TgfLoop {
    size_t size;
    int64_t steps; /* ends when tgf_steps is this */
    /* Batches come from one of three: */
    TgfBatchFn *batch;   /* the caller */
    const TgfData *data; /* a file, drawn with the model's seed as `tgf train` does; inputs tokens and labels */
    /* neither: what is bound is read again at each step */
    TgfStepFn *on_step; /* NULL: none */
    void *user;         /* of both */
    const char *save;   /* folder, at the end and every save_every steps; NULL: nowhere */
    int64_t save_every; /* 0: at the end */
} TgfLoop;

static inline TgfLoop tgf_training(void) {
#ifdef __cplusplus
    TgfLoop loop = {};
#else
    TgfLoop loop = {0};
#endif
    loop.size = sizeof loop;
    return loop;
}

/* Steps of training until there are loop->steps, or a callback stops or fails: its status is returned. A loss that is
 * not a number is TGF_RANGE. With processes the loop stops for all when it stops for one. */
TgfStatus tgf_loop(TgfModel *model, const TgfLoop *loop);

#ifdef __cplusplus
}
#endif
#endif
