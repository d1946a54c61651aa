#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "apps/llmworker/vectors.h"

enum { WIDTH = 4, ROWS = 600 };

/** A model whose vector of a token is {token, position, sequence, 1}, and whose score of a text is the sum of its tokens. */
struct model {
    struct cds_vectors *vectors;
    struct cds_row rows[ROWS];
    int count, batches, rc;
    int64_t cancel_inside; /**< request that is cancelled while it computes */
    float vector[WIDTH], score;
    /* What came out: */
    unsigned texts;
    float first[64]; /**< first number of each text's vector, in order */
    int64_t text_job[64];
    unsigned ends;
    struct cds_vectors_report last;
    float scores[8];
    bool was_dead;
};

static int encode(void *engine, const struct cds_row *rows, int count)
{
    struct model *model = engine;
    assert_in_range(count, 1, ROWS);
    memcpy(model->rows, rows, (size_t)count * sizeof(*rows));
    model->count = count;
    model->batches++;
    if (model->cancel_inside) {
        cds_vectors_cancel(model->vectors, model->cancel_inside);
        model->was_dead = cds_vectors_step_is_dead(model->vectors);
    }
    return model->rc;
}

static const float *token(void *engine, int row)
{
    struct model *model = engine;
    const struct cds_row *r = &model->rows[row];
    model->vector[0] = (float)r->token;
    model->vector[1] = (float)r->position;
    model->vector[2] = (float)r->sequence;
    model->vector[3] = 1;
    return model->vector;
}

static const float *score(void *engine, int sequence)
{
    struct model *model = engine;
    model->score = 0;
    for (int i = 0; i < model->count; i++)
        if (model->rows[i].sequence == sequence)
            model->score += (float)model->rows[i].token;
    return &model->score;
}

static void on_vectors(void *user, int64_t id, const float *values, uint32_t count, uint32_t width)
{
    struct model *model = user;
    assert_true(width <= WIDTH);
    for (uint32_t i = 0; i < count && model->texts < 64; i++) {
        model->text_job[model->texts] = id;
        model->first[model->texts++] = values[(size_t)i * width];
    }
}

static void on_end(void *user, const struct cds_vectors_report *report)
{
    struct model *model = user;
    model->ends++;
    model->last = *report;
    if (report->scores)
        memcpy(model->scores, report->scores, report->owners * sizeof(float));
}

static void open_model(struct model *model)
{
    static const struct cds_encoder_ops ops = {.encode = encode, .token = token, .score = score};
    static const struct cds_vectors_sink sink = {.on_vectors = on_vectors, .on_end = on_end};
    *model = (struct model){0};
    assert_int_equal(cds_vectors_new(&ops, model, WIDTH, ROWS, 8, &sink, model, &model->vectors, NULL), CDS_OK);
}

/** A request of `count` texts with `tokens` tokens each; token t of text i is i + 1. */
static cds_rc add(struct model *model, int64_t id, enum cds_vectors_kind kind, size_t count, uint32_t tokens)
{
    struct cds_vectors_spec spec = {
        .id = id, .kind = kind, .pooling = CDS_POOL_MEAN, .width = WIDTH, .norm = CDS_NORM_NONE, .owners = 3, .text_count = count};
    spec.texts = calloc(count, sizeof(*spec.texts));
    for (size_t i = 0; i < count; i++) {
        spec.texts[i] = (struct cds_vectors_text){.tokens = calloc(tokens, sizeof(int32_t)), .count = tokens, .owner = (uint32_t)(i % 3)};
        for (uint32_t t = 0; t < tokens; t++)
            spec.texts[i].tokens[t] = (int32_t)i + 1;
    }
    cds_rc rc = cds_vectors_add(model->vectors, &spec, NULL);
    cds_vectors_spec_clear(&spec);
    if (rc == CDS_OK)
        cds_vectors_start(model->vectors, id);
    return rc;
}

static void texts_of_one_request_come_in_order_and_share_a_batch(void **state)
{
    struct model model;
    open_model(&model);
    assert_int_equal(add(&model, 1, CDS_VECTORS_EMBED, 5, 10), CDS_OK);
    cds_vectors_step(model.vectors);
    assert_int_equal(model.batches, 1);
    assert_int_equal(model.count, 50);
    assert_int_equal(model.texts, 5);
    for (unsigned i = 0; i < 5; i++)
        assert_true(model.first[i] == (float)(i + 1));
    assert_int_equal(model.ends, 1);
    assert_int_equal(model.last.end, CDS_VECTORS_DONE);
    assert_int_equal(model.last.prompt_tokens, 50);
    assert_int_equal(model.last.evaluated_tokens, 50);
    assert_false(cds_vectors_runnable(model.vectors));
    cds_vectors_free(&model.vectors);
}

