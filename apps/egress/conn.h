/* apps/egress/conn.h: one connection of a job, from its head to its end. Shared by conn.c (what happens) and pump.c (how bytes move).
 *
 * Threads: loop thread only.
 */
#pragma once

#include "apps/egress/egress.h"

/** Bytes on their way. */
struct egress_pipe {
    char data[EGRESS_PIECE];
    size_t at, len;      /**< what waits: data[at..len) */
    uint64_t left_bytes; /**< that may still be read; UINT64_MAX: to the end */
    uint64_t moved_bytes;
    bool ended, closed; /**< nothing more comes; the other side was told */
};

struct egress_conn {
    struct egress_door *door;
    struct egress_conn *next, **prev;
    enum { EGRESS_READS_HEAD, EGRESS_DIALS, EGRESS_MOVES, EGRESS_LINGERS } state;
    int client, server;
    struct cds_watch *client_watch, *server_watch;
    struct cds_timer *timer;
    struct cds_dial *dial;
    struct egress_pipe up, down; /**< to the server, to the client */
    struct egress_head head;
    uint64_t began_ms, active_ms;
    const char *verdict, *rule;        /**< "allowed", "refused", "failed"; the rule that refused, or "" */
    char address[EGRESS_ADDRESS_TEXT]; /**< that was connected, or refused last; "" */
    bool address_refused, address_tried;
};

/** Moves what can be moved and waits for the rest. False: the connection is over. */
bool egress_pump(struct egress_conn *conn);
