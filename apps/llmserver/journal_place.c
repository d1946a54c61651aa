#include "apps/llmserver/journal_place.h"

#include <string.h>

#include "lib/base/str.h"
#include "lib/jwt/jwt.h"

/* Numbers are little-endian, texts without a NUL at their end and filled up with zeros. */
enum { MAGIC_AT = 0, VERSION_AT = 4, LENGTH_AT = 6, CHECK_AT = 8, CHECK = 8, TEXTS_AT = CHECK_AT + CHECK, OUTCOME = 12, NUMBERS = 3 * 4 };
static const char magic[] = "CDSJ";

static const struct {
    size_t member, bytes;
} texts[] = {
    {offsetof(struct cds_journal_entry, node), CDS_UUID_LEN},       {offsetof(struct cds_journal_entry, user_id), CDS_UUID_LEN},
    {offsetof(struct cds_journal_entry, key_id), CDS_UUID_LEN},     {offsetof(struct cds_journal_entry, request_id), CDS_UUID_LEN},
    {offsetof(struct cds_journal_entry, model), CDS_JOURNAL_MODEL}, {offsetof(struct cds_journal_entry, admitted), CDS_METER_TIME_LEN},
};
enum { LENGTH = TEXTS_AT + 4 * CDS_UUID_LEN + CDS_JOURNAL_MODEL + CDS_METER_TIME_LEN + OUTCOME + NUMBERS };
_Static_assert((int)LENGTH <= (int)CDS_JOURNAL_PLACE, "an entry has to fit its place");

static const char *const outcomes[] = {"stop", "length", "cancelled", "gone", "crashed", "failed"};

static void put(unsigned char *at, uint32_t value, int bytes)
{
    for (int i = 0; i < bytes; i++)
        at[i] = (unsigned char)(value >> (8 * i));
}
static uint32_t get(const unsigned char *at, int bytes)
{
    uint32_t value = 0;
    for (int i = 0; i < bytes; i++)
        value |= (uint32_t)at[i] << (8 * i);
    return value;
}

/** Of all bytes but its own. */
static void check_of(const unsigned char place[static CDS_JOURNAL_PLACE], unsigned char ret[static CHECK])
{
    unsigned char copy[CDS_JOURNAL_PLACE], hash[32];
    memcpy(copy, place, sizeof(copy));
    memset(copy + CHECK_AT, 0, CHECK);
    cds_sha256(copy, sizeof(copy), hash);
    memcpy(ret, hash, CHECK);
}

void cds_journal_place_write(const struct cds_journal_entry *entry, unsigned char ret[static CDS_JOURNAL_PLACE])
{
    unsigned char *at = ret + TEXTS_AT;
    memset(ret, 0, CDS_JOURNAL_PLACE);
    memcpy(ret + MAGIC_AT, magic, VERSION_AT);
    put(ret + VERSION_AT, CDS_JOURNAL_VERSION, 2);
    put(ret + LENGTH_AT, LENGTH, 2);
    for (size_t i = 0; i < CDS_ARRAY_LEN(texts); at += texts[i++].bytes) {
        const char *text = (const char *)entry + texts[i].member;
        memcpy(at, text, strnlen(text, texts[i].bytes));
    }
    memcpy(at, entry->outcome, strnlen(entry->outcome, OUTCOME));
    at += OUTCOME;
    put(at, entry->used.prompt_tokens, 4);
    put(at + 4, entry->used.cached_tokens, 4);
    put(at + 8, entry->used.completion_tokens, 4);
    check_of(ret, ret + CHECK_AT);
}

static bool all_zero(const unsigned char *data, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (data[i])
            return false;
    return true;
}

/** "2026-11-26T10:49:51.123Z" */
static bool is_time(const char *text)
{
    static const char form[] = "0000-00-00T00:00:00.000Z";
    for (size_t i = 0; i < sizeof(form); i++)
        if (form[i] == '0' ? text[i] < '0' || text[i] > '9' : text[i] != form[i])
            return false;
    return true;
}

/** Texts become parts of arrays in SQL, where a brace or a comma would make one entry two. */
static bool is_fit(const struct cds_journal_entry *e)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    return cds_uuid_valid(e->node) && cds_uuid_valid(e->user_id) && cds_uuid_valid(e->request_id) && (!*e->key_id || cds_uuid_valid(e->key_id)) &&
           *e->model && strspn(e->model, letters) == strlen(e->model) && is_time(e->admitted) && e->outcome &&
           e->used.cached_tokens <= e->used.prompt_tokens;
}

enum cds_journal_content cds_journal_place_read(const void *data, size_t len, struct cds_journal_entry *ret)
{
    const unsigned char *place = data, *at = place + TEXTS_AT;
    unsigned char check[CHECK];
    struct cds_journal_entry entry = {0};
    char outcome[OUTCOME + 1] = "";
    if (all_zero(place, len))
        return CDS_JOURNAL_FREE;
    if (len != CDS_JOURNAL_PLACE || memcmp(place + MAGIC_AT, magic, VERSION_AT) != 0)
        return CDS_JOURNAL_DAMAGED;
    check_of(place, check);
    if (memcmp(check, place + CHECK_AT, CHECK) != 0)
        return CDS_JOURNAL_DAMAGED;
    if (get(place + VERSION_AT, 2) != CDS_JOURNAL_VERSION || get(place + LENGTH_AT, 2) != LENGTH)
        return CDS_JOURNAL_FOREIGN;
    for (size_t i = 0; i < CDS_ARRAY_LEN(texts); at += texts[i++].bytes)
        memcpy((char *)&entry + texts[i].member, at, texts[i].bytes);
    memcpy(outcome, at, OUTCOME);
    at += OUTCOME;
    for (size_t i = 0; i < CDS_ARRAY_LEN(outcomes); i++)
        if (cds_streq(outcomes[i], outcome))
            entry.outcome = outcomes[i];
    entry.used = (struct cds_meter_used){get(at, 4), get(at + 4, 4), get(at + 8, 4)};
    if (!is_fit(&entry))
        return CDS_JOURNAL_DAMAGED;
    *ret = entry;
    return CDS_JOURNAL_ENTRY;
}
