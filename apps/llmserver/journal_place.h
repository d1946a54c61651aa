/* apps/llmserver/journal_place.h: one settlement as it lies in the journal.
 *
 * Source:  docs/adr/0083-settlements-on-disk.md (the form, byte by byte).
 * Threads: values only.
 * No prompt, no answer, no mail address: ids, counts and names of models.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "apps/llmserver/metering.h"
#include "lib/base/random.h"

enum {
    CDS_JOURNAL_VERSION = 1,
    CDS_JOURNAL_PLACE = 512, /**< bytes of a place: whole sectors, so that a loss of power leaves the old or the new one */
    CDS_JOURNAL_MODEL = 128, /**< bytes of the longest name of a model */
};

/** What has to be told to the ledger. Texts are NUL-terminated. */
struct cds_journal_entry {
    char node[CDS_UUID_LEN + 1]; /**< server that holds the tokens: another one may not settle them */
    char user_id[CDS_UUID_LEN + 1], request_id[CDS_UUID_LEN + 1];
    char key_id[CDS_UUID_LEN + 1]; /**< API key, "": a signed-in session */
    char model[CDS_JOURNAL_MODEL + 1];
    char admitted[CDS_METER_TIME_LEN + 1];
    struct cds_meter_used used; /**< tokens; cached ones are a part of the prompt */
    const char *outcome;        /**< static: one of those that cds_meter_settle names */
};

enum cds_journal_content {
    CDS_JOURNAL_FREE, /**< nothing but zeros */
    CDS_JOURNAL_ENTRY,
    CDS_JOURNAL_DAMAGED, /**< not what was written, or cut */
    CDS_JOURNAL_FOREIGN, /**< whole, and of a version that this program does not know */
};

/** Writes all bytes of a place. */
void cds_journal_place_write(const struct cds_journal_entry *entry, unsigned char ret[static CDS_JOURNAL_PLACE]);
/** Reads a place: any bytes, any length. ret is written for CDS_JOURNAL_ENTRY only; all its texts are then fit for the ledger's statements. */
enum cds_journal_content cds_journal_place_read(const void *data, size_t len, struct cds_journal_entry *ret);
