/* The login throttle, on a clock of the test's own. */
#include "apps/auth/throttle.h"
#include "tests/support/test.h"

static int setup(void **state)
{
    struct cds_throttle *throttle = NULL;
    assert_int_equal(cds_throttle_new(&throttle, NULL), CDS_OK);
    *state = throttle;
    return 0;
}

static int teardown(void **state)
{
    struct cds_throttle *throttle = *state;
    cds_throttle_free(&throttle);
    return 0;
}

static void refuses(struct cds_throttle *throttle, const char *ip, const char *account, uint64_t now_ms, const char *rule, uint32_t wait_ms)
{
    struct cds_err err = {0};
    assert_int_equal(cds_throttle_begin(throttle, ip, account, now_ms, &err), CDS_RATE_LIMITED);
    assert_string_equal(err.rule, rule);
    assert_int_equal(err.retry_after_ms, wait_ms);
    assert_true(*err.message && *err.hint);
}

static void takes(struct cds_throttle *throttle, const char *ip, const char *account, uint64_t now_ms)
{
    assert_int_equal(cds_throttle_begin(throttle, ip, account, now_ms, NULL), CDS_OK);
}

static void an_address_has_five_tries_and_gets_one_back_every_twelve_seconds(void **state)
{
    for (int i = 0; i < CDS_THROTTLE_BURST; i++)
        takes(*state, "192.0.2.1", NULL, 1000);
    refuses(*state, "192.0.2.1", NULL, 1000, "login.ip", 12000);
    refuses(*state, "192.0.2.1", NULL, 12999, "login.ip", 1);
    takes(*state, "192.0.2.1", NULL, 13000);
    refuses(*state, "192.0.2.1", NULL, 13000, "login.ip", 12000);
    takes(*state, "192.0.2.2", NULL, 13000);
}

static void a_refused_try_does_not_lengthen_the_wait(void **state)
{
    for (int i = 0; i < CDS_THROTTLE_BURST; i++)
        takes(*state, "192.0.2.1", NULL, 1000);
    for (int i = 0; i < 100; i++)
        refuses(*state, "192.0.2.1", NULL, 1000, "login.ip", 12000);
    takes(*state, "192.0.2.1", NULL, 13000);
}

static void success_gives_the_try_back(void **state)
{
    for (int i = 0; i < 50; i++) {
        takes(*state, "192.0.2.1", "ada@example.org", 1000);
        cds_throttle_succeeded(*state, "192.0.2.1", "ada@example.org", 1000);
    }
}

static void tries_in_parallel_count_before_any_of_them_has_failed(void **state)
{
    /* Nobody calls back between these: the answers are still being worked on. */
    for (int i = 0; i < CDS_THROTTLE_FREE; i++)
        takes(*state, "192.0.2.1", "ada@example.org", 1000);
    refuses(*state, "192.0.2.1", "ada@example.org", 1000, "login.account", 1000);
}

/* An address for each i. */
static const char *from(unsigned i)
{
    static char ip[32];
    snprintf(ip, sizeof(ip), "10.%u.%u.1", i / 250, i % 250);
    return ip;
}

static void an_account_waits_longer_after_each_failure_and_thirty_seconds_at_most(void **state)
{
    static const uint32_t waits[] = {1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000};
    uint64_t now_ms = 1000;
    for (int i = 0; i < CDS_THROTTLE_FREE; i++)
        takes(*state, "192.0.2.1", "ada@example.org", now_ms);
    for (size_t i = 0; i < CDS_ARRAY_LEN(waits); i++) {
        cds_throttle_succeeded(*state, "192.0.2.1", NULL, now_ms); /* so that it is not the address that waits */
        refuses(*state, "192.0.2.1", "ada@example.org", now_ms, "login.account", waits[i]);
        now_ms += waits[i];
        takes(*state, "192.0.2.1", "ada@example.org", now_ms);
    }
    takes(*state, "192.0.2.99", "bob@example.org", now_ms);
}

static void an_account_starts_afresh_after_success_or_a_quiet_quarter_of_an_hour(void **state)
{
    for (int i = 0; i < CDS_THROTTLE_FREE; i++)
        takes(*state, "192.0.2.1", "ada@example.org", 1000);
    takes(*state, "192.0.2.1", "ada@example.org", 2000);
    cds_throttle_succeeded(*state, "192.0.2.1", "ada@example.org", 2000);
    for (int i = 0; i < CDS_THROTTLE_FREE; i++)
        takes(*state, "192.0.2.1", "ada@example.org", 50000);
    refuses(*state, "192.0.2.1", "ada@example.org", 50000, "login.account", 1000);
    takes(*state, "192.0.2.1", "ada@example.org", 50000 + CDS_THROTTLE_FORGET_MS);
    takes(*state, "192.0.2.1", "ada@example.org", 50000 + CDS_THROTTLE_FORGET_MS);
}

static void an_outsider_makes_nobody_wait_elsewhere(void **state)
{
    for (int i = 0; i < CDS_THROTTLE_FREE; i++)
        takes(*state, "192.0.2.66", "ada@example.org", 1000);
    refuses(*state, "192.0.2.66", "ada@example.org", 1000, "login.account", 1000);
    takes(*state, "192.0.2.1", "ada@example.org", 1000);
}

