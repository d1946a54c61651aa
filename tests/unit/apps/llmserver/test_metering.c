/* Tests of apps/llmserver/metering.c: what goes out in which call, and what comes of the answers. */
#include "tests/unit/apps/llmserver/scripted_ledger.h"

#include "apps/llmserver/ledger.h"

/** The statement of a call that was made, answered or not. */
static const char *sql_with(const char *text)
{
    for (int i = 0; i < call_count; i++)
        if (strstr(calls[i].sql, text))
            return calls[i].sql;
    fail_msg("no call with %s", text);
    return "";
}

static void meter_refuses_before_the_predecessor_is_cleaned_up(void **state)
{
    struct cds_meter_request r = request(ids[0]);
    struct cds_err err = {0};
    assert_int_equal(cds_meter_reserve(meter, &r, 100, on_granted, NULL, &err), CDS_UNAVAILABLE);
    assert_int_equal(cds_meter_ready(meter, &err), CDS_UNAVAILABLE);
    answer("release_node", 1, 0, 0, NULL);
    assert_int_equal(cds_meter_ready(meter, &err), CDS_OK);
}

static void meter_reserves_a_single_request_by_the_single_call(void **state)
{
    hold(0);
    assert_int_equal(open_calls("reserve("), 1);
    answer("reserve(", 1, 1, 0, NULL);
    assert_int_equal(granted, 1);
}

static void meter_gathers_what_arrives_while_a_call_is_open(void **state)
{
    hold(0);
    hold(1);
    hold(2);
    assert_int_equal(open_calls("reserve_many"), 0);
    answer("reserve(", 1, 1, 0, NULL);
    assert_int_equal(open_calls("reserve_many"), 1);
    assert_non_null(strstr(calls[call_count - 1].params[2], ids[1]));
    assert_non_null(strstr(calls[call_count - 1].params[2], ids[2]));
    assert_string_equal(calls[call_count - 1].params[5], "{100,100}");
    answer("reserve_many", 2, 1, 0, NULL);
    assert_int_equal(granted, 3);
}

static void meter_sends_a_batch_that_failed_as_a_whole_one_by_one(void **state)
{
    hold(0);
    hold(1);
    hold(2);
    answer("reserve(", 1, 1, 0, NULL);
    answer("reserve_many", 2, 0, 0, NULL);
    answer("reserve(", 1, 1, 0, NULL);
    answer("reserve(", 1, 4, 55, NULL);
    assert_int_equal(granted, 2);
    assert_int_equal(refused, 1);
    assert_int_equal(last_code, CDS_BUDGET_EXCEEDED);
    assert_non_null(strstr(last_message, "7 of 55"));
    assert_non_null(strstr(last_message, "2026-12-01"));
}

static void meter_makes_the_price_that_is_missing(void **state)
{
    hold(0);
    answer("reserve(", 1, 5, 0, NULL);
    assert_int_equal(granted + refused, 0);
    answer("INSERT INTO model_prices", 0, 0, 0, NULL);
    wait_for_call("reserve(");
    answer("reserve(", 1, 1, 0, NULL);
    assert_int_equal(granted, 1);
}

static void meter_books_for_a_caller_that_left(void **state)
{
    struct cds_meter_request r = request(ids[0]);
    const struct cds_meter_used used = {10, 0, 20};
    cds_meter_settle(meter, &r, &used, "gone", on_settled, &settled);
    cds_meter_forget(meter, &settled);
    answer("settle(", 1, 1, 50, NULL);
    assert_int_equal(settled, 0);
    assert_true(cds_meter_idle(meter));
}

static void meter_extends_before_it_reserves(void **state)
{
    struct cds_meter_request r = request(ids[2]);
    const struct cds_meter_used so_far = {10, 0, 250};
    hold(2);
    answer("reserve(", 1, 1, 0, NULL);
    hold(0);
    hold(1);
    assert_int_equal(cds_meter_extend(meter, &r, 512, &so_far, on_granted, NULL, NULL), CDS_OK);
    answer("reserve(", 1, 1, 0, NULL);
    assert_int_equal(open_calls("extend("), 1);
    answer("extend(", 1, 2, 0, NULL);
    assert_int_equal(refused, 1);
    assert_int_equal(open_calls("reserve("), 1);
    answer("reserve(", 1, 1, 0, NULL);
    assert_int_equal(granted, 3);
}

