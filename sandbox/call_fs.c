/* sandbox/call_fs.c: fs.*, project.prepare and project.discard: parameters on the loop thread, work on a pool thread with the job's rights, answer on
 * the loop. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/str.h"
#include "lib/log/log.h"
#include "lib/metrics/metrics.h"
#include "sandbox/broker.h"

/* In the order of methods[]. */
enum kind { FS_LIST, FS_READ, FS_STAT, FS_WRITE, FS_CREATE, FS_RENAME, FS_DELETE, FS_PREPARE, FS_DISCARD };

static const struct {
    const char *name;
    enum kind kind;
    bool changes;
} methods[] = {{"fs.list", FS_LIST, false},    {"fs.read", FS_READ, false},           {"fs.stat", FS_STAT, false},
               {"fs.write", FS_WRITE, true},   {"fs.create", FS_CREATE, true},        {"fs.rename", FS_RENAME, true},
               {"fs.delete", FS_DELETE, true}, {"project.prepare", FS_PREPARE, true}, {"project.discard", FS_DISCARD, true}};

struct work {
    struct client *client;
    struct work *next;     /* in the queue of changes */
    bool queued;           /* it is in that queue */
    bool worked;           /* the writer has done it already, together with others */
    cds_json *id, *params; /* read only while a pool thread has it */
    enum kind kind;
    struct cds_path path, to;
    int project_fd;
    unsigned char *data; /* decoded content, owned */
    size_t data_len;
    struct cds_fs_write *writes; /* of the batch it began, still to be released; owned */
    size_t writes_count;
    cds_rc rc;
    struct cds_err err;
    struct cds_fs_info info;
    struct cds_fs_list list;
    struct cds_buf content;
};

static int find(const char *method)
{
    for (size_t i = 0; i < CDS_ARRAY_LEN(methods); i++)
        if (cds_streq(methods[i].name, method))
            return (int)i;
    return -1;
}

bool fs_call_knows(const char *method)
{
    return find(method) >= 0;
}

static void work_free(struct work *w)
{
    if (w->project_fd >= 0)
        close(w->project_fd);
    cds_json_unref(w->id);
    cds_json_unref(w->params);
    cds_fs_list_free(&w->list);
    cds_buf_free(&w->content);
    free(w->data);
    client_unref(w->client);
    free(w);
}

/* ---- changes in order, writes in batches ---- */
/* The writer does one job after the other; when it meets a write it does all writes that wait right behind it, too, so that the disk is asked
 * once for all of them. A change of another kind ends such a batch, so the order stays. */
struct fs_queue {
    pthread_mutex_t lock;
    struct work *first, **last;
};

cds_rc fs_queue_new(struct fs_queue **ret, struct cds_err *reterr)
{
    struct fs_queue *queue = calloc(1, sizeof(*queue));
    if (!queue)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    pthread_mutex_init(&queue->lock, NULL);
    queue->last = &queue->first;
    *ret = queue;
    return CDS_OK;
}

void fs_queue_free(struct fs_queue **queue)
{
    if (!*queue)
        return;
    pthread_mutex_destroy(&(*queue)->lock);
    free(*queue);
    *queue = NULL;
}

/* Loop thread, after the job was handed to the pool; the writer may have been faster. */
static void queue_add(struct fs_queue *queue, struct work *w)
{
    pthread_mutex_lock(&queue->lock);
    if (!w->worked) {
        w->queued = true;
        *queue->last = w;
        queue->last = &w->next;
    }
    pthread_mutex_unlock(&queue->lock);
}

/* Writer thread: takes w, and with a write all writes right behind it. 0: w was done in an earlier batch. */
static size_t queue_take(struct fs_queue *queue, struct work *w, struct work *batch[static CDS_FS_BATCH_MAX])
{
    size_t n = 0;
    pthread_mutex_lock(&queue->lock);
    if (!w->worked) {
        w->worked = true;
        batch[n++] = w;
        if (w->queued) { /* then it is the first: all before it are done */
            queue->first = w->next;
            while (w->kind == FS_WRITE && queue->first && queue->first->kind == FS_WRITE && n < CDS_FS_BATCH_MAX) {
                queue->first->worked = true;
                batch[n++] = queue->first;
                queue->first = queue->first->next;
            }
            if (!queue->first)
                queue->last = &queue->first;
        }
    }
    pthread_mutex_unlock(&queue->lock);
    return n;
}

/* ---- pool thread ---- */
static enum cds_fs_type wanted_type(const struct work *w)
{
    return cds_streq(cds_json_get_str(w->params, "type"), "dir") ? CDS_FS_DIR : CDS_FS_FILE;
}

static cds_rc do_work(struct work *w, struct cds_err *err)
{
    switch (w->kind) {
    case FS_LIST:
        return cds_fs_list(w->project_fd, &w->path, &w->list, err);
    case FS_READ:
        return cds_fs_read(w->project_fd, &w->path, &w->content, &w->info, err);
    case FS_STAT:
        return cds_fs_stat(w->project_fd, &w->path, &w->info, err);
    case FS_CREATE:
        return cds_fs_create(w->project_fd, &w->path, wanted_type(w), &w->info, err);
    case FS_RENAME:
        return cds_fs_rename(w->project_fd, &w->path, &w->to, err);
    case FS_DELETE:
        return cds_fs_delete(w->project_fd, &w->path, cds_json_true(cds_json_get(w->params, "recursive"), false), err);
    default:
        return cds_fail(err, CDS_INTERNAL, __func__, "No such file call.");
    }
}

