/* lib/credential/credential.c: the check itself. How the key set is kept fresh stands in keys.c. */
#include "lib/credential/credential.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lib/base/clock.h"
#include "lib/base/str.h"
#include "lib/credential/keys.h"

/* The bare token of an Authorization value or of a subprotocol. NULL: some other scheme. */
static const char *bare_token(const char *text)
{
    while (*text == ' ')
        text++;
    const char *blank = strchr(text, ' ');
    if (!blank)
        return text;
    if (blank - text != 6 || strncasecmp(text, "Bearer", 6) != 0)
        return NULL;
    while (*blank == ' ')
        blank++;
    return blank;
}

static cds_rc refuse(struct cds_err *reterr, const char *rule, const char *message, const char *hint)
{
    cds_fail(reterr, CDS_UNAUTHENTICATED, "cds_credential_check", "%s", message);
    cds_err_rule(reterr, rule);
    cds_err_hint(reterr, "%s", hint);
    return CDS_UNAUTHENTICATED;
}

static cds_rc token_of(const char *text, const char **ret_token, size_t *ret_len, struct cds_err *reterr)
{
    const char *token = text ? bare_token(text) : "";
    if (token && !*token)
        return refuse(reterr, "auth.absent", "This call needs a credential and none was sent.",
                      "Sign in, then send the header \"Authorization: Bearer <access token>\".");
    if (!token)
        return refuse(reterr, "auth.scheme", "The Authorization header has a scheme other than Bearer.",
                      "Send the header \"Authorization: Bearer <access token>\".");
    size_t len = strnlen(token, CDS_JWT_MAX + 1);
    if (len > CDS_JWT_MAX)
        return refuse(reterr, "jwt.malformed", "The access token is longer than any that this studio issues.", "Sign in again.");
    *ret_token = token;
    *ret_len = len;
    return CDS_OK;
}

/* Never told to a caller: the check goes on with the exchange. */
static cds_rc exchange_needed(struct cds_err *reterr)
{
    cds_fail(reterr, CDS_UNAVAILABLE, __func__, "The API key has to be changed for a token first.");
    cds_err_rule(reterr, "auth.exchange_needed");
    return CDS_UNAVAILABLE;
}

static cds_rc verify_token(struct cds_credentials *creds, const char *token, size_t len, struct cds_credential *ret, struct cds_err *reterr)
{
    struct cds_credential found;
    unsigned char hash[32];
    int64_t now_s = (int64_t)(cds_wall_ms() / 1000);
    cds_sha256(token, len, hash);
    const struct cds_credential *seen = cds_seen_find(creds, hash, now_s);
    if (seen) {
        *ret = *seen;
        return CDS_OK;
    }
    if (cds_apikey_is(token, len))
        return exchange_needed(reterr);
    cds_rc rc = cds_jwt_verify(creds->keyset, token, len, now_s, &found.claims, reterr);
    if (rc)
        return rc;
    found.role = cds_role_parse(found.claims.role);
    if (found.role == CDS_ROLE_NONE)
        return refuse(reterr, "jwt.role", "The access token names a role that this studio does not know.", "Sign in again.");
    cds_seen_put(creds, hash, &found);
    *ret = found;
    return CDS_OK;
}

/* What was issued before more changes than can be remembered says nothing: a key is changed for a token of now, a session asks for one. */
static cds_rc hold(struct cds_credentials *creds, const char *token, size_t len, struct cds_credential *found, struct cds_err *reterr)
{
    cds_rc rc = creds->standing ? cds_standing_check(creds->standing, found, reterr) : CDS_OK;
    if (rc == CDS_UNAUTHENTICATED && reterr && cds_streq(reterr->rule, "access.before") && cds_apikey_is(token, len)) {
        unsigned char hash[32];
        cds_sha256(token, len, hash);
        cds_seen_drop(creds, hash);
        rc = exchange_needed(reterr);
    }
    return rc;
}

