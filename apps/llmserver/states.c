#include "apps/llmserver/states.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "apps/llmserver/flow.h"
#include "apps/llmserver/memory.h"
#include "apps/llmserver/state_file.h"
#include "apps/llmserver/states_fit.h"
#include "apps/llmserver/states_folder.h"
#include "apps/llmserver/weights.h"
#include "lib/base/cleanup.h"
#include "lib/base/fd.h"
#include "lib/base/pool.h"
#include "lib/base/str.h"
#include "lib/log/log.h"

enum { QUEUE_MAX = 8, RETRY_MS = 1000 };

/** A state on its way. */
struct op {
    struct cds_states *states;
    struct cds_http_req *req; /**< of a restore; NULL: of a save, or the client left */
    int64_t job;
    bool saves, sent; /**< sent: the model process has been told */
    int fd;           /**< of the memory file, our own */
    char model[CDS_MODEL_ID_MAX + 1], model_path[PATH_MAX], path[PATH_MAX], user_id[CDS_UUID_LEN + 1];
    char *head; /**< owned: text; of a save without the weights */
    uint64_t bytes;
    cds_rc rc;
    struct cds_err err;
};

struct cds_states {
    struct cds_llm *app;
    struct cds_pool *pool;
    char dir[PATH_MAX];
    unsigned char key[CDS_STATE_KEY];
    bool has_key;
    int64_t owner;                  /**< job that has the memory files; 0: none */
    struct cds_weights_known known; /**< of the pool's thread */
    struct op *op;                  /**< what is on its way; NULL: nothing, or the prompt of the owner is still being read */
};

cds_rc cds_states_new(struct cds_llm *app, struct cds_states **ret, struct cds_err *reterr)
{
    CDS_CLEANUP(cds_states_free) struct cds_states *states = calloc(1, sizeof(*states));
    if (!states)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory.");
    states->app = app;
    cds_config_path(app->config, "states", states->dir, sizeof(states->dir));
    cds_rc rc = cds_pool_new(app->loop, 1, QUEUE_MAX, &states->pool, reterr);
    if (rc != CDS_OK)
        // NOLINTNEXTLINE(clang-analyzer-unix.Malloc): freed at its declaration (CDS_CLEANUP)
        return rc;
    *ret = states;
    states = NULL;
    return CDS_OK;
}

static void op_free(struct op *op)
{
    if (op->fd >= 0)
        close(op->fd);
    free(op->head);
    free(op);
}

void cds_states_free(struct cds_states **states)
{
    struct cds_states *s = *states;
    if (!s)
        return;
    cds_pool_free(&s->pool); /* waits for what is being written */
    if (s->op)
        op_free(s->op);
    free(s);
    *states = NULL;
}

/* --- room ------------------------------------------------------------------------------------------------------- */

static cds_rc busy(struct cds_err *reterr)
{
    cds_fail(reterr, CDS_BUSY, __func__, "Another state is being saved or put back just now.");
    cds_err_hint(reterr, "Try again in a few seconds.");
    if (reterr)
        reterr->retry_after_ms = RETRY_MS;
    return CDS_BUSY;
}

/** Bytes of memory that a state may take on its way. */
static uint64_t memory_free(const struct cds_llm *app)
{
    uint64_t reserve = cds_config_u64(app->config, CDS_OPT_LLM_MEMORY_RESERVE), have = cds_memory_free();
    return have == UINT64_MAX ? have : have > reserve ? have - reserve : 0;
}

static cds_rc open_key(struct cds_states *states, struct cds_err *reterr)
{
    char path[PATH_MAX];
    cds_rc rc = states->has_key ? CDS_OK : cds_mkdir_p(states->dir, 0700, reterr);
    snprintf(path, sizeof(path), "%.4000s/key", states->dir);
    if (rc == CDS_OK && !states->has_key)
        rc = cds_state_key(path, states->key, reterr);
    states->has_key = rc == CDS_OK;
    return rc;
}

