// SPDX-License-Identifier: Apache-2.0
// worlds: several processes played by threads of one, each with a world of its own over loopback TCP.
#pragma once
#include "runtime/world.h"
#include <pthread.h>

enum { WORLDS_MOST = 16 };

typedef struct Worlds {
    int n;
    World *world[WORLDS_MOST];
    Status status[WORLDS_MOST];
} Worlds;

typedef void WorldsFn(Worlds *w, int rank, void *context);

void worlds_each(Worlds *w, WorldsFn *fn, void *context); // one thread a rank, until all are back
Status worlds_open(int n, Worlds *out);                   // the first failure
void worlds_close(Worlds *w);
