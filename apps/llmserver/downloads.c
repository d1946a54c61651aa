#include "apps/llmserver/downloads.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "apps/llmserver/audit.h"
#include "apps/llmserver/events.h"
#include "apps/llmserver/inspection.h"
#include "lib/base/clock.h"
#include "lib/base/random.h"
#include "lib/base/str.h"
#include "lib/config/fetch_command.h"
#include "lib/log/log.h"

enum { FINISH_MS = 60000 };

struct cds_download {
    struct cds_download *next;
    struct cds_downloads *all;
    struct cds_helper *helper; /* NULL: it has ended */
    char id[CDS_UUID_LEN + 1], user_id[CDS_UUID_LEN + 1];
    char source[CDS_SOURCE_BYTES_MAX + 1]; /* as asked; shown without what stands behind "?" */
    char state[24], file[200];
    int64_t received, total, part, parts;
    cds_json *facts, *end;     /* owned; end: the last line, NULL: none yet */
    struct cds_audit_act *act; /* NULL: none */
    bool cancelled;
    uint64_t started_wall_ms, ended_wall_ms;
};
struct cds_downloads {
    struct cds_llm *app;
    struct cds_download *first;
};

cds_rc cds_downloads_new(struct cds_llm *app, struct cds_downloads **ret, struct cds_err *reterr)
{
    struct cds_downloads *downloads = calloc(1, sizeof(*downloads));
    if (!downloads)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory.");
    downloads->app = app;
    *ret = downloads;
    return CDS_OK;
}

static void download_free(struct cds_download *download)
{
    cds_helper_free(&download->helper);
    cds_json_unref(download->facts);
    cds_json_unref(download->end);
    free(download);
}

void cds_downloads_free(struct cds_downloads **downloads)
{
    if (!*downloads)
        return;
    while ((*downloads)->first) {
        struct cds_download *download = (*downloads)->first;
        (*downloads)->first = download->next;
        download_free(download);
    }
    free(*downloads);
    *downloads = NULL;
}

cds_json *cds_download_state(const struct cds_download *d)
{
    char source[CDS_SOURCE_BYTES_MAX + 1];
    const char *message = cds_json_get_str(d->end, "message");
    cds_fetch_shown(d->source, source, sizeof(source));
    cds_json *state = cds_json_pack("{s:s,s:s,s:s,s:s,s:I,s:I,s:I,s:I,s:I,s:b}", "id", d->id, "source", source, "state", d->state, "file", d->file,
                                    "part", (long long)d->part, "parts", (long long)d->parts, "received_bytes", (long long)d->received, "total_bytes",
                                    (long long)d->total, "started_ms", (long long)d->started_wall_ms, "running", d->helper != NULL);
    cds_json_set(state, "percent", cds_json_int(d->total > 0 ? d->received * 100 / d->total : 0));
    cds_json_set(state, "facts", d->facts ? cds_json_ref(d->facts) : cds_json_null());
    if (message && cds_streq(d->state, "failed")) {
        cds_json *failure = cds_json_object();
        static const char *const members[] = {"code", "message", "hint", "rule"};
        for (size_t i = 0; i < CDS_ARRAY_LEN(members); i++)
            if (cds_json_get_str(d->end, members[i]))
                cds_json_set(failure, members[i], cds_json_string(cds_json_get_str(d->end, members[i])));
        cds_json_set(state, "failure", failure);
    } else {
        cds_json_set(state, "failure", cds_json_null());
    }
    return state;
}

cds_json *cds_downloads_list(const struct cds_downloads *downloads)
{
    cds_json *all = cds_json_array();
    for (const struct cds_download *d = downloads->first; d; d = d->next)
        cds_json_append(all, cds_download_state(d));
    return all;
}

static void tell(const struct cds_download *download)
{
    cds_events_tell(download->all->app->events, "download", cds_download_state(download));
}

static void on_line(void *user, const cds_json *line)
{
    struct cds_download *d = user;
    const char *state = cds_json_get_str(line, "state"), *file = cds_json_get_str(line, "file");
    const cds_json *facts = cds_json_get(line, "facts");
    if (facts && !d->facts)
        d->facts = cds_json_copy(facts);
    if (cds_json_get_str(line, "end")) {
        cds_json_unref(d->end);
        d->end = cds_json_copy(line);
        return; /* it is told when the process is gone */
    }
    if (state)
        cds_strcpy(d->state, sizeof(d->state), state);
    if (file)
        cds_strcpy(d->file, sizeof(d->file), file);
    d->received = cds_json_get_i64(line, "received", d->received);
    d->total = cds_json_get_i64(line, "total", d->total);
    d->part = cds_json_get_i64(line, "part", d->part);
    d->parts = cds_json_get_i64(line, "parts", d->parts);
    tell(d);
}

