/* lib/db/queue.c: one asynchronous connection on the loop with a queue of statements. See db.h.
 *
 * One statement is in flight at a time: its result decides about the next one, and a lost connection leaves at most one outcome unknown. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "lib/base/clock.h"
#include "lib/db/priv.h"

/* A database that restarts is back within seconds, and everything waits for it: a try costs less than a longer pause. */
enum { BACKOFF_FIRST_MS = 50, BACKOFF_MAX_MS = 250, CONNECT_MS = 5000, SWEEP_MS = 250 };

struct job {
    struct job *next;
    const char *sql;
    int n;
    char **params;
    uint64_t deadline_ms;
    cds_dbq_done_fn *done;
    void *user;
};

enum state { CLOSED, CONNECTING, SETTING_UP, IDLE, WAITING };

struct cds_dbq {
    struct cds_loop *loop;
    char *conninfo;
    PGconn *pg;
    struct cds_watch *watch;
    struct cds_timer *timer; /* back-off, connect deadline, sweep of late jobs */
    enum state state;
    uint32_t backoff_ms;
    uint64_t connect_deadline_ms, retry_at_ms;
    struct job *first, *last, *flying;
    PGresult *result; /* of the statement in flight, until the server says that it is ready for the next */
    size_t waiting, queue_max;
    bool closing, setup_failed;
    char *setup_sql; /* settings of the session, and what it listens to; NULL: the settings alone */
    cds_dbq_notify_fn *on_notify;
    void *notify_user;
    bool notified; /* a notification came, or may have been missed while there was no connection */
};

static void step(struct cds_dbq *q);

static void job_free(struct job *job)
{
    for (int i = 0; job->params && i < job->n; i++)
        free(job->params[i]);
    free(job->params);
    free(job);
}

static void job_end(struct job *job, const struct cds_rows *rows, const struct cds_err *err)
{
    job->done(job->user, rows, err);
    job_free(job);
}

/* The statement may have been committed: the connection went away, the server ended it (a FATAL may come between the commit and its report), or the
 * answer found no memory. */
static void mark_unknown(struct cds_err *err)
{
    cds_err_rule(err, "db.unknown_outcome");
}

static void fail_flying(struct cds_dbq *q)
{
    struct job *job = q->flying;
    struct cds_err err;
    if (!job)
        return;
    q->flying = NULL;
    cds_fail(&err, CDS_UNAVAILABLE, __func__, "The connection to the database broke; whether the change was made is not known.");
    mark_unknown(&err);
    err.retry_after_ms = 1000;
    job_end(job, NULL, &err);
}

static void forget_result(struct cds_dbq *q)
{
    PQclear(q->result);
    q->result = NULL;
}

static void drop_connection(struct cds_dbq *q)
{
    cds_watch_remove(&q->watch);
    forget_result(q);
    if (q->pg)
        PQfinish(q->pg);
    q->pg = NULL;
    q->state = CLOSED;
    q->retry_at_ms = cds_now_ms() + q->backoff_ms;
    q->backoff_ms = q->backoff_ms * 2 > BACKOFF_MAX_MS ? BACKOFF_MAX_MS : q->backoff_ms * 2;
    cds_timer_set(q->timer, q->retry_at_ms);
    fail_flying(q);
}

static void on_socket(void *user, int fd, uint32_t events)
{
    step(user);
}

/* libpq may change its socket while it connects, so the watch is made anew for each wait then. */
static void wait_for(struct cds_dbq *q, uint32_t events, bool fresh)
{
    if (fresh)
        cds_watch_remove(&q->watch);
    if (q->watch ? cds_watch_set(q->watch, events) : cds_watch_add(q->loop, PQsocket(q->pg), events, on_socket, q, &q->watch, NULL))
        drop_connection(q);
}

static void ignore_notice(void *user, const PGresult *result)
{
    (void)user, (void)result;
}

static void connect_start(struct cds_dbq *q)
{
    q->pg = db_connect(q->conninfo, false);
    if (!q->pg || PQstatus(q->pg) == CONNECTION_BAD) {
        drop_connection(q);
        return;
    }
    PQsetNoticeReceiver(q->pg, ignore_notice, NULL);
    q->state = CONNECTING;
    q->connect_deadline_ms = cds_now_ms() + CONNECT_MS;
    cds_timer_set(q->timer, q->connect_deadline_ms);
    wait_for(q, EPOLLOUT, true);
}

