/* apps/api/renew.c: see renew.h. */
#include "apps/api/renew.h"

#include "lib/base/clock.h"
#include "lib/base/str.h"
#include "lib/log/log.h"

/* When to ask next, or to end: a key a little before its token ends, so that no call falls between two tokens, unless it is the key itself that ends.
 */
static uint64_t turn_ms(const struct renewal *renewal)
{
    int64_t left_ms = renewal->who->claims.expires_s * 1000 - (int64_t)cds_wall_ms(), ahead_ms = (int64_t)CDS_CREDENTIAL_AHEAD_S * 1000;
    if (*renewal->who->claims.key_id && left_ms > 2 * ahead_ms)
        left_ms -= ahead_ms - API_RENEW_PAUSE_MS;
    return cds_now_ms() + (left_ms > 0 ? (uint64_t)left_ms : 0);
}

static void expire(struct renewal *renewal)
{
    renewal->over = true;
    renewal->on_expired(renewal->user);
}

/* Nobody can say whether it holds: not the key's fault, for a while. */
static bool is_doubt(cds_rc code)
{
    return code == CDS_UNAVAILABLE || code == CDS_BUSY || code == CDS_TIMED_OUT || code == CDS_RATE_LIMITED || code == CDS_EXHAUSTED ||
           code == CDS_CANCELLED;
}

static void on_checked(void *user, const struct cds_credential *who, const struct cds_err *err)
{
    struct renewal *renewal = user;
    renewal->wait = NULL;
    if (who) {
        *renewal->who = *who;
        cds_timer_set(renewal->timer, turn_ms(renewal));
    } else if (!is_doubt(err->code)) {
        renewal->on_refused(renewal->user, err);
    } else if ((int64_t)cds_wall_ms() < renewal->who->claims.expires_s * 1000 + API_RENEW_PATIENCE_MS) {
        cds_timer_set(renewal->timer, cds_now_ms() + API_RENEW_PAUSE_MS);
    } else {
        cds_log(CDS_LOG_WARN, "the key of a socket could not be renewed", CDS_LS("key_id", renewal->who->claims.key_id), CDS_LS("rule", err->rule));
        expire(renewal);
    }
}

static void on_timer(void *user)
{
    struct renewal *renewal = user;
    if (renewal->over || !*renewal->who->claims.key_id) {
        expire(renewal);
    } else if (!renewal->wait) {
        cds_credential_renew(renewal->creds, renewal->authorization);
        cds_credential_check(renewal->creds, renewal->authorization, on_checked, renewal, &renewal->wait);
    }
}

cds_rc renewal_begin(struct renewal *renewal, struct cds_err *reterr)
{
    if (cds_timer_add(renewal->loop, turn_ms(renewal), on_timer, renewal, &renewal->timer))
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    return CDS_OK;
}

void renewal_now(struct renewal *renewal)
{
    if (renewal->timer)
        cds_timer_set(renewal->timer, cds_now_ms());
}

bool renewal_in_doubt(const struct renewal *renewal, const struct cds_err *err)
{
    return *renewal->who->claims.key_id && cds_streq(err->rule, "access.before");
}

void renewal_end(struct renewal *renewal)
{
    cds_credential_forget(&renewal->wait);
    cds_timer_remove(&renewal->timer);
}
