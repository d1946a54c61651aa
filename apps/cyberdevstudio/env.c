/* apps/cyberdevstudio/env.c: see env.h. */
#include "apps/cyberdevstudio/env.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/str.h"

static const char default_path[] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** True when item is "name=...". */
static bool item_is(const char *item, const char *name)
{
    size_t len = strlen(name);
    return strncmp(item, name, len) == 0 && item[len] == '=';
}

static cds_rc add(struct cds_env *env, const char *name, const char *value, struct cds_err *reterr)
{
    char *text = NULL;
    if (env->count >= CDS_ENV_MAX)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "More than %d environment variables begin with CDS_; unset some.", CDS_ENV_MAX);
    int len = value ? asprintf(&text, "%s=%s", name, value) : asprintf(&text, "%s", name);
    if (len < 0)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is no memory for the environment of a process.");
    env->items[env->count++] = text;
    env->items[env->count] = NULL;
    return CDS_OK;
}

/** May this variable of the supervisor go on to the child as it is? */
static bool passes(const char *item, const struct cds_env_rules *rules)
{
    if (item_is(item, "LANG") || item_is(item, "TZ"))
        return true;
    if (item_is(item, "PATH"))
        return true;
    if (item_is(item, "HOME"))
        return !rules->home;
    if (item_is(item, "DATABASE_URL") || cds_starts_with(item, "CDS_DATABASE_"))
        return rules->database;
    /* A readiness pipe belongs to one process: the number means something else in the next. */
    return cds_starts_with(item, "CDS_") && !item_is(item, "CDS_READY_FD");
}

cds_rc cds_env_build(struct cds_env *env, const struct cds_env_rules *rules, struct cds_err *reterr)
{
    *env = (struct cds_env){0};
    cds_rc rc = CDS_OK;
    for (char **item = environ; item && *item && rc == CDS_OK; item++)
        if (passes(*item, rules))
            rc = add(env, *item, NULL, reterr);
    if (rc == CDS_OK && !cds_env_get(env, "PATH"))
        rc = add(env, "PATH", default_path, reterr);
    if (rc == CDS_OK && rules->home)
        rc = add(env, "HOME", rules->home, reterr);
    if (rc == CDS_OK && rules->user)
        rc = add(env, "USER", rules->user, reterr);
    if (rc == CDS_OK && rules->user)
        rc = add(env, "LOGNAME", rules->user, reterr);
    if (rc == CDS_OK && rules->extra)
        rc = add(env, rules->extra, NULL, reterr);
    if (rc != CDS_OK)
        cds_env_free(env);
    return rc;
}

void cds_env_free(struct cds_env *env)
{
    for (int i = 0; i < env->count; i++)
        free(env->items[i]);
    *env = (struct cds_env){0};
}

const char *cds_env_get(const struct cds_env *env, const char *name)
{
    for (int i = 0; i < env->count; i++)
        if (item_is(env->items[i], name))
            return env->items[i] + strlen(name) + 1;
    return NULL;
}
