/* Tests of lib/rpc/audit.c: which calls the audit log gets, and what of their parameters. */
#include "tests/support/test.h"

#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/rpc/rpc.h"

static const struct cds_rpc_method method = {.name = "x.y", .audit = CDS_AUDIT_ALWAYS, .audit_shown = "role,user_id,limits"};

static char *kept(const char *params)
{
    cds_json *value = NULL;
    assert_int_equal(cds_json_parse(params, strlen(params), &value, NULL), CDS_OK);
    CDS_JSON_AUTO mine = value;
    CDS_JSON_AUTO got = cds_rpc_audit_params(&method, mine);
    return cds_json_dumps(got, NULL);
}

static void only_named_parameters_keep_their_values(void **state)
{
    CDS_CLEANUP(cds_free_ptr)
    char *some = kept("{\"role\":\"admin\",\"email\":\"a@b.c\",\"user_id\":\"1\",\"limits\":{\"a\":[1]},\"rol\":\"x\",\"limit\":1,\"\":2}");
    assert_string_equal(some, "{\"role\":\"admin\",\"email\":\"(not kept)\",\"user_id\":\"1\",\"limits\":{\"a\":[1]},\"rol\":\"(not kept)\","
                              "\"limit\":\"(not kept)\",\"\":\"(not kept)\"}");
    CDS_CLEANUP(cds_free_ptr) char *none = kept("{}");
    assert_string_equal(none, "{}");
    CDS_JSON_AUTO absent = cds_rpc_audit_params(&method, NULL);
    assert_int_equal(cds_json_size(absent), 0);
}

static void methods_for_admins_are_audited_and_those_that_name_others_when_an_admin_calls(void **state)
{
    const struct cds_rpc_method never = {.audit = CDS_AUDIT_NEVER}, admins = {.audit = CDS_AUDIT_ADMINS}, always = {.audit = CDS_AUDIT_ALWAYS};
    for (enum cds_role role = CDS_ROLE_NONE; role <= CDS_ROLE_ADMIN; role++) {
        assert_false(cds_rpc_audited(&never, role));
        assert_int_equal(cds_rpc_audited(&admins, role), role == CDS_ROLE_ADMIN);
        assert_true(cds_rpc_audited(&always, role));
    }
}

static void every_method_for_admins_is_audited(void **state)
{
    size_t seen = 0;
    for (size_t i = 0; i < cds_rpc_method_count; i++)
        if (cds_rpc_methods[i].least_role == CDS_ROLE_ADMIN) {
            assert_int_equal(cds_rpc_methods[i].audit, CDS_AUDIT_ALWAYS);
            seen++;
        }
    assert_true(seen > 10);
}

static void nothing_personal_and_no_secret_is_among_what_is_kept(void **state)
{
    static const char *const never[] = {"email", "password", "old_password", "new_password", "display_name",
                                        "query", "token",    "content",      "messages",     "prompt"};
    for (size_t i = 0; i < cds_rpc_method_count; i++)
        for (size_t n = 0; n < sizeof(never) / sizeof(never[0]); n++) {
            char list[2048], word[64];
            snprintf(list, sizeof(list), ",%s,", cds_rpc_methods[i].audit_shown);
            snprintf(word, sizeof(word), ",%s,", never[n]);
            if (cds_rpc_methods[i].audit != CDS_AUDIT_NEVER && strstr(list, word))
                fail_msg("%s keeps %s", cds_rpc_methods[i].name, never[n]);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_named_parameters_keep_their_values),
        cmocka_unit_test(methods_for_admins_are_audited_and_those_that_name_others_when_an_admin_calls),
        cmocka_unit_test(every_method_for_admins_is_audited),
        cmocka_unit_test(nothing_personal_and_no_secret_is_among_what_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
