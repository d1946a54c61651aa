#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "apps/llmserver/choice.h"
#include "apps/llmserver/poison.h"

static cds_json *json(const char *text)
{
    cds_json *value = NULL;
    assert_int_equal(cds_json_parse(text, strlen(text), &value, NULL), CDS_OK);
    return value;
}

static cds_json *take(struct cds_choice *choice, const char *delta)
{
    CDS_JSON_AUTO value = json(delta);
    cds_json *ret = NULL;
    cds_choice_take(choice, value, true, &ret);
    return ret;
}

static void choice_gives_a_call_its_id_once_and_puts_the_message_together(void **state)
{
    struct cds_choice choice;
    cds_choice_init(&choice);
    CDS_JSON_AUTO first = take(&choice, "{\"call\":0,\"name\":\"f\"}");
    const cds_json *call = cds_json_at(cds_json_get(first, "tool_calls"), 0);
    assert_int_equal(cds_json_get_i64(call, "index", -1), 0);
    assert_string_equal(cds_json_get_str(call, "type"), "function");
    assert_int_equal(strlen(cds_json_get_str(call, "id")), 29);
    assert_string_equal(cds_json_get_str(cds_json_get(call, "function"), "arguments"), "");
    CDS_JSON_AUTO second = take(&choice, "{\"call\":0,\"arguments\":\"{\\\"a\\\":\"}");
    assert_null(cds_json_get(cds_json_at(cds_json_get(second, "tool_calls"), 0), "id"));
    cds_json_unref(take(&choice, "{\"call\":0,\"arguments\":\"1}\"}"));
    cds_json_unref(take(&choice, "{\"call\":1,\"name\":\"g\"}"));
    cds_json_unref(take(&choice, "{\"reasoning\":\"hm\"}"));
    CDS_JSON_AUTO message = cds_choice_message(&choice);
    assert_true(cds_json_is(cds_json_get(message, "content"), CDS_JSON_NULL));
    assert_string_equal(cds_json_get_str(message, "reasoning_content"), "hm");
    const cds_json *calls = cds_json_get(message, "tool_calls");
    assert_int_equal(cds_json_size(calls), 2);
    assert_string_equal(cds_json_get_str(cds_json_get(cds_json_at(calls, 0), "function"), "arguments"), "{\"a\":1}");
    assert_string_equal(cds_json_get_str(cds_json_get(cds_json_at(calls, 1), "function"), "arguments"), "{}");
    cds_choice_clear(&choice);
}

static void choice_refuses_calls_out_of_order_and_beyond_its_room(void **state)
{
    struct cds_choice choice;
    cds_choice_init(&choice);
    assert_null(take(&choice, "{\"call\":1,\"name\":\"f\"}"));
    assert_null(take(&choice, "{\"call\":-1,\"name\":\"f\"}"));
    for (int i = 0; i <= CDS_CHOICE_CALLS_MAX; i++) {
        char text[64];
        snprintf(text, sizeof(text), "{\"call\":%d,\"name\":\"f\"}", i);
        CDS_JSON_AUTO delta = take(&choice, text);
        assert_int_equal(delta != NULL, i < CDS_CHOICE_CALLS_MAX);
    }
    cds_choice_clear(&choice);
}

