/* lib/jwt/signer.c: the private key of auth and the tokens it signs. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/base/fd.h"
#include "lib/base/random.h"
#include "lib/base/str.h"
#include "lib/jwt/ed25519.h"
#include "lib/jwt/token.h"

enum { PEM_MAX = 4096, WRITE_MS = 5000 };

struct cds_signer {
    struct cds_edkey *key;
    char kid[CDS_KID_LEN + 1];
    char x[CDS_KID_LEN + 1];
};

void cds_signer_free(struct cds_signer **signer)
{
    if (!*signer)
        return;
    cds_edkey_free(&(*signer)->key);
    free(*signer);
    *signer = NULL;
}

cds_rc cds_signer_from_pem(const char *pem, size_t len, struct cds_signer **ret, struct cds_err *reterr)
{
    CDS_CLEANUP(cds_signer_free) struct cds_signer *signer = calloc(1, sizeof(*signer));
    unsigned char raw[CDS_ED25519_KEY];
    if (!signer)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory while loading the signing key.");
    cds_rc rc = cds_edkey_from_pem(pem, len, &signer->key, reterr);
    if (rc)
        return rc;
    if (cds_edkey_public(signer->key, raw))
        return cds_fail(reterr, CDS_INTERNAL, __func__, "The signing key has no public half.");
    cds_edkey_x(raw, signer->x);
    cds_edkey_kid(raw, signer->kid);
    *ret = signer;
    signer = NULL;
    return CDS_OK;
}

/* Writes a fresh key beside path and links it into place: link(2) refuses when another process was faster, and then that key is used. */
static cds_rc make_file(const char *path, struct cds_err *reterr)
{
    char *pem = NULL, tmp[PATH_MAX], uuid[CDS_UUID_LEN + 1];
    size_t len = 0;
    cds_uuid7(uuid);
    if ((size_t)snprintf(tmp, sizeof(tmp), "%s.%s", path, uuid) >= sizeof(tmp))
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "The path of the signing key is too long: %s", path);
    cds_rc rc = cds_edkey_make_pem(&pem, &len, reterr);
    if (rc)
        return rc;
    int fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        rc = cds_fail_errno(reterr, errno, __func__, "Cannot make the signing key file %s.", path);
    if (!rc)
        rc = cds_write_all(fd, pem, len, cds_now_ms() + WRITE_MS, reterr);
    if (!rc && fsync(fd))
        rc = cds_fail_errno(reterr, errno, __func__, "Cannot save the signing key file %s.", path);
    if (!rc && link(tmp, path) && errno != EEXIST)
        rc = cds_fail_errno(reterr, errno, __func__, "Cannot put the signing key file %s in place.", path);
    if (fd >= 0) {
        close(fd);
        unlink(tmp);
    }
    cds_wipe(pem, len);
    free(pem);
    return rc;
}

static cds_rc load_file(int fd, const char *path, struct cds_signer **ret, struct cds_err *reterr)
{
    struct stat st;
    char pem[PEM_MAX];
    size_t len = 0;
    if (fstat(fd, &st))
        return cds_fail_errno(reterr, errno, __func__, "Cannot look at the signing key file %s.", path);
    if (!S_ISREG(st.st_mode) || st.st_size > PEM_MAX)
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "The signing key file %s is not a PEM file of at most %d bytes.", path, PEM_MAX);
    if (st.st_mode & 077) {
        cds_fail(reterr, CDS_DENIED, __func__, "Other users of this machine may read the signing key file %s.", path);
        cds_err_hint(reterr, "Run: chmod 600 %s", path);
        return CDS_DENIED;
    }
    for (ssize_t got; len < sizeof(pem); len += (size_t)got) {
        got = read(fd, pem + len, sizeof(pem) - len);
        if (got < 0 && errno == EINTR)
            got = 0;
        else if (got < 0)
            return cds_fail_errno(reterr, errno, __func__, "Cannot read the signing key file %s.", path);
        else if (got == 0)
            break;
    }
    cds_rc rc = cds_signer_from_pem(pem, len, ret, reterr);
    cds_wipe(pem, sizeof(pem));
    if (rc == CDS_BAD_PARAM) {
        rc = cds_fail(reterr, CDS_BAD_PARAM, __func__, "The signing key file %s holds no Ed25519 private key in PEM form.", path);
        cds_err_hint(reterr, "Restore it from a backup, or move it away to have a new one made (everyone signs in again).");
    }
    return rc;
}

