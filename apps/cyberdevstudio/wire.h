/* apps/cyberdevstudio/wire.h: the command line as a client of the running studio: sign in, one HTTP call after the other.
 *
 * Source:  apps/auth/README.md (POST /auth/login), apps/llmserver/README.md.
 * Threads: main thread only. Every call blocks until its answer or its deadline.
 * Who:     the access token in CDS_ACCESS_TOKEN, else a sign-in with --email and the password from the terminal (or the first line of stdin).
 */
#pragma once

#include "apps/cyberdevstudio/commands.h"
#include "lib/json/json.h"

enum { CDS_WIRE_CALL_MS = 150000, CDS_WIRE_STREAM_MS = 3600000, CDS_WIRE_ANSWER_MAX = 16 << 20, CDS_WIRE_EVENT_MAX = 4 << 20 };

struct cds_wire;
/** Takes --email out of the command. @return CDS_OK; CDS_BAD_PARAM without a way to sign in; what the sign-in said */
CDS_MUST_USE cds_rc cds_wire_open(struct cds_command *cmd, struct cds_wire **ret, struct cds_err *reterr);
void cds_wire_close(struct cds_wire **wire); /**< sets it to NULL */
/** One call to the model server. body may be NULL. *ret is owned by the caller. @return CDS_OK; what its error object says; CDS_UNAVAILABLE */
CDS_MUST_USE cds_rc cds_wire_call(struct cds_wire *wire, const char *method, const char *path, const cds_json *body, cds_json **ret,
                                  struct cds_err *reterr);
/** The same with an answer in events: on_event gets each (borrowed). */
CDS_MUST_USE cds_rc cds_wire_stream(struct cds_wire *wire, const char *path, const cds_json *body,
                                    void (*on_event)(void *user, const cds_json *event), void *user, struct cds_err *reterr);
