#include "apps/llmserver/replay.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/buf.h"
#include "lib/base/clock.h"
#include "lib/base/random.h"
#include "lib/base/str.h"

enum { TICK_MS = 200, STREAM_BUFFER = 128 * 1024, WRITE_MAX = 32 * 1024, TRIM_PART = 4 };

struct cds_replay {
    struct cds_replay *next;
    struct cds_replays *all;
    char user_id[CDS_UUID_LEN + 1], request_id[CDS_UUID_LEN + 1], also[CDS_UUID_LEN + 1];
    char model[CDS_REPLAY_MODEL_MAX + 1];
    struct cds_buf events;
    int64_t first, coming; /**< number of the first event that is kept, and of the next one that comes */
    bool ended;
    uint64_t due_ms; /**< when it is given up, or forgotten; UINT64_MAX: not yet */
    uint64_t wrote_ms;
    struct cds_http_req *req; /**< the reader; NULL: none */
    size_t at;                /**< bytes of events the reader has */
    void (*abandoned)(void *user);
    void *user;
};
struct cds_replays {
    struct cds_loop *loop;
    struct cds_replay_limits limits;
    struct cds_timer *tick;
    struct cds_replay *newest;
    unsigned count;
    size_t bytes;
};

/* --- the table ----------------------------------------------------------------------------------------------------------- */

static void forget(struct cds_replay *replay)
{
    struct cds_replays *all = replay->all;
    struct cds_replay **link = &all->newest;
    while (*link != replay)
        link = &(*link)->next;
    *link = replay->next;
    all->count--;
    all->bytes -= replay->events.len;
    cds_buf_free(&replay->events);
    free(replay);
}

static struct cds_replay *one_due(const struct cds_replays *all, uint64_t now)
{
    struct cds_replay *replay = all->newest;
    while (replay && now < replay->due_ms)
        replay = replay->next;
    return replay;
}

static void on_tick(void *user)
{
    struct cds_replays *all = user;
    uint64_t now = cds_now_ms();
    cds_timer_set(all->tick, all->count ? now + TICK_MS : UINT64_MAX);
    /* From the beginning each time: the end of one stream may push another one out. */
    for (struct cds_replay *replay; (replay = one_due(all, now)) != NULL;) {
        replay->due_ms = UINT64_MAX;
        if (replay->ended)
            forget(replay);
        else
            replay->abandoned(replay->user); /* it may end, but it is not forgotten by that */
    }
}

cds_rc cds_replays_new(struct cds_loop *loop, const struct cds_replay_limits *limits, struct cds_replays **ret, struct cds_err *reterr)
{
    struct cds_replays *all = calloc(1, sizeof(*all));
    if (!all || cds_timer_add(loop, UINT64_MAX, on_tick, all, &all->tick) != CDS_OK) {
        free(all);
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory.");
    }
    all->loop = loop;
    all->limits = *limits;
    *ret = all;
    return CDS_OK;
}

void cds_replays_free(struct cds_replays **replays)
{
    struct cds_replays *all = *replays;
    if (!all)
        return;
    *replays = NULL;
    cds_timer_remove(&all->tick);
    while (all->newest)
        forget(all->newest);
    free(all);
}

unsigned cds_replays_count(const struct cds_replays *replays)
{
    return replays->count;
}

size_t cds_replays_bytes(const struct cds_replays *replays)
{
    return replays->bytes;
}

/** The ended stream without a reader that is the oldest. */
static struct cds_replay *oldest_ended(const struct cds_replays *all, const struct cds_replay *but)
{
    struct cds_replay *oldest = NULL;
    for (struct cds_replay *replay = all->newest; replay; replay = replay->next)
        if (replay->ended && !replay->req && replay != but && (!oldest || replay->due_ms <= oldest->due_ms))
            oldest = replay;
    return oldest;
}

