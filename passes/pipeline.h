// SPDX-License-Identifier: Apache-2.0
// pipeline: the parts of the pipeline pass (pipeline.c says what it does).
#pragma once
#include "ir/pipeline.h"
#include "passes/layout.h"

// When in a function a task runs. Tasks of one phase run for every microbatch (PREPARE to WEIGHT) or once.
enum {
    PHASE_PREPARE = 1, // sums over the batch that the main loop needs whole, such as the number of labels
    PHASE_BETWEEN,     // what follows from them, once
    PHASE_FORWARD,     // the main loop: a chunk's forward half; everything where there are no stages
    PHASE_BACKWARD,    // its backward half; with the model's head at the last chunk
    PHASE_WEIGHT,      // gradients of parameters, where a schedule does them apart
    PHASE_SUMS,        // sums that another chunk needs are sent
    PHASE_AFTER        // + level: once, behind the main loop; between two levels all stages meet in a rank's own task
};

// Sets of chunks by their place in the model. With one chunk it is both first and last.
typedef unsigned Roles;
enum { ROLE_FIRST = 1, ROLE_MIDDLE = 2, ROLE_LAST = 4 };

// What the pass knows of a value of the function being cut.
typedef struct Fact {
    bool timed;   // differs between microbatches
    bool pending; // a sum over microbatches, of which each has its part
    bool born;    // pending, and no operand of its node is: its parts are added up in a buffer where it is made
    bool free;    // not timed, from parameters, states, untimed inputs and constants alone: any task can make it
    bool bare;    // free, and not even from parameters or states
    bool cheap;   // timed, from inputs and constants alone by elementwise ops: any task of a microbatch can make it
    bool between; // not timed, from sums of PHASE_PREPARE
    bool meets;   // the sum over chunks, or a number one chunk knows and others need: all stages meet to make it
    bool known;   // the rank's own task can make it: from what has met and what is free
    bool spread;  // has the axis of layers: each chunk has its own part
    Roles home;   // chunks that make it
    int phase;    // timed: when; else PHASE_AFTER + level
} Fact;

static inline bool fact_in_loop(const Fact *f) { return f->timed && (!f->pending || f->born); } // once a microbatch
// The level behind the loop from which the value is there; what `meets` is there one later.
static inline int fact_level(const Fact *f) { return f->phase >= PHASE_AFTER ? f->phase - PHASE_AFTER : 0; }

// A buffer that a value travels through from chunk to chunk.
typedef enum Way {
    WAY_NEXT,
    WAY_PREVIOUS,
    WAY_FIRST,
    WAY_LAST
} Way; // c to c+1, c to c-1, from the first, from the last
typedef struct Route {
    Way way;
    Roles to; // FIRST and LAST: who receives
    int phase;
    Str from_buffer, to_buffer;
} Route;

// What later tasks ask of a task: a value in a buffer.
typedef struct Want {
    Value *value;
    Roles who;
    int phase;
    Str buffer;
    Section section;
    bool zero; // the buffer is zero when the function begins
    bool add;  // the value is added to what is there
} Want;

typedef struct Task {
    struct Cut *cut;
    Func *func;
    int variant, phase; // variant -1: the rank's own
    Roles is;
    Value **map;    // by id in the function being cut
    Value **onward; // what the pipelined repeat of this task carries on to the next chunk
} Task;

typedef struct Cut {
    Unit *u;
    Func *from;
    Pipeline *p;
    Arena *a; // scratch
    MeshSet time, stages;
    const Axis *axis;               // the pipelined one, or NULL
    Roles all;                      // roles that some chunk has
    const Node *forward, *backward; // the pipelined repeats, or NULL
    Node *weight;                   // the half of `backward` that makes gradients of parameters, or NULL
    Fact *fact;                     // by value id
    int *uses;                      // of each value
    bool roomy;                     // what goes from chunk to chunk has a buffer in every slot
    int levels;                     // PHASE_AFTER + 0 ... levels - 1
    Vec(Want) wants;
    Vec(Route) routes;
    Vec(Value *) relayed; // from the last chunk back to the first, from one to the next with the gradients
    Vec(Task *) tasks;
    int first_func; // of the tasks, in the unit
    bool ok;
} Cut;

// ---- pipeline_facts.c: what each value is, and where and when it is made. False after a diagnostic.
bool cut_facts(Cut *c);
// Which chunks hold a parameter, by where the functions' loops use it; all functions together.
typedef struct Holder {
    Str name;
    Roles who;
} Holder;
typedef struct Holders {
    Vec(Holder) list;
} Holders;
void cut_holders(const Cut *c, Holders *h);
Roles holders_of(const Holders *h, Str param, Roles all);

// ---- pipeline_tasks.c: the tasks of one function, added to the unit.
bool cut_tasks(Cut *c, const Holders *h);

// ---- pipeline_halves.c: the backward repeat in two, input gradients and weight gradients (c->weight), before the
// facts.
bool cut_halves(Cut *c);

// ---- pipeline_steps.c: the order in which each stage runs them. Sets the chunks' slots.
bool cut_steps(Cut *c, const Schedule *schedule, StepList *out_list);
// Is it enough that a chunk has one buffer for what it sends, and one for what it receives? A stage then waits with the
// next microbatch until the one before has been taken.
bool cut_single_buffers(const Schedule *schedule, Arena *scratch);
Roles chunk_roles(const Pipeline *p, int chunk);

// ---- pipeline_check.c: nobody waits for ever, nothing is overwritten or stale. False after saying so.
bool pipeline_check(Unit *u, const StepList *list);