static void each_text_is_a_sequence_of_its_own_from_position_zero(void **state)
{
    struct model model;
    open_model(&model);
    assert_int_equal(add(&model, 1, CDS_VECTORS_EMBED, 2, 3), CDS_OK);
    cds_vectors_step(model.vectors);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(model.rows[i].sequence, i / 3);
        assert_int_equal(model.rows[i].position, i % 3);
        assert_true(model.rows[i].sample);
    }
    cds_vectors_free(&model.vectors);
}

static void requests_take_turns_so_that_a_long_one_holds_up_nobody(void **state)
{
    struct model model;
    open_model(&model);
    assert_int_equal(add(&model, 1, CDS_VECTORS_EMBED, 40, 100), CDS_OK);
    assert_int_equal(add(&model, 2, CDS_VECTORS_EMBED, 1, 100), CDS_OK);
    cds_vectors_step(model.vectors);
    assert_int_equal(model.count, 500); /* five texts: as many as stay below CDS_VECTORS_ROWS */
    assert_int_equal(model.ends, 1);
    assert_int_equal(model.last.id, 2);
    cds_vectors_free(&model.vectors);
}

static void a_long_text_goes_alone_and_no_batch_is_longer_than_the_models(void **state)
{
    struct model model;
    open_model(&model);
    assert_int_equal(add(&model, 1, CDS_VECTORS_EMBED, 2, ROWS), CDS_OK);
    cds_vectors_step(model.vectors);
    assert_int_equal(model.count, ROWS);
    cds_vectors_step(model.vectors);
    assert_int_equal(model.ends, 1);
    assert_int_equal(model.batches, 2);
    cds_vectors_free(&model.vectors);
}

static void nothing_is_computed_before_the_start(void **state)
{
    struct model model;
    open_model(&model);
    struct cds_vectors_spec spec = {.id = 3, .width = WIDTH, .text_count = 1, .texts = calloc(1, sizeof(struct cds_vectors_text))};
    spec.texts[0] = (struct cds_vectors_text){.tokens = calloc(1, sizeof(int32_t)), .count = 1};
    assert_int_equal(cds_vectors_add(model.vectors, &spec, NULL), CDS_OK);
    assert_false(cds_vectors_runnable(model.vectors));
    cds_vectors_step(model.vectors);
    assert_int_equal(model.batches, 0);
    cds_vectors_free(&model.vectors);
}

static void a_ranking_keeps_the_best_score_of_each_document(void **state)
{
    struct model model;
    open_model(&model);
    assert_int_equal(add(&model, 1, CDS_VECTORS_RANK, 6, 2), CDS_OK); /* owners 0 1 2 0 1 2, scores 2 4 6 8 10 12 */
    cds_vectors_step(model.vectors);
    assert_true(model.scores[0] == 8 && model.scores[1] == 10 && model.scores[2] == 12);
    assert_int_equal(model.texts, 0);
    for (int i = 0; i < model.count; i++)
        assert_int_equal(model.rows[i].sample, i % 2 == 1);
    cds_vectors_free(&model.vectors);
}

static void a_cosine_ranking_compares_with_its_first_text(void **state)
{
    struct model model;
    open_model(&model);
    struct cds_vectors_spec spec = {
        .id = 1, .kind = CDS_VECTORS_COSINE, .pooling = CDS_POOL_CLS, .width = 1, .norm = CDS_NORM_NONE, .owners = 2, .text_count = 3};
    spec.texts = calloc(3, sizeof(*spec.texts));
    for (uint32_t i = 0; i < 3; i++) {
        spec.texts[i] = (struct cds_vectors_text){.tokens = calloc(1, sizeof(int32_t)), .count = 1, .owner = i ? i - 1 : 0};
        spec.texts[i].tokens[0] = (int32_t)i + 2;
    }
    assert_int_equal(cds_vectors_add(model.vectors, &spec, NULL), CDS_OK);
    cds_vectors_start(model.vectors, 1);
    cds_vectors_step(model.vectors);
    assert_true(model.scores[0] == 6 && model.scores[1] == 8); /* 2 x 3, 2 x 4 */
    cds_vectors_free(&model.vectors);
}

static void vectors_of_tokens_are_cut_to_the_dimensions(void **state)
{
    struct model model;
    open_model(&model);
    struct cds_vectors_spec spec = {.id = 1, .each_token = true, .pooling = CDS_POOL_NONE, .width = 2, .norm = CDS_NORM_TAXICAB, .text_count = 1};
    spec.texts = calloc(1, sizeof(*spec.texts));
    spec.texts[0] = (struct cds_vectors_text){.tokens = calloc(3, sizeof(int32_t)), .count = 3};
    for (int i = 0; i < 3; i++)
        spec.texts[0].tokens[i] = 3;
    assert_int_equal(cds_vectors_add(model.vectors, &spec, NULL), CDS_OK);
    cds_vectors_start(model.vectors, 1);
    cds_vectors_step(model.vectors);
    assert_int_equal(model.texts, 3);
    assert_true(model.first[0] == 1 && model.first[1] == 0.75F && model.first[2] == 0.6F); /* 3/3, 3/4, 3/5 */
    cds_vectors_free(&model.vectors);
}

