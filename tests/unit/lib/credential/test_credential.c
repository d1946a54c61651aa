/* The credential check against a scripted sign-in service, on a clock of the test's own: the clock and the HTTP client are replaced at link
 * time by the functions below. */
#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/base/str.h"
#include "lib/credential/credential.h"
#include "lib/credential/keys.h"
#include "lib/jwt/ed25519.h"
#include "lib/jwt/token.h"
#include "tests/support/test.h"

/* ---- clock ---- */

static uint64_t clock_ms;
enum { WALL_S = 1800000000 };

uint64_t cds_now_ms(void)
{
    return clock_ms;
}
uint64_t cds_now_ns(void)
{
    return clock_ms * 1000000;
}
uint64_t cds_wall_ms(void)
{
    return WALL_S * 1000ull + clock_ms;
}
int cds_ms_left(uint64_t deadline_ms)
{
    return deadline_ms > clock_ms ? (int)(deadline_ms - clock_ms) : 0;
}
char *cds_time_rfc3339(uint64_t wall_ms, char buf[static 25])
{
    return cds_strcpy(buf, 25, "1970-01-01T00:00:00.000Z");
}

/* ---- HTTP client: at most one call open, answered by the test ---- */

static struct cds_http_call_spec open_spec;
static bool call_open;
static int calls;
static char last_url[128];

cds_rc cds_http_call_start(struct cds_http_client *client, const struct cds_http_call_spec *spec, struct cds_http_call **ret, struct cds_err *reterr)
{
    assert_false(call_open);
    open_spec = *spec;
    cds_strcpy(last_url, sizeof(last_url), spec->url);
    call_open = true;
    calls++;
    *ret = (struct cds_http_call *)&open_spec;
    return CDS_OK;
}

void cds_http_call_cancel(struct cds_http_call **call)
{
    call_open = false;
    *call = NULL;
}

static void answer(int status, const char *body)
{
    assert_true(call_open);
    call_open = false;
    open_spec.on_done(open_spec.user, status, body, strlen(body), NULL);
}

static void answer_unreachable(void)
{
    struct cds_err err;
    cds_fail(&err, CDS_UNAVAILABLE, __func__, "Connection refused.");
    assert_true(call_open);
    call_open = false;
    open_spec.on_done(open_spec.user, 0, "", 0, &err);
}

/* ---- fixture ---- */

static struct cds_loop *loop;
static struct cds_credentials *creds;
static struct cds_signer *signers[2];
static char *sets[2];   /* the key set of each signer, JSON text */
static char *tokens[2]; /* a developer's token of each signer */

/* Lets time pass; timers fire at their moment. */
static void pass(uint64_t ms)
{
    for (uint64_t i = 0; i < ms; i += 10) {
        clock_ms += 10;
        cds_loop_once(loop, 0);
    }
}

static char *sign(const struct cds_signer *signer, const char *role, int64_t life_s)
{
    struct cds_claims claims = {.user_id = "0190f5a0-0000-7000-8000-000000000001",
                                .session_id = "0190f5a0-0000-7000-8000-000000000002",
                                .email = "ada@example.org",
                                .issued_s = WALL_S,
                                .expires_s = WALL_S + life_s,
                                .version = 1};
    char *token = NULL;
    cds_strcpy(claims.role, sizeof(claims.role), role);
    assert_int_equal(cds_jwt_sign(signer, &claims, &token, NULL), CDS_OK);
    return token;
}

static int setup(void **state)
{
    struct cds_err err;
    clock_ms = 100000;
    calls = 0;
    call_open = false;
    for (int i = 0; i < 2; i++) {
        char *pem = NULL;
        size_t len;
        assert_int_equal(cds_edkey_make_pem(&pem, &len, &err), CDS_OK);
        assert_int_equal(cds_signer_from_pem(pem, len, &signers[i], &err), CDS_OK);
        free(pem);
        cds_json *jwks = cds_signer_jwks(signers[i]);
        sets[i] = cds_json_dumps(jwks, NULL);
        cds_json_unref(jwks);
        tokens[i] = sign(signers[i], "developer", 600);
    }
    assert_int_equal(cds_loop_new(&loop, &err), CDS_OK);
    assert_int_equal(cds_credentials_new(loop, NULL, "http://127.0.0.1:6971", &creds, &err), CDS_OK);
    return 0;
}

static int teardown(void **state)
{
    cds_credentials_free(&creds);
    cds_loop_free(&loop);
    for (int i = 0; i < 2; i++) {
        cds_signer_free(&signers[i]);
        free(sets[i]);
        free(tokens[i]);
    }
    return 0;
}

/* What done was told. */
struct outcome {
    int count;
    cds_rc code;
    char rule[48];
    enum cds_role role;
    struct cds_credential_wait *wait;
};

