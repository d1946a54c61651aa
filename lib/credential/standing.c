/* lib/credential/standing.c: looks at the changes of rights and keeps the present ones. The table of them is in changes.c. */
#include "lib/credential/standing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/str.h"
#include "lib/credential/changes.h"
#include "lib/db/db.h"
#include "lib/log/log.h"
#include "lib/metrics/metrics.h"

enum { PAGE = 1000, QUEUE = 2, LOOK_DEADLINE_MS = 900, STALL_LOOKS = 5 };

struct cds_standing {
    struct cds_loop *loop;
    struct cds_dbq *db;
    struct cds_timer *timer;
    cds_standing_fn *on_change;
    void *user;
    struct changes *changes;
    int64_t seq;           /* of the last change taken over */
    uint64_t confirmed_ms; /* when the last successful look began; 0: there was none */
    uint64_t sent_ms;      /* when the look in flight began */
    uint64_t ended_ms;     /* when everything was told to end last */
    uint64_t timer_ms;     /* when the timer came last; 0: it did not yet */
    uint64_t stalled_ms;   /* when it was found that this process had stood still */
    bool looking, again;
    bool catching_up; /* what is read is the past, much of it superseded: told when all of it is here, each subject once */
    struct cds_standing_wait *waits, **tail;
    size_t waiting;
};

/* The clock's row and the changes behind the last one, of one snapshot: whoever adds one holds that row until its commit. */
static const char look_sql[] =
    "SELECT c.seq, a.seq, a.kind, a.user_id, a.subject, a.role, a.status, a.token_version, a.why, extract(epoch FROM a.at)::bigint "
    "FROM access_clock c LEFT JOIN LATERAL (SELECT * FROM access_changes x WHERE x.seq > $1::bigint ORDER BY x.seq LIMIT 1000) a ON true "
    "ORDER BY a.seq";

static void look(struct cds_standing *standing);

/* ---- who waits ---- */
static void leave(struct cds_standing *standing, struct cds_standing_wait *wait)
{
    *wait->back = wait->next;
    if (wait->next)
        wait->next->back = wait->back;
    else
        standing->tail = wait->back;
    standing->waiting--;
    wait->standing = NULL;
}

cds_rc cds_standing_wait(struct cds_standing *standing, struct cds_standing_wait *wait, void (*fn)(void *user, const struct cds_err *err), void *user)
{
    if (standing->waiting >= CDS_STANDING_WAITERS)
        return CDS_BUSY;
    *wait = (struct cds_standing_wait){
        .standing = standing, .back = standing->tail, .deadline_ms = cds_now_ms() + CDS_STANDING_WAIT_MS, .fn = fn, .user = user};
    *standing->tail = wait;
    standing->tail = &wait->next;
    standing->waiting++;
    look(standing);
    return CDS_OK;
}

void cds_standing_unwait(struct cds_standing_wait *wait)
{
    if (wait->standing)
        leave(wait->standing, wait);
}

/* All wait equally long, so the list is in the order of the deadlines. Those that join meanwhile wait for the next turn. */
static void answer_waits(struct cds_standing *standing, uint64_t until_ms, const struct cds_err *err)
{
    for (size_t n = standing->waiting; n > 0 && standing->waits && standing->waits->deadline_ms <= until_ms; n--) {
        struct cds_standing_wait *wait = standing->waits;
        leave(standing, wait);
        wait->fn(wait->user, err);
    }
}

/* ---- looking ---- */
static void take_row(struct cds_standing *standing, const struct cds_rows *rows, int row)
{
    const char *kind = cds_rows_str(rows, row, 2), *status = cds_rows_str(rows, row, 6);
    struct cds_standing_change change = {
        .kind = cds_streq(kind, "user")  ? CDS_STANDING_USER
                : cds_streq(kind, "key") ? CDS_STANDING_KEY
                                         : CDS_STANDING_SESSION,
        .role = cds_role_parse(cds_rows_str(rows, row, 5)),
        .active = cds_streq(status, "active"),
        .deleted = cds_streq(status, "deleted"),
        .version = cds_rows_i64(rows, row, 7, 0),
        .at_s = cds_rows_i64(rows, row, 9, 0),
    };
    cds_strcpy(change.user_id, sizeof(change.user_id), cds_rows_str(rows, row, 3));
    cds_strcpy(change.subject, sizeof(change.subject), cds_rows_str(rows, row, 4));
    cds_strcpy(change.why, sizeof(change.why), cds_rows_str(rows, row, 8));
    standing->seq = cds_rows_i64(rows, row, 1, standing->seq);
    changes_put(standing->changes, &change);
    cds_metric_add(CDS_M_ACCESS_CHANGES, kind, 1);
    if (standing->on_change && !standing->catching_up)
        standing->on_change(standing->user, &change);
}

