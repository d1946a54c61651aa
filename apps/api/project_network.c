/* apps/api/project_network.c: what a project may reach: project.network.get and .set, and the rules that go along with a run or a terminal.
 *
 * cds-egress checks the same two lists again at each connection: what an admin takes away ends at once, whatever is stored here. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apps/api/message.h"
#include "lib/base/clock.h"
#include "lib/base/str.h"
#include "lib/http/host_rule.h"

struct hosts {
    struct cds_host_rule list[CDS_HOST_RULES_MAX];
    size_t count;
};

static void named_hosts(const struct call *call, struct hosts *ret)
{
    *ret = (struct hosts){.count = 0};
    if (cds_host_rules_parse(cds_config_str(call->api->config, CDS_OPT_EGRESS_HOSTS), ret->list, &ret->count, NULL))
        ret->count = 0; /* cds-egress did not start with it, and said why */
}

static cds_json *rule_json(const struct cds_host_rule *rule)
{
    char text[CDS_HOST_RULE_TEXT_MAX + 1], port[8] = "";
    if (rule->port)
        snprintf(port, sizeof(port), ":%u", (unsigned)rule->port);
    snprintf(text, sizeof(text), "%s%s%s", rule->host[0] ? (rule->below ? "*." : "") : "*", rule->host, port);
    return cds_json_string(text);
}

static cds_json *answer(const struct call *call, const char *mode, cds_json *rules)
{
    struct hosts hosts;
    cds_json *list = cds_json_array();
    named_hosts(call, &hosts);
    for (size_t i = 0; i < hosts.count; i++)
        cds_json_append(list, rule_json(&hosts.list[i]));
    return cds_json_pack("{s:s,s:o,s:o}", "mode", mode, "rules", rules, "hosts", list);
}

static void on_row(void *user, const struct cds_rows *rows, const struct cds_err *err)
{
    struct call *call = ticket_take(user);
    cds_json *rules = NULL;
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
        cds_err_pointer(&gone, "/params/project");
        call_fail(call, &gone);
        return;
    }
    const char *mode = cds_rows_str(rows, 0, 0), *text = cds_rows_str(rows, 0, 1);
    if (!text || cds_json_parse(text, strlen(text), &rules, NULL))
        rules = cds_json_array();
    call_succeed(call, answer(call, mode && cds_streq(mode, "allow") ? "allow" : "off", rules));
}

void project_network_get(struct call *call)
{
    static const char sql[] = "SELECT n.mode, n.rules::text FROM projects p LEFT JOIN project_network n ON n.project_id = p.id"
                              " WHERE p.user_id = $1::uuid AND p.id = $2::uuid";
    const char *params[] = {call_who(call)->claims.user_id, cds_json_get_str(call->params, "project")};
    call_query(call, sql, 2, params, on_row);
}

/* ---- set ---- */
static cds_rc take_rule(const struct hosts *hosts, const cds_json *one, size_t at, cds_json *list, struct cds_err *err)
{
    struct cds_host_rule rule;
    const char *text = cds_json_str(one);
    cds_rc rc = cds_host_rule_parse(text ? text : "", cds_json_str_len(one), false, &rule, err);
    if (!rc && !cds_host_rules_cover(hosts->list, hosts->count, &rule)) {
        rc = cds_fail(err, CDS_DENIED, __func__, "\"%.200s\" is not among the hosts that projects of this studio may name.", text);
        cds_err_rule(err, "egress.hosts");
        cds_err_hint(err, "An admin can add it to the option egress.hosts; \"hosts\" of project.network.get lists what may be named.");
    }
    if (rc) {
        cds_err_pointer(err, "/params/rules/%zu", at);
        return rc;
    }
    cds_json *canonical = rule_json(&rule);
    for (size_t i = 0; i < cds_json_size(list); i++)
        if (cds_json_equal(cds_json_at(list, i), canonical)) {
            cds_json_unref(canonical);
            return CDS_OK;
        }
    cds_json_append(list, canonical);
    return CDS_OK;
}

static cds_rc take_rules(const struct call *call, bool allow, cds_json *list, struct cds_err *err)
{
    const cds_json *rules = cds_json_get(call->params, "rules");
    struct hosts hosts;
    cds_rc rc = CDS_OK;
    named_hosts(call, &hosts);
    if (allow && hosts.count == 0) {
        cds_fail(err, CDS_DENIED, __func__, "The network is off for all projects of this studio.");
        cds_err_rule(err, "egress.hosts");
        return cds_err_hint(err, "An admin can name the hosts that projects may reach with the option egress.hosts.");
    }
    for (size_t i = 0; !rc && i < cds_json_size(rules); i++)
        rc = take_rule(&hosts, cds_json_at(rules, i), i, list, err);
    return rc;
}

void project_network_set(struct call *call)
{
    static const char sql[] = "INSERT INTO project_network AS n (project_id, mode, rules)"
                              " SELECT p.id, $3, $4::jsonb FROM projects p WHERE p.user_id = $1::uuid AND p.id = $2::uuid"
                              " ON CONFLICT (project_id) DO UPDATE SET mode = excluded.mode, rules = excluded.rules, updated_at = now()"
                              " RETURNING n.mode, n.rules::text";
    struct cds_err err;
    const char *mode = cds_json_get_str(call->params, "mode");
    CDS_JSON_AUTO list = cds_json_array();
    if (take_rules(call, cds_streq(mode, "allow"), list, &err)) {
        call_fail(call, &err);
        return;
    }
    char *text = cds_json_dumps(list, NULL);
    const char *params[] = {call_who(call)->claims.user_id, cds_json_get_str(call->params, "project"), mode, text ? text : "[]"};
    call_query(call, sql, 4, params, on_row);
    free(text);
}

/* ---- along with a run ---- */
struct look {
    struct ticket *ticket;
    void (*next)(struct call *call);
};

static void on_rules(void *user, const struct cds_rows *rows, const struct cds_err *err)
{
    struct look *look = user;
    void (*next)(struct call *) = look->next;
    struct call *call = ticket_take(look->ticket);
    cds_json *rules = NULL;
    free(look);
    if (!call)
        return;
    if (err) {
        call_fail(call, err);
        return;
    }
    const char *text = cds_rows_count(rows) ? cds_rows_str(rows, 0, 0) : NULL;
    if (text && !cds_json_parse(text, strlen(text), &rules, NULL))
        cds_json_set(call->params, "network", cds_json_pack("{s:o}", "rules", rules));
    next(call);
}

/* As in projects.c: nothing has been done yet. */
static bool look_cancel(struct call *call)
{
    struct cds_err err;
    cds_fail(&err, CDS_CANCELLED, __func__, "The call was cancelled.");
    call_fail(call, &err);
    return true;
}

void project_network_then(struct call *call, void (*next)(struct call *call))
{
    struct hosts hosts;
    cds_json_del(call->params, "network"); /* the schema knows no such member; it is ours alone to set */
    named_hosts(call, &hosts);
    if (hosts.count == 0) { /* off for all: not even a question */
        next(call);
        return;
    }
    struct look *look = malloc(sizeof(*look));
    if (!look)
        abort();
    look->ticket = call_ticket(call);
    look->next = next;
    const char *params[] = {cds_json_get_str(call->params, "project")};
    call->leaf_cancel = look_cancel;
    if (cds_dbq_exec(call->api->db, "SELECT rules::text FROM project_network WHERE project_id = $1::uuid AND mode = 'allow'", 1, params,
                     cds_now_ms() + API_DB_MS, on_rules, look)) {
        ticket_take(look->ticket);
        free(look);
        call_database_full(call);
    }
}
