/* lib/http/ws_accept.c: the opening handshake of a WebSocket (RFC 6455 section 4.2) and its refusals. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "lib/base/str.h"
#include "lib/http/sha1.h"
#include "lib/http/ws_priv.h"

enum { KEY_LEN = 24, KEY_BYTES = 16 };

bool cds_http_wants_ws(const struct cds_http_req *req)
{
    return req->http11 && http_has_token(cds_http_header(req, "Upgrade"), "websocket") &&
           http_has_token(cds_http_header(req, "Connection"), "upgrade");
}

static bool key_is_sound(const char *key)
{
    unsigned char bytes[KEY_LEN];
    size_t len = 0;
    return key && strlen(key) == KEY_LEN && cds_base64_decode(key, KEY_LEN, bytes, &len) == CDS_OK && len == KEY_BYTES;
}

static cds_rc refuse(struct cds_http_req *req, int status, struct cds_err *err)
{
    http_reply_err_as(req, status, err);
    return err->code;
}

static cds_rc check(struct cds_http_req *req, const char *allowed_origin)
{
    struct cds_err err;
    const char *origin = cds_http_header(req, "Origin");
    size_t body_len = 0;
    cds_http_body(req, &body_len);
    if (!cds_http_wants_ws(req)) {
        cds_http_add_header(req, "Upgrade", "websocket");
        cds_fail(&err, CDS_BAD_REQUEST, __func__, "This address is a WebSocket; the request does not ask for an upgrade.");
        return refuse(req, 426, &err);
    }
    if (!cds_streq(cds_http_method(req), "GET") || body_len) {
        cds_fail(&err, CDS_BAD_REQUEST, __func__, "A WebSocket begins with a GET without body.");
        return refuse(req, 400, &err);
    }
    if (!cds_streq(cds_http_header(req, "Sec-WebSocket-Version"), "13")) {
        cds_http_add_header(req, "Sec-WebSocket-Version", "13");
        cds_fail(&err, CDS_BAD_REQUEST, __func__, "This server speaks WebSocket version 13.");
        return refuse(req, 426, &err);
    }
    if (!key_is_sound(cds_http_header(req, "Sec-WebSocket-Key"))) {
        cds_fail(&err, CDS_BAD_REQUEST, __func__, "Sec-WebSocket-Key must be 16 bytes in base64.");
        return refuse(req, 400, &err);
    }
    /* Browsers send cookies and open sockets across sites; only the Origin tells whose page it is. */
    if (origin && !cds_streq(origin, allowed_origin)) {
        cds_fail(&err, CDS_DENIED, __func__, "Pages of this origin may not open a socket here.");
        cds_err_rule(&err, "ws.origin");
        cds_err_hint(&err, "Open the studio under its own address (ui.public_url).");
        return refuse(req, 403, &err);
    }
    return CDS_OK;
}

void http_ws_accept_key(const char *key, char out[static WS_ACCEPT_LEN + 1])
{
    char text[SHA1_TEXT_MAX + 1];
    uint8_t digest[SHA1_LEN];
    int len = snprintf(text, sizeof(text), "%.24s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key);
    http_sha1(text, (size_t)len, digest);
    cds_base64(digest, sizeof(digest), out);
    out[WS_ACCEPT_LEN] = '\0';
}

cds_rc cds_ws_accept(struct cds_http_req *req, const char *allowed_origin, const char *protocol, size_t message_max, size_t out_max,
                     const struct cds_ws_ops *ops, void *user, struct cds_ws **ret)
{
    char accept[WS_ACCEPT_LEN + 1];
    struct cds_ws *ws = NULL;
    cds_rc rc = check(req, allowed_origin);
    if (rc)
        return rc;
    if (http_ws_new(req, message_max, out_max, ops, user, &ws)) {
        struct cds_err err;
        cds_fail(&err, CDS_EXHAUSTED, __func__, "Out of memory.");
        cds_http_reply_err(req, &err);
        return CDS_EXHAUSTED;
    }
    http_ws_accept_key(cds_http_header(req, "Sec-WebSocket-Key"), accept);
    cds_http_add_header(req, "Upgrade", "websocket");
    cds_http_add_header(req, "Sec-WebSocket-Accept", accept);
    if (protocol && http_has_token(cds_http_header(req, "Sec-WebSocket-Protocol"), protocol))
        cds_http_add_header(req, "Sec-WebSocket-Protocol", protocol);
    cds_http_set_user(req, NULL, NULL, NULL); /* ops tell the end from here */
    *ret = ws;
    http_give_upgrade(req, http_ws_opened);
    return CDS_OK;
}
