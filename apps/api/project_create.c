/* apps/api/project_create.c: one more project: a folder at the sandbox and a row in the database.
 *
 * First a look whether there is room, then the folder, then the row, so that a row always has its folder. A folder whose row is refused, or
 * whose caller left before there was one, is removed again: the work outlives its call. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apps/api/message.h"
#include "lib/base/clock.h"
#include "lib/base/random.h"
#include "lib/base/str.h"
#include "lib/log/log.h"
#include "lib/rpc/frame.h"

enum { PROJECTS_MAX = 200, FOLDER_MS = 10000 };
/* What project_add answers (database/migrations/0007_project_add.sql). */
enum added { ADDED_NO_USER, ADDED, ADDED_NAME_TAKEN, ADDED_FULL };

struct create {
    struct api *api;
    struct call *call; /* NULL once it is gone */
    char user_id[37], id[37], request_id[37], name[512], template_name[40], most[16];
};

/* ---- ends ---- */
static struct call *let_go(struct create *create)
{
    struct call *call = create->call;
    if (call) {
        call->leaf = NULL;
        call->leaf_drop = NULL;
    }
    free(create);
    return call;
}

static void fail(struct create *create, const struct cds_err *err)
{
    struct cds_err copy = *err;
    struct call *call = let_go(create);
    if (call)
        call_fail(call, &copy);
}

static void refuse(struct create *create, enum added why)
{
    struct cds_err err;
    if (why != ADDED_NO_USER && create->call && cds_streq(create->call->method->name, "project.list")) {
        /* The sample was made by a call that ran at the same time: list what is there. */
        project_list(let_go(create));
        return;
    }
    if (why == ADDED_NO_USER) {
        cds_fail(&err, CDS_UNAUTHENTICATED, __func__, "This account does not exist any more.");
    } else if (why == ADDED_NAME_TAKEN) {
        cds_fail(&err, CDS_CONFLICT, __func__, "You have a project of this name already.");
        cds_err_hint(&err, "Choose another name.");
        cds_err_pointer(&err, "/params/name");
    } else {
        cds_fail(&err, CDS_CONFLICT, __func__, "You have %s projects already, the most that one account may have.", create->most);
        cds_err_rule(&err, "project.count");
    }
    fail(create, &err);
}

/* The caller left, or its deadline passed. */
static void forget_call(struct call *call)
{
    ((struct create *)call->leaf)->call = NULL;
    call->leaf = NULL;
}

/* ---- the folder goes again ---- */
static void on_discarded(void *user, cds_json *result, const struct cds_err *err)
{
    char *id = user;
    if (err)
        cds_log(CDS_LOG_WARN, "the folder of a project that came to nothing stays", CDS_LS("project", id), CDS_LS("error", err->message));
    free(id);
}

/* The sandbox changes folders in the order of the calls: this comes behind a preparation that is still under way. */
static void discard(const struct create *create)
{
    struct cds_err gone;
    struct cds_peer *peer = create->api->sandbox ? sandbox_link_peer(create->api->sandbox, NULL) : NULL;
    char *id = strdup(create->id);
    cds_fail(&gone, CDS_UNAVAILABLE, __func__, "The sandbox is not reachable.");
    if (!id || !peer ||
        !cds_peer_call(peer, "project.discard", cds_json_pack("{s:s,s:s}", "project", create->id, "request_id", create->request_id),
                       cds_now_ms() + FOLDER_MS, on_discarded, NULL, id))
        on_discarded(id, NULL, &gone);
}

/* ---- the row ---- */
static void on_added(void *user, const struct cds_rows *rows, const struct cds_err *err)
{
    struct create *create = user;
    if (err) {
        /* Nobody knows whether the row is there: a folder without a row costs a little room, a row without its folder is a broken project. */
        bool unknown = cds_streq(err->rule, "db.unknown_outcome") || err->code == CDS_TIMED_OUT || err->code == CDS_CANCELLED;
        if (!unknown)
            discard(create);
        fail(create, err);
        return;
    }
    int64_t code = cds_rows_i64(rows, 0, 0, ADDED_NO_USER);
    if (code != ADDED) {
        discard(create);
        refuse(create, (enum added)code);
        return;
    }
    cds_json *project = cds_json_pack("{s:s,s:s,s:s}", "id", create->id, "name", create->name, "created_at", cds_rows_str(rows, 0, 1));
    struct call *call = let_go(create);
    if (call && cds_streq(call->method->name, "project.create")) {
        call_succeed(call, project);
        return;
    }
    cds_json_unref(project); /* nobody waits for it, or for the list with it */
    if (call)
        project_list(call);
}

