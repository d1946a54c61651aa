/* lib/http/dial.h: a TCP connection to a host by name, where somebody looks at each address right before it is connected.
 *
 * The address that check sees is the one of the socket that is made for it: what the resolver said before, or says later, does not matter, so
 * an answer that changes (DNS rebinding) passes no check.
 *
 * Source:  CURLOPT_OPENSOCKETFUNCTION(3), CURLOPT_CONNECT_ONLY(3): libcurl resolves and tries the addresses, both families side by side.
 * Threads: loop thread only (libcurl resolves in a thread of its own).
 */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "lib/base/loop.h"

struct cds_dialer;
struct cds_dial;

struct cds_dial_ops {
    /** May this address be connected? Called for each that would be tried. Must not start or cancel dials. */
    bool (*check)(void *user, const struct sockaddr *address);
    /** The end, exactly once, never inside cds_dial_start: a connected socket (owned by the receiver, non-blocking), or -1 and err. */
    void (*done)(void *user, int fd, const struct cds_err *err);
};

CDS_MUST_USE cds_rc cds_dialer_new(struct cds_loop *loop, struct cds_dialer **ret, struct cds_err *reterr);
/** All its dials have ended or are cancelled. */
void cds_dialer_free(struct cds_dialer **dialer);
/**
 * @param host         from cds_host_name
 * @param deadline_ms  of name and connection together, cds_now_ms clock
 * @param ret          valid until done or cancel
 */
CDS_MUST_USE cds_rc cds_dial_start(struct cds_dialer *dialer, const char *host, uint16_t port, uint64_t deadline_ms, const struct cds_dial_ops *ops,
                                   void *user, struct cds_dial **ret, struct cds_err *reterr);
/** Ends it without done. Sets *dial to NULL; no-op on NULL. Not inside check. */
void cds_dial_cancel(struct cds_dial **dial);
