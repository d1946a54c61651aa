/* lib/db/tools.c: a connection string for PostgreSQL's own programs, whose command line everybody can read. See db.h. */
#include <stdlib.h>
#include <string.h>

#include "lib/base/buf.h"
#include "lib/base/cleanup.h"
#include "lib/base/str.h"
#include "lib/db/priv.h"

static void add_option(struct cds_buf *text, const char *name, const char *value)
{
    cds_buf_addf(text, "%s%s='", text->len ? " " : "", name);
    for (const char *c = value; *c; c++)
        cds_buf_addf(text, *c == '\'' || *c == '\\' ? "\\%c" : "%c", *c);
    cds_buf_add_str(text, "'");
}

/* The options of a connection but its password. user, ret_password may be NULL: as it is; not wanted. */
static cds_rc without_password(const char *conninfo, const char *user, char ret[static CDS_DB_CONNINFO_MAX], char *ret_password,
                               struct cds_err *reterr)
{
    CDS_CLEANUP(cds_buf_free) struct cds_buf text = cds_buf_init(CDS_DB_CONNINFO_MAX - 1);
    char *why = NULL;
    PQconninfoOption *options = PQconninfoParse(conninfo, &why);
    PQfreemem(why); /* it may hold the password */
    if (!options)
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "The address of the database is none that PostgreSQL understands.");
    for (const PQconninfoOption *o = options; o->keyword; o++) {
        bool secret = cds_streq(o->keyword, "password");
        const char *value = user && cds_streq(o->keyword, "user") ? user : o->val;
        if (value && !secret)
            add_option(&text, o->keyword, value);
        else if (value && ret_password)
            cds_strcpy(ret_password, CDS_DB_CONNINFO_MAX, value);
    }
    PQconninfoFree(options);
    if (text.failed)
        return cds_fail(reterr, CDS_TOO_LARGE, __func__, "The address of the database is too long.");
    cds_strcpy(ret, CDS_DB_CONNINFO_MAX, text.data ? text.data : "");
    return CDS_OK;
}

cds_rc cds_db_conninfo_tools(const char *conninfo, char ret[static CDS_DB_CONNINFO_MAX], char ret_password[static CDS_DB_CONNINFO_MAX],
                             struct cds_err *reterr)
{
    *ret_password = '\0';
    return without_password(conninfo, NULL, ret, ret_password, reterr);
}

cds_rc cds_db_conninfo_user(const char *conninfo, const char *user, char ret[static CDS_DB_CONNINFO_MAX], struct cds_err *reterr)
{
    return without_password(conninfo, user, ret, NULL, reterr);
}
