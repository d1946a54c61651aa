/* apps/egress/egress.h: what the parts of cds-egress share: brokers that hand sockets over, doors (one per job), connections.
 *
 * Source:  docs/adr/0034-egress.md; sandbox/egress_link.h has the other end.
 * Threads: one loop thread for everything.
 * Life:    one struct egress per process, made by main.c, or by a test.
 */
#pragma once

#include "apps/egress/address.h"
#include "apps/egress/head.h"
#include "lib/base/loop.h"
#include "lib/config/config.h"
#include "lib/http/dial.h"
#include "lib/http/host_rule.h"
#include "lib/json/json.h"

enum {
    EGRESS_MESSAGE_MAX = 64 * 1024, /**< bytes of one message of the broker */
    EGRESS_BROKERS = 4,
    EGRESS_DOORS = 4096,
    EGRESS_PER_SECOND = 100,   /**< connections of one job in a second; more wait in its own queue */
    EGRESS_PIECE = 32 * 1024,  /**< bytes that wait in each direction of a connection */
    EGRESS_HEAD_MS = 10000,    /**< for the head of a request */
    EGRESS_CONNECT_MS = 15000, /**< for name and connection together */
    EGRESS_IDLE_MS = 120000,   /**< a connection without a byte ends */
    EGRESS_LINGER_MS = 1000,   /**< for the client to read a refusal */
    EGRESS_ID_MAX = 64
};

struct egress {
    struct cds_loop *loop;
    struct cds_dialer *dialer;
    struct cds_host_rule hosts[CDS_HOST_RULES_MAX]; /**< option egress.hosts: what any project may name */
    size_t host_count;
    struct egress_range ranges[EGRESS_RANGES_MAX]; /**< option egress.allow_addresses */
    size_t range_count;
    unsigned per_job_max, connections_max;
    unsigned connections, door_count, broker_count;
    struct egress_broker *brokers;
};

/** Takes the options over. @return CDS_OK; CDS_BAD_PARAM names the option */
CDS_MUST_USE cds_rc egress_configure(struct egress *egress, const struct cds_config *config, struct cds_err *reterr);

/** A cds-sandboxd that is connected; its doors end with it. */
struct egress_broker {
    struct egress *egress;
    struct egress_broker *next, **prev;
    struct cds_watch *watch;
    struct egress_door *doors;
    int fd;
};
/** Takes fd over: one message each of SOCK_SEQPACKET. Closes it where it fails. */
void egress_broker_add(struct egress *egress, int fd);
void egress_broker_free(struct egress_broker *broker);
/** Tells the broker how a connection ended, for its metrics. Dropped where the broker does not read. */
void egress_broker_tell(const struct egress_broker *broker, const char *verdict, uint64_t up_bytes, uint64_t down_bytes);

/** The socket of one job, and what it may reach. */
struct egress_door {
    struct egress_broker *broker;
    struct egress_door *next, **prev;
    struct egress_conn *conns;
    struct cds_watch *watch;
    struct cds_timer *timer; /**< of a job that connects too often */
    int64_t id;
    int fd; /**< listens in the network of the job */
    unsigned count, burst;
    uint64_t burst_ms;
    struct cds_host_rule rules[CDS_HOST_RULES_MAX];
    size_t rule_count;
    char project[EGRESS_ID_MAX], request_id[EGRESS_ID_MAX];
};
/** @param fd  owned from here on @param rules  array of texts; one that is none makes the door lead nowhere */
void egress_door_open(struct egress_broker *broker, int64_t id, int fd, const char *project, const char *request_id, const cds_json *rules);
void egress_door_free(struct egress_door *door);
struct egress_door *egress_door_find(const struct egress_broker *broker, int64_t id);

/** Serves one connection of a job; takes fd over. */
void egress_conn_start(struct egress_door *door, int fd);
/** Ends it, with its line in the log. */
void egress_conn_end(struct egress_conn *conn);
