/* Tests of apps/llmserver/metering.c: settlements that a journal keeps over the end of their server. */
#include "tests/unit/apps/llmserver/scripted_ledger.h"

#include <stdio.h>
#include <unistd.h>

#include "apps/llmserver/journal.h"

static char path[64];
static const struct cds_meter_used used = {10, 4, 20};

static int with_journal(void **state)
{
    snprintf(path, sizeof(path), "/tmp/cds-meter-%d.journal", (int)getpid());
    journal_path = path;
    node = "22222222-2222-4222-8222-222222222222";
    return started(state);
}
static int without(void **state)
{
    stop(state);
    return unlink(path);
}
static void settle(int i)
{
    struct cds_meter_request r = request(ids[i]);
    cds_meter_settle(meter, &r, &used, "length", on_settled, NULL);
}
/** The server ends with what it has, and the next one begins. */
static void next_server(void)
{
    stop(NULL);
    begin();
}

static void meter_books_what_waits_in_the_journal_before_it_closes_what_was_left_open(void **state)
{
    struct cds_meter_request r = request(ids[2]);
    settle(0);
    settle(1);
    next_server();
    assert_int_equal(open_calls("settle("), 1);
    own_clock_pass(loop, 5000);
    assert_int_equal(open_calls("release_node"), 0); /* it would book them with less */
    assert_int_equal(cds_meter_reserve(meter, &r, 100, on_granted, NULL, NULL), CDS_UNAVAILABLE);
    assert_string_equal(calls[0].params[5], "10");
    assert_string_equal(calls[0].params[6], "4");
    assert_string_equal(calls[0].params[7], "20");
    assert_string_equal(calls[0].params[8], "length");
    assert_string_equal(calls[0].params[4], r.admitted);
    answer("settle(", 1, 1, 50, NULL);
    own_clock_pass(loop, 5000);
    assert_int_equal(open_calls("release_node"), 0);
    answer("settle(", 1, 1, 50, NULL);
    wait_for_call("release_node");
    answer("release_node", 1, 0, 0, NULL);
    assert_int_equal(cds_meter_ready(meter, NULL), CDS_OK);
    hold(2);
}

static void meter_asks_again_until_the_database_is_back(void **state)
{
    struct cds_err away = {0};
    cds_fail(&away, CDS_UNAVAILABLE, "db", "gone");
    settle(0);
    next_server();
    for (int i = 0; i < 5; i++) {
        wait_for_call("settle(");
        answer("settle(", 0, 0, 0, &away);
        assert_int_equal(open_calls("release_node"), 0);
    }
    next_server(); /* killed once more before it was back */
    wait_for_call("settle(");
    answer("settle(", 1, 1, 50, NULL);
    wait_for_call("release_node");
}

/* Closing what was left open would book it with less, for good. */
static void meter_waits_for_a_settlement_that_the_database_refuses_by_itself(void **state)
{
    struct cds_err refusal = {0};
    cds_fail(&refusal, CDS_BAD_PARAM, "db", "no");
    settle(0);
    next_server();
    answer("settle(", 0, 0, 0, &refusal);
    own_clock_pass(loop, 900);
    assert_int_equal(open_calls("release_node") + open_calls("settle("), 0);
    wait_for_call("settle(");
    answer("settle(", 1, 1, 50, NULL);
    wait_for_call("release_node");
}

/* Killed between the answer of the database and the place that is emptied: the ledger says that it was booked before. */
static void meter_is_content_with_what_was_booked_before(void **state)
{
    settle(0);
    next_server();
    answer("settle(", 1, 2, 50, NULL);
    wait_for_call("release_node");
    next_server();
    assert_int_equal(call_count, 0);
    wait_for_call("release_node");
}

static void meter_forgets_what_was_booked(void **state)
{
    settle(0);
    settle(1);
    answer("settle(", 1, 1, 50, NULL);
    answer("settle(", 1, 1, 50, NULL);
    next_server();
    assert_int_equal(call_count, 0);
}

