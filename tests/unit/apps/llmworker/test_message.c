#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "apps/llmworker/message.h"

static cds_rc parse(const char *json, struct cds_prepare *ret, struct cds_err *err)
{
    static cds_json *kept; /* borrowed texts live until the next call */
    cds_json_unref(kept);
    kept = NULL;
    if (cds_json_parse(json, strlen(json), &kept, err) != CDS_OK)
        return CDS_BAD_SYNTAX;
    return cds_message_prepare(kept, ret, err);
}

static void message_reads_a_chat(void **state)
{
    struct cds_prepare p;
    struct cds_err err = {0};
    assert_int_equal(parse("{\"job\":7,\"max_tokens\":5,\"scope\":9,\"key\":4,\"priority\":0,\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],"
                           "\"temperature\":0,\"seed\":4294967295,"
                           "\"stop\":[\"a\",\"b\"]}",
                           &p, &err),
                     CDS_OK);
    assert_int_equal(p.id, 7);
    assert_int_equal(p.max_tokens, 5);
    assert_int_equal(p.scope, 9);
    assert_int_equal(p.key, 4);
    assert_int_equal(p.priority, CDS_CLASS_LOW);
    assert_int_equal(p.sampling.seed, UINT32_MAX);
    assert_true(p.sampling.temperature == 0);
    assert_int_equal(p.text.stop_count, 2);
    assert_non_null(p.messages);
}

static void message_reads_a_text_prompt(void **state)
{
    struct cds_prepare p;
    struct cds_err err = {0};
    assert_int_equal(parse("{\"job\":1,\"max_tokens\":1,\"prompts\":[\"Once\",[1,2]]}", &p, &err), CDS_OK);
    assert_null(p.messages);
    assert_int_equal(p.prompt_count, 2);
}

static void message_refuses_what_is_missing_or_wrong(void **state)
{
    static const struct {
        const char *json, *pointer;
    } cases[] = {
        {"[]", "/job"},
        {"{\"job\":-1}", "/job"},
        {"{\"job\":1}", "/max_tokens"},
        {"{\"job\":1,\"max_tokens\":0,\"prompts\":[\"x\"]}", "/max_tokens"},
        {"{\"job\":1,\"max_tokens\":1}", "/prompts"},
        {"{\"job\":1,\"max_tokens\":1,\"prompts\":[\"\"]}", "/prompts"},
        {"{\"job\":1,\"max_tokens\":1,\"prompts\":[\"x\"],\"priority\":3}", "/priority"},
        {"{\"job\":1,\"max_tokens\":1,\"prompts\":[\"x\"],\"priority\":-1}", "/priority"},
        {"{\"job\":1,\"max_tokens\":1,\"messages\":[]}", "/messages"},
        {"{\"job\":1,\"max_tokens\":1,\"messages\":[{\"role\":\"robot\",\"content\":\"\"}]}", "/messages"},
        {"{\"job\":1,\"max_tokens\":1,\"messages\":[{\"role\":\"user\"}]}", "/messages"},
        {"{\"job\":1,\"max_tokens\":1,\"prompts\":[\"x\"],\"temperature\":\"0\"}", "/temperature"},
        {"{\"job\":1,\"max_tokens\":1,\"prompts\":[\"x\"],\"top_p\":2}", "/top_p"},
        {"{\"job\":1,\"max_tokens\":1,\"prompts\":[\"x\"],\"repeat_penalty\":0}", "/repeat_penalty"},
        {"{\"job\":1,\"max_tokens\":1,\"prompts\":[\"x\"],\"stop\":\"x\"}", "/stop"},
        {"{\"job\":1,\"max_tokens\":1,\"prompts\":[\"x\"],\"stop\":[\"\"]}", "/stop"},
        {"{\"job\":1,\"max_tokens\":1,\"prompts\":[\"x\"],\"stop\":[\"1\",\"2\",\"3\",\"4\",\"5\",\"6\"]}", "/stop"},
    };
    for (size_t i = 0; i < CDS_ARRAY_LEN(cases); i++) {
        struct cds_prepare p;
        struct cds_err err = {0};
        assert_int_equal(parse(cases[i].json, &p, &err), CDS_BAD_PARAM);
        assert_string_equal(err.pointer, cases[i].pointer);
    }
    struct cds_prepare p;
    parse("{}", &p, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(message_reads_a_chat),
        cmocka_unit_test(message_reads_a_text_prompt),
        cmocka_unit_test(message_refuses_what_is_missing_or_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
