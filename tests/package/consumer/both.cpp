// SPDX-License-Identifier: Apache-2.0
// Two models in one C++ program, and one of them twice.
#include "train.h"
#include "chain.h"
#include "split.h"
#include "table.h"

// The models' own functions, both open at once.
static bool typed() {
    chain_model chain = {nullptr};
    table_model table = {nullptr};
    split_model split = {nullptr}; // the table again, over two ranks
    static int32_t ids[CHAIN_TOKENS_COUNT], cells[TABLE_TOKENS_COUNT];
    float first = 0, second = 0;
    bool good = chain_open(nullptr, &chain).code == TGF_OK && table_open(nullptr, &table).code == TGF_OK &&
                chain_init(chain).code == TGF_OK && table_init(table).code == TGF_OK &&
                chain_bind(chain, ids, ids).code == TGF_OK && chain_step_bound(chain, nullptr).code == TGF_OK &&
                table_step(table, cells, cells, &first).code == TGF_OK && chain_loss(chain, &second).code == TGF_OK;
    float third = 0;
    good = good && split_open(nullptr, &split).code == TGF_OK && split_init(split).code == TGF_OK &&
           split_step(split, cells, cells, &third).code == TGF_OK && first - third < 1e-5f && third - first < 1e-5f;
    split_close(split);
    chain_close(chain);
    table_close(table);
    return good && first > 0 && second > 0 && TABLE_RANKS == 1 && SPLIT_RANKS == 2;
}

int main() {
    return !typed() || train(&tgf_model_chain, "chain") || train(&tgf_model_table, "table") ||
           train(&tgf_model_chain, "chain again");
}
