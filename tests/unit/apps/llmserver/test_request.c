#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "apps/llmserver/request.h"

static cds_rc parse(const char *body, bool chat, struct cds_ask *ask, struct cds_err *err)
{
    return cds_ask_parse(body, strlen(body), chat, ask, err);
}
#define MESSAGES "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"

static void request_reads_a_chat_with_every_option(void **state)
{
    struct cds_ask ask = {0};
    struct cds_err err = {0};
    assert_int_equal(
        parse("{\"model\":\"SmolLM2\"," MESSAGES ",\"stream\":true,\"stream_options\":{\"include_usage\":true},\"max_tokens\":5,"
              "\"max_completion_tokens\":9,\"temperature\":0.5,\"top_p\":0.9,\"top_k\":10,\"min_p\":0.1,\"seed\":-1,\"presence_penalty\":1,"
              "\"frequency_penalty\":-1,\"stop\":[\"a\",\"b\"],\"n\":1,\"user\":\"u\",\"x_unknown\":{}}",
              true, &ask, &err),
        CDS_OK);
    assert_string_equal(ask.model, "smollm2");
    assert_true(ask.stream && ask.include_usage && ask.chat);
    assert_int_equal(ask.max_tokens, 9);
    assert_int_equal(cds_json_get_i64(ask.prompt, "seed", 0), UINT32_MAX);
    assert_int_equal(cds_json_size(cds_json_get(ask.prompt, "stop")), 2);
    assert_int_equal(cds_json_size(cds_json_get(ask.prompt, "messages")), 1);
    assert_true(cds_json_num(cds_json_get(ask.prompt, "temperature"), 0) == 0.5);
    assert_null(cds_json_get(ask.prompt, "x_unknown"));
    cds_ask_clear(&ask);
}

static void request_treats_null_as_absent(void **state)
{
    struct cds_ask ask = {0};
    assert_int_equal(parse("{" MESSAGES ",\"model\":null,\"stream\":null,\"max_tokens\":null,\"stop\":null,\"n\":null,\"seed\":null,\"tools\":null,"
                           "\"temperature\":null,\"stream_options\":null,\"response_format\":null,\"logprobs\":false,\"tools\":[]}",
                           true, &ask, NULL),
                     CDS_BAD_SYNTAX); /* "tools" twice */
    assert_int_equal(parse("{" MESSAGES ",\"model\":null,\"stream\":null,\"max_tokens\":null,\"stop\":null,\"n\":null,\"seed\":null,\"tools\":[],"
                           "\"temperature\":null,\"stream_options\":null,\"response_format\":null,\"logprobs\":false}",
                           true, &ask, NULL),
                     CDS_OK);
    assert_string_equal(ask.model, "");
    assert_false(ask.stream);
    assert_int_equal(ask.max_tokens, 0);
    cds_ask_clear(&ask);
}

static void request_joins_text_parts_and_maps_developer_to_system(void **state)
{
    struct cds_ask ask = {0};
    assert_int_equal(
        parse("{\"messages\":[{\"role\":\"developer\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"text\",\"text\":\"b\"}]},"
              "{\"role\":\"assistant\",\"content\":null},{\"role\":\"user\",\"content\":\"\"}],\"stop\":\"x\"}",
              true, &ask, NULL),
        CDS_OK);
    const cds_json *first = cds_json_at(cds_json_get(ask.prompt, "messages"), 0);
    assert_string_equal(cds_json_get_str(first, "role"), "system");
    assert_string_equal(cds_json_get_str(first, "content"), "ab");
    assert_int_equal(cds_json_size(cds_json_get(ask.prompt, "stop")), 1);
    cds_ask_clear(&ask);
}

static void request_reads_a_completion(void **state)
{
    struct cds_ask ask = {0};
    assert_int_equal(parse("{\"prompt\":[\"Once\"]}", false, &ask, NULL), CDS_OK);
    assert_string_equal(cds_json_str(cds_json_at(cds_json_get(ask.prompt, "prompts"), 0)), "Once");
    assert_false(ask.chat);
    cds_ask_clear(&ask);
}