cds_rc cds_states_reserve(struct cds_gen *gen, uint64_t *ret_most_bytes, struct cds_err *reterr)
{
    struct cds_states *states = gen->app->states;
    uint64_t most = cds_config_u64(gen->app->config, CDS_OPT_LLM_STATES_BYTES), used = 0;
    unsigned most_count = (unsigned)cds_config_u64(gen->app->config, CDS_OPT_LLM_STATES_USER);
    if (states->owner)
        return busy(reterr);
    cds_rc rc = cds_weights_unchanged(gen->model, reterr);
    if (rc != CDS_OK)
        return rc;
    unsigned count = cds_states_count(states->dir, gen->user_id, gen->ask.save_state, &used, NULL, NULL);
    if (count >= most_count || used >= most) {
        cds_fail(reterr, CDS_EXHAUSTED, __func__, "You keep %u states of %llu bytes already; at most %u of %llu bytes together are kept for a user.",
                 count, (unsigned long long)used, most_count, (unsigned long long)most);
        cds_err_rule(reterr, count >= most_count ? "llm.states_per_user" : "llm.states_bytes");
        cds_err_pointer(reterr, "/save_state");
        return cds_err_hint(reterr, "Delete one with DELETE /v1/states/{name}.");
    }
    rc = open_key(states, reterr);
    if (rc != CDS_OK)
        return rc;
    uint64_t room = memory_free(gen->app);
    *ret_most_bytes = most - used < room ? most - used : room;
    states->owner = gen->job;
    return CDS_OK;
}

static void let_go(struct cds_states *states)
{
    struct op *op = states->op;
    states->op = NULL;
    states->owner = 0;
    if (op) {
        (void)!ftruncate(op->fd, 0); /* its memory is back */
        op_free(op);
    }
}

void cds_states_release(struct cds_llm *app, int64_t job)
{
    if (app->states && app->states->owner == job && !app->states->op)
        app->states->owner = 0;
}

/** An operation on the memory file of a model's process. */
static cds_rc op_new(struct cds_states *states, const struct cds_model *model, const char *user_id, const char *name, int64_t job, cds_json *head,
                     struct cds_err *reterr)
{
    struct op *op = calloc(1, sizeof(*op));
    if (!op)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory for the state.");
    op->states = states;
    op->job = job;
    op->fd = model->proc ? fcntl(cds_proc_exchange(model->proc), F_DUPFD_CLOEXEC, 3) : -1;
    op->head = cds_json_dumps(head, NULL);
    cds_strcpy(op->model, sizeof(op->model), model->id);
    cds_strcpy(op->model_path, sizeof(op->model_path), model->path);
    cds_strcpy(op->user_id, sizeof(op->user_id), user_id);
    cds_states_path(states->dir, user_id, name, op->path);
    if (op->fd < 0 || !op->head) {
        op_free(op);
        return cds_fail(reterr, CDS_UNAVAILABLE, __func__, "The model process is gone, or there is not enough memory for the state.");
    }
    states->op = op;
    states->owner = job;
    return CDS_OK;
}

/* --- saving ---------------------------------------------------------------------------------------------------------------- */

static void write_state(void *user)
{
    struct op *op = user;
    struct cds_states *states = op->states;
    CDS_JSON_AUTO head = NULL;
    op->rc = cds_json_parse(op->head, strlen(op->head), &head, &op->err);
    if (op->rc == CDS_OK)
        op->rc = cds_weights_note(&states->known, op->model_path, states->app->models.dirs[0], head, &op->err);
    CDS_CLEANUP(cds_free_ptr) char *text = op->rc == CDS_OK ? cds_json_dumps(head, NULL) : NULL;
    if (op->rc == CDS_OK)
        op->rc = text ? cds_state_write(op->path, states->key, text, op->fd, op->bytes, &op->err)
                      : cds_fail(&op->err, CDS_EXHAUSTED, __func__, "There is not enough memory for the state.");
}

static void on_written(void *user)
{
    struct op *op = user;
    struct cds_states *states = op->states;
    struct cds_gen *gen = cds_gen_find(states->app, op->job);
    struct cds_err err = op->err;
    cds_rc rc = op->rc;
    const struct cds_model *model = cds_models_find(states->app, op->model);
    if (rc == CDS_OK && gen && model)
        rc = cds_weights_unchanged(model, &err);
    if (op->rc == CDS_OK && (!gen || rc != CDS_OK))
        (void)unlink(op->path); /* nobody is told of it, and nobody pays */
    let_go(states);
    if (gen)
        cds_flow_saved(gen, rc == CDS_OK ? NULL : &err);
}

