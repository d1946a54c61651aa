// link: app_llmserver
/* tests/fuzz/fuzz_llm_journal.c: no bytes of a journal read too far or become what the ledger's statements cannot hold; what is read is written
 * alike.
 *
 * The bytes are given a right check as well: behind it is where a reader goes wrong.
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "apps/llmserver/journal_place.h"
#include "lib/jwt/jwt.h"

static void read_place(const uint8_t *data, size_t size)
{
    struct cds_journal_entry entry;
    unsigned char again[CDS_JOURNAL_PLACE];
    enum cds_journal_content is = cds_journal_place_read(data, size, &entry);
    assert(is >= CDS_JOURNAL_FREE && is <= CDS_JOURNAL_FOREIGN);
    if (is != CDS_JOURNAL_ENTRY)
        return;
    assert(size == CDS_JOURNAL_PLACE && entry.outcome && !strpbrk(entry.model, "{},\"\\ "));
    struct cds_journal_entry twice;
    cds_journal_place_write(&entry, again);
    assert(cds_journal_place_read(again, sizeof(again), &twice) == CDS_JOURNAL_ENTRY);
    assert(strcmp(twice.request_id, entry.request_id) == 0 && twice.used.completion_tokens == entry.used.completion_tokens);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    read_place(data, size);
    if (size == CDS_JOURNAL_PLACE) {
        unsigned char right[CDS_JOURNAL_PLACE], hash[32];
        memcpy(right, data, size);
        memset(right + 8, 0, 8);
        cds_sha256(right, sizeof(right), hash);
        memcpy(right + 8, hash, 8);
        read_place(right, sizeof(right));
    }
    return 0;
}
