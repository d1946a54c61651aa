/* apps/llmserver/queue.h: requests that wait for a slot, fair between users.
 *
 * Start-time fair queueing: each request gets a number, one higher than the last waiting request of the same user (or than the queue's
 * clock plus what that user has running); the lowest number goes first, and arrival decides between equals. A user with a hundred
 * requests does not hold up one who has a single one.
 * Threads: one owner. Entries are embedded in the caller's structs, so pushing cannot fail for memory.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct cds_queued {
    struct cds_queued *next;
    const char *user; /**< borrowed for the time in the queue */
    uint64_t tag, order;
    bool waiting;
};
struct cds_queue {
    struct cds_queued *first;
    uint64_t clock, order;
    unsigned count;
};
/** @param running  requests of the same user that run already */
void cds_queue_push(struct cds_queue *queue, struct cds_queued *entry, const char *user, unsigned running);
/** The next one, or NULL. */
struct cds_queued *cds_queue_pop(struct cds_queue *queue);
/** Takes an entry out; no-op if it does not wait. */
void cds_queue_remove(struct cds_queue *queue, struct cds_queued *entry);
