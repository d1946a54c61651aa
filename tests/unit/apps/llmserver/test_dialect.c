/* tests/unit/apps/llmserver/test_dialect.c: bodies of other APIs as chats, and errors about a chat in the caller's names. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "apps/llmserver/dialect.h"
#include "apps/llmserver/segments.h"

static cds_json *parse(const char *text)
{
    cds_json *value = NULL;
    assert_int_equal(cds_json_parse(text, strlen(text), &value, NULL), CDS_OK);
    return value;
}

static void becomes(cds_rc (*to_chat)(const cds_json *, bool, cds_json **, struct cds_err *), const char *body, const char *messages)
{
    CDS_JSON_AUTO given = parse(body);
    CDS_JSON_AUTO wanted = parse(messages);
    CDS_JSON_AUTO chat = NULL;
    struct cds_err err = {0};
    if (to_chat(given, false, &chat, &err) != CDS_OK)
        fail_msg("%s", err.message);
    if (!cds_json_equal(cds_json_get(chat, "messages"), wanted)) {
        char *text = cds_json_dumps(cds_json_get(chat, "messages"), NULL);
        fail_msg("got %s", text);
    }
}

static void responses_join_thoughts_calls_and_texts_of_one_turn(void **state)
{
    becomes(cds_responses_to_chat,
            "{\"instructions\":\"I\",\"input\":[{\"role\":\"user\",\"content\":[{\"type\":\"input_text\",\"text\":\"a\"},{\"type\":\"input_text\","
            "\"text\":\"b\"}]},"
            "{\"type\":\"reasoning\",\"summary\":[],\"content\":[{\"type\":\"reasoning_text\",\"text\":\"t\"}]},"
            "{\"type\":\"message\",\"role\":\"assistant\",\"content\":[{\"type\":\"output_text\",\"text\":\"c\",\"annotations\":[]}]},"
            "{\"type\":\"function_call\",\"call_id\":\"1\",\"name\":\"f\",\"arguments\":\"\"},{\"type\":\"function_call_output\",\"call_id\":\"1\","
            "\"output\":\"5\"}]}",
            "[{\"role\":\"system\",\"content\":\"I\"},{\"role\":\"user\",\"content\":\"ab\"},{\"role\":\"assistant\",\"content\":\"c\",\"reasoning_"
            "content\":\"t\","
            "\"tool_calls\":[{\"id\":\"1\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]},"
            "{\"role\":\"tool\",\"tool_call_id\":\"1\",\"content\":\"5\"}]");
}

static void messages_put_results_before_the_text_beside_them(void **state)
{
    becomes(
        cds_messages_to_chat,
        "{\"max_tokens\":1,\"system\":\"S\",\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":[{\"type\":"
        "\"thinking\","
        "\"thinking\":\"t\",\"signature\":\"\"},{\"type\":\"text\",\"text\":\"b\"},{\"type\":\"tool_use\",\"id\":\"1\",\"name\":\"f\",\"input\":{"
        "\"x\":1}}]},"
        "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"so?\"},{\"type\":\"tool_result\",\"tool_use_id\":\"1\",\"content\":\"5\"}]},"
        "{\"role\":\"user\",\"content\":[{\"type\":\"tool_result\",\"tool_use_id\":\"2\"}]}]}",
        "[{\"role\":\"system\",\"content\":\"S\"},{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":\"b\",\"reasoning_"
        "content\":\"t\","
        "\"tool_calls\":[{\"id\":\"1\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"x\\\":1}\"}}]},"
        "{\"role\":\"tool\",\"tool_call_id\":\"1\",\"content\":\"5\"},{\"role\":\"user\",\"content\":\"so?\"},"
        "{\"role\":\"tool\",\"tool_call_id\":\"2\",\"content\":\"\"}]");
}

static void members_of_other_apis_do_not_leak_into_the_chat(void **state)
{
    static const char *const foreign[] = {"n", "best_of", "response_format", "max_completion_tokens", "functions", "logprobs"};
    CDS_JSON_AUTO body =
        parse("{\"input\":\"x\",\"max_tokens\":1,\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"n\":5,\"best_of\":9,\"response_format\":1,"
              "\"max_completion_tokens\":\"x\",\"functions\":[1],\"logprobs\":7}");
    for (int i = 0; i < 2; i++) {
        CDS_JSON_AUTO chat = NULL;
        assert_int_equal((i ? cds_messages_to_chat : cds_responses_to_chat)(body, false, &chat, NULL), CDS_OK);
        for (size_t k = 0; k < sizeof(foreign) / sizeof(foreign[0]); k++)
            assert_null(cds_json_get(chat, foreign[k]));
    }
}

static void errors_name_members_as_the_caller_wrote_them(void **state)
{
    struct cds_err err = {0};
    cds_fail(&err, CDS_BAD_PARAM, "x", "\"max_completion_tokens\" must be 1.");
    cds_err_pointer(&err, "/max_completion_tokens");
    cds_responses_own_names(&err);
    assert_string_equal(err.pointer, "/max_output_tokens");
    assert_string_equal(err.message, "\"max_output_tokens\" must be 1.");
    cds_fail(&err, CDS_BAD_PARAM, "x", "Not at /response_format/json_schema/schema/a.");
    cds_err_pointer(&err, "/response_format/json_schema/schema/a");
    cds_responses_own_names(&err);
    assert_string_equal(err.pointer, "/text/format/schema/a");
    assert_string_equal(err.message, "Not at /text/format/schema/a.");
    cds_fail(&err, CDS_BAD_PARAM, "x", "\"tools[3].function/name\" must be x.");
    cds_err_pointer(&err, "/tools/3/function/name");
    cds_responses_own_names(&err);
    assert_string_equal(err.pointer, "/tools/3/name");
    assert_string_equal(err.message, "\"tools[3].name\" must be x.");
    cds_fail(&err, CDS_BAD_PARAM, "x", "\"stop\" must be x.");
    cds_err_pointer(&err, "/stop");
    cds_messages_own_names(&err);
    assert_string_equal(err.pointer, "/stop_sequences");
    assert_string_equal(err.message, "\"stop_sequences\" must be x.");
    cds_err_pointer(&err, "/tools/0/function/parameters/type");
    cds_messages_own_names(&err);
    assert_string_equal(err.pointer, "/tools/0/input_schema/type");
}

static void segments_begin_anew_when_the_kind_or_the_call_changes(void **state)
{
    struct cds_segments segments = {0};
    bool is_new;
    assert_non_null(cds_segments_take(&segments, CDS_SEGMENT_TEXT, 0, 0, &is_new));
    assert_true(is_new);
    cds_segments_take(&segments, CDS_SEGMENT_TEXT, 0, 5, &is_new);
    assert_false(is_new);
    cds_segments_take(&segments, CDS_SEGMENT_CALL, 0, 0, &is_new);
    cds_segments_take(&segments, CDS_SEGMENT_CALL, 1, 0, &is_new);
    assert_true(is_new);
    assert_int_equal(segments.count, 3);
    while (segments.count < CDS_SEGMENTS_MAX)
        assert_non_null(cds_segments_take(&segments, segments.count % 2 ? CDS_SEGMENT_TEXT : CDS_SEGMENT_REASONING, 0, 0, &is_new));
    assert_null(cds_segments_take(&segments, CDS_SEGMENT_CALL, 9, 0, &is_new));
    cds_segments_free(&segments);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(responses_join_thoughts_calls_and_texts_of_one_turn),   cmocka_unit_test(messages_put_results_before_the_text_beside_them),
        cmocka_unit_test(members_of_other_apis_do_not_leak_into_the_chat),       cmocka_unit_test(errors_name_members_as_the_caller_wrote_them),
        cmocka_unit_test(segments_begin_anew_when_the_kind_or_the_call_changes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
