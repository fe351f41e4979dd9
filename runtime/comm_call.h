// SPDX-License-Identifier: Apache-2.0
// comm_call: what communicators have in common: which calls are wrong, which do not match, and how that is said.
#pragma once
#include "runtime/comm.h"

// Checked calls only: outer * middle * inner.
int64_t comm_elements(const CommCall *c);
// STATUS_INVALID, naming the call, when it cannot be done by `ways` ranks. out_send: bytes of the send value.
Status comm_call_check(const CommOptions *o, const CommCall *c, int ways, int64_t *out_send);
Status comm_message_check(const CommMessage *m, int rank, int nranks);

bool comm_calls_differ(const CommCall *a, const CommCall *b);    // of two members of a group
bool comm_payloads_differ(const CommCall *a, const CommCall *b); // of a send and its recv

// How elements of an all_reduce are dealt out: member m has [begin, end), no more than each of them.
int64_t comm_chunk_each(int64_t count, int n);
void comm_chunk(int64_t count, int n, int m, int64_t *out_begin, int64_t *out_end);
// COMM_SHIFT, COMM_REVERSE: who sends to member `me` of n.
int comm_sender(const CommCall *c, int me, int n);

const char *comm_call_text(const CommOptions *o, const CommCall *c, char *text, size_t size);
const char *comm_message_text(const CommMessage *m, bool receives, char *text, size_t size);
Status comm_differ(const CommOptions *o, int rank, const CommCall *a, int other, const CommCall *b);
Status comm_messages_differ(int rank, const CommMessage *wanted, const CommMessage *sent); // wanted->peer sent it
Status comm_too_many(int rank, int64_t posts);
Status comm_not_sent(int rank, const CommMessage *m);
Status comm_unwaited(int rank, const CommMessage *m, int to);
