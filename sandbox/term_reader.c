/* sandbox/term_reader.c: one term.attach call: follows a terminal's ring at the pace of who reads it. See term.h. */
#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/base/str.h"
#include "lib/log/log.h"
#include "sandbox/term.h"

enum { PEER_POLL_MS = 20, COLLECT_MS = 10000, WINDOW_MIN = 4096, WINDOW_MAX = TERM_RING_BYTES };

static void unlink_reader(struct term_reader *reader)
{
    *reader->prev = reader->next;
    if (reader->next)
        reader->next->prev = reader->prev;
    *reader->mine_prev = reader->mine_next;
    if (reader->mine_next)
        reader->mine_next->mine_prev = reader->mine_prev;
    cds_timer_remove(&reader->timer);
}

/* Takes it off and answers its call; result is stolen, NULL: no answer. */
static void finish(struct term_reader *reader, cds_json *result)
{
    struct term *term = reader->term;
    unlink_reader(reader);
    term_readers_changed(term);
    term_look_at_readers(term);
    if (result) /* last: that very answer may be what breaks the connection */
        client_result(reader->client, reader->id, result);
    cds_json_unref(reader->id);
    free(reader);
}

static cds_json *answer_of(const struct term_reader *reader, const char *end)
{
    const struct term *term = reader->term;
    const struct cds_job_result *r = &term->result;
    const bool ended = !term->job && !cds_streq(end, "detached");
    cds_json *answer = cds_json_pack("{s:s,s:s,s:o,s:o,s:I,s:I}", "term_id", term->id, "end", end, "exit_code",
                                     ended && r->exit_code >= 0 ? cds_json_int(r->exit_code) : cds_json_null(), "signal",
                                     ended && r->signo ? cds_json_int(r->signo) : cds_json_null(), "next_seq", (int64_t)reader->seq, "lost_bytes",
                                     (int64_t)reader->lost_bytes);
    if (answer && ended && r->reason[0])
        cds_json_set(answer, "reason", cds_json_string(r->reason));
    return answer;
}

void term_reader_detach(struct term_reader *reader, bool answer)
{
    finish(reader, answer ? answer_of(reader, "detached") : NULL);
}

/* ---- notifications ---- */
/* data as text, or in base64 where it is none; false: no memory */
static bool add_data(cds_json *object, const char *data, size_t len)
{
    cds_json *text = cds_utf8_valid(data, len) ? cds_json_stringn(data, len) : NULL; /* also NULL for a NUL byte */
    if (!text) {
        char *coded = malloc(cds_base64_len(len) + 1);
        text = coded ? cds_json_stringn(coded, cds_base64(data, len, coded)) : NULL;
        free(coded);
        cds_json_set(object, "encoding", cds_json_string("base64"));
    }
    return text && cds_json_set(object, "data", text) == 0;
}

/* Steals params. */
static bool notify(const struct term_reader *reader, const char *method, cds_json *params)
{
    cds_json_set(params, "call", cds_json_int(reader->call));
    CDS_JSON_AUTO note = cds_rpc_notification(method, params);
    return note && reader->client->peer && !cds_peer_send(reader->client->peer, note);
}

static void tell_state(const struct term_reader *reader, uint64_t lost_bytes)
{
    const struct term *term = reader->term;
    if (reader->deadline_ms)
        return;
    cds_json *params = cds_json_pack("{s:I,s:I,s:I,s:I,s:I}", "rows", (int64_t)term->rows, "cols", (int64_t)term->cols, "seq", (int64_t)reader->seq,
                                     "end_seq", (int64_t)term->ring.end, "lost_bytes", (int64_t)lost_bytes);
    if (!notify(reader, "term.state", params))
        cds_log(CDS_LOG_WARN, "the state of a terminal could not be queued", CDS_LS("term_id", term->id));
}

void term_readers_tell_size(struct term *term)
{
    for (const struct term_reader *reader = term->readers; reader; reader = reader->next)
        tell_state(reader, 0);
}

/* What the ring has lost is told once and skipped. */
static uint64_t skip_lost(struct term_reader *reader)
{
    uint64_t begin = term_ring_begin(&reader->term->ring), lost = reader->seq < begin ? begin - reader->seq : 0;
    reader->seq += lost;
    reader->lost_bytes += lost;
    return lost;
}

/* ---- streaming ---- */
static bool peer_is_full(const struct term_reader *reader)
{
    return !reader->client->peer || cds_peer_pending(reader->client->peer) > TERM_PEER_BYTES;
}

static uint64_t window_left(const struct term_reader *reader)
{
    if (!reader->window_bytes)
        return UINT64_MAX;
    uint64_t until = reader->acked + reader->window_bytes;
    return until > reader->seq ? until - reader->seq : 0;
}

/* One notification: whole characters where it is text. False: nothing was sent. */
static bool send_piece(struct term_reader *reader)
{
    static char piece[TERM_PIECE_BYTES]; /* loop thread only */
    const struct term *term = reader->term;
    uint64_t left = window_left(reader), lost = skip_lost(reader);
    if (lost)
        tell_state(reader, lost);
    size_t n = term_ring_read(&term->ring, reader->seq, piece, left < sizeof(piece) ? (size_t)left : sizeof(piece));
    size_t whole = cds_utf8_complete(piece, n);
    if (!whole && term->job && reader->seq + n == term->ring.end)
        return false; /* the rest of the character is still to come */
    n = whole ? whole : n;
    cds_json *params = cds_json_pack("{s:I,s:I}", "seq", (int64_t)reader->seq, "next_seq", (int64_t)(reader->seq + n));
    if (!n || !add_data(params, piece, n)) {
        cds_json_unref(params);
        return false;
    }
    if (!notify(reader, "term.output", params))
        return false;
    reader->seq += n;
    return true;
}

