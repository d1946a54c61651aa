/* apps/auth/user_command.c: `cds-auth user add`: a user straight into the database, the password from the first line of stdin. */
#include <stdio.h>
#include <string.h>

#include "apps/auth/password.h"
#include "apps/auth/service.h"
#include "lib/base/cleanup.h"
#include "lib/base/str.h"
#include "lib/db/db.h"

static const char usage[] = "Usage: cds-auth user add --email MAIL --role admin|developer|viewer [--name NAME]\n"
                            "The password is the first line of standard input.\n";

enum { PASSWORD_LINE_MAX = 256 /* bytes, as the supervisor's `user add` reads; the rules of password.h are stricter */ };

struct words {
    const char *email, *role, *name;
};

/* "--email X" and "--email=X" alike. Returns false for anything else. */
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

static cds_rc parse(int argc, char **argv, struct words *ret, struct cds_err *reterr)
{
    struct words words = {.name = ""};
    for (int i = 3; i < argc; i++)
        if (!take(argc, argv, &i, "--email", &words.email) && !take(argc, argv, &i, "--role", &words.role) &&
            !take(argc, argv, &i, "--name", &words.name))
            return cds_fail(reterr, CDS_BAD_PARAM, __func__, "Unknown or incomplete argument: %s", argv[i]);
    if (!words.email || !words.role)
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "Both --email and --role are needed.");
    if (!cds_streq(words.role, "admin") && !cds_streq(words.role, "developer") && !cds_streq(words.role, "viewer"))
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "The role is admin, developer or viewer, not %s.", words.role);
    *ret = words;
    return CDS_OK;
}

static cds_rc read_password(char *out, size_t size, struct cds_err *reterr)
{
    if (!fgets(out, (int)size, stdin))
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "No password: standard input is empty.");
    size_t len = strcspn(out, "\r\n");
    if (!out[len] && len + 1 == size)
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "The first line of standard input is too long for a password.");
    out[len] = '\0';
    return CDS_OK;
}

static cds_rc add_user(struct cds_config *config, const struct words *words, struct cds_user *ret, struct cds_err *reterr)
{
    char email[CDS_EMAIL_MAX + 1], password[PASSWORD_LINE_MAX + 2] = "", hash[CDS_HASH_SIZE], conninfo[CDS_DB_CONNINFO_MAX];
    CDS_CLEANUP(cds_store_free) struct cds_store *store = NULL;
    unsigned cost = 0;
    cds_rc rc = cds_email_fold(words->email, email, reterr);
    if (!rc)
        rc = cds_name_check(words->name, reterr);
    if (!rc)
        rc = read_password(password, sizeof(password), reterr);
    if (!rc)
        rc = cds_password_policy(password, strlen(password), email, reterr);
    if (!rc)
        rc = cds_password_set_cost(cds_config_u64(config, CDS_OPT_BCRYPT_COST), &cost, reterr);
    if (!rc)
        rc = cds_password_hash(password, strlen(password), cost, hash, reterr);
    cds_wipe(password, sizeof(password));
    if (!rc)
        rc = cds_db_conninfo_as(config, CDS_DB_AUTH, conninfo, reterr);
    if (!rc)
        rc = cds_store_new(conninfo, 1, &store, reterr);
    if (rc)
        return rc;
    const struct cds_new_user fresh = {email, words->name, hash, words->role, cds_config_u64(config, CDS_OPT_BUDGET_TOKENS)};
    return cds_store_user_add(store, &fresh, ret, reterr);
}

int cds_auth_user_command(struct cds_config *config, int argc, char **argv)
{
    struct words words = {0};
    struct cds_user user;
    struct cds_err err = {0};
    if (argc < 3 || !cds_streq(argv[2], "add")) {
        fputs(usage, stderr);
        return 2;
    }
    cds_rc rc = parse(argc, argv, &words, &err);
    if (rc) {
        fprintf(stderr, "%s\n%s", err.message, usage);
        return 2;
    }
    rc = add_user(config, &words, &user, &err);
    if (rc) {
        fprintf(stderr, "%s%s%s\n", err.message, *err.hint ? " " : "", err.hint);
        return 1;
    }
    printf("Added %s as %s (user id %s).\n", user.email, user.role, user.id);
    return 0;
}
