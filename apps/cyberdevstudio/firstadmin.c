/* apps/cyberdevstudio/firstadmin.c: see firstadmin.h. */
#include "apps/cyberdevstudio/firstadmin.h"

#include <stdio.h>
#include <string.h>

#include "apps/cyberdevstudio/parts.h"
#include "lib/base/random.h"
#include "lib/base/str.h"
#include "lib/jwt/jwt.h"

enum { TOKEN_BYTES = 32, TOKEN_TEXT = 43 };

/** One statement, so that two starts at once leave one usable link, and a user made in between leaves none. */
static const char make_link[] = "WITH fresh AS (SELECT WHERE NOT EXISTS (SELECT FROM users WHERE role = 'admin')),"
                                " gone AS (DELETE FROM setup_tokens WHERE used_at IS NULL AND EXISTS (SELECT FROM fresh))"
                                " INSERT INTO setup_tokens (token_hash, expires_at)"
                                " SELECT $1, now() + make_interval(secs => $2::bigint) FROM fresh RETURNING 1";

cds_rc cds_first_admin_link(struct cds_db *db, const struct cds_config *config, char *link, size_t size, struct cds_err *reterr)
{
    unsigned char secret[TOKEN_BYTES];
    char token[TOKEN_TEXT + 1], hash[65], life_s[24], url[512];
    cds_random(secret, sizeof(secret));
    cds_base64url(secret, sizeof(secret), token);
    cds_sha256_hex(token, TOKEN_TEXT, hash);
    snprintf(life_s, sizeof(life_s), "%llu", (unsigned long long)cds_config_u64(config, CDS_OPT_AUTH_SETUP_S));
    const char *const params[] = {hash, life_s};
    CDS_CLEANUP(cds_rows_free) struct cds_rows *rows = NULL;
    link[0] = '\0';
    cds_rc rc = cds_db_exec(db, make_link, CDS_ARRAY_LEN(params), params, false, &rows, reterr);
    if (rc == CDS_OK && cds_rows_count(rows) == 1)
        snprintf(link, size, "%s/setup#token=%s", cds_public_url(config, url, sizeof(url)), token);
    explicit_bzero(secret, sizeof(secret));
    explicit_bzero(token, sizeof(token));
    return rc;
}
