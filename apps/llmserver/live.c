#include "apps/llmserver/live.h"

#include <stdlib.h>

#include "lib/base/str.h"

static size_t bucket_of(const char *user_id, const char *request_id)
{
    uint64_t hash = 1469598103934665603ULL;
    for (const char *c = user_id; *c; c++)
        hash = (hash ^ (unsigned char)*c) * 1099511628211ULL;
    for (const char *c = request_id; *c; c++)
        hash = (hash ^ (unsigned char)*c) * 1099511628211ULL;
    return (size_t)((hash >> 32) % CDS_LIVE_BUCKETS);
}

struct cds_live *cds_live_find(const struct cds_live_set *set, const char *user_id, const char *request_id)
{
    struct cds_live *live = set->buckets[bucket_of(user_id, request_id)];
    while (live && !(cds_streq(live->request_id, request_id) && cds_streq(live->user_id, user_id)))
        live = live->next;
    return live;
}

struct cds_live *cds_live_add(struct cds_live_set *set, const char *user_id, const char *request_id, uint32_t tokens)
{
    struct cds_live *live = calloc(1, sizeof(*live));
    if (!live)
        return NULL;
    cds_strcpy(live->user_id, sizeof(live->user_id), user_id);
    cds_strcpy(live->request_id, sizeof(live->request_id), request_id);
    live->held_tokens = tokens;
    live->place = -1;
    struct cds_live **bucket = &set->buckets[bucket_of(user_id, request_id)];
    live->next = *bucket;
    *bucket = live;
    set->count++;
    return live;
}

void cds_live_drop(struct cds_live_set *set, const char *user_id, const char *request_id)
{
    struct cds_live *found = cds_live_find(set, user_id, request_id);
    if (!found)
        return;
    struct cds_live **link = &set->buckets[bucket_of(user_id, request_id)];
    while (*link != found)
        link = &(*link)->next;
    *link = found->next;
    set->count--;
    free(found);
}

void cds_live_each_granted(const struct cds_live_set *set, void (*fn)(void *user, const struct cds_live *live), void *user)
{
    for (size_t i = 0; i < CDS_LIVE_BUCKETS; i++)
        for (const struct cds_live *live = set->buckets[i]; live; live = live->next)
            if (live->granted)
                fn(user, live);
}

void cds_live_clear(struct cds_live_set *set)
{
    for (size_t i = 0; i < CDS_LIVE_BUCKETS; i++)
        while (set->buckets[i]) {
            struct cds_live *live = set->buckets[i];
            set->buckets[i] = live->next;
            free(live);
        }
    set->count = 0;
}
