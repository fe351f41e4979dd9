// SPDX-License-Identifier: Apache-2.0
// kit: what travels to a machine with a GPU and without our compiler: files of named records, made by gpu_kit and read
// by gpu_runner and gpu_launch.
//
// A file is records, one behind the other: the line "BYTES NAME", filled up with blanks so that what follows is aligned
// to KIT_ALIGN, in memory too; the bytes, a newline. A record `case` begins a case; what follows up to the next one
// belongs to it:
//   case            its name
//   plan, nkernels  text of its plan
//   arch, options   of its image; cubin: the image; source: its CUDA C, where it travels
// and what the kind of file adds (kit_ops.c, kit_model.c, kit_kernels.c). Numbers are of this kind of machine: little
// endian, IEEE.
#pragma once
#include "base/status.h"
#include "runtime/plan.h"
#include <stdio.h>

enum { KIT_ALIGN = 64 };

typedef struct KitRecord {
    const char *name;  // NULL: none
    const char *bytes; // a zero byte follows them
    size_t size;
} KitRecord;

typedef struct KitFile {
    char *bytes;
    int nrecords, ncases;
    KitRecord *records;
    int *cases; // numbers of the records `case`
} KitFile;

Status kit_read(const char *path, KitFile *out_file);
void kit_free(KitFile *file);
// The case's record of this name; its `name` is NULL where there is none.
KitRecord kit_find(const KitFile *file, int number, const char *name);
const char *kit_text(const KitFile *file, int number, const char *name); // "" where there is none
// Of the first case of that name; -1: none.
int kit_case(const KitFile *file, const char *name);
// Its module for a GPU; *out_cuda is what it points to. Both live as long as the file.
Status kit_module(const KitFile *file, int number, PlanCuda *out_cuda, PlanModule *out_module);

void kit_put(FILE *out, const void *bytes, size_t size, const char *format, ...) __attribute__((format(printf, 4, 5)));
void kit_put_text(FILE *out, const char *name, const char *format, ...) __attribute__((format(printf, 3, 4)));
void kit_put_image(FILE *out, const PlanCuda *code); // not its source
void kit_put_module(FILE *out, const PlanModule *module);
