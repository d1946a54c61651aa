#include <unistd.h>

#include "lib/config/config.h"
#include "tests/support/test.h"

static char file[] = "/tmp/cds-test-config-XXXXXX";

static void write_file(const char *text)
{
    FILE *f = fopen(file, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static cds_rc load(struct cds_config **config, struct cds_err *err, const char *flag, const char *flag2)
{
    char config_flag[100];
    snprintf(config_flag, sizeof(config_flag), "--config=%s", file);
    char *argv[] = {(char *)"test", config_flag, (char *)flag, (char *)flag2, NULL};
    int argc = flag ? flag2 ? 4 : 3 : 2;
    return cds_config_load(&argc, argv, "a test", config, err);
}

static int setup(void **state)
{
    int fd = mkstemp(file);
    close(fd);
    unsetenv("CDS_API_PORT");
    unsetenv("CDS_HOME");
    unsetenv("DATABASE_URL");
    return fd < 0;
}

static int teardown(void **state)
{
    return unlink(file);
}

static void a_flag_beats_the_environment_and_that_beats_the_file_and_that_the_default(void **state)
{
    struct cds_config *config = NULL;
    write_file("");
    assert_int_equal(load(&config, NULL, NULL, NULL), CDS_OK);
    assert_int_equal(cds_config_u64(config, CDS_OPT_API_PORT), 6813);
    cds_config_free(&config);
    write_file("[api]\nport = 7001\n");
    assert_int_equal(load(&config, NULL, NULL, NULL), CDS_OK);
    assert_int_equal(cds_config_u64(config, CDS_OPT_API_PORT), 7001);
    cds_config_free(&config);
    setenv("CDS_API_PORT", "7002", 1);
    assert_int_equal(load(&config, NULL, NULL, NULL), CDS_OK);
    assert_int_equal(cds_config_u64(config, CDS_OPT_API_PORT), 7002);
    cds_config_free(&config);
    assert_int_equal(load(&config, NULL, "--api.port=7003", NULL), CDS_OK);
    assert_int_equal(cds_config_u64(config, CDS_OPT_API_PORT), 7003);
    cds_config_free(&config);
    unsetenv("CDS_API_PORT");
}

static void other_arguments_are_left_in_order(void **state)
{
    struct cds_config *config = NULL;
    char *argv[] = {(char *)"test", (char *)"user", (char *)"--api.port=7003", (char *)"add", (char *)"--role", NULL};
    int argc = 5;
    assert_int_equal(cds_config_load(&argc, argv, "a test", &config, NULL), CDS_OK);
    assert_int_equal(argc, 4);
    assert_string_equal(argv[1], "user");
    assert_string_equal(argv[2], "add");
    assert_string_equal(argv[3], "--role");
    assert_null(argv[4]);
    cds_config_free(&config);
}

static void a_value_out_of_range_is_refused_with_the_range(void **state)
{
    struct cds_config *config = NULL;
    struct cds_err err;
    write_file("[api]\nport = 70000\n");
    assert_int_equal(load(&config, &err, NULL, NULL), CDS_BAD_PARAM);
    assert_non_null(strstr(err.message, "1 to 65535"));
    assert_null(config);
    write_file("[api]\nport = -1\n");
    assert_int_equal(load(&config, &err, NULL, NULL), CDS_BAD_PARAM);
}

static void an_unknown_option_is_refused_by_name(void **state)
{
    struct cds_config *config = NULL;
    struct cds_err err;
    write_file("[api]\nprot = 7001\n");
    assert_int_equal(load(&config, &err, NULL, NULL), CDS_BAD_PARAM);
    assert_non_null(strstr(err.message, "api.prot"));
    write_file("");
    assert_int_equal(load(&config, &err, "--api.prot=1", NULL), CDS_BAD_PARAM);
    assert_non_null(strstr(err.message, "--api.prot=1"));
}

static void a_line_that_is_no_setting_is_refused_with_its_number(void **state)
{
    struct cds_config *config = NULL;
    struct cds_err err;
    write_file("[api]\nport = 7001\nwhat is this\n");
    assert_int_equal(load(&config, &err, NULL, NULL), CDS_BAD_PARAM);
    assert_non_null(strstr(err.message, "line 3"));
}

static void the_data_folder_must_be_absolute(void **state)
{
    struct cds_config *config = NULL;
    struct cds_err err;
    write_file("");
    assert_int_equal(load(&config, &err, "--studio.home=relative", NULL), CDS_BAD_PARAM);
    assert_int_equal(load(&config, &err, "--studio.home=/tmp/x", NULL), CDS_OK);
    char path[100];
    assert_string_equal(cds_config_path(config, "run/a.sock", path, sizeof(path)), "/tmp/x/run/a.sock");
    cds_config_free(&config);
}

static void a_connection_string_is_not_printed(void **state)
{
    struct cds_config *config = NULL;
    char text[32768] = "";
    setenv("DATABASE_URL", "postgresql://u:CANARY@localhost/db", 1);
    write_file("");
    assert_int_equal(load(&config, NULL, NULL, NULL), CDS_OK);
    assert_string_equal(cds_config_str(config, CDS_OPT_DB_URL), "postgresql://u:CANARY@localhost/db");
    FILE *out = fmemopen(text, sizeof(text) - 1, "w");
    cds_config_print(config, out);
    fclose(out);
    assert_null(strstr(text, "CANARY"));
    assert_non_null(strstr(text, "database.url = [set, not shown]  (environment DATABASE_URL)"));
    assert_non_null(strstr(text, "api.port = 6813 port  (default)"));
    cds_config_free(&config);
    unsetenv("DATABASE_URL");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_flag_beats_the_environment_and_that_beats_the_file_and_that_the_default),
        cmocka_unit_test(other_arguments_are_left_in_order),
        cmocka_unit_test(a_value_out_of_range_is_refused_with_the_range),
        cmocka_unit_test(an_unknown_option_is_refused_by_name),
        cmocka_unit_test(a_line_that_is_no_setting_is_refused_with_its_number),
        cmocka_unit_test(the_data_folder_must_be_absolute),
        cmocka_unit_test(a_connection_string_is_not_printed),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
