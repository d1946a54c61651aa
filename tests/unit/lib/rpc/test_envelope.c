/* tests/unit/lib/rpc/test_envelope.c: answers, problem documents, and the way back to an error value. */
#include "lib/base/cleanup.h"
#include "lib/rpc/rpc.h"
#include "tests/support/test.h"

#define REQUEST "01999999-89ab-7cde-8f01-23456789abcd"

static void assert_text(cds_json *value, const char *expected)
{
    CDS_CLEANUP(cds_free_ptr) char *text = cds_json_dumps(value, NULL);
    cds_json_unref(value);
    assert_string_equal(text, expected);
}

static void envelopes_are_json_rpc_2(void **state)
{
    CDS_JSON_AUTO id = cds_json_string("a");
    assert_text(cds_rpc_result(id, cds_json_int(5)), "{\"jsonrpc\":\"2.0\",\"id\":\"a\",\"result\":5}");
    assert_text(cds_rpc_result(NULL, cds_json_bool(true)), "{\"jsonrpc\":\"2.0\",\"id\":null,\"result\":true}");
    assert_text(cds_rpc_notification("run.output", cds_json_object()), "{\"jsonrpc\":\"2.0\",\"method\":\"run.output\",\"params\":{}}");
    assert_text(cds_rpc_call(7, "fs.read", cds_json_object()), "{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"fs.read\",\"params\":{}}");
}

static void a_result_that_could_not_be_built_becomes_an_error(void **state)
{
    CDS_JSON_AUTO answer = cds_rpc_result(NULL, NULL);
    assert_null(cds_json_get(answer, "result"));
    assert_int_equal(cds_json_get_i64(cds_json_get(answer, "error"), "code", 0), cds_rc_jsonrpc(CDS_EXHAUSTED));
}

static void problem_has_every_member_that_has_a_value(void **state)
{
    struct cds_err err;
    cds_fail(&err, CDS_BUDGET_EXCEEDED, __func__, "Your month is used up.");
    cds_err_hint(&err, "Ask an admin.");
    cds_err_rule(&err, "budget.user.month");
    cds_err_detail(&err, "secret of the log");
    err.retry_after_ms = 1500;
    assert_text(cds_problem(&err, REQUEST),
                "{\"type\":\"urn:cyberdevstudio:problem:budget-exceeded\",\"title\":\"Token budget used up\",\"status\":429,"
                "\"detail\":\"Your month is used up.\",\"instance\":\"urn:uuid:" REQUEST "\",\"request_id\":\"" REQUEST "\","
                "\"rule\":\"budget.user.month\",\"hint\":\"Ask an admin.\",\"retry_after_ms\":1500}");
}

static void problem_of_a_wrong_parameter_points_at_it(void **state)
{
    struct cds_err err;
    cds_fail(&err, CDS_BAD_PARAM, __func__, "It is wrong.");
    cds_err_pointer(&err, "/params/path");
    assert_text(cds_problem(&err, NULL), "{\"type\":\"urn:cyberdevstudio:problem:bad-param\",\"title\":\"Invalid parameters\",\"status\":400,"
                                         "\"detail\":\"It is wrong.\",\"errors\":[{\"pointer\":\"/params/path\",\"detail\":\"It is wrong.\"}]}");
}

static void every_code_comes_back_from_the_wire_as_it_went(void **state)
{
    for (int code = 1; code < CDS_RC_COUNT; code++) {
        struct cds_err sent, back;
        cds_fail(&sent, (cds_rc)code, "here", "Sentence %d.", code);
        cds_err_hint(&sent, "Hint.");
        cds_err_rule(&sent, "a.rule");
        cds_err_pointer(&sent, "/params/x");
        sent.retry_after_ms = 20;
        CDS_JSON_AUTO answer = cds_rpc_error(NULL, &sent, REQUEST);
        const cds_json *error = cds_json_get(answer, "error");
        assert_int_equal(cds_json_get_i64(error, "code", 0), cds_rc_jsonrpc((cds_rc)code));
        assert_int_equal(cds_json_get_i64(cds_json_get(error, "data"), "status", 0), cds_rc_http((cds_rc)code));
        cds_rpc_error_parse(error, &back);
        assert_int_equal(back.code, code);
        assert_string_equal(back.message, sent.message);
        assert_string_equal(back.hint, sent.hint);
        assert_string_equal(back.rule, sent.rule);
        assert_string_equal(back.pointer, sent.pointer);
        assert_int_equal(back.retry_after_ms, 20);
        assert_string_equal(back.detail, "");
    }
}

static void error_parse_makes_sense_of_anything(void **state)
{
    static const struct {
        const char *text;
        cds_rc code;
        const char *message;
    } rows[] = {{"null", CDS_INTERNAL, "Internal error"},
                {"[1]", CDS_INTERNAL, "Internal error"},
                {"{\"code\":\"x\",\"message\":5,\"data\":7}", CDS_INTERNAL, "Internal error"},
                {"{\"code\":-32004,\"message\":\"gone\"}", CDS_NOT_FOUND, "gone"},
                {"{\"code\":-1,\"message\":\"odd\"}", CDS_INTERNAL, "odd"},
                {"{\"code\":-32004,\"message\":\"a\",\"data\":{\"detail\":\"b\",\"retry_after_ms\":-5,\"errors\":[]}}", CDS_NOT_FOUND, "b"}};
    for (size_t i = 0; i < CDS_ARRAY_LEN(rows); i++) {
        CDS_JSON_AUTO error = NULL;
        struct cds_err err;
        assert_int_equal(cds_json_parse(rows[i].text, strlen(rows[i].text), &error, NULL), CDS_OK);
        cds_rpc_error_parse(error, &err);
        assert_int_equal(err.code, rows[i].code);
        assert_string_equal(err.message, rows[i].message);
        assert_int_equal(err.retry_after_ms, 0);
    }
}

static void an_error_text_that_was_cut_or_is_not_utf8_still_goes_out(void **state)
{
    struct cds_err err;
    char text[400] = "";
    while (strlen(text) < 318)
        strcat(text, "a");
    strcat(text, "\xc3\xa9"); /* cut in the middle by the size of the field */
    cds_fail(&err, CDS_SYSTEM, __func__, "%s", text);
    cds_err_hint(&err, "%s", "b\xff");
    CDS_JSON_AUTO problem = cds_problem(&err, "not-a-uuid");
    assert_int_equal(strlen(cds_json_get_str(problem, "detail")), 318);
    assert_string_equal(cds_json_get_str(problem, "hint"), "b?");
    assert_string_equal(cds_json_get_str(problem, "request_id"), "not-a-uuid");
    assert_null(cds_json_get(problem, "instance"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(envelopes_are_json_rpc_2),
        cmocka_unit_test(a_result_that_could_not_be_built_becomes_an_error),
        cmocka_unit_test(problem_has_every_member_that_has_a_value),
        cmocka_unit_test(problem_of_a_wrong_parameter_points_at_it),
        cmocka_unit_test(every_code_comes_back_from_the_wire_as_it_went),
        cmocka_unit_test(error_parse_makes_sense_of_anything),
        cmocka_unit_test(an_error_text_that_was_cut_or_is_not_utf8_still_goes_out),
    };
    return RUN_ALL(tests);
}