struct wrong {
    const char *body, *pointer;
};
static const struct wrong wrong_chats[] = {
    {"[]", ""},
    {"{}", "/messages"},
    {"{\"messages\":[]}", "/messages"},
    {"{\"messages\":\"hi\"}", "/messages"},
    {"{\"messages\":[{\"role\":\"user\"}]}", "/messages/0/content"},
    {"{\"messages\":[{\"role\":\"robot\",\"content\":\"x\"}]}", "/messages/0/role"},
    {"{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\"}]}]}", "/messages/0/content"},
    {"{" MESSAGES ",\"model\":5}", "/model"},
    {"{" MESSAGES ",\"stream\":\"yes\"}", "/stream"},
    {"{" MESSAGES ",\"stream_options\":[]}", "/stream_options"},
    {"{" MESSAGES ",\"stream_options\":{\"include_usage\":1}}", "/stream_options/include_usage"},
    {"{" MESSAGES ",\"max_tokens\":0}", "/max_tokens"},
    {"{" MESSAGES ",\"max_tokens\":1.5}", "/max_tokens"},
    {"{" MESSAGES ",\"max_completion_tokens\":\"9\"}", "/max_completion_tokens"},
    {"{" MESSAGES ",\"temperature\":3}", "/temperature"},
    {"{" MESSAGES ",\"temperature\":\"0\"}", "/temperature"},
    {"{" MESSAGES ",\"top_k\":1.5}", "/top_k"},
    {"{" MESSAGES ",\"seed\":1.5}", "/seed"},
    {"{" MESSAGES ",\"n\":33}", "/n"},
    {"{" MESSAGES ",\"stop\":5}", "/stop"},
    {"{" MESSAGES ",\"stop\":[\"1\",\"2\",\"3\",\"4\",\"5\"]}", "/stop"},
    {"{" MESSAGES ",\"stop\":[\"\"]}", "/stop"},
    {"{" MESSAGES ",\"tools\":[{}]}", "/tools/0/type"},
    {"{" MESSAGES ",\"tools\":{}}", "/tools"},
    {"{" MESSAGES ",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"a b\"}}]}", "/tools/0/function/name"},
    {"{" MESSAGES ",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"a\"}},{\"type\":\"function\",\"function\":{\"name\":\"a\"}}]}",
     "/tools/1/function/name"},
    {"{" MESSAGES ",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"a\",\"parameters\":{\"type\":\"object\",\"properties\":{\"x\":"
     "{\"not\":{}}}}}}]}",
     "/tools/0/function/parameters/properties/x/not"},
    {"{" MESSAGES ",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"a\"}}],\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":"
     "\"b\"}}}",
     "/tool_choice"},
    {"{" MESSAGES ",\"tool_choice\":\"required\"}", "/tool_choice"},
    {"{\"messages\":[{\"role\":\"tool\",\"content\":\"x\"}]}", "/messages/0/tool_call_id"},
    {"{\"messages\":[{\"role\":\"assistant\",\"tool_calls\":[{\"function\":{\"name\":\"f\",\"arguments\":\"[\"}}]}]}", "/messages/0/tool_calls"},
    {"{" MESSAGES ",\"continue_final_message\":true}", "/continue_final_message"},
    {"{" MESSAGES ",\"reasoning_format\":\"x\"}", "/reasoning_format"},
    {"{" MESSAGES ",\"reasoning_budget\":-2}", "/reasoning_budget"},
    {"{" MESSAGES ",\"chat_template_kwargs\":[]}", "/chat_template_kwargs"},
    {"{" MESSAGES ",\"grammar\":\"root ::= (\"}", "/grammar"},
    {"{" MESSAGES ",\"grammar\":\"%llguidance {}\\nstart: /a/\"}", "/grammar"},
    {"{" MESSAGES ",\"json_schema\":{\"type\":\"string\"},\"grammar\":\"json\"}", "/grammar"},
    {"{" MESSAGES ",\"samplers\":[\"top_k\",\"top_k\"]}", "/samplers/1"},
    {"{" MESSAGES ",\"samplers\":[\"magic\"]}", "/samplers/0"},
    {"{" MESSAGES ",\"deterministic\":1}", "/deterministic"},
    {"{" MESSAGES ",\"deterministic\":true,\"n\":2}", "/deterministic"},
    {"{" MESSAGES ",\"deterministic\":true,\"speculation\":\"lookup\"}", "/speculation"},
    {"{" MESSAGES ",\"functions\":[{\"name\":\"f\"}]}", "/functions"},
    {"{" MESSAGES ",\"audio\":{\"voice\":\"x\"}}", "/audio"},
    {"{" MESSAGES ",\"modalities\":[\"text\",\"audio\"]}", "/modalities"},
    {"{" MESSAGES ",\"logit_bias\":[[1]]}", "/logit_bias"},
    {"{" MESSAGES ",\"logit_bias\":{\"1\":\"5\"}}", "/logit_bias"},
    {"{" MESSAGES ",\"logprobs\":1}", "/logprobs"},
    {"{" MESSAGES ",\"top_logprobs\":21,\"logprobs\":true}", "/top_logprobs"},
    {"{" MESSAGES ",\"response_format\":{\"type\":\"xml\"}}", "/response_format"},
    {"{" MESSAGES ",\"response_format\":{\"type\":\"json_schema\"}}", "/response_format/json_schema/schema"},
    {"{" MESSAGES ",\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"schema\":{\"type\":\"string\",\"pattern\":\"^a\\\\!$\"}}}}",
     "/response_format/json_schema/schema/pattern"},
};
static const struct wrong wrong_completions[] = {
    {"{}", "/prompt"},
    {"{\"prompt\":[1,-2]}", "/prompt"},
    {"{\"prompt\":[\"a\",\"\"]}", "/prompt"},
    {"{\"prompt\":\"x\",\"n\":3,\"best_of\":2}", "/best_of"},
    {"{\"prompt\":\"x\",\"suffix\":5}", "/suffix"},
    {"{\"prompt\":\"x\",\"echo\":true,\"logprobs\":1,\"stream\":true}", "/echo"},
};

