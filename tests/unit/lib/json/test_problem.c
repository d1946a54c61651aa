/* tests/unit/lib/json/test_problem.c: errors in the shape of OpenAI's API, and the way back to an error value. */
#include "lib/base/str.h"
#include "lib/json/problem.h"
#include "tests/support/test.h"

static void openai(const struct cds_err *err, const char *expected)
{
    CDS_JSON_AUTO answer = cds_openai_error(err);
    size_t len;
    char *text = cds_json_dumps(answer, &len);
    assert_string_equal(text, expected);
    free(text);
}

static void an_openai_error_has_hint_rule_and_time_to_wait_where_there_are_some(void **state)
{
    struct cds_err err = {0};
    cds_fail(&err, CDS_BUDGET_EXCEEDED, "here", "Used up.");
    cds_err_hint(&err, "Ask an admin.");
    cds_err_rule(&err, "budget.user.month");
    err.retry_after_ms = 1500;
    openai(&err, "{\"error\":{\"message\":\"Used up. Ask an admin.\",\"type\":\"insufficient_quota\",\"param\":null,\"code\":\"insufficient_quota\","
                 "\"hint\":\"Ask an admin.\",\"rule\":\"budget.user.month\",\"retry_after_ms\":1500}}");
    cds_fail(&err, CDS_BAD_PARAM, "here", "Too hot.");
    cds_err_pointer(&err, "/temperature");
    openai(&err, "{\"error\":{\"message\":\"Too hot.\",\"type\":\"invalid_request_error\",\"param\":\"temperature\",\"code\":\"invalid_request\"}}");
}

static void the_longest_sentence_and_hint_are_both_told_whole(void **state)
{
    struct cds_err err = {0};
    char sentence[sizeof(err.message)], hint[sizeof(err.hint)];
    memset(sentence, 's', sizeof(sentence) - 1);
    memset(hint, 'h', sizeof(hint) - 1);
    sentence[sizeof(sentence) - 1] = hint[sizeof(hint) - 1] = '\0';
    cds_fail(&err, CDS_BUSY, "here", "%s", sentence);
    cds_err_hint(&err, "%s", hint);
    CDS_JSON_AUTO answer = cds_openai_error(&err);
    assert_int_equal(strlen(cds_json_get_str(cds_json_get(answer, "error"), "message")), sizeof(sentence) - 1 + 1 + sizeof(hint) - 1);
}

static void an_openai_error_comes_back_as_the_value_it_was_made_from(void **state)
{
    struct cds_err err = {0}, back;
    cds_fail(&err, CDS_BUSY, "here", "Too many wait.");
    cds_err_hint(&err, "Try later.");
    cds_err_rule(&err, "queue.full");
    cds_err_pointer(&err, "/messages/0");
    err.retry_after_ms = 2000;
    CDS_JSON_AUTO answer = cds_openai_error(&err);
    cds_openai_error_parse(answer, CDS_INTERNAL, &back);
    assert_int_equal(back.code, CDS_BUSY);
    assert_string_equal(back.message, "Too many wait.");
    assert_string_equal(back.hint, "Try later.");
    assert_string_equal(back.rule, "queue.full");
    assert_string_equal(back.pointer, "/messages/0");
    assert_int_equal(back.retry_after_ms, 2000);
}

static void what_is_no_openai_error_is_the_code_asked_for_without_a_sentence(void **state)
{
    struct cds_err back;
    static const char *const texts[] = {"{}", "[]", "{\"error\":\"x\"}", "{\"error\":{\"message\":7,\"code\":8,\"retry_after_ms\":-1}}",
                                        "{\"error\":{\"retry_after_ms\":99999999999}}"};
    for (size_t i = 0; i < CDS_ARRAY_LEN(texts); i++) {
        CDS_JSON_AUTO answer = NULL;
        assert_int_equal(cds_json_parse(texts[i], strlen(texts[i]), &answer, NULL), CDS_OK);
        cds_openai_error_parse(answer, CDS_UNAVAILABLE, &back);
        assert_int_equal(back.code, CDS_UNAVAILABLE);
        assert_string_equal(back.message, "");
        assert_int_equal(back.retry_after_ms, 0);
    }
    cds_openai_error_parse(NULL, CDS_TOO_LARGE, &back);
    assert_int_equal(back.code, CDS_TOO_LARGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_openai_error_has_hint_rule_and_time_to_wait_where_there_are_some),
        cmocka_unit_test(the_longest_sentence_and_hint_are_both_told_whole),
        cmocka_unit_test(an_openai_error_comes_back_as_the_value_it_was_made_from),
        cmocka_unit_test(what_is_no_openai_error_is_the_code_asked_for_without_a_sentence),
    };
    return RUN_ALL(tests);
}
