/* lib/base/err.h: result codes and the error value that travels up to the request handler.
 *
 * Threads: values only, no shared state.
 * Rule:    a function returns cds_rc, writes its ret_* outputs on success only and *reterr on failure only.
 *          Libraries return; the request handler logs, once.
 */
#pragma once

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/compiler.h"

/** CDS_OK is 0; every other value stands in err_codes.def. */
typedef enum cds_rc {
    CDS_OK = 0,
#define CDS_ERR(name, rpc, http, openai, text) CDS_##name,
#include "lib/base/err_codes.def"
#undef CDS_ERR
    CDS_RC_COUNT
} cds_rc;

/** One failure. Fixed size, no pointers to free; safe to copy. All texts are NUL-terminated UTF-8, cut if too long. */
struct cds_err {
    cds_rc code;
    int sys_errno;           /**< errno of the failed call, 0 if none */
    uint32_t retry_after_ms; /**< 0: no hint */
    char where[64];          /**< function or step, for the log */
    char pointer[128];       /**< JSON Pointer (RFC 6901) of the wrong parameter, or "" */
    char rule[48];           /**< machine-readable rule that refused ("fs.symlink", "budget.user.month"), or "" */
    char message[320];       /**< for the user: what happened and why, one sentence */
    char hint[192];          /**< for the user: what to do, one sentence, or "" */
    char detail[320];        /**< for the log only: never shown to users */
};

/**
 * Fills *reterr (may be NULL) and returns code, so that a caller writes `return cds_fail(reterr, CDS_DENIED, ...)`.
 * @param where   usually __func__
 * @param fmt     message for the user, printf format
 */
cds_rc cds_fail(struct cds_err *reterr, cds_rc code, const char *where, const char *fmt, ...) CDS_PRINTF(4, 5);
/** Like cds_fail with code CDS_SYSTEM, or EXHAUSTED for ENOMEM, ENOSPC, EMFILE, ENFILE, EDQUOT; detail gets strerror. */
cds_rc cds_fail_errno(struct cds_err *reterr, int sys_errno, const char *where, const char *fmt, ...) CDS_PRINTF(4, 5);
/** Adds what the user can do. No-op when reterr is NULL. Returns reterr->code, or CDS_INTERNAL for NULL. */
cds_rc cds_err_hint(struct cds_err *reterr, const char *fmt, ...) CDS_PRINTF(2, 3);
/** Adds text for the log only. */
void cds_err_detail(struct cds_err *reterr, const char *fmt, ...) CDS_PRINTF(2, 3);
/** Sets the JSON Pointer of the wrong parameter. */
void cds_err_pointer(struct cds_err *reterr, const char *fmt, ...) CDS_PRINTF(2, 3);
/** Sets the rule name. */
void cds_err_rule(struct cds_err *reterr, const char *rule);

/** Upper-case name ("NOT_FOUND"), "OK" for 0, "?" out of range. Static storage. */
const char *cds_rc_name(cds_rc code);
/** Short title for problem documents. Static storage. */
const char *cds_rc_title(cds_rc code);
/** OpenAI-style string code. Static storage. */
const char *cds_rc_openai(cds_rc code);
int cds_rc_jsonrpc(cds_rc code); /**< JSON-RPC code, 0 for CDS_OK */
int cds_rc_http(cds_rc code);    /**< HTTP status, 200 for CDS_OK */
/** Inverse of cds_rc_jsonrpc; CDS_INTERNAL if the number is unknown. */
cds_rc cds_rc_from_jsonrpc(int64_t code);
/** Inverse of cds_rc_openai; CDS_INTERNAL if unknown. */
cds_rc cds_rc_from_openai(const char *code);
