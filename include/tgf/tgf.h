/* SPDX-License-Identifier: Apache-2.0
 *
 * tgf: train and run a compiled model from C or C++.
 *
 *     tgfc gpt2.tgf -o model.o --header model.h        makes the object and a header declaring tgf_model_gpt2
 *     cc main.c model.o $(pkg-config --cflags --libs tgf)
 *
 * Neither the compiler nor LLVM is needed to link or run.
 *
 * Ownership: what a function hands out through out_x belongs to the caller and goes back with the matching close; names
 * and shapes in a TgfTensor belong to the model. Arrays are the caller's, read or filled before the function returns.
 * Shapes: arrays are dense and row-major over the whole value, whatever mesh the model was compiled for: the runtime
 * gives each rank its part. Counts are elements.
 * Threads: one thread uses a model at a time, any thread; different models are independent. Ranks are threads of this
 * process, unless TgfOptions.processes says otherwise; the model starts its own.
 * Failures: every call says how it went; code 0 is success, message is for people. Nothing prints or exits.
 */
#ifndef TGF_TGF_H
#define TGF_TGF_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

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
typedef struct TgfOptions {
    int threads;  /* over all ranks; each rank has at least one. 0: one a processor */
    int32_t seed; /* of initialisation, dropout and the choice of batches */
    /* Not 0: this process is one rank of several, as the environment says (mpirun, torchrun, srun; docs/processes.md),
     * or alone if it says nothing. Then all processes make the same calls with the same arguments and get the same
     * results; rank 0's process reads and writes the checkpoints. One such model at a time. */
    int processes;
} TgfOptions;

/* All memory is taken here, steps take none. options may be NULL: all zero. */
TgfStatus tgf_open(const TgfModule *module, const TgfOptions *options, TgfModel **out_model);
void tgf_close(TgfModel *model); /* NULL is fine */

/* Parameters get values in one of three ways; before that, steps are refused. */
TgfStatus tgf_init(TgfModel *model);                           /* as the model says, from the seed; step 0 */
TgfStatus tgf_load(TgfModel *model, const char *folder);       /* goes on where tgf_save was; takes over its seed */
TgfStatus tgf_load_weights(TgfModel *model, const char *path); /* a safetensors file or a folder; step 0 */
TgfStatus tgf_save(TgfModel *model, const char *folder);       /* atomic: a kill leaves the old one or the new */

int tgf_has_checkpoint(const char *folder); /* whether tgf_save has written there */

/* One step of training on inputs `tokens` and `labels` (each as many ids as tgf_describe says). out_loss: the mean in
 * nats before the update; may be NULL. */
TgfStatus tgf_step(TgfModel *model, const int32_t *tokens, const int32_t *labels, float *out_loss);
/* The loss without an update and without dropout. */
TgfStatus tgf_eval(TgfModel *model, const int32_t *tokens, const int32_t *labels, float *out_loss);
int64_t tgf_steps(const TgfModel *model); /* finished */
int32_t tgf_seed(const TgfModel *model);

/* ---- by name ---------------------------------------------------------------------------------------------------- */
/* Any model: set the inputs a function reads, run it, get its outputs. Functions: "init", "train", "eval" and, for
 * models that name their logits, "predict". `step` and `seed` are set by the runtime. A run of "train" is a step. */
TgfStatus tgf_set_input(TgfModel *model, const char *name, TgfType type, const void *values, int64_t count);
TgfStatus tgf_run(TgfModel *model, const char *function);
TgfStatus tgf_get_output(TgfModel *model, const char *name, TgfType type, void *out_values, int64_t count);
TgfStatus tgf_get(TgfModel *model, TgfKind kind, const char *name, TgfType type, void *out_values, int64_t count);
TgfStatus tgf_set(TgfModel *model, TgfKind kind, const char *name, TgfType type, const void *values, int64_t count);

int tgf_count(const TgfModel *model, TgfKind kind);
TgfStatus tgf_describe(const TgfModel *model, TgfKind kind, const char *name, TgfTensor *out_tensor);
TgfStatus tgf_describe_at(const TgfModel *model, TgfKind kind, int index, TgfTensor *out_tensor);

/* ---- training data ---------------------------------------------------------------------------------------------- */
/* Any file as bytes (vocabulary 256); `.bin`: the 16-bit token files of llm.c and nanoGPT. */
TgfStatus tgf_data_open(const char *path, TgfData **out_data);
void tgf_data_close(TgfData *data);          /* NULL is fine */
int64_t tgf_data_count(const TgfData *data); /* tokens */
/* `batch` rows of `seq` tokens begun at random, labels one token further: a function of seed and step alone. Each array
 * has batch * seq elements. */
TgfStatus tgf_data_batch(const TgfData *data, int32_t seed, int64_t step, int64_t batch, int64_t seq,
                         int32_t *out_tokens, int32_t *out_labels);

#ifdef __cplusplus
}
#endif
#endif
