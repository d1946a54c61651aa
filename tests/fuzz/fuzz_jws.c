// link: cds_jwt cds_json
/* Key sets and ID tokens of a provider. Whatever comes, nothing may pass under a key whose private half nobody has; and each key set that is taken
 * is also used. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/jwt/jws.h"

/* P-256's generator as a key: its private half is 1, but no input of the corpus is signed with it. */
static const char set_text[] = "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"kid\":\"k\",\"x\":\"axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY\","
                               "\"y\":\"T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU\"}]}";

static struct cds_jwks *parse(const char *data, size_t len)
{
    cds_json *document = NULL;
    struct cds_jwks *keys = NULL;
    if (cds_json_parse(data, len, &document, NULL) == CDS_OK && cds_jwks_parse(document, &keys, NULL) != CDS_OK)
        keys = NULL;
    cds_json_unref(document);
    return keys;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct cds_jwks *fixed;
    struct cds_err err = {0};
    cds_json *payload = NULL;
    if (!fixed && !(fixed = parse(set_text, sizeof(set_text) - 1)))
        abort();
    if (cds_jws_verify(fixed, (const char *)data, size, &payload, &err) != CDS_UNAUTHENTICATED || !*err.rule || payload)
        abort();
    struct cds_jwks *made = parse((const char *)data, size);
    if (made && cds_jws_verify(made, "eyJhbGciOiJSUzI1NiJ9.e30.AAAA", 29, &payload, NULL) == CDS_OK)
        abort();
    cds_jwks_free(&made);
    return 0;
}
