/* sandbox/image_maker.c: see image_maker.h. */
#include "sandbox/image_maker.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/str.h"
#include "lib/json/json.h"
#include "sandbox/disk_watch.h"
#include "sandbox/image_store.h"
#include "sandbox/job.h"

enum { NUMBER_TEXT = 24, STDERR_MAX = 160, TMP_BYTES = 16 << 20, IMAGE_OVERHEAD = 64 << 20 };
static const char python[] = "/usr/bin/python3";
static const char *const mkfs[] = {"/usr/bin/mkfs.erofs", "/usr/sbin/mkfs.erofs", "/sbin/mkfs.erofs"};

struct image_maker {
    struct jail_engine jail; /* first: it is the engine of one job at a time */
    struct cds_pool *pool;
    char script[600];
    struct cds_job *job; /* NULL: nothing runs */
    struct disk_watch *disk;
    const struct image_plan *plan; /* while it is started */
    uint32_t wall_ms;
    char bytes_text[NUMBER_TEXT], entries_text[NUMBER_TEXT];
    char said[JAIL_SAID_MAX], words[STDERR_MAX + 1]; /* what it reported, and the begin of its standard error */
    size_t said_len, words_len;
    image_maker_fn *done;
    void *user;
};

/* ---- what the jail is told ---- */
static cds_rc command(struct jail_engine *base, const struct cds_job_spec *spec, struct jail_command *ret, struct cds_err *reterr)
{
    static const char *const env[] = {"PATH=/usr/bin:/usr/sbin:/bin:/sbin", "LANG=C.UTF-8", "TMPDIR=/tmp", NULL};
    struct image_maker *maker = (struct image_maker *)base;
    const struct image_plan *plan = maker->plan;
    char link[64];
    const char *const argv[] = {
        python, "-I", "-B", "/opt/make.py", plan->folder ? "/opt/source" : "5", "/work", maker->bytes_text, maker->entries_text, "4"};
    memcpy(ret->argv, argv, sizeof(argv));
    ret->argv[CDS_ARRAY_LEN(argv)] = NULL;
    ret->reports = true;
    ret->env = env;
    ret->file_bytes = plan->bytes_max + plan->bytes_max / 8 + IMAGE_OVERHEAD; /* the image of the largest tree */
    ret->binds[ret->bind_count++] = (struct cds_jail_bind){.from = maker->script, .to = "make.py"};
    if (!plan->folder) {
        ret->gives = true;
        ret->give_fds[0] = ret->give_fds[1] = plan->source_fd;
        return CDS_OK;
    }
    snprintf(link, sizeof(link), "/proc/self/fd/%d", plan->source_fd);
    ssize_t n = readlink(link, ret->path, sizeof(ret->path) - 1);
    if (n <= 0)
        return cds_fail_errno(reterr, errno, __func__, "The folder of the image cannot be found.");
    ret->path[n] = '\0';
    ret->binds[ret->bind_count++] = (struct cds_jail_bind){.from = ret->path, .to = "source", .of = plan->source_fd};
    return CDS_OK;
}

static void keep_report(struct jail_engine *base, const char *said, size_t len, struct cds_job_result *result)
{
    struct image_maker *maker = (struct image_maker *)base;
    maker->said_len = len < sizeof(maker->said) ? len : sizeof(maker->said);
    memcpy(maker->said, said, maker->said_len);
}

/* ---- what it reports ---- */
static cds_rc refused(const cds_json *report, struct cds_err *reterr)
{
    static const char *const rules[] = {"image.malformed", "image.entry", "image.too_big", "image.too_many",
                                        "image.empty",     "image.disk",  "image.failed"};
    const char *rule = cds_json_get_str(report, "rule"), *message = cds_json_get_str(report, "message");
    size_t at = 0;
    while (at < CDS_ARRAY_LEN(rules) && !cds_streq(rules[at], rule))
        at++;
    if (at == CDS_ARRAY_LEN(rules))
        return cds_fail(reterr, CDS_SYSTEM, __func__, "The image could not be made: the program that makes it gave no reason.");
    char words[241];
    cds_shorten(words, sizeof(words), message);
    for (char *c = words; *c; c++)
        if (*c < ' ' || *c > '~')
            *c = '?'; /* the jail is hostile: it may be shown on a terminal */
    cds_fail(reterr, cds_streq(rule, "image.disk") ? CDS_EXHAUSTED : CDS_DENIED, __func__, "The image was not taken: %s.", words);
    cds_err_rule(reterr, rules[at]);
    return cds_streq(rule, "image.disk") ? CDS_EXHAUSTED : CDS_DENIED;
}

