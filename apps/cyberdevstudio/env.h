/* apps/cyberdevstudio/env.h: the environment of a child process: built from a short list, never inherited.
 *
 * Threads: main thread only: it reads the process's own environment.
 * Memory: items and the texts are owned by the struct; free with cds_env_free.
 */
#pragma once

#include <stdbool.h>

#include "lib/base/err.h"

enum { CDS_ENV_MAX = 256 /**< most variables a child gets */ };

struct cds_env {
    char *items[CDS_ENV_MAX + 1]; /**< NULL-terminated, fit for execve */
    int count;
};

/** What differs from child to child. */
struct cds_env_rules {
    bool database;     /**< passes DATABASE_URL and CDS_DATABASE_*, which may hold a password */
    const char *home;  /**< value of HOME; NULL: as it is */
    const char *user;  /**< value of USER and LOGNAME; NULL: left out */
    const char *extra; /**< one more "NAME=value", or NULL */
};

/** Passes PATH, HOME, LANG, TZ and CDS_* by the rules. @return CDS_OK; CDS_EXHAUSTED (memory, or more than CDS_ENV_MAX variables) */
CDS_MUST_USE cds_rc cds_env_build(struct cds_env *env, const struct cds_env_rules *rules, struct cds_err *reterr);
void cds_env_free(struct cds_env *env);
/** Value of name in env, or NULL. */
const char *cds_env_get(const struct cds_env *env, const char *name);
