/* lib/credential/changes.c: see changes.h. A ring of entries, chained by the hash of their subject. */
#include "lib/credential/changes.h"

#include <stdlib.h>

#include "lib/base/str.h"

enum { BUCKETS = CDS_STANDING_MAX, NONE = -1 };

struct place {
    struct cds_standing_change change;
    int next; /* in its bucket */
};

struct changes {
    size_t used, oldest; /* places in use; the one that makes room next */
    int64_t floor_s;
    int heads[BUCKETS];
    struct place places[CDS_STANDING_MAX];
};

struct changes *changes_new(void)
{
    struct changes *changes = calloc(1, sizeof(*changes));
    for (size_t i = 0; changes && i < BUCKETS; i++)
        changes->heads[i] = NONE;
    return changes;
}

void changes_free(struct changes **changes)
{
    free(*changes);
    *changes = NULL;
}

static size_t bucket_of(const char *subject)
{
    uint32_t hash = 2166136261u; /* FNV-1a; the ids are random and ours */
    for (const char *c = subject; *c; c++)
        hash = (hash ^ (unsigned char)*c) * 16777619u;
    return hash % BUCKETS;
}

static int index_of(const struct changes *changes, const char *subject)
{
    int i = changes->heads[bucket_of(subject)];
    while (i != NONE && !cds_streq(changes->places[i].change.subject, subject))
        i = changes->places[i].next;
    return i;
}

static void unlink_place(struct changes *changes, int i)
{
    int *link = &changes->heads[bucket_of(changes->places[i].change.subject)];
    while (*link != i)
        link = &changes->places[*link].next;
    *link = changes->places[i].next;
}

static int free_place(struct changes *changes)
{
    if (changes->used < CDS_STANDING_MAX)
        return (int)changes->used++;
    int i = (int)changes->oldest;
    changes->oldest = (changes->oldest + 1) % CDS_STANDING_MAX;
    /* One second more: a token of that very second may be older than the change. */
    if (changes->places[i].change.at_s + 1 > changes->floor_s)
        changes->floor_s = changes->places[i].change.at_s + 1;
    unlink_place(changes, i);
    return i;
}

void changes_put(struct changes *changes, const struct cds_standing_change *change)
{
    int i = index_of(changes, change->subject);
    if (i == NONE) {
        int *head = &changes->heads[bucket_of(change->subject)];
        i = free_place(changes);
        changes->places[i].next = *head;
        *head = i;
    }
    changes->places[i].change = *change;
}

const struct cds_standing_change *changes_find(const struct changes *changes, const char *subject)
{
    int i = *subject ? index_of(changes, subject) : NONE;
    return i == NONE ? NULL : &changes->places[i].change;
}

int64_t changes_floor(const struct changes *changes)
{
    return changes->floor_s;
}

void changes_each(const struct changes *changes, cds_standing_fn *fn, void *user)
{
    for (size_t i = 0; i < changes->used; i++)
        fn(user, &changes->places[i].change);
}