void cds_states_save(struct cds_gen *gen, struct cds_model *model, const cds_json *state)
{
    struct cds_states *states = gen->app->states;
    struct cds_err err = {0};
    const char *problem = cds_json_get_str(state, "problem");
    char dir[PATH_MAX];
    int64_t bytes = cds_json_get_i64(state, "bytes", 0);
    snprintf(dir, sizeof(dir), "%.3800s/%.40s", states->dir, gen->user_id);
    CDS_JSON_AUTO head = cds_states_made_with(model, gen->user_id, gen->ask.save_state, state);
    cds_rc rc = CDS_OK;
    if (problem || bytes <= 0) {
        rc = cds_fail(&err, problem ? CDS_EXHAUSTED : CDS_SYSTEM, __func__, "%.200s", problem ? problem : "The model process wrote no state.");
        cds_err_hint(&err, "Delete states that are not needed any more, or save a shorter prompt.");
    }
    if (rc == CDS_OK)
        rc = cds_mkdir_p(dir, 0700, &err);
    if (rc == CDS_OK)
        rc = op_new(states, model, gen->user_id, gen->ask.save_state, gen->job, head, &err);
    if (rc == CDS_OK) {
        states->op->saves = true;
        states->op->bytes = (uint64_t)bytes;
        rc = cds_pool_submit(states->pool, write_state, on_written, states->op);
        if (rc != CDS_OK)
            cds_fail(&err, rc, __func__, "The state cannot be written just now.");
    }
    if (rc == CDS_OK) {
        gen->end.state = gen->ask.save_state;
        gen->end.state_tokens = (uint32_t)cds_json_get_i64(state, "tokens", 0);
        gen->end.state_bytes = (uint64_t)bytes;
        return;
    }
    let_go(states);
    cds_flow_saved(gen, &err);
}

/* --- putting back ---------------------------------------------------------------------------------------------------------- */

static void finish(struct cds_states *states, const struct cds_err *err)
{
    struct op *op = states->op;
    struct cds_http_req *req = op->req;
    char user_id[CDS_UUID_LEN + 1];
    cds_strcpy(user_id, sizeof(user_id), op->user_id);
    CDS_JSON_AUTO head = NULL;
    cds_rc rc = cds_json_parse(op->head, strlen(op->head), &head, NULL);
    let_go(states);
    if (!req)
        return;
    cds_http_set_user(req, NULL, NULL, NULL);
    if (err || rc != CDS_OK)
        cds_routes_fail(req, user_id, err);
    else
        cds_admin_reply(req, user_id, 200,
                        cds_json_pack("{s:s,s:O,s:O,s:O,s:b}", "object", "state", "name", cds_json_get(head, "name"), "model",
                                      cds_json_get(head, "model"), "tokens", cds_json_get(head, "tokens"), "restored", 1));
}

static void read_state(void *user)
{
    struct op *op = user;
    struct cds_states *states = op->states;
    CDS_JSON_AUTO head = NULL;
    op->rc = cds_json_parse(op->head, strlen(op->head), &head, &op->err);
    if (op->rc == CDS_OK)
        op->rc = cds_state_read(op->path, states->key, op->head, op->fd, &op->err);
    if (op->rc == CDS_OK)
        op->rc = cds_weights_same(&states->known, op->model_path, states->app->models.dirs[0], head, &op->err);
}

static void on_read(void *user)
{
    struct op *op = user;
    struct cds_states *states = op->states;
    const struct cds_model *model = cds_models_find(states->app, op->model);
    struct cds_err err = op->err;
    struct stat st = {0};
    CDS_JSON_AUTO head = NULL;
    cds_rc rc = op->rc == CDS_OK ? cds_json_parse(op->head, strlen(op->head), &head, &err) : op->rc;
    if (rc == CDS_OK && (!model || !model->up || fstat(op->fd, &st) != 0))
        rc = cds_fail(&err, CDS_MODEL_NOT_LOADED, __func__, "model not loaded: it was unloaded meanwhile.");
    if (rc == CDS_OK && model)
        rc = cds_weights_unchanged(model, &err);
    if (rc != CDS_OK || !model) {
        finish(states, &err);
        return;
    }
    op->sent = true;
    cds_proc_send(model->proc, "restore",
                  cds_json_pack("{s:I,s:I,s:O,s:I,s:O}", "job", (long long)op->job, "bytes", (long long)st.st_size, "tokens",
                                cds_json_get(head, "tokens"), "scope", (long long)cds_flow_scope(op->user_id), "lora",
                                cds_json_get(head, "adapters")));
}

