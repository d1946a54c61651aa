/* tests/unit/apps/llmserver/test_replay.c: kept events without readers: numbers, ends, bounds. Readers are in tests/service/llm_resume.test.mjs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "apps/llmserver/replay.h"
#include "tests/support/own_clock.h"

static const char user[] = "01234567-89ab-7cde-8f01-23456789abc0", other[] = "01234567-89ab-7cde-8f01-23456789abc1";
static const char id[] = "01234567-89ab-7cde-8f01-23456789abcd";

struct rig {
    struct cds_loop *loop;
    struct cds_replays *all;
    unsigned abandoned;
};

static void on_abandoned(void *user_data)
{
    ((struct rig *)user_data)->abandoned++;
}

static struct rig *open_rig(size_t bytes)
{
    struct rig *rig = calloc(1, sizeof(*rig));
    struct cds_replay_limits limits = {bytes, 300, 300};
    assert_non_null(rig);
    assert_int_equal(cds_loop_new(&rig->loop, NULL), CDS_OK);
    assert_int_equal(cds_replays_new(rig->loop, &limits, &rig->all, NULL), CDS_OK);
    return rig;
}

static void close_rig(struct rig *rig)
{
    cds_replays_free(&rig->all);
    cds_loop_free(&rig->loop);
    free(rig);
}

static void add(struct cds_replay *replay, unsigned events, size_t size)
{
    char *text = calloc(1, size + 16);
    assert_non_null(text);
    memcpy(text, "data: ", 6);
    memset(text + 6, 'x', size);
    memcpy(text + 6 + size, "\n\n", 2);
    for (unsigned i = 0; i < events; i++)
        cds_replay_add(replay, text, size + 8);
    free(text);
}

static void replay_is_found_by_its_user_alone_under_all_its_names(void **state)
{
    struct rig *rig = open_rig(1 << 20);
    struct cds_replay *replay = cds_replay_new(rig->all, user, id, on_abandoned, rig);
    cds_replay_also(replay, "11111111-89ab-7cde-8f01-23456789abcd");
    assert_ptr_equal(cds_replay_find(rig->all, user, id), replay);
    assert_ptr_equal(cds_replay_find(rig->all, user, "resp_0123456789ab7cde8f0123456789abcd"), replay);
    assert_ptr_equal(cds_replay_find(rig->all, user, "msg_1111111189ab7cde8f0123456789abcd"), replay);
    assert_null(cds_replay_find(rig->all, other, id));
    static const char *const strangers[] = {"resp_0123456789ab7cde8f0123456789abc", "resp_0123456789ab7cde8f0123456789abcd0", "resp_", "", "x"};
    for (size_t i = 0; i < sizeof(strangers) / sizeof(strangers[0]); i++)
        assert_null(cds_replay_find(rig->all, user, strangers[i]));
    close_rig(rig);
}

static void replay_counts_events_and_not_comments(void **state)
{
    struct rig *rig = open_rig(1 << 20);
    struct cds_replay *replay = cds_replay_new(rig->all, user, id, on_abandoned, rig);
    static const char two[] = "event: a\ndata: 1\n\n: a comment\n\ndata: 2\n\n";
    cds_replay_add(replay, two, sizeof(two) - 1);
    assert_int_equal(cds_replay_has(replay, -1, NULL), CDS_OK);
    assert_int_equal(cds_replay_has(replay, 1, NULL), CDS_OK);
    assert_int_equal(cds_replays_bytes(rig->all), strlen("id: 0\nevent: a\ndata: 1\n\nid: 1\ndata: 2\n\n"));
    struct cds_err err = {0};
    assert_int_equal(cds_replay_has(replay, 2, &err), CDS_BAD_PARAM);
    assert_non_null(strstr(err.message, "not told yet"));
    close_rig(rig);
}

static void replay_is_given_up_without_a_reader_and_forgotten_after_its_end(void **state)
{
    struct rig *rig = open_rig(1 << 20);
    struct cds_replay *replay = cds_replay_new(rig->all, user, id, on_abandoned, rig);
    own_clock_pass(rig->loop, 700);
    assert_int_equal(rig->abandoned, 0); /* nobody left yet */
    cds_replay_left(replay);
    own_clock_pass(rig->loop, 290);
    assert_int_equal(rig->abandoned, 0); /* it may come back */
    own_clock_pass(rig->loop, 510);
    assert_int_equal(rig->abandoned, 1);
    assert_int_equal(cds_replays_count(rig->all), 1);
    cds_replay_end(replay);
    own_clock_pass(rig->loop, 290);
    assert_int_equal(cds_replays_count(rig->all), 1);
    own_clock_pass(rig->loop, 510);
    assert_int_equal(rig->abandoned, 1);
    assert_int_equal(cds_replays_count(rig->all), 0);
    assert_int_equal(cds_replays_bytes(rig->all), 0);
    close_rig(rig);
}

