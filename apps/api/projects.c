/* apps/api/projects.c: the question whose project it is, and the list of one's own. New ones are made in project_create.c. */
#include <stdlib.h>
#include <string.h>

#include "apps/api/message.h"
#include "lib/base/clock.h"
#include "lib/base/str.h"

enum { CACHE = 1024 };

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
    struct call *call = call_queried(check->ticket, err);
    free(check);
    if (!call)
        return;
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

/* Nothing has been done yet: the call can end at once. The statement's answer finds its ticket without a call. */
static bool check_cancel(struct call *call)
{
    struct cds_err err;
    cds_fail(&err, CDS_CANCELLED, __func__, "The call was cancelled.");
    call_fail(call, &err);
    return true;
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
    call->leaf_cancel = check_cancel;
    if (cds_dbq_exec(call->api->db, "SELECT 1 FROM projects WHERE user_id = $1::uuid AND id = $2::uuid", 2, params, cds_now_ms() + API_DB_MS,
                     on_owner, check)) {
        ticket_take(check->ticket);
        free(check);
        call_database_full(call);
    }
}

/* ---- list ---- */
static cds_json *project_json(const struct cds_rows *rows, int row)
{
    return cds_json_pack("{s:s,s:s,s:s}", "id", cds_rows_str(rows, row, 0), "name", cds_rows_str(rows, row, 1), "created_at",
                         cds_rows_str(rows, row, 2));
}

#define TIME_TEXT "to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')"

static void on_list(void *user, const struct cds_rows *rows, const struct cds_err *err)
{
    struct call *call = call_queried(user, err);
    if (!call)
        return;
    int n = cds_rows_count(rows);
    if (n == 0) {
        project_make(call, "Sample", "sample", 1);
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