static void caught_up(struct cds_standing *standing)
{
    if (!standing->catching_up)
        return;
    standing->catching_up = false;
    if (standing->on_change)
        changes_each(standing->changes, standing->on_change, standing->user);
}

/* A database that was put back to an earlier day: its numbers begin again; what was taken away stays taken away. */
static bool went_back(struct cds_standing *standing, int64_t clock)
{
    if (clock >= standing->seq)
        return false;
    cds_log(CDS_LOG_WARN, "the numbers of changes of rights went back; all of them are read again", CDS_LI("seq", standing->seq),
            CDS_LI("clock", clock));
    standing->seq = 0;
    standing->catching_up = true;
    return true;
}

static void on_look(void *user, const struct cds_rows *rows, const struct cds_err *err)
{
    struct cds_standing *standing = user;
    standing->looking = false;
    if (!err && cds_rows_count(rows) > 0 && !went_back(standing, cds_rows_i64(rows, 0, 0, 0))) {
        int n = cds_rows_count(rows), taken = 0;
        for (int i = 0; i < n; i++)
            if (cds_rows_str(rows, i, 1)) {
                take_row(standing, rows, i);
                taken++;
            }
        if (taken == PAGE) {
            standing->again = true;
        } else {
            standing->confirmed_ms = standing->sent_ms;
            caught_up(standing);
            answer_waits(standing, UINT64_MAX, NULL);
        }
    } else if (!err) {
        standing->again = cds_rows_count(rows) > 0;
    }
    if (standing->again)
        look(standing);
}

static void look(struct cds_standing *standing)
{
    char seq[24];
    const char *const params[] = {seq};
    standing->again = standing->looking; /* what was told while a look is in flight may lie behind its snapshot */
    if (standing->looking)
        return;
    snprintf(seq, sizeof(seq), "%lld", (long long)standing->seq);
    standing->sent_ms = cds_now_ms();
    standing->looking = true; /* before: the answer of a broken connection comes before this returns */
    if (cds_dbq_exec(standing->db, look_sql, 1, params, standing->sent_ms + LOOK_DEADLINE_MS, on_look, standing))
        standing->looking = false;
}

static void on_notify(void *user)
{
    look(user);
}

/* A process that stood still has not asked, so it cannot say that nobody answered: it looks once more before it judges. Once between two confirmed
 * looks, so that one that stands still again and again does not put it off for ever. */
static bool in_grace(struct cds_standing *standing, uint64_t now)
{
    if (standing->timer_ms && now - standing->timer_ms > (uint64_t)STALL_LOOKS * CDS_STANDING_LOOK_MS &&
        standing->stalled_ms <= standing->confirmed_ms)
        standing->stalled_ms = now;
    standing->timer_ms = now;
    return standing->stalled_ms > standing->confirmed_ms && now - standing->stalled_ms <= CDS_STANDING_LOOK_MS + LOOK_DEADLINE_MS;
}

static void on_timer(void *user)
{
    struct cds_standing *standing = user;
    uint64_t now = cds_now_ms();
    struct cds_err err;
    cds_timer_set(standing->timer, now + CDS_STANDING_LOOK_MS);
    if (cds_standing_unknown(&err))
        answer_waits(standing, now, &err);
    bool grace = in_grace(standing, now);
    if (!grace && standing->confirmed_ms && now - standing->confirmed_ms > CDS_STANDING_LIMIT_MS && standing->ended_ms < standing->confirmed_ms) {
        standing->ended_ms = now;
        cds_log(CDS_LOG_ERROR, "rights could not be confirmed for too long; what runs under a credential ends",
                CDS_LI("ms", (long long)(now - standing->confirmed_ms)));
        if (standing->on_change)
            standing->on_change(standing->user, NULL);
    }
    look(standing);
}

