/* Tests of apps/llmserver/metering.c: answers that were lost, calls that failed, ids that come twice. */
#include "tests/unit/apps/llmserver/scripted_ledger.h"

static struct cds_err error(cds_rc code, const char *rule)
{
    struct cds_err err = {0};
    cds_fail(&err, code, "db", "gone");
    cds_err_rule(&err, rule);
    return err;
}

/* Codes of reserve(): 2 the id is another request's, 6 this very reservation is open. */
static void meter_takes_an_open_reservation_for_its_own_only_after_a_lost_answer(void **state)
{
    const struct cds_err lost = error(CDS_UNAVAILABLE, "db.unknown_outcome");
    hold(0);
    answer("reserve(", 1, 6, 0, NULL);
    assert_int_equal(last_code, CDS_CONFLICT);
    hold(1);
    answer("reserve(", 0, 0, 0, &lost);
    assert_int_equal(granted, 0);
    wait_for_call("reserve(");
    answer("reserve(", 1, 6, 0, NULL);
    assert_int_equal(granted, 1);
    hold(2);
    answer("reserve(", 0, 0, 0, &lost);
    wait_for_call("reserve(");
    answer("reserve(", 1, 2, 0, NULL); /* settled long ago, or somebody else's */
    assert_int_equal(granted, 1);
    assert_int_equal(last_code, CDS_CONFLICT);
}

/* Otherwise who sends a used id while the database has a bad moment would run without a hold. */
static void meter_takes_no_replay_for_its_own_after_an_error_that_changed_nothing(void **state)
{
    static const cds_rc codes[] = {CDS_BUSY, CDS_TIMED_OUT, CDS_EXHAUSTED, CDS_UNAVAILABLE}; /* 40P01, 57014, 53*, not sent */
    for (size_t i = 0; i < CDS_ARRAY_LEN(codes); i++) {
        const struct cds_err definite = error(codes[i], "");
        hold(0);
        answer("reserve(", 0, 0, 0, &definite);
        wait_for_call("reserve(");
        answer("reserve(", 1, 6, 0, NULL);
        assert_int_equal(granted, 0);
        assert_int_equal(refused, (int)i + 1);
        assert_int_equal(last_code, CDS_CONFLICT);
    }
    assert_int_equal(open_calls("settle("), 0);
}

/** A reservation whose answers are all lost, until its time is over. */
static void lose_answers_of(int i)
{
    const struct cds_err lost = error(CDS_UNAVAILABLE, "db.unknown_outcome");
    hold(i);
    while (refused == 0) {
        wait_for_call("reserve(");
        answer("reserve(", 0, 0, 0, &lost);
    }
}

static void meter_releases_a_reservation_that_was_given_up_with_its_answer_lost(void **state)
{
    lose_answers_of(0);
    assert_int_equal(last_code, CDS_UNAVAILABLE);
    assert_int_equal(open_calls("settle("), 1);
    assert_non_null(strstr(calls[call_count - 1].params[2], ids[0]));
    assert_string_equal(calls[call_count - 1].params[5], "0");
    assert_string_equal(calls[call_count - 1].params[7], "0");
    /* Until that is booked nobody else may have the id: the release would close the other one's hold. */
    struct cds_meter_request r = request(ids[0]);
    assert_int_equal(cds_meter_reserve(meter, &r, 100, on_granted, NULL, NULL), CDS_CONFLICT);
    answer("settle(", 1, 1, 0, NULL);
    assert_int_equal(cds_meter_reserve(meter, &r, 100, on_granted, NULL, NULL), CDS_OK);
}

static void meter_releases_an_uncertain_reservation_that_is_refused_in_the_end(void **state)
{
    const struct cds_err lost = error(CDS_UNAVAILABLE, "db.unknown_outcome");
    hold(0);
    answer("reserve(", 0, 0, 0, &lost);
    wait_for_call("reserve(");
    answer("reserve(", 1, 4, 55, NULL);
    assert_int_equal(last_code, CDS_BUDGET_EXCEEDED);
    assert_int_equal(open_calls("settle("), 1);
    hold(1);
    answer("reserve(", 1, 4, 55, NULL); /* nothing was lost here */
    assert_int_equal(call_count, 5);
}

