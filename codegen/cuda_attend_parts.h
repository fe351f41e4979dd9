// SPDX-License-Identifier: Apache-2.0
// cuda_attend_parts: what the emitters of attention's CUDA kernels share. Private to codegen/cuda_attend*.c.
//
// A kernel's text is a struct of compile-time numbers, its shape, and a function that hands the operands to a template
// of cuda_prelude_attend*.cuh.
#pragma once
#include "codegen/cuda.h"

enum { ATTEND_WIDEST = 256 }; // columns of a head that accumulators have room for

// Columns as tiles in shared memory have them, and the bytes of a tile's row.
static inline int attend_width(int64_t columns) { return (int)(columns + 15) / 16 * 16; }
static inline int64_t attend_pitch(const TileAttend *d, int64_t columns) {
    return (int64_t)attend_width(columns) * real_bytes(d->type) + 16;
}

// Tiles of `rows` rows of q and k and of as many of v and y.
static inline int64_t attend_tiles(const TileAttend *d, int64_t rows) {
    return rows * (attend_pitch(d, d->q_columns) + attend_pitch(d, d->v_columns));
}

int64_t attend_outers(const TileAttend *d); // all outer indices
Status attend_check_cuda(const char *name, const TileAttend *d);

// The opened struct's numbers that both directions have: extents, strides, and at_OPERAND(o), where an outer index
// lies.
void attend_write_shape(FILE *out, const TileAttend *d, int threads);
void attend_write_rows(FILE *out, const char *operand, const TileAttend *d, const TileRows *x);

// Numbers of operands and scalars the kernel has.
typedef struct AttendParameters {
    int bufs, scalars;
} AttendParameters;
void attend_count(AttendParameters *p, const TileRows *x);
AttendParameters attend_parameters(const TileAttend *d);
// `    PREFIXq = b0 + first;` and the like, of all the forward description has.
void attend_write_operands(FILE *out, const TileAttend *d, const char *prefix);
void attend_write_operand(FILE *out, const char *prefix, const char *operand, const TileRows *x, int bytes);
