// SPDX-License-Identifier: Apache-2.0
// Two models in one C++ program, and one of them twice.
#include "train.h"
#include "chain.h"
#include "table.h"

int main() {
    return train(&tgf_model_chain, "chain") || train(&tgf_model_table, "table") ||
           train(&tgf_model_chain, "chain again");
}
