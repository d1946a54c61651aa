/* apps/llmserver/weights.h: the files a model process was made of, by their bytes: the parts of the model and its adapters.
 *
 * A digest is one of all bytes of a file (SHA-256). It costs a second for some hundred megabytes, so the last ones are remembered, each under what
 * the file system says of its file (device, number, length, times): a file that was written to is read again.
 * The process may have read a file that is another one by now: how they looked when it was started is its mark.
 * Threads: cds_weights_mark and cds_weights_unchanged on the loop thread; the others block, and belong to the thread that has the `known`.
 */
#pragma once

#include "apps/llmserver/model.h"

enum { CDS_WEIGHTS_KNOWN = 64, CDS_WEIGHTS_PARTS = 1024, CDS_WEIGHTS_HEX = 64 };

/** Digests that are remembered; zeros: none. The oldest makes room. */
struct cds_weights_known {
    struct {
        uint64_t look; /**< what the file system said; 0: none */
        char hex[CDS_WEIGHTS_HEX + 1];
    } files[CDS_WEIGHTS_KNOWN];
    unsigned next;
    uint64_t read_bytes; /**< of files that were read, for tests */
};

/** How the files of a model and of its adapters look to the file system now. Any of them written, replaced or gone makes it another number. */
uint64_t cds_weights_mark(const struct cds_model *model);
/** @return CDS_OK; CDS_CONFLICT: a file is not the one any more that the process was started with */
CDS_MUST_USE cds_rc cds_weights_unchanged(const struct cds_model *model, struct cds_err *reterr);
/** Path of a part of a model, from 0; index 0 is the model itself. @return false: it has no such part */
bool cds_weights_part(const char *path, unsigned index, char ret[static PATH_MAX]);
/** Notes in the head of a state the digest of all parts ("weights") and of each of its adapters ("sha256"). @return CDS_OK; CDS_SYSTEM */
CDS_MUST_USE cds_rc cds_weights_note(struct cds_weights_known *known, const char *path, const char *adapter_dir, cds_json *head,
                                     struct cds_err *reterr);
/** Holds the files against what was noted. @return CDS_OK; CDS_CONFLICT naming what is another now; CDS_SYSTEM */
CDS_MUST_USE cds_rc cds_weights_same(struct cds_weights_known *known, const char *path, const char *adapter_dir, const cds_json *head,
                                     struct cds_err *reterr);
