/* Sets of adapters: who is in one batch with whom, whose cells are shared, and how long one set may keep the others waiting. */
#include "tests/unit/apps/llmworker/sched_model.h"

static struct cds_adapter_set set_of(uint32_t index, float scale)
{
    struct cds_adapter_set set = {.count = 1};
    set.use[0].index = index;
    set.use[0].scale = scale;
    return set;
}

/* What the engine was told, and the set of each sequence. */
static struct cds_adapter_set applied;
static struct cds_adapter_set of_job[JOBS];
static int mixed, told;
static void on_adapt(void *engine, const struct cds_adapter_set *set)
{
    applied = *set;
    told++;
}
static int decode_one_set(void *engine, const struct cds_row *rows, int count)
{
    /* The token of a prompt says whose it is (sched_model.h); what is generated is below 1000. */
    for (int i = 0; i < count; i++)
        if (rows[i].token >= 1000000) {
            int64_t id = (rows[i].token - 1000000) / 5000;
            mixed += !cds_adapter_sets_equal(&of_job[id], &applied);
        }
    return model_decode(engine, rows, count);
}

static cds_rc add_with(struct ask ask, struct cds_adapter_set set)
{
    struct cds_job_spec spec = {.id = ask.id, .token_count = ask.shared + ask.own, .max_tokens = ask.max_tokens, .scope = 1, .adapters = set};
    cds_text_reset(&spec.text);
    spec.tokens = calloc(spec.token_count, sizeof(int32_t));
    for (uint32_t i = 0; i < spec.token_count; i++)
        spec.tokens[i] = token_at(&ask, i);
    of_job[ask.id] = set;
    cds_rc rc = cds_sched_add(sched, &spec, NULL);
    if (rc == CDS_OK)
        cds_sched_start(sched, ask.id, ask.max_tokens);
    return rc;
}

static int fresh_turns(void **state)
{
    ops.adapt = on_adapt;
    ops.decode = decode_one_set;
    applied = (struct cds_adapter_set){0};
    memset(of_job, 0, sizeof(of_job));
    mixed = told = 0;
    return fresh(state);
}
static int cleared_turns(void **state)
{
    ops.adapt = NULL;
    ops.decode = model_decode;
    return cleared(state);
}

static void turns_never_mix_sets_in_one_batch(void **state)
{
    for (int64_t id = 1; id <= 6; id++)
        assert_int_equal(add_with(plain(id, 0, 90, 40), id % 3 ? set_of((uint32_t)(id % 3), 1) : (struct cds_adapter_set){0}), CDS_OK);
    run();
    assert_int_equal(mixed, 0);
    for (int64_t id = 1; id <= 6; id++) {
        assert_true(got[id].ended);
        assert_text(plain(id, 0, 90, 40));
    }
    assert_true(told >= 3);
    assert_int_equal(cds_sched_counters(sched).turns, told);
}

static void turns_share_cells_only_inside_one_set(void **state)
{
    struct cds_adapter_set a = set_of(0, 1), half = set_of(0, 0.5f);
    assert_int_equal(add_with(plain(1, 200, 10, 5), a), CDS_OK);
    run();
    assert_int_equal(add_with(plain(2, 200, 10, 5), half), CDS_OK);
    assert_int_equal(add_with(plain(3, 200, 10, 5), (struct cds_adapter_set){0}), CDS_OK);
    assert_int_equal(add_with(plain(4, 200, 10, 5), a), CDS_OK);
    run();
    assert_int_equal(got[2].report.cached_tokens, 0);
    assert_int_equal(got[3].report.cached_tokens, 0);
    assert_int_equal(got[4].report.cached_tokens, 200);
}

static void turns_let_nobody_follow_a_reader_of_another_set(void **state)
{
    assert_int_equal(add_with(plain(1, 600, 10, 5), set_of(0, 1)), CDS_OK);
    assert_int_equal(add_with(plain(2, 600, 10, 5), set_of(1, 1)), CDS_OK);
    assert_int_equal(add_with(plain(3, 600, 10, 5), set_of(0, 1)), CDS_OK);
    run();
    assert_int_equal(got[2].report.cached_tokens, 0);
    assert_int_equal(got[3].report.cached_tokens, 600);
}

static void turns_change_after_a_few_steps(void **state)
{
    int64_t one = talker(1, 20, 300), two = talker(one + 1, 20, 300);
    assert_int_equal(add_with(plain(one, 0, 20, 300), set_of(0, 1)), CDS_OK);
    assert_int_equal(add_with(plain(two, 0, 20, 300), set_of(1, 1)), CDS_OK);
    uint32_t before = 0;
    int since = 0, longest = 0;
    while (cds_sched_runnable(sched)) {
        cds_sched_step(sched);
        since = got[two].tokens == before ? since + 1 : 0;
        before = got[two].tokens;
        if (!got[two].ended && since > longest)
            longest = since;
    }
    assert_true(longest <= 5);
    assert_text(plain(one, 0, 20, 300));
    assert_text(plain(two, 0, 20, 300));
}

