// SPDX-License-Identifier: Apache-2.0
// world_mpi: processes that talk over MPI, a library of its own (libtgf_mpi.so), so that the runtime needs none.
#pragma once
#include "runtime/world.h"
#include <mpi.h>

// NULL: MPI_COMM_WORLD, and MPI is begun and ended here. Else MPI runs already, with MPI_THREAD_SERIALIZED if another
// thread than the main one uses the world, and the communicator (only copied) is the caller's; all its processes call
// this alike. local, locals: as in World.
Status world_mpi_make(const MPI_Comm *comm, int local, int locals, World **out_world);
