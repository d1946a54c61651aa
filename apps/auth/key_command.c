/* apps/auth/key_command.c: `cds-auth key create|rotate`: the work of the RPC methods of those names, with the rights of the key's user, for the
 * command line. The parameters are checked by the same schemas; the key is printed and kept nowhere. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apps/auth/rpc.h"
#include "apps/auth/store_key.h"
#include "lib/base/cleanup.h"
#include "lib/base/random.h"
#include "lib/base/str.h"
#include "lib/db/db.h"

static const char usage[] = "Usage: cds-auth key create --email MAIL --name NAME [--role ROLE] [--scopes a,b] [--models a,b] [--days DAYS]\n"
                            "       cds-auth key rotate --id ID [--overlap-s SECONDS]\n";

struct words {
    const char *email, *name, *role, *scopes, *models, *days, *id, *overlap;
};

static bool take(int argc, char **argv, int *i, const char *flag, const char **ret)
{
    size_t len = strlen(flag);
    if (strncmp(argv[*i], flag, len) != 0)
        return false;
    if (argv[*i][len] == '=')
        *ret = argv[*i] + len + 1;
    else if (!argv[*i][len] && *i + 1 < argc)
        *ret = argv[++*i];
    else
        return false;
    return true;
}

static cds_rc parse(int argc, char **argv, struct words *w, struct cds_err *reterr)
{
    for (int i = 3; i < argc; i++)
        if (!take(argc, argv, &i, "--email", &w->email) && !take(argc, argv, &i, "--name", &w->name) && !take(argc, argv, &i, "--role", &w->role) &&
            !take(argc, argv, &i, "--scopes", &w->scopes) && !take(argc, argv, &i, "--models", &w->models) &&
            !take(argc, argv, &i, "--days", &w->days) && !take(argc, argv, &i, "--id", &w->id) && !take(argc, argv, &i, "--overlap-s", &w->overlap))
            return cds_fail(reterr, CDS_BAD_PARAM, __func__, "Unknown or incomplete argument: %s", argv[i]);
    return CDS_OK;
}

static cds_json *list_of(const char *text)
{
    cds_json *list = cds_json_array();
    while (*text) {
        size_t n = strcspn(text, ",");
        char one[80];
        snprintf(one, sizeof(one), "%.*s", (int)n, text);
        cds_json_append(list, cds_json_string(one));
        text += n + (text[n] == ',');
    }
    return list;
}

/* A whole number as typed; anything else goes on as a text, which the schema refuses with a sentence. */
static cds_json *number_of(const char *text, int64_t factor)
{
    char *end;
    long long value = strtoll(text, &end, 10);
    return *text && !*end && value >= 0 && value <= INT32_MAX ? cds_json_int(value * factor) : cds_json_string(text);
}

static void set(cds_json *params, const char *name, cds_json *value)
{
    if (value)
        cds_json_set(params, name, value);
}

/* Whose key it will be: an active user, or the owner of the key that is rotated. */
static cds_rc find_user(struct cds_auth_rpc *call, const struct words *w, struct cds_err *reterr)
{
    struct cds_user user;
    char email[CDS_EMAIL_MAX + 1], owner[37];
    cds_rc rc = CDS_OK;
    if (w->id) {
        rc = cds_store_key_owner(call->auth->store, w->id, owner, reterr);
        cds_strcpy(call->who.user_id, sizeof(call->who.user_id), rc ? "" : owner);
        return rc;
    }
    rc = cds_email_fold(w->email, email, reterr);
    if (!rc)
        rc = cds_store_user(call->auth->store, email, &user, reterr);
    if (rc)
        return rc;
    if (user.blocked || cds_streq(user.hash, CDS_NO_PASSWORD)) /* store_oidc.h has another word for no password */
        return cds_fail(reterr, CDS_CONFLICT, __func__, "%s is blocked, or has not taken up the invitation.", email);
    cds_strcpy(call->who.user_id, sizeof(call->who.user_id), user.id);
    call->role = cds_role_parse(user.role);
    return CDS_OK;
}

static cds_rc run(struct cds_auth *auth, const char *verb, const struct words *w, cds_json **ret, struct cds_err *reterr)
{
    bool rotate = cds_streq(verb, "rotate");
    const struct cds_rpc_method *row = cds_rpc_find(rotate ? "key.rotate" : "key.create");
    CDS_JSON_AUTO params = cds_json_object();
    struct cds_auth_rpc call = {.auth = auth, .params = params};
    set(params, "key_id", w->id ? cds_json_string(w->id) : NULL);
    set(params, "overlap_s", w->overlap ? number_of(w->overlap, 1) : NULL);
    set(params, "name", w->name ? cds_json_string(w->name) : NULL);
    set(params, "role", w->role ? cds_json_string(w->role) : NULL);
    set(params, "scopes", w->scopes ? list_of(w->scopes) : NULL);
    set(params, "models", w->models ? list_of(w->models) : NULL);
    set(params, "expires_in_s", w->days ? number_of(w->days, 86400) : NULL);
    cds_rc rc = cds_rpc_check_params(row, params, reterr);
    if (!rc)
        rc = find_user(&call, w, reterr);
    if (!rc)
        rc = rotate ? cds_auth_rpc_key_rotate(&call, reterr) : cds_auth_rpc_key_create(&call, reterr);
    *ret = call.result;
    return rc;
}

static cds_rc open_and_run(struct cds_config *config, const char *verb, const struct words *w, cds_json **ret, struct cds_err *reterr)
{
    char conninfo[CDS_DB_CONNINFO_MAX];
    struct cds_auth auth = {.config = config};
    cds_rc rc = cds_rpc_table_init(reterr);
    if (!rc)
        rc = cds_auth_open_pepper(config, auth.pepper, reterr);
    if (!rc)
        rc = cds_db_conninfo_as(config, CDS_DB_AUTH, conninfo, reterr);
    if (!rc)
        rc = cds_store_new(conninfo, 1, &auth.store, reterr);
    if (!rc)
        rc = run(&auth, verb, w, ret, reterr);
    cds_store_free(&auth.store);
    cds_wipe(auth.pepper, sizeof(auth.pepper));
    return rc;
}

int cds_auth_key_command(struct cds_config *config, int argc, char **argv)
{
    struct words words = {0};
    struct cds_err err = {0};
    CDS_JSON_AUTO result = NULL;
    const char *verb = argc > 2 ? argv[2] : "";
    cds_rc rc = parse(argc, argv, &words, &err);
    bool complete = (cds_streq(verb, "create") && words.email && words.name && !words.id) || (cds_streq(verb, "rotate") && words.id && !words.email);
    if (rc || !complete) {
        fprintf(stderr, "%s%s%s", rc ? err.message : "", rc ? "\n" : "", usage);
        return 2;
    }
    rc = open_and_run(config, verb, &words, &result, &err);
    if (rc) {
        fprintf(stderr, "%s%s%s\n", err.message, *err.hint ? " " : "", err.hint);
        return rc == CDS_BAD_PARAM ? 2 : 1;
    }
    const char *until = cds_json_get_str(result, "old_until"), *expires = cds_json_get_str(result, "expires_at");
    printf("%s\nIts id is %s; it is shown only now. It %s%s.", cds_json_get_str(result, "key"), cds_json_get_str(result, "key_id"),
           expires ? "expires at " : "does not expire", expires ? expires : "");
    if (until)
        printf(" The old one goes on until %s.", until);
    putchar('\n');
    return 0;
}