static void note(void *user, const struct cds_credential *credential, const struct cds_err *err)
{
    struct outcome *o = user;
    assert_true((credential == NULL) != (err == NULL));
    o->count++;
    o->wait = NULL;
    o->code = err ? err->code : CDS_OK;
    o->role = credential ? credential->role : CDS_ROLE_NONE;
    cds_strcpy(o->rule, sizeof(o->rule), err ? err->rule : "");
    if (err)
        assert_true(*err->message);
}

static void check(const char *text, struct outcome *o)
{
    memset(o, 0, sizeof(*o));
    struct cds_credential_wait *wait = NULL;
    cds_credential_check(creds, text, note, o, &wait);
    o->wait = wait;
}

static void expects(const char *text, cds_rc code, const char *rule)
{
    struct outcome o;
    check(text, &o);
    assert_int_equal(o.count, 1);
    assert_int_equal(o.code, code);
    assert_string_equal(o.rule, rule);
    assert_null(o.wait);
}

/* ---- API keys ---- */

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

/* ---- tests ---- */

static void the_set_is_fetched_at_the_start_and_a_token_is_then_checked_at_once(void **state)
{
    struct cds_err err;
    char text[2200];
    struct outcome o;
    assert_string_equal(last_url, "http://127.0.0.1:6971/.well-known/jwks.json");
    assert_int_equal(cds_credentials_ready(creds, &err), CDS_UNAVAILABLE);
    answer(200, sets[0]);
    assert_int_equal(cds_credentials_ready(creds, NULL), CDS_OK);
    check(tokens[0], &o);
    assert_int_equal(o.count, 1);
    assert_int_equal(o.role, CDS_ROLE_DEVELOPER);
    snprintf(text, sizeof(text), "Bearer %s", tokens[0]);
    expects(text, CDS_OK, "");
    snprintf(text, sizeof(text), "bEARER   %s", tokens[0]);
    expects(text, CDS_OK, "");
    assert_int_equal(calls, 1);
}

static void absent_foreign_and_oversized_credentials_are_refused_without_a_fetch(void **state)
{
    char big[CDS_JWT_MAX + 2];
    memset(big, 'a', sizeof(big) - 1);
    big[sizeof(big) - 1] = '\0';
    answer(200, sets[0]);
    expects(NULL, CDS_UNAUTHENTICATED, "auth.absent");
    expects("", CDS_UNAUTHENTICATED, "auth.absent");
    expects("Bearer ", CDS_UNAUTHENTICATED, "auth.absent");
    expects("Basic YTpi", CDS_UNAUTHENTICATED, "auth.scheme");
    expects("Digest YTpi", CDS_UNAUTHENTICATED, "auth.scheme");
    expects("Bearer", CDS_UNAUTHENTICATED, "jwt.malformed");
    expects("Bearer x y", CDS_UNAUTHENTICATED, "jwt.malformed");
    expects(big, CDS_UNAUTHENTICATED, "jwt.malformed");
    assert_false(call_open);
    assert_int_equal(calls, 1);
}

static void a_remembered_token_still_expires_at_its_second(void **state)
{
    CDS_CLEANUP(cds_free_ptr) char *brief = sign(signers[0], "viewer", 110);
    answer(200, sets[0]);
    expects(brief, CDS_OK, "");
    expects(brief, CDS_OK, "");
    clock_ms = 109999;
    expects(brief, CDS_OK, "");
    clock_ms = 110000;
    expects(brief, CDS_UNAUTHENTICATED, "jwt.expired");
}

static void a_remembered_token_is_forgotten_with_the_key_that_signed_it(void **state)
{
    struct outcome o;
    answer(200, sets[0]);
    expects(tokens[0], CDS_OK, "");
    pass(CDS_KEYS_REFRESH_MS);
    answer(200, sets[1]);
    check(tokens[0], &o);
    assert_int_equal(o.count, 0);
    pass(1000);
    answer(200, sets[1]);
    assert_int_equal(o.code, CDS_UNAUTHENTICATED);
    assert_string_equal(o.rule, "jwt.unknown_kid");
}

static void a_token_that_resembles_a_remembered_one_is_not_taken_for_it(void **state)
{
    char text[2200];
    answer(200, sets[0]);
    expects(tokens[0], CDS_OK, "");
    snprintf(text, sizeof(text), "%s.", tokens[0]);
    expects(text, CDS_UNAUTHENTICATED, "jwt.malformed");
    snprintf(text, sizeof(text), "%s", tokens[0]);
    char *of_signature = text + strlen(text) - 10;
    *of_signature = *of_signature == 'A' ? 'B' : 'A'; /* a letter that base64url has, so that it is the signature that is wrong */
    expects(text, CDS_UNAUTHENTICATED, "jwt.signature");
    /* One that falls into the same place of the table. */
    unsigned char good[32], other[32];
    cds_sha256(tokens[0], strlen(tokens[0]), good);
    for (int i = 0; i == 0 || other[0] != good[0]; i++) {
        snprintf(text, sizeof(text), "%s.%d", tokens[0], i);
        cds_sha256(text, strlen(text), other);
    }
    expects(text, CDS_UNAUTHENTICATED, "jwt.malformed");
}

