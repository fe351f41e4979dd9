// SPDX-License-Identifier: Apache-2.0
// One model in one program.
#include "chain.h"
#include "train.h"

int main(void) { return train(&tgf_model_chain, "chain"); }
