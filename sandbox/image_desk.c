/* sandbox/image_desk.c: see image_desk.h. The calls are in call_image.c. */
#include "sandbox/image_desk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/fd.h"
#include "lib/base/str.h"
#include "sandbox/confine/beneath.h"
#include "sandbox/image_maker.h"
#include "sandbox/image_pull.h"
#include "sandbox/micro_image.h"
#include "sandbox/wasm_digest.h"

#define WORK_FOLDER "making" /* no image's file has a name without an ending */
enum { QUEUE = 4, IMAGE_EXTRA = 64 << 20, RETRY_MS = 5000 };

struct image_work {
    struct image_desk *desk;
    struct image image; /* what it will be */
    char path[CDS_PATH_MAX + 1];
    int project_fd, source_fd, work_fd;
    bool folder, cancelled;
    struct image_pull *pull;
    cds_rc rc;
    struct cds_err err;
    image_added_fn *done;
    void *user;
};

struct image_desk {
    struct broker *broker;
    struct image_store store;
    struct image_maker *maker;
    struct cds_pool *pool;
    struct image_work *work; /* NULL: nothing is being added */
    char msb[600];
    uint64_t bytes_max;
    uint32_t wall_ms;
    unsigned count_max;
};

struct image_store *image_desk_store(struct image_desk *desk)
{
    return &desk->store;
}

static void work_free(struct image_work *w)
{
    cds_close_fd(&w->project_fd);
    cds_close_fd(&w->source_fd);
    cds_close_fd(&w->work_fd);
    image_pull_free(&w->pull);
    free(w);
}

/* Cancelling waits until it is back. */
static void to_thread(struct image_work *w, void (*run)(void *), void (*done)(void *))
{
    if (cds_pool_submit(w->desk->pool, run, done, w))
        abort(); /* nobody else uses the pool but the look at the disk, which waits for nothing */
}

/* ---- prepare: on the thread ---- */
static cds_rc clear_work(const struct image_desk *desk, struct cds_err *err)
{
    struct cds_path path;
    cds_rc rc = cds_path_parse_below(WORK_FOLDER, strlen(WORK_FOLDER), &path, err);
    while (!rc && (rc = cds_fs_delete(desk->store.dir_fd, &path, true, err)) == CDS_TOO_LARGE)
        rc = CDS_OK;
    return rc == CDS_NOT_FOUND ? CDS_OK : rc;
}

