/* lib/rpc/rpc.h: JSON-RPC 2.0: envelopes, the method table, checks against the schema. Knows no transport.
 *
 * Source:  jsonrpc.org/specification; schemas/rpc/<method>.json -> tools/gen_rpc -> build/gen/rpc_methods.c
 * Threads: the table is read-only after cds_rpc_table_init; a call belongs to one thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/json/json.h"
#include "lib/json/problem.h"
#include "lib/json/schema.h"

/** Roles in rising order of rights; a method names the least role that may call it. */
enum cds_role { CDS_ROLE_NONE, CDS_ROLE_VIEWER, CDS_ROLE_DEVELOPER, CDS_ROLE_ADMIN };
const char *cds_role_name(enum cds_role role);  /**< "none", "viewer", "developer", "admin" */
enum cds_role cds_role_parse(const char *text); /**< CDS_ROLE_NONE if unknown; "user" of older texts is developer */

/** Is a call of a method written into the audit log? tools/gen_rpc derives it from role and access row. */
enum cds_rpc_audit {
    CDS_AUDIT_NEVER,
    CDS_AUDIT_ADMINS, /**< when an admin calls: a parameter may then name somebody else's thing */
    CDS_AUDIT_ALWAYS  /**< methods for admins, and approvals */
};

/** One row of the generated table (static data). */
struct cds_rpc_method {
    const char *name;         /**< "fs.write" */
    const char *leaf;         /**< process that serves it: "api", "auth", "sandboxd", "llmserver", "preview" */
    enum cds_role least_role; /**< NONE: no credential needed */
    uint32_t deadline_ms;     /**< time until the gateway answers TIMED_OUT */
    bool streams;             /**< sends notifications before its answer */
    bool billable;            /**< refused as a JSON-RPC notification (without id) */
    enum cds_rpc_audit audit;
    const char *audit_shown; /**< names of the parameters whose values the audit log keeps, "a,b" */
    const char *schema_json; /**< the whole schema file, text */
};
extern const struct cds_rpc_method cds_rpc_methods[];
extern const size_t cds_rpc_method_count;

/** Compiles all parameter and result schemas; call once at start. A second call does nothing. */
CDS_MUST_USE cds_rc cds_rpc_table_init(struct cds_err *reterr);
/** NULL if there is no such method. */
const struct cds_rpc_method *cds_rpc_find(const char *name);
/** params NULL counts as {}. @return CDS_OK; CDS_BAD_PARAM with a JSON Pointer into the request, e.g. "/params/limits/wall_ms" */
CDS_MUST_USE cds_rc cds_rpc_check_params(const struct cds_rpc_method *method, const cds_json *params, struct cds_err *reterr);
/** Same for a result, with pointers below "/result"; used by tests and by `contract` checks. */
CDS_MUST_USE cds_rc cds_rpc_check_result(const struct cds_rpc_method *method, const cds_json *result, struct cds_err *reterr);
/** Does a call by somebody of that role go into the audit log? */
bool cds_rpc_audited(const struct cds_rpc_method *method, enum cds_role caller);
/** What the audit log keeps of a call's parameters: values of those in audit_shown, and of all others only that they were there ("(not kept)").
 *  Owned; NULL when memory is out. params may be NULL. */
cds_json *cds_rpc_audit_params(const struct cds_rpc_method *method, const cds_json *params);
/** OpenRPC document of all methods, owned by the caller; NULL when memory is out. Needs no cds_rpc_table_init. */
cds_json *cds_rpc_discover(void);

/** One parsed request object of a message. */
struct cds_rpc_request {
    cds_json *id;       /**< borrowed; NULL for a notification */
    const char *method; /**< borrowed */
    cds_json *params;   /**< borrowed; NULL when absent */
};
/** Checks the envelope of one element. params may be an array here: the schemas refuse it, by name. @return CDS_OK, CDS_BAD_REQUEST */
CDS_MUST_USE cds_rc cds_rpc_parse_request(const cds_json *element, struct cds_rpc_request *ret, struct cds_err *reterr);
enum { CDS_RPC_BATCH_MAX = 100 };

/* The builders below answer NULL only when memory is out. */
/** {"jsonrpc":"2.0","id":..,"result":..}; steals result, refs id (NULL: null). A result of NULL becomes an EXHAUSTED error. */
cds_json *cds_rpc_result(cds_json *id, cds_json *result);
/**
 * Error answer with an RFC 9457 problem in error.data: type ("urn:cyberdevstudio:problem:budget-exceeded"), title, status, detail (the
 * sentence, also in error.message), instance ("urn:uuid:<request_id>"), request_id, rule, hint, retry_after_ms, and
 * errors[{pointer,detail}] with RFC 6901 pointers into the request. Members without a value are left out. request_id may be NULL.
 */
cds_json *cds_rpc_error(cds_json *id, const struct cds_err *err, const char *request_id);
/** {"jsonrpc":"2.0","method":..,"params":..}; steals params. */
cds_json *cds_rpc_notification(const char *method, cds_json *params);
/** {"jsonrpc":"2.0","id":..,"method":..,"params":..}; steals params. */
cds_json *cds_rpc_call(int64_t id, const char *method, cds_json *params);
/** Rebuilds the error value from an error object received from another process; anything else becomes CDS_INTERNAL. */
void cds_rpc_error_parse(const cds_json *error, struct cds_err *ret);
