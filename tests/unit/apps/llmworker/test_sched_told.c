/* tests/unit/apps/llmworker/test_sched_told.c: chances of a prompt's tokens at chosen places. */
#include "tests/unit/apps/llmworker/sched_model.h"

static struct {
    int64_t id;
    uint32_t position;
    int32_t token;
} told[64];
static unsigned told_count;
static int32_t asked;

static void tell(void *engine, void *sampler, int row, int32_t token)
{
    assert_in_range(row, 0, model->rows - 1);
    asked = token;
}

static void on_told(void *user, int64_t id, uint32_t position, int32_t token, const void *sampler)
{
    assert_int_equal(token, asked);
    told[told_count].id = id;
    told[told_count].position = position;
    told[told_count++].token = token;
}

static void listen_to_chances(void)
{
    static const struct cds_sched_sink hears = {.on_text = on_text, .on_end = on_end, .on_told = on_told};
    ops.tell = tell;
    told_count = 0;
    make();
    cds_sched_free(&sched);
    assert_int_equal(cds_sched_new(&limits, &ops, NULL, &hears, NULL, &sched, NULL), CDS_OK);
}

/** A prompt of count letters; places: where the next token is told, behind the last one UINT32_MAX. */
static void add_told(int64_t id, uint32_t count, const uint32_t *places)
{
    struct cds_job_spec spec = {.id = id, .token_count = count, .max_tokens = 1, .scope = 1};
    spec.tokens = calloc(count, sizeof(*spec.tokens));
    spec.told = places ? calloc(count, 1) : NULL;
    for (uint32_t i = 0; i < count; i++)
        spec.tokens[i] = 'a' + (int32_t)(i % 20);
    for (; places && *places != UINT32_MAX; places++)
        spec.told[*places] = 1;
    cds_text_reset(&spec.text);
    assert_int_equal(cds_sched_add(sched, &spec, NULL), CDS_OK);
    cds_sched_start(sched, id, 1);
    while (cds_sched_runnable(sched))
        cds_sched_step(sched);
}

static void chances_are_told_at_the_places_that_were_asked_for(void **state)
{
    listen_to_chances();
    add_told(1, 300, (const uint32_t[]){0, 5, 298, UINT32_MAX});
    assert_int_equal(told_count, 3);
    assert_int_equal(told[0].position, 1);
    assert_int_equal(told[1].position, 6);
    assert_int_equal(told[2].position, 299);
    assert_int_equal(told[2].token, 'a' + 299 % 20);
    assert_true(got[1].ended);
}

static void what_is_told_is_computed_though_another_one_has_it(void **state)
{
    listen_to_chances();
    add_told(1, 300, NULL);
    assert_int_equal(told_count, 0);
    add_told(2, 300, (const uint32_t[]){100, UINT32_MAX});
    assert_int_equal(told_count, 1);
    assert_int_equal(got[2].report.cached_tokens, 100);
    assert_int_equal(got[2].report.computed_tokens, 200);
    add_told(3, 300, (const uint32_t[]){0, UINT32_MAX});
    assert_int_equal(got[3].report.cached_tokens, 0);
    add_told(4, 300, NULL);
    assert_int_equal(got[4].report.cached_tokens, 299);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(chances_are_told_at_the_places_that_were_asked_for, fresh, cleared),
        cmocka_unit_test_setup_teardown(what_is_told_is_computed_though_another_one_has_it, fresh, cleared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
