/* apps/llmserver/generation.h: one generation request from its body to its last byte.
 *
 * Stages: waits for the model -> prepared by the model process (prompt counted) -> queued for a slot -> reserved in the ledger -> running ->
 * settled -> its last bytes are read by the client. generation.c and flow.c move between them, answer.c writes to the client.
 * Threads: loop thread only.
 * Life:    freed when the client has its answer (or is gone) and the ledger owes no call; the slot is free again as soon as the model
 *          process said done.
 */
#pragma once

#include "apps/llmserver/app.h"
#include "apps/llmserver/choice.h"
#include "apps/llmserver/dialect.h"
#include "apps/llmserver/rates.h"
#include "apps/llmserver/replay.h"
#include "apps/llmserver/request.h"
#include "apps/llmserver/segments.h"
#include "apps/llmserver/slices.h"
#include "apps/llmserver/wire.h"
#include "lib/base/buf.h"
#include "lib/base/random.h"

enum cds_gen_stage {
    CDS_GEN_WAITING,   /**< the model is not up */
    CDS_GEN_PREPARING, /**< the model process counts its prompt */
    CDS_GEN_QUEUED,    /**< wants a slot */
    CDS_GEN_RESERVING, /**< has a slot, wants tokens */
    CDS_GEN_RUNNING,
    CDS_GEN_STOPPING, /**< the model process was told to stop; its numbers are on the way */
    CDS_GEN_SAVING,   /**< the state of its prompt is being written (states.h) */
    CDS_GEN_SETTLING, /**< the ledger books */
    CDS_GEN_LEAVING,  /**< everything is decided; the client reads the rest */
    CDS_GEN_OVER      /**< waits for open ledger calls only */
};
enum {
    CDS_GEN_ALIVE_MS = 10000,      /**< an event stream is never silent for longer */
    CDS_GEN_SETTLE_WAIT_MS = 2000, /**< longest time the last bytes wait for the ledger */
    CDS_GEN_OUT_MAX = 4 << 20      /**< bytes that may wait for a slow reader */
};

struct cds_gen {
    struct cds_gen *next;
    struct cds_llm *app;
    struct cds_model *model;
    const struct cds_dialect *dialect; /**< how it was asked and is answered */
    cds_json *asked;                   /**< owned: the caller's body, for dialects that tell parts of it again; else NULL */
    struct cds_http_req *req;          /**< NULL: the client is gone or has its whole answer, or its stream is the replay's */
    struct cds_replay *replay;         /**< events go here and not to req; NULL: an ordinary answer, or the replay has all of it */
    struct cds_once *once;             /**< its answer is kept for whoever asks again, so it goes on without a reader; NULL: it is not */
    struct cds_ask ask;
    struct cds_wire wire;
    struct cds_credential who; /**< who reads it: its caller, or whoever came back for its stream last */
    char user_id[CDS_UUID_LEN + 1];
    char request_id[CDS_UUID_LEN + 1]; /**< in the ledger */
    char http_id[CDS_UUID_LEN + 1];    /**< in the log and in x-request-id; the same unless the client used it before */
    char key_id[CDS_UUID_LEN + 1];     /**< API key it was asked with, for the ledger; "": a signed-in session */
    char key[CDS_UUID_LEN + 1];        /**< whose share of the model it uses: the user's */
    unsigned priority;                 /**< its class in the queue */
    char model_id[CDS_ASK_MODEL_MAX + 1];
    char admitted[CDS_METER_TIME_LEN + 1]; /**< time of its reservation, for the ledger */
    int64_t job;
    enum cds_gen_stage stage;
    int status; /**< of the answer, for the log */
    struct cds_queued queued;
    struct cds_slices slices;
    uint32_t slice_tokens; /**< of each answer, in the slice that is being reserved */
    struct {
        struct cds_rate_limits user, key; /**< as they were when it came */
        uint64_t taken;                   /**< tokens of the minute */
        bool open, told;                  /**< it counts as running; its client was told */
    } pace;
    uint32_t prompt_tokens, cached_tokens, evaluated_tokens;
    uint32_t completion_tokens;                                 /**< of all choices together */
    uint32_t furthest;                                          /**< of the longest choice: slices are granted to each of them */
    uint32_t recomputed_tokens, foreign_tokens, steps_to_first; /**< for the log: computed twice; what went before it (apps/llmworker/scheduler.h) */
    unsigned ledger_calls;                                      /**< calls whose callback has not come */
    bool holds_slot;
    bool extending;        /**< a further slice is being reserved */
    bool prepared_in_vain; /**< the process died once while it prepared this prompt */
    bool asks_lexicon;     /**< the process of the vocabulary answers it (lexicon.h) */
    bool counts;           /**< asks for the tokens of its prompt only */
    bool booked;           /**< the ledger has what it used already, though it fails */
    bool stop_wanted;      /**< the user asked to end it and keep what there is */
    struct cds_wire_end end;
    struct cds_err failure; /**< why it failed, for its log line; code CDS_OK: it did not */
    char notice[256];
    struct cds_timer *deadline, *alive;
    uint64_t started_ms, slot_since_ms, admitted_ms, wrote_ms;
    uint64_t deadline_at_ms; /**< cds_now_ms clock: the end of its time */
    uint64_t suspect;        /**< fingerprint of the request, for poison.h */
    /* The answer: */
    struct cds_choice *choices; /**< choice_count of them; owned */
    cds_json *result;           /**< owned: what results.h gathers; NULL: nothing yet */
    unsigned choice_count;
    uint32_t width; /**< numbers of one vector */
    char fingerprint[24];
    struct cds_buf out; /**< bytes of the stream the client has not taken yet */
    bool each_token;    /**< vectors of tokens instead of texts */
    bool streaming, finished;
    bool segments_lost;           /**< there were more than can be kept in order */
    struct cds_segments segments; /**< of the first choice, for dialects with items */
    int64_t sequence;             /**< number of the next event, for dialects that count them */
};

