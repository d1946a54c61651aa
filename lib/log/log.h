/* lib/log/log.h: one JSON object per line on stderr.
 *
 * Fields of every line: ts (RFC 3339), level, proc, msg; further fields as the caller gives them, request_id and user_id
 * under these names so that filters find them.
 * Redaction: values of fields whose name holds password, secret, token, authorization, cookie or api_key become "[redacted]";
 * in every value, text that looks like a JWT or a cds_ key is cut to its first 12 characters.
 * Threads: safe. A line is one write(2) of at most 8 KiB; longer values are cut and marked.
 */
#pragma once

#include "lib/base/err.h"

enum cds_log_level { CDS_LOG_DEBUG, CDS_LOG_INFO, CDS_LOG_WARN, CDS_LOG_ERROR };

/** Names the process ("cds-api") and the least level written. Call once at start. */
void cds_log_init(const char *proc, enum cds_log_level least);
/** "debug", "info", "warn", "error" -> level. @return CDS_OK, CDS_BAD_PARAM */
cds_rc cds_log_level_parse(const char *text, enum cds_log_level *ret);

/** One field of a line. Use the macros. */
struct cds_log_field {
    enum { CDS_LF_STR, CDS_LF_INT, CDS_LF_END } kind;
    const char *name;
    const char *str; /**< borrowed, NULL is left out */
    long long num;
};
#define CDS_LS(name, value) ((struct cds_log_field){CDS_LF_STR, (name), (value), 0})
#define CDS_LI(name, value) ((struct cds_log_field){CDS_LF_INT, (name), NULL, (long long)(value)})
#define CDS_LEND ((struct cds_log_field){CDS_LF_END, NULL, NULL, 0})

/** cds_log(CDS_LOG_INFO, "request done", CDS_LS("request_id", id), CDS_LI("status", 200)); */
#define cds_log(level, msg, ...) cds_log_write((level), (msg), (const struct cds_log_field[]){__VA_ARGS__ __VA_OPT__(, ) CDS_LEND})
void cds_log_write(enum cds_log_level level, const char *msg, const struct cds_log_field *fields);
/** Logs an error value: code, where, errno, detail, rule. */
void cds_log_err(enum cds_log_level level, const char *msg, const char *request_id, const struct cds_err *err);