/* What the token says, held against what has changed since. reterr is written when it is refused. */
static cds_rc verify(struct cds_credentials *creds, const char *token, size_t len, struct cds_credential *ret, struct cds_err *reterr)
{
    struct cds_credential found;
    cds_rc rc = verify_token(creds, token, len, &found, reterr);
    if (!rc)
        rc = hold(creds, token, len, &found, reterr);
    if (!rc)
        *ret = found;
    return rc;
}

static bool is_fresh(const struct cds_credentials *creds)
{
    return !creds->standing || cds_standing_fresh(creds->standing);
}

void cds_credentials_follow(struct cds_credentials *creds, struct cds_standing *standing)
{
    creds->standing = standing;
}

cds_rc cds_credential_check_now(struct cds_credentials *creds, const char *text, struct cds_credential *ret, struct cds_err *reterr)
{
    const char *token;
    size_t len;
    struct cds_err err = {0};
    cds_rc rc = token_of(text, &token, &len, reterr);
    if (rc)
        return rc;
    struct cds_credential found;
    char id[37];
    if (cds_apikey_is(token, len) && (rc = cds_apikey_parse(token, len, id, reterr)))
        return rc;
    if (creds->keyset) {
        rc = verify(creds, token, len, &found, &err);
        if (rc && reterr)
            *reterr = err;
        if (!rc && is_fresh(creds)) {
            *ret = found;
            return CDS_OK;
        }
        if (rc && strcmp(err.rule, "jwt.unknown_kid") != 0 && strcmp(err.rule, "auth.exchange_needed") != 0)
            return rc;
    }
    if (!creds->keyset || (rc && strcmp(err.rule, "jwt.unknown_kid") == 0))
        cds_keys_want(creds);
    cds_fail(reterr, CDS_UNAVAILABLE, __func__, "The key set, or the changes of rights, have to be fetched first.");
    cds_err_rule(reterr, "auth.fetch_needed");
    return CDS_UNAVAILABLE;
}

/* Answers one waiting check from the fresh key set. A key that nothing stands for any more, or not yet, is asked for: what it was changed for may
 * have made room for others meanwhile, or its key set did. */
static void settle(struct cds_credential_wait *wait)
{
    struct cds_credentials *creds = wait->creds;
    struct cds_credential found = wait->found;
    struct cds_err err = {0};
    bool exchanged = wait->exchanged;
    wait->exchanged = false; /* it is good for one look */
    cds_rc rc = exchanged ? hold(creds, wait->token, wait->len, &found, &err) : verify(creds, wait->token, wait->len, &found, &err);
    if (rc && cds_streq(err.rule, "auth.exchange_needed") && !(rc = cds_exchange_start(wait, &err)))
        return;
    wait->done(wait->user, rc ? NULL : &found, rc ? &err : NULL);
    free(wait);
}

static void unlink_wait(struct cds_credential_wait *wait)
{
    *wait->back = wait->next;
    if (wait->next)
        wait->next->back = wait->back;
    wait->creds->waiting--;
}

/* First of the list, unlinked; the callback may forget any other check or start new ones meanwhile. */
static struct cds_credential_wait *pop(struct cds_credential_wait **list)
{
    struct cds_credential_wait *wait = *list;
    if (wait)
        // NOLINTNEXTLINE(clang-analyzer-unix.Malloc): the list does not keep what was freed; unlink_wait took it out
        unlink_wait(wait);
    return wait;
}

/* Moves all waits to a list of the caller's, so that checks which start inside a callback wait for the next turn. */
static void take_all(struct cds_credentials *creds, struct cds_credential_wait **list)
{
    *list = creds->waits;
    if (*list)
        (*list)->back = list;
    creds->waits = NULL;
    creds->tail = &creds->waits;
}

static void on_look(void *user, const struct cds_err *err)
{
    struct cds_credentials *creds = user;
    if (!err && !creds->keys_wanted)
        cds_credential_settle_all(creds);
}

