#include "apps/llmserver/queue.h"

#include <stddef.h>
#include <string.h>

void cds_queue_push(struct cds_queue *queue, struct cds_queued *entry, const char *user, unsigned running)
{
    uint64_t tag = queue->clock + running;
    struct cds_queued **link = &queue->first;
    for (; *link; link = &(*link)->next)
        if (strcmp((*link)->user, user) == 0 && (*link)->tag >= tag)
            tag = (*link)->tag + 1;
    *entry = (struct cds_queued){.user = user, .tag = tag, .order = ++queue->order, .waiting = true};
    *link = entry;
    queue->count++;
}

void cds_queue_remove(struct cds_queue *queue, struct cds_queued *entry)
{
    for (struct cds_queued **link = &queue->first; *link; link = &(*link)->next) {
        if (*link != entry)
            continue;
        *link = entry->next;
        entry->next = NULL;
        entry->waiting = false;
        queue->count--;
        return;
    }
}

struct cds_queued *cds_queue_pop(struct cds_queue *queue)
{
    struct cds_queued *best = queue->first;
    for (struct cds_queued *entry = best; entry; entry = entry->next)
        if (entry->tag < best->tag || (entry->tag == best->tag && entry->order < best->order))
            best = entry;
    if (!best)
        return NULL;
    if (best->tag > queue->clock)
        queue->clock = best->tag;
    cds_queue_remove(queue, best);
    return best;
}
