#include "apps/llmserver/disk.h"

#include <limits.h>
#include <stdlib.h>
#include <sys/statvfs.h>

#include "lib/base/clock.h"
#include "lib/base/str.h"
#include "lib/log/log.h"

struct cds_disk {
    struct cds_timer *timer;
    char path[PATH_MAX];
    uint64_t min_bytes, free_bytes;
    cds_disk_free_fn *look;
};

enum { RETRY_MS = 30000 };

static uint64_t ask_filesystem(const char *path)
{
    struct statvfs fs;
    return statvfs(path, &fs) == 0 ? (uint64_t)fs.f_bavail * fs.f_frsize : UINT64_MAX;
}

static void look(struct cds_disk *disk)
{
    uint64_t before = disk->free_bytes;
    disk->free_bytes = disk->look(disk->path);
    bool had_room = before >= disk->min_bytes, has_room = disk->free_bytes >= disk->min_bytes;
    if (had_room && !has_room)
        cds_log(CDS_LOG_ERROR, "the disk of the database is nearly full: no new tokens are reserved", CDS_LS("path", disk->path),
                CDS_LI("free_bytes", disk->free_bytes), CDS_LI("min_bytes", disk->min_bytes));
    if (!had_room && has_room)
        cds_log(CDS_LOG_INFO, "the disk of the database has room again", CDS_LS("path", disk->path), CDS_LI("free_bytes", disk->free_bytes));
}

static void on_timer(void *user)
{
    struct cds_disk *disk = user;
    look(disk);
    cds_timer_set(disk->timer, cds_now_ms() + CDS_DISK_LOOK_MS);
}

cds_rc cds_disk_new(const struct cds_disk_options *options, struct cds_disk **ret, struct cds_err *reterr)
{
    struct cds_disk *disk = calloc(1, sizeof(*disk));
    if (!disk || cds_timer_add(options->loop, cds_now_ms() + CDS_DISK_LOOK_MS, on_timer, disk, &disk->timer) != CDS_OK) {
        free(disk);
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory to watch the disk.");
    }
    cds_strcpy(disk->path, sizeof(disk->path), options->path);
    disk->min_bytes = options->min_bytes;
    disk->free_bytes = UINT64_MAX;
    disk->look = options->free_bytes ? options->free_bytes : ask_filesystem;
    look(disk);
    if (disk->free_bytes == UINT64_MAX)
        cds_log(CDS_LOG_WARN, "the free space on the disk of the database is not known", CDS_LS("path", disk->path));
    *ret = disk;
    return CDS_OK;
}

void cds_disk_free(struct cds_disk **disk)
{
    if (!*disk)
        return;
    cds_timer_remove(&(*disk)->timer);
    free(*disk);
    *disk = NULL;
}

cds_rc cds_disk_room(const struct cds_disk *disk, struct cds_err *reterr)
{
    if (!disk || disk->free_bytes >= disk->min_bytes)
        return CDS_OK;
    cds_fail(reterr, CDS_EXHAUSTED, __func__,
             "The disk of the token ledger is nearly full (%llu MB free, %llu MB needed), so no tokens can be reserved.",
             (unsigned long long)(disk->free_bytes >> 20), (unsigned long long)(disk->min_bytes >> 20));
    cds_err_hint(reterr, "Ask an administrator to free space on the disk of the data folder; it is noticed within a second.");
    cds_err_rule(reterr, "disk.room");
    if (reterr)
        reterr->retry_after_ms = RETRY_MS;
    return CDS_EXHAUSTED;
}