/* Nobody is let in by knowledge that is too old: the checks wait for the next look. */
static void want_look(struct cds_credentials *creds)
{
    if (!is_fresh(creds) && !creds->look.standing) {
        cds_rc rc = cds_standing_wait(creds->standing, &creds->look, on_look, creds);
        (void)rc; /* the line is full: the checks run into their deadline */
    }
}

void cds_credential_settle_all(struct cds_credentials *creds)
{
    struct cds_credential_wait *list;
    if (!creds->keyset || !is_fresh(creds)) {
        if (creds->waits)
            want_look(creds);
        return;
    }
    take_all(creds, &list);
    for (struct cds_credential_wait *wait; (wait = pop(&list));)
        settle(wait);
}

static void fail_wait(struct cds_credential_wait *wait, const struct cds_err *err)
{
    wait->done(wait->user, NULL, err);
    free(wait);
}

void cds_credential_expire(struct cds_credentials *creds, uint64_t now_ms)
{
    struct cds_err err;
    if (!creds->keyset || is_fresh(creds) || cds_standing_unknown(&err) == CDS_OK) {
        cds_fail(&err, CDS_UNAVAILABLE, __func__, "The sign-in service did not answer, so the credential cannot be checked.");
        cds_err_rule(&err, "auth.unreachable");
        cds_err_hint(&err, "Try again in a moment; \"cyberdevstudio status\" shows whether cds-auth runs.");
        cds_err_detail(&err, "%s", creds->trouble.message);
        err.retry_after_ms = 1000;
    }
    /* All wait equally long, so the list is in the order of the deadlines. */
    // NOLINTNEXTLINE(clang-analyzer-unix.Malloc): pop took out what fail_wait frees
    while (creds->waits && creds->waits->deadline_ms <= now_ms) {
        struct cds_credential_wait *wait = pop(&creds->waits);
        if (!creds->waits)
            creds->tail = &creds->waits;
        fail_wait(wait, &err);
    }
}

void cds_credential_cancel_all(struct cds_credentials *creds)
{
    struct cds_err err;
    struct cds_credential_wait *list;
    cds_fail(&err, CDS_CANCELLED, __func__, "The server is going down.");
    take_all(creds, &list);
    for (struct cds_credential_wait *wait; (wait = pop(&list));)
        fail_wait(wait, &err);
}

void cds_credential_forget(struct cds_credential_wait **wait)
{
    struct cds_credential_wait *w = *wait;
    *wait = NULL;
    if (!w)
        return;
    if (w->call) {
        cds_exchange_forget(w);
        return;
    }
    if (w->creds->tail == &w->next)
        w->creds->tail = w->back;
    unlink_wait(w);
    free(w);
}

static struct cds_credential_wait *enqueue(struct cds_credentials *creds, const char *token, size_t len, cds_credential_done_fn *done, void *user)
{
    struct cds_credential_wait *wait = creds->waiting + creds->exchanging < CDS_CREDENTIAL_WAITERS ? calloc(1, sizeof(*wait) + len + 1) : NULL;
    if (!wait)
        return NULL;
    wait->creds = creds;
    wait->done = done;
    wait->user = user;
    wait->deadline_ms = cds_now_ms() + CDS_CREDENTIAL_WAIT_MS;
    wait->len = len;
    memcpy(wait->token, token, len);
    return wait;
}

static void line_up(struct cds_credential_wait *wait)
{
    struct cds_credentials *creds = wait->creds;
    wait->next = NULL;
    wait->back = creds->tail;
    *creds->tail = wait;
    creds->tail = &wait->next;
    creds->waiting++;
    cds_keys_waiting(creds);
    want_look(creds);
}

void cds_credential_resume(struct cds_credential_wait *wait)
{
    if (!is_fresh(wait->creds)) {
        line_up(wait);
        return;
    }
    settle(wait);
}