cds_rc image_report_parse(const char *text, size_t len, struct image_facts *ret, struct cds_err *reterr)
{
    CDS_JSON_AUTO report = NULL;
    struct image_facts facts = {.languages = 0};
    if (cds_json_parse(text, len, &report, NULL) || !cds_json_is(report, CDS_JSON_OBJECT))
        return refused(NULL, reterr);
    if (cds_json_get(report, "rule"))
        return refused(report, reterr);
    const cds_json *list = cds_json_get(report, "languages");
    for (size_t k = 0; k < cds_json_size(list) && k < IMAGE_LANGUAGES; k++)
        for (unsigned i = 0; i < IMAGE_LANGUAGES; i++)
            if (cds_streq(cds_json_str(cds_json_at(list, k)), image_language(i)))
                facts.languages |= 1U << i;
    const int64_t entries = cds_json_get_i64(report, "entries", -1), bytes = cds_json_get_i64(report, "bytes", -1);
    if (!facts.languages || entries < 0 || bytes < 0)
        return refused(NULL, reterr);
    facts.entries = (uint64_t)entries;
    facts.tree_bytes = (uint64_t)bytes;
    *ret = facts;
    return CDS_OK;
}

/* ---- its end ---- */
static cds_rc judge(const struct image_maker *maker, const struct cds_job_result *r, struct image_facts *facts, struct cds_err *err)
{
    switch (r->end) {
    case CDS_END_OK:
    case CDS_END_EXIT:
        if (maker->said_len)
            return image_report_parse(maker->said, maker->said_len, facts, err);
        cds_fail(err, CDS_SYSTEM, __func__, "The image could not be made: the program that makes it ended with exit code %d.", r->exit_code);
        cds_err_detail(err, "%s", maker->words);
        return CDS_SYSTEM;
    case CDS_END_CANCELLED:
        return cds_fail(err, CDS_CANCELLED, __func__, "The call was cancelled; nothing was added.");
    case CDS_END_WALL_TIME:
    case CDS_END_CPU_TIME:
        cds_fail(err, CDS_TIMED_OUT, __func__, "The image was not made within %u s; nothing was added.", maker->wall_ms / 1000);
        return cds_err_hint(err, "Take a smaller image, or let option image.ms be larger.");
    case CDS_END_MEMORY:
        cds_fail(err, CDS_DENIED, __func__, "The image was not taken: reading it takes more memory than the %d MiB it may.",
                 IMAGE_MEMORY_BYTES >> 20);
        cds_err_rule(err, "image.malformed");
        return CDS_DENIED;
    case CDS_END_DISK:
        cds_fail(err, CDS_EXHAUSTED, __func__, "The image was not taken: the disk is nearly full, or it is larger than it said.");
        cds_err_rule(err, "image.disk");
        return CDS_EXHAUSTED;
    default:
        cds_fail(err, CDS_SYSTEM, __func__, "The image could not be made (%s). %.200s", cds_run_end_name(r->end), r->reason);
        cds_err_detail(err, "%s", maker->words);
        return CDS_SYSTEM;
    }
}

static void on_output(void *user, int stream, const char *data, size_t len)
{
    struct image_maker *maker = user;
    for (size_t i = 0; i < len && maker->words_len < STDERR_MAX; i++)
        maker->words[maker->words_len++] = data[i] >= ' ' && data[i] < 127 ? data[i] : ' ';
}

static void on_end(void *user, const struct cds_job_result *result)
{
    struct image_maker *maker = user;
    struct image_facts facts = {.languages = 0};
    struct cds_err err = {0};
    maker->job = NULL;
    disk_watch_stop(&maker->disk);
    cds_rc rc = judge(maker, result, &facts, &err);
    image_maker_fn *done = maker->done;
    done(maker->user, &facts, rc ? &err : NULL);
}