void cds_states_restored(struct cds_model *model, const cds_json *params)
{
    struct cds_states *states = model->app->states;
    const char *code = cds_json_get_str(params, "code"), *message = cds_json_get_str(params, "message"), *hint = cds_json_get_str(params, "hint");
    struct cds_err err = {0};
    if (!states->op || states->op->saves || states->op->job != cds_json_get_i64(params, "job", 0))
        return;
    if (code) {
        cds_fail(&err, cds_rc_from_openai(code), __func__, "%s", message ? message : "The model process did not take the state.");
        cds_err_hint(&err, "%s", hint ? hint : "");
        if (err.code == CDS_BUSY)
            err.retry_after_ms = RETRY_MS;
    }
    finish(states, code ? &err : NULL);
}

void cds_states_model_down(struct cds_model *model)
{
    struct cds_states *states = model->app->states;
    struct cds_err err = {0};
    /* While a file is read, the end of that sees that the model is gone. */
    if (!states || !states->op || states->op->saves || !states->op->sent || !cds_streq(states->op->model, model->id))
        return;
    cds_fail(&err, CDS_MODEL_CRASHED, __func__, "The model process ended while the state was put back.");
    cds_err_hint(&err, "Try again in a few seconds.");
    finish(states, &err);
}

static void on_gone(void *user)
{
    struct op *op = user;
    op->req = NULL; /* what was begun is ended */
}

/** The model that a state wants, when it is still that. */
static cds_rc model_for(struct cds_llm *app, const cds_json *head, const char *named, struct cds_model **ret, struct cds_err *err)
{
    const char *made_with = cds_json_get_str(head, "model");
    struct cds_model *model = cds_models_find(app, named && *named ? named : made_with ? made_with : "?");
    if (!model)
        return cds_fail(err, CDS_NOT_FOUND, __func__, "There is no model \"%.128s\" here.", named && *named ? named : made_with ? made_with : "");
    if (!model->up || model->unloading) {
        cds_fail(err, CDS_MODEL_NOT_LOADED, __func__, "model not loaded: %s.", model->id);
        return cds_err_hint(err, "An administrator can load it.");
    }
    *ret = model;
    cds_rc rc = cds_states_fit(model, head, err);
    return rc == CDS_OK ? cds_weights_unchanged(model, err) : rc;
}

static cds_rc begin_restore(struct cds_llm *app, struct cds_http_req *req, const struct cds_credential *credential, const char *name,
                            struct cds_err *err)
{
    struct cds_states *states = app->states;
    const char *user_id = credential->claims.user_id;
    char path[PATH_MAX];
    CDS_CLEANUP(cds_free_ptr) char *text = NULL;
    CDS_JSON_AUTO head = NULL;
    CDS_JSON_AUTO body = NULL;
    struct cds_model *model = NULL;
    size_t len;
    struct stat st;
    const char *asked = cds_http_body(req, &len);
    cds_rc rc = len ? cds_json_parse(asked, len, &body, err) : CDS_OK;
    cds_states_path(states->dir, user_id, name, path);
    if (rc == CDS_OK)
        rc = cds_state_peek(path, &text, err);
    if (rc == CDS_OK && cds_json_parse(text, strlen(text), &head, NULL) != CDS_OK)
        rc = cds_fail(err, CDS_BAD_PARAM, __func__, "The file of the state was changed, or is damaged: its head is no JSON.");
    if (rc == CDS_OK && (!cds_streq(cds_json_get_str(head, "user"), user_id) || !cds_streq(cds_json_get_str(head, "name"), name)))
        rc = cds_fail(err, CDS_BAD_PARAM, __func__, "The file of the state was changed, or is damaged: it is the one of somebody else.");
    if (rc == CDS_OK)
        rc = model_for(app, head, cds_json_get_str(body, "model"), &model, err);
    if (rc == CDS_OK && model)
        rc = cds_credential_model(credential, model->id, err);
    if (rc == CDS_OK && states->owner)
        rc = busy(err);
    if (rc == CDS_OK)
        rc = open_key(states, err);
    if (rc == CDS_OK && (stat(path, &st) != 0 || (uint64_t)st.st_size > memory_free(app)))
        rc = cds_fail(err, CDS_EXHAUSTED, __func__, "There is not enough memory to put the state back.");
    if (rc != CDS_OK || !model)
        return rc;
    rc = op_new(states, model, user_id, name, ++app->jobs, head, err);
    if (rc != CDS_OK)
        return rc;
    free(states->op->head);
    states->op->head = text; /* byte by byte as in the file: its digest covers it */
    text = NULL;
    rc = cds_pool_submit(states->pool, read_state, on_read, states->op);
    if (rc != CDS_OK) {
        let_go(states);
        return busy(err);
    }
    states->op->req = req;
    cds_http_set_user(req, states->op, on_gone, NULL);
    return CDS_OK;
}