/* A key that no token stands for yet is asked for, once there is a key set to check that token with; all others wait for the key set or a look. */
static cds_rc begin(struct cds_credential_wait *wait, struct cds_err *reterr)
{
    struct cds_credential found;
    struct cds_err err = {0};
    bool exchange = cds_apikey_is(wait->token, wait->len) && wait->creds->keyset &&
                    verify_token(wait->creds, wait->token, wait->len, &found, &err) == CDS_UNAVAILABLE;
    if (exchange)
        return cds_exchange_start(wait, reterr);
    line_up(wait);
    return CDS_OK;
}

void cds_credential_check(struct cds_credentials *creds, const char *text, cds_credential_done_fn *done, void *user,
                          struct cds_credential_wait **ret_wait)
{
    struct cds_credential found;
    struct cds_err err = {0};
    if (ret_wait)
        *ret_wait = NULL;
    cds_rc rc = cds_credential_check_now(creds, text, &found, &err);
    if (!rc || strcmp(err.rule, "auth.fetch_needed") != 0) {
        done(user, rc ? NULL : &found, rc ? &err : NULL);
        return;
    }
    const char *token = NULL;
    size_t len = 0;
    rc = token_of(text, &token, &len, &err);
    struct cds_credential_wait *wait = rc ? NULL : enqueue(creds, token, len, done, user);
    if (!wait) {
        cds_fail(&err, CDS_BUSY, __func__, "Too many calls wait for the sign-in service.");
        err.retry_after_ms = 1000;
    } else if (begin(wait, &err)) {
        free(wait);
        wait = NULL;
    }
    if (!wait) {
        done(user, NULL, &err);
        return;
    }
    if (ret_wait)
        *ret_wait = wait;
}

void cds_credential_renew(struct cds_credentials *creds, const char *text)
{
    const char *token;
    size_t len;
    unsigned char hash[32];
    if (token_of(text, &token, &len, NULL) || !cds_apikey_is(token, len))
        return;
    cds_sha256(token, len, hash);
    if (!cds_seen_find(creds, hash, (int64_t)(cds_wall_ms() / 1000) + CDS_CREDENTIAL_AHEAD_S))
        cds_seen_drop(creds, hash);
}

cds_rc cds_credential_may(const struct cds_credential *credential, const char *scope, const char *what, struct cds_err *reterr)
{
    if (!*credential->claims.key_id || !*credential->claims.scopes || cds_word_in(credential->claims.scopes, scope))
        return CDS_OK;
    cds_fail(reterr, CDS_DENIED, __func__, "%s needs the scope %s, which this API key does not have.", what, scope);
    cds_err_rule(reterr, "key.scope");
    cds_err_hint(reterr, "Use another key, or make one with this scope.");
    return CDS_DENIED;
}

cds_rc cds_credential_model(const struct cds_credential *credential, const char *model, struct cds_err *reterr)
{
    if (!*credential->claims.key_id || !*credential->claims.models || cds_word_in(credential->claims.models, model))
        return CDS_OK;
    cds_fail(reterr, CDS_DENIED, __func__, "This API key may not use the model %s.", model);
    cds_err_rule(reterr, "key.model");
    cds_err_pointer(reterr, "/model");
    cds_err_hint(reterr, "Use one of these: %s.", credential->claims.models);
    return CDS_DENIED;
}

cds_rc cds_credential_need(const struct cds_credential *credential, enum cds_role least, const char *what, struct cds_err *reterr)
{
    if (credential->role >= least)
        return CDS_OK;
    cds_fail(reterr, CDS_DENIED, __func__, "%s needs the role %s; yours is %s.", what, cds_role_name(least), cds_role_name(credential->role));
    cds_err_rule(reterr, "role");
    cds_err_hint(reterr, "Ask an admin of this studio for that role.");
    return CDS_DENIED;
}
