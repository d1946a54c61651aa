/* Tests of apps/llmserver/rates.c: token buckets of users and keys. */
#include "tests/support/test.h"

#include "apps/llmserver/rates.h"
#include "lib/base/str.h"

#define USER "11111111-1111-4111-8111-111111111111"
#define KEY "22222222-2222-4222-8222-222222222222"
#define OTHER "33333333-3333-4333-8333-333333333333"
#define KEY2 "44444444-4444-4444-8444-444444444444"

static struct cds_rates *rates;

static int make(void **state)
{
    return cds_rates_new(1, &rates, NULL);
}
static int unmake(void **state)
{
    cds_rates_free(&rates);
    return 0;
}

static struct cds_rate_who user_of(uint32_t requests, uint64_t tokens, uint32_t concurrent)
{
    return (struct cds_rate_who){.user_id = USER, .key_id = "", .user = {requests, tokens, concurrent}};
}
static cds_rc begin(const struct cds_rate_who *who, uint64_t now_ms, struct cds_err *err)
{
    cds_rc rc = cds_rates_begin(rates, who, now_ms, err);
    if (rc == CDS_OK)
        cds_rates_end(rates, who, now_ms);
    return rc;
}
/** What is taken of tokens; -1: nothing. */
static int64_t take(const struct cds_rate_who *who, uint64_t least, uint64_t most, uint64_t now_ms, struct cds_err *err)
{
    uint64_t taken = 0;
    return cds_rates_take(rates, who, least, most, now_ms, &taken, err) == CDS_OK ? (int64_t)taken : -1;
}

static void a_minute_of_requests_may_come_at_once_and_one_more_waits_its_share(void **state)
{
    struct cds_rate_who who = user_of(60, 0, 0);
    struct cds_err err = {0};
    for (int i = 0; i < 60; i++)
        assert_int_equal(begin(&who, 1000, &err), CDS_OK);
    assert_int_equal(begin(&who, 1000, &err), CDS_RATE_LIMITED);
    assert_string_equal(err.rule, "rate.user.requests");
    assert_int_equal(err.retry_after_ms, 1000);
    assert_int_equal(begin(&who, 1999, &err), CDS_RATE_LIMITED);
    assert_int_equal(err.retry_after_ms, 1);
    assert_int_equal(begin(&who, 2000, &err), CDS_OK);
    assert_int_equal(begin(&who, 2000, &err), CDS_RATE_LIMITED);
}

static void load_below_the_limit_is_never_refused(void **state)
{
    struct cds_rate_who who = user_of(60, 6000, 0);
    struct cds_err err = {0};
    for (uint64_t ms = 0; ms < 3600000; ms += 1667) { /* 60 % of the limit for an hour */
        assert_int_equal(begin(&who, ms, &err), CDS_OK);
        assert_int_equal(take(&who, 100, 100, ms, &err), 100);
    }
}

static void what_is_let_in_never_passes_the_limit_whatever_the_pattern(void **state)
{
    struct cds_rate_who who = user_of(0, 1000, 0);
    struct cds_err err = {0};
    uint64_t seed = 7, sum = 0, ms = 0;
    for (int i = 0; i < 20000; i++) {
        seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
        ms += (seed >> 33) % 50;
        int64_t taken = take(&who, 1, 1 + (seed >> 40) % 300, ms, &err);
        sum += taken > 0 ? (uint64_t)taken : 0;
        assert_true(sum <= 1000 + ms * 1000 / 60000);
    }
    assert_true(sum > ms * 1000 / 60000 * 9 / 10); /* and the limit can be used */
}

static void tokens_that_were_not_used_come_back_and_no_more_than_a_minute_is_kept(void **state)
{
    struct cds_rate_who who = user_of(0, 100, 0);
    struct cds_err err = {0};
    assert_int_equal(take(&who, 100, 100, 0, &err), 100);
    assert_int_equal(take(&who, 1, 1, 0, &err), -1);
    assert_string_equal(err.rule, "rate.user.tokens");
    assert_int_equal(err.retry_after_ms, 600);
    cds_rates_give(rates, &who, 70, 0);
    assert_int_equal(take(&who, 70, 70, 0, &err), 70);
    assert_int_equal(take(&who, 1, 1, 0, &err), -1);
    cds_rates_give(rates, &who, 1000, 3600000);
    assert_int_equal(take(&who, 1, 200, 3600000, &err), 100);
}