static void check_refused(const struct wrong *wrong, bool chat)
{
    struct cds_ask ask = {.max_tokens = 77};
    struct cds_err err = {0};
    assert_int_equal(parse(wrong->body, chat, &ask, &err), CDS_BAD_PARAM);
    assert_string_equal(err.pointer, wrong->pointer);
    assert_true(strlen(err.message) > 10);
    assert_int_equal(ask.max_tokens, 77);
    assert_null(ask.prompt);
}

static void request_names_the_member_it_refuses(void **state)
{
    for (size_t i = 0; i < CDS_ARRAY_LEN(wrong_chats); i++)
        check_refused(&wrong_chats[i], true);
    for (size_t i = 0; i < CDS_ARRAY_LEN(wrong_completions); i++)
        check_refused(&wrong_completions[i], false);
}

static void request_refuses_text_that_is_not_json(void **state)
{
    struct cds_ask ask = {0};
    struct cds_err err = {0};
    assert_int_equal(parse("{\"messages\":", true, &ask, &err), CDS_BAD_SYNTAX);
    assert_int_equal(parse("", true, &ask, &err), CDS_BAD_SYNTAX);
}

static void request_refuses_a_257th_message(void **state)
{
    struct cds_buf body = cds_buf_init(1 << 20);
    struct cds_ask ask = {0};
    for (int count = 256; count <= 257; count++) {
        cds_buf_clear(&body);
        assert_int_equal(cds_buf_add_str(&body, "{\"messages\":["), CDS_OK);
        for (int i = 0; i < count; i++)
            assert_int_equal(cds_buf_addf(&body, "%s{\"role\":\"user\",\"content\":\"x\"}", i ? "," : ""), CDS_OK);
        assert_int_equal(cds_buf_add_str(&body, "]}"), CDS_OK);
        assert_int_equal(cds_ask_parse(body.data, body.len, true, &ask, NULL), count == 256 ? CDS_OK : CDS_BAD_PARAM);
        cds_ask_clear(&ask);
    }
    cds_buf_free(&body);
}