static void choice_tells_chances_of_tokens_that_are_half_a_character(void **state)
{
    struct cds_choice choice;
    cds_choice_init(&choice);
    CDS_JSON_AUTO list = json("[[[195],-0.5,[[[195],-0.5],[[97],-2]]],[[188,98],-1,[]],[[0],-3,[]]]");
    CDS_JSON_AUTO chat = cds_choice_logprobs(&choice, list, true);
    const cds_json *content = cds_json_get(chat, "content");
    assert_string_equal(cds_json_get_str(cds_json_at(content, 0), "token"), "\xEF\xBF\xBD");
    assert_int_equal(cds_json_i64(cds_json_at(cds_json_get(cds_json_at(content, 0), "bytes"), 0), 0), 195);
    assert_int_equal(cds_json_size(cds_json_get(cds_json_at(content, 0), "top_logprobs")), 2);
    assert_string_equal(cds_json_get_str(cds_json_at(content, 1), "token"), "\xEF\xBF\xBD"
                                                                            "b");
    assert_string_equal(cds_json_get_str(cds_json_at(content, 2), "token"), "\xEF\xBF\xBD");
    CDS_JSON_AUTO text = cds_choice_logprobs(&choice, list, false);
    CDS_JSON_AUTO offsets = json("[0,1,3]");
    assert_true(cds_json_equal(cds_json_get(text, "text_offset"), offsets));
    assert_true(cds_json_is(cds_json_at(cds_json_get(text, "top_logprobs"), 1), CDS_JSON_NULL));
    cds_choice_clear(&choice);
}

static void poison_is_refused_after_two_deaths_and_forgotten_later(void **state)
{
    static struct cds_poison poison;
    uint64_t id = cds_poison_fingerprint("u", "m", "{}", 2);
    assert_true(id != cds_poison_fingerprint("u", "m", "{ }", 3) && id != cds_poison_fingerprint("um", "", "{}", 2));
    cds_poison_add(&poison, id, 1000);
    assert_int_equal(cds_poison_check(&poison, id, 1001, NULL), CDS_OK);
    cds_poison_add(&poison, id, 2000);
    struct cds_err err = {0};
    assert_int_equal(cds_poison_check(&poison, id, 2001, &err), CDS_BAD_PARAM);
    assert_string_equal(err.rule, "llm.poison");
    assert_int_equal(cds_poison_check(&poison, id + 1, 2001, NULL), CDS_OK);
    for (uint64_t i = 1; i < CDS_POISON_MAX; i++)
        cds_poison_add(&poison, id + i, 3000);
    assert_int_equal(cds_poison_check(&poison, id, 3001, NULL), CDS_BAD_PARAM);
    cds_poison_add(&poison, id + CDS_POISON_MAX, 3002); /* the oldest one makes room */
    assert_int_equal(cds_poison_check(&poison, id, 3003, NULL), CDS_OK);
    cds_poison_add(&poison, id + 1, 4000);
    assert_int_equal(cds_poison_check(&poison, id + 1, 4000 + CDS_POISON_KEEP_MS - 1, NULL), CDS_BAD_PARAM);
    assert_int_equal(cds_poison_check(&poison, id + 1, 4000 + CDS_POISON_KEEP_MS, NULL), CDS_OK);
}

static void choice_notes_when_thought_and_text_came(void **state)
{
    struct cds_choice choice;
    cds_choice_init(&choice);
    cds_json_unref(take(&choice, "{\"reasoning\":\"hm\"}"));
    assert_true(choice.thought_from_ms > 0 && choice.thought_to_ms >= choice.thought_from_ms);
    assert_int_equal(choice.text_from_ms, 0);
    uint64_t first = choice.thought_from_ms;
    usleep(3000);
    cds_json_unref(take(&choice, "{\"reasoning\":\"so\"}"));
    cds_json_unref(take(&choice, "{\"content\":\"yes\"}"));
    assert_int_equal(choice.thought_from_ms, first);
    assert_true(choice.thought_to_ms > first && choice.text_from_ms >= choice.thought_to_ms);
    cds_choice_clear(&choice);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(choice_gives_a_call_its_id_once_and_puts_the_message_together),
        cmocka_unit_test(choice_refuses_calls_out_of_order_and_beyond_its_room),
        cmocka_unit_test(choice_tells_chances_of_tokens_that_are_half_a_character),
        cmocka_unit_test(choice_notes_when_thought_and_text_came),
        cmocka_unit_test(poison_is_refused_after_two_deaths_and_forgotten_later),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
