/* lib/credential/changes.c: see changes.h. Places are chained by the hash of their subject, and in the order of their changes, among all and among
 * those of one user. An owner is the record of a user of whom sessions or keys are remembered. */
#include "lib/credential/changes.h"

#include <stdlib.h>

#include "lib/base/str.h"

enum { BUCKETS = CDS_STANDING_MAX, NONE = -1 };

/* A list of places, oldest first; `of` chooses the links. */
enum order { OF_ALL, OF_OWNER, ORDERS };
struct list {
    int oldest, newest;
};

struct place {
    struct cds_standing_change change;
    int next;  /* in its bucket */
    int owner; /* NONE: a change of the user itself */
    struct {
        int older, newer;
    } order[ORDERS];
};

struct owner {
    char user_id[37];
    int next; /* in its bucket, or in the list of the free */
    int count;
    int64_t floor_s; /* what was pushed out by his own changes; once none of his is left, floor_s of all is no lower */
    struct list own;
};

struct changes {
    int used;
    int64_t floor_s;
    struct list all;
    int heads[BUCKETS], owner_heads[BUCKETS], free_owner;
    struct place places[CDS_STANDING_MAX];
    struct owner owners[CDS_STANDING_MAX];
};

struct changes *changes_new(void)
{
    struct changes *changes = calloc(1, sizeof(*changes));
    if (!changes)
        return NULL;
    changes->all = (struct list){NONE, NONE};
    for (int i = 0; i < BUCKETS; i++)
        changes->heads[i] = changes->owner_heads[i] = NONE;
    for (int i = 0; i < CDS_STANDING_MAX; i++)
        changes->owners[i].next = i + 1 < CDS_STANDING_MAX ? i + 1 : NONE;
    return changes;
}

void changes_free(struct changes **changes)
{
    free(*changes);
    *changes = NULL;
}

static uint32_t bucket_of(const char *id)
{
    uint32_t hash = 2166136261u; /* FNV-1a; the ids are random and ours */
    for (const char *c = id; *c; c++)
        hash = (hash ^ (unsigned char)*c) * 16777619u;
    return hash % BUCKETS;
}

/* ---- the orders ---- */
static void append(struct changes *changes, struct list *list, enum order of, int i)
{
    changes->places[i].order[of].older = list->newest;
    changes->places[i].order[of].newer = NONE;
    if (list->newest == NONE)
        list->oldest = i;
    else
        changes->places[list->newest].order[of].newer = i;
    list->newest = i;
}

static void take_out(struct changes *changes, struct list *list, enum order of, int i)
{
    int older = changes->places[i].order[of].older, newer = changes->places[i].order[of].newer;
    if (older == NONE)
        list->oldest = newer;
    else
        changes->places[older].order[of].newer = newer;
    if (newer == NONE)
        list->newest = older;
    else
        changes->places[newer].order[of].older = older;
}

/* ---- owners ---- */
static int owner_of(const struct changes *changes, const char *user_id)
{
    int i = changes->owner_heads[bucket_of(user_id)];
    while (i != NONE && !cds_streq(changes->owners[i].user_id, user_id))
        i = changes->owners[i].next;
    return i;
}

/* There are as many as places, so one is always free. */
static int make_owner(struct changes *changes, const char *user_id)
{
    int *head = &changes->owner_heads[bucket_of(user_id)], i = changes->free_owner;
    changes->free_owner = changes->owners[i].next;
    changes->owners[i] = (struct owner){.next = *head, .own = {NONE, NONE}};
    cds_strcpy(changes->owners[i].user_id, sizeof(changes->owners[i].user_id), user_id);
    return *head = i;
}

static void free_owner(struct changes *changes, int i)
{
    int *link = &changes->owner_heads[bucket_of(changes->owners[i].user_id)];
    while (*link != i)
        link = &changes->owners[*link].next;
    *link = changes->owners[i].next;
    changes->owners[i].next = changes->free_owner;
    changes->free_owner = i;
}

/* ---- places ---- */
static int index_of(const struct changes *changes, const char *subject)
{
    int i = changes->heads[bucket_of(subject)];
    while (i != NONE && !cds_streq(changes->places[i].change.subject, subject))
        i = changes->places[i].next;
    return i;
}

static void unlink_subject(struct changes *changes, int i)
{
    int *link = &changes->heads[bucket_of(changes->places[i].change.subject)];
    while (*link != i)
        link = &changes->places[*link].next;
    *link = changes->places[i].next;
}

static void disown(struct changes *changes, int i)
{
    int o = changes->places[i].owner;
    if (o == NONE)
        return;
    take_out(changes, &changes->owners[o].own, OF_OWNER, i);
    changes->places[i].owner = NONE;
    if (!--changes->owners[o].count)
        free_owner(changes, o);
}

/* One second more: a token of that very second may be older than the change. */
static void raise(int64_t *floor_s, const struct cds_standing_change *change)
{
    if (change->at_s + 1 > *floor_s)
        *floor_s = change->at_s + 1;
}

static void forget(struct changes *changes, int i, int64_t *floor_s)
{
    raise(floor_s, &changes->places[i].change);
    unlink_subject(changes, i);
    take_out(changes, &changes->all, OF_ALL, i);
    disown(changes, i);
}

/* A place in no list. own: of the user that the change is about, NONE: it counts for nobody. */
static int free_place(struct changes *changes, int own)
{
    int i;
    if (own != NONE && changes->owners[own].count >= CDS_STANDING_OWN_MAX) {
        i = changes->owners[own].own.oldest;
        forget(changes, i, &changes->owners[own].floor_s); /* others of his stay, so the record does too */
    } else if (changes->used < CDS_STANDING_MAX) {
        i = changes->used++;
    } else {
        i = changes->all.oldest;
        forget(changes, i, &changes->floor_s);
    }
    return i;
}

void changes_put(struct changes *changes, const struct cds_standing_change *change)
{
    bool counts = change->kind != CDS_STANDING_USER;
    int i = index_of(changes, change->subject);
    if (i == NONE) {
        i = free_place(changes, counts ? owner_of(changes, change->user_id) : NONE);
        int *head = &changes->heads[bucket_of(change->subject)];
        changes->places[i].next = *head;
        *head = i;
    } else {
        take_out(changes, &changes->all, OF_ALL, i);
        disown(changes, i);
    }
    struct place *place = &changes->places[i];
    place->change = *change;
    place->owner = NONE;
    append(changes, &changes->all, OF_ALL, i);
    if (!counts)
        return;
    int o = owner_of(changes, change->user_id);
    place->owner = o == NONE ? make_owner(changes, change->user_id) : o;
    changes->owners[place->owner].count++;
    append(changes, &changes->owners[place->owner].own, OF_OWNER, i);
}

const struct cds_standing_change *changes_find(const struct changes *changes, const char *subject)
{
    int i = *subject ? index_of(changes, subject) : NONE;
    return i == NONE ? NULL : &changes->places[i].change;
}

int64_t changes_floor(const struct changes *changes, const char *user_id)
{
    int o = owner_of(changes, user_id);
    return o != NONE && changes->owners[o].floor_s > changes->floor_s ? changes->owners[o].floor_s : changes->floor_s;
}

void changes_each(const struct changes *changes, cds_standing_fn *fn, void *user)
{
    for (int i = changes->all.oldest; i != NONE; i = changes->places[i].order[OF_ALL].newer)
        fn(user, &changes->places[i].change);
}