struct cds_replay *cds_replay_new(struct cds_replays *replays, const char *user_id, const char *request_id, void (*abandoned)(void *user), void *user)
{
    struct cds_replay *old = replays->count >= CDS_REPLAY_COUNT_MAX ? oldest_ended(replays, NULL) : NULL;
    if (old)
        forget(old);
    struct cds_replay *replay = replays->count < CDS_REPLAY_COUNT_MAX ? calloc(1, sizeof(*replay)) : NULL;
    if (!replay)
        return NULL;
    replay->all = replays;
    cds_strcpy(replay->user_id, sizeof(replay->user_id), user_id);
    cds_strcpy(replay->request_id, sizeof(replay->request_id), request_id);
    replay->events = cds_buf_init((size_t)CDS_REPLAY_BYTES_MAX * 2);
    replay->due_ms = UINT64_MAX;
    replay->wrote_ms = cds_now_ms();
    replay->abandoned = abandoned;
    replay->user = user;
    replay->next = replays->newest;
    replays->newest = replay;
    if (replays->count++ == 0)
        cds_timer_set(replays->tick, cds_now_ms() + TICK_MS);
    return replay;
}

void cds_replay_note_model(struct cds_replay *replay, const char *model_id)
{
    cds_strcpy(replay->model, sizeof(replay->model), model_id);
}

const char *cds_replay_model(const struct cds_replay *replay)
{
    return replay->model;
}

void cds_replay_also(struct cds_replay *replay, const char *request_id)
{
    cds_strcpy(replay->also, sizeof(replay->also), request_id);
}

/** "resp_0190f..." names what "0190f...-...": the digits count. */
static bool same_id(const char *id, const char *request_id)
{
    const char *mark = strrchr(id, '_');
    if (cds_streq(id, request_id))
        return true;
    if (!mark)
        return false;
    for (id = mark + 1; *request_id; request_id++)
        if (*request_id != '-' && *id++ != *request_id)
            return false;
    return *id == '\0';
}

struct cds_replay *cds_replay_find(const struct cds_replays *replays, const char *user_id, const char *id)
{
    for (struct cds_replay *replay = replays->newest; replay; replay = replay->next)
        if (cds_streq(replay->user_id, user_id) && (same_id(id, replay->request_id) || (*replay->also && same_id(id, replay->also))))
            return replay;
    return NULL;
}

/* --- the reader ---------------------------------------------------------------------------------------------------------- */

static void wait_for_reader(struct cds_replay *replay)
{
    replay->due_ms = cds_now_ms() + (replay->ended ? replay->all->limits.keep_ms : replay->all->limits.grace_ms);
}

static void on_left(void *user)
{
    struct cds_replay *replay = user;
    replay->req = NULL;
    wait_for_reader(replay);
}

static void cut(struct cds_replay *replay)
{
    struct cds_http_req *req = replay->req;
    replay->req = NULL;
    cds_http_set_user(req, NULL, NULL, NULL);
    cds_http_stream_finish(req, true);
    wait_for_reader(replay);
}

static void pump(struct cds_replay *replay);

static void on_drain(void *user)
{
    pump(user);
}

static void pump(struct cds_replay *replay)
{
    while (replay->req && replay->at < replay->events.len) {
        size_t left = replay->events.len - replay->at, n = left < WRITE_MAX ? left : WRITE_MAX;
        cds_rc rc = cds_http_stream_write(replay->req, replay->events.data + replay->at, n);
        if (rc == CDS_BUSY) {
            cds_http_stream_on_drain(replay->req, on_drain, replay);
            return;
        }
        if (rc != CDS_OK)
            return; /* the client left; on_left tells */
        replay->at += n;
        replay->wrote_ms = cds_now_ms();
    }
    if (replay->req && replay->ended)
        cds_http_stream_finish(replay->req, false);
}

/** Place behind the event that is `count` events behind from; the end when there are fewer. */
static size_t skip(const struct cds_replay *replay, size_t from, int64_t count)
{
    while (count-- > 0 && from < replay->events.len) {
        const char *end = memmem(replay->events.data + from, replay->events.len - from, "\n\n", 2);
        from = end ? (size_t)(end - replay->events.data) + 2 : replay->events.len;
    }
    return from;
}

/** Drops the oldest events, `bytes` of them and up to the end of one. */
static void trim(struct cds_replay *replay, size_t bytes)
{
    size_t gone = 0;
    while (gone < bytes && gone < replay->events.len) {
        gone = skip(replay, gone, 1);
        replay->first++;
    }
    if (replay->req && replay->at < gone)
        cut(replay); /* it reads too slowly; it may come back, but what it missed is gone */
    replay->at = replay->at > gone ? replay->at - gone : 0;
    cds_buf_consume(&replay->events, gone);
    replay->all->bytes -= gone;
}

