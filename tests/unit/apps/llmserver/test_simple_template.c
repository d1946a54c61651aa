/* tests/unit/apps/llmserver/test_simple_template.c: chat templates of people who write no Jinja. */
#include "tests/support/test.h"

#include "apps/llmserver/simple_template.h"

static cds_rc make(const char *text, const char *forms, char **ret, char stop[static CDS_SIMPLE_STOP_MAX + 1], struct cds_err *err)
{
    struct cds_buf jinja = cds_buf_init(65536);
    CDS_JSON_AUTO object = NULL;
    if (forms)
        assert_int_equal(cds_json_parse(forms, strlen(forms), &object, NULL), CDS_OK);
    cds_rc rc = cds_simple_template(text, object, &jinja, stop, err);
    *ret = NULL;
    if (rc == CDS_OK) {
        assert_int_equal(cds_buf_add(&jinja, "", 1), CDS_OK);
        *ret = strdup(jinja.data);
    }
    cds_buf_free(&jinja);
    return rc;
}

static void template_becomes_jinja_in_which_its_texts_mean_nothing(void **state)
{
    char *jinja, stop[CDS_SIMPLE_STOP_MAX + 1];
    struct cds_err err;
    assert_int_equal(make("A \"quote\"\\ {%\n", NULL, &jinja, stop, &err), CDS_BAD_PARAM);
    assert_int_equal(make("say \"it\"\\\n{{history}}bot: {{completion}}\nuser: ", "{\"user\":\"u<{{message}}>\\n\"}", &jinja, stop, &err), CDS_OK);
    assert_non_null(strstr(jinja, "{{ \"say \\\"it\\\"\\\\\\n\" }}{%- for m in messages -%}"));
    assert_non_null(strstr(jinja, "{%- else -%}{{ \"u<\" }}{{ m['content'] }}{{ \">\\n\" }}{%- endif -%}"));
    assert_non_null(strstr(jinja, "{{ \"assistant: \" }}{{ m['content'] }}{{ \"\\n\" }}"));
    assert_non_null(strstr(jinja, "{{ \"system: \" }}"));
    assert_non_null(strstr(jinja, "{%- if add_generation_prompt -%}{{ \"bot: \" }}{%- endif -%}"));
    assert_string_equal(stop, "\nuser: ");
    free(jinja);
}

static void template_with_a_place_for_the_system_keeps_it_out_of_the_history(void **state)
{
    static const char *const texts[] = {"{{system}}\n{{history}}{{completion}}", "{{history}}\n{{system}}{{completion}}"};
    for (size_t i = 0; i < CDS_ARRAY_LEN(texts); i++) {
        char *jinja, stop[CDS_SIMPLE_STOP_MAX + 1];
        struct cds_err err;
        assert_int_equal(make(texts[i], NULL, &jinja, stop, &err), CDS_OK);
        assert_null(strstr(jinja, "system: "));
        assert_non_null(strstr(jinja, "namespace(one=false)"));
        assert_true((strstr(jinja, "namespace") < strstr(jinja, "== 'assistant'")) == (i == 0));
        assert_string_equal(stop, "");
        free(jinja);
    }
}

static void template_that_lacks_doubles_or_invents_a_place_is_refused(void **state)
{
    static const char *const bad[] = {"{{history}}",
                                      "{{completion}}",
                                      "{{completion}}{{history}}",
                                      "{{history}}{{history}}{{completion}}",
                                      "{{history}}{{completion}}{{completion}}",
                                      "{{system}}{{system}}{{history}}{{completion}}",
                                      "{{history}}{{completion}}{{system}}",
                                      "{{history}}{{date}}{{completion}}",
                                      "{{ history }}{{completion}}",
                                      "{{history}}\x01{{completion}}",
                                      "{{history}}{{completion}}{{"};
    for (size_t i = 0; i < CDS_ARRAY_LEN(bad); i++) {
        char *jinja, stop[CDS_SIMPLE_STOP_MAX + 1];
        struct cds_err err;
        assert_int_equal(make(bad[i], NULL, &jinja, stop, &err), CDS_BAD_PARAM);
        assert_string_equal(err.pointer, "/chat_template");
    }
}

static void template_whose_history_texts_are_wrong_is_refused(void **state)
{
    static const char *const bad[] = {"{\"user\":\"x\"}", "{\"user\":7}", "{\"tool\":\"{{message}}\"}", "{\"user\":\"{{message}}{{message}}\"}",
                                      "{\"user\":\"{{message}}{{role}}\"}"};
    for (size_t i = 0; i < CDS_ARRAY_LEN(bad); i++) {
        char *jinja, stop[CDS_SIMPLE_STOP_MAX + 1];
        struct cds_err err;
        assert_int_equal(make("{{history}}{{completion}}", bad[i], &jinja, stop, &err), CDS_BAD_PARAM);
    }
}

static void template_is_told_from_jinja(void **state)
{
    assert_true(cds_simple_is("{{history}}{{completion}}"));
    assert_false(cds_simple_is("{% for m in messages %}{{history}}{% endfor %}"));
    assert_false(cds_simple_is("{{ messages[0].content }}"));
    assert_false(cds_simple_is("chatml"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(template_becomes_jinja_in_which_its_texts_mean_nothing),
        cmocka_unit_test(template_with_a_place_for_the_system_keeps_it_out_of_the_history),
        cmocka_unit_test(template_that_lacks_doubles_or_invents_a_place_is_refused),
        cmocka_unit_test(template_whose_history_texts_are_wrong_is_refused),
        cmocka_unit_test(template_is_told_from_jinja),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
