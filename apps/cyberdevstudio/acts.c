/* apps/cyberdevstudio/acts.c: see acts.h. */
#include "apps/cyberdevstudio/acts.h"

#include <limits.h>
#include <pwd.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/fd.h"
#include "lib/base/str.h"
#include "lib/json/json.h"

enum { ACCOUNT_MAX = 64 };
static const char add_sql[] = "SELECT audit_add($1::text, 'command line', NULL, NULL, $2::text, $3::uuid, $4::jsonb)";

/* ---- who ---- */
/* The account that signed in, which sudo and su do not change. @return -1: the kernel does not know */
static int64_t login_uid(void)
{
    CDS_CLEANUP(cds_buf_free) struct cds_buf text = cds_buf_init(32);
    uint64_t uid;
    if (cds_read_file("/proc/self/loginuid", &text, NULL) != CDS_OK || !text.len || cds_parse_u64(text.data, 0, UINT32_MAX - 1, &uid) != CDS_OK)
        return -1;
    return (int64_t)uid;
}

static void add_who(cds_json *detail)
{
    char account[ACCOUNT_MAX];
    const struct passwd *entry = getpwuid(getuid());
    int64_t login = login_uid();
    cds_strcpy(account, sizeof(account), entry ? entry->pw_name : "?");
    cds_json_set(detail, "account", cds_json_string(account));
    cds_json_set(detail, "uid", cds_json_int((int64_t)getuid()));
    if (login >= 0)
        cds_json_set(detail, "login_uid", cds_json_int(login));
}

/* ---- lines ---- */
static cds_rc add(struct cds_db *db, const struct cds_act *act, const char *phase, const char *outcome, struct cds_err *reterr)
{
    CDS_JSON_AUTO detail = cds_json_object();
    add_who(detail);
    if (act->object)
        cds_json_set(detail, "object", cds_json_string(act->object));
    if (outcome)
        cds_json_set(detail, "end", cds_json_string(outcome));
    CDS_CLEANUP(cds_free_ptr) char *text = cds_json_dumps(detail, NULL);
    if (!text)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory.");
    const char *const params[] = {phase, act->name, act->request_id, text};
    return cds_db_exec(db, add_sql, CDS_ARRAY_LEN(params), params, false, NULL, reterr);
}

cds_rc cds_act_begin(struct cds_db *db, struct cds_act *act, struct cds_err *reterr)
{
    struct cds_err why = {0};
    if (!act->name)
        return CDS_OK;
    cds_uuid7(act->request_id);
    if (add(db, act, "begin", NULL, &why) == CDS_OK)
        return CDS_OK;
    cds_fail(reterr, CDS_UNAVAILABLE, __func__, "Nothing was done: the audit log could not be written. %s", why.message);
    cds_err_rule(reterr, "audit.unwritten");
    return cds_err_hint(reterr, "Bring the schema up to date with \"cyberdevstudio migrate\", or try again in a moment.");
}

static void not_ended(const struct cds_err *err)
{
    fprintf(stderr, "cyberdevstudio: the end of this act could not be written into the audit log; its begin stands there. %s\n", err->message);
}

void cds_act_end(struct cds_db *db, const struct cds_act *act, cds_rc outcome)
{
    struct cds_err err = {0};
    if (act->name && add(db, act, "end", cds_rc_name(outcome), &err) != CDS_OK)
        not_ended(&err);
}

/* ---- around what needs no database ---- */
struct around {
    struct cds_act *act;
    const char *outcome; /**< NULL: it has not begun */
};

static cds_rc line(void *user, struct cds_db *db, const struct cds_patience *patience, struct cds_err *reterr)
{
    struct around *around = user;
    return around->outcome ? add(db, around->act, "end", around->outcome, reterr) : cds_act_begin(db, around->act, reterr);
}

static bool has_database(const struct cds_command *cmd)
{
    char path[PATH_MAX];
    return *cds_config_str(cmd->config, CDS_OPT_DB_URL) || access(cds_config_path(cmd->config, "pg", path, sizeof(path)), F_OK) == 0;
}

/* The supervisor that starts the cluster for a line blocks the signals that end us: not longer than for the line. */
static cds_rc write_line(const struct cds_command *cmd, struct around *around, struct cds_err *reterr)
{
    sigset_t before;
    sigprocmask(SIG_SETMASK, NULL, &before);
    cds_rc rc = cds_with_database(cmd, CDS_CLUSTER_THERE, line, around, reterr);
    sigprocmask(SIG_SETMASK, &before, NULL);
    return rc;
}

enum cds_exit cds_act(const struct cds_command *cmd, struct cds_act *act, cds_act_fn *fn, void *user)
{
    struct around around = {.act = act};
    struct cds_err err = {0};
    if (!has_database(cmd))
        return fn(user);
    if (write_line(cmd, &around, &err) != CDS_OK)
        return cds_complain(stderr, &err);
    enum cds_exit code = fn(user);
    around.outcome = code == CDS_EXIT_OK ? "OK" : "FAILED";
    if (write_line(cmd, &around, &err) != CDS_OK)
        not_ended(&err);
    return code;
}
