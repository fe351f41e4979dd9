// SPDX-License-Identifier: Apache-2.0
// One model over two ranks, threads of this process.
#include "table.h"
#include "train.h"

int main(void) { return train(&tgf_model_table, "table"); }
