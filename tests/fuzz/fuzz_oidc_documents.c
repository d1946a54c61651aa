// link: app_auth
/* What a provider says: its description, its answer to a code, who somebody is. Nothing may name a host that the admin did not, or pass for somebody.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "apps/auth/oidc_documents.h"

static const struct cds_oidc_settings settings = {.on = true,
                                                  .issuer = "https://id.example.org",
                                                  .client_id = "studio",
                                                  .hosts = "keys.example.org",
                                                  .domains = "example.org",
                                                  .role = "viewer",
                                                  .role_claim = "groups",
                                                  .role_map = "admins=admin devs=developer a=b=viewer"};

static void must_be_ours(const char *url)
{
    static const char *const begins[] = {"https://id.example.org", "https://keys.example.org", "https://ID.example.org"};
    bool ours = false;
    for (size_t i = 0; i < 3; i++)
        ours = ours || !strncasecmp(url, begins[i], strlen(begins[i]));
    if (*url && !ours)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char nonce[] = "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn";
    const char *text = (const char *)data;
    struct cds_oidc_metadata metadata;
    struct cds_oidc_claims claims = {.subject = "me"};
    struct cds_err err = {0};
    char *id = NULL, *access = NULL;
    cds_json *payload = NULL;
    if (cds_oidc_metadata_parse(&settings, text, size, &metadata, &err) == CDS_OK) {
        must_be_ours(metadata.authorization);
        must_be_ours(metadata.token);
        must_be_ours(metadata.jwks);
        must_be_ours(metadata.userinfo);
    } else if (!*err.rule) {
        abort();
    }
    if (cds_oidc_token_answer(200, text, size, &id, &access, NULL) != CDS_OK && (id || access))
        abort();
    free(id);
    free(access);
    if (cds_json_parse(text, size, &payload, NULL) == CDS_OK &&
        cds_oidc_claims_check(&settings, payload, nonce, 1800000000, &claims, NULL) == CDS_OK &&
        (!*claims.subject || (claims.verified && !*claims.email) || !*claims.role))
        abort();
    char subject[CDS_OIDC_CLAIM_MAX + 1] = "", jti[CDS_OIDC_CLAIM_MAX + 1] = "";
    if (payload && cds_oidc_logout_check(&settings, payload, 1800000000, subject, jti, NULL) == CDS_OK &&
        (!*subject || !*jti || cds_json_get(payload, "nonce")))
        abort();
    cds_json_unref(payload);
    cds_rc rc = cds_oidc_userinfo(200, text, size, &claims, NULL);
    (void)rc;
    return 0;
}