static void a_request_takes_what_there_is_down_to_its_least(void **state)
{
    struct cds_rate_who who = user_of(0, 100, 0);
    struct cds_err err = {0};
    assert_int_equal(take(&who, 20, 276, 0, &err), 100);
    assert_int_equal(take(&who, 20, 276, 6000, &err), -1);
    assert_int_equal(take(&who, 20, 276, 12000, &err), 20);
    assert_int_equal(take(&who, 101, 276, 12000, &err), -1); /* never fits */
    assert_string_equal(err.rule, "rate.user.too_large");
    assert_int_equal(err.retry_after_ms, 0);
}

static void no_more_than_so_many_run_at_the_same_time(void **state)
{
    struct cds_rate_who who = user_of(0, 0, 2);
    struct cds_err err = {0};
    assert_int_equal(cds_rates_begin(rates, &who, 0, &err), CDS_OK);
    assert_int_equal(cds_rates_begin(rates, &who, 0, &err), CDS_OK);
    assert_int_equal(cds_rates_begin(rates, &who, 0, &err), CDS_RATE_LIMITED);
    assert_string_equal(err.rule, "rate.user.concurrency");
    cds_rates_end(rates, &who, 0);
    assert_int_equal(cds_rates_begin(rates, &who, 0, &err), CDS_OK);
}

static void a_key_counts_for_itself_and_for_its_user_and_a_refusal_takes_from_neither(void **state)
{
    struct cds_rate_who with_key = {USER, KEY, {3, 0, 0}, {2, 0, 0}}, without = user_of(3, 0, 0);
    struct cds_err err = {0};
    assert_int_equal(begin(&with_key, 0, &err), CDS_OK);
    assert_int_equal(begin(&with_key, 0, &err), CDS_OK);
    assert_int_equal(begin(&with_key, 0, &err), CDS_RATE_LIMITED);
    assert_string_equal(err.rule, "rate.key.requests");
    assert_int_equal(begin(&without, 0, &err), CDS_OK); /* the third of the user's */
    assert_int_equal(begin(&without, 0, &err), CDS_RATE_LIMITED);
    assert_int_equal(begin(&with_key, 40000, &err), CDS_OK);
}

static void another_limit_holds_at_once_and_gives_back_nothing(void **state)
{
    struct cds_rate_who who = user_of(10, 0, 0);
    struct cds_err err = {0};
    for (int i = 0; i < 8; i++)
        assert_int_equal(begin(&who, 0, &err), CDS_OK);
    who.user.requests_per_minute = 8;
    assert_int_equal(begin(&who, 0, &err), CDS_RATE_LIMITED);
    who.user.requests_per_minute = 9;
    assert_int_equal(begin(&who, 0, &err), CDS_OK);
    assert_int_equal(begin(&who, 0, &err), CDS_RATE_LIMITED);
}

static void servers_that_share_a_limit_enforce_their_part(void **state)
{
    struct cds_rate_who who = user_of(60, 0, 1);
    struct cds_err err = {0};
    cds_rates_free(&rates);
    assert_int_equal(cds_rates_new(3, &rates, NULL), CDS_OK);
    for (int i = 0; i < 20; i++)
        assert_int_equal(begin(&who, 0, &err), CDS_OK);
    assert_int_equal(begin(&who, 0, &err), CDS_RATE_LIMITED);
}

static void the_lines_say_limit_rest_and_time(void **state)
{
    struct cds_rate_who who = {USER, KEY, {60, 0, 4}, {0, 600, 0}};
    struct cds_rate_line lines[CDS_RATE_LINES];
    struct cds_err err = {0};
    assert_int_equal(cds_rates_begin(rates, &who, 0, &err), CDS_OK);
    assert_int_equal(take(&who, 100, 100, 0, &err), 100);
    assert_int_equal(cds_rates_lines(rates, &who, 0, lines), 3);
    assert_string_equal(lines[0].name, "key-tokens");
    assert_int_equal(lines[0].left, 500);
    assert_int_equal(lines[0].full_in_ms, 10000);
    assert_int_equal(lines[0].next_in_ms, 100);
    assert_string_equal(lines[1].name, "user-requests");
    assert_int_equal(lines[1].left, 59);
    assert_int_equal(lines[1].next_in_ms, 1000);
    assert_string_equal(lines[2].name, "user-concurrency");
    assert_int_equal(lines[2].left, 3);
}