static void connect_step(struct cds_dbq *q)
{
    switch (PQconnectPoll(q->pg)) {
    case PGRES_POLLING_READING:
        wait_for(q, EPOLLIN, true);
        return;
    case PGRES_POLLING_WRITING:
        wait_for(q, EPOLLOUT, true);
        return;
    case PGRES_POLLING_OK:
        break;
    default:
        drop_connection(q);
        return;
    }
    PQsetnonblocking(q->pg, 1);
    if (db_check_version(q->pg, NULL) || !PQsendQuery(q->pg, q->setup_sql ? q->setup_sql : db_session_sql)) {
        drop_connection(q);
        return;
    }
    q->state = SETTING_UP;
    q->setup_failed = false;
    wait_for(q, EPOLLIN | EPOLLOUT, true);
}

static void send_next(struct cds_dbq *q)
{
    struct job *job = q->first;
    if (!job || q->closing)
        return;
    q->first = job->next;
    if (!q->first)
        q->last = NULL;
    q->waiting--;
    q->flying = job;
    q->state = WAITING;
    if (!PQsendQueryParams(q->pg, job->sql, job->n, NULL, (const char *const *)job->params, NULL, NULL, 0)) {
        drop_connection(q);
        return;
    }
    step(q);
}

static void finish_flying(struct cds_dbq *q, PGresult *result)
{
    struct job *job = q->flying;
    struct cds_err err;
    ExecStatusType status = PQresultStatus(result);
    q->flying = NULL;
    if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK) {
        struct cds_rows *rows = db_rows_wrap(result);
        if (!rows) {
            cds_fail(&err, CDS_EXHAUSTED, __func__, "Out of memory.");
            mark_unknown(&err);
        }
        job_end(job, rows, rows ? NULL : &err);
        cds_rows_free(&rows);
        return;
    }
    if (db_result_error(result, &err) == CDS_UNAVAILABLE)
        mark_unknown(&err);
    PQclear(result);
    job_end(job, NULL, &err);
}

/* Takes what has arrived; true when the statement has ended. The result and the end may come in two reads, so the result is kept. */
static bool read_results(struct cds_dbq *q)
{
    while (!PQisBusy(q->pg)) {
        PGresult *result = PQgetResult(q->pg);
        if (result) {
            if (PQresultStatus(result) != PGRES_COMMAND_OK)
                q->setup_failed = true; /* looked at for the session's settings only */
            PQclear(q->result);
            q->result = result;
            continue;
        }
        result = q->result;
        q->result = NULL;
        if (q->state == SETTING_UP) {
            PQclear(result);
            if (!q->setup_failed)
                q->state = IDLE;
            return !q->setup_failed;
        }
        q->state = IDLE;
        finish_flying(q, result);
        return true;
    }
    return false;
}

static void take_notifications(struct cds_dbq *q)
{
    for (PGnotify *one; (one = PQnotifies(q->pg)); PQfreemem(one))
        q->notified = true;
}

/* Only between two statements: the listener may send one. */
static void tell_listener(struct cds_dbq *q)
{
    if (!q->notified || !q->on_notify)
        return;
    q->notified = false;
    q->on_notify(q->notify_user);
}

static void step(struct cds_dbq *q)
{
    if (q->state == CONNECTING) {
        connect_step(q);
        return;
    }
    if (q->state == CLOSED)
        return;
    int unsent = PQflush(q->pg);
    if (unsent < 0 || !PQconsumeInput(q->pg) || PQstatus(q->pg) != CONNECTION_OK) {
        drop_connection(q);
        return;
    }
    take_notifications(q);
    if (q->state == IDLE) { /* a notice or a notification */
        tell_listener(q);
        if (q->state == IDLE)
            send_next(q);
        return;
    }
    bool setting_up = q->state == SETTING_UP;
    if (!read_results(q)) {
        if (setting_up && !PQisBusy(q->pg)) { /* the server refused a setting */
            drop_connection(q);
            return;
        }
        wait_for(q, unsent ? EPOLLIN | EPOLLOUT : EPOLLIN, false);
        return;
    }
    if (!q->pg)
        return; /* an answer's callback sent the next statement, and that one lost the connection */
    if (setting_up) {
        q->backoff_ms = BACKOFF_FIRST_MS;
        q->notified = true; /* what was told meanwhile was told to nobody */
        cds_timer_set(q->timer, cds_now_ms() + SWEEP_MS);
    }
    if (q->state != IDLE)
        return; /* it waits for what it needs, maybe for room to write */
    wait_for(q, EPOLLIN, false);
    if (q->state == IDLE)
        tell_listener(q);
    if (q->state == IDLE)
        send_next(q);
}

