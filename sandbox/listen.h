/* sandbox/listen.h: the broker's socket: who may connect, and what becomes of a connection.
 *
 * Threads: loop thread only.
 */
#pragma once

#include "sandbox/broker.h"

/** Root, ourselves, and the user the services run as. */
bool broker_may_connect(const struct broker *broker, int fd);
/** Takes a connected socket (owned on success). */
CDS_MUST_USE cds_rc broker_add_client(struct broker *broker, int fd, struct cds_err *reterr);
/** The peer is closed already: ends its runs and frees what is left. */
void broker_client_closed(struct client *client);