/** Keeps to the ceilings, which the last event may have passed. */
static void make_room(struct cds_replay *replay)
{
    struct cds_replays *all = replay->all;
    struct cds_replay *old;
    while (all->bytes > all->limits.bytes && (old = oldest_ended(all, replay)) != NULL)
        forget(old);
    size_t most = all->bytes - replay->events.len < all->limits.bytes ? all->limits.bytes - (all->bytes - replay->events.len) : 0;
    if (most > CDS_REPLAY_BYTES_MAX)
        most = CDS_REPLAY_BYTES_MAX;
    /* A good part at once, since what stays is moved to the front. */
    if (replay->events.len > most)
        trim(replay, replay->events.len - most + most / TRIM_PART);
}

static void add_one(struct cds_replay *replay, const char *event, size_t len)
{
    size_t before = replay->events.len;
    (void)cds_buf_addf(&replay->events, "id: %lld\n", (long long)replay->coming);
    if (cds_buf_add(&replay->events, event, len) == CDS_OK) {
        replay->all->bytes += replay->events.len - before;
    } else {
        /* Half an event must not stay, and its number must be missed by whoever reads on. */
        replay->events.len = before;
        replay->events.failed = replay->events.no_memory = false;
        trim(replay, before);
        replay->first = replay->coming + 1;
        if (replay->req)
            cut(replay);
    }
    replay->coming++;
}

void cds_replay_add(struct cds_replay *replay, const char *events, size_t len)
{
    while (len > 0) {
        const char *end = memmem(events, len, "\n\n", 2);
        size_t n = end ? (size_t)(end - events) + 2 : len;
        if (*events != ':')
            add_one(replay, events, n);
        events += n;
        len -= n;
    }
    pump(replay);
    make_room(replay);
}

void cds_replay_alive(struct cds_replay *replay, const char *text, uint64_t quiet_ms)
{
    uint64_t now = cds_now_ms();
    if (!replay->req || replay->at < replay->events.len || now - replay->wrote_ms < quiet_ms)
        return;
    if (cds_http_stream_write(replay->req, text, strlen(text)) == CDS_OK)
        replay->wrote_ms = now;
}

cds_rc cds_replay_has(const struct cds_replay *replay, int64_t after, struct cds_err *reterr)
{
    if (after < replay->coming && after + 1 >= replay->first)
        return CDS_OK;
    if (after >= replay->coming) {
        cds_fail(reterr, CDS_BAD_PARAM, __func__, "The event %lld was not told yet; the last one was %lld.", (long long)after,
                 (long long)replay->coming - 1);
        cds_err_hint(reterr, "Send the id of the last event that came as Last-Event-ID.");
    } else {
        cds_fail(reterr, CDS_CONFLICT, __func__, "The events up to %lld are not kept any more; this stream would go on with a gap.",
                 (long long)replay->first - 1);
        cds_err_hint(reterr, "Send the request again; what was computed is in usage.");
    }
    return reterr ? reterr->code : CDS_CONFLICT;
}

void cds_replay_read(struct cds_replay *replay, struct cds_http_req *req, int64_t after)
{
    if (replay->req)
        cut(replay);
    replay->due_ms = UINT64_MAX;
    replay->req = req;
    replay->at = skip(replay, 0, after + 1 - replay->first);
    replay->wrote_ms = cds_now_ms();
    cds_http_set_user(req, replay, on_left, on_left);
    cds_http_add_header(req, "Cache-Control", "no-cache");
    cds_http_stream_begin(req, 200, "text/event-stream; charset=utf-8", STREAM_BUFFER);
    pump(replay);
}

void cds_replay_left(struct cds_replay *replay)
{
    if (!replay->req)
        wait_for_reader(replay);
}

void cds_replay_end(struct cds_replay *replay)
{
    replay->ended = true;
    replay->user = NULL;
    if (!replay->req)
        wait_for_reader(replay);
    pump(replay);
}

void cds_replay_drop(struct cds_replay *replay)
{
    if (replay->req)
        cut(replay);
    forget(replay);
}
