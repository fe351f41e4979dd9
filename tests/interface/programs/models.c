// SPDX-License-Identifier: Apache-2.0
// Two models in one program, one of them three times: a reader by copies, one by bound arrays, one on other data.
// Prints what the script compares with `tgf train` and the plan.
//   models TEXT STEPS FOLDER
#include "bert.h"
#include "expect.h"
#include "novel.h"
#include "novel_alone.h"
#include <stdlib.h>

static int32_t tokens[NOVEL_TOKENS_COUNT], labels[NOVEL_LABELS_COUNT];
static int32_t words[BERT_TOKENS_COUNT], types[BERT_TYPES_COUNT], masked[BERT_LABELS_COUNT], mask[BERT_MASK_COUNT];
static int32_t more_tokens[NOVEL_TOKENS_COUNT];
static float logits[NOVEL_LOGITS_COUNT], again[NOVEL_LOGITS_COUNT];

static void train_bert(bert_model bert) {
    float first = 0, loss = 0, same = 0;
    bert_metrics metrics;
    for (int i = 0; i < BERT_BATCH * BERT_SEQ; i++) {
        words[i] = i * 7 % BERT_VOCAB;
        types[i] = i % 2;
        mask[i] = i % BERT_SEQ < BERT_SEQ - 2;
        masked[i] = i % 3 ? -100 : words[i];
    }
    OK(bert_init(bert));
    OK(bert_eval(bert, words, types, masked, mask, &first));
    OK(bert_bind(bert, words, types, masked, mask));
    for (int step = 0; step < 8; step++) OK(bert_step_bound(bert, &loss));
    OK(bert_read_metrics(bert, &metrics));
    OK(bert_loss(bert, &same));
    CHECK(metrics.loss == loss && same == loss && metrics.grad_norm > 0 && metrics.lr > 0);
    OK(bert_eval_bound(bert, &loss));
    CHECK(loss < first);
    // An id outside its range is told with its place; the array is read at the step, not when it was bound.
    words[5] = BERT_VOCAB;
    FAILS(bert_step_bound(bert, &loss), TGF_RANGE, "'tokens' has ");
    words[5] = 0;
    OK(bert_step_bound(bert, NULL));
    CHECK(bert_steps(bert) == 9);
}

static void train_novel(const char *text, int steps, novel_model copies, novel_model binds, novel_model other) {
    TgfData *data;
    OK(tgf_data_open(text, &data));
    OK(novel_init(copies));
    OK(novel_init(binds));
    OK(novel_init(other));
    OK(novel_bind(binds, tokens, labels));
    for (int step = 0; step < steps; step++) {
        float loss = 0, bound = 0, else_where = 0;
        novel_metrics m;
        OK(tgf_data_batch(data, 1, step, NOVEL_BATCH, NOVEL_SEQ, tokens, labels));
        OK(novel_step(copies, tokens, labels, &loss));
        OK(novel_step_bound(binds, &bound));
        CHECK(loss == bound);
        OK(novel_read_metrics(copies, &m));
        printf("step %d %.9g %.9g %.9g\n", step + 1, (double)m.loss, (double)m.lr, (double)m.grad_norm);
        CHECK(m.loss == loss);
        OK(tgf_data_batch(data, 2, step, NOVEL_BATCH, NOVEL_SEQ, tokens, labels));
        OK(novel_step(other, tokens, labels, &else_where));
        CHECK(else_where != loss);
    }
    tgf_data_close(data);
}

static void check_values(novel_model a, novel_model b, novel_model other, const char *folder) {
    float one = 0, two = 0, three = 0;
    OK(novel_eval(a, tokens, labels, &one));
    OK(novel_eval(other, tokens, labels, &two));
    CHECK(one != two);
    OK(novel_save(a, folder));
    CHECK(tgf_has_checkpoint(folder));
    OK(novel_load(other, folder));
    CHECK(novel_steps(other) == novel_steps(a));
    OK(novel_set(other, tokens, labels));
    OK(novel_eval_bound(other, &two));
    CHECK(one == two);
    OK(novel_load_weights(b, folder));
    CHECK(novel_steps(b) == 0);
    OK(novel_eval_bound(b, &three)); // what was bound: the same arrays
    CHECK(one == three);
    OK(novel_predict(a, tokens, logits));
    OK(novel_predict_bound(b, again));
    CHECK(!memcmp(logits, again, sizeof logits));
    memcpy(more_tokens, tokens, sizeof tokens);
    OK(novel_bind(b, more_tokens, labels));
    OK(novel_set(b, tokens, labels)); // what is set is no longer bound
    memset(more_tokens, 0, sizeof more_tokens);
    OK(novel_predict_bound(b, again));
    CHECK(!memcmp(logits, again, sizeof logits));
    OK(novel_bind(b, more_tokens, labels));
    OK(novel_predict_bound(b, again));
    CHECK(memcmp(logits, again, sizeof logits));
    OK(novel_predict(b, tokens, again));
    OK(novel_bind(b, NULL, NULL)); // they keep what they read last
    tokens[0] = (tokens[0] + 1) % NOVEL_VOCAB;
    OK(novel_predict_bound(b, again));
    CHECK(!memcmp(logits, again, sizeof logits));
}