static void replay_keeps_to_its_bytes_and_says_what_is_gone(void **state)
{
    struct rig *rig = open_rig(100000);
    struct cds_replay *ended = cds_replay_new(rig->all, other, id, on_abandoned, rig);
    add(ended, 40, 1000);
    cds_replay_end(ended);
    struct cds_replay *replay = cds_replay_new(rig->all, user, id, on_abandoned, rig);
    add(replay, 60, 1000);
    assert_null(cds_replay_find(rig->all, other, id)); /* the ended one went first */
    assert_int_equal(cds_replay_has(replay, -1, NULL), CDS_OK);
    for (unsigned i = 0; i < 200; i++) {
        add(replay, 1, 1000);
        assert_true(cds_replays_bytes(rig->all) <= 100000);
    }
    struct cds_err err = {0};
    assert_int_equal(cds_replay_has(replay, -1, &err), CDS_CONFLICT);
    assert_non_null(strstr(err.message, "not kept any more"));
    assert_int_equal(cds_replay_has(replay, 259, NULL), CDS_OK);
    close_rig(rig);
}

static void replay_survives_one_event_that_is_larger_than_everything(void **state)
{
    struct rig *rig = open_rig(1000);
    struct cds_replay *replay = cds_replay_new(rig->all, user, id, on_abandoned, rig);
    add(replay, 1, 5000);
    assert_int_equal(cds_replays_bytes(rig->all), 0);
    assert_int_equal(cds_replay_has(replay, -1, NULL), CDS_CONFLICT);
    assert_int_equal(cds_replay_has(replay, 0, NULL), CDS_OK);
    add(replay, 1, (size_t)CDS_REPLAY_BYTES_MAX * 3);
    assert_int_equal(cds_replay_has(replay, 1, NULL), CDS_OK);
    assert_int_equal(cds_replays_bytes(rig->all), 0);
    close_rig(rig);
}

static void replay_has_a_ceiling_of_streams(void **state)
{
    struct rig *rig = open_rig(1 << 20);
    struct cds_replay *first = cds_replay_new(rig->all, user, id, on_abandoned, rig);
    for (unsigned i = 1; i < CDS_REPLAY_COUNT_MAX; i++)
        assert_non_null(cds_replay_new(rig->all, other, id, on_abandoned, rig));
    assert_null(cds_replay_new(rig->all, other, id, on_abandoned, rig));
    cds_replay_end(first);
    assert_non_null(cds_replay_new(rig->all, other, id, on_abandoned, rig));
    assert_int_equal(cds_replays_count(rig->all), CDS_REPLAY_COUNT_MAX);
    close_rig(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replay_is_found_by_its_user_alone_under_all_its_names),
        cmocka_unit_test(replay_counts_events_and_not_comments),
        cmocka_unit_test(replay_is_given_up_without_a_reader_and_forgotten_after_its_end),
        cmocka_unit_test(replay_keeps_to_its_bytes_and_says_what_is_gone),
        cmocka_unit_test(replay_survives_one_event_that_is_larger_than_everything),
        cmocka_unit_test(replay_has_a_ceiling_of_streams),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