static void on_helper_exit(void *user, int status)
{
    struct cds_download *d = user;
    const char *end = cds_json_get_str(d->end, "end");
    bool there = cds_streq(end, "done") || cds_streq(end, "present");
    d->helper = NULL;
    d->ended_wall_ms = cds_wall_ms();
    if (there && d->total > 0)
        d->received = d->total;
    if (!there && !d->end && !d->cancelled)
        d->end = cds_json_pack("{s:s,s:s,s:s,s:s}", "end", "failed", "code", "system_error", "message",
                               "The process of the download ended before it was done.", "hint", "Start it again: it goes on where it stopped.");
    cds_strcpy(d->state, sizeof(d->state), there ? "done" : d->cancelled ? "cancelled" : "failed");
    const char *message = cds_json_get_str(d->end, "message");
    char source[CDS_SOURCE_BYTES_MAX + 1];
    cds_fetch_shown(d->source, source, sizeof(source));
    cds_log(there || d->cancelled ? CDS_LOG_INFO : CDS_LOG_WARN, "download ended", CDS_LS("download", d->id), CDS_LS("source", source),
            CDS_LS("state", d->state), CDS_LS("reason", message), CDS_LI("status", status));
    cds_audit_done(&d->act, there ? CDS_OK : d->cancelled ? CDS_CANCELLED : cds_rc_from_openai(cds_json_get_str(d->end, "code")));
    tell(d);
    if (there) {
        d->all->app->models.looked_ms = 0;
        cds_models_scan(d->all->app);
    }
}

/** The oldest ended ones go when there are too many. */
static void forget_old(struct cds_downloads *downloads)
{
    unsigned ended = 0;
    for (struct cds_download **link = &downloads->first; *link;) {
        struct cds_download *d = *link;
        if (d->helper || ++ended < CDS_DOWNLOADS_KEPT) {
            link = &d->next;
            continue;
        }
        *link = d->next;
        download_free(d);
    }
}

static cds_rc launch(struct cds_downloads *downloads, struct cds_download *d, const char *sha256, struct cds_err *reterr)
{
    static const struct cds_helper_ops ops = {.on_line = on_line, .on_exit = on_helper_exit};
    static struct cds_fetch_command command; /* large, and only one is built at a time */
    uint64_t ms = cds_config_u64(downloads->app->config, CDS_OPT_LLM_DOWNLOAD_MS);
    cds_fetch_command(downloads->app->config, downloads->app->models.fetch, downloads->app->models.dirs[0], "pull", d->source, sha256, ms, &command);
    return cds_helper_start(downloads->app->loop, command.argv, cds_now_ms() + ms + FINISH_MS, &ops, d, &d->helper, reterr);
}

cds_rc cds_download_start(struct cds_downloads *downloads, const struct cds_download_ask *ask, struct cds_download **ret, struct cds_err *reterr)
{
    unsigned running = 0;
    uint64_t most = cds_config_u64(downloads->app->config, CDS_OPT_LLM_DOWNLOADS);
    for (struct cds_download *d = downloads->first; d; d = d->next) {
        running += d->helper != NULL;
        if (d->helper && cds_streq(d->source, ask->source)) {
            *ret = d;
            return CDS_OK;
        }
    }
    if (running >= most) {
        cds_fail(reterr, CDS_BUSY, __func__, "%u downloads are running already, as many as there may be (llm.downloads).", running);
        reterr->retry_after_ms = 30000;
        return CDS_BUSY;
    }
    struct cds_download *d = calloc(1, sizeof(*d));
    if (!d)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory.");
    d->all = downloads;
    d->started_wall_ms = cds_wall_ms();
    cds_uuid7(d->id);
    cds_strcpy(d->source, sizeof(d->source), ask->source);
    cds_strcpy(d->user_id, sizeof(d->user_id), ask->user_id);
    cds_strcpy(d->state, sizeof(d->state), "resolving");
    cds_rc rc = launch(downloads, d, ask->sha256, reterr);
    if (rc != CDS_OK) {
        download_free(d);
        return rc;
    }
    d->act = ask->req ? cds_audit_later(downloads->app, ask->req) : NULL;
    d->next = downloads->first;
    downloads->first = d;
    forget_old(downloads);
    char source[CDS_SOURCE_BYTES_MAX + 1];
    cds_fetch_shown(d->source, source, sizeof(source));
    cds_log(CDS_LOG_INFO, "download asked", CDS_LS("download", d->id), CDS_LS("source", source), CDS_LS("user_id", d->user_id));
    tell(d);
    *ret = d;
    return CDS_OK;
}

cds_rc cds_download_cancel(struct cds_downloads *downloads, const char *id, struct cds_download **ret, struct cds_err *reterr)
{
    struct cds_download *d = downloads->first;
    while (d && !cds_streq(d->id, id))
        d = d->next;
    if (!d)
        return cds_fail(reterr, CDS_NOT_FOUND, __func__, "There is no download with this id.");
    if (!d->helper)
        return cds_fail(reterr, CDS_CONFLICT, __func__, "The download has ended already (%s).", d->state);
    d->cancelled = true;
    cds_strcpy(d->state, sizeof(d->state), "cancelled");
    cds_helper_stop(d->helper);
    *ret = d;
    return CDS_OK;
}
