/* apps/llmserver/journal.h: settlements that the database has not confirmed yet, in a file beside this server.
 *
 * Source:  docs/adr/0083-settlements-on-disk.md; pwrite(2), fdatasync(2), flock(2).
 * Threads: loop thread only; one thread of its own waits for the disk.
 * The file is a row of places (journal_place.h), as many as settlements may wait, and never grows. A settlement is written into a free one before it
 * is sent, and its place is filled with zeros when the database has confirmed it. So what this process is killed with is there when it starts again.
 * What has waited CDS_JOURNAL_SYNC_MS is made durable against a loss of power too, all in one go; what is booked sooner needs no disk of ours.
 * A place may come back (a loss of power before the zeros were on the disk): booking is once per request id, so it is booked once.
 */
#pragma once

#include "apps/llmserver/journal_place.h"
#include "lib/base/loop.h"

enum {
    CDS_JOURNAL_PLACES = 4096, /**< settlements that may wait: a file of 2 MiB */
    CDS_JOURNAL_SYNC_MS = 200,
    CDS_JOURNAL_NO_PLACE = -1,
};

struct cds_journal;
/** Told once for each settlement of an earlier run, in no order; place is to be dropped when it is booked. entry is borrowed. */
typedef void cds_journal_found_fn(void *user, const struct cds_journal_entry *entry, int place);
struct cds_journal_options {
    struct cds_loop *loop;
    const char *path;            /**< made when it is not there, mode 0600; borrowed for the call */
    unsigned places;             /**< 0: CDS_JOURNAL_PLACES; a longer file keeps its length */
    cds_journal_found_fn *found; /**< called before cds_journal_open returns */
    void *user;
};
/**
 * Opens the journal and tells what is in it. A file of which a part is damaged, or of another version, is copied to <path>.damaged-<milliseconds>
 * first, with a line in the log that says what to do, and the good part is used; what stands behind the last whole place is cut.
 * @return CDS_OK; CDS_CONFLICT (another process has it, or it is no file of ours); CDS_EXHAUSTED (disk or memory); CDS_SYSTEM
 */
CDS_MUST_USE cds_rc cds_journal_open(const struct cds_journal_options *options, struct cds_journal **ret, struct cds_err *reterr);
/** Makes durable what still waits; it stays in the file. */
void cds_journal_close(struct cds_journal **journal);
/** Writes a settlement down, over what is in `place` or, for CDS_JOURNAL_NO_PLACE, into a free one. @return its place; CDS_JOURNAL_NO_PLACE when
 * there is none or the disk refuses (logged): it is in memory only then, and cds_journal_room says no until it is dropped. A NULL journal has no
 * places and refuses nothing. */
int cds_journal_put(struct cds_journal *journal, int place, const struct cds_journal_entry *entry);
/** The database has confirmed it, or nobody will book it. place as cds_journal_put returned it. */
void cds_journal_drop(struct cds_journal *journal, int place);
/** Is there a place for the settlement of one more request? open: requests that will each need one. @return CDS_OK; CDS_BUSY */
CDS_MUST_USE cds_rc cds_journal_room(const struct cds_journal *journal, unsigned open, struct cds_err *reterr);