/** A request in one of the dialects, or for one of the tasks of tasks.h; counts: for the number of its prompt's tokens only, which is free. once: of
 * a request with an Idempotency-Key (taken over), else NULL. */
void cds_gen_begin(struct cds_llm *app, struct cds_http_req *req, const struct cds_credential *credential, const struct cds_dialect *dialect,
                   bool counts, struct cds_once *once);
/** The prompt of a request that counts has been counted. */
void cds_gen_counted(struct cds_gen *gen);
/** POST /v1/requests/{id}/cancel: the stream ends at once with what there is. @return CDS_OK; CDS_NOT_FOUND */
CDS_MUST_USE cds_rc cds_gen_cancel(struct cds_llm *app, const char *request_id, const struct cds_credential *credential, struct cds_err *reterr);

/* generations.c, the requests of a model or all of them: */
/** Live requests, all stages but OVER. */
unsigned cds_gen_count(const struct cds_llm *app);
/** Ends every request with an error, for the end of the server. */
void cds_gen_stop_all(struct cds_llm *app);
void cds_gen_model_up(struct cds_model *model);
/** The process is gone (or going). comes_back: requests that had not begun may wait for the next one. */
void cds_gen_model_down(struct cds_model *model, const struct cds_err *err, bool comes_back);
/** Requests of a model that wait for its process; those it works on, or is about to. */
unsigned cds_gen_waiting(const struct cds_model *model);
unsigned cds_gen_begun(const struct cds_model *model);
/** The model unloads: requests that have not begun fail, the others go on. */
void cds_gen_model_drain(struct cds_model *model, const struct cds_err *err);

/* flow.c, from model.c: */
void cds_gen_frame(struct cds_model *model, const char *method, const cds_json *params);

/* answer.c: */
/** Somebody may read an answer: now, or (resumable) later. */
bool cds_gen_has_reader(const struct cds_gen *gen);
/** The texts are needed at the end: whole answers, texts that are checked or told again. */
bool cds_gen_keeps(const struct cds_gen *gen);
/** Begins the event stream with its first chunk, once; no-op without streaming or client. */
void cds_gen_open_stream(struct cds_gen *gen);
/** One event of a choice: its text or its deltas, and the chances of its tokens (NULL: none). */
void cds_gen_write_text(struct cds_gen *gen, unsigned choice, const char *text, size_t len, const cds_json *chances);
void cds_gen_write_deltas(struct cds_gen *gen, unsigned choice, const cds_json *deltas, const cds_json *chances);
/** The finished texts against the request's schema. @return CDS_OK; CDS_INTERNAL: a text does not fit it */
CDS_MUST_USE cds_rc cds_gen_check_texts(const struct cds_gen *gen, struct cds_err *reterr);
void cds_gen_write_alive(struct cds_gen *gen);
/** The regular end, with gen->end filled. */
void cds_gen_write_end(struct cds_gen *gen);
/** The other end. */
void cds_gen_write_error(struct cds_gen *gen, const struct cds_err *err);
/** answer.c calls it when the client took the last byte or is gone. */
void cds_gen_left(struct cds_gen *gen, bool gone);