/* Jobs that waited past their deadline are answered; a statement in flight that does, costs the connection. */
static void sweep(struct cds_dbq *q, uint64_t now)
{
    struct cds_err err;
    struct job **place = &q->first, *late = NULL;
    q->last = NULL;
    while (*place) {
        struct job *job = *place;
        if (job->deadline_ms <= now) {
            *place = job->next;
            job->next = late;
            late = job;
            q->waiting--;
        } else {
            q->last = job;
            place = &job->next;
        }
    }
    while (late) {
        struct job *job = late;
        late = job->next;
        cds_fail(&err, CDS_UNAVAILABLE, __func__, "The database is not reachable at the moment.");
        cds_err_hint(&err, "Try again in a few seconds.");
        err.retry_after_ms = 1000;
        job_end(job, NULL, &err);
    }
    if (q->flying && q->flying->deadline_ms <= now)
        drop_connection(q);
}

static void on_timer(void *user)
{
    struct cds_dbq *q = user;
    uint64_t now = cds_now_ms();
    sweep(q, now);
    if (q->state == CONNECTING && q->connect_deadline_ms <= now)
        drop_connection(q);
    else if (q->state == CLOSED && q->retry_at_ms <= now)
        connect_start(q);
    now = cds_now_ms();
    cds_timer_set(q->timer, q->state == CLOSED && q->retry_at_ms < now + SWEEP_MS ? q->retry_at_ms : now + SWEEP_MS);
}

cds_rc cds_dbq_open(struct cds_loop *loop, const char *conninfo, size_t queue_max, struct cds_dbq **ret, struct cds_err *reterr)
{
    struct cds_dbq *q = calloc(1, sizeof(*q));
    if (q)
        q->conninfo = strdup(conninfo);
    if (!q || !q->conninfo || cds_timer_add(loop, cds_now_ms(), on_timer, q, &q->timer)) {
        if (q)
            free(q->conninfo);
        free(q);
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    }
    q->loop = loop;
    q->queue_max = queue_max;
    q->backoff_ms = BACKOFF_FIRST_MS;
    *ret = q;
    return CDS_OK;
}

void cds_dbq_close(struct cds_dbq **place)
{
    struct cds_dbq *q = *place;
    struct cds_err err;
    if (!q)
        return;
    *place = NULL;
    q->closing = true;
    cds_fail(&err, CDS_CANCELLED, __func__, "The process is stopping.");
    struct job *flying = q->flying;
    q->flying = NULL;
    cds_watch_remove(&q->watch);
    forget_result(q);
    if (q->pg)
        PQfinish(q->pg);
    cds_timer_remove(&q->timer);
    if (flying)
        job_end(flying, NULL, &err);
    while (q->first) {
        struct job *job = q->first;
        q->first = job->next;
        job_end(job, NULL, &err);
    }
    free(q->conninfo);
    free(q->setup_sql);
    free(q);
}

cds_rc cds_dbq_listen(struct cds_dbq *q, const char *channel, cds_dbq_notify_fn *on_notify, void *user, struct cds_err *reterr)
{
    if (q->pg || q->setup_sql || strspn(channel, "abcdefghijklmnopqrstuvwxyz_") != strlen(channel))
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "A connection listens to one channel with a plain name, chosen before it connects.");
    if (asprintf(&q->setup_sql, "%s; LISTEN %s", db_session_sql, channel) < 0) {
        q->setup_sql = NULL;
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    }
    q->on_notify = on_notify;
    q->notify_user = user;
    return CDS_OK;
}

static struct job *job_new(const char *sql, int n, const char *const *params)
{
    struct job *job = calloc(1, sizeof(*job));
    if (!job)
        return NULL;
    job->sql = sql;
    job->n = n;
    job->params = calloc((size_t)(n ? n : 1), sizeof(*job->params));
    bool complete = job->params != NULL;
    for (int i = 0; complete && i < n; i++)
        if (params[i])
            complete = (job->params[i] = strdup(params[i])) != NULL;
    if (!complete) {
        job_free(job);
        return NULL;
    }
    return job;
}

cds_rc cds_dbq_exec(struct cds_dbq *q, const char *sql, int n, const char *const *params, uint64_t deadline_ms, cds_dbq_done_fn *done, void *user)
{
    if (q->closing || q->waiting >= q->queue_max)
        return CDS_BUSY;
    struct job *job = job_new(sql, n, params);
    if (!job)
        return CDS_EXHAUSTED;
    job->deadline_ms = deadline_ms;
    job->done = done;
    job->user = user;
    if (q->last)
        q->last->next = job;
    else
        q->first = job;
    q->last = job;
    q->waiting++;
    if (q->state == IDLE)
        send_next(q);
    return CDS_OK;
}

bool cds_dbq_ready(const struct cds_dbq *q)
{
    return q->state == IDLE || q->state == WAITING;
}

bool cds_dbq_busy(const struct cds_dbq *q)
{
    return q->flying || q->first;
}
