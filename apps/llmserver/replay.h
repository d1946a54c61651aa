/* apps/llmserver/replay.h: the events of streams whose clients may come back: kept, numbered, read again from any number on.
 *
 * Source:  HTML Living Standard, "Server-sent events" (id:, Last-Event-ID); docs/adr/0051-a-broken-stream-goes-on.md.
 * Threads: loop thread only.
 * Rule:    what is computed does not depend on who reads: a generation writes its events here once, and settles once; readers only read.
 * Limits:  CDS_REPLAY_BYTES_MAX for one stream and llm.resume_bytes for all together: the oldest ended stream goes first, then the oldest events
 *          of the stream that grows. An ended stream is kept for llm.resume_ms; a stream whose reader left is given up after llm.resume_grace_ms.
 */
#pragma once

#include "lib/base/loop.h"
#include "lib/http/server.h"

enum {
    CDS_REPLAY_BYTES_MAX = 4 << 20,
    CDS_REPLAY_MODEL_MAX = 128,
    CDS_REPLAY_COUNT_MAX = 1024 /**< streams, running and ended */
};

struct cds_replays;
struct cds_replay;

struct cds_replay_limits {
    size_t bytes;      /**< of all streams together */
    uint64_t keep_ms;  /**< an ended stream */
    uint64_t grace_ms; /**< a running stream without a reader */
};
CDS_MUST_USE cds_rc cds_replays_new(struct cds_loop *loop, const struct cds_replay_limits *limits, struct cds_replays **ret, struct cds_err *reterr);
void cds_replays_free(struct cds_replays **replays);
/** Streams kept, and their bytes. */
unsigned cds_replays_count(const struct cds_replays *replays);
size_t cds_replays_bytes(const struct cds_replays *replays);

/**
 * A stream that begins. It has no reader yet, but one that is there: the time for its return runs after cds_replay_left.
 * @param abandoned  called once when nobody came back in time; not after cds_replay_end
 * @return NULL: CDS_REPLAY_COUNT_MAX streams run, or memory is out
 */
struct cds_replay *cds_replay_new(struct cds_replays *replays, const char *user_id, const char *request_id, void (*abandoned)(void *user),
                                  void *user);
/** The model that speaks, which is asked for again when somebody comes back for the stream. "": none was noted. */
void cds_replay_note_model(struct cds_replay *replay, const char *model_id);
const char *cds_replay_model(const struct cds_replay *replay);
/** A second name it can be found by: the id in the ledger, when that is another. */
void cds_replay_also(struct cds_replay *replay, const char *request_id);
/** A stream of this user, by its request id or by an id made of its digits ("resp_0190..."). The newest one wins. NULL: there is none. */
struct cds_replay *cds_replay_find(const struct cds_replays *replays, const char *user_id, const char *id);
/** Appends events (each ends with an empty line) and gives each its number, from 0 on. */
void cds_replay_add(struct cds_replay *replay, const char *events, size_t len);
/** A comment or event without a number for a reader that has everything and got nothing for quiet_ms. Not kept. */
void cds_replay_alive(struct cds_replay *replay, const char *text, uint64_t quiet_ms);
/** The events behind number `after` (-1: all) can be had. @return CDS_OK; CDS_CONFLICT: they are not kept any more; CDS_BAD_PARAM: it was not told
 * yet */
CDS_MUST_USE cds_rc cds_replay_has(const struct cds_replay *replay, int64_t after, struct cds_err *reterr);
/** Begins the answer to req with the events behind `after` and goes on with those that come. A reader that is there already is cut. */
void cds_replay_read(struct cds_replay *replay, struct cds_http_req *req, int64_t after);
/** The client left before the stream was begun. */
void cds_replay_left(struct cds_replay *replay);
/** No more events; the generation forgets it. */
void cds_replay_end(struct cds_replay *replay);
/** The generation ends without any end to tell. */
void cds_replay_drop(struct cds_replay *replay);
