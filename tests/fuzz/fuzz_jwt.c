// link: cds_jwt cds_json
/* Access tokens and key sets from outside. Whatever comes, only a token signed by the fixed key may pass. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/jwt/jwt.h"

static const char set_text[] = "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\","
                               "\"kid\":\"kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k\"}]}";

static struct cds_keyset *parse(const char *data, size_t len)
{
    cds_json *jwks = NULL;
    struct cds_keyset *set = NULL;
    if (cds_json_parse(data, len, &jwks, NULL) == CDS_OK && cds_keyset_parse(jwks, &set, NULL) != CDS_OK)
        set = NULL;
    cds_json_unref(jwks);
    return set;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct cds_keyset *fixed;
    struct cds_claims claims;
    struct cds_err err = {0};
    if (!fixed)
        fixed = parse(set_text, sizeof(set_text) - 1);
    if (!fixed)
        abort();
    /* The private half of the fixed key is public (RFC 8037), but no input of the corpus is signed with it under our claims. */
    if (cds_jwt_verify(fixed, (const char *)data, size, 1800000000, &claims, &err) != CDS_UNAUTHENTICATED || !*err.rule)
        abort();
    struct cds_keyset *made = parse((const char *)data, size);
    cds_keyset_free(&made);
    return 0;
}
