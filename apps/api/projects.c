/* apps/api/projects.c: the project store: rows in the database, folders at the sandbox, and the question whose project it is. */
#include <stdlib.h>
#include <string.h>

#include "apps/api/message.h"
#include "lib/base/clock.h"
#include "lib/base/random.h"
#include "lib/base/str.h"
#include "lib/rpc/frame.h"

enum { CACHE = 1024, PROJECTS_MAX = 200 };

/* Owners never change, so a yes may be remembered. One slot per hash; a newer entry takes the place. */
struct owned {
    char project[37], user[37];
};

struct projects {
    struct owned cache[CACHE];
};

cds_rc projects_new(struct projects **ret, struct cds_err *reterr)
{
    *ret = calloc(1, sizeof(**ret));
    return *ret ? CDS_OK : cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
}

void projects_free(struct projects **projects)
{
    free(*projects);
    *projects = NULL;
}

static struct owned *slot(struct projects *projects, const char *project)
{
    uint32_t hash = 2166136261u; /* FNV-1a */
    for (const char *p = project; *p; p++)
        hash = (hash ^ (unsigned char)*p) * 16777619u;
    return &projects->cache[hash % CACHE];
}

/* ---- whose project? ---- */
struct check {
    struct ticket *ticket;
    void (*next)(struct call *call);
};

static void on_owner(void *user, const struct cds_rows *rows, const struct cds_err *err)
{
    struct check *check = user;
    void (*next)(struct call *) = check->next;
    struct call *call = ticket_take(check->ticket);
    free(check);
    if (!call)
        return;
    if (err) {
        call_fail(call, err);
        return;
    }
    if (cds_rows_count(rows) == 0) {
        struct cds_err gone;
        cds_fail(&gone, CDS_NOT_FOUND, __func__, "There is no such project, or it belongs to someone else.");
        cds_err_hint(&gone, "project.list names your projects.");
        cds_err_pointer(&gone, "/project");
        call_fail(call, &gone);
        return;
    }
    struct owned *o = slot(call->api->projects, cds_json_get_str(call->params, "project"));
    cds_strcpy(o->project, sizeof(o->project), cds_json_get_str(call->params, "project"));
    cds_strcpy(o->user, sizeof(o->user), call_who(call)->claims.user_id);
    next(call);
}

void project_check(struct call *call, void (*next)(struct call *call))
{
    const char *project = cds_json_get_str(call->params, "project"), *user = call_who(call)->claims.user_id;
    const struct owned *o = slot(call->api->projects, project);
    if (cds_streq(o->project, project) && cds_streq(o->user, user)) {
        next(call);
        return;
    }
    struct check *check = malloc(sizeof(*check));
    if (!check)
        abort();
    check->ticket = call_ticket(call);
    check->next = next;
    const char *params[] = {user, project};
    if (cds_dbq_exec(call->api->db, "SELECT 1 FROM projects WHERE user_id = $1::uuid AND id = $2::uuid", 2, params, cds_now_ms() + API_DB_MS,
                     on_owner, check)) {
        ticket_take(check->ticket);
        free(check);
        call_database_full(call);
    }
}

/* ---- list and create ---- */
static cds_json *project_json(const struct cds_rows *rows, int row)
{
    return cds_json_pack("{s:s,s:s,s:s}", "id", cds_rows_str(rows, row, 0), "name", cds_rows_str(rows, row, 1), "created_at",
                         cds_rows_str(rows, row, 2));
}

#define TIME_TEXT "to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')"

static void on_inserted(void *user, const struct cds_rows *rows, const struct cds_err *err)
{
    struct call *call = ticket_take(user);
    if (!call)
        return;
    if (err) {
        call_fail(call, err);
        return;
    }
    if (cds_streq(call->method->name, "project.list")) {
        /* The sample was made by this call or by one that ran at the same time: list what is there. */
        project_list(call);
        return;
    }
    if (cds_rows_count(rows) == 0) {
        struct cds_err full;
        cds_fail(&full, CDS_CONFLICT, __func__, "You have %d projects already, or one of this name.", PROJECTS_MAX);
        cds_err_hint(&full, "Choose another name or delete a project first.");
        call_fail(call, &full);
        return;
    }
    call_succeed(call, project_json(rows, 0));
}