static void checks_before_the_first_set_wait_for_it(void **state)
{
    struct outcome good, bad;
    check(tokens[0], &good);
    check(tokens[1], &bad);
    assert_int_equal(good.count + bad.count, 0);
    assert_non_null(good.wait);
    answer(200, sets[0]);
    assert_int_equal(good.count, 1);
    assert_int_equal(good.code, CDS_OK);
    assert_int_equal(bad.count, 1);
    assert_string_equal(bad.rule, "jwt.unknown_kid");
}

static void checks_give_up_after_two_seconds_while_auth_is_away(void **state)
{
    struct outcome o;
    check(tokens[0], &o);
    for (int i = 0; i < 8 && o.count == 0; i++) {
        assert_true(call_open);
        answer_unreachable();
        pass(CDS_KEYS_FIRST_MS);
    }
    assert_int_equal(o.count, 1);
    assert_int_equal(o.code, CDS_UNAVAILABLE);
    assert_string_equal(o.rule, "auth.unreachable");
    assert_int_equal(clock_ms, 100000 + CDS_CREDENTIAL_WAIT_MS);
}

static void an_unknown_key_fetches_at_once_but_once_a_second_only(void **state)
{
    struct outcome o, again;
    answer(200, sets[0]);
    pass(5000);
    check(tokens[1], &o);
    assert_int_equal(calls, 2); /* at once */
    answer(200, sets[0]);
    assert_string_equal(o.rule, "jwt.unknown_kid");
    check(tokens[1], &again);
    assert_int_equal(calls, 2); /* not yet again */
    pass(990);
    assert_int_equal(calls, 2);
    pass(10);
    assert_int_equal(calls, 3);
    answer(200, sets[1]);
    assert_int_equal(again.count, 1);
    assert_int_equal(again.code, CDS_OK);
}

static void the_old_set_stays_while_auth_is_away(void **state)
{
    struct outcome o;
    answer(200, sets[0]);
    pass(CDS_KEYS_REFRESH_MS);
    assert_int_equal(calls, 2);
    answer_unreachable();
    expects(tokens[0], CDS_OK, "");
    assert_int_equal(cds_credentials_ready(creds, NULL), CDS_OK);
    static const char *const bad[] = {"", "{", "{}", "{\"keys\":[]}", "[]"};
    for (size_t i = 0; i < CDS_ARRAY_LEN(bad); i++) {
        pass(CDS_KEYS_RETRY_MS);
        answer(200, bad[i]);
        expects(tokens[0], CDS_OK, "");
    }
    pass(CDS_KEYS_RETRY_MS);
    answer(503, sets[1]);
    expects(tokens[0], CDS_OK, "");
    /* Nobody can say whether an unknown key is a new one: that is "unavailable", not "sign in". */
    check(tokens[1], &o);
    while (o.count == 0) {
        if (call_open)
            answer_unreachable();
        pass(100);
    }
    assert_int_equal(o.code, CDS_UNAVAILABLE);
}

static void the_set_is_fetched_again_each_minute(void **state)
{
    answer(200, sets[0]);
    pass(CDS_KEYS_REFRESH_MS - 10);
    assert_int_equal(calls, 1);
    pass(10);
    assert_int_equal(calls, 2);
    answer(200, sets[1]);
    expects(tokens[1], CDS_OK, "");
    pass(CDS_KEYS_REFRESH_MS);
    assert_int_equal(calls, 3);
}

static void a_forgotten_check_is_not_answered(void **state)
{
    struct outcome first, gone, last;
    check(tokens[0], &first);
    check(tokens[0], &gone);
    check(tokens[0], &last);
    cds_credential_forget(&gone.wait);
    cds_credential_forget(&gone.wait); /* idempotent */
    cds_credential_forget(&last.wait);
    check(tokens[0], &last);
    answer(200, sets[0]);
    assert_int_equal(first.count, 1);
    assert_int_equal(gone.count, 0);
    assert_int_equal(last.count, 1);
    pass(CDS_CREDENTIAL_WAIT_MS);
    assert_int_equal(first.count + last.count, 2);
}

/* Forgets the next check from inside the answer of this one. */
struct chain {
    struct outcome own;
    struct cds_credential_wait **victim;
};

