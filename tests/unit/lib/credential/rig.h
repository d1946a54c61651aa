/* tests/unit/lib/credential/rig.h: a credential check with a scripted sign-in service, on a clock of the test's own: the clock and the HTTP client
 * are replaced at link time by the functions below, so one program includes this once.
 *
 * Threads: the test's own. */
#pragma once

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

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
