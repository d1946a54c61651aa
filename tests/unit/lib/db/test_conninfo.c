/* Tests of who connects as what (lib/db/db.c) and of the connection string for PostgreSQL's own programs (lib/db/tools.c). */
#include "tests/support/test.h"

#include "lib/base/cleanup.h"
#include "lib/base/str.h"
#include "lib/config/config.h"
#include "lib/db/db.h"

static struct cds_config *config_of(const char *url)
{
    char flag[300];
    snprintf(flag, sizeof(flag), "--database.url=%s", url);
    char *argv[] = {(char *)"test", (char *)"--studio.home=/tmp/h", flag, NULL};
    int argc = 3;
    struct cds_config *config = NULL;
    assert_int_equal(cds_config_load(&argc, argv, "test", &config, NULL), CDS_OK);
    return config;
}

static void each_process_connects_as_its_role_to_the_private_cluster(void **state)
{
    static const char *const users[] = {
        [CDS_DB_OWNER] = "user=studio ", [CDS_DB_APP] = "user=cds_app ", [CDS_DB_AUTH] = "user=cds_auth ", [CDS_DB_READER] = "user=cds_reader "};
    CDS_CLEANUP(cds_config_free) struct cds_config *config = config_of("");
    char conninfo[CDS_DB_CONNINFO_MAX];
    for (enum cds_db_role role = CDS_DB_OWNER; role <= CDS_DB_READER; role++) {
        assert_int_equal(cds_db_conninfo_as(config, role, conninfo, NULL), CDS_OK);
        assert_non_null(strstr(conninfo, users[role]));
    }
}

static void server_that_is_not_ours_is_connected_to_as_its_address_says(void **state)
{
    CDS_CLEANUP(cds_config_free) struct cds_config *config = config_of("postgres://u@h/d");
    char conninfo[CDS_DB_CONNINFO_MAX];
    for (enum cds_db_role role = CDS_DB_OWNER; role <= CDS_DB_READER; role++) {
        assert_int_equal(cds_db_conninfo_as(config, role, conninfo, NULL), CDS_OK);
        assert_string_equal(conninfo, "postgres://u@h/d");
    }
}

static void server_that_is_not_ours_is_connected_to_as_the_role_and_without_its_password_when_that_is_asked_for(void **state)
{
    static const char *const wanted[] = {[CDS_DB_OWNER] = "postgres://u:CANARY@h/d?passfile=/p",
                                         [CDS_DB_APP] = "user='cds_app'",
                                         [CDS_DB_AUTH] = "user='cds_auth'",
                                         [CDS_DB_READER] = "user='cds_reader'"};
    char *argv[] = {(char *)"test", (char *)"--studio.home=/tmp/h", (char *)"--database.url=postgres://u:CANARY@h/d?passfile=/p",
                    (char *)"--database.roles=1", NULL};
    int argc = 4;
    CDS_CLEANUP(cds_config_free) struct cds_config *config = NULL;
    char conninfo[CDS_DB_CONNINFO_MAX];
    assert_int_equal(cds_config_load(&argc, argv, "test", &config, NULL), CDS_OK);
    for (enum cds_db_role role = CDS_DB_OWNER; role <= CDS_DB_READER; role++) {
        assert_int_equal(cds_db_conninfo_as(config, role, conninfo, NULL), CDS_OK);
        assert_non_null(strstr(conninfo, wanted[role]));
        assert_true(role == CDS_DB_OWNER || !strstr(conninfo, "CANARY"));
        assert_true(role == CDS_DB_OWNER || strstr(conninfo, "passfile='/p'"));
    }
}

static void password_is_no_part_of_what_a_command_line_shows(void **state)
{
    char bare[CDS_DB_CONNINFO_MAX], password[CDS_DB_CONNINFO_MAX];
    struct cds_err err = {0};
    assert_int_equal(cds_db_conninfo_tools("postgresql://u:CANARY@h:7/d?sslmode=require", bare, password, &err), CDS_OK);
    assert_string_equal(password, "CANARY");
    assert_null(strstr(bare, "CANARY"));
    assert_string_equal(bare, "user='u' dbname='d' host='h' port='7' sslmode='require'");
    assert_int_equal(cds_db_conninfo_tools("host='/a b\\'c' user=x", bare, password, &err), CDS_OK);
    assert_string_equal(password, "");
    assert_non_null(strstr(bare, "host='/a b\\'c'"));
}

static void address_that_is_none_is_refused_without_being_told(void **state)
{
    char bare[CDS_DB_CONNINFO_MAX], password[CDS_DB_CONNINFO_MAX];
    struct cds_err err = {0};
    assert_int_equal(cds_db_conninfo_tools("password=CANARY nonsense", bare, password, &err), CDS_BAD_PARAM);
    assert_null(strstr(err.message, "CANARY"));
    assert_null(strstr(err.detail, "CANARY"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_process_connects_as_its_role_to_the_private_cluster),
        cmocka_unit_test(server_that_is_not_ours_is_connected_to_as_its_address_says),
        cmocka_unit_test(server_that_is_not_ours_is_connected_to_as_the_role_and_without_its_password_when_that_is_asked_for),
        cmocka_unit_test(password_is_no_part_of_what_a_command_line_shows),
        cmocka_unit_test(address_that_is_none_is_refused_without_being_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
