#include "apps/llmserver/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/base/fd.h"
#include "lib/base/pool.h"
#include "lib/base/str.h"
#include "lib/log/log.h"

/* A predecessor that was killed is gone within this time; the supervisor starts us at once. */
enum { LOCK_MS = 3000, LOCK_LOOK_US = 20000, PLACES_MAX = 8 * CDS_JOURNAL_PLACES };

struct cds_journal {
    int fd;
    unsigned count; /**< places */
    unsigned *free; /**< a stack of free places: the same few are written again and again */
    unsigned free_count;
    unsigned uncovered; /**< settlements that have no place */
    struct cds_pool *pool;
    struct cds_timer *sync;
    bool dirty, syncing; /**< written since the last sync began; one is under way */
    bool armed;          /**< the timer is set */
    int sync_errno;      /**< of the last sync; written by the pool's thread while syncing */
};

/* --- the disk ----------------------------------------------------------------------------------------------------------- */

static bool write_at(int fd, const unsigned char *data, size_t len, off_t at)
{
    while (len > 0) {
        ssize_t n = pwrite(fd, data, len, at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        data += n;
        len -= (size_t)n;
        at += n;
    }
    return true;
}

static bool read_all(int fd, unsigned char *data, size_t len)
{
    for (size_t at = 0; at < len;) {
        ssize_t n = pread(fd, data + at, len - at, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        at += (size_t)n;
    }
    return true;
}

static void wait_for_disk(void *user)
{
    struct cds_journal *journal = user;
    journal->sync_errno = fdatasync(journal->fd) == 0 ? 0 : errno;
}

static void arm(struct cds_journal *journal)
{
    if (journal->armed || journal->syncing)
        return;
    journal->armed = true;
    cds_timer_set(journal->sync, cds_now_ms() + CDS_JOURNAL_SYNC_MS);
}

static void on_synced(void *user)
{
    struct cds_journal *journal = user;
    journal->syncing = false;
    if (journal->sync_errno)
        cds_log(CDS_LOG_ERROR, "settlements that wait for the database are not safe from a loss of power: their journal cannot be synced",
                CDS_LI("errno", journal->sync_errno));
    if (journal->dirty)
        arm(journal);
}

static void on_sync(void *user)
{
    struct cds_journal *journal = user;
    journal->armed = false;
    if (!journal->dirty || journal->free_count == journal->count)
        return; /* the database was quicker */
    journal->syncing = cds_pool_submit(journal->pool, wait_for_disk, on_synced, journal) == CDS_OK;
    journal->dirty = !journal->syncing;
    if (journal->dirty)
        arm(journal);
}

/* --- places ------------------------------------------------------------------------------------------------------------- */

int cds_journal_put(struct cds_journal *journal, int place, const struct cds_journal_entry *entry)
{
    unsigned char bytes[CDS_JOURNAL_PLACE];
    int why = 0;
    if (!journal)
        return CDS_JOURNAL_NO_PLACE;
    cds_journal_place_write(entry, bytes);
    if (place == CDS_JOURNAL_NO_PLACE && journal->free_count > 0)
        place = (int)journal->free[--journal->free_count];
    if (place != CDS_JOURNAL_NO_PLACE) {
        if (write_at(journal->fd, bytes, sizeof(bytes), (off_t)place * CDS_JOURNAL_PLACE)) {
            journal->dirty = true;
            arm(journal);
            return place;
        }
        why = errno;
        journal->free[journal->free_count++] = (unsigned)place;
    }
    if (journal->uncovered++ == 0)
        cds_log(CDS_LOG_ERROR, "a settlement could not be written into the journal and is in memory only; nothing new is taken on until it is booked",
                CDS_LS("request_id", entry->request_id), CDS_LI("free_places", journal->free_count), CDS_LI("errno", why));
    return CDS_JOURNAL_NO_PLACE;
}

void cds_journal_drop(struct cds_journal *journal, int place)
{
    static const unsigned char zeros[CDS_JOURNAL_PLACE];
    if (!journal)
        return;
    if (place == CDS_JOURNAL_NO_PLACE) {
        journal->uncovered--;
        return;
    }
    if (!write_at(journal->fd, zeros, sizeof(zeros), (off_t)place * CDS_JOURNAL_PLACE))
        cds_log(CDS_LOG_WARN, "a booked settlement could not be taken out of the journal; the next start asks for it again, and it is booked once",
                CDS_LI("place", place), CDS_LI("errno", errno));
    journal->free[journal->free_count++] = (unsigned)place;
}

cds_rc cds_journal_room(const struct cds_journal *journal, unsigned open, struct cds_err *reterr)
{
    if (!journal || (journal->uncovered == 0 && open < journal->count))
        return CDS_OK;
    cds_fail(reterr, CDS_BUSY, __func__, "Too many answers wait to be booked in the token ledger.");
    cds_err_hint(reterr, "Try again in a few seconds.");
    cds_err_rule(reterr, "ledger.journal");
    if (reterr)
        reterr->retry_after_ms = 2000;
    return CDS_BUSY;
}

/* --- opening ------------------------------------------------------------------------------------------------------------ */

static cds_rc lock(int fd, const char *path, struct cds_err *reterr)
{
    for (unsigned waited_us = 0; flock(fd, LOCK_EX | LOCK_NB) != 0; waited_us += LOCK_LOOK_US) {
        if (errno == EWOULDBLOCK && waited_us < LOCK_MS * 1000) {
            usleep(LOCK_LOOK_US);
            continue;
        }
        if (errno != EWOULDBLOCK)
            return cds_fail_errno(reterr, errno, __func__, "The journal %s cannot be locked.", path);
        cds_fail(reterr, CDS_CONFLICT, __func__, "Another model server uses the journal %s.", path);
        return cds_err_hint(reterr, "End it, or give this one a data folder of its own.");
    }
    return CDS_OK;
}

/** A file that was just made is sure to be there after a loss of power only when its folder was synced. One that this user may enter and not read, as
 *  the studio's run/ is, cannot be: there the file's own fsync has to do, which takes a new name along on ext4, xfs and btrfs. */
static void sync_folder(const char *path)
{
    char folder[4096];
    cds_strcpy(folder, sizeof(folder), path);
    CDS_CLEANUP(cds_close_fd) int fd = open(dirname(folder), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 ? errno != EACCES : fsync(fd) != 0)
        cds_log(CDS_LOG_WARN, "the folder of the journal could not be synced", CDS_LI("errno", errno));
}

static cds_rc open_file(const char *path, int *ret, size_t *ret_bytes, struct cds_err *reterr)
{
    struct stat st;
    CDS_CLEANUP(cds_close_fd) int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return cds_fail_errno(reterr, errno, __func__, "The journal %s cannot be opened.", path);
    cds_rc rc = lock(fd, path, reterr);
    if (rc != CDS_OK)
        return rc;
    if (fstat(fd, &st) != 0)
        return cds_fail_errno(reterr, errno, __func__, "The journal %s cannot be read.", path);
    if (!S_ISREG(st.st_mode) || st.st_size > (off_t)PLACES_MAX * CDS_JOURNAL_PLACE) {
        cds_fail(reterr, CDS_CONFLICT, __func__, "%s is no journal of this program.", path);
        return cds_err_hint(reterr, "Move it away and start again.");
    }
    *ret = cds_steal_fd(&fd);
    *ret_bytes = (size_t)st.st_size;
    return CDS_OK;
}

/** What was found in a file. */
struct found {
    unsigned entries, bad;
    bool torn; /**< there is something behind the last whole place */
};

/** Looks at every place; bad ones become free ones in `good`, a copy of the file that was filled up with zeros. */
static struct found look(unsigned char *good, size_t bytes)
{
    struct found found = {0};
    struct cds_journal_entry entry;
    size_t whole = bytes / CDS_JOURNAL_PLACE * CDS_JOURNAL_PLACE;
    for (unsigned char *place = good; place < good + whole; place += CDS_JOURNAL_PLACE) {
        enum cds_journal_content is = cds_journal_place_read(place, CDS_JOURNAL_PLACE, &entry);
        found.entries += is == CDS_JOURNAL_ENTRY;
        found.bad += is == CDS_JOURNAL_DAMAGED || is == CDS_JOURNAL_FOREIGN;
        if (is == CDS_JOURNAL_DAMAGED || is == CDS_JOURNAL_FOREIGN)
            memset(place, 0, CDS_JOURNAL_PLACE);
    }
    found.torn = cds_journal_place_read(good + whole, bytes - whole, &entry) != CDS_JOURNAL_FREE;
    memset(good + whole, 0, bytes - whole);
    return found;
}

/** A copy of what cannot be read: whoever wrote it may read it. */
static cds_rc keep_aside(const char *path, const unsigned char *data, size_t bytes, unsigned bad, struct cds_err *reterr)
{
    char aside[4096];
    snprintf(aside, sizeof(aside), "%.4000s.damaged-%llu", path, (unsigned long long)cds_wall_ms());
    cds_rc rc = cds_write_file_atomic(aside, data, bytes, 0600, reterr);
    if (rc == CDS_OK)
        cds_log(
            CDS_LOG_ERROR,
            "places of the journal of settlements cannot be read; the file was kept, and their requests are booked with what the ledger had noted. "
            "Look at it with the version of the studio that wrote it, or compare the ids in it with the ledger, and delete it then",
            CDS_LS("kept_as", aside), CDS_LI("places", bad));
    return rc;
}

/** Reads the file into ret, count places, and brings it to that length. */
static cds_rc load(const char *path, int fd, size_t bytes, unsigned count, unsigned char **ret, struct cds_err *reterr)
{
    size_t full = (size_t)count * CDS_JOURNAL_PLACE;
    CDS_CLEANUP(cds_free_ptr) unsigned char *raw = malloc(bytes ? bytes : 1), *good = calloc(count, CDS_JOURNAL_PLACE);
    if (!raw || !good)
        // NOLINTNEXTLINE(clang-analyzer-unix.Malloc): freed at their declaration (CDS_CLEANUP)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory for the journal.");
    if (!read_all(fd, raw, bytes))
        return cds_fail_errno(reterr, errno, __func__, "The journal %s cannot be read.", path);
    memcpy(good, raw, bytes);
    struct found found = look(good, bytes);
    cds_rc rc = found.bad ? keep_aside(path, raw, bytes, found.bad, reterr) : CDS_OK;
    if (rc != CDS_OK)
        return rc;
    if (found.torn)
        cds_log(CDS_LOG_WARN, "the end of the journal of settlements was not whole and is cut", CDS_LI("bytes", bytes % CDS_JOURNAL_PLACE));
    if (found.entries)
        cds_log(CDS_LOG_WARN, "settlements of an earlier run are booked now", CDS_LI("settlements", found.entries));
    if ((found.bad || bytes != full) && (!write_at(fd, good, full, 0) || fsync(fd) != 0))
        return cds_fail_errno(reterr, errno, __func__, "The journal %s cannot be written.", path);
    if (bytes == 0)
        sync_folder(path);
    *ret = good;
    good = NULL;
    return CDS_OK;
}

static void tell(struct cds_journal *journal, const unsigned char *data, const struct cds_journal_options *options)
{
    for (unsigned place = journal->count; place-- > 0;) {
        struct cds_journal_entry entry;
        if (cds_journal_place_read(data + (size_t)place * CDS_JOURNAL_PLACE, CDS_JOURNAL_PLACE, &entry) == CDS_JOURNAL_ENTRY)
            options->found(options->user, &entry, (int)place);
        else
            journal->free[journal->free_count++] = place;
    }
}

cds_rc cds_journal_open(const struct cds_journal_options *options, struct cds_journal **ret, struct cds_err *reterr)
{
    struct cds_journal *journal = calloc(1, sizeof(*journal));
    CDS_CLEANUP(cds_free_ptr) unsigned char *data = NULL;
    size_t bytes = 0;
    if (!journal)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory for the journal.");
    journal->fd = -1;
    journal->count = options->places ? options->places : CDS_JOURNAL_PLACES;
    cds_rc rc = open_file(options->path, &journal->fd, &bytes, reterr);
    unsigned there = (unsigned)((bytes + CDS_JOURNAL_PLACE - 1) / CDS_JOURNAL_PLACE);
    if (there > journal->count)
        journal->count = there;
    if (rc == CDS_OK)
        rc = load(options->path, journal->fd, bytes, journal->count, &data, reterr);
    if (rc == CDS_OK && !(journal->free = calloc(journal->count, sizeof(*journal->free))))
        rc = cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory for the journal.");
    if (rc == CDS_OK)
        rc = cds_timer_add(options->loop, UINT64_MAX, on_sync, journal, &journal->sync);
    if (rc == CDS_OK)
        rc = cds_pool_new(options->loop, 1, 1, &journal->pool, reterr);
    if (rc != CDS_OK) {
        // NOLINTNEXTLINE(clang-analyzer-unix.Malloc): data is freed at its declaration (CDS_CLEANUP)
        cds_journal_close(&journal);
        return rc;
    }
    tell(journal, data, options);
    *ret = journal;
    return CDS_OK;
}

void cds_journal_close(struct cds_journal **journal)
{
    struct cds_journal *it = *journal;
    if (!it)
        return;
    if (it->pool)
        cds_pool_free(&it->pool);
    if (it->free && it->free_count < it->count && fdatasync(it->fd) != 0)
        cds_log(CDS_LOG_ERROR, "the journal of settlements could not be synced at the end", CDS_LI("errno", errno));
    cds_timer_remove(&it->sync);
    if (it->fd >= 0)
        close(it->fd);
    free(it->free);
    free(it);
    *journal = NULL;
}
