/* Tests of apps/cyberdevstudio/parts.c and the deadlines of stop.c. */
#include "tests/support/test.h"

#include "apps/cyberdevstudio/parts.h"
#include "apps/cyberdevstudio/supervisor.h"

static void backoff_doubles_from_100_ms_to_10_s(void **state)
{
    static const uint32_t wanted[] = {100, 200, 400, 800, 1600, 3200, 6400, 10000, 10000};
    uint32_t ms = 0;
    for (size_t i = 0; i < CDS_ARRAY_LEN(wanted); i++) {
        ms = cds_backoff_next(ms, 5);
        assert_int_equal(ms, wanted[i]);
    }
}

static void backoff_begins_again_after_30_s_of_life(void **state)
{
    assert_int_equal(cds_backoff_next(6400, 29999), 10000);
    assert_int_equal(cds_backoff_next(6400, 30000), 100);
}

static void flags_of_options_pass_to_the_parts(void **state)
{
    assert_true(cds_flag_passes("--ui.port=7000", false));
    assert_true(cds_flag_passes("--config=/etc/studio.ini", false));
    assert_true(cds_flag_passes("--database.url=postgresql:///x", true));
}

static void flags_with_a_database_password_stay_with_those_who_need_it(void **state)
{
    assert_false(cds_flag_passes("--database.url=postgresql://u:p@h/x", false));
}

static void words_and_the_data_folder_do_not_pass(void **state)
{
    assert_false(cds_flag_passes("up", true));
    assert_false(cds_flag_passes("--json", true));
    assert_false(cds_flag_passes("--email=a.b@example.org", true));
    assert_false(cds_flag_passes("--studio.home=/x", true));
}

static void url_host_turns_any_addresses_into_loopback(void **state)
{
    char buf[64];
    assert_string_equal(cds_url_host("0.0.0.0", buf, sizeof(buf)), "127.0.0.1");
    assert_string_equal(cds_url_host("::", buf, sizeof(buf)), "[::1]");
    assert_string_equal(cds_url_host("fd00::1", buf, sizeof(buf)), "[fd00::1]");
    assert_string_equal(cds_url_host("192.0.2.7", buf, sizeof(buf)), "192.0.2.7");
}

static void parts_start_with_the_database_and_stop_with_it(void **state)
{
    assert_null(cds_part_defs[0].program);
    for (int i = 0; i < CDS_PART_COUNT; i++) {
        assert_true(cds_part_defs[i].stop_wave < CDS_STOP_WAVES);
        if (i > 0)
            assert_true(cds_part_defs[i].stop_wave <= cds_part_defs[i - 1].stop_wave);
    }
}

static void only_the_sandbox_stays_root_and_it_knows_no_database(void **state)
{
    for (int i = 0; i < CDS_PART_COUNT; i++)
        assert_int_equal(cds_part_defs[i].stays_root, i == CDS_PART_SANDBOXD);
    assert_false(cds_part_defs[CDS_PART_SANDBOXD].database);
    assert_false(cds_part_defs[CDS_PART_UI].database);
}

static void a_stop_with_the_default_drain_time_ends_within_3_s(void **state)
{
    uint32_t last = 0;
    for (int wave = 0; wave < CDS_STOP_WAVES; wave++) {
        assert_true(cds_stop_deadline_ms(wave, 1500) > last);
        last = cds_stop_deadline_ms(wave, 1500);
    }
    assert_true(last < 2900);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(backoff_doubles_from_100_ms_to_10_s),
        cmocka_unit_test(backoff_begins_again_after_30_s_of_life),
        cmocka_unit_test(flags_of_options_pass_to_the_parts),
        cmocka_unit_test(flags_with_a_database_password_stay_with_those_who_need_it),
        cmocka_unit_test(words_and_the_data_folder_do_not_pass),
        cmocka_unit_test(url_host_turns_any_addresses_into_loopback),
        cmocka_unit_test(parts_start_with_the_database_and_stop_with_it),
        cmocka_unit_test(only_the_sandbox_stays_root_and_it_knows_no_database),
        cmocka_unit_test(a_stop_with_the_default_drain_time_ends_within_3_s),
    };
    return RUN_ALL(tests);
}