/** A body with a list of so many items between its two parts; each item may have its number in it. */
static cds_rc parse_many(bool chat, const char *before, const char *item, unsigned count, const char *after)
{
    struct cds_buf body = cds_buf_init(1 << 20);
    struct cds_ask ask = {0};
    assert_int_equal(cds_buf_add_str(&body, before), CDS_OK);
    for (unsigned i = 0; i < count; i++) {
        const char *place = strchr(item, '#');
        int len = place ? (int)(place - item) : (int)strlen(item);
        assert_int_equal(cds_buf_addf(&body, "%.*s", len, item), CDS_OK);
        if (place)
            assert_int_equal(cds_buf_addf(&body, "%u%s", i, place + 1), CDS_OK);
        if (*after != '\"' && i + 1 < count)
            assert_int_equal(cds_buf_add_str(&body, ","), CDS_OK);
    }
    assert_int_equal(cds_buf_add_str(&body, after), CDS_OK);
    cds_rc rc = parse(body.data, chat, &ask, NULL);
    if (rc == CDS_OK)
        cds_ask_clear(&ask);
    cds_buf_free(&body);
    return rc;
}

static void request_stops_at_its_limits(void **state)
{
    static const struct {
        bool chat;
        const char *before, *item;
        unsigned most;
        const char *after; /* begins with a quote: the items are a text */
    } cases[] = {
        {true, "{" MESSAGES ",\"tools\":[", "{\"type\":\"function\",\"function\":{\"name\":\"f#\"}}", 128, "]}"},
        {true, "{" MESSAGES ",\"logit_bias\":[", "[#,1]", 1024, "]}"},
        {true, "{" MESSAGES ",\"stop\":\"", "x", 256, "\"}"},
        {true, "{" MESSAGES ",\"chat_template\":\"", "(", 64, "\"}"},
        {true, "{" MESSAGES ",\"chat_template\":\"", "{%}", 1024, "\"}"},
        {true, "{" MESSAGES ",\"stop_token_ids\":[", "#", 16, "]}"},
        {false, "{\"n\":2,\"prompt\":[", "\"x\"", 16, "]}"},
        {false, "{\"n\":3,\"prompt\":[", "\"x\"", 10, "]}"},
    };
    for (size_t i = 0; i < CDS_ARRAY_LEN(cases); i++) {
        if (parse_many(cases[i].chat, cases[i].before, cases[i].item, cases[i].most, cases[i].after) != CDS_OK)
            fail_msg("%s %u times is refused", cases[i].item, cases[i].most);
        if (parse_many(cases[i].chat, cases[i].before, cases[i].item, cases[i].most + 1, cases[i].after) != CDS_BAD_PARAM)
            fail_msg("%s %u times is taken", cases[i].item, cases[i].most + 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(request_reads_a_chat_with_every_option),
        cmocka_unit_test(request_treats_null_as_absent),
        cmocka_unit_test(request_joins_text_parts_and_maps_developer_to_system),
        cmocka_unit_test(request_reads_a_completion),
        cmocka_unit_test(request_names_the_member_it_refuses),
        cmocka_unit_test(request_refuses_text_that_is_not_json),
        cmocka_unit_test(request_refuses_a_257th_message),
        cmocka_unit_test(request_stops_at_its_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