/* The writes are released when their answers are on the way: it can take longer than the writing. */
static void write_batch(struct work *const *batch, size_t count)
{
    struct cds_fs_write *writes = calloc(count, sizeof(*writes));
    if (!writes)
        abort();
    for (size_t i = 0; i < count; i++) {
        const struct work *w = batch[i];
        const cds_json *content = cds_json_get(w->params, "content");
        writes[i] = (struct cds_fs_write){.project = w->project_fd,
                                          .path = &w->path,
                                          .data = w->data ? (const void *)w->data : (const void *)cds_json_str(content),
                                          .len = w->data ? w->data_len : cds_json_str_len(content),
                                          .if_version = cds_json_get_str(w->params, "if_version")};
    }
    cds_fs_write_many(writes, count);
    for (size_t i = 0; i < count; i++) {
        batch[i]->rc = writes[i].rc;
        batch[i]->err = writes[i].err;
        batch[i]->info = writes[i].info;
    }
    batch[0]->writes = writes;
    batch[0]->writes_count = count;
}

/* Writer thread. */
static void run_release(void *user)
{
    struct work *w = user;
    cds_fs_write_release(w->writes, w->writes_count);
    free(w->writes);
    w->writes = NULL;
}

/* Writer thread: one change, or a batch of writes. */
static void run_change(void *user)
{
    struct work *w = user, *batch[CDS_FS_BATCH_MAX];
    const struct broker *broker = w->client->broker;
    const struct cds_job_identity *who = &broker->host->who;
    struct cds_err err;
    size_t count = queue_take(broker->changes, w, batch);
    if (count == 0)
        return;
    if (w->kind == FS_PREPARE) {
        w->rc = broker_project_prepare(broker, cds_json_get_str(w->params, "project"), cds_json_get_str(w->params, "template"), &w->err);
        return;
    }
    if (w->kind == FS_DISCARD) {
        w->rc = broker_project_discard(broker, cds_json_get_str(w->params, "project"), &w->err);
        return;
    }
    cds_rc rc = cds_fs_identity_enter(who, &err);
    if (rc) {
        for (size_t i = 0; i < count; i++) {
            batch[i]->rc = rc;
            batch[i]->err = err;
        }
        return;
    }
    if (w->kind == FS_WRITE)
        write_batch(batch, count);
    else
        w->rc = do_work(w, &w->err);
    cds_fs_identity_leave(who);
}

/* Reader threads. */
static void run_read(void *user)
{
    struct work *w = user;
    const struct cds_job_identity *who = &w->client->broker->host->who;
    if ((w->rc = cds_fs_identity_enter(who, &w->err)))
        return;
    w->rc = do_work(w, &w->err);
    cds_fs_identity_leave(who);
}

/* ---- answers ---- */
static cds_json *entries_of(const struct cds_fs_list *list)
{
    cds_json *entries = cds_json_array();
    for (size_t i = 0; i < list->count; i++) {
        const struct cds_fs_entry *e = &list->entries[i];
        cds_json_append(entries, cds_json_pack("{s:s,s:s,s:I,s:I}", "name", e->name, "type", cds_fs_type_name(e->info.type), "size_bytes",
                                               (int64_t)e->info.size_bytes, "modified_ms", e->info.modified_ms));
    }
    return entries;
}

static cds_json *content_result(const struct work *w)
{
    const char *data = w->content.data ? w->content.data : "";
    cds_json *text = cds_utf8_valid(data, w->content.len) ? cds_json_stringn(data, w->content.len) : NULL; /* also NULL for a NUL byte */
    const char *encoding = text ? "utf-8" : "base64";
    if (!text) {
        char *base64 = malloc(cds_base64_len(w->content.len) + 1);
        text = base64 ? cds_json_stringn(base64, cds_base64(data, w->content.len, base64)) : NULL;
        free(base64);
    }
    return cds_json_pack("{s:s,s:o,s:s,s:I,s:s}", "path", w->path.text, "content", text, "encoding", encoding, "size_bytes", (int64_t)w->content.len,
                         "version", w->info.version);
}

static cds_json *result_of(const struct work *w)
{
    switch (w->kind) {
    case FS_LIST:
        return cds_json_pack("{s:s,s:o}", "path", w->path.text, "entries", entries_of(&w->list));
    case FS_READ:
        return content_result(w);
    case FS_STAT:
        return cds_json_pack("{s:s,s:s,s:I,s:I,s:s}", "path", w->path.text, "type", cds_fs_type_name(w->info.type), "size_bytes",
                             (int64_t)w->info.size_bytes, "modified_ms", w->info.modified_ms, "version", w->info.version);
    case FS_WRITE:
        return cds_json_pack("{s:s,s:I,s:s}", "path", w->path.text, "size_bytes", (int64_t)w->info.size_bytes, "version", w->info.version);
    case FS_CREATE:
        return cds_json_pack("{s:s,s:s,s:s}", "path", w->path.text, "type", cds_fs_type_name(w->info.type), "version", w->info.version);
    case FS_RENAME:
        return cds_json_pack("{s:s,s:s}", "from", w->path.text, "to", w->to.text);
    case FS_DELETE:
        return cds_json_pack("{s:s}", "path", w->path.text);
    default:
        return cds_json_object();
    }
}