static void meter_refuses_the_id_of_a_request_that_is_not_settled(void **state)
{
    struct cds_meter_request r = request(ids[0]), other = r;
    const struct cds_meter_used used = {10, 0, 20};
    struct cds_err err = {0};
    other.user_id = "11111111-1111-4111-8111-222222222222";
    hold(0);
    assert_int_equal(cds_meter_reserve(meter, &r, 100, on_granted, NULL, &err), CDS_CONFLICT);
    assert_int_equal(cds_meter_reserve(meter, &other, 100, on_granted, NULL, &err), CDS_OK);
    answer("reserve(", 1, 1, 0, NULL);
    answer("reserve(", 1, 4, 5, NULL);
    assert_int_equal(cds_meter_reserve(meter, &r, 100, on_granted, NULL, &err), CDS_CONFLICT);
    assert_int_equal(cds_meter_reserve(meter, &other, 100, on_granted, NULL, &err), CDS_OK); /* refused: nothing is held */
    cds_meter_settle(meter, &r, &used, "stop", NULL, NULL);
    assert_int_equal(cds_meter_reserve(meter, &r, 100, on_granted, NULL, &err), CDS_CONFLICT);
    answer("settle(", 1, 1, 0, NULL);
    assert_int_equal(cds_meter_reserve(meter, &r, 100, on_granted, NULL, &err), CDS_OK); /* the ledger itself knows it now */
}

static void meter_books_under_a_new_id_when_another_server_has_taken_it(void **state)
{
    struct cds_meter_request r = request(ids[0]);
    const struct cds_meter_used used = {10, 0, 20}, nothing = {0};
    cds_meter_settle(meter, &r, &used, "stop", on_settled, &settled);
    answer("settle(", 1, 3, 0, NULL);
    assert_int_equal(settled, 0);
    assert_int_equal(open_calls("settle("), 1);
    assert_null(strstr(calls[call_count - 1].params[2], ids[0]));
    assert_string_equal(calls[call_count - 1].params[7], "20");
    answer("settle(", 1, 1, 50, NULL);
    assert_int_equal(last_cost, 50);
    cds_meter_settle(meter, &r, &nothing, "failed", on_settled, &settled);
    answer("settle(", 1, 3, 0, NULL); /* there is nothing to book */
    assert_int_equal(settled, 2);
    assert_true(cds_meter_idle(meter));
}

static void meter_lets_others_pass_a_settlement_that_the_database_refuses(void **state)
{
    const struct cds_err refusal = error(CDS_BAD_PARAM, "");
    struct cds_meter_request bad = request(ids[0]), good = request(ids[1]), late = request(ids[2]);
    const struct cds_meter_used used = {10, 0, 20};
    cds_meter_settle(meter, &late, &used, "stop", on_settled, &last_code);
    cds_meter_settle(meter, &bad, &used, "stop", on_settled, &settled);
    cds_meter_settle(meter, &good, &used, "stop", on_settled, &last_code);
    answer("settle(", 1, 1, 7, NULL);
    answer("settle_many(", 0, 0, 0, &refusal); /* both together: one by one then */
    wait_for_call("settle(");
    assert_string_equal(calls[call_count - 1].params[5], "10");
    assert_non_null(strstr(calls[call_count - 1].params[2], ids[0]));
    uint64_t refused_ms = cds_now_ms();
    answer("settle(", 0, 0, 0, &refusal);
    assert_int_equal(open_calls("settle("), 1); /* at once, without a pause */
    assert_non_null(strstr(calls[call_count - 1].params[2], ids[1]));
    answer("settle(", 1, 1, 8, NULL);
    assert_int_equal(settled, 2);
    assert_false(cds_meter_idle(meter)); /* it is not forgotten */
    cds_meter_settle(meter, &late, &used, "stop", on_settled, &last_code);
    answer("settle(", 1, 2, 7, NULL);
    wait_for_call("settle(");
    assert_true(cds_now_ms() - refused_ms >= 900);
    assert_non_null(strstr(calls[call_count - 1].params[2], ids[0]));
    cds_meter_forget(meter, &settled);
    answer("settle(", 1, 1, 9, NULL);
    assert_int_equal(settled, 3);
    assert_true(cds_meter_idle(meter));
}