static void the_time_of_a_line_is_that_in_which_no_more_than_the_rest_may_be_used(void **state)
{
    struct cds_rate_who who = user_of(3, 0, 0);
    struct cds_rate_line lines[CDS_RATE_LINES];
    struct cds_err err = {0};
    assert_int_equal(begin(&who, 0, &err), CDS_OK);
    assert_int_equal(begin(&who, 0, &err), CDS_OK);
    assert_int_equal(cds_rates_lines(rates, &who, 5000, lines), 1);
    assert_int_equal(lines[0].left, 1);
    assert_int_equal(lines[0].full_in_ms, 35000);
    assert_int_equal(lines[0].next_in_ms, 15000);
    assert_int_equal(cds_rates_lines(rates, &who, 60000, lines), 1);
    assert_int_equal(lines[0].left, 3); /* all of it: what is taken now is back in a third of a minute */
    assert_int_equal(lines[0].next_in_ms, 20000);
}

static void who_is_refused_waits_until_every_limit_has_room_again(void **state)
{
    struct cds_rate_who who = {USER, KEY, {1, 0, 0}, {6, 0, 0}};
    struct cds_err err = {0};
    assert_int_equal(begin(&who, 0, &err), CDS_OK);
    assert_int_equal(begin(&who, 0, &err), CDS_RATE_LIMITED);
    assert_string_equal(err.rule, "rate.user.requests");
    assert_int_equal(err.retry_after_ms, 60000);
    who.key.requests_per_minute = 1; /* the key refuses, too, and first */
    assert_int_equal(begin(&who, 0, &err), CDS_RATE_LIMITED);
    assert_string_equal(err.rule, "rate.key.requests");
    assert_int_equal(err.retry_after_ms, 60000);
    struct cds_rate_who tokens = {OTHER, KEY2, {0, 60, 0}, {0, 600, 0}};
    assert_int_equal(take(&tokens, 60, 60, 0, &err), 60);
    tokens.key.tokens_per_minute = 61;
    assert_int_equal(take(&tokens, 30, 30, 0, &err), -1);
    assert_string_equal(err.rule, "rate.key.tokens");
    assert_int_equal(err.retry_after_ms, 30000); /* the user's: the key's alone would be shorter */
    assert_int_equal(take(&tokens, 61, 61, 0, &err), -1);
    assert_string_equal(err.rule, "rate.user.too_large"); /* it never fits the user's, whatever the key says for now */
}

static void who_is_back_at_the_full_minute_is_forgotten_and_the_table_has_an_end(void **state)
{
    struct cds_err err = {0};
    for (unsigned i = 0; i < CDS_RATE_SUBJECTS; i++) {
        char id[40];
        snprintf(id, sizeof(id), "%08x-0000-4000-8000-000000000000", i);
        struct cds_rate_who who = {id, "", {1, 0, 0}, {0, 0, 0}};
        assert_int_equal(begin(&who, 1000, &err), CDS_OK);
    }
    assert_int_equal(cds_rates_count(rates), CDS_RATE_SUBJECTS);
    struct cds_rate_who who = user_of(1, 0, 0);
    assert_int_equal(begin(&who, 2000, &err), CDS_BUSY);
    assert_int_equal(begin(&who, 61000, &err), CDS_OK);
    assert_int_equal(cds_rates_count(rates), 1);
}

static void the_largest_limits_do_not_overflow(void **state)
{
    struct cds_rate_who who = user_of(1000000, 1000000000000, 10000);
    struct cds_err err = {0};
    assert_int_equal(take(&who, 1, UINT32_MAX, UINT64_C(1) << 40, &err), UINT32_MAX);
    assert_int_equal(take(&who, 1, 1000000000000, (UINT64_C(1) << 40) + 1, &err), 1000000000000 - UINT32_MAX + 16666666);
}

#define T(name) cmocka_unit_test_setup_teardown(name, make, unmake)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_minute_of_requests_may_come_at_once_and_one_more_waits_its_share),
        T(load_below_the_limit_is_never_refused),
        T(what_is_let_in_never_passes_the_limit_whatever_the_pattern),
        T(tokens_that_were_not_used_come_back_and_no_more_than_a_minute_is_kept),
        T(a_request_takes_what_there_is_down_to_its_least),
        T(no_more_than_so_many_run_at_the_same_time),
        T(a_key_counts_for_itself_and_for_its_user_and_a_refusal_takes_from_neither),
        T(another_limit_holds_at_once_and_gives_back_nothing),
        T(servers_that_share_a_limit_enforce_their_part),
        T(the_lines_say_limit_rest_and_time),
        T(the_time_of_a_line_is_that_in_which_no_more_than_the_rest_may_be_used),
        T(who_is_refused_waits_until_every_limit_has_room_again),
        T(who_is_back_at_the_full_minute_is_forgotten_and_the_table_has_an_end),
        T(the_largest_limits_do_not_overflow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
