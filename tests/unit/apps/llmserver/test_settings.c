#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "apps/llmserver/request.h"
#include "apps/llmserver/settings.h"

static bool allowed(const struct cds_setting *setting, cds_json *value)
{
    CDS_JSON_AUTO own = value;
    return cds_settings_check(setting, own, NULL) == CDS_OK;
}

static bool asked(const char *name, cds_json *value)
{
    CDS_JSON_AUTO body = cds_json_pack("{s:s,s:o}", "prompt", "a", name, value);
    struct cds_ask ask = {0};
    bool good = cds_ask_read(body, CDS_TASK_TEXT, &ask, NULL) == CDS_OK;
    cds_ask_clear(&ask);
    return good;
}

static cds_json *number(const struct cds_setting *setting, double value)
{
    return setting->kind == CDS_SETTING_WHOLE ? cds_json_int((int64_t)value) : cds_json_real(value);
}

static void settings_of_answers_have_the_ranges_of_requests(void **state)
{
    size_t count, compared = 0;
    const struct cds_setting *table = cds_settings_table(&count);
    for (size_t i = 0; i < count; i++) {
        const struct cds_setting *s = &table[i];
        if (s->reload || s->option != CDS_OPT_COUNT || strcmp(s->name, "answer_tokens_max") == 0 || strcmp(s->name, "t_max_predict_ms") == 0)
            continue;
        const double values[] = {s->min, s->max, s->min - 1, s->max + 1, s->otherwise};
        for (size_t k = 0; k < CDS_ARRAY_LEN(values); k++)
            assert_int_equal(allowed(s, number(s, values[k])), asked(s->name, number(s, values[k])));
        assert_true(allowed(s, number(s, s->otherwise)));
        compared++;
    }
    assert_true(compared >= 20);
}

static void settings_that_are_choices_take_whole_words_only(void **state)
{
    const struct cds_setting *type = cds_settings_find("cache_type_k");
    assert_true(allowed(type, cds_json_string("f16")));
    assert_true(allowed(type, cds_json_string("iq4_nl")));
    assert_false(allowed(type, cds_json_string("f1")));
    assert_false(allowed(type, cds_json_string("")));
    assert_false(allowed(type, cds_json_string("f16 f32")));
    assert_false(allowed(type, cds_json_int(1)));
    assert_null(cds_settings_find("cache_type"));
}

static void settings_that_override_keys_are_checked_by_their_type(void **state)
{
    static const char *const good[] = {"a.b-c_d=int:-5", "a=float:1.5e3", "a=bool:false", "a=str:any = text: \"here\"", "a=str:"};
    static const char *const bad[] = {"a=int:", "a=int:5x",  "a=int: 5", "a=float:",         "a=bool:1", "a=long:5",
                                      "=int:5", "a b=int:5", "a:int=5",  "a=str:line\nline", "a"};
    const struct cds_setting *metadata = cds_settings_find("metadata");
    for (size_t i = 0; i < CDS_ARRAY_LEN(good); i++)
        assert_true(allowed(metadata, cds_json_pack("[s]", good[i])));
    for (size_t i = 0; i < CDS_ARRAY_LEN(bad); i++)
        assert_false(allowed(metadata, cds_json_pack("[s]", bad[i])));
    assert_false(allowed(metadata, cds_json_string("a=int:5")));
    assert_true(allowed(metadata, cds_json_array()));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(settings_of_answers_have_the_ranges_of_requests),
        cmocka_unit_test(settings_that_are_choices_take_whole_words_only),
        cmocka_unit_test(settings_that_override_keys_are_checked_by_their_type),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