/* New project: first the folder, then the row, so that a row always has its folder. */
struct create {
    struct call *call;
    int64_t peer_call;
    char id[37], name[256];
};

static void create_drop(struct call *call)
{
    struct create *create = call->leaf;
    struct cds_peer *peer = sandbox_link_peer(call->api->sandbox, NULL);
    if (peer)
        cds_peer_forget(peer, create->peer_call);
    free(create);
    call->leaf = NULL;
}

static void on_prepared(void *user, cds_json *result, const struct cds_err *err)
{
    struct create *create = user;
    struct call *call = create->call;
    bool sample = cds_streq(call->method->name, "project.list");
    char id[37], name[256];
    cds_strcpy(id, sizeof(id), create->id);
    cds_strcpy(name, sizeof(name), create->name);
    free(create);
    call->leaf = NULL;
    call->leaf_drop = NULL;
    if (err) {
        call_fail(call, err);
        return;
    }
    const char *params[] = {call_who(call)->claims.user_id, id, name, sample ? "sample" : cds_json_get_str(call->params, "template")};
    /* A sample only while the user has no project at all; a project while there is room and the name is free. */
    call_query(call,
               sample ? "INSERT INTO projects (user_id, id, name, template) SELECT $1::uuid, $2::uuid, $3, $4"
                        " WHERE NOT EXISTS (SELECT 1 FROM projects WHERE user_id = $1::uuid) ON CONFLICT DO NOTHING"
                        " RETURNING id, name, " TIME_TEXT
                      : "INSERT INTO projects (user_id, id, name, template) SELECT $1::uuid, $2::uuid, $3, $4"
                        " WHERE (SELECT count(*) FROM projects WHERE user_id = $1::uuid) < 200"
                        " AND NOT EXISTS (SELECT 1 FROM projects WHERE user_id = $1::uuid AND name = $3) ON CONFLICT DO NOTHING"
                        " RETURNING id, name, " TIME_TEXT,
               4, params, on_inserted);
}

static void create_start(struct call *call, const char *name, const char *template_name)
{
    struct cds_err err;
    struct cds_peer *peer = sandbox_link_peer(call->api->sandbox, &err);
    struct create *create = peer ? calloc(1, sizeof(*create)) : NULL;
    if (create) {
        create->call = call;
        cds_uuid7(create->id);
        cds_strcpy(create->name, sizeof(create->name), name);
        create->peer_call = cds_peer_call(peer, "project.prepare", cds_json_pack("{s:s,s:s}", "project", create->id, "template", template_name),
                                          cds_now_ms() + 10000, on_prepared, NULL, create);
        if (create->peer_call) {
            call->leaf = create;
            call->leaf_drop = create_drop;
            return;
        }
        free(create);
    }
    if (peer)
        cds_fail(&err, CDS_BUSY, __func__, "The sandbox has more waiting than it can take.");
    call_fail(call, &err);
}

void project_create(struct call *call)
{
    create_start(call, cds_json_get_str(call->params, "name"), cds_json_get_str(call->params, "template"));
}

static void on_list(void *user, const struct cds_rows *rows, const struct cds_err *err)
{
    struct call *call = ticket_take(user);
    if (!call)
        return;
    if (err) {
        call_fail(call, err);
        return;
    }
    int n = cds_rows_count(rows);
    if (n == 0) {
        create_start(call, "Sample", "sample");
        return;
    }
    cds_json *list = cds_json_array();
    for (int i = 0; i < n; i++)
        cds_json_append(list, project_json(rows, i));
    call_succeed(call, cds_json_pack("{s:o}", "projects", list));
}

void project_list(struct call *call)
{
    const char *params[] = {call_who(call)->claims.user_id};
    call_query(call, "SELECT id, name, " TIME_TEXT " FROM projects WHERE user_id = $1::uuid ORDER BY created_at, id LIMIT 200", 1, params, on_list);
}
