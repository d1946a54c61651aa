/* What clients send to auth. */
#include "apps/auth/input.h"
#include "tests/support/test.h"

#define TOKEN "AAAAAAAAAABBBBBBBBBBCCCCCCCCCCDDDDDDDDDD-_9"

static void email_is_folded_to_lower_case(void **state)
{
    char out[CDS_EMAIL_MAX + 1];
    assert_int_equal(cds_email_fold("Ada.Lovelace@Example.ORG", out, NULL), CDS_OK);
    assert_string_equal(out, "ada.lovelace@example.org");
}

static void email_of_254_bytes_is_taken_and_of_255_refused(void **state)
{
    char text[300], out[CDS_EMAIL_MAX + 1] = "untouched";
    memset(text, 'a', sizeof(text));
    memcpy(text + 243, "@example.org", 13);
    assert_int_equal(cds_email_fold(text, out, NULL), CDS_BAD_PARAM);
    assert_string_equal(out, "untouched");
    assert_int_equal(cds_email_fold(text + 1, out, NULL), CDS_OK);
}

static void email_of_another_shape_is_refused(void **state)
{
    static const char *const texts[] = {
        "", "ada", "@", "ada@", "@example.org", "a@b@c", "ada @example.org", "ada@example.org\n", "a\x01@b", "\xff@b", "j\xc3\xb6rg@example.org"};
    for (size_t i = 0; i < CDS_ARRAY_LEN(texts); i++) {
        char out[CDS_EMAIL_MAX + 1];
        struct cds_err err = {0};
        assert_int_equal(cds_email_fold(texts[i], out, &err), CDS_BAD_PARAM);
        assert_string_equal(err.pointer, "/email");
    }
}

static cds_rc parse(const char *body, bool setup, struct cds_sign_in *ret, struct cds_err *err)
{
    return cds_sign_in_parse(body, strlen(body), setup ? CDS_SIGN_UP : CDS_SIGN_IN, ret, err);
}

static void sign_in_reads_mail_and_password(void **state)
{
    struct cds_sign_in in;
    assert_int_equal(parse("{\"email\":\"ADA@example.org\",\"password\":\"quiet lamp 47\"}", false, &in, NULL), CDS_OK);
    assert_string_equal(in.email, "ada@example.org");
    assert_string_equal(in.password, "quiet lamp 47");
    assert_int_equal(in.password_len, 13);
    assert_string_equal(in.token, "");
}

static void setup_reads_token_and_name(void **state)
{
    struct cds_sign_in in;
    assert_int_equal(parse("{\"token\":\"" TOKEN "\",\"email\":\"a@b\",\"password\":\"p\",\"display_name\":\"Ada\"}", true, &in, NULL), CDS_OK);
    assert_string_equal(in.token, TOKEN);
    assert_string_equal(in.display_name, "Ada");
    assert_int_equal(parse("{\"token\":\"" TOKEN "\",\"email\":\"a@b\",\"password\":\"p\"}", true, &in, NULL), CDS_OK);
    assert_string_equal(in.display_name, "");
}

static void bodies_of_another_shape_are_refused_with_a_pointer(void **state)
{
    static const struct {
        const char *body, *pointer;
        bool setup;
    } rows[] = {
        {"[]", "", false},
        {"null", "", false},
        {"{}", "/email", false},
        {"{\"email\":\"a@b\"}", "/password", false},
        {"{\"email\":7,\"password\":\"p\"}", "/email", false},
        {"{\"email\":\"a@b\",\"password\":7}", "/password", false},
        {"{\"email\":\"a@b\",\"password\":\"p\",\"role\":\"admin\"}", "/role", false},
        {"{\"email\":\"a@b\",\"password\":\"p\",\"token\":\"" TOKEN "\"}", "/token", false},
        {"{\"email\":\"a@b\",\"password\":\"p\"}", "/token", true},
        {"{\"email\":\"a@b\",\"password\":\"p\",\"token\":\"short\"}", "/token", true},
        {"{\"email\":\"a@b\",\"password\":\"p\",\"token\":\"" TOKEN "\",\"display_name\":7}", "/display_name", true},
        {"{\"email\":\"a@b\",\"password\":\"p\",\"token\":\"" TOKEN "\",\"display_name\":\"a\\nb\"}", "/display_name", true},
        {"{\"email\":\"a@b\",\"password\":\"p\",\"token\":\"" TOKEN "\",\"role\":\"admin\"}", "/role", true},
    };
    for (size_t i = 0; i < CDS_ARRAY_LEN(rows); i++) {
        struct cds_sign_in in, before;
        struct cds_err err = {0};
        memset(&in, 0x5a, sizeof(in));
        before = in;
        assert_int_equal(parse(rows[i].body, rows[i].setup, &in, &err), CDS_BAD_PARAM);
        assert_string_equal(err.pointer, rows[i].pointer);
        assert_memory_equal(&in, &before, sizeof(in));
    }
    struct cds_sign_in in;
    assert_int_equal(parse("{", false, &in, NULL), CDS_BAD_SYNTAX);
    assert_int_equal(parse("", false, &in, NULL), CDS_BAD_SYNTAX);
    assert_int_equal(parse("{\"email\":\"a@b\",\"password\":\"p\",\"password\":\"q\"}", false, &in, NULL), CDS_BAD_SYNTAX);
}

static void a_password_of_1024_bytes_is_read_and_of_1025_refused(void **state)
{
    char body[1200];
    struct cds_sign_in in;
    snprintf(body, sizeof(body), "{\"email\":\"a@b\",\"password\":\"%01024d\"}", 0);
    assert_int_equal(parse(body, false, &in, NULL), CDS_OK);
    assert_int_equal(in.password_len, 1024);
    snprintf(body, sizeof(body), "{\"email\":\"a@b\",\"password\":\"%01025d\"}", 0);
    assert_int_equal(parse(body, false, &in, NULL), CDS_BAD_PARAM);
}

