#include "apps/llmserver/queue.h"

#include <stddef.h>
#include <string.h>

/** First entry of a key in its class; NULL if none waits. */
static struct cds_queued *first_of(const struct cds_queue *queue, unsigned priority, const char *key)
{
    struct cds_queued *turn = queue->turn[priority], *first = turn;
    if (!turn)
        return NULL;
    do {
        if (strcmp(first->key, key) == 0)
            return first;
        first = first->next;
    } while (first != turn);
    return NULL;
}

static struct cds_queued *before(struct cds_queued *first)
{
    struct cds_queued *p = first;
    while (p->next != first)
        p = p->next;
    return p;
}

void cds_queue_push(struct cds_queue *queue, struct cds_queued *entry, uint64_t running_tokens)
{
    entry->waiting = true;
    entry->behind = entry->next = entry->last = NULL;
    entry->credit = 0;
    queue->count++;
    struct cds_queued *first = first_of(queue, entry->priority, entry->key), **turn = &queue->turn[entry->priority];
    if (first) {
        first->last->behind = entry;
        first->last = entry;
        return;
    }
    entry->last = entry;
    entry->credit = -(int64_t)running_tokens;
    if (*turn) {
        before(*turn)->next = entry;
        entry->next = *turn;
    } else {
        entry->next = entry;
        *turn = entry;
    }
}

/** The next one of the key takes the place, the credit and the turn of its first one; the last one leaves the ring. */
static void take_first(struct cds_queue *queue, struct cds_queued *first)
{
    struct cds_queued **turn = &queue->turn[first->priority], *heir = first->behind;
    bool alone = first->next == first;
    if (heir) {
        heir->credit = first->credit;
        heir->last = first->last;
        heir->next = alone ? heir : first->next;
        if (!alone)
            before(first)->next = heir;
    } else if (!alone) {
        before(first)->next = first->next;
    }
    if (*turn == first)
        *turn = heir ? heir : alone ? NULL : first->next;
}

static void leave(struct cds_queue *queue, struct cds_queued *entry)
{
    entry->behind = entry->next = entry->last = NULL;
    entry->waiting = false;
    queue->count--;
}

void cds_queue_remove(struct cds_queue *queue, struct cds_queued *entry)
{
    if (!entry->waiting)
        return;
    struct cds_queued *first = first_of(queue, entry->priority, entry->key);
    if (first == entry) {
        take_first(queue, entry);
    } else {
        struct cds_queued *p = first;
        while (p->behind != entry)
            p = p->behind;
        p->behind = entry->behind;
        if (first->last == entry)
            first->last = p;
    }
    leave(queue, entry);
}

/** Turns until the credit pays for so many tokens: each turn gives one quantum. */
static int64_t turns_for(const struct cds_queued *first, uint64_t tokens)
{
    int64_t lacking = (int64_t)tokens - first->credit;
    return lacking <= 0 ? 0 : (lacking + CDS_QUEUE_QUANTUM - 1) / CDS_QUEUE_QUANTUM;
}

/** The class that goes now: the highest one, where a long wait counts as a higher class. -1: nobody waits. */
static int class_now(const struct cds_queue *queue, uint64_t now_ms)
{
    int best = -1;
    uint64_t best_rank = 0;
    for (int c = CDS_QUEUE_CLASSES - 1; c >= 0; c--) {
        const struct cds_queued *turn = queue->turn[c], *first = turn;
        uint64_t waited = 0;
        for (bool again = false; first && (!again || first != turn); first = first->next, again = true)
            if (now_ms > first->since_ms && now_ms - first->since_ms > waited)
                waited = now_ms - first->since_ms;
        uint64_t rank = (uint64_t)c + waited / CDS_QUEUE_AGE_MS;
        if (turn && (best < 0 || rank > best_rank)) {
            best = c;
            best_rank = rank;
        }
    }
    return best;
}

struct cds_queued *cds_queue_pop(struct cds_queue *queue, uint64_t now_ms)
{
    int c = class_now(queue, now_ms);
    if (c < 0)
        return NULL;
    struct cds_queued *turn = queue->turn[c], *first = turn, *best = NULL;
    int64_t least = 0;
    do {
        int64_t turns = turns_for(first, first->tokens);
        if (!best || turns < least) {
            best = first;
            least = turns;
        }
        first = first->next;
    } while (first != turn);
    /* What so many turns would have brought, all at once; the keys before the chosen one had one turn more, if it needed any. */
    bool passed = false;
    do {
        int64_t turns = least > 0 && passed ? least - 1 : least;
        passed = passed || first == best;
        first->credit += turns * CDS_QUEUE_QUANTUM;
        first = first->next;
    } while (first != turn);
    best->credit -= best->tokens;
    struct cds_queued *heir = best->behind;
    queue->turn[c] = best;
    take_first(queue, best);
    if (heir && heir->credit < heir->tokens)
        queue->turn[c] = heir->next; /* its credit is used up: the next key's turn */
    leave(queue, best);
    return best;
}

unsigned cds_queue_place(const struct cds_queue *queue, const struct cds_queued *entry)
{
    if (!entry->waiting)
        return 0;
    unsigned place = 1;
    for (unsigned c = entry->priority + 1; c < CDS_QUEUE_CLASSES; c++)
        for (const struct cds_queued *e = queue->turn[c], *turn = e; e; e = e->next == turn ? NULL : e->next)
            for (const struct cds_queued *one = e; one; one = one->behind)
                place++;
    const struct cds_queued *mine = first_of(queue, entry->priority, entry->key), *turn = queue->turn[entry->priority], *first = turn;
    uint64_t tokens = entry->tokens;
    for (const struct cds_queued *e = mine; e != entry; e = e->behind) {
        tokens += e->tokens;
        place++;
    }
    int64_t turns = turns_for(mine, tokens);
    bool passed = false;
    do {
        /* The others send in as many turns what these pay for. */
        int64_t credit = first->credit + (passed && turns > 0 ? turns - 1 : turns) * CDS_QUEUE_QUANTUM;
        passed = passed || first == mine;
        for (const struct cds_queued *e = first; first != mine && e && credit >= e->tokens; e = e->behind) {
            credit -= e->tokens;
            place++;
        }
        first = first->next;
    } while (first != turn);
    return place;
}

struct cds_queued *cds_queue_after(const struct cds_queue *queue, const struct cds_queued *entry)
{
    int c = CDS_QUEUE_CLASSES - 1;
    if (entry) {
        if (entry->behind)
            return entry->behind;
        const struct cds_queued *first = first_of(queue, entry->priority, entry->key);
        if (first->next != queue->turn[entry->priority])
            return first->next;
        c = (int)entry->priority - 1;
    }
    for (; c >= 0; c--)
        if (queue->turn[c])
            return queue->turn[c];
    return NULL;
}

unsigned cds_queue_count_of(const struct cds_queue *queue, const char *key)
{
    unsigned count = 0;
    for (unsigned c = 0; c < CDS_QUEUE_CLASSES; c++)
        for (const struct cds_queued *e = first_of(queue, c, key); e; e = e->behind)
            count++;
    return count;
}
