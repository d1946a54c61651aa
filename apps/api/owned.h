/* apps/api/owned.h: what belongs to a person and is listed and ended alike: sessions and API keys.
 *
 * Threads: loop thread only.
 */
#pragma once

#include "apps/api/call.h"

struct cds_rows;

/** Whose list is asked for: params.user_id, else the caller's own; somebody else's takes an administrator.
 *  @param what  "sessions", for the refusal
 *  @return NULL: refused; the call is answered and gone, so nothing may be read from it */
const char *owned_whose(struct call *call, const char *what);
/** Whose things the caller may end: an administrator everybody's (NULL), others their own. */
const char *owned_limit(const struct call *call);
/** Answers by what session_end or key_end said: {member: its id, "revoked": true}, or that there is no such `noun` of the caller. The call may be
 *  gone (user is its ticket). @param member  parameter with the id  @param lists  method that lists them */
void owned_ended(void *user, const struct cds_rows *rows, const struct cds_err *err, const char *member, const char *noun, const char *lists);