static void meter_forgets_the_caller_of_a_parked_settlement(void **state)
{
    const struct cds_err refusal = error(CDS_INTERNAL, "");
    struct cds_meter_request r = request(ids[0]);
    const struct cds_meter_used used = {10, 0, 20};
    cds_meter_settle(meter, &r, &used, "stop", on_settled, &settled);
    answer("settle(", 0, 0, 0, &refusal);
    cds_meter_forget(meter, &settled);
    wait_for_call("settle(");
    answer("settle(", 1, 1, 9, NULL);
    assert_int_equal(settled, 0);
    assert_true(cds_meter_idle(meter));
}

static void meter_asks_for_the_hold_in_all_so_that_an_extension_may_be_repeated(void **state)
{
    const struct cds_err lost = error(CDS_UNAVAILABLE, "db.unknown_outcome");
    struct cds_meter_request r = request(ids[0]);
    const struct cds_meter_used so_far = {10, 0, 90};
    hold(0);
    struct cds_err err = {0};
    assert_int_equal(cds_meter_extend(meter, &r, 256, &so_far, on_granted, NULL, &err), CDS_CONFLICT); /* not held yet */
    answer("reserve(", 1, 1, 0, NULL);
    assert_int_equal(cds_meter_extend(meter, &r, 256, &so_far, on_granted, NULL, NULL), CDS_OK);
    assert_string_equal(calls[call_count - 1].params[2], "356");
    answer("extend(", 0, 0, 0, &lost);
    wait_for_call("extend(");
    assert_string_equal(calls[call_count - 1].params[2], "356");
    answer("extend(", 1, 1, 0, NULL);
    assert_int_equal(granted, 2);
    assert_int_equal(cds_meter_extend(meter, &r, 512, &so_far, on_granted, NULL, NULL), CDS_OK);
    assert_string_equal(calls[call_count - 1].params[2], "868");
}

static void meter_repeats_a_settlement_until_it_is_acknowledged(void **state)
{
    struct cds_err lost = {0};
    cds_fail(&lost, CDS_UNAVAILABLE, "db", "gone");
    struct cds_meter_request r = request(ids[0]);
    const struct cds_meter_used used = {10, 4, 20};
    cds_meter_settle(meter, &r, &used, "stop", on_settled, &settled);
    assert_false(cds_meter_idle(meter));
    for (int i = 0; i < 3; i++) {
        answer("settle(", 0, 0, 0, &lost);
        assert_int_equal(settled, 0);
        assert_false(cds_meter_idle(meter));
        wait_for_call("settle(");
    }
    assert_string_equal(calls[call_count - 1].params[5], "10");
    assert_string_equal(calls[call_count - 1].params[6], "4");
    assert_string_equal(calls[call_count - 1].params[7], "20");
    assert_string_equal(calls[call_count - 1].params[8], "stop");
    answer("settle(", 1, 2, 33, NULL);
    assert_int_equal(settled, 1);
    assert_int_equal(last_cost, 33);
    assert_true(cds_meter_idle(meter));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(meter_takes_an_open_reservation_for_its_own_only_after_a_lost_answer),
        T(meter_takes_no_replay_for_its_own_after_an_error_that_changed_nothing),
        T(meter_releases_a_reservation_that_was_given_up_with_its_answer_lost),
        T(meter_releases_an_uncertain_reservation_that_is_refused_in_the_end),
        T(meter_refuses_the_id_of_a_request_that_is_not_settled),
        T(meter_books_under_a_new_id_when_another_server_has_taken_it),
        T(meter_lets_others_pass_a_settlement_that_the_database_refuses),
        T(meter_forgets_the_caller_of_a_parked_settlement),
        T(meter_asks_for_the_hold_in_all_so_that_an_extension_may_be_repeated),
        T(meter_repeats_a_settlement_until_it_is_acknowledged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
