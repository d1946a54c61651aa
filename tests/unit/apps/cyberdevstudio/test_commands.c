/* Tests of apps/cyberdevstudio/commands.c and the findings of doctor.c. */
#include "tests/support/test.h"

#include "apps/cyberdevstudio/commands.h"
#include "apps/cyberdevstudio/doctor.h"

static struct cds_command with(char **argv, int argc)
{
    return (struct cds_command){.argc = argc, .argv = argv};
}

static void values_are_taken_in_both_spellings(void **state)
{
    char *argv[] = {"--email", "a@b.c", "--role=viewer", "rest"};
    struct cds_command cmd = with(argv, 4);
    const char *email = NULL, *role = NULL, *name = "unchanged";
    assert_true(cds_take_value(&cmd, "--email", &email));
    assert_true(cds_take_value(&cmd, "--role", &role));
    assert_true(cds_take_value(&cmd, "--name", &name));
    assert_string_equal(email, "a@b.c");
    assert_string_equal(role, "viewer");
    assert_string_equal(name, "unchanged");
    assert_int_equal(cmd.argc, 1);
    assert_string_equal(cmd.argv[0], "rest");
}

static void a_name_that_only_begins_alike_is_not_taken(void **state)
{
    char *argv[] = {"--emails", "x"};
    struct cds_command cmd = with(argv, 2);
    const char *email = NULL;
    assert_true(cds_take_value(&cmd, "--email", &email));
    assert_null(email);
    assert_int_equal(cmd.argc, 2);
}

static void a_missing_value_is_refused(void **state)
{
    char *argv[] = {"--email"};
    struct cds_command cmd = with(argv, 1);
    const char *email = NULL;
    assert_false(cds_take_value(&cmd, "--email", &email));
}

static void a_switch_is_taken_once_and_the_rest_is_refused(void **state)
{
    char *argv[] = {"--json", "more"};
    struct cds_command cmd = with(argv, 2);
    assert_true(cds_take_switch(&cmd, "--json"));
    assert_false(cds_take_switch(&cmd, "--json"));
    assert_false(cds_no_more(&cmd));
}

static void a_complaint_is_one_line_with_the_remedy(void **state)
{
    char text[512] = "";
    FILE *out = fmemopen(text, sizeof(text), "w");
    struct cds_err err = {0};
    cds_fail(&err, CDS_BAD_PARAM, __func__, "It is wrong.");
    cds_err_hint(&err, "Do it right.");
    assert_int_equal(cds_complain(out, &err), CDS_EXIT_USAGE);
    fclose(out);
    assert_string_equal(text, "cyberdevstudio: It is wrong. Do it right.\n");
    cds_fail(&err, CDS_CONFLICT, __func__, "Taken.");
    out = fmemopen(text, sizeof(text), "w");
    assert_int_equal(cds_complain(out, &err), CDS_EXIT_FAILED);
    fclose(out);
}

static void doctor_reads_the_engines_of_a_probe(void **state)
{
    static const char probe[] =
        "{\"engines\":[{\"name\":\"run\",\"works\":true,\"boundary\":\"process\",\"limits\":\"cgroup\",\"reason\":\"\"},"
        "{\"name\":\"micro\",\"works\":false,\"boundary\":\"vm\",\"limits\":\"\",\"reason\":\"no virtualisation\",\"remedy\":\"build it\"},"
        "{\"name\":\"run\",\"works\":false}]}";
    static struct cds_findings all;
    all.count = 0;
    assert_true(cds_found_engines(&all, probe, strlen(probe)));
    assert_int_equal(all.count, 3);
    assert_int_equal(all.list[0].verdict, CDS_WORKS);
    assert_int_equal(all.list[1].verdict, CDS_WEAK); /* an extra */
    assert_string_equal(all.list[1].text, "no virtualisation");
    assert_string_equal(all.list[1].remedy, "build it");
    assert_int_equal(all.list[2].verdict, CDS_MISSING);
    assert_true(all.list[2].remedy[0] != '\0');
}

static void doctor_refuses_what_is_no_probe_answer(void **state)
{
    static const char *const texts[] = {"", "{}", "not json", "{\"engines\":[]}", "[1]", "{\"engines\":7}"};
    static struct cds_findings all;
    all.count = 0;
    for (size_t i = 0; i < CDS_ARRAY_LEN(texts); i++)
        assert_false(cds_found_engines(&all, texts[i], strlen(texts[i])));
    assert_int_equal(all.count, 0);
}

static void doctor_keeps_to_its_ceiling_of_findings(void **state)
{
    static struct cds_findings all;
    all.count = 0;
    for (int i = 0; i < CDS_FINDINGS_MAX + 5; i++)
        cds_found(&all, "x", CDS_WORKS, "", "number %d", i);
    assert_int_equal(all.count, CDS_FINDINGS_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_taken_in_both_spellings),
        cmocka_unit_test(a_name_that_only_begins_alike_is_not_taken),
        cmocka_unit_test(a_missing_value_is_refused),
        cmocka_unit_test(a_switch_is_taken_once_and_the_rest_is_refused),
        cmocka_unit_test(a_complaint_is_one_line_with_the_remedy),
        cmocka_unit_test(doctor_reads_the_engines_of_a_probe),
        cmocka_unit_test(doctor_refuses_what_is_no_probe_answer),
        cmocka_unit_test(doctor_keeps_to_its_ceiling_of_findings),
    };
    return RUN_ALL(tests);
}