cds_rc cds_signer_open(const char *path, struct cds_signer **ret, struct cds_err *reterr)
{
    for (int attempt = 0; attempt < 2; attempt++) {
        CDS_CLEANUP(cds_close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        if (fd >= 0)
            return load_file(fd, path, ret, reterr);
        if (errno != ENOENT)
            return cds_fail_errno(reterr, errno, __func__, "Cannot open the signing key file %s.", path);
        cds_rc rc = make_file(path, reterr);
        if (rc)
            return rc;
    }
    return cds_fail(reterr, CDS_SYSTEM, __func__, "The signing key file %s vanished while it was being opened.", path);
}

const char *cds_signer_kid(const struct cds_signer *signer)
{
    return signer->kid;
}

cds_json *cds_signer_jwks(const struct cds_signer *signer)
{
    return cds_json_pack("{s:[{s:s,s:s,s:s,s:s,s:s,s:s}]}", "keys", "kty", "OKP", "crv", "Ed25519", "x", signer->x, "kid", signer->kid, "alg",
                         "EdDSA", "use", "sig");
}

/* Appends base64url(json) to the token. */
static cds_rc add_part(struct cds_buf *token, const cds_json *value)
{
    size_t len = 0;
    CDS_CLEANUP(cds_free_ptr) char *text = cds_json_dumps(value, &len);
    char *place = text ? cds_buf_reserve(token, cds_base64_len(len) + 1) : NULL;
    if (!place)
        return text ? CDS_TOO_LARGE : CDS_EXHAUSTED;
    cds_buf_commit(token, cds_base64url(text, len, place));
    return CDS_OK;
}

cds_rc cds_jwt_sign(const struct cds_signer *signer, const struct cds_claims *claims, char **ret, struct cds_err *reterr)
{
    CDS_CLEANUP(cds_buf_free) struct cds_buf token = cds_buf_init((size_t)2 * CDS_JWT_MAX);
    CDS_JSON_AUTO header = cds_json_pack("{s:s,s:s,s:s}", "alg", "EdDSA", "typ", CDS_JWT_TYP, "kid", signer->kid);
    CDS_JSON_AUTO payload = cds_json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:I,s:I,s:I}", "iss", CDS_JWT_ISSUER, "aud", CDS_JWT_AUDIENCE, "sub",
                                          claims->user_id, "sid", claims->session_id, "email", claims->email, "role", claims->role, "ver",
                                          (long long)claims->version, "iat", (long long)claims->issued_s, "exp", (long long)claims->expires_s);
    unsigned char sig[CDS_ED25519_SIG];
    if (payload && *claims->key_id) {
        cds_json_set(payload, "key", cds_json_string(claims->key_id));
        cds_json_set(payload, "scp", cds_json_string(claims->scopes));
        cds_json_set(payload, "mdl", cds_json_string(claims->models));
        cds_json_set(payload, "rpm", cds_json_int(claims->requests_per_minute));
        cds_json_set(payload, "tpm", cds_json_int((int64_t)claims->tokens_per_minute));
        cds_json_set(payload, "cnc", cds_json_int(claims->concurrent_requests));
    }
    if (!header || !payload)
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "The claims of the access token are not UTF-8 text.");
    cds_rc rc = add_part(&token, header);
    if (!rc)
        rc = cds_buf_add(&token, ".", 1);
    if (!rc)
        rc = add_part(&token, payload);
    if (!rc)
        rc = cds_edkey_sign(signer->key, token.data, token.len, sig);
    if (!rc)
        rc = cds_buf_add(&token, ".", 1);
    char *place = rc ? NULL : cds_buf_reserve(&token, cds_base64_len(sizeof(sig)) + 1);
    if (!place)
        return cds_fail(reterr, rc ? rc : CDS_EXHAUSTED, __func__, "The access token could not be signed.");
    cds_buf_commit(&token, cds_base64url(sig, sizeof(sig), place));
    if (token.len > CDS_JWT_MAX)
        return cds_fail(reterr, CDS_TOO_LARGE, __func__, "The access token would be longer than %d bytes.", CDS_JWT_MAX);
    *ret = cds_buf_steal(&token, NULL);
    return *ret ? CDS_OK : cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory while signing an access token.");
}
