/* sandbox/preview.h: which ports the programs of a job listen on, and the loan of the sockets in its network to cds-preview.
 *
 * Wire of run/preview-doors.sock: the borrower writes the key of a job (32 hex digits, from preview.grant) and gets "+" with the descriptors
 * (SCM_RIGHTS), or "-" and a sentence. The loan lasts as long as the connection: whichever side ends, the sockets are cut off and ours again.
 * The job's end closes it. One borrower per job; only root and the services' user may connect.
 * Source:  unix(7), sandbox/confine/doors.h, docs/adr/0035-preview.md.
 * Threads: loop thread only.
 */
#pragma once

#include "sandbox/broker.h"
#include "sandbox/proc_tcp.h"

enum {
    PREVIEW_KEY_LEN = 32,    /**< hex digits of 128 bits */
    PREVIEW_ASKING_MAX = 16, /**< connections that have not said their key yet */
    PREVIEW_ASKING_MS = 2000 /**< and how long they may take */
};

/** call_preview.c: takes over preview.ports or preview.grant. */
void preview_call(struct client *client, const struct cds_rpc_request *request);
/** The listening ports of a job; none where its engine has no network. */
CDS_MUST_USE cds_rc preview_ports(const struct cds_engine_ops *ops, struct cds_job *job, struct proc_tcp_ports *ret, struct cds_err *reterr);
/** The key under which the sockets of this job are lent; the same each time. Borrowed until the job ends. @return CDS_OK; CDS_EXHAUSTED */
CDS_MUST_USE cds_rc preview_grant(struct broker *broker, const struct cds_engine_ops *ops, struct cds_job *job, const char **ret_key,
                                  struct cds_err *reterr);
/** The job ends: its loan ends, its key is worth nothing. */
void preview_job_gone(struct broker *broker, const struct cds_job *job);

CDS_MUST_USE cds_rc preview_listen(struct broker *broker, const char *path, struct cds_err *reterr);
void preview_stop(struct broker *broker);
