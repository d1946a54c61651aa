/* lib/credential/seen.c: checked credentials, found by the SHA-256 of their text. A fixed table: in a full set the one that ends first makes room.
 *
 * What a former key set vouched for counts no longer, but it is remembered that it was good once: exchange.c tells keys that worked here from
 * invented ones by it. */
#include <stdlib.h>
#include <string.h>

#include "lib/base/str.h"
#include "lib/credential/keys.h"

static struct cds_seen_token *set_of(const struct cds_credentials *creds, const unsigned char hash[static 32])
{
    return &creds->seen[(size_t)(hash[0] | hash[1] << 8) % CDS_SEEN_SETS * CDS_SEEN_WAYS];
}

static struct cds_seen_token *find(const struct cds_credentials *creds, const unsigned char hash[static 32])
{
    struct cds_seen_token *set = set_of(creds, hash);
    for (int i = 0; i < CDS_SEEN_WAYS; i++)
        if (set[i].era && cds_equal_ct(set[i].hash, hash, 32))
            return &set[i];
    return NULL;
}

bool cds_seen_alloc(struct cds_credentials *creds)
{
    creds->era = 1;
    creds->seen = calloc((size_t)CDS_SEEN_SETS * CDS_SEEN_WAYS, sizeof(*creds->seen));
    return creds->seen != NULL;
}

const struct cds_credential *cds_seen_find(const struct cds_credentials *creds, const unsigned char hash[static 32], int64_t now_s)
{
    const struct cds_seen_token *one = find(creds, hash);
    return one && one->era == creds->era && one->credential.claims.expires_s > now_s ? &one->credential : NULL;
}

bool cds_seen_before(const struct cds_credentials *creds, const unsigned char hash[static 32])
{
    return find(creds, hash) != NULL;
}

void cds_seen_put(struct cds_credentials *creds, const unsigned char hash[static 32], const struct cds_credential *credential)
{
    struct cds_seen_token *set = set_of(creds, hash), *place = find(creds, hash);
    if (!place)
        place = set;
    /* A free place is all zero: it ends before any other. */
    for (int i = 0; i < CDS_SEEN_WAYS && !cds_equal_ct(place->hash, hash, 32); i++)
        if (set[i].credential.claims.expires_s < place->credential.claims.expires_s)
            place = &set[i];
    memcpy(place->hash, hash, 32);
    place->era = creds->era;
    place->credential = *credential;
}

void cds_seen_drop(struct cds_credentials *creds, const unsigned char hash[static 32])
{
    struct cds_seen_token *one = find(creds, hash);
    if (one)
        one->credential.claims.expires_s = 0;
}
