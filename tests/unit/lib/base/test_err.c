#include <errno.h>

#include "lib/base/err.h"
#include "tests/support/test.h"

static void a_failure_carries_code_place_and_sentence(void **state)
{
    struct cds_err err;
    assert_int_equal(cds_fail(&err, CDS_DENIED, "fs_open", "No way into %s.", "x"), CDS_DENIED);
    assert_int_equal(err.code, CDS_DENIED);
    assert_string_equal(err.where, "fs_open");
    assert_string_equal(err.message, "No way into x.");
    cds_err_hint(&err, "Ask %s.", "an admin");
    assert_string_equal(err.hint, "Ask an admin.");
}

static void a_caller_may_pass_no_error_value(void **state)
{
    assert_int_equal(cds_fail(NULL, CDS_DENIED, "x", "y"), CDS_DENIED);
    assert_int_equal(cds_err_hint(NULL, "z"), CDS_INTERNAL);
    cds_err_detail(NULL, "z");
    cds_err_rule(NULL, "z");
    cds_err_pointer(NULL, "z");
}

static void a_full_disk_is_told_apart_from_other_system_errors(void **state)
{
    struct cds_err err;
    assert_int_equal(cds_fail_errno(&err, ENOSPC, "w", "Cannot write."), CDS_EXHAUSTED);
    assert_int_equal(err.sys_errno, ENOSPC);
    assert_int_equal(cds_fail_errno(&err, EACCES, "w", "Cannot write."), CDS_SYSTEM);
}

static void texts_longer_than_their_field_are_cut_and_terminated(void **state)
{
    struct cds_err err;
    char big[2000];
    memset(big, 'a', sizeof(big) - 1);
    big[sizeof(big) - 1] = '\0';
    cds_fail(&err, CDS_DENIED, big, "%s", big);
    assert_int_equal(strlen(err.message), sizeof(err.message) - 1);
    assert_int_equal(strlen(err.where), sizeof(err.where) - 1);
}

static void the_wire_numbers_are_those_of_the_design(void **state)
{
    static const struct {
        cds_rc rc;
        int rpc, http;
    } rows[] = {{CDS_UNAUTHENTICATED, -32001, 401},  {CDS_DENIED, -32003, 403},        {CDS_NOT_FOUND, -32004, 404},
                {CDS_CONFLICT, -32009, 409},         {CDS_RATE_LIMITED, -32029, 429},  {CDS_BUDGET_EXCEEDED, -32030, 429},
                {CDS_MODEL_NOT_LOADED, -32050, 500}, {CDS_MODEL_CRASHED, -32051, 500}, {CDS_BUSY, -32053, 503},
                {CDS_BAD_SYNTAX, -32700, 400},       {CDS_NO_METHOD, -32601, 404},     {CDS_BAD_PARAM, -32602, 400}};
    for (size_t i = 0; i < CDS_ARRAY_LEN(rows); i++) {
        assert_int_equal(cds_rc_jsonrpc(rows[i].rc), rows[i].rpc);
        assert_int_equal(cds_rc_http(rows[i].rc), rows[i].http);
        assert_int_equal(cds_rc_from_jsonrpc(rows[i].rpc), rows[i].rc);
    }
}

static void each_json_rpc_number_belongs_to_one_code(void **state)
{
    for (int a = 1; a < CDS_RC_COUNT; a++)
        for (int b = a + 1; b < CDS_RC_COUNT; b++)
            assert_int_not_equal(cds_rc_jsonrpc((cds_rc)a), cds_rc_jsonrpc((cds_rc)b));
}

static void an_unknown_number_is_an_internal_error(void **state)
{
    assert_int_equal(cds_rc_from_jsonrpc(12345), CDS_INTERNAL);
    assert_int_equal(cds_rc_from_openai(NULL), CDS_INTERNAL);
    assert_int_equal(cds_rc_http((cds_rc)9999), 500);
    assert_string_equal(cds_rc_name((cds_rc)-1), "?");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_failure_carries_code_place_and_sentence),
        cmocka_unit_test(a_caller_may_pass_no_error_value),
        cmocka_unit_test(a_full_disk_is_told_apart_from_other_system_errors),
        cmocka_unit_test(texts_longer_than_their_field_are_cut_and_terminated),
        cmocka_unit_test(the_wire_numbers_are_those_of_the_design),
        cmocka_unit_test(each_json_rpc_number_belongs_to_one_code),
        cmocka_unit_test(an_unknown_number_is_an_internal_error),
    };
    return RUN_ALL(tests);
}
