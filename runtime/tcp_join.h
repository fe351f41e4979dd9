// SPDX-License-Identifier: Apache-2.0
// tcp_join: how the processes of a run find each other over TCP and get two connections with each other.
//
// Rank 0 listens where everyone was told; each other rank comes there with a hello: version, its rank, how many ranks
// it counts, the run's nonce and the port it listens on itself. When all are there, rank 0 answers with a key it made
// and where everyone is, and each rank connects to those below it, showing the key. Whoever says anything else is not
// let in: a member of another run is told why, a stranger is not answered, and neither keeps the others waiting.
#pragma once
#include "runtime/world.h"

enum { TCP_NOTES, TCP_DATA, TCP_LANES };

typedef struct TcpLink {
    int fd[TCP_LANES]; // -1: none; non-blocking
} TcpLink;

// links: one by rank, own stays without connections. On failure all are closed.
Status tcp_join(const WorldTcpOptions *options, TcpLink *links);
