/* Access tokens: checked with the key set of the sign-in service, remembered, and waited for while the set is fetched. */
#include "tests/unit/lib/credential/rig.h"

static void answer_unreachable(void)
{
    struct cds_err err;
    cds_fail(&err, CDS_UNAVAILABLE, __func__, "Connection refused.");
    assert_true(call_open);
    call_open = false;
    open_spec.on_done(open_spec.user, 0, "", 0, &err);
}

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
    };
    return RUN_ALL(tests);
}
