/* apps/fetch/pulling.h: what the files of a download share; pull.h is the way in.
 *
 * get.c: bytes of one part; bulk.c: several parts at once; head.c: headers and the gate; present.c: what is there already; tell.c: lines on `out`.
 * Threads: as said at each; `lock` guards what is said.
 */
#pragma once

#include <pthread.h>

#include "apps/fetch/part.h"
#include "apps/fetch/pull.h"

struct cds_pulling {
    const struct cds_pull_options *options;
    struct cds_reach reach;
    struct cds_part parts[CDS_PARTS_MAX]; /**< each belongs to the thread that gets it */
    bool present[CDS_PARTS_MAX];          /**< it has its name already */
    unsigned opened;
    atomic_uint_fast64_t sizes[CDS_PARTS_MAX], received[CDS_PARTS_MAX]; /**< of parts, for whoever tells */
    cds_json *facts;                                                    /**< of the first part, with the parameters of all; owned */
    atomic_bool stop;                                                   /**< a part has failed: the others end */
    pthread_mutex_t lock;
    const char *state; /**< under lock, like said_ms and what is written to `out` */
    uint64_t said_ms, said_received;
};

/* --- tell.c; any thread ------------------------------------------------------------------------------------------------- */
void cds_tell_state(struct cds_pulling *pulling, const char *state);
/** The state again, when more has come since it was told and that is a while ago. */
void cds_tell_progress(struct cds_pulling *pulling);
/** The last line. how: "done" or "present", when rc is CDS_OK. */
void cds_tell_end(struct cds_pulling *pulling, cds_rc rc, const char *how, const struct cds_err *err);
/** Notes how far a part is; by the thread that has it. */
void cds_tell_note(struct cds_pulling *pulling, unsigned index);

/* --- get.c; the thread that has the part, with a web of its own ---------------------------------------------------------- */
/** Gets bytes of a part until `until` of them are there, or all. @return CDS_OK; CDS_CANCELLED: another part has failed; errors of
 *  cds_web_fetch and cds_part_add */
CDS_MUST_USE cds_rc cds_get_until(struct cds_pulling *pulling, struct cds_web *web, unsigned index, uint64_t until, struct cds_err *reterr);

/* --- bulk.c; the first thread ------------------------------------------------------------------------------------------- */
/** Gets all parts whole, `parallel` at the same time. The first failure ends the others: their pieces stay. */
CDS_MUST_USE cds_rc cds_bulk_get(struct cds_pulling *pulling, struct cds_web *web, struct cds_err *reterr);

/* --- head.c; the first thread, while there is no other: it forks --------------------------------------------------------- */
/** First pieces of every part, before the bulk of any: headers, parameters of all against the gate. */
CDS_MUST_USE cds_rc cds_head_read(struct cds_pulling *pulling, struct cds_web *web, struct cds_err *reterr);
/** Is there room on the disk for what is still to come? */
CDS_MUST_USE cds_rc cds_head_room(const struct cds_pulling *pulling, struct cds_err *reterr);

/* --- present.c ------------------------------------------------------------------------------------------------------------ */
/** Is a file in the way, or the very one that is wanted? *ret_present: the latter. */
CDS_MUST_USE cds_rc cds_present_look(const struct cds_pulling *pulling, const struct cds_remote_file *file, bool *ret_present,
                                     struct cds_err *reterr);
/** SHA-256 that a file which is there must have: the hub's, or the one of its record; "": neither says. */
void cds_present_digest(const struct cds_pulling *pulling, const struct cds_remote_file *file, char ret[static CDS_SHA256_HEX + 1]);
/** A source that was fetched before needs no network to be found again. */
bool cds_present_offline(const struct cds_pulling *pulling, char name[static CDS_FILE_NAME_MAX + 1]);
