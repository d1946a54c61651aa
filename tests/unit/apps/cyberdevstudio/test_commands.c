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
    static const char probe[] = "{\"engines\":[{\"name\":\"run\",\"works\":true,\"boundary\":\"process\",\"limits\":\"cgroup\",\"reason\":\"\"},"
                                "{\"name\":\"micro\",\"works\":false,\"boundary\":\"vm\",\"limits\":\"\",\"reason\":\"no virtualisation\"}]}";
    static struct cds_findings all;
    all.count = 0;
    assert_true(cds_found_engines(&all, probe, strlen(probe)));
    assert_int_equal(all.count, 2);
    assert_int_equal(all.list[0].verdict, CDS_WORKS);
    assert_int_equal(all.list[1].verdict, CDS_MISSING);
    assert_string_equal(all.list[1].text, "no virtualisation");
    assert_true(all.list[1].remedy[0] != '\0');
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

static void doctor_believes_the_sandbox_about_a_language(void **state)
{
    static const char probe[] = "{\"engines\":[{\"name\":\"run\",\"works\":true}],\"interpreters\":{\"python\":{\"works\":true,\"took_ms\":40,"
                                "\"reason\":\"\"},\"node\":{\"works\":false,\"took_ms\":3,\"reason\":\"It ended with signal.\"}}}";
    static struct cds_findings all;
    all = (struct cds_findings){.count = 0};
    assert_true(cds_found_engines(&all, probe, strlen(probe)));
    all.count = 0;
    cds_found_language(&all, "python", "python3", "/usr/bin/python3");
    cds_found_language(&all, "node", "nodejs", "/usr/bin/node");
    cds_found_language(&all, "c", "gcc", "/usr/bin/gcc");
    assert_int_equal(all.list[0].verdict, CDS_WORKS);
    assert_string_equal(all.list[0].text, "/usr/bin/python3, runs in the sandbox");
    assert_int_equal(all.list[1].verdict, CDS_MISSING);
    assert_string_equal(all.list[1].text, "/usr/bin/node, but not in the sandbox: It ended with signal.");
    assert_non_null(strstr(all.list[1].remedy, "nodejs"));
    /* Nothing was said of it: installed is all there is to know. */
    assert_int_equal(all.list[2].verdict, CDS_WORKS);
    assert_string_equal(all.list[2].text, "/usr/bin/gcc");
    cds_json_unref(all.interpreters);
}

static void doctor_tells_of_each_part_of_a_running_studio(void **state)
{
    static const struct {
        const char *part;
        enum cds_verdict verdict;
        const char *text;
    } parts[] = {
        {"{\"name\":\"auth\",\"state\":\"ready\",\"pid\":77,\"uptime_ms\":5,\"restarts\":0}", CDS_WORKS, "ready, process 77"},
        {"{\"name\":\"auth\",\"state\":\"ready\",\"pid\":77,\"uptime_ms\":30000,\"restarts\":9}", CDS_WORKS, "ready, process 77"},
        {"{\"name\":\"auth\",\"state\":\"ready\",\"pid\":77,\"uptime_ms\":2999,\"restarts\":9}", CDS_WEAK, "ready for 2 s only, after 9 restarts"},
        {"{\"name\":\"auth\",\"state\":\"external\"}", CDS_WORKS, "a server the studio does not run itself"},
        {"{\"name\":\"auth\",\"state\":\"starting\",\"restarts\":0}", CDS_WEAK, "is starting"},
        {"{\"name\":\"auth\",\"state\":\"starting\",\"restarts\":3,\"message\":\"Signal 6.\"}", CDS_MISSING, "starting after 3 restarts: Signal 6."},
        {"{\"name\":\"auth\",\"state\":\"waiting\",\"restarts\":4,\"message\":\"Signal 6.\"}", CDS_MISSING, "waiting after 4 restarts: Signal 6."},
        {"{\"name\":\"auth\",\"state\":\"off\",\"restarts\":0,\"message\":\"\"}", CDS_MISSING, "off after 0 restarts: no reason is known"},
    };
    static struct cds_findings all;
    for (size_t i = 0; i < CDS_ARRAY_LEN(parts); i++) {
        char text[512];
        snprintf(text, sizeof(text), "{\"log\":\"/x/studio.jsonl\",\"parts\":[%s]}", parts[i].part);
        CDS_JSON_AUTO status = NULL;
        assert_int_equal(cds_json_parse(text, strlen(text), &status, NULL), CDS_OK);
        all.count = 0;
        assert_true(cds_found_parts(&all, status));
        assert_int_equal(all.count, 1);
        assert_string_equal(all.list[0].name, "part auth");
        assert_string_equal(all.list[0].text, parts[i].text);
        assert_int_equal(all.list[0].verdict, parts[i].verdict);
        assert_int_equal(all.list[0].remedy[0] == '\0', parts[i].verdict == CDS_WORKS);
    }
    CDS_JSON_AUTO nothing = cds_json_object();
    assert_false(cds_found_parts(&all, nothing));
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
        cmocka_unit_test(doctor_believes_the_sandbox_about_a_language),
        cmocka_unit_test(doctor_tells_of_each_part_of_a_running_studio),
        cmocka_unit_test(doctor_keeps_to_its_ceiling_of_findings),
    };
    return RUN_ALL(tests);
}
