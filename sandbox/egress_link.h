/* sandbox/egress_link.h: hands the listening socket of a job to cds-egress, with the rules of its project, and takes it back at the job's end.
 *
 * While cds-egress is away every door is closed: the socket does not listen, a job is refused at once, and nothing waits that could be answered by
 * somebody else. When it is back all doors are handed over again.
 *
 * Source:  apps/egress/egress.h has the other end; confine/doors.h makes the sockets; docs/adr/0034-egress.md.
 * Wire:    SOCK_SEQPACKET, one JSON object each: {op: "open", door, project, request_id, rules} with the socket, {op: "close", door}; back comes
 *          {verdict, up_bytes, down_bytes} for each connection that ended.
 * Threads: loop thread only.
 */
#pragma once

#include "lib/base/loop.h"
#include "sandbox/sandbox.h"

enum { EGRESS_LINK_MESSAGE_MAX = 64 * 1024, EGRESS_LINK_RETRY_MS = 200 };

struct egress_link;
struct egress_door;

/** @param path  socket of cds-egress; tried again and again @param ret  owned */
CDS_MUST_USE cds_rc egress_link_new(struct cds_loop *loop, const char *path, struct egress_link **ret, struct cds_err *reterr);
/** Its doors are closed already. */
void egress_link_free(struct egress_link **link);
/** Is cds-egress there? */
bool egress_link_up(const struct egress_link *link);

/** A door of a job, whose socket comes later. @param link  NULL: nobody will ever answer @param network  copied @param ret  owned */
CDS_MUST_USE cds_rc egress_door_new(struct egress_link *link, const struct cds_job_network *network, struct egress_door **ret,
                                    struct cds_err *reterr);
/** Its socket; taken over. */
void egress_door_give(struct egress_door *door, int fd);
/** The job has ended: cds-egress closes what it has of it. Sets *door to NULL; no-op on NULL. */
void egress_door_close(struct egress_door **door);