static void name_of_100_characters_is_taken_and_of_101_refused(void **state)
{
    char text[256] = "";
    for (int i = 0; i < 100; i++)
        strcat(text, "\xc3\xa4");
    assert_int_equal(cds_name_check(text, NULL), CDS_OK);
    strcat(text, "a");
    assert_int_equal(cds_name_check(text, NULL), CDS_BAD_PARAM);
}

static void cookie_is_found_among_others_and_only_by_its_whole_name(void **state)
{
    char out[CDS_TOKEN_TEXT + 1] = "untouched";
    assert_false(cds_cookie_find(NULL, "cds_refresh", out));
    assert_false(cds_cookie_find("", "cds_refresh", out));
    assert_false(cds_cookie_find("xcds_refresh=" TOKEN, "cds_refresh", out));
    assert_false(cds_cookie_find("cds_refreshx=" TOKEN, "cds_refresh", out));
    assert_false(cds_cookie_find("cds_refresh=" TOKEN "A", "cds_refresh", out));
    assert_false(cds_cookie_find("cds_refresh=", "cds_refresh", out));
    assert_false(cds_cookie_find("cds_refresh=%41AAAAAAAABBBBBBBBBBCCCCCCCCCCDDDDDDDDDD-_", "cds_refresh", out));
    assert_string_equal(out, "untouched");
    assert_true(cds_cookie_find("cds_refresh=" TOKEN, "cds_refresh", out));
    assert_string_equal(out, TOKEN);
    memset(out, 0, sizeof(out));
    assert_true(cds_cookie_find("theme=dark; cds_refresh=; cds_refresh=" TOKEN "; a=b", "cds_refresh", out));
    assert_string_equal(out, TOKEN);
}

static void cookie_is_out_of_reach_of_scripts_and_other_sites(void **state)
{
    char text[CDS_COOKIE_TEXT];
    assert_string_equal(cds_cookie_make(TOKEN, 1209600, false, text),
                        "cds_refresh=" TOKEN "; Path=/auth; HttpOnly; SameSite=Strict; Max-Age=1209600");
    assert_string_equal(cds_cookie_make(TOKEN, 60, true, text), "cds_refresh=" TOKEN "; Path=/auth; HttpOnly; SameSite=Strict; Max-Age=60; Secure");
    assert_string_equal(cds_cookie_make("", 60, false, text), "cds_refresh=; Path=/auth; HttpOnly; SameSite=Strict; Max-Age=0");
}

static void only_json_types_are_json(void **state)
{
    assert_true(cds_is_json_type("application/json"));
    assert_true(cds_is_json_type("Application/JSON; charset=utf-8"));
    assert_true(cds_is_json_type("application/json ;x"));
    assert_false(cds_is_json_type(NULL));
    assert_false(cds_is_json_type(""));
    assert_false(cds_is_json_type("text/plain"));
    assert_false(cds_is_json_type("application/jsonp"));
    assert_false(cds_is_json_type("application/x-www-form-urlencoded; application/json"));
}

static void link_takes_a_password_and_no_address(void **state)
{
    struct cds_sign_in got = {.token = ""};
    struct cds_err err = {0};
    const char *good = "{\"token\":\"" TOKEN "\",\"password\":\"Seven-Copper-Kettles\",\"display_name\":\"Ada\"}";
    const char *more = "{\"token\":\"" TOKEN "\",\"password\":\"Seven-Copper-Kettles\",\"email\":\"ada@example.org\"}";
    const char *look = "{\"token\":\"" TOKEN "\"}";
    assert_int_equal(cds_sign_in_parse(good, strlen(good), CDS_TAKE_LINK, &got, &err), CDS_OK);
    assert_string_equal(got.token, TOKEN);
    assert_string_equal(got.display_name, "Ada");
    assert_int_equal(cds_sign_in_parse(more, strlen(more), CDS_TAKE_LINK, &got, &err), CDS_BAD_PARAM);
    assert_string_equal(err.pointer, "/email");
    assert_int_equal(cds_sign_in_parse(look, strlen(look), CDS_LOOK_AT_LINK, &got, &err), CDS_OK);
    assert_int_equal(cds_sign_in_parse(good, strlen(good), CDS_LOOK_AT_LINK, &got, &err), CDS_BAD_PARAM);
    assert_int_equal(cds_sign_in_parse(look, strlen(look), CDS_TAKE_LINK, &got, &err), CDS_BAD_PARAM);
    assert_string_equal(err.pointer, "/password");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(email_is_folded_to_lower_case),
        cmocka_unit_test(email_of_254_bytes_is_taken_and_of_255_refused),
        cmocka_unit_test(email_of_another_shape_is_refused),
        cmocka_unit_test(sign_in_reads_mail_and_password),
        cmocka_unit_test(setup_reads_token_and_name),
        cmocka_unit_test(bodies_of_another_shape_are_refused_with_a_pointer),
        cmocka_unit_test(a_password_of_1024_bytes_is_read_and_of_1025_refused),
        cmocka_unit_test(name_of_100_characters_is_taken_and_of_101_refused),
        cmocka_unit_test(cookie_is_found_among_others_and_only_by_its_whole_name),
        cmocka_unit_test(cookie_is_out_of_reach_of_scripts_and_other_sites),
        cmocka_unit_test(only_json_types_are_json),
        cmocka_unit_test(link_takes_a_password_and_no_address),
    };
    return RUN_ALL(tests);
}
