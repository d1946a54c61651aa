/* apps/llmserver/app.h: what the parts of the model server share.
 *
 * Threads: one loop thread for everything.
 * Life:    one struct cds_llm per process, made by main.c.
 */
#pragma once

#include "apps/llmserver/metering.h"
#include "apps/llmserver/model.h"
#include "lib/config/config.h"
#include "lib/credential/credential.h"
#include "lib/credential/standing.h"
#include "lib/http/client.h"
#include "lib/http/server.h"

struct cds_audit;
struct cds_gen;
struct cds_grammars;
struct cds_poison;
struct cds_admin_wait;
struct cds_admin_list;
struct cds_admin_change;
struct cds_downloads;
struct cds_pace;
struct cds_events;
struct cds_replay;
struct cds_replays;
struct cds_once;
struct cds_onces;
struct cds_states;
struct cds_look;

enum { CDS_GEN_BUCKETS = 256 };

struct cds_llm {
    struct cds_loop *loop;
    struct cds_config *config;
    struct cds_http_server *server;
    struct cds_http_client *client;
    struct cds_credentials *creds;
    struct cds_standing *standing;
    struct cds_meter *meter;
    struct cds_pace *pace;
    struct cds_audit *audit;
    struct cds_models models;
    struct cds_grammars *grammars;          /**< the ones that come with the server */
    struct cds_poison *poison;              /**< requests under which model processes died */
    struct cds_gen *gens[CDS_GEN_BUCKETS];  /**< live requests by job number */
    struct cds_admin_wait *admin_waits;     /**< load and unload calls that wait for the end */
    struct cds_admin_list *admin_lists;     /**< lists of models that wait until all files were read */
    struct cds_admin_change *admin_changes; /**< settings that wait until all files were read */
    struct cds_downloads *downloads;
    struct cds_look *looks; /**< headers of remote models that are being read (admin_inspect.h) */
    struct cds_timer *residency_timer;
    struct cds_replays *replays; /**< streams that their clients may come back to */
    struct cds_onces *onces;     /**< requests with an Idempotency-Key that are on their way */
    struct cds_states *states;   /**< states of prompts in files */
    cds_json *catalogue;         /**< array of catalogue.json; NULL: there is none */
    struct cds_events *events;   /**< readers of /admin/events */
    int64_t jobs;                /**< last job number given */
    uint64_t drain_deadline_ms;
    bool draining;
};

/** routes.c: every request comes in here. */
void cds_routes_on_request(void *user, struct cds_http_req *req);
/** routes.c: the one log line of a request. user_id may be NULL. */
void cds_routes_log(const struct cds_http_req *req, const char *user_id, int status);
/** routes.c: answers with an OpenAI error and logs. */
void cds_routes_fail(struct cds_http_req *req, const char *user_id, const struct cds_err *err);

/** routes.c: an error in the shape of the API its address belongs to; no log line. */
void cds_routes_reply_error(struct cds_http_req *req, const struct cds_err *err);
/** routes.c: the address; the short ones stand for others. */
const char *cds_routes_path(const struct cds_http_req *req);

/** access.c: rights have changed: requests and readers of events whose credential no longer holds end. user is struct cds_llm. */
void cds_access_changed(void *user, const struct cds_standing_change *change);
/** access.c: somebody reads on in a kept stream: it ends with this credential from now on. */
void cds_access_adopt(struct cds_llm *app, const struct cds_replay *replay, const struct cds_credential *credential);
/** resume.c: what is kept of streams: /v1/requests/{id}/events, /v1/responses/{id}; true when the path was one of them. */
bool cds_resume_route(struct cds_llm *app, struct cds_http_req *req, const struct cds_credential *credential);

/** admin.c: /v1/models, /v1/models/{id}, /admin/...; true when the path was one of them. */
bool cds_admin_route(struct cds_llm *app, struct cds_http_req *req, const struct cds_credential *credential);
/** admin.c: a model changed its state (or its load went on): waiting load and unload calls are answered, readers of events are told. */
void cds_admin_model_changed(struct cds_llm *app, struct cds_model *model);
/** admin.c: a model file was read: lists that wait for the last one are answered. */
void cds_admin_files_read(struct cds_llm *app);
/** admin.c: a model as /admin/models and /admin/events show it; owned by the caller. */
cds_json *cds_admin_model(const struct cds_model *model);
/** admin_download.c: /admin/download and /admin/events; true when the path was one of them. */
bool cds_admin_download_route(struct cds_llm *app, struct cds_http_req *req, const struct cds_credential *credential);
/** admin_settings.c: /admin/models/{id}/settings; true when the path was one of them. */
bool cds_admin_settings_route(struct cds_llm *app, struct cds_http_req *req, const struct cds_credential *credential);
/** admin_settings.c: all files were read: changes that waited for it are made. */
void cds_admin_settings_files_read(struct cds_llm *app);
/** admin.c: answers with JSON and logs; takes value. */
void cds_admin_reply(struct cds_http_req *req, const char *user_id, int status, cds_json *value);