static void on_disk_full(void *user)
{
    struct image_maker *maker = user;
    if (maker->job)
        jail_job_kill(maker->job, CDS_END_DISK);
}

/* ---- start ---- */
static cds_rc check_programs(struct cds_err *reterr)
{
    const char *missing = access(python, X_OK) ? python : "mkfs.erofs";
    bool mkfs_found = false;
    for (size_t i = 0; i < CDS_ARRAY_LEN(mkfs); i++)
        mkfs_found = mkfs_found || access(mkfs[i], X_OK) == 0;
    if (missing != python && mkfs_found)
        return CDS_OK;
    cds_fail(reterr, CDS_UNAVAILABLE, __func__, "Images cannot be made on this machine: %s is not installed.", missing);
    return cds_err_hint(reterr, "An admin can install what is missing with: apt-get install python3 erofs-utils");
}

cds_rc image_maker_start(struct image_maker *maker, const struct image_plan *plan, image_maker_fn *done, void *user, struct cds_err *reterr)
{
    static const struct cds_job_events events = {on_output, on_end};
    const struct sandbox_host *host = maker->jail.host;
    const struct cds_job_spec spec = {.language = "image",
                                      .project_fd = plan->work_fd,
                                      .access = CDS_PROJECT_READ_WRITE,
                                      .limits = {.wall_ms = plan->wall_ms,
                                                 .cpu_ms = plan->wall_ms,
                                                 .memory_bytes = IMAGE_MEMORY_BYTES,
                                                 .output_bytes = JAIL_SAID_MAX,
                                                 .max_tasks = IMAGE_TASKS,
                                                 .tmp_bytes = TMP_BYTES}};
    struct cds_job *job = NULL;
    cds_rc rc = check_programs(reterr);
    if (rc)
        return rc;
    if (maker->job)
        return cds_fail(reterr, CDS_BUSY, __func__, "Another image is being made.");
    maker->said_len = maker->words_len = 0;
    memset(maker->words, 0, sizeof(maker->words));
    maker->wall_ms = plan->wall_ms;
    snprintf(maker->bytes_text, sizeof(maker->bytes_text), "%llu", (unsigned long long)plan->bytes_max);
    snprintf(maker->entries_text, sizeof(maker->entries_text), "%u", plan->entries_max);
    if ((rc = jail_job_acquire(&maker->jail.base, &spec, &job, reterr)))
        return rc;
    maker->done = done;
    maker->user = user;
    maker->plan = plan;
    rc = jail_job_exec(job, &spec, &events, maker, reterr);
    maker->plan = NULL;
    if (rc)
        return rc;
    maker->job = job;
    /* The tree, and the image made of it. What the program counts itself is looked after, since what it reads may have taken it over. */
    const uint64_t most = 2 * plan->bytes_max + plan->bytes_max / 8 + IMAGE_OVERHEAD + (uint64_t)plan->entries_max * 4096;
    if (disk_watch_start_limits(host->loop, maker->pool, &host->who, plan->work_fd, most, plan->entries_max + 1000ULL, on_disk_full, maker,
                                &maker->disk, reterr))
        jail_job_kill(job, CDS_END_ENGINE_FAILED); /* done tells it */
    return CDS_OK;
}

void image_maker_cancel(struct image_maker *maker)
{
    if (maker->job)
        jail_job_kill(maker->job, CDS_END_CANCELLED);
}

cds_rc image_maker_new(struct sandbox_host *host, struct cds_pool *pool, const char *script, struct image_maker **ret, struct cds_err *reterr)
{
    static const struct cds_engine_ops ops = {.name = "image"};
    static const struct jail_hooks hooks = {.backend = "jail", .boundary = "process", .command = command, .verdict = keep_report};
    struct image_maker *maker = calloc(1, sizeof(*maker));
    if (!maker)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    maker->jail = (struct jail_engine){.base = {&ops}, .host = host, .hooks = &hooks};
    maker->pool = pool;
    cds_strcpy(maker->script, sizeof(maker->script), script);
    *ret = maker;
    return CDS_OK;
}

void image_maker_free(struct image_maker **maker)
{
    if (!*maker)
        return;
    disk_watch_stop(&(*maker)->disk);
    jail_jobs_end(&(*maker)->jail);
    free(*maker);
    *maker = NULL;
}