/* --- the list -------------------------------------------------------------------------------------------------------------- */

static void add_row(void *user, const char *name, const char *path, uint64_t bytes)
{
    cds_json_append(user, cds_states_show(name, path, bytes));
}

static void list(struct cds_llm *app, struct cds_http_req *req, const char *user_id)
{
    uint64_t bytes;
    cds_json *rows = cds_json_array();
    cds_states_count(app->states->dir, user_id, NULL, &bytes, add_row, rows);
    cds_admin_reply(req, user_id, 200,
                    cds_json_pack("{s:s,s:o,s:I,s:I,s:I}", "object", "list", "data", rows, "bytes", (long long)bytes, "bytes_max",
                                  (long long)cds_config_u64(app->config, CDS_OPT_LLM_STATES_BYTES), "count_max",
                                  (long long)cds_config_u64(app->config, CDS_OPT_LLM_STATES_USER)));
}

static cds_rc one(struct cds_llm *app, struct cds_http_req *req, const char *user_id, const char *name, bool removes, struct cds_err *err)
{
    char path[PATH_MAX];
    struct stat st;
    cds_states_path(app->states->dir, user_id, name, path);
    if (lstat(path, &st) != 0 || (removes && unlink(path) != 0))
        return cds_fail(err, CDS_NOT_FOUND, __func__, "You have no state \"%s\".", name);
    cds_admin_reply(req, user_id, 200,
                    removes ? cds_json_pack("{s:s,s:s,s:b}", "object", "state", "name", name, "deleted", 1)
                            : cds_states_show(name, path, (uint64_t)st.st_size));
    return CDS_OK;
}

bool cds_states_route(struct cds_llm *app, struct cds_http_req *req, const struct cds_credential *credential)
{
    static const char all[] = "/v1/states", behind[] = "/restore";
    const char *path = cds_http_path(req), *method = cds_http_method(req), *user_id = credential->claims.user_id;
    bool get = cds_streq(method, "GET"), post = cds_streq(method, "POST"), removes = cds_streq(method, "DELETE");
    struct cds_err err = {0};
    char name[65] = "";
    size_t len = strlen(path), before = sizeof(all) - 1, after = post ? sizeof(behind) - 1 : 0;
    if (!cds_starts_with(path, all) || (path[before] && path[before] != '/') || (!get && !post && !removes))
        return false;
    bool lists = get && !path[before];
    if (!lists && (len < before + 2 + after || len - before - 1 - after > 64 || (post && !cds_streq(path + len - after, behind))))
        return false;
    if (!lists)
        memcpy(name, path + before + 1, len - before - 1 - after);
    cds_rc rc = cds_credential_need(credential, CDS_ROLE_DEVELOPER, "states of prompts", &err);
    if (rc == CDS_OK && !lists && !cds_states_name(name))
        rc =
            cds_fail(&err, CDS_BAD_PARAM, __func__, "A state has a name of 1 to 64 letters, digits, \"-\", \"_\" and \".\", without \".\" in front.");
    if (rc == CDS_OK && lists)
        list(app, req, user_id);
    else if (rc == CDS_OK)
        rc = post ? begin_restore(app, req, credential, name, &err) : one(app, req, user_id, name, removes, &err);
    if (rc != CDS_OK)
        cds_routes_fail(req, user_id, &err);
    return true;
}