// The same model, compiled a second time under another name for one rank, says the same of the same parameters.
static void compare_alone(novel_model model, const char *folder) {
    novel_alone_model alone;
    float loss = 0, same = 0;
    OK(novel_alone_open(NULL, &alone));
    OK(novel_alone_load(alone, folder));
    OK(novel_alone_eval(alone, tokens, labels, &same));
    OK(novel_load(model, folder));
    OK(novel_eval(model, tokens, labels, &loss));
    CHECK(NOVEL_ALONE_RANKS == 1 && NOVEL_RANKS > 1 && loss - same < 1e-5f && same - loss < 1e-5f);
    novel_alone_close(alone);
}

// Every parameter on every rank: "place RANK NAME TYPE BYTES COPIES axis=extent/mesh+mesh:local ..."
static void put_mesh(novel_model model, unsigned mesh) {
    const char *sep = "", *name;
    int64_t extent;
    if (!mesh) printf("-");
    for (int i = 0; i < tgf_mesh_axes(model.model); i++) {
        OK(tgf_mesh_axis(model.model, i, &name, &extent));
        if (mesh >> i & 1) printf("%s%s", sep, name);
        if (mesh >> i & 1) sep = "+";
    }
}

static void walk(novel_model model) {
    int64_t elements = 0;
    TgfTensor t;
    TgfPlacement p;
    CHECK(tgf_ranks(model.model) == NOVEL_RANKS && tgf_rank(model.model) == 0);
    CHECK(tgf_count(model.model, TGF_PARAMETER) == NOVEL_PARAMETERS);
    for (int rank = 0; rank < NOVEL_RANKS; rank++)
        for (int i = 0; i < NOVEL_PARAMETERS; i++) {
            OK(novel_parameter(model, i, rank, &t, &p));
            if (!rank) elements += t.count;
            printf("place %d %s %d %lld ", rank, t.name, (int)t.type, (long long)p.bytes);
            put_mesh(model, p.replicated);
            for (int d = 0; d < t.rank; d++) {
                printf(" %s=%lld/", t.axis[d], (long long)t.extent[d]);
                put_mesh(model, p.split[d]);
                printf(":%lld", (long long)p.local[d]);
            }
            printf("\n");
        }
    FAILS(novel_parameter(model, NOVEL_PARAMETERS, 0, &t, &p), TGF_INVALID, "fewer");
    FAILS(novel_parameter(model, -1, 0, &t, &p), TGF_INVALID, "fewer");
    FAILS(novel_parameter(model, 0, NOVEL_RANKS, &t, &p), TGF_RANGE, "no rank");
    printf("elements %lld\n", (long long)elements);
    int64_t most = 0;
    for (int rank = 0; rank < NOVEL_RANKS; rank++) {
        TgfMemory m;
        OK(tgf_memory(model.model, rank, &m));
        CHECK(m.slab >= m.planned && m.scratch >= 0 && m.host <= NOVEL_HOST_BYTES);
        if (m.planned > most) most = m.planned;
    }
    CHECK(most == NOVEL_SLAB_BYTES);
}

int main(int argc, char **argv) {
    novel_model one, two, other;
    bert_model bert;
    if (argc != 4) return 2;
    TgfOptions options = tgf_options();
    options.seed = 1;
    options.threads = 2;
    OK(novel_open(&options, &one));
    OK(bert_open(NULL, &bert));
    OK(novel_open(&options, &two));
    OK(novel_open(&options, &other));
    train_novel(argv[1], atoi(argv[2]), one, two, other);
    train_bert(bert);
    check_values(one, two, other, argv[3]);
    walk(one);
    compare_alone(one, argv[3]);
    novel_close(two);
    bert_close(bert);
    OK(novel_step(one, tokens, labels, NULL));
    novel_close(one);
    novel_close(other);
    if (!expect_failures) printf("ok\n");
    return expect_failures != 0;
}
