#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "apps/llmserver/wire.h"
#include "lib/base/cleanup.h"

static const struct cds_wire chat = {.chat = true, .request_id = "0190", .model = "m", .fingerprint = "fp_1", .created_s = 5};
static const struct cds_wire counted = {
    .chat = true, .include_usage = true, .request_id = "0190", .model = "m", .fingerprint = "fp_1", .created_s = 5};
static const struct cds_wire plain = {.request_id = "0190", .model = "m", .fingerprint = "fp_1", .created_s = 5};
static const struct cds_wire_end end = {.finish_reason = "stop",
                                        .ended = "finished",
                                        .prompt_tokens = 3,
                                        .cached_tokens = 1,
                                        .completion_tokens = 4,
                                        .reasoning_tokens = 2,
                                        .cost_micro = 11};

/** Compares with the JSON text that is expected; steals value. */
static void same(cds_json *value, const char *expected)
{
    cds_json *wanted = NULL;
    assert_int_equal(cds_json_parse(expected, strlen(expected), &wanted, NULL), CDS_OK);
    if (!cds_json_equal(value, wanted)) {
        char *text = cds_json_dumps(value, NULL);
        print_error("got      %s\nexpected %s\n", text, expected);
        fail();
    }
    cds_json_unref(value);
    cds_json_unref(wanted);
}
#define HEAD "\"id\":\"chatcmpl-0190\",\"object\":\"chat.completion.chunk\",\"created\":5,\"model\":\"m\",\"system_fingerprint\":\"fp_1\""
#define USAGE                                                                                                                                        \
    "\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4,\"total_tokens\":7,\"prompt_tokens_details\":{\"cached_tokens\":1},\"completion_tokens_" \
    "details\":{\"reasoning_tokens\":2}}"
#define CDS "\"cds\":{\"cost_micro\":11,\"request_id\":\"0190\",\"ended\":\"finished\"}"
/* The last chunk of a stream that was not asked to tell usage. */
#define CDS_LAST "\"cds\":{\"cost_micro\":11,\"request_id\":\"0190\",\"ended\":\"finished\"," USAGE "}"

static void wire_begins_a_chat_with_the_role(void **state)
{
    same(cds_wire_role(&chat, 0),
         "{" HEAD ",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"logprobs\":null,\"finish_reason\":null}]}");
    assert_null(cds_wire_role(&plain, 0));
}

static void wire_puts_usage_null_into_every_chunk_when_usage_was_asked(void **state)
{
    same(cds_wire_text(&counted, 0, "hi", 2, NULL),
         "{" HEAD ",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"},\"logprobs\":null,\"finish_reason\":null}],\"usage\":null}");
    same(cds_wire_text(&chat, 0, "hi", 2, NULL),
         "{" HEAD ",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"},\"logprobs\":null,\"finish_reason\":null}]}");
}

static void wire_ends_with_an_empty_delta_and_the_reason(void **state)
{
    same(cds_wire_finish(&chat, 0, "stop", true, &end),
         "{" HEAD ",\"choices\":[{\"index\":0,\"delta\":{},\"logprobs\":null,\"finish_reason\":\"stop\"}]," CDS_LAST "}");
    same(cds_wire_finish(&counted, 0, "stop", true, &end),
         "{" HEAD ",\"choices\":[{\"index\":0,\"delta\":{},\"logprobs\":null,\"finish_reason\":\"stop\"}],\"usage\":null}");
}

static void wire_tells_cost_in_the_last_of_several_finish_chunks_only(void **state)
{
    same(cds_wire_finish(&chat, 0, "tool_calls", false, &end),
         "{" HEAD ",\"choices\":[{\"index\":0,\"delta\":{},\"logprobs\":null,\"finish_reason\":\"tool_calls\"}]}");
    same(cds_wire_finish(&chat, 3, "length", true, &end),
         "{" HEAD ",\"choices\":[{\"index\":3,\"delta\":{},\"logprobs\":null,\"finish_reason\":\"length\"}]," CDS_LAST "}");
}

