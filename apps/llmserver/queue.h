/* apps/llmserver/queue.h: requests that wait for a slot, fair between keys.
 *
 * Deficit round robin in tokens (Shreedhar and Varghese 1995): each key that waits has its turn in a ring, gets CDS_QUEUE_QUANTUM tokens of
 * credit in it, and sends requests while its credit pays for them (prompt, and the first slice of the answer). So keys get equal tokens, not
 * equal requests, and a key with a hundred requests does not hold up one that has a single one. What a key has running already counts against
 * it when it begins to wait. A key is a user today; it is a text, so that an API key may be one as well.
 *
 * Classes: a higher class goes first. Who has waited for CDS_QUEUE_AGE_MS counts one class higher, so the lowest one is not starved.
 * Threads: one owner. Entries are embedded in the caller's structs, so pushing cannot fail for memory.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum { CDS_QUEUE_QUANTUM = 64, CDS_QUEUE_CLASSES = 3, CDS_QUEUE_NORMAL = 1, CDS_QUEUE_AGE_MS = 30000 };

struct cds_queued {
    const char *key;   /**< borrowed for the time in the queue */
    uint32_t tokens;   /**< what it will take, >= 1 */
    unsigned priority; /**< class, 0..CDS_QUEUE_CLASSES-1 */
    uint64_t since_ms;
    bool waiting;
    /* Inside: */
    struct cds_queued *behind;      /**< next one of the same key and class */
    struct cds_queued *next, *last; /**< of the first one of a key: next key in the ring, last one of this key */
    int64_t credit;                 /**< of the first one of a key */
};
struct cds_queue {
    struct cds_queued *turn[CDS_QUEUE_CLASSES]; /**< first one of the key whose turn it is; its ring is closed */
    unsigned count;
};
/** Fill in key, tokens, priority and since_ms. @param running_tokens  what the same key has running already */
void cds_queue_push(struct cds_queue *queue, struct cds_queued *entry, uint64_t running_tokens);
/** The next one, or NULL. */
struct cds_queued *cds_queue_pop(struct cds_queue *queue, uint64_t now_ms);
/** Takes an entry out; no-op if it does not wait. */
void cds_queue_remove(struct cds_queue *queue, struct cds_queued *entry);
/** How many go before it if nothing changes, plus one; 0 if it does not wait. */
unsigned cds_queue_place(const struct cds_queue *queue, const struct cds_queued *entry);
/** The waiting entries, higher classes first, in each key by key: the one after `entry`, NULL: the first one. NULL at the end. */
struct cds_queued *cds_queue_after(const struct cds_queue *queue, const struct cds_queued *entry);
/** Entries of one key. */
unsigned cds_queue_count_of(const struct cds_queue *queue, const char *key);