/* A reader that collects is answered with the first there is, or at its deadline with nothing. */
static void collect(struct term_reader *reader)
{
    static char all[TERM_COLLECT_BYTES]; /* loop thread only */
    struct term *term = reader->term;
    if (reader->seq >= term->ring.end && term->job && cds_now_ms() < reader->deadline_ms) {
        cds_timer_set(reader->timer, reader->deadline_ms);
        return;
    }
    skip_lost(reader);
    size_t n = term_ring_read(&term->ring, reader->seq, all, sizeof(all));
    reader->seq += n;
    term->told = term->told || !term->job;
    cds_json *answer = answer_of(reader, term_end_name(term));
    if (answer && !add_data(answer, all, n)) {
        cds_json_unref(answer);
        answer = NULL; /* client_result makes an error of it */
    }
    finish(reader, answer ? answer : cds_json_null());
}

void term_reader_pump(struct term_reader *reader)
{
    struct term *term = reader->term;
    uint64_t now = cds_now_ms();
    if (reader->deadline_ms) {
        collect(reader);
        return;
    }
    if (term->job && now < reader->sent_ms + TERM_PAUSE_MS) {
        cds_timer_set(reader->timer, reader->sent_ms + TERM_PAUSE_MS);
        return;
    }
    while (reader->seq < term->ring.end && !reader->held && window_left(reader) && !peer_is_full(reader) && send_piece(reader))
        reader->sent_ms = now;
    if (!term->job && reader->seq >= term->ring.end) {
        term->told = true;
        finish(reader, answer_of(reader, term_end_name(term)));
        return;
    }
    /* A full window and a full gateway are ended by a word of theirs. */
    cds_timer_set(reader->timer, reader->seq < term->ring.end && peer_is_full(reader) ? now + PEER_POLL_MS : UINT64_MAX);
}

static void on_timer(void *user)
{
    struct term_reader *reader = user;
    struct term *term = reader->term;
    term_reader_pump(reader);
    term_look_at_readers(term);
}

/* ---- does the program wait? ---- */
static bool is_behind(const struct term_reader *reader)
{
    return !reader->deadline_ms && reader->term->ring.end - reader->seq > TERM_BEHIND_BYTES;
}

void term_look_at_readers(struct term *term)
{
    uint64_t now = cds_now_ms();
    bool wait = false;
    const bool in_vain = term->held_ms && now >= term->held_ms + TERM_STALL_MS;
    for (struct term_reader *reader = term->readers; reader; reader = reader->next) {
        reader->lagging = is_behind(reader) && (reader->lagging || in_vain);
        wait = wait || (is_behind(reader) && !reader->lagging);
    }
    if (!term->job || wait == (term->held_ms != 0))
        return;
    term->held_ms = wait ? now : 0;
    term->ops->hold(term->job, wait);
    term_readers_changed(term);
}

/* ---- start ---- */
static uint64_t start_seq(const struct term *term, const cds_json *params)
{
    uint64_t begin = term_ring_begin(&term->ring);
    int64_t asked = cds_json_get_i64(params, "after_seq", (int64_t)begin);
    /* A number that was never reached is from another time: all there is. */
    return asked < 0 || (uint64_t)asked > term->ring.end ? begin : (uint64_t)asked;
}

cds_rc term_reader_new(struct term *term, struct client *client, const struct cds_rpc_request *request, struct cds_err *reterr)
{
    int64_t window = cds_json_get_i64(request->params, "window_bytes", 0), wait_ms = cds_json_get_i64(request->params, "wait_ms", COLLECT_MS);
    if (window && (window < WINDOW_MIN || window > WINDOW_MAX))
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "A window has %d to %d bytes.", WINDOW_MIN, WINDOW_MAX);
    struct term_reader *reader = calloc(1, sizeof(*reader));
    if (!reader || cds_timer_add(term->broker->loop, UINT64_MAX, on_timer, reader, &reader->timer)) {
        free(reader);
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    }
    reader->term = term;
    reader->client = client;
    reader->id = cds_json_ref(request->id);
    reader->call = cds_json_i64(request->id, 0);
    reader->seq = reader->acked = start_seq(term, request->params);
    reader->window_bytes = (uint64_t)window;
    if (cds_json_true(cds_json_get(request->params, "collect"), false))
        reader->deadline_ms = cds_now_ms() + (uint64_t)(wait_ms < 0 || wait_ms > COLLECT_MS ? COLLECT_MS : wait_ms);
    if ((reader->next = term->readers))
        reader->next->prev = &reader->next;
    reader->prev = &term->readers;
    term->readers = reader;
    if ((reader->mine_next = client->readers))
        reader->mine_next->mine_prev = &reader->mine_next;
    reader->mine_prev = &client->readers;
    client->readers = reader;
    term_readers_changed(term);
    tell_state(reader, skip_lost(reader));
    term_reader_pump(reader);
    term_look_at_readers(term);
    return CDS_OK;
}
