/* apps/llmserver/metering.h: tokens are reserved before they are computed and settled exactly once.
 *
 * Source:  database/README.md (ledger functions); docs in README.md "Money".
 * Threads: loop thread only.
 * Two connections: one for holds and one for settlements. Reservations commit without waiting for the disk (a lost one takes its held tokens with
 * it), extensions and settlements are durable before they are answered.
 * While a connection is busy, what arrives is gathered and goes out as one array call, at most CDS_METER_BATCH entries; so the batch size
 * follows the load and a single request never waits for a timer. A batch that cannot be granted as a whole is sent again one by one.
 * A lost answer is asked again: ids make every call safe to repeat. A settlement is repeated until it is acknowledged. A reservation that is given
 * up while its outcome is not known is settled with nothing, so that it holds nothing for a request that never ran.
 * A settlement is in the journal (journal.h) from before it is sent until it is acknowledged. A start books what the journal has before it closes
 * what the predecessor left open: those are booked with less.
 */
#pragma once

#include "lib/base/loop.h"

enum { CDS_METER_BATCH = 512, CDS_METER_QUEUE = 8192, CDS_METER_WAIT_MS = 3000 };

struct cds_meter;
struct cds_meter_options {
    struct cds_loop *loop;
    const char *conninfo;        /**< copied */
    const char *node;            /**< UUID of this server; open reservations of a predecessor with the same id are closed at start; copied */
    int64_t price_in, price_out; /**< of a model without a price of its own, micro-credits per token */
    const char *journal_path;    /**< file of settlements that wait, NULL: none; borrowed for the call */
    const char *disk_path;       /**< folder of the database when it is on this machine, NULL: elsewhere; copied */
    uint64_t disk_min_bytes;     /**< nothing new is reserved while less is free there */
};
CDS_MUST_USE cds_rc cds_meter_new(const struct cds_meter_options *options, struct cds_meter **ret, struct cds_err *reterr);
/** Callers have waited for cds_meter_idle; what is left is logged, and stays in the journal. */
void cds_meter_free(struct cds_meter **meter);

enum { CDS_METER_TIME_LEN = 24 /**< "2026-11-26T10:49:51.123Z" */ };
/** Now, UTC: the time of admission, which decides in which windows of its budgets a request counts. */
void cds_meter_now(char ret[static CDS_METER_TIME_LEN + 1]);

/** One request as the ledger knows it. Texts are copied. */
struct cds_meter_request {
    const char *user_id, *request_id, *model;
    const char *key_id;     /**< API key, "": a signed-in session */
    const char *admitted;   /**< cds_meter_now at its reservation; all its calls name the same one */
    uint32_t prompt_tokens; /**< part of its first hold that is read; of a reservation */
};
/** What a request used so far, or in the end. */
struct cds_meter_used {
    uint32_t prompt_tokens, cached_tokens, completion_tokens; /**< cached ones are a part of the prompt */
};
/** err NULL: granted. CDS_BUDGET_EXCEEDED with the first budget that refuses, used, limit and reset date; CDS_CONFLICT (id was used before);
 * CDS_UNAVAILABLE (fail closed). */
typedef void cds_meter_granted_fn(void *user, const struct cds_err *err);
/** Holds tokens for a request. done is called exactly once, later, unless this returns an error.
 *  @return CDS_OK; CDS_BUSY (too many wait, or the journal has no place for one more); CDS_CONFLICT (a request of this server with this id is not
 * settled yet); CDS_UNAVAILABLE (not ready); CDS_EXHAUSTED (the database's disk is nearly full, or memory) */
CDS_MUST_USE cds_rc cds_meter_reserve(struct cds_meter *meter, const struct cds_meter_request *request, uint32_t tokens, cds_meter_granted_fn *done,
                                      void *user, struct cds_err *reterr);
/** Holds more tokens for a running request, and notes how far it is: a server that dies is billed up to there. done as above.
 *  @return CDS_OK; CDS_BUSY; CDS_CONFLICT (nothing is reserved for this request); CDS_UNAVAILABLE; CDS_EXHAUSTED (memory) */
CDS_MUST_USE cds_rc cds_meter_extend(struct cds_meter *meter, const struct cds_meter_request *request, uint32_t more_tokens,
                                     const struct cds_meter_used *so_far, cds_meter_granted_fn *done, void *user, struct cds_err *reterr);
/** As the ledger booked it. */
struct cds_meter_booked {
    int64_t cost_micro;
    unsigned soft_percent;   /**< the highest soft percentage that a budget of the request has passed; 0: none */
    const char *soft_budget; /**< which: "user tokens month"; borrowed for the call, NULL: none */
};
typedef void cds_meter_settled_fn(void *user, const struct cds_meter_booked *booked);
/** The request has ended and is settled once its last extension is answered. Until then this is what the journal has of it. Arguments as of
 *  cds_meter_settle, which names the same. */
void cds_meter_ended(struct cds_meter *meter, const struct cds_meter_request *request, const struct cds_meter_used *used, const char *outcome);
/**
 * Books what was used and gives the rest of the hold back. Never refused, never dropped, repeated until acknowledged.
 * @param outcome  static text: stop, length, cancelled, gone, crashed, failed
 * @param done     may be NULL
 */
void cds_meter_settle(struct cds_meter *meter, const struct cds_meter_request *request, const struct cds_meter_used *used, const char *outcome,
                      cds_meter_settled_fn *done, void *user);
/** The caller of a settle is gone: done will not be called; the settlement still happens. */
void cds_meter_forget(struct cds_meter *meter, void *user);
/** Makes sure that the model has a price. */
void cds_meter_add_model(struct cds_meter *meter, const char *model);
/** CDS_OK when both connections answer, and what the predecessor left is booked and closed. */
CDS_MUST_USE cds_rc cds_meter_ready(const struct cds_meter *meter, struct cds_err *reterr);
/** Nothing waits to be settled. */
bool cds_meter_idle(const struct cds_meter *meter);
