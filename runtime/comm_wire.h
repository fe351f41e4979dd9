// SPDX-License-Identifier: Apache-2.0
// comm_wire: the communicator (comm.h) of ranks that are processes: process r of the world is rank r of the mesh. The
// same bits as comm_local: sums run in the order of the members' coordinates.
#pragma once
#include "runtime/comm.h"
#include "runtime/world.h"

// All processes of the world call it alike; the communicator is to be freed before the world. STATUS_INVALID when the
// mesh has another number of ranks than the world has processes.
Status comm_wire_make(const CommOptions *options, World *world, Comm **out_comm);
