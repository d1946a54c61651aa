/* apps/llmserver/live.h: the requests this server holds tokens for, or may hold tokens for because an answer of the ledger was lost.
 *
 * Source:  docs/adr/0012-one-attempt-one-hold.md
 * Threads: loop thread only.
 * An id is in here from the first call of its reservation until its settlement is acknowledged, so no second request of this server can take it
 * in between and run on the hold of the first.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/compiler.h"
#include "lib/base/random.h"

struct cds_live {
    struct cds_live *next;
    char user_id[CDS_UUID_LEN + 1], request_id[CDS_UUID_LEN + 1];
    uint32_t held_tokens; /**< as far as the ledger has answered; before that, what is asked for */
    int place;            /**< where the journal has how it ended (cds_meter_ended), -1: nowhere */
    bool granted;         /**< the ledger has said yes and the settlement is not acknowledged: kept from expiring */
};
enum { CDS_LIVE_BUCKETS = 1024 };
struct cds_live_set {
    unsigned count;
    struct cds_live *buckets[CDS_LIVE_BUCKETS];
};

/** NULL when it is not there. Borrowed: valid until it is dropped. */
struct cds_live *cds_live_find(const struct cds_live_set *set, const char *user_id, const char *request_id);
/** Adds one that is not there yet. @return NULL when out of memory */
CDS_MUST_USE struct cds_live *cds_live_add(struct cds_live_set *set, const char *user_id, const char *request_id, uint32_t tokens);
/** No-op when it is not there. */
void cds_live_drop(struct cds_live_set *set, const char *user_id, const char *request_id);
/** Calls fn for each that is granted; fn must not change the set. */
void cds_live_each_granted(const struct cds_live_set *set, void (*fn)(void *user, const struct cds_live *live), void *user);
/** Drops all. */
void cds_live_clear(struct cds_live_set *set);
