/* sandbox/confine/doors.h: sockets born in a job's network and used outside of it.
 *
 * A socket belongs to the network namespace in which it was made, whoever holds it. So the jail's child, before it gives up its rights, brings
 * its own loopback up, makes the sockets and sends them to the broker in one message. Nothing of ours stays in the jail, no byte passes
 * through the broker, and the job itself never holds one of them: its namespace still has no way out but the door that somebody answers.
 *
 * egress:  listens on 127.0.0.1:3128 inside; who accepts is the proxy (docs/adr/0034-egress.md).
 * preview: not connected; connect() to 127.0.0.1:PORT reaches a server of the job, connect() to AF_UNSPEC makes the socket free again.
 *
 * Source:  network_namespaces(7), unix(7) (SCM_RIGHTS), docs/adr/0033-doors.md.
 * Threads: cds_doors_make in the child of jail.c, with system calls only; the others on the loop thread.
 */
#pragma once

#include <stdbool.h>

#include "lib/base/err.h"

enum { CDS_DOORS_PREVIEW = 16, CDS_DOORS_EGRESS_PORT = 3128, CDS_DOORS_BACKLOG = 128 };

/** What a jail is asked for; NULL in its plan: nothing, and loopback stays down. */
struct cds_doors_plan {
    int fd;      /**< the child's end of cds_doors_pair */
    bool egress; /**< also the socket that listens */
};

/** What came out of it. */
struct cds_jail_doors {
    int egress;                     /**< owned; -1: none was asked for, or it was handed on */
    int preview[CDS_DOORS_PREVIEW]; /**< owned, close-on-exec; -1 behind preview_count. Who borrows one gives it back not connected */
    unsigned preview_count;
};

/** No door; may be closed. */
void cds_doors_init(struct cds_jail_doors *doors);
/** Closes what is open; idempotent. */
void cds_doors_close(struct cds_jail_doors *doors);
/** The channel of one message. @param ret_ours  readable when it came; owned @param ret_theirs  for the child; owned */
CDS_MUST_USE cds_rc cds_doors_pair(int *ret_ours, int *ret_theirs, struct cds_err *reterr);
/** Child: makes them and sends them. Says nothing when something is refused: cds_doors_take tells, and the job has no doors. */
void cds_doors_make(const struct cds_doors_plan *plan);
/**
 * Takes what the child sent. Never blocks.
 * @param ret  written on success only; owned
 * @return CDS_OK; CDS_BUSY (nothing there yet); CDS_SYSTEM (refused inside, with its reason, or the child is gone)
 */
CDS_MUST_USE cds_rc cds_doors_take(int ours, struct cds_jail_doors *ret, struct cds_err *reterr);