/* A granted extension must survive a crash: what it noted is billed, and nobody uses more than what is held. */
static void meter_waits_for_the_disk_with_all_but_reservations(void **state)
{
    struct cds_meter_request r = request(ids[0]);
    const struct cds_meter_used so_far = {10, 0, 200};
    const char *const quick[] = {"reserve(", "reserve_many("}, *const durable[] = {"extend(", "extend_many(", "settle(", "settle_many("};
    hold(0);
    hold(1);
    hold(2);
    answer("reserve(", 1, 1, 0, NULL);
    answer("reserve_many(", 2, 1, 0, NULL);
    for (int i = 0; i < 3; i++) {
        r.request_id = ids[i];
        assert_int_equal(cds_meter_extend(meter, &r, 256, &so_far, on_granted, NULL, NULL), CDS_OK);
    }
    answer("extend(", 1, 1, 0, NULL);
    answer("extend_many(", 2, 1, 0, NULL);
    for (int i = 0; i < 3; i++) {
        r.request_id = ids[i];
        cds_meter_settle(meter, &r, &so_far, "stop", NULL, NULL);
    }
    answer("settle(", 1, 1, 5, NULL);
    assert_int_equal(open_calls("settle_many("), 1);
    for (size_t i = 0; i < CDS_ARRAY_LEN(quick); i++)
        assert_non_null(strstr(sql_with(quick[i]), "synchronous_commit"));
    for (size_t i = 0; i < CDS_ARRAY_LEN(durable); i++)
        assert_null(strstr(sql_with(durable[i]), "synchronous_commit"));
}

static int started_on_a_full_disk(void **state)
{
    disk_min_bytes = UINT64_MAX - 1; /* no disk has that much */
    started(state);
    disk_min_bytes = 0;
    return 0;
}

/* What runs may go on and what ran is booked; only new work is refused. */
static void meter_refuses_new_reservations_while_the_disk_of_the_database_is_nearly_full(void **state)
{
    struct cds_meter_request r = request(ids[0]);
    const struct cds_meter_used used = {10, 0, 20};
    struct cds_err err = {0};
    assert_int_equal(cds_meter_reserve(meter, &r, 100, on_granted, NULL, &err), CDS_EXHAUSTED);
    assert_string_equal(err.rule, "disk.room");
    assert_true(*err.hint && err.retry_after_ms > 0);
    assert_int_equal(open_calls("reserve"), 0);
    cds_meter_settle(meter, &r, &used, "stop", on_settled, &settled);
    answer("settle(", 1, 1, 5, NULL);
    assert_int_equal(settled, 1);
}

/* A hold that only the database knows of is left to expire. */
static void meter_prolongs_what_it_was_granted_and_nothing_else(void **state)
{
    struct cds_meter_request r = request(ids[0]);
    const struct cds_meter_used used = {10, 0, 20};
    assert_int_equal(cds_ledger_prolong(meter, cds_now_ms() + 1000), CDS_OK);
    assert_int_equal(open_calls("prolong"), 0);
    hold(0);
    answer("reserve(", 1, 1, 0, NULL);
    hold(1);
    answer("reserve(", 1, 1, 0, NULL);
    hold(2); /* no answer yet */
    cds_meter_settle(meter, &r, &used, "stop", NULL, NULL);
    answer("settle(", 1, 1, 5, NULL);
    assert_int_equal(cds_ledger_prolong(meter, cds_now_ms() + 1000), CDS_OK);
    assert_int_equal(open_calls("prolong"), 1);
    assert_string_equal(calls[call_count - 1].params[0], "{11111111-1111-4111-8111-111111111111}");
    assert_string_equal(calls[call_count - 1].params[1], "{00000000-0000-4000-8000-000000000002}");
    assert_string_equal(calls[call_count - 1].params[2], "22222222-2222-4222-8222-222222222222");
    answer("prolong", 1, 1, 0, NULL);
}

static void meter_prolongs_many_in_batches(void **state)
{
    static char many[CDS_METER_BATCH + 1][CDS_UUID_LEN + 1];
    struct cds_meter_request r = request(NULL);
    for (int i = 0; i <= CDS_METER_BATCH; i++) {
        cds_uuid7(many[i]);
        r.request_id = many[i];
        assert_int_equal(cds_meter_reserve(meter, &r, 1, on_granted, NULL, NULL), CDS_OK);
    }
    answer("reserve(", 1, 1, 0, NULL);
    answer("reserve_many(", CDS_METER_BATCH, 1, 0, NULL);
    assert_int_equal(granted, CDS_METER_BATCH + 1);
    assert_int_equal(cds_ledger_prolong(meter, cds_now_ms() + 1000), CDS_OK);
    assert_int_equal(open_calls("prolong"), 2);
    assert_int_equal(strlen(calls[call_count - 2].params[1]), CDS_METER_BATCH * (CDS_UUID_LEN + 1) + 1);
    assert_int_equal(strlen(calls[call_count - 1].params[1]), CDS_UUID_LEN + 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(meter_refuses_before_the_predecessor_is_cleaned_up, start, stop),
        T(meter_reserves_a_single_request_by_the_single_call),
        T(meter_gathers_what_arrives_while_a_call_is_open),
        T(meter_sends_a_batch_that_failed_as_a_whole_one_by_one),
        T(meter_makes_the_price_that_is_missing),
        T(meter_books_for_a_caller_that_left),
        T(meter_extends_before_it_reserves),
        T(meter_waits_for_the_disk_with_all_but_reservations),
        T(meter_prolongs_what_it_was_granted_and_nothing_else),
        T(meter_prolongs_many_in_batches),
        cmocka_unit_test_setup_teardown(meter_refuses_new_reservations_while_the_disk_of_the_database_is_nearly_full, started_on_a_full_disk, stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
