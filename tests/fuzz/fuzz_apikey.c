// link: cds_jwt
/* The text of an API key, as it comes in a header. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/jwt/apikey.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char id[37] = "", again[CDS_APIKEY_LEN + 1], secret[CDS_APIKEY_SECRET + 1];
    if (cds_apikey_parse((const char *)data, size, id, NULL) != CDS_OK)
        return 0;
    /* What is taken is exactly what would be made of its parts. */
    memcpy(secret, data + 41, CDS_APIKEY_SECRET);
    secret[CDS_APIKEY_SECRET] = '\0';
    cds_apikey_make(id, secret, again);
    if (size != CDS_APIKEY_LEN || memcmp(again, data, size) != 0)
        abort();
    return 0;
}
