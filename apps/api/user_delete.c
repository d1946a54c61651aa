/* apps/api/user_delete.c: user.delete: the person is forgotten, and their projects go to somebody else or with them, as the admin says: neither is
 * assumed. Rows change in one statement (lib/db/forget.h); folders that go are removed by the sandbox behind it, once what ran in them has ended. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apps/api/message.h"
#include "lib/base/clock.h"
#include "lib/base/str.h"
#include "lib/db/forget.h"
#include "lib/log/log.h"
#include "lib/rpc/frame.h"

enum { FOLDER_MS = 60000, TRIES = 5, PAUSE_MS = 1000 };

/* ---- folders ---- */
/* One folder on its way out; lives until it is gone or was tried often enough. */
struct folder {
    struct api *api;
    struct cds_timer *timer;
    char id[37], request_id[37];
    int tries;
};

static void folder_free(struct folder *folder)
{
    cds_timer_remove(&folder->timer);
    free(folder);
}

static void on_removed(void *user, cds_json *result, const struct cds_err *err)
{
    struct folder *folder = user;
    if (err && err->code != CDS_CANCELLED && ++folder->tries < TRIES) {
        cds_timer_set(folder->timer, cds_now_ms() + PAUSE_MS);
        return;
    }
    if (err)
        cds_log(CDS_LOG_ERROR, "the folder of a deleted user's project could not be removed; remove it by hand", CDS_LS("project", folder->id),
                CDS_LS("error", err->message));
    folder_free(folder);
}

static void remove_folder(void *user)
{
    struct folder *folder = user;
    struct cds_err err;
    struct cds_peer *peer = sandbox_link_peer(folder->api->sandbox, &err);
    cds_json *params = cds_json_pack("{s:s,s:s}", "project", folder->id, "request_id", folder->request_id);
    if (peer && cds_peer_call(peer, "project.discard", params, cds_now_ms() + FOLDER_MS, on_removed, NULL, folder))
        return;
    if (peer)
        cds_fail(&err, CDS_BUSY, __func__, "The sandbox has more waiting than it can take.");
    else
        cds_json_unref(params);
    on_removed(folder, NULL, &err);
}

static void remove_folders(const struct call *call, const char *list)
{
    CDS_JSON_AUTO ids = NULL;
    if (cds_json_parse(list, strlen(list), &ids, NULL))
        return;
    for (size_t i = 0; i < cds_json_size(ids); i++) {
        struct folder *folder = calloc(1, sizeof(*folder));
        if (!folder)
            abort(); /* one small block; without memory the supervisor starts us afresh */
        folder->api = call->api;
        cds_strcpy(folder->id, sizeof(folder->id), cds_json_str(cds_json_at(ids, i)));
        cds_strcpy(folder->request_id, sizeof(folder->request_id), call->request_id);
        if (cds_timer_add(call->api->loop, cds_now_ms() + PAUSE_MS, remove_folder, folder, &folder->timer))
            abort();
    }
}

/* ---- the call ---- */
static void refuse(struct call *call, cds_rc code, const char *rule, const char *pointer, const char *message, const char *hint)
{
    struct cds_err err;
    cds_fail(&err, code, "user_delete", "%s", message);
    if (rule)
        cds_err_rule(&err, rule);
    if (pointer)
        cds_err_pointer(&err, "%s", pointer);
    cds_err_hint(&err, "%s", hint);
    call_fail(call, &err);
}

static void tell(struct call *call, const char *verdict, int64_t projects)
{
    char text[120];
    snprintf(text, sizeof(text), "This account has %lld project%s with files.", (long long)projects, projects == 1 ? "" : "s");
    if (cds_streq(verdict, "ok"))
        call_succeed(call, cds_json_pack("{s:s,s:b,s:I}", "user_id", cds_json_get_str(call->params, "user_id"), "deleted", 1, "projects",
                                         (long long)projects));
    else if (cds_streq(verdict, "last_admin"))
        refuse(call, CDS_CONFLICT, "user.last_admin", NULL, "This is the last active admin: without one nobody could manage the studio.",
               "Give somebody else the role admin first.");
    else if (cds_streq(verdict, "projects"))
        refuse(call, CDS_CONFLICT, "user.projects", NULL, text,
               "Say who gets them (projects_to: a user id), or that they are removed with all files (remove_projects: true).");
    else if (cds_streq(verdict, "no_heir"))
        refuse(call, CDS_BAD_PARAM, "user.heir", "/params/projects_to", "Projects go to another user of this studio who is not blocked.",
               "user.list names the users.");
    else if (cds_streq(verdict, "heir_full"))
        refuse(call, CDS_CONFLICT, "project.count", "/params/projects_to", "That user would have more projects than one account may have.",
               "Choose somebody else.");
    else
        refuse(call, CDS_NOT_FOUND, NULL, "/params/user_id", "There is no user with this id.", "user.list names the users.");
}

static void on_forgotten(void *user, const struct cds_rows *rows, const struct cds_err *err)
{
    struct call *call = call_queried(user, err);
    if (!call)
        return;
    remove_folders(call, cds_rows_str(rows, 0, 2));
    tell(call, cds_rows_str(rows, 0, 0), cds_rows_i64(rows, 0, 1, 0));
}

void user_delete(struct call *call)
{
    char most[16];
    struct cds_err err;
    bool remove = cds_json_is(cds_json_get(call->params, "remove_projects"), CDS_JSON_TRUE);
    const char *heir = cds_json_get_str(call->params, "projects_to");
    if (remove && heir) {
        refuse(call, CDS_BAD_PARAM, "user.heir", "/params/remove_projects", "Projects are handed over or removed, not both.",
               "Leave out one of the two.");
        return;
    }
    if (remove && !sandbox_link_peer(call->api->sandbox, &err)) { /* rather than rows without folders that nobody removes */
        call_fail(call, &err);
        return;
    }
    snprintf(most, sizeof(most), "%d", CDS_FORGET_PROJECTS_MAX);
    const char *params[] = {cds_json_get_str(call->params, "user_id"), heir, remove ? "t" : "f", most};
    call_query(call, cds_forget_sql, 4, params, on_forgotten);
}