static void a_cancel_ends_the_request_and_counts_what_was_evaluated(void **state)
{
    struct model model;
    open_model(&model);
    assert_int_equal(add(&model, 1, CDS_VECTORS_EMBED, 20, 100), CDS_OK);
    cds_vectors_step(model.vectors);
    cds_vectors_cancel(model.vectors, 1);
    assert_int_equal(model.last.end, CDS_VECTORS_CANCELLED);
    assert_int_equal(model.last.evaluated_tokens, 500);
    assert_int_equal(model.last.prompt_tokens, 2000);
    cds_vectors_cancel(model.vectors, 1); /* unknown by now */
    assert_int_equal(model.ends, 1);
    cds_vectors_free(&model.vectors);
}

static void a_cancel_inside_a_step_gives_the_step_up(void **state)
{
    struct model model;
    open_model(&model);
    assert_int_equal(add(&model, 1, CDS_VECTORS_EMBED, 20, 100), CDS_OK);
    model.cancel_inside = 1;
    model.rc = 2;
    cds_vectors_step(model.vectors);
    assert_true(model.was_dead);
    assert_int_equal(model.last.end, CDS_VECTORS_CANCELLED);
    assert_int_equal(model.last.evaluated_tokens, 0);
    assert_int_equal(cds_vectors_counters(model.vectors).aborted_steps, 1);
    cds_vectors_free(&model.vectors);
}

static void a_step_with_somebody_left_goes_on_and_its_tokens_count(void **state)
{
    struct model model;
    open_model(&model);
    assert_int_equal(add(&model, 1, CDS_VECTORS_EMBED, 3, 100), CDS_OK);
    assert_int_equal(add(&model, 2, CDS_VECTORS_EMBED, 2, 100), CDS_OK);
    model.cancel_inside = 1;
    cds_vectors_step(model.vectors);
    assert_false(model.was_dead);
    assert_int_equal(model.ends, 2);
    for (unsigned i = 0; i < model.texts; i++)
        assert_int_equal(model.text_job[i], 2);
    cds_vectors_free(&model.vectors);
}

static void a_batch_that_fails_ends_one_request_and_the_others_go_on(void **state)
{
    struct model model;
    open_model(&model);
    assert_int_equal(add(&model, 1, CDS_VECTORS_EMBED, 1, 10), CDS_OK);
    assert_int_equal(add(&model, 2, CDS_VECTORS_EMBED, 1, 10), CDS_OK);
    model.rc = -3;
    cds_vectors_step(model.vectors);
    assert_int_equal(model.ends, 1);
    assert_int_equal(model.last.end, CDS_VECTORS_FAILED);
    model.rc = 0;
    cds_vectors_step(model.vectors);
    assert_int_equal(model.last.end, CDS_VECTORS_DONE);
    cds_vectors_free(&model.vectors);
}

static void requests_beyond_the_limits_are_refused(void **state)
{
    struct model model;
    open_model(&model);
    assert_int_equal(add(&model, 1, CDS_VECTORS_EMBED, 1, 1), CDS_OK);
    assert_int_equal(add(&model, 1, CDS_VECTORS_EMBED, 1, 1), CDS_CONFLICT);
    for (int64_t id = 2; id <= 8; id++)
        assert_int_equal(add(&model, id, CDS_VECTORS_EMBED, 1, 1), CDS_OK);
    assert_int_equal(add(&model, 9, CDS_VECTORS_EMBED, 1, 1), CDS_BUSY);
    struct cds_vectors_spec empty = {.id = 10, .width = WIDTH};
    assert_int_equal(cds_vectors_add(model.vectors, &empty, NULL), CDS_BUSY);
    cds_vectors_free(&model.vectors);
    open_model(&model);
    assert_int_equal(cds_vectors_add(model.vectors, &empty, NULL), CDS_BAD_PARAM);
    cds_vectors_free(&model.vectors);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_of_one_request_come_in_order_and_share_a_batch),
        cmocka_unit_test(each_text_is_a_sequence_of_its_own_from_position_zero),
        cmocka_unit_test(requests_take_turns_so_that_a_long_one_holds_up_nobody),
        cmocka_unit_test(a_long_text_goes_alone_and_no_batch_is_longer_than_the_models),
        cmocka_unit_test(nothing_is_computed_before_the_start),
        cmocka_unit_test(a_ranking_keeps_the_best_score_of_each_document),
        cmocka_unit_test(a_cosine_ranking_compares_with_its_first_text),
        cmocka_unit_test(vectors_of_tokens_are_cut_to_the_dimensions),
        cmocka_unit_test(a_cancel_ends_the_request_and_counts_what_was_evaluated),
        cmocka_unit_test(a_cancel_inside_a_step_gives_the_step_up),
        cmocka_unit_test(a_step_with_somebody_left_goes_on_and_its_tokens_count),
        cmocka_unit_test(a_batch_that_fails_ends_one_request_and_the_others_go_on),
        cmocka_unit_test(requests_beyond_the_limits_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
