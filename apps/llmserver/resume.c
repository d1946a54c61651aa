/* apps/llmserver/resume.c: a client comes back for the events of its stream. */
#include <stdlib.h>
#include <string.h>

#include "apps/llmserver/app.h"
#include "apps/llmserver/replay.h"
#include "lib/base/random.h"
#include "lib/base/str.h"

/** Number of the last event the client has: "Last-Event-ID", or an argument of that name. -1: it has none. */
static cds_rc last_event(const struct cds_http_req *req, const char *argument, int64_t *ret, struct cds_err *err)
{
    const char *text = cds_http_header(req, "Last-Event-ID");
    uint64_t number;
    if (!text)
        text = cds_http_query(req, argument);
    *ret = -1;
    if (!text || !*text)
        return CDS_OK;
    if (cds_parse_u64(text, 0, INT64_MAX, &number) != CDS_OK) {
        cds_fail(err, CDS_BAD_PARAM, __func__, "\"%.40s\" is not the id of an event; they are numbers from 0 on.", text);
        cds_err_pointer(err, "/%s", argument);
        return CDS_BAD_PARAM;
    }
    *ret = (int64_t)number;
    return CDS_OK;
}

static void read_on(struct cds_llm *app, struct cds_http_req *req, const struct cds_credential *credential, const char *id, const char *argument)
{
    const char *user_id = credential->claims.user_id;
    struct cds_err err = {0};
    int64_t after = -1;
    cds_rc rc = cds_credential_need(credential, CDS_ROLE_DEVELOPER, "text generation", &err);
    /* An administrator may cancel what others ask; what they are told is theirs alone. */
    struct cds_replay *replay = rc == CDS_OK ? cds_replay_find(app->replays, user_id, id) : NULL;
    if (rc == CDS_OK && !replay) {
        rc = cds_fail(&err, CDS_NOT_FOUND, __func__, "No stream of yours with this id is kept.");
        cds_err_hint(&err, "A stream is kept while it runs and a while after its end, if it was asked for with \"resumable\": true.");
    }
    /* What this credential may not ask it may not read either: the stream may have been begun with another key, or before a rule was changed. */
    if (rc == CDS_OK && replay)
        rc = cds_credential_model(credential, cds_replay_model(replay), &err);
    if (rc == CDS_OK)
        rc = last_event(req, argument, &after, &err);
    if (rc == CDS_OK && replay)
        rc = cds_replay_has(replay, after, &err);
    if (rc != CDS_OK || !replay) {
        cds_routes_fail(req, user_id, &err);
        return;
    }
    cds_routes_log(req, user_id, 200);
    cds_access_adopt(app, replay, credential);
    cds_replay_read(replay, req, after);
}

bool cds_resume_route(struct cds_llm *app, struct cds_http_req *req, const struct cds_credential *credential)
{
    static const char requests[] = "/v1/requests/", events[] = "/events", responses[] = "/v1/responses/";
    const char *path = cds_http_path(req);
    size_t len = strlen(path), fixed = sizeof(requests) - 1 + sizeof(events) - 1;
    if (!cds_streq(cds_http_method(req), "GET"))
        return false;
    if (cds_starts_with(path, requests) && len == fixed + CDS_UUID_LEN && cds_streq(path + len - (sizeof(events) - 1), events)) {
        char id[CDS_UUID_LEN + 1];
        memcpy(id, path + sizeof(requests) - 1, CDS_UUID_LEN);
        id[CDS_UUID_LEN] = '\0';
        read_on(app, req, credential, id, "after");
        return true;
    }
    /* OpenAI's name for the same: only the stream of a response can be had again, not the response. */
    if (!cds_starts_with(path, responses) || strchr(path + sizeof(responses) - 1, '/') || !cds_streq(cds_http_query(req, "stream"), "true"))
        return false;
    read_on(app, req, credential, path + sizeof(responses) - 1, "starting_after");
    return true;
}