static void note_and_forget(void *user, const struct cds_credential *credential, const struct cds_err *err)
{
    struct chain *c = user;
    note(&c->own, credential, err);
    cds_credential_forget(c->victim);
}

static void a_check_may_be_forgotten_inside_the_answer_of_another(void **state)
{
    struct chain chain = {0};
    struct outcome victim, last;
    cds_credential_check(creds, tokens[0], note_and_forget, &chain, NULL);
    check(tokens[0], &victim);
    check(tokens[0], &last);
    chain.victim = &victim.wait;
    answer(200, sets[0]);
    assert_int_equal(chain.own.count, 1);
    assert_int_equal(victim.count, 0);
    assert_int_equal(last.count, 1);
}

static void the_list_of_waiting_checks_has_an_end(void **state)
{
    static struct outcome waiting[CDS_CREDENTIAL_WAITERS];
    for (int i = 0; i < CDS_CREDENTIAL_WAITERS; i++)
        check(tokens[0], &waiting[i]);
    expects(tokens[0], CDS_BUSY, "");
    cds_credential_forget(&waiting[7].wait);
    check(tokens[0], &waiting[7]);
    assert_int_equal(waiting[7].count, 0);
    answer(200, sets[0]);
    for (int i = 0; i < CDS_CREDENTIAL_WAITERS; i++)
        assert_int_equal(waiting[i].count, 1);
}

static void freeing_answers_the_waiting_checks(void **state)
{
    struct outcome o;
    check(tokens[0], &o);
    cds_credentials_free(&creds);
    assert_int_equal(o.count, 1);
    assert_int_equal(o.code, CDS_CANCELLED);
    assert_false(call_open);
}

static void check_now_says_when_only_a_fetch_can_tell(void **state)
{
    struct cds_credential found, before;
    struct cds_err err;
    memset(&found, 0x5a, sizeof(found));
    before = found;
    assert_int_equal(cds_credential_check_now(creds, tokens[0], &found, &err), CDS_UNAVAILABLE);
    assert_string_equal(err.rule, "auth.fetch_needed");
    assert_memory_equal(&found, &before, sizeof(found));
    answer(200, sets[0]);
    assert_int_equal(cds_credential_check_now(creds, tokens[0], &found, &err), CDS_OK);
    assert_string_equal(found.claims.email, "ada@example.org");
}

static void a_role_that_nobody_knows_is_refused(void **state)
{
    CDS_CLEANUP(cds_free_ptr) char *token = sign(signers[0], "emperor", 600);
    answer(200, sets[0]);
    expects(token, CDS_UNAUTHENTICATED, "jwt.role");
}

static void need_compares_roles_and_names_both(void **state)
{
    const struct cds_credential viewer = {.role = CDS_ROLE_VIEWER};
    struct cds_err err;
    assert_int_equal(cds_credential_need(&viewer, CDS_ROLE_VIEWER, "fs.read", NULL), CDS_OK);
    assert_int_equal(cds_credential_need(&viewer, CDS_ROLE_DEVELOPER, "fs.write", &err), CDS_DENIED);
    assert_string_equal(err.rule, "role");
    assert_non_null(strstr(err.message, "fs.write"));
    assert_non_null(strstr(err.message, "developer"));
    assert_non_null(strstr(err.message, "viewer"));
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(the_set_is_fetched_at_the_start_and_a_token_is_then_checked_at_once),
        T(absent_foreign_and_oversized_credentials_are_refused_without_a_fetch),
        T(a_remembered_token_still_expires_at_its_second),
        T(a_remembered_token_is_forgotten_with_the_key_that_signed_it),
        T(a_token_that_resembles_a_remembered_one_is_not_taken_for_it),
        T(checks_before_the_first_set_wait_for_it),
        T(checks_give_up_after_two_seconds_while_auth_is_away),
        T(an_unknown_key_fetches_at_once_but_once_a_second_only),
        T(the_old_set_stays_while_auth_is_away),
        T(the_set_is_fetched_again_each_minute),
        T(a_forgotten_check_is_not_answered),
        T(a_check_may_be_forgotten_inside_the_answer_of_another),
        T(the_list_of_waiting_checks_has_an_end),
        T(freeing_answers_the_waiting_checks),
        T(check_now_says_when_only_a_fetch_can_tell),
        T(a_role_that_nobody_knows_is_refused),
        T(need_compares_roles_and_names_both),
        T(a_key_is_changed_for_a_token_once),
        T(a_key_that_comes_before_the_first_key_set_waits_for_it),
        T(keys_do_not_push_each_other_out),
        T(a_key_whose_token_lost_its_key_set_is_changed_again),
        T(a_key_is_asked_for_anew_shortly_before_its_token_ends),
        T(invented_keys_are_slowed_down_and_known_ones_are_not),
    };
    return RUN_ALL(tests);
}