/* ---- life ---- */
cds_rc cds_standing_new(struct cds_loop *loop, const char *conninfo, cds_standing_fn *on_change, void *user, struct cds_standing **ret,
                        struct cds_err *reterr)
{
    struct cds_standing *standing = calloc(1, sizeof(*standing));
    if (!standing)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory for the changes of rights.");
    standing->loop = loop;
    standing->on_change = on_change;
    standing->user = user;
    standing->catching_up = true;
    standing->tail = &standing->waits;
    standing->changes = changes_new();
    cds_rc rc = standing->changes ? CDS_OK : cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory for the changes of rights.");
    if (!rc)
        rc = cds_dbq_open(loop, conninfo, QUEUE, &standing->db, reterr);
    if (!rc)
        rc = cds_dbq_listen(standing->db, "cds_access", on_notify, standing, reterr);
    if (!rc && cds_timer_add(loop, cds_now_ms(), on_timer, standing, &standing->timer))
        rc = cds_fail(reterr, CDS_EXHAUSTED, __func__, "No timer could be made.");
    if (rc)
        cds_standing_free(&standing);
    else
        *ret = standing;
    return rc;
}

void cds_standing_free(struct cds_standing **place)
{
    struct cds_standing *standing = *place;
    *place = NULL;
    if (!standing)
        return;
    standing->again = false;
    while (standing->waits)
        leave(standing, standing->waits);
    if (standing->timer)
        cds_timer_remove(&standing->timer);
    standing->looking = true; /* the answer that closing gives starts no new look */
    standing->on_change = NULL;
    cds_dbq_close(&standing->db);
    changes_free(&standing->changes);
    free(standing);
}

bool cds_standing_fresh(const struct cds_standing *standing)
{
    return standing->confirmed_ms && cds_now_ms() - standing->confirmed_ms <= CDS_STANDING_FRESH_MS;
}

cds_rc cds_standing_unknown(struct cds_err *reterr)
{
    cds_fail(reterr, CDS_UNAVAILABLE, __func__, "The database does not answer, so it is not known whether this credential still holds.");
    cds_err_rule(reterr, "access.unknown");
    cds_err_hint(reterr, "Try again in a few seconds.");
    if (reterr)
        reterr->retry_after_ms = 1000;
    return CDS_UNAVAILABLE;
}

cds_rc cds_standing_ready(const struct cds_standing *standing, struct cds_err *reterr)
{
    return standing->confirmed_ms && cds_now_ms() - standing->confirmed_ms <= CDS_STANDING_WAIT_MS ? CDS_OK : cds_standing_unknown(reterr);
}

void cds_standing_each(const struct cds_standing *standing, cds_standing_fn *fn, void *user)
{
    if (!standing->catching_up)
        changes_each(standing->changes, fn, user);
}

/* ---- the check ---- */
static cds_rc refuse(struct cds_err *reterr, cds_rc code, const char *rule, const char *message)
{
    cds_fail(reterr, code, "cds_standing_check", "%s", message);
    cds_err_rule(reterr, rule);
    cds_err_hint(reterr, code == CDS_DENIED ? "Ask an admin of this studio." : "Sign in again.");
    return code;
}

cds_rc cds_standing_check(const struct cds_standing *standing, struct cds_credential *credential, struct cds_err *reterr)
{
    const struct cds_claims *claims = &credential->claims;
    const struct cds_standing_change *user = changes_find(standing->changes, claims->user_id);
    if (user && user->deleted)
        return refuse(reterr, CDS_UNAUTHENTICATED, "user.gone", "This account does not exist any more.");
    if (user && !user->active)
        return refuse(reterr, CDS_DENIED, "user.blocked", "This account is blocked.");
    if (user && claims->version < user->version)
        return refuse(reterr, CDS_UNAUTHENTICATED, "session.stale", "The account changed since this session began.");
    const struct cds_standing_change *ended = changes_find(standing->changes, claims->session_id);
    if (ended && ended->kind == CDS_STANDING_KEY)
        return refuse(reterr, CDS_UNAUTHENTICATED, "key.revoked", "This API key was revoked.");
    if (ended)
        return refuse(reterr, CDS_UNAUTHENTICATED, "session.ended", "This session was ended.");
    if (claims->issued_s < changes_floor(standing->changes, claims->user_id))
        return refuse(reterr, CDS_UNAUTHENTICATED, "access.before", "This access token is from before more changes than can be remembered.");
    /* A key keeps to the lesser of its own role and its user's. */
    enum cds_role own = *claims->key_id ? cds_role_parse(claims->role) : CDS_ROLE_ADMIN;
    if (user)
        credential->role = user->role < own ? user->role : own;
    return CDS_OK;
}