static void guesses_from_many_addresses_are_slowed_down_together_but_not_at_the_addresses_of_the_owner(void **state)
{
    takes(*state, "192.0.2.1", "ada@example.org", 1000);
    cds_throttle_succeeded(*state, "192.0.2.1", "ada@example.org", 1000);
    for (unsigned i = 0; i < CDS_THROTTLE_ACCOUNT_BURST; i++)
        takes(*state, from(i), "ada@example.org", 1000);
    refuses(*state, from(1000), "ada@example.org", 1000, "login.account", CDS_THROTTLE_ACCOUNT_MS);
    takes(*state, "192.0.2.1", "ada@example.org", 1000);
    takes(*state, from(1000), "bob@example.org", 1000);
    takes(*state, from(1001), "ada@example.org", 1000 + CDS_THROTTLE_ACCOUNT_MS);
    refuses(*state, from(1002), "ada@example.org", 1000 + CDS_THROTTLE_ACCOUNT_MS, "login.account", CDS_THROTTLE_ACCOUNT_MS);
}

static void a_flood_of_failures_does_not_make_the_address_of_an_owner_a_strange_one(void **state)
{
    char account[64];
    takes(*state, "192.0.2.1", "ada@example.org", 1000);
    cds_throttle_succeeded(*state, "192.0.2.1", "ada@example.org", 1000);
    for (unsigned i = 0; i < 40000; i++) {
        snprintf(account, sizeof(account), "user%u@example.org", i);
        takes(*state, from(i), account, 2000 + i);
    }
    for (unsigned i = 0; i < CDS_THROTTLE_ACCOUNT_BURST; i++)
        takes(*state, from(50000 + i), "ada@example.org", 50000);
    refuses(*state, from(60000), "ada@example.org", 50000, "login.account", CDS_THROTTLE_ACCOUNT_MS);
    takes(*state, "192.0.2.1", "ada@example.org", 50000);
}

static void sessions_and_keys_are_not_made_without_end(void **state)
{
    struct cds_err err = {0};
    for (int i = 0; i < CDS_THROTTLE_MADE_BURST; i++) {
        takes(*state, "192.0.2.1", "ada@example.org", 1000);
        cds_throttle_succeeded(*state, "192.0.2.1", "ada@example.org", 1000);
        assert_int_equal(cds_throttle_make(*state, "ada", 1000, NULL), CDS_OK);
    }
    refuses(*state, "192.0.2.1", "ada@example.org", 1000, "login.often", CDS_THROTTLE_MADE_MS);
    assert_int_equal(cds_throttle_make(*state, "ada", 1000, &err), CDS_RATE_LIMITED);
    assert_string_equal(err.rule, "key.often");
    takes(*state, "192.0.2.1", "bob@example.org", 1000);
    takes(*state, "192.0.2.1", "ada@example.org", 1000 + CDS_THROTTLE_MADE_MS);
    assert_int_equal(cds_throttle_make(*state, "ada", 1000 + CDS_THROTTLE_MADE_MS, NULL), CDS_OK);
}

static void undo_counts_for_neither(void **state)
{
    for (int i = 0; i < 50; i++) {
        takes(*state, "192.0.2.1", "ada@example.org", 1000);
        cds_throttle_undo(*state, "192.0.2.1", "ada@example.org", 1000);
    }
}

static void ipv6_addresses_of_one_network_count_together(void **state)
{
    char ip[64];
    for (int i = 0; i < CDS_THROTTLE_BURST; i++) {
        snprintf(ip, sizeof(ip), "2001:db8:1:2::%x", i + 1);
        takes(*state, ip, NULL, 1000);
    }
    refuses(*state, "2001:db8:1:2:ffff::1", NULL, 1000, "login.ip", 12000);
    takes(*state, "2001:db8:1:3::1", NULL, 1000);
}

static void a_full_table_keeps_working(void **state)
{
    char ip[64], account[64];
    for (int i = 0; i < 40000; i++) {
        snprintf(ip, sizeof(ip), "10.%d.%d.%d", i >> 16, i >> 8 & 255, i & 255);
        snprintf(account, sizeof(account), "user%d@example.org", i);
        takes(*state, ip, account, 1000 + (uint64_t)i);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_address_has_five_tries_and_gets_one_back_every_twelve_seconds, setup, teardown),
        cmocka_unit_test_setup_teardown(a_refused_try_does_not_lengthen_the_wait, setup, teardown),
        cmocka_unit_test_setup_teardown(success_gives_the_try_back, setup, teardown),
        cmocka_unit_test_setup_teardown(tries_in_parallel_count_before_any_of_them_has_failed, setup, teardown),
        cmocka_unit_test_setup_teardown(an_account_waits_longer_after_each_failure_and_thirty_seconds_at_most, setup, teardown),
        cmocka_unit_test_setup_teardown(an_account_starts_afresh_after_success_or_a_quiet_quarter_of_an_hour, setup, teardown),
        cmocka_unit_test_setup_teardown(an_outsider_makes_nobody_wait_elsewhere, setup, teardown),
        cmocka_unit_test_setup_teardown(guesses_from_many_addresses_are_slowed_down_together_but_not_at_the_addresses_of_the_owner, setup, teardown),
        cmocka_unit_test_setup_teardown(a_flood_of_failures_does_not_make_the_address_of_an_owner_a_strange_one, setup, teardown),
        cmocka_unit_test_setup_teardown(sessions_and_keys_are_not_made_without_end, setup, teardown),
        cmocka_unit_test_setup_teardown(undo_counts_for_neither, setup, teardown),
        cmocka_unit_test_setup_teardown(ipv6_addresses_of_one_network_count_together, setup, teardown),
        cmocka_unit_test_setup_teardown(a_full_table_keeps_working, setup, teardown),
    };
    return RUN_ALL(tests);
}
