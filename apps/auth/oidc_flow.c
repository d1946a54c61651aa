/* apps/auth/oidc_flow.c: see oidc_flow.h. */
#include "apps/auth/oidc_flow.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/random.h"
#include "lib/base/str.h"
#include "lib/jwt/jwt.h"

enum { SEED = 32, TIME = 8, MAC = 32, SEALED = SEED + TIME + MAC };

static const char cookie_name[] = "cds_oidc=";

static void mac_of(const unsigned char key[static 32], const char *label, const unsigned char *data, size_t len, unsigned char out[static MAC])
{
    struct cds_hmac *hmac = cds_hmac_new(key);
    if (!hmac)
        abort(); /* a word that is not derived would be one that anybody knows */
    cds_hmac_add(hmac, label, strlen(label) + 1);
    cds_hmac_add(hmac, data, len);
    cds_hmac_end(&hmac, out);
}

static void word_of(const unsigned char key[static 32], const char *label, const unsigned char *data, char out[static CDS_OIDC_WORD + 1])
{
    unsigned char mac[MAC];
    mac_of(key, label, data, SEED + TIME, mac);
    cds_base64url(mac, sizeof(mac), out);
    cds_wipe(mac, sizeof(mac));
}

static void derive(const unsigned char key[static 32], const unsigned char *data, struct cds_oidc_flow *ret)
{
    unsigned char hash[32];
    word_of(key, "state", data, ret->state);
    word_of(key, "nonce", data, ret->nonce);
    word_of(key, "verifier", data, ret->verifier);
    cds_sha256(ret->verifier, CDS_OIDC_WORD, hash);
    cds_base64url(hash, sizeof(hash), ret->challenge);
}

void cds_oidc_flow_begin(const unsigned char key[static 32], int64_t now_s, char ret_cookie[static CDS_OIDC_FLOW_TEXT + 1], struct cds_oidc_flow *ret)
{
    unsigned char sealed[SEALED];
    cds_random(sealed, SEED);
    for (int i = 0; i < TIME; i++)
        sealed[SEED + i] = (unsigned char)((uint64_t)now_s >> (8 * (TIME - 1 - i)));
    mac_of(key, "flow", sealed, SEED + TIME, sealed + SEED + TIME);
    cds_base64url(sealed, sizeof(sealed), ret_cookie);
    derive(key, sealed, ret);
    cds_wipe(sealed, sizeof(sealed));
}

bool cds_oidc_flow_open(const unsigned char key[static 32], int64_t now_s, const char *cookie, struct cds_oidc_flow *ret)
{
    unsigned char sealed[CDS_OIDC_FLOW_TEXT], mac[MAC];
    size_t len = 0;
    uint64_t began_s = 0;
    if (strlen(cookie) != CDS_OIDC_FLOW_TEXT || cds_base64_decode(cookie, CDS_OIDC_FLOW_TEXT, sealed, &len) != CDS_OK || len != SEALED)
        return false;
    mac_of(key, "flow", sealed, SEED + TIME, mac);
    if (!cds_equal_ct(mac, sealed + SEED + TIME, MAC))
        return false;
    for (int i = 0; i < TIME; i++)
        began_s = began_s << 8 | sealed[SEED + i];
    if (now_s < 0 || (uint64_t)now_s < began_s || (uint64_t)now_s - began_s > CDS_OIDC_FLOW_S)
        return false;
    derive(key, sealed, ret);
    return true;
}

bool cds_oidc_flow_find(const char *header, char ret_cookie[static CDS_OIDC_FLOW_TEXT + 1])
{
    size_t name_len = sizeof(cookie_name) - 1;
    for (const char *p = header; p && *p;) {
        p += strspn(p, " \t;");
        size_t len = strcspn(p, ";");
        if (len == name_len + CDS_OIDC_FLOW_TEXT && !strncmp(p, cookie_name, name_len)) {
            memcpy(ret_cookie, p + name_len, CDS_OIDC_FLOW_TEXT);
            ret_cookie[CDS_OIDC_FLOW_TEXT] = '\0';
            return true;
        }
        p += len;
    }
    return false;
}
