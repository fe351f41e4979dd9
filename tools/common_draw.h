// SPDX-License-Identifier: Apache-2.0
// draw: a function of the IR as a picture. picture_of groups its nodes into boxes inside frames, knowing nothing of
// pages; picture_lay_out gives each a place, knowing nothing of the IR; the two writers know only the Picture. The same
// unit gives the same bytes.
#pragma once
#include "base/vec.h"
#include "ir/graph.h"
#include <stdio.h>

typedef enum PictureKind { // what a box's colour says
    PICTURE_INPUT,
    PICTURE_OUTPUT,
    PICTURE_PRODUCT,
    PICTURE_ATTENTION,
    PICTURE_REDUCTION, // elementwise work with sums or maxima in it: norms, losses
    PICTURE_MAP,       // elementwise work alone
    PICTURE_LOOKUP,    // take, scatter, cumsum
    PICTURE_ALL_REDUCE,
    PICTURE_ALL_GATHER,
    PICTURE_REDUCE_SCATTER,
    PICTURE_ALL_TO_ALL,
    PICTURE_SEND, // send and receive: permute, and what a stage hands to the next
    PICTURE_KINDS
} PictureKind;

typedef struct PictureLabel {
    const char *type;  // "[batch=32, seq=128, head/tensor=6]"
    const char *names; // "q, k", or ""
    bool pending;
} PictureLabel;

typedef struct PictureBox {
    PictureKind kind;
    int frame;
    const char *title, *detail; // detail may be ""
    Vec(const char *) tags;     // the parameters it uses
    Vec(PictureLabel) labels;   // the types of what others take from it
    int x, y, w, h;             // set by picture_lay_out; pixels
} PictureBox;

typedef struct PictureFrame {
    int parent;        // -1: frame 0, the function itself
    bool repeats;      // a repeat's body; else a block call
    const char *title; // "attention", "x 12 layer"
    int x, y, w, h;
} PictureFrame;

typedef struct PicturePoint {
    int x, y;
} PicturePoint;

typedef struct PictureEdge {
    int from, to; // boxes, from < to
    bool pending; // holds a partial sum or maximum
    Vec(PicturePoint) path;
} PictureEdge;

typedef struct Picture {
    Arena *arena;
    const char *title;
    Vec(PictureBox) boxes; // in program order; the boxes of a frame lie one behind the other
    Vec(PictureFrame) frames;
    Vec(PictureEdge) edges;
    int width, height;
} Picture;

typedef struct PictureColour {
    const char *name, *fill, *line;
} PictureColour;

extern const PictureColour picture_colours[PICTURE_KINDS];

// `func` must be whole: in front of the passes `pipeline` and `fuse`. Everything is made in `arena`.
Picture *picture_of(const Func *func, Arena *arena);
void picture_lay_out(Picture *p);
void picture_print_svg(const Picture *p, FILE *out); // laid out
void picture_print_dot(const Picture *p, FILE *out);
