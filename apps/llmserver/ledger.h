/* apps/llmserver/ledger.h: inside of metering: gathering calls into batches and repeating them. Included by metering.c and ledger.c only.
 *
 * A lane is one connection. It has one batch in flight; what arrives meanwhile waits in order, per kind. A settlement that the database refuses by
 * itself is parked with a pause of its own, so that it does not hold up the others.
 * Threads: loop thread only.
 */
#pragma once

#include "apps/llmserver/disk.h"
#include "apps/llmserver/journal.h"
#include "apps/llmserver/live.h"
#include "apps/llmserver/metering.h"
#include "lib/base/random.h"
#include "lib/db/db.h"

enum cds_ledger_kind { CDS_LEDGER_RESERVE, CDS_LEDGER_EXTEND, CDS_LEDGER_SETTLE, CDS_LEDGER_KINDS };

/** One call for one request. */
struct cds_ledger_op {
    struct cds_ledger_op *next;
    enum cds_ledger_kind kind;
    char node[CDS_UUID_LEN + 1]; /**< server that holds the tokens: ours, or what was ours when the journal was written */
    char user_id[CDS_UUID_LEN + 1], key_id[CDS_UUID_LEN + 1], request_id[CDS_UUID_LEN + 1], model[129], admitted[CDS_METER_TIME_LEN + 1];
    uint32_t tokens;        /**< more to hold */
    uint32_t total_tokens;  /**< to hold in all with them */
    uint32_t prompt_tokens; /**< part of a reservation that is read */
    struct cds_meter_used used;
    const char *outcome;  /**< of a settlement; static */
    int place;            /**< of a settlement: where it stands in the journal */
    uint64_t deadline_ms; /**< UINT64_MAX: never given up */
    bool alone;           /**< goes out in a call of its own */
    bool uncertain;       /**< the answer of an earlier call was lost: it may have been carried out */
    uint32_t pause_ms;    /**< of a parked settlement: its last pause */
    uint64_t due_ms;      /**< of a parked settlement: its end */
    cds_meter_granted_fn *granted;
    cds_meter_settled_fn *settled;
    void *user; /**< NULL with both callbacks NULL: nobody listens */
};

struct cds_ledger_list {
    struct cds_ledger_op *first, *last;
    unsigned count;
};

struct cds_ledger_lane {
    struct cds_meter *meter;
    struct cds_dbq *db;
    struct cds_ledger_list waiting[CDS_LEDGER_KINDS];
    struct cds_ledger_list flying; /**< the batch in flight */
    struct cds_ledger_list parked; /**< settlements that were refused; no order */
    struct cds_timer *retry, *unpark;
    bool busy;           /**< a batch is in flight */
    bool retrying;       /**< waits backoff_ms before the next one */
    uint32_t backoff_ms; /**< 0 after an answer */
    uint64_t unpark_ms;  /**< when the first of the parked ones is due */
};

struct cds_meter {
    struct cds_loop *loop;
    char node[CDS_UUID_LEN + 1];
    char price_input[32], price_output[32]; /**< micro-credits per million tokens */
    struct cds_ledger_lane reserve, settle;
    struct cds_timer *beat;      /**< cleans up after a predecessor, then keeps live reservations from expiring */
    struct cds_disk *disk;       /**< NULL: the database's disk is not ours to watch */
    struct cds_journal *journal; /**< NULL: settlements are in memory only */
    bool recovered;
    struct cds_live_set live;
};

/** Adds an op to its lane and sends what can be sent. Steals op. */
void cds_ledger_put(struct cds_ledger_lane *lane, struct cds_ledger_op *op);
CDS_MUST_USE cds_rc cds_ledger_lane_open(struct cds_meter *meter, struct cds_ledger_lane *lane, const char *conninfo, struct cds_err *reterr);
void cds_ledger_lane_close(struct cds_ledger_lane *lane);
/** Callbacks of this user are dropped, the ops stay. */
void cds_ledger_forget(struct cds_ledger_lane *lane, const void *user);
/** metering.c: sends what keeps the granted requests of this server from expiring, CDS_METER_BATCH in a call. */
CDS_MUST_USE cds_rc cds_ledger_prolong(struct cds_meter *meter, uint64_t deadline_ms);

/** ledger_sql.c: calls with the node (recover), with users, requests, node and seconds (prolong), without parameters (reap), with model, price
 *  of the prompt and of the answer. */
extern const char cds_ledger_sql_recover[], cds_ledger_sql_prolong[], cds_ledger_sql_reap[], cds_ledger_sql_add_model[];
/** Time after which a reservation that nobody prolongs is given up, for `prolong` and reservations. */
extern const char cds_ledger_ttl[];
/** ledger_sql.c: the call for a batch. @return CDS_OK when it was sent: done is called with it */
CDS_MUST_USE cds_rc cds_ledger_send(struct cds_ledger_lane *lane, cds_dbq_done_fn *done);
/** What the ledger said about one op of the batch. */
struct cds_ledger_answer {
    enum {
        CDS_LEDGER_DONE,
        CDS_LEDGER_HELD_BEFORE, /**< this very reservation is open already */
        CDS_LEDGER_ALONE,
        CDS_LEDGER_REFUSED,
        CDS_LEDGER_DUPLICATE, /**< the id is another request's */
        CDS_LEDGER_FOREIGN,   /**< settlements: the id is a request's of another server */
        CDS_LEDGER_NO_PRICE
    } is;
    struct cds_meter_booked booked; /**< settlements */
    bool soft_fresh;                /**< its request is the first to pass that percentage */
    struct cds_err err;             /**< REFUSED: what the user is told */
};
void cds_ledger_read(const struct cds_ledger_op *op, const struct cds_rows *rows, int row, struct cds_ledger_answer *ret);
/** ledger_words.c: the sentence for somebody whose budgets refuse. refused: JSON of budget_refused in database/migrations/0013_budgets.sql. */
void cds_ledger_over_budget(const struct cds_ledger_op *op, const char *refused, struct cds_err *err);
