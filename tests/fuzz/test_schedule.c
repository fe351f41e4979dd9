// SPDX-License-Identifier: Apache-2.0
#include "corpus.h"
#include "fuzz_schedule.c"

int main(void) { return corpus_replay("schedule"); }
