/* sandbox/broker.h: cds-sandboxd: takes frames from the gateway, works below one project at a time, holds no secret.
 *
 * Source:  lib/rpc/frame.h, schemas/rpc/{fs.*,run.*,sandbox.probe}.json; internal methods project.prepare, project.discard,
 *          sandboxd.metrics, run.cancel. Parameters may carry the request_id of the call they belong to, for the log.
 * Threads: the loop thread, and pool threads for file work (one for changes, so that they are ordered, and two for reading).
 */
#pragma once

#include "lib/base/pool.h"
#include "lib/config/config.h"
#include "lib/rpc/frame.h"
#include "sandbox/fs.h"
#include "sandbox/host.h"
#include "sandbox/sandbox.h"

enum {
    BROKER_FRAME_MAX = 4 * 1024 * 1024,  /**< bytes of one frame */
    BROKER_OUT_MAX = 64 * 1024 * 1024,   /**< bytes waiting for the gateway */
    BROKER_HOLD_BYTES = 4 * 1024 * 1024, /**< a run's output waits while more than this waits to be sent */
    BROKER_CLIENTS = 16,
    BROKER_ENGINES = 4,
    BROKER_WATCHES = 64,  /**< fs.watch at once */
    BROKER_FS_QUEUE = 256 /**< file calls waiting for a thread */
};

struct broker {
    struct cds_loop *loop;
    const struct cds_config *config;
    struct sandbox_host *host;
    struct egress_link *egress;                 /**< NULL while it only probes */
    struct cds_engine *engines[BROKER_ENGINES]; /**< in the order they are probed */
    size_t engine_count;
    struct cds_pool *readers, *writer;
    struct fs_queue *changes; /**< what the writer has before it, in order */
    struct client *clients;
    struct image_desk *images;     /**< image_desk.h; NULL while it only probes */
    struct preview_desk *previews; /**< preview.h; NULL: none are lent */
    struct term *terms;            /**< terminals of all projects, the newest first */
    unsigned client_count, watch_count;
    int projects_fd;
    uid_t services_uid;
    cds_json *probed; /**< answer of the last probe; NULL: none, or too old; owned */
    uint64_t probed_ms;
    struct probe_run *probing; /**< the probe that is going on; NULL: none */
    char templates_dir[600];
};

/** One connection; counted, because file work may outlive it. */
struct client {
    struct broker *broker;
    struct client *next, **prev;
    struct cds_peer *peer; /**< NULL once closed */
    unsigned refs;
    struct run_call *runs;       /**< its runs; they end with it */
    struct watch_call *watches;  /**< its open fs.watch; they end with it */
    struct term_reader *readers; /**< its term.attach calls; the terminals stay */
    struct addition *adding;     /**< its image.add or image.pull; NULL: none; it is cancelled with it */
    bool local;                  /**< it is the broker's own user (or root): the command line */
};

void client_ref(struct client *client);
void client_unref(struct client *client);
/** Answers a call; steals result. No-op when the client is gone or id is NULL. */
void client_result(struct client *client, cds_json *id, cds_json *result);
void client_error(struct client *client, cds_json *id, const struct cds_err *err);

/** Directory of a project by its id (a UUID), O_PATH; owned. @return CDS_OK; CDS_NOT_FOUND; CDS_BAD_PARAM */
CDS_MUST_USE cds_rc broker_project_open(const struct broker *broker, const char *id, int *ret_fd, struct cds_err *reterr);
/** Makes the folder of a project and fills it from a template when it is new. Any thread. */
CDS_MUST_USE cds_rc broker_project_prepare(const struct broker *broker, const char *id, const char *template_name, struct cds_err *reterr);

/** Removes the folder of a project that came to nothing; CDS_OK also when there is none. Any thread. */
CDS_MUST_USE cds_rc broker_project_discard(const struct broker *broker, const char *id, struct cds_err *reterr);

/** call_fs.c: takes over one fs.* or project.* call. */
void fs_call(struct client *client, const struct cds_rpc_request *request);
bool fs_call_knows(const char *method);
CDS_MUST_USE cds_rc fs_queue_new(struct fs_queue **ret, struct cds_err *reterr);
void fs_queue_free(struct fs_queue **queue);
/** call_run.c */
void run_call(struct client *client, const struct cds_rpc_request *request);
/** run.cancel with an id of its own: ends a run of the project by its run id, whoever started it. */
void run_stop_call(struct client *client, const struct cds_rpc_request *request);
/** The job of a run that is going on; NULL: there is none. */
struct cds_job *run_job(const struct broker *broker, const char *project, const char *run_id, const struct cds_engine_ops **ret_ops);
/** Cancels the client's run of that call id. */
void run_call_cancel(struct client *client, int64_t call);
/** The client is gone: its runs are killed and never answered. */
void run_call_drop_all(struct client *client);
/** call_term.c: takes over one term.* call. */
void term_call(struct client *client, const struct cds_rpc_request *request);
/** Ends the client's term.attach of that call id; it is answered. */
void term_call_cancel(struct client *client, int64_t call);
/** The client is gone: its readers are, too; the terminals go on. */
void term_call_drop_all(struct client *client);
/** The engine of that name; NULL: there is none. */
struct cds_engine *broker_engine(const struct broker *broker, const char *name);

/** call_watch.c */
void watch_call(struct client *client, const struct cds_rpc_request *request);
/** Ends the client's fs.watch of that call id with an answer. False: there is none. */
bool watch_call_cancel(struct client *client, int64_t call);
void watch_call_drop_all(struct client *client);

/** call_probe.c: asks every engine what works, at most once a minute. */
void probe_call(struct client *client, const struct cds_rpc_request *request);
void probe_free(struct broker *broker);
