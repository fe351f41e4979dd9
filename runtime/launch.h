// SPDX-License-Identifier: Apache-2.0
// launch: whether this process is one of several of a run, as whoever started it says in the environment. The first of
// these that is there decides:
//
//   RANK WORLD_SIZE MASTER_ADDR MASTER_PORT [LOCAL_RANK LOCAL_WORLD_SIZE]    torchrun, or by hand: TCP
//   OMPI_COMM_WORLD_RANK OMPI_COMM_WORLD_SIZE                                mpirun of OpenMPI: MPI
//   PMI_RANK PMI_SIZE                                                        mpiexec of MPICH and its kin: MPI
//   SLURM_PROCID SLURM_STEP_NUM_TASKS (or SLURM_NTASKS), inside a step       srun: TCP
//
// Where MPI is meant and libtgf_mpi.so is not there, MASTER_ADDR and MASTER_PORT make it TCP. TGF_NONCE: the secret of
// a TCP run. TGF_TIMEOUT: seconds for all to come (60). TGF_COMM_TIMEOUT: seconds that one waits for another afterwards
// (1800; 0: for ever).
#pragma once
#include "runtime/world.h"
#include <stddef.h>

typedef struct Launch {
    int rank, size;
    int local, locals; // number among the processes of this host, and how many those are; -1 and 0: not said
    const char *by;    // variable that decided; NULL: none, this process is alone
    bool mpi;
    const void *mpi_comm; // address of the caller's MPI_Comm, of which rank and size are; NULL: MPI_COMM_WORLD
    char host[256];       // "": not said
    int port;
    char nonce[128];
    int64_t timeout_ms, wait_ms;
} Launch;

// STATUS_INVALID, one line, where the environment says half of it or contradicts itself.
Status launch_read(Launch *out_launch);
// The rest of a launch that the caller describes: nothing but how long to wait is read from the environment.
Status launch_times(Launch *launch);
// Which kernel runs here: different on different hosts.
void launch_boot(char *out, size_t size);
// Fills in the world's local and locals, where the launch does not say them. All processes call it.
Status launch_locals(const Launch *launch, World *world);
// *out_world NULL: this process is alone (nothing said otherwise, or there is one of them).
Status launch_world(const Launch *launch, World **out_world);
// The first host of Slurm's list ("node[03-07,9],x1"); false: it does not fit or is none.
bool launch_first_host(const char *list, char *host, size_t size);

// What libtgf_mpi.so exports as tgf_world_mpi.
typedef Status LaunchMpiFn(int abi, const Launch *launch, World **out_world);
enum { LAUNCH_MPI_ABI = 2 };
