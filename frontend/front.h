// SPDX-License-Identifier: Apache-2.0
// front: what the stages of the frontend share: the program put together from its files, and the checks' entries.
// Stages, in order, each ending with "any errors? stop":  load (files) -> check_names -> check_axes -> check_recipe,
// check_strategies -> build_functions -> check_splits.
#pragma once
#include "frontend/ast.h"
#include "frontend/frontend.h"

typedef Vec(BlockDecl *) BlockDecls;
typedef Vec(StrategyDecl *) StrategyDecls;
typedef Vec(Strategy *) Strategies;

struct Front {
    const FrontendOptions *options;
    Arena *arena;
    StrTable *strs;
    Diag *diag;
    Vec(const Source *) sources;
    const Source *std;       // std.tgf, which is not in them
    Vec(const char *) files; // read from disk
    AxisDecls axes;
    BlockDecls blocks;
    ModelDecl *model;
    StrategyDecls strategy_decls;
    TrainDecl *train;
    Unit *unit;
    Recipe *recipe;        // NULL: none declared
    Strategies strategies; // as many as declared
    bool in_batch;         // batch is being evaluated
};

bool load_program(Front *f);
// What a file means by a path in it: relative to its own folder.
const char *path_joined(Arena *a, const char *of_file, const char *path);
// A block by name: of the program, else of std.tgf; std.tgf itself sees only its own.
BlockDecl *front_block(const Front *f, Str name, bool from_std);

void check_names(Front *f);
void check_axes(Front *f);
void check_recipe(Front *f);
void check_no_decay(Front *f); // after building: names of parameters
void check_strategies(Front *f);
void check_precision(Front *f, const Line *l, Strategy *s); // a `precision` line
// Lines `recompute` and `memory`, and what the two ask of each other.
void strategy_recompute(Front *f, Strategy *s, const Line *l);
void strategy_memory(Front *f, Strategy *s, const Line *l);
// check_offload.c: offload optimizer, activations to host
void strategy_offload(Front *f, Strategy *s, const Line *l);
void strategy_check_offload(Front *f, const Strategy *s);
AttentionKind strategy_attention(Front *f, const Line *l); // `attention = ring` of a split line
void strategy_split_keys(Front *f, Strategy *s);           // after building: what that line says of the keys' axis
void strategy_check_recompute(Front *f, const Strategy *s);
// Stages and microbatches: options of a split line (true: it was one of them), the line `microbatches = N`, and, over
// the built graphs, what they ask of the model.
bool strategy_pipe_option(Front *f, Strategy *s, const Line *l, const Option *o, MeshSet over);
void strategy_microbatches(Front *f, Strategy *s, const Line *l);
void strategy_check_pipe(Front *f, Strategy *s);
void check_splits(Front *f); // after building: no mesh axis twice on a tensor
void build_functions(Front *f);

// "; did you mean 'x'?" from the candidate nearest to a name, or "".
typedef struct Near {
    const char *wanted, *best;
    int distance;
} Near;
Near near_to(const char *wanted);
void near_try(Near *n, const char *candidate);
const char *near_text(const Near *n, Arena *a);

// Compile-time arithmetic. The integer form is exact and checked (extents, counts); the other is in double. Names are
// axes: their extents. Both report and return false.
bool number_integer(Front *f, const Expr *e, int64_t *out);
bool number_double(Front *f, const Expr *e, double *out);
bool number_fold(OpKind op, const double args[3], double *out); // a map of ops.def; false when it is none for numbers
// The axis of a name used before and outside functions; defines `batch` when it is asked for. NULL after reporting.
const Axis *axis_lookup(Front *f, Str name, Loc loc);
const char *axis_near(const Front *f, Str name); // near_text over all axes