/* What was refused by a rule is news for the caller; the log shouts only about what is ours. */
static void fail(struct work *w, const struct cds_err *err)
{
    cds_log(cds_rc_http(err->code) >= 500 ? CDS_LOG_ERROR : CDS_LOG_INFO, "file call",
            CDS_LS("request_id", cds_json_get_str(w->params, "request_id")), CDS_LS("method", methods[w->kind].name),
            CDS_LS("end", cds_rc_name(err->code)), CDS_LS("error", err->message), CDS_LS("rule", err->rule[0] ? err->rule : NULL),
            CDS_LS("detail", err->detail[0] ? err->detail : NULL));
    client_error(w->client, w->id, err);
}

static void on_released(void *user)
{
    work_free(user);
}

static void on_worked(void *user)
{
    struct work *w = user;
    if (w->rc)
        fail(w, &w->err);
    else
        client_result(w->client, w->id, result_of(w));
    if (w->writes && cds_pool_submit(w->client->broker->writer, run_release, on_released, w) == CDS_OK)
        return;
    if (w->writes) /* too much waits there: no place to be patient */
        run_release(w);
    work_free(w);
}

/* ---- loop thread: parameters ---- */
static cds_rc take_path(const struct work *w, const char *key, bool below, struct cds_path *ret, struct cds_err *err)
{
    const cds_json *value = cds_json_get(w->params, key);
    const char *text = cds_json_str(value);
    if (!text)
        return cds_fail(err, CDS_BAD_PARAM, __func__, "The parameter %s is missing.", key);
    cds_rc rc = below ? cds_path_parse_below(text, cds_json_str_len(value), ret, err) : cds_path_parse(text, cds_json_str_len(value), ret, err);
    if (rc)
        cds_err_pointer(err, "/params/%s", key);
    return rc;
}

static cds_rc take_content(struct work *w, struct cds_err *err)
{
    const cds_json *content = cds_json_get(w->params, "content");
    if (!cds_json_str(content))
        return cds_fail(err, CDS_BAD_PARAM, __func__, "The parameter content is missing.");
    if (!cds_streq(cds_json_get_str(w->params, "encoding"), "base64"))
        return CDS_OK;
    w->data = malloc(cds_json_str_len(content) + 1);
    if (!w->data)
        return cds_fail(err, CDS_EXHAUSTED, __func__, "Out of memory.");
    if (cds_base64_decode(cds_json_str(content), cds_json_str_len(content), w->data, &w->data_len)) {
        cds_fail(err, CDS_BAD_PARAM, __func__, "The content is not base64.");
        cds_err_pointer(err, "/params/content");
        return CDS_BAD_PARAM;
    }
    return CDS_OK;
}

static cds_rc take_params(struct work *w, struct cds_err *err)
{
    cds_rc rc;
    if (w->kind == FS_PREPARE || w->kind == FS_DISCARD)
        return CDS_OK;
    bool below = w->kind != FS_LIST && w->kind != FS_STAT;
    if ((rc = take_path(w, w->kind == FS_RENAME ? "from" : "path", below, &w->path, err)))
        return rc;
    if (w->kind == FS_RENAME && (rc = take_path(w, "to", true, &w->to, err)))
        return rc;
    if (w->kind == FS_WRITE && (rc = take_content(w, err)))
        return rc;
    return broker_project_open(w->client->broker, cds_json_get_str(w->params, "project"), &w->project_fd, err);
}

void fs_call(struct client *client, const struct cds_rpc_request *request)
{
    int i = find(request->method);
    struct cds_err err;
    struct work *w = calloc(1, sizeof(*w));
    if (!w)
        abort(); /* the supervisor starts us afresh */
    client_ref(client);
    *w = (struct work){.client = client, .kind = methods[i].kind, .project_fd = -1, .content = cds_buf_init(CDS_FS_FILE_MAX)};
    w->id = request->id ? cds_json_ref(request->id) : NULL;
    w->params = request->params ? cds_json_ref(request->params) : cds_json_object();
    cds_metric_add(CDS_M_FS_CALLS, methods[i].name, 1);
    cds_rc rc = take_params(w, &err);
    bool changes = methods[i].changes;
    if (!rc && cds_pool_submit(changes ? client->broker->writer : client->broker->readers, changes ? run_change : run_read, on_worked, w)) {
        rc = cds_fail(&err, CDS_BUSY, __func__, "%d file calls wait already.", BROKER_FS_QUEUE);
        err.retry_after_ms = 500;
    }
    if (rc) {
        fail(w, &err);
        work_free(w);
    } else if (changes) {
        queue_add(client->broker->changes, w);
    }
}
