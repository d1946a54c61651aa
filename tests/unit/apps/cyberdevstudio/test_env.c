/* Tests of apps/cyberdevstudio/env.c. */
#include "tests/support/test.h"

#include "apps/cyberdevstudio/env.h"

static int setup(void **state)
{
    clearenv();
    setenv("PATH", "/bin", 1);
    setenv("HOME", "/root", 1);
    setenv("LANG", "C.UTF-8", 1);
    setenv("TZ", "UTC", 1);
    setenv("CDS_UI_PORT", "7000", 1);
    setenv("DATABASE_URL", "postgresql://u:secret@h/x", 1);
    setenv("CDS_DATABASE_URL", "postgresql://u:secret@h/y", 1);
    setenv("LD_PRELOAD", "/tmp/evil.so", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "abc", 1);
    setenv("CDS_READY_FD", "9", 1);
    return 0;
}

static struct cds_env build(const struct cds_env_rules *rules)
{
    struct cds_env env;
    struct cds_err err;
    assert_int_equal(cds_env_build(&env, rules, &err), CDS_OK);
    return env;
}

static void env_passes_the_short_list(void **state)
{
    CDS_CLEANUP(cds_env_free) struct cds_env env = build(&(struct cds_env_rules){0});
    assert_string_equal(cds_env_get(&env, "PATH"), "/bin");
    assert_string_equal(cds_env_get(&env, "HOME"), "/root");
    assert_string_equal(cds_env_get(&env, "LANG"), "C.UTF-8");
    assert_string_equal(cds_env_get(&env, "TZ"), "UTC");
    assert_string_equal(cds_env_get(&env, "CDS_UI_PORT"), "7000");
}

static void env_passes_nothing_else(void **state)
{
    CDS_CLEANUP(cds_env_free) struct cds_env env = build(&(struct cds_env_rules){0});
    assert_null(cds_env_get(&env, "LD_PRELOAD"));
    assert_null(cds_env_get(&env, "AWS_SECRET_ACCESS_KEY"));
    assert_null(cds_env_get(&env, "CDS_READY_FD"));
    assert_null(cds_env_get(&env, "USER"));
}

static void env_tells_the_database_only_to_those_who_need_it(void **state)
{
    CDS_CLEANUP(cds_env_free) struct cds_env without = build(&(struct cds_env_rules){0});
    CDS_CLEANUP(cds_env_free) struct cds_env with = build(&(struct cds_env_rules){.database = true});
    assert_null(cds_env_get(&without, "DATABASE_URL"));
    assert_null(cds_env_get(&without, "CDS_DATABASE_URL"));
    assert_non_null(cds_env_get(&with, "DATABASE_URL"));
    assert_non_null(cds_env_get(&with, "CDS_DATABASE_URL"));
}

static void env_of_another_user_has_that_users_home_once(void **state)
{
    struct cds_env_rules rules = {.home = "/var/lib/x", .user = "cds-studio", .extra = "CDS_READY_FD=3"};
    CDS_CLEANUP(cds_env_free) struct cds_env env = build(&rules);
    int homes = 0;
    for (int i = 0; i < env.count; i++)
        homes += strncmp(env.items[i], "HOME=", 5) == 0;
    assert_int_equal(homes, 1);
    assert_string_equal(cds_env_get(&env, "HOME"), "/var/lib/x");
    assert_string_equal(cds_env_get(&env, "USER"), "cds-studio");
    assert_string_equal(cds_env_get(&env, "CDS_READY_FD"), "3");
}

static void env_has_a_path_also_when_the_supervisor_has_none(void **state)
{
    unsetenv("PATH");
    CDS_CLEANUP(cds_env_free) struct cds_env env = build(&(struct cds_env_rules){0});
    assert_non_null(cds_env_get(&env, "PATH"));
}

static void env_refuses_more_variables_than_its_ceiling(void **state)
{
    struct cds_env env = {.count = 77};
    struct cds_err err = {0};
    char name[32];
    for (int i = 0; i <= CDS_ENV_MAX; i++) {
        snprintf(name, sizeof(name), "CDS_TEST_%d", i);
        setenv(name, "1", 1);
    }
    assert_int_equal(cds_env_build(&env, &(struct cds_env_rules){0}, &err), CDS_EXHAUSTED);
    assert_int_equal(env.count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(env_passes_the_short_list, setup),
        cmocka_unit_test_setup(env_passes_nothing_else, setup),
        cmocka_unit_test_setup(env_tells_the_database_only_to_those_who_need_it, setup),
        cmocka_unit_test_setup(env_of_another_user_has_that_users_home_once, setup),
        cmocka_unit_test_setup(env_has_a_path_also_when_the_supervisor_has_none, setup),
        cmocka_unit_test_setup(env_refuses_more_variables_than_its_ceiling, setup),
    };
    return RUN_ALL(tests);
}
