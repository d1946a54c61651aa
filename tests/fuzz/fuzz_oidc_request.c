// link: app_auth
/* What a browser brings back (the flow's cookie), and what an admin writes as addresses. No cookie of a stranger may open a flow. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "apps/auth/oidc_flow.h"
#include "apps/auth/oidc_settings.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const unsigned char key[32] = "a key no input was made with";
    static const struct cds_oidc_settings settings = {.on = true, .issuer = "https://id.example.org", .domains = "example.org"};
    struct cds_oidc_flow flow;
    char cookie[CDS_OIDC_FLOW_TEXT + 1];
    char *text = malloc(size + 1);
    if (!text)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    if (cds_oidc_flow_open(key, 1800000000, text, &flow))
        abort();
    if (cds_oidc_flow_find(text, cookie) && (strlen(cookie) != CDS_OIDC_FLOW_TEXT || cds_oidc_flow_open(key, 1800000000, cookie, &flow)))
        abort();
    if (cds_oidc_check_url(&settings, text, "jwks_uri", NULL) == CDS_OK &&
        (strncasecmp(text, "https://id.example.org", 22) != 0 || !strchr(":/?", text[22])))
        abort();
    if (cds_oidc_domain_allowed(&settings, text)) {
        size_t len = strlen(text);
        if (len < 12 || strcmp(text + len - 12, "@example.org") != 0)
            abort();
    }
    free(text);
    return 0;
}