/* Its settlement waits for the answer to an extension; its client has all of the text. */
static void meter_has_an_end_in_the_journal_before_it_may_settle_it(void **state)
{
    struct cds_meter_request r = request(ids[0]);
    hold(0);
    answer("reserve(", 1, 1, 0, NULL);
    assert_int_equal(cds_meter_extend(meter, &r, 256, &used, on_granted, NULL, NULL), CDS_OK);
    cds_meter_ended(meter, &r, &used, "stop");
    assert_int_equal(open_calls("settle("), 0);
    next_server();
    assert_string_equal(calls[0].params[7], "20");
    assert_string_equal(calls[0].params[8], "stop");
    answer("settle(", 1, 1, 50, NULL);
    wait_for_call("release_node");
    answer("release_node", 1, 0, 0, NULL);
    hold(1);
    answer("reserve(", 1, 1, 0, NULL);
    r.request_id = ids[1];
    cds_meter_ended(meter, &r, &used, "stop");
    settle(1); /* in the same place */
    answer("settle(", 1, 1, 50, NULL);
    next_server();
    assert_int_equal(call_count, 0);
}

static void meter_books_for_the_node_that_held_the_tokens(void **state)
{
    const char *was = node;
    settle(0);
    settle(1);
    node = "44444444-4444-4444-8444-444444444444"; /* run/llmserver.node was lost, or made anew */
    next_server();
    assert_string_equal(calls[0].params[9], was);
    answer("settle(", 1, 1, 50, NULL);
    assert_int_equal(open_calls("settle("), 1); /* not as one of a batch of ours */
    assert_string_equal(calls[1].params[9], was);
    answer("settle(", 1, 1, 50, NULL);
    wait_for_call("release_node");
    assert_string_equal(calls[call_count - 1].params[0], node);
}

/* A new id that was made up by chance would be another one each time, and each of them would be booked. */
static void meter_finds_the_same_other_id_again(void **state)
{
    char other[CDS_UUID_LEN + 1];
    settle(0);
    answer("settle(", 1, 3, 0, NULL);
    strcpy(other, calls[call_count - 1].params[2]);
    assert_string_not_equal(other, ids[0]);
    assert_true(cds_uuid_valid(other));
    next_server();
    assert_string_equal(calls[0].params[2], ids[0]);
    answer("settle(", 1, 3, 0, NULL);
    assert_string_equal(calls[call_count - 1].params[2], other);
    answer("settle(", 1, 2, 50, NULL);
    next_server();
    assert_int_equal(call_count, 0);
}

static void meter_refuses_new_requests_when_each_place_of_the_journal_is_spoken_for(void **state)
{
    struct cds_meter_request r = request(NULL);
    struct cds_err err = {0};
    char id[CDS_UUID_LEN + 1];
    r.request_id = id;
    for (int i = 0; i < CDS_JOURNAL_PLACES; i++) {
        cds_uuid7(id);
        assert_int_equal(cds_meter_reserve(meter, &r, 1, on_granted, NULL, NULL), CDS_OK);
    }
    cds_uuid7(id);
    assert_int_equal(cds_meter_reserve(meter, &r, 1, on_granted, NULL, &err), CDS_BUSY);
    assert_string_equal(err.rule, "ledger.journal");
    assert_int_equal(cds_rc_http(err.code), 503);
    answer("reserve(", 1, 4, 0, NULL); /* that one needs none after all */
    assert_int_equal(cds_meter_reserve(meter, &r, 1, on_granted, NULL, NULL), CDS_OK);
}

#undef T
#define T(name) cmocka_unit_test_setup_teardown(name, with_journal, without)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(meter_books_what_waits_in_the_journal_before_it_closes_what_was_left_open),
        T(meter_asks_again_until_the_database_is_back),
        T(meter_waits_for_a_settlement_that_the_database_refuses_by_itself),
        T(meter_is_content_with_what_was_booked_before),
        T(meter_forgets_what_was_booked),
        T(meter_has_an_end_in_the_journal_before_it_may_settle_it),
        T(meter_books_for_the_node_that_held_the_tokens),
        T(meter_finds_the_same_other_id_again),
        T(meter_refuses_new_requests_when_each_place_of_the_journal_is_spoken_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
