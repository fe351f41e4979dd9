// SPDX-License-Identifier: Apache-2.0
// family: what the families of models (family_*.c) share: layouts over a mesh and recipes, as rows of a table.
#pragma once
#include "tests/dsl/twins.h"

typedef struct Layout { // a strategy; 0 and NULL: without
    const char *name;
    int data, pipe, context, tensor; // extents of the mesh
    const char *schedule;            // of the stages over pipe
    int chunks, microbatches;
    const char *attention; // how it goes over a sequence split over context
    int between_blocks;    // the sequence split over tensor there
    const char *shard;     // over data: optimizer, gradients, parameters
    const char *precision, *reduce;
    int scale;             // of the loss
    const char *recompute; // block, or auto with this memory
    const char *memory;
} Layout;

typedef struct Recipe {
    const char *schedule;
    double lr, floor;
    int warmup, steps;
    double beta2, eps, decay;
    int batch;
    const char *data;
} Recipe;

typedef struct Split { // what a layout splits: over tensor `n` axes
    Axis batch, seq, layer, tensor[3];
} Split;

void layout_write(TgfProgram *p, const Layout *l, Split s);
void recipe_write(TgfProgram *p, Recipe r);
Tensor depth_std(Axis layer); // 0.02 / sqrt(2 * layer)
Tensor attend_causal(Tensor q, Tensor k, Tensor v, Axis seq, Axis key, Axis dim);