static void wire_gives_usage_in_a_chunk_without_choices(void **state)
{
    same(cds_wire_usage(&counted, &end), "{" HEAD ",\"choices\":[]," USAGE "," CDS "}");
}

static void wire_answers_a_chat_in_one_piece(void **state)
{
    cds_json *message = cds_json_pack("{s:s,s:s,s:n}", "role", "assistant", "content", "hi", "refusal");
    same(cds_wire_answer(&chat, cds_json_pack("[o]", cds_wire_choice(&chat, 0, message, NULL, "stop")), &end),
         "{\"id\":\"chatcmpl-0190\",\"object\":\"chat.completion\",\"created\":5,\"model\":\"m\",\"system_fingerprint\":\"fp_1\",\"choices\":[{"
         "\"index\":0,\"message\":{\"role\":"
         "\"assistant\",\"content\":\"hi\",\"refusal\":null},\"logprobs\":null,\"finish_reason\":\"stop\"}]," USAGE "," CDS "}");
}

static void wire_answers_a_completion_in_its_own_shape(void **state)
{
    same(cds_wire_answer(&plain, cds_json_pack("[o]", cds_wire_choice(&plain, 0, cds_json_string("hi"), NULL, "stop")), &end),
         "{\"id\":\"cmpl-0190\",\"object\":\"text_completion\",\"created\":5,\"model\":\"m\",\"system_fingerprint\":\"fp_1\",\"choices\":[{\"index\":"
         "0,"
         "\"text\":\"hi\",\"logprobs\":null,\"finish_reason\":\"stop\"}]," USAGE "," CDS "}");
    same(cds_wire_text(&plain, 0, "hi", 2, NULL), "{\"id\":\"cmpl-0190\",\"object\":\"text_completion\",\"created\":5,\"model\":\"m\",\"system_"
                                                  "fingerprint\":\"fp_1\",\"choices\":[{\"index\":0,"
                                                  "\"text\":\"hi\",\"logprobs\":null,\"finish_reason\":null}]}");
}

static void wire_tells_what_was_done_beside_the_text(void **state)
{
    struct cds_wire_end more = end;
    more.thought.from_ms = 10;
    more.thought.to_ms = 20;
    more.text.from_ms = 21;
    more.text.to_ms = 40;
    more.dropped_messages = 2;
    more.validated_tokens = 5;
    more.refuted_tokens = 1;
    more.forced_tokens = 3;
    CDS_JSON_AUTO answer = cds_wire_answer(&plain, cds_json_array(), &more);
    CDS_CLEANUP(cds_free_ptr) char *cds = cds_json_dumps(cds_json_get(answer, "cds"), NULL);
    assert_non_null(
        strstr(cds, "\"segments\":[{\"type\":\"thought\",\"start_ms\":10,\"end_ms\":20},{\"type\":\"text\",\"start_ms\":21,\"end_ms\":40}]"));
    assert_non_null(strstr(cds, "\"context_shift\":{\"dropped_messages\":2,\"dropped_tokens\":0}"));
    assert_non_null(strstr(cds, "\"speculation\":{\"validated\":5,\"refuted\":1,\"forced\":3}"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wire_begins_a_chat_with_the_role),
        cmocka_unit_test(wire_puts_usage_null_into_every_chunk_when_usage_was_asked),
        cmocka_unit_test(wire_ends_with_an_empty_delta_and_the_reason),
        cmocka_unit_test(wire_tells_cost_in_the_last_of_several_finish_chunks_only),
        cmocka_unit_test(wire_gives_usage_in_a_chunk_without_choices),
        cmocka_unit_test(wire_answers_a_chat_in_one_piece),
        cmocka_unit_test(wire_answers_a_completion_in_its_own_shape),
        cmocka_unit_test(wire_tells_what_was_done_beside_the_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
