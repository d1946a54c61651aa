/* lib/base/err.c: see err.h. */
#include "lib/base/err.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

struct code_row {
    const char *name, *title, *openai;
    int jsonrpc, http;
};

static const struct code_row rows[CDS_RC_COUNT] = {
    [CDS_OK] = {"OK", "OK", "ok", 0, 200},
#define CDS_ERR(name, rpc, http, openai, text) [CDS_##name] = {#name, text, openai, rpc, http},
#include "lib/base/err_codes.def"
#undef CDS_ERR
};

static const struct code_row *row(cds_rc code)
{
    static const struct code_row unknown = {"?", "Internal error", "internal_error", -32603, 500};
    return (unsigned)code < CDS_RC_COUNT ? &rows[code] : &unknown;
}

static void start(struct cds_err *err, cds_rc code, const char *where)
{
    memset(err, 0, sizeof(*err));
    err->code = code;
    snprintf(err->where, sizeof(err->where), "%s", where ? where : "");
}

cds_rc cds_fail(struct cds_err *reterr, cds_rc code, const char *where, const char *fmt, ...)
{
    if (reterr) {
        va_list ap;
        start(reterr, code, where);
        va_start(ap, fmt);
        vsnprintf(reterr->message, sizeof(reterr->message), fmt, ap);
        va_end(ap);
    }
    return code;
}

cds_rc cds_fail_errno(struct cds_err *reterr, int sys_errno, const char *where, const char *fmt, ...)
{
    bool full = sys_errno == ENOMEM || sys_errno == ENOSPC || sys_errno == EMFILE || sys_errno == ENFILE || sys_errno == EDQUOT;
    cds_rc code = full ? CDS_EXHAUSTED : CDS_SYSTEM;
    if (reterr) {
        va_list ap;
        start(reterr, code, where);
        va_start(ap, fmt);
        vsnprintf(reterr->message, sizeof(reterr->message), fmt, ap);
        va_end(ap);
        reterr->sys_errno = sys_errno;
        snprintf(reterr->detail, sizeof(reterr->detail), "%s", strerrordesc_np(sys_errno) ? strerrordesc_np(sys_errno) : "unknown errno");
    }
    return code;
}

cds_rc cds_err_hint(struct cds_err *reterr, const char *fmt, ...)
{
    if (!reterr)
        return CDS_INTERNAL;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(reterr->hint, sizeof(reterr->hint), fmt, ap);
    va_end(ap);
    return reterr->code;
}

void cds_err_detail(struct cds_err *reterr, const char *fmt, ...)
{
    if (!reterr)
        return;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(reterr->detail, sizeof(reterr->detail), fmt, ap);
    va_end(ap);
}

void cds_err_pointer(struct cds_err *reterr, const char *fmt, ...)
{
    if (!reterr)
        return;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(reterr->pointer, sizeof(reterr->pointer), fmt, ap);
    va_end(ap);
}

void cds_err_rule(struct cds_err *reterr, const char *rule)
{
    if (reterr)
        snprintf(reterr->rule, sizeof(reterr->rule), "%s", rule);
}

const char *cds_rc_name(cds_rc code)
{
    return row(code)->name;
}
const char *cds_rc_title(cds_rc code)
{
    return row(code)->title;
}
const char *cds_rc_openai(cds_rc code)
{
    return row(code)->openai;
}
int cds_rc_jsonrpc(cds_rc code)
{
    return row(code)->jsonrpc;
}
int cds_rc_http(cds_rc code)
{
    return row(code)->http;
}

cds_rc cds_rc_from_jsonrpc(int64_t code)
{
    for (int i = 1; i < CDS_RC_COUNT; i++)
        if (rows[i].jsonrpc == code)
            return (cds_rc)i;
    return CDS_INTERNAL;
}

cds_rc cds_rc_from_openai(const char *code)
{
    for (int i = 1; code && i < CDS_RC_COUNT; i++)
        if (!strcmp(rows[i].openai, code))
            return (cds_rc)i;
    return CDS_INTERNAL;
}
