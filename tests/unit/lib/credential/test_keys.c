/* API keys: changed for an access token by the sign-in service, kept, asked for anew, and slowed down when they are invented. */
#include "tests/unit/lib/credential/rig.h"

static void make_key(int i, char out[static CDS_APIKEY_LEN + 1])
{
    char id[37], secret[CDS_APIKEY_SECRET + 1];
    snprintf(id, sizeof(id), "0190f5a0-0000-7000-8000-%012d", i);
    snprintf(secret, sizeof(secret), "%043d", i);
    cds_apikey_make(id, secret, out);
}

/* What cds-auth changes a key for. */
static void answer_key(int signer)
{
    struct cds_claims claims = {.user_id = "0190f5a0-0000-7000-8000-000000000001",
                                .session_id = "0190f5a0-0000-7000-8000-000000000003",
                                .key_id = "0190f5a0-0000-7000-8000-000000000003",
                                .email = "ada@example.org",
                                .role = "developer",
                                .issued_s = (int64_t)(cds_wall_ms() / 1000),
                                .expires_s = (int64_t)(cds_wall_ms() / 1000) + 60,
                                .version = 1};
    CDS_CLEANUP(cds_free_ptr) char *token = NULL;
    char body[CDS_JWT_MAX + 32];
    assert_string_equal(last_url, "http://127.0.0.1:6971/auth/key");
    assert_int_equal(cds_jwt_sign(signers[signer], &claims, &token, NULL), CDS_OK);
    snprintf(body, sizeof(body), "{\"access_token\":\"%s\"}", token);
    answer(200, body);
}

static void a_key_is_changed_for_a_token_once(void **state)
{
    char key[CDS_APIKEY_LEN + 1];
    struct outcome o;
    make_key(1, key);
    answer(200, sets[0]);
    check(key, &o);
    assert_int_equal(o.count, 0);
    answer_key(0);
    assert_int_equal(o.code, CDS_OK);
    assert_int_equal(o.role, CDS_ROLE_DEVELOPER);
    expects(key, CDS_OK, "");
    assert_int_equal(calls, 2);
}

static void a_key_that_comes_before_the_first_key_set_waits_for_it(void **state)
{
    char key[CDS_APIKEY_LEN + 1];
    struct outcome o;
    make_key(1, key);
    check(key, &o);
    answer(200, sets[0]);
    assert_int_equal(o.count, 0);
    answer_key(0);
    assert_int_equal(o.code, CDS_OK);
}

static void keys_do_not_push_each_other_out(void **state)
{
    char key[CDS_APIKEY_LEN + 1];
    struct outcome o;
    enum { KEYS = 300 };
    answer(200, sets[0]);
    for (int i = 0; i < KEYS; i++) {
        make_key(i, key);
        check(key, &o);
        answer_key(0);
        assert_int_equal(o.code, CDS_OK);
    }
    int before = calls;
    for (int i = 0; i < KEYS; i++) {
        make_key(i, key);
        expects(key, CDS_OK, "");
    }
    assert_int_equal(calls, before);
}

/* A look at the rights is needed first, and the key set changes meanwhile: the key is changed once more, and no word of it reaches the caller. */
static void a_key_whose_token_lost_its_key_set_is_changed_again(void **state)
{
    char key[CDS_APIKEY_LEN + 1];
    struct outcome o;
    make_key(1, key);
    answer(200, sets[0]);
    check(key, &o);
    answer_key(0);
    assert_int_equal(o.code, CDS_OK);
    pass(CDS_KEYS_REFRESH_MS);
    answer(200, sets[1]);
    check(key, &o);
    assert_int_equal(o.count, 0);
    answer_key(1);
    assert_int_equal(o.code, CDS_OK);
}

static void a_key_is_asked_for_anew_shortly_before_its_token_ends(void **state)
{
    char key[CDS_APIKEY_LEN + 1];
    struct outcome o;
    make_key(1, key);
    answer(200, sets[0]);
    check(key, &o);
    answer_key(0);
    cds_credential_renew(creds, key);
    expects(key, CDS_OK, "");
    pass(56000);
    expects(key, CDS_OK, "");
    cds_credential_renew(creds, key);
    check(key, &o);
    assert_int_equal(o.count, 0);
    answer_key(0);
    assert_int_equal(o.code, CDS_OK);
}

static const char unknown_key[] =
    "{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32001,\"message\":\"x\",\"data\":{\"type\":\"urn:cyberdevstudio:problem:unauthenticated\","
    "\"status\":401,\"rule\":\"key.unknown\"}}}";

static void invented_keys_are_slowed_down_and_known_ones_are_not(void **state)
{
    char key[CDS_APIKEY_LEN + 1], known[CDS_APIKEY_LEN + 1];
    struct outcome o;
    make_key(100000, known);
    answer(200, sets[0]);
    check(known, &o);
    answer_key(0);
    for (int i = 0; i < CDS_STRANGERS_MAX; i++) {
        make_key(i, key);
        check(key, &o);
        answer(401, unknown_key);
        assert_int_equal(o.code, CDS_UNAUTHENTICATED);
    }
    make_key(CDS_STRANGERS_MAX, key);
    expects(key, CDS_RATE_LIMITED, "key.flood");
    cds_credential_renew(creds, known);
    pass(61000);
    if (call_open)
        answer(200, sets[0]); /* the minute's key set */
    for (int i = 0; i < CDS_STRANGERS_MAX + 610; i++) {
        make_key(200000 + i, key);
        check(key, &o);
        if (o.count)
            break;
        answer(401, unknown_key);
    }
    assert_string_equal(o.rule, "key.flood");
    check(known, &o);
    assert_int_equal(o.count, 0);
    answer_key(0);
    assert_int_equal(o.code, CDS_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_key_is_changed_for_a_token_once),
        T(a_key_that_comes_before_the_first_key_set_waits_for_it),
        T(keys_do_not_push_each_other_out),
        T(a_key_whose_token_lost_its_key_set_is_changed_again),
        T(a_key_is_asked_for_anew_shortly_before_its_token_ends),
        T(invented_keys_are_slowed_down_and_known_ones_are_not),
    };
    return RUN_ALL(tests);
}