static void turns_read_a_prompt_in_small_pieces_while_another_set_answers(void **state)
{
    int64_t talking = talker(1, 20, 300);
    assert_int_equal(add_with(plain(talking, 0, 20, 300), set_of(0, 1)), CDS_OK);
    while (!got[talking].tokens)
        cds_sched_step(sched);
    assert_int_equal(add_with(plain(talking + 1, 0, 3000, 5), set_of(1, 1)), CDS_OK);
    for (int i = 0; i < 40; i++) {
        cds_sched_step(sched);
        assert_true(model->rows <= 64);
    }
    assert_true(got[talking].tokens > 20);
}

static void adapters_that_do_the_same_are_one_set(void **state)
{
    struct cds_adapter_list list = {.count = 2};
    snprintf(list.one[0].id, sizeof(list.one[0].id), "a");
    snprintf(list.one[1].id, sizeof(list.one[1].id), "b");
    list.one[1].scale = 0.5f;
    struct cds_adapter_set one, two;
    CDS_JSON_AUTO forth = cds_json_pack("[{s:s,s:f},{s:s}]", "id", "a", "scale", 0.25, "id", "b");
    CDS_JSON_AUTO back = cds_json_pack("[{s:s,s:i},{s:s,s:f}]", "id", "b", "scale", 1, "id", "a", "scale", 0.25);
    CDS_JSON_AUTO none = cds_json_pack("[{s:s,s:i}]", "id", "b", "scale", 0);
    CDS_JSON_AUTO wrong = cds_json_pack("[{s:s}]", "id", "c");
    assert_int_equal(cds_adapters_choose(&list, forth, &one, NULL), CDS_OK);
    assert_int_equal(cds_adapters_choose(&list, back, &two, NULL), CDS_OK);
    assert_true(cds_adapter_sets_equal(&one, &two));
    assert_int_equal(one.count, 2);
    assert_int_equal(cds_adapters_choose(&list, none, &one, NULL), CDS_OK);
    assert_int_equal(one.count, 0);
    assert_int_equal(cds_adapters_choose(&list, NULL, &one, NULL), CDS_OK);
    assert_int_equal(one.count, 1);
    assert_int_equal(one.use[0].index, 1);
    struct cds_err err = {0};
    assert_int_equal(cds_adapters_choose(&list, wrong, &two, &err), CDS_BAD_PARAM);
    assert_string_equal(err.message, "This model has no adapter \"c\"; it has \"a\", \"b\".");
    assert_string_equal(err.pointer, "/lora");
}

static void adapters_of_a_load_are_read_and_wrong_texts_refused(void **state)
{
    struct cds_adapter_list list;
    assert_int_equal(cds_adapters_read("{\"adapters\":[\"a=x.gguf\",\"b=y.gguf:-0.5\"]}", "/models", &list, NULL), CDS_OK);
    assert_int_equal(list.count, 2);
    assert_string_equal(list.one[0].path, "/models/x.gguf");
    assert_true(list.one[0].scale == 0 && list.one[1].scale == -0.5f);
    assert_int_equal(cds_adapters_read(NULL, NULL, &list, NULL), CDS_OK);
    assert_int_equal(list.count, 0);
    static const char *const wrong[] = {"{\"adapters\":[\"a\"]}",           "{\"adapters\":[\"=x.gguf\"]}",      "{\"adapters\":[\"a=\"]}",
                                        "{\"adapters\":[\"a=../x.gguf\"]}", "{\"adapters\":[\"a=x.gguf:\"]}",    "{\"adapters\":[\"a=x.gguf:1e9\"]}",
                                        "{\"adapters\":[\"a=x.gguf:1x\"]}", "{\"adapters\":[\"a=x.gguf:nan\"]}", "{\"adapters\":[7]}"};
    for (size_t i = 0; i < CDS_ARRAY_LEN(wrong); i++)
        assert_int_equal(cds_adapters_read(wrong[i], "/models", &list, NULL), CDS_BAD_PARAM);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(turns_never_mix_sets_in_one_batch, fresh_turns, cleared_turns),
        cmocka_unit_test_setup_teardown(turns_share_cells_only_inside_one_set, fresh_turns, cleared_turns),
        cmocka_unit_test_setup_teardown(turns_let_nobody_follow_a_reader_of_another_set, fresh_turns, cleared_turns),
        cmocka_unit_test_setup_teardown(turns_change_after_a_few_steps, fresh_turns, cleared_turns),
        cmocka_unit_test_setup_teardown(turns_read_a_prompt_in_small_pieces_while_another_set_answers, fresh_turns, cleared_turns),
        cmocka_unit_test(adapters_that_do_the_same_are_one_set),
        cmocka_unit_test(adapters_of_a_load_are_read_and_wrong_texts_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