static void on_prepared(void *user, cds_json *result, const struct cds_err *err)
{
    static const char sql[] = "SELECT code, to_char(made_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')"
                              " FROM project_add($1::uuid, $2::uuid, $3, $4, $5::integer)";
    struct create *create = user;
    struct cds_err failed;
    const char *params[] = {create->user_id, create->id, create->name, create->template_name, create->most};
    if (err && err->code != CDS_TIMED_OUT) {
        fail(create, err); /* a preparation that fails leaves nothing */
    } else if (err || !create->call) {
        discard(create);
        cds_fail(&failed, CDS_TIMED_OUT, __func__, "The sandbox did not make the folder of the project in time.");
        fail(create, &failed);
    } else if (cds_dbq_exec(create->api->db, sql, 5, params, cds_now_ms() + API_DB_MS, on_added, create)) {
        discard(create);
        call_database_full(let_go(create));
    }
}

/* ---- the folder ---- */
static void prepare(struct create *create)
{
    struct cds_err err;
    struct cds_peer *peer = sandbox_link_peer(create->api->sandbox, &err);
    cds_json *params = cds_json_pack("{s:s,s:s,s:s}", "project", create->id, "template", create->template_name, "request_id", create->request_id);
    if (peer && cds_peer_call(peer, "project.prepare", params, cds_now_ms() + FOLDER_MS, on_prepared, NULL, create))
        return;
    if (peer) {
        cds_fail(&err, CDS_BUSY, __func__, "The sandbox has more waiting than it can take.");
        err.retry_after_ms = 1000;
    } else {
        cds_json_unref(params);
    }
    fail(create, &err);
}

/* Most refusals are known before anything is made; project_add decides. */
static void on_room(void *user, const struct cds_rows *rows, const struct cds_err *err)
{
    struct create *create = user;
    if (err || !create->call) {
        struct cds_err left;
        cds_fail(&left, CDS_CANCELLED, __func__, "The client left.");
        fail(create, err ? err : &left);
    } else if (cds_rows_bool(rows, 0, 1)) {
        refuse(create, ADDED_NAME_TAKEN);
    } else if (!cds_rows_bool(rows, 0, 0)) {
        refuse(create, ADDED_FULL);
    } else {
        prepare(create);
    }
}

void project_make(struct call *call, const char *name, const char *template_name, int most)
{
    static const char sql[] = "SELECT count(*) < $3::integer, coalesce(bool_or(name = $2), false) FROM projects WHERE user_id = $1::uuid";
    struct create *create = calloc(1, sizeof(*create));
    if (!create)
        abort(); /* one small block; without memory the supervisor starts us afresh */
    create->api = call->api;
    create->call = call;
    call->leaf = create;
    call->leaf_drop = forget_call;
    cds_uuid7(create->id);
    cds_strcpy(create->user_id, sizeof(create->user_id), call_who(call)->claims.user_id);
    cds_strcpy(create->request_id, sizeof(create->request_id), call->request_id);
    cds_strcpy(create->name, sizeof(create->name), name);
    cds_strcpy(create->template_name, sizeof(create->template_name), template_name);
    snprintf(create->most, sizeof(create->most), "%d", most);
    const char *params[] = {create->user_id, create->name, create->most};
    if (cds_dbq_exec(call->api->db, sql, 3, params, cds_now_ms() + API_DB_MS, on_room, create))
        call_database_full(let_go(create));
}

void project_create(struct call *call)
{
    project_make(call, cds_json_get_str(call->params, "name"), cds_json_get_str(call->params, "template"), PROJECTS_MAX);
}
