/* apps/preview/control.h: the gateway's door: preview.open, preview.close, preview.list as frames on run/preview.sock.
 *
 * Each call says whose it is (user, session, expires_s); the gateway has checked credential, role and project, and that the program listens.
 * Threads: loop thread only.
 */
#pragma once

#include "apps/preview/preview.h"

struct control;
/** Root and ourselves may connect. */
CDS_MUST_USE cds_rc control_open(struct previews *all, struct control **ret, struct cds_err *reterr);
void control_close(struct control **control);