static cds_rc make_work(struct image_work *w, struct cds_err *err)
{
    const struct image_desk *desk = w->desk;
    const struct cds_job_identity *who = &desk->broker->host->who;
    cds_rc rc = clear_work(desk, err);
    if (rc)
        return rc;
    if (mkdirat(desk->store.dir_fd, WORK_FOLDER, 0700))
        return cds_fail_errno(err, errno, __func__, "The folder in which images are made cannot be made.");
    w->work_fd = openat(desk->store.dir_fd, WORK_FOLDER, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (w->work_fd < 0 || (who->change && fchown(w->work_fd, who->uid, who->gid)))
        return cds_fail_errno(err, errno, __func__, "The folder in which images are made cannot be given to the user of jobs.");
    return CDS_OK;
}

static cds_rc check_source(struct image_work *w, struct cds_err *err)
{
    struct stat st;
    if (fstat(w->source_fd, &st))
        return cds_fail_errno(err, errno, __func__, "The source of the image cannot be read.");
    w->folder = S_ISDIR(st.st_mode);
    if (!w->folder && !S_ISREG(st.st_mode)) {
        cds_fail(err, CDS_DENIED, __func__, "%.200s is neither a file nor a folder.", w->path);
        cds_err_rule(err, "fs.special");
        return CDS_DENIED;
    }
    if (!w->folder && (uint64_t)st.st_size > w->desk->bytes_max) {
        cds_fail(err, CDS_DENIED, __func__, "The archive is larger than the %llu MiB an image may have.",
                 (unsigned long long)(w->desk->bytes_max >> 20));
        cds_err_rule(err, "image.too_big");
        return CDS_DENIED;
    }
    cds_strcpy(w->image.kind, sizeof(w->image.kind), w->image.kind[0] ? w->image.kind : w->folder ? "folder" : "archive");
    return CDS_OK;
}

/* Of a project with the rights of jobs and beneath it; of the command line with ours, which are those of who typed it. */
static cds_rc open_source(struct image_work *w, struct cds_err *err)
{
    const struct cds_job_identity *who = &w->desk->broker->host->who;
    const int flags = O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
    cds_rc rc = CDS_OK;
    if (w->project_fd >= 0) {
        if ((rc = cds_fs_identity_enter(who, err)))
            return rc;
        rc = cds_beneath_open(w->project_fd, w->path, strlen(w->path), flags, &w->source_fd, err);
        cds_fs_identity_leave(who);
    } else if ((w->source_fd = open(w->path, flags)) < 0) {
        rc = errno == ENOENT ? cds_fail(err, CDS_NOT_FOUND, __func__, "There is no %.200s.", w->path)
                             : cds_fail_errno(err, errno, __func__, "%.200s cannot be opened.", w->path);
    }
    return rc ? rc : check_source(w, err);
}

static void prepare(void *user)
{
    struct image_work *w = user;
    w->rc = make_work(w, &w->err);
    if (!w->rc && w->path[0])
        w->rc = open_source(w, &w->err);
}

static void open_pulled(void *user)
{
    struct image_work *w = user;
    cds_strcpy(w->path, sizeof(w->path), IMAGE_PULL_ARCHIVE);
    w->source_fd = openat(w->work_fd, IMAGE_PULL_ARCHIVE, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    w->rc = w->source_fd < 0 ? cds_fail_errno(&w->err, errno, __func__, "msb wrote no archive.") : check_source(w, &w->err);
}

/* ---- take and clean: on the thread ---- */
static void digest_text(const uint8_t digest[static WASM_DIGEST], char ret[static IMAGE_DIGEST_LEN + 1])
{
    for (size_t i = 0; i < WASM_DIGEST; i++)
        snprintf(ret + 2 * i, 3, "%02x", digest[i]);
}

/* The jail wrote it, and nothing of the jail lives any more: from here on it is ours alone. Whatever else has its name goes with the folder. */
static cds_rc take_file(struct image_work *w, struct cds_err *err)
{
    const uint64_t most = w->desk->bytes_max + w->desk->bytes_max / 8 + IMAGE_EXTRA;
    char path[64];
    uint8_t digest[WASM_DIGEST];
    struct stat st;
    CDS_CLEANUP(cds_close_fd) int fd = openat(w->work_fd, "image", O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC), root = -1;
    if (fd < 0 || fstat(fd, &st) || !S_ISREG(st.st_mode) || st.st_nlink != 1 || st.st_size <= 0 || (uint64_t)st.st_size > most)
        return cds_fail(err, CDS_SYSTEM, __func__, "The image could not be made: what its jail left is no file of a fitting size.");
    if (fchown(fd, geteuid(), getegid()) || fchmod(fd, 0444) || fsync(fd))
        return cds_fail_errno(err, errno, __func__, "The image cannot be kept.");
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    cds_rc rc = micro_image_open_root(path, "Add the image again.", &root, err);
    if (rc)
        return rc;
    if (!wasm_sha256_file(path, digest))
        return cds_fail(err, CDS_SYSTEM, __func__, "The image cannot be read.");
    digest_text(digest, w->image.digest);
    w->image.size_bytes = (uint64_t)st.st_size;
    w->image.added_ms = (int64_t)time(NULL) * 1000;
    return image_commit(&w->desk->store, &w->image, w->work_fd, "image", err);
}

static void clean(void *user)
{
    struct image_work *w = user;
    struct cds_err ignored;
    (void)!clear_work(w->desk, &ignored); /* else before the next one */
}

static void take(void *user)
{
    struct image_work *w = user;
    w->rc = take_file(w, &w->err);
    clean(w);
}

/* ---- loop ---- */
static void tell(void *user)
{
    struct image_work *w = user;
    struct image_desk *desk = w->desk;
    if (!w->rc)
        w->rc = image_add(&desk->store, &w->image, &w->err);
    desk->work = NULL;
    w->done(w->user, w->rc ? NULL : &w->image, w->rc ? &w->err : NULL);
    work_free(w);
}

static void give_up(struct image_work *w)
{
    if (w->cancelled)
        w->rc = cds_fail(&w->err, CDS_CANCELLED, __func__, "The call was cancelled; nothing was added.");
    to_thread(w, clean, tell);
}

static void on_made(void *user, const struct image_facts *facts, const struct cds_err *err)
{
    struct image_work *w = user;
    if (err) {
        w->rc = err->code;
        w->err = *err;
    }
    if (err || w->cancelled) {
        give_up(w);
        return;
    }
    w->image.languages = facts->languages;
    w->image.entries = facts->entries;
    w->image.tree_bytes = facts->tree_bytes;
    to_thread(w, take, tell);
}

static void make(struct image_work *w)
{
    const struct image_desk *desk = w->desk;
    const struct image_plan plan = {.source_fd = w->source_fd,
                                    .folder = w->folder,
                                    .work_fd = w->work_fd,
                                    .bytes_max = desk->bytes_max,
                                    .entries_max = IMAGE_ENTRIES_MAX,
                                    .wall_ms = desk->wall_ms};
    if ((w->rc = image_maker_start(desk->maker, &plan, on_made, w, &w->err)))
        give_up(w);
}

static void on_opened(void *user)
{
    struct image_work *w = user;
    if (w->rc || w->cancelled)
        give_up(w);
    else
        make(w);
}

/* ---- registry ---- */
static void on_pulled(void *user, const struct cds_err *err)
{
    struct image_work *w = user;
    w->pull = NULL;
    if (err) {
        w->rc = err->code;
        w->err = *err;
    }
    if (err || w->cancelled)
        give_up(w);
    else
        to_thread(w, open_pulled, on_opened);
}

static cds_rc no_msb(const struct cds_engine_report *r, struct cds_err *err)
{
    char reason[220], remedy[110];
    cds_shorten(reason, sizeof(reason), r ? r->reason : "the engine micro is not there");
    const bool whole = *reason && reason[strlen(reason) - 1] == '.'; /* or shortened, with dots */
    cds_fail(err, CDS_DENIED, "image_pull", "Images are pulled by microsandbox (msb), which does not work here: %s%s", reason, whole ? "" : ".");
    cds_err_rule(err, "image.no_msb");
    return cds_err_hint(err, "Bring a file that docker save wrote, by image.add. %s%s", r && r->remedy[0] ? "Or: " : "",
                        cds_shorten(remedy, sizeof(remedy), r ? r->remedy : ""));
}

static void on_probed(void *user, const struct cds_engine_report *reports, size_t count)
{
    struct image_desk *desk = user;
    struct image_work *w = desk->work;
    const struct cds_engine_report *msb = NULL;
    if (!w)
        return;
    for (size_t i = 0; i < count; i++)
        if (cds_starts_with(reports[i].backend, "msb"))
            msb = &reports[i];
    const struct image_pull_plan plan = {.msb = desk->msb,
                                         .reference = w->image.from,
                                         .work_fd = w->work_fd,
                                         .bytes_max = desk->bytes_max,
                                         .pool = desk->pool,
                                         .wall_ms = desk->wall_ms};
    if (!w->cancelled && (!msb || !msb->works))
        w->rc = no_msb(msb, &w->err);
    else if (!w->cancelled)
        w->rc = image_pull_start(desk->broker->host, &plan, on_pulled, w, &w->pull, &w->err);
    if (w->rc || w->cancelled)
        give_up(w);
}

/* Whether msb works is found out by the engine, which boots a machine of it. */
static void ask_for_msb(void *user)
{
    struct image_work *w = user;
    struct cds_engine *micro = broker_engine(w->desk->broker, "micro");
    if (!w->rc && !w->cancelled)
        w->rc = micro ? micro->ops->probe(micro, on_probed, w->desk, &w->err) : no_msb(NULL, &w->err);
    if (w->rc || w->cancelled)
        give_up(w);
}

/* ---- begin and end ---- */
static cds_rc check_room(const struct image_desk *desk, const char *name, struct cds_err *reterr)
{
    cds_rc rc = image_name_check(name, "/params/name", reterr);
    if (rc)
        return rc;
    if (cds_streq(name, IMAGE_DEFAULT) || image_find(&desk->store, name)) {
        cds_fail(reterr, CDS_CONFLICT, __func__, "There is an image %s already.", name);
        cds_err_rule(reterr, "image.exists");
        return cds_err_hint(reterr, "Remove it first, or choose another name.");
    }
    if (desk->store.count >= desk->count_max) {
        cds_fail(reterr, CDS_EXHAUSTED, __func__, "There are %u images, as many as there may be.", desk->store.count);
        cds_err_rule(reterr, "image.count");
        return cds_err_hint(reterr, "Remove one, or let option image.max be larger.");
    }
    if (desk->work) {
        cds_fail(reterr, CDS_BUSY, __func__, "Another image is being added.");
        if (reterr)
            reterr->retry_after_ms = RETRY_MS;
        return CDS_BUSY;
    }
    return CDS_OK;
}

cds_rc image_desk_add(struct image_desk *desk, const struct image_source *source, image_added_fn *done, void *user, struct cds_err *reterr)
{
    const char *path = source->path ? source->path : source->host_path ? source->host_path : "";
    cds_rc rc = check_room(desk, source->name, reterr);
    struct image_work *w = rc ? NULL : calloc(1, sizeof(*w));
    if (!w) {
        if (source->project_fd >= 0)
            close(source->project_fd);
        return rc ? rc : cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    }
    *w = (struct image_work){.desk = desk, .project_fd = source->project_fd, .source_fd = -1, .work_fd = -1, .done = done, .user = user};
    cds_strcpy(w->path, sizeof(w->path), path);
    cds_strcpy(w->image.name, sizeof(w->image.name), source->name);
    cds_strcpy(w->image.from, sizeof(w->image.from), source->reference ? source->reference : path);
    w->image.from[cds_utf8_complete(w->image.from, strlen(w->image.from))] = '\0';
    cds_strcpy(w->image.kind, sizeof(w->image.kind), source->reference ? "registry" : "");
    desk->work = w;
    to_thread(w, prepare, source->reference ? ask_for_msb : on_opened);
    return CDS_OK;
}

void image_desk_cancel(struct image_desk *desk)
{
    struct image_work *w = desk->work;
    if (!w)
        return;
    w->cancelled = true; /* what is on the thread comes back first; a file that is in place by then stays */
    image_maker_cancel(desk->maker);
    if (w->pull)
        image_pull_cancel(w->pull);
}

/* What a crash left is removed before anything is added, so a start does not wait for it. */
static void sweep(void *user)
{
    struct cds_err ignored;
    (void)!clear_work(user, &ignored);
}

static void swept(void *user)
{
}

cds_rc image_desk_new(struct broker *broker, struct image_desk **ret, struct cds_err *reterr)
{
    const struct cds_config *c = broker->config;
    char dir[600], program[512], script[600];
    struct image_desk *desk = calloc(1, sizeof(*desk));
    if (!desk)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    *desk = (struct image_desk){.broker = broker,
                                .store = {.dir_fd = -1},
                                .bytes_max = cds_config_u64(c, CDS_OPT_IMAGE_BYTES),
                                .wall_ms = (uint32_t)cds_config_u64(c, CDS_OPT_IMAGE_MS),
                                .count_max = (unsigned)cds_config_u64(c, CDS_OPT_IMAGE_MAX)};
    cds_program_dir(program, sizeof(program));
    snprintf(script, sizeof(script), "%.500s/../share/image/make.py", program);
    snprintf(desk->msb, sizeof(desk->msb), "%.500s/../share/micro/msb/bin/msb", program);
    cds_rc rc = image_store_open(cds_config_path(c, "images", dir, sizeof(dir)), &desk->store, reterr);
    if (!rc)
        rc = cds_pool_new(broker->loop, 1, QUEUE, &desk->pool, reterr);
    if (!rc)
        rc = image_maker_new(broker->host, desk->pool, script, &desk->maker, reterr);
    if (!rc)
        rc = cds_pool_submit(desk->pool, sweep, swept, desk);
    if (rc)
        image_desk_free(&desk);
    else
        *ret = desk;
    return rc;
}

void image_desk_free(struct image_desk **where)
{
    struct image_desk *desk = *where;
    *where = NULL;
    if (!desk)
        return;
    if (desk->work)
        image_pull_free(&desk->work->pull); /* before the thread is waited for: it may be long */
    image_maker_free(&desk->maker);
    cds_pool_free(&desk->pool);
    if (desk->work) {
        struct image_work *w = desk->work;
        cds_fail(&w->err, CDS_CANCELLED, __func__, "The sandbox is ending; nothing was added.");
        w->done(w->user, NULL, &w->err);
        work_free(w);
    }
    image_store_close(&desk->store);
    free(desk);
}
