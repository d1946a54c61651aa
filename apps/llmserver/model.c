#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "apps/llmserver/adapters.h"
#include "apps/llmserver/app.h"
#include "apps/llmserver/backend.h"
#include "apps/llmserver/draft.h"
#include "apps/llmserver/generation.h"
#include "apps/llmserver/inspection.h"
#include "apps/llmserver/lexicon.h"
#include "apps/llmserver/memory.h"
#include "apps/llmserver/probe.h"
#include "apps/llmserver/settings.h"
#include "apps/llmserver/states.h"
#include "apps/llmserver/system.h"
#include "apps/llmserver/weights.h"
#include "lib/base/clock.h"
#include "lib/base/str.h"
#include "lib/log/log.h"
#include "lib/metrics/metrics.h"

enum {
    CHECK_MS = 10000, /* at most: LOOKS times in llm.silent_ms */
    LOOKS = 4,
    BACKOFF_FIRST_MS = 100,
    BACKOFF_MAX_MS = 10000,
    STOP_GRACE_MS = 2000,
    DRAIN_LOOK_MS = 20,
    BATCH_ROWS = 256
}; /* BATCH_ROWS: settings.c too */
/* What the driver of a GPU takes of the process's own memory, beside the estimate. */
#define DRIVER_BYTES ((uint64_t)2 << 30)

const char *cds_model_state_name(enum cds_model_state state)
{
    static const char *const names[] = {"unloaded", "loading", "loaded", "failed"};
    return names[state];
}

static void set_state(struct cds_model *model, enum cds_model_state state)
{
    if (model->state == state)
        return;
    if (model->state == CDS_MODEL_LOADED)
        cds_metric_add(CDS_M_LLM_LOADED, NULL, -1);
    if (state == CDS_MODEL_LOADED)
        cds_metric_add(CDS_M_LLM_LOADED, NULL, 1);
    model->state = state;
    cds_log(state == CDS_MODEL_FAILED ? CDS_LOG_ERROR : CDS_LOG_INFO, "model state", CDS_LS("model", model->id),
            CDS_LS("state", cds_model_state_name(state)), CDS_LS("reason", state == CDS_MODEL_FAILED ? model->failure.message : NULL),
            CDS_LS("detail", state == CDS_MODEL_FAILED && *model->failure.detail ? model->failure.detail : NULL));
    cds_admin_model_changed(model->app, model);
}

/* --- frames of the process ---------------------------------------------------------------------------------------------- */

/** How many layers went to a GPU is known now: the rest of the estimate is what other models have to leave to it. */
static void take_layers(struct cds_model *model)
{
    int64_t layers = cds_json_get_i64(model->compute, "layers", 0);
    struct cds_memory_need need = cds_settings_need(model, (uint64_t)model->cells, BATCH_ROWS);
    uint64_t there = layers > 0 && cds_backend_would_be_gpu(model) ? cds_memory_on_gpu(model->file.facts, &need, (uint32_t)layers) : 0;
    uint64_t all = model->need_bytes + model->gpu_bytes;
    model->gpu_bytes = there < all ? there : all;
    model->need_bytes = all - model->gpu_bytes;
}

static void on_hello(struct cds_model *model, const cds_json *params)
{
    model->parameters = cds_json_get_i64(params, "parameters", 0);
    model->request_tokens = cds_json_get_i64(params, "request_tokens", 0);
    model->cells = cds_json_get_i64(params, "cells", 0);
    const char *description = cds_json_get_str(params, "description");
    cds_strcpy(model->description, sizeof(model->description), description ? description : "");
    const char *library = cds_json_get_str(params, "library");
    cds_strcpy(model->library, sizeof(model->library), library ? library : "");
    model->infill = cds_json_true(cds_json_get(params, "infill"), false) ? CDS_INFILL_YES : CDS_INFILL_NO;
    const char *problem = cds_json_get_str(params, "draft_problem");
    model->drafts = cds_json_true(cds_json_get(params, "drafts"), false);
    if (problem && *problem)
        cds_strcpy(model->draft_problem, sizeof(model->draft_problem), problem);
    cds_system_heard(model->app, cds_json_get(params, "system"));
    cds_json_unref(model->compute);
    model->compute = cds_json_copy(cds_json_get(params, "compute"));
    take_layers(model);
    model->up = true;
    model->up_ms = model->used_ms = cds_now_ms();
    model->on_demand = false;
    model->was_up = true;
    model->percent = 100;
    cds_meter_add_model(model->app->meter, model->id);
    set_state(model, CDS_MODEL_LOADED);
    cds_gen_model_up(model);
}

static void on_failed(struct cds_model *model, const cds_json *params)
{
    const char *message = cds_json_get_str(params, "message"), *detail = cds_json_get_str(params, "detail");
    const char *hint = cds_json_get_str(params, "hint"), *rule = cds_json_get_str(params, "rule");
    cds_rc code = cds_rc_from_openai(cds_json_get_str(params, "code"));
    cds_fail(&model->failure, code, __func__, "%s", message ? message : "The model process gave no reason.");
    cds_err_detail(&model->failure, "%s", detail ? detail : "");
    cds_err_hint(&model->failure, "%s", hint ? hint : "");
    cds_err_rule(&model->failure, rule ? rule : "");
    cds_proc_stop(model->proc, STOP_GRACE_MS);
}

static void read_work(struct cds_model *model, const cds_json *params)
{
    cds_json *work = cds_json_get(params, "work");
    if (!cds_json_is(work, CDS_JSON_OBJECT))
        return;
    cds_json_ref(work);
    cds_json_unref(model->work);
    model->work = work;
}

static void on_frame(void *user, const char *method, const cds_json *params)
{
    struct cds_model *model = user;
    if (cds_streq(method, "loading")) {
        int percent = (int)cds_json_get_i64(params, "percent", model->percent);
        model->progress_ms = percent > model->percent ? cds_now_ms() : model->progress_ms;
        model->percent = percent;
        cds_admin_model_changed(model->app, model);
    } else if (cds_streq(method, "hello")) {
        read_work(model, params);
        if (!model->unloading)
            on_hello(model, params);
    } else if (cds_streq(method, "failed")) {
        on_failed(model, params);
    } else if (model->up) {
        read_work(model, params);
        if (cds_streq(method, "done"))
            model->starts_failed = 0;
        if (cds_streq(method, "restored"))
            cds_states_restored(model, params);
        else if (!cds_probe_frame(model, method, params))
            cds_gen_frame(model, method, params);
    }
}

/* --- the process ends --------------------------------------------------------------------------------------------------- */

static void after_crash(struct cds_model *model, const char *why)
{
    model->restarts++;
    model->starts_failed++;
    cds_metric_add(CDS_M_LLM_WORKER_RESTARTS, NULL, 1);
    cds_log(CDS_LOG_ERROR, "model process ended", CDS_LS("model", model->id), CDS_LS("why", why), CDS_LI("failed_starts", model->starts_failed));
    cds_fail(&model->failure, CDS_MODEL_CRASHED, __func__, "The model process ended while it worked on this request; nothing was charged.");
    cds_err_hint(&model->failure, "Send the request again; the model is being started anew.");
    bool comes_back = model->starts_failed < CDS_MODEL_STARTS_MAX;
    set_state(model, comes_back ? CDS_MODEL_LOADING : CDS_MODEL_FAILED);
    cds_gen_model_down(model, &model->failure, comes_back);
    uint32_t wait_ms = BACKOFF_FIRST_MS << (model->starts_failed - 1);
    if (comes_back)
        cds_timer_set(model->timer, cds_now_ms() + (wait_ms < BACKOFF_MAX_MS ? wait_ms : BACKOFF_MAX_MS));
}

static void not_loaded(const struct cds_model *model, struct cds_err *err)
{
    cds_fail(err, CDS_MODEL_NOT_LOADED, __func__, "model not loaded: %s was unloaded.", model->id);
    cds_err_hint(err, "An administrator can load it again.");
}

static void launch(struct cds_model *model);
static void not_started(struct cds_model *model, const struct cds_err *err);

/** The next backend is tried, which may need more memory here than the one before it. */
static void try_backend(struct cds_model *model)
{
    struct cds_err err = {0};
    model->failure = (struct cds_err){0};
    if (!cds_model_try_room(model, &err)) {
        model->backend = NULL;
        not_started(model, &err);
    }
}

static void on_exit(void *user, const char *why)
{
    struct cds_model *model = user;
    struct cds_err err = {0};
    model->proc = NULL;
    model->up = false;
    model->stopping = false;
    model->need_bytes -= model->solo_bytes;
    model->solo_bytes = 0;
    model->probe_job = 0;
    cds_states_model_down(model);
    cds_timer_set(model->timer, UINT64_MAX);
    if (model->unloading || model->app->draining) {
        bool stay = model->evicting && !model->app->draining;
        model->unloading = model->evicting = model->yielding = false;
        not_loaded(model, &err);
        cds_gen_model_down(model, &err, stay);
        set_state(model, CDS_MODEL_UNLOADED);
        if (stay && cds_gen_waiting(model) > 0)
            cds_model_demand(model);
    } else if (model->was_up) {
        after_crash(model, why);
    } else if (cds_backend_next(model, model->failure.code ? model->failure.message : why)) {
        try_backend(model);
    } else {
        if (model->failure.code == CDS_OK)
            cds_fail(&model->failure, CDS_MODEL_CRASHED, __func__, "The model process ended while it loaded %s (%s).", model->id, why);
        cds_fail(&err, CDS_MODEL_NOT_LOADED, __func__, "model not loaded: %s", model->failure.message);
        cds_gen_model_down(model, &err, false);
        set_state(model, CDS_MODEL_FAILED);
    }
}

/* --- starting and stopping ---------------------------------------------------------------------------------------------- */

/** Answers the process may know at once: a request can ask for several. */
static uint64_t jobs_of(const struct cds_config *c)
{
    uint64_t jobs = (cds_config_u64(c, CDS_OPT_LLM_SLOTS) + cds_config_u64(c, CDS_OPT_LLM_QUEUE)) * 4 + 64;
    return jobs < 8192 ? jobs : 8192;
}

static void not_started(struct cds_model *model, const struct cds_err *err)
{
    model->failure = *err;
    cds_gen_model_down(model, err, false);
    set_state(model, CDS_MODEL_FAILED);
}

static uint64_t check_ms(const struct cds_model *model)
{
    uint64_t part = cds_config_u64(model->app->config, CDS_OPT_LLM_SILENT_MS) / LOOKS;
    return part < CHECK_MS ? part : CHECK_MS;
}

/** Starts its process with the backend that was chosen. */
static void launch(struct cds_model *model)
{
    static const struct cds_proc_ops ops = {.on_frame = on_frame, .on_exit = on_exit};
    const struct cds_llm *app = model->app;
    const struct cds_config *c = app->config;
    cds_lexicon_stop(model);
    const struct cds_model *draft = cds_draft_of(model, model->draft_problem, sizeof(model->draft_problem));
    char load[CDS_SETTINGS_LOAD_MAX], offload[CDS_OFFLOAD_TEXT_MAX], lib_dir[PATH_MAX + 16];
    struct cds_err err = {0};
    if (!model->backend && cds_backend_begin(model, &err) != CDS_OK) {
        model->backend = NULL;
        not_started(model, &err);
        return;
    }
    bool gpu = cds_backend_is_gpu(model);
    cds_backend_folder(app, model->backend, lib_dir, sizeof(lib_dir));
    cds_backend_offload(model, model->cells_wanted, BATCH_ROWS, offload, sizeof(offload));
    CDS_JSON_AUTO log_level = cds_settings_value(model, "log_level", NULL);
    cds_settings_for_load(model, load, sizeof(load));
    struct cds_proc_options options = {
        .program = app->models.program,
        .model_path = model->path,
        .draft_path = draft ? draft->path : NULL,
        .lib_dir = lib_dir,
        .lib_dir_given = gpu || app->models.lib_dir_given,
        .backend = model->backend,
        .offload = offload,
        .gpu_devices = cds_config_str(c, CDS_OPT_LLM_GPU_DEVICES),
        .dir = app->models.run_dir,
        .log_level = cds_json_str(log_level),
        .load = load,
        .adapter_dir = app->models.dirs[0],
        .context_tokens = model->cells_wanted,
        .request_tokens = cds_settings_u64(model, "request_tokens"),
        .slots = cds_config_u64(c, CDS_OPT_LLM_SLOTS),
        .threads = cds_settings_u64(model, "threads"),
        .jobs = jobs_of(c),
    };
    model->percent = 0;
    model->progress_ms = cds_now_ms();
    model->weights_mark = cds_weights_mark(model);
    options.memory_bytes = model->limit_bytes + (gpu ? DRIVER_BYTES : 0);
    if (cds_proc_start(app->loop, &options, &ops, model, &model->proc, &err) != CDS_OK) {
        not_started(model, &err);
        return;
    }
    cds_timer_set(model->timer, cds_now_ms() + check_ms(model));
}

/** The last running request is over, or they had their time: the process ends now. */
static void drain(struct cds_model *model)
{
    struct cds_err err = {0};
    if (model->stopping)
        return;
    if (model->running > 0 && cds_now_ms() < model->drain_deadline_ms) {
        cds_timer_set(model->timer, cds_now_ms() + DRAIN_LOOK_MS);
        return;
    }
    model->up = false;
    model->stopping = true;
    not_loaded(model, &err);
    cds_gen_model_down(model, &err, model->evicting);
    cds_proc_stop(model->proc, STOP_GRACE_MS);
}

/** Three uses: the end of a drain, the next start after a crash, and the look whether a busy process still gives signs of life. */
static void on_timer(void *user)
{
    struct cds_model *model = user;
    if (!model->proc) {
        if (model->state == CDS_MODEL_LOADING)
            launch(model);
        return;
    }
    if (model->unloading) {
        drain(model);
        return;
    }
    bool busy = !model->up || model->running > 0 || model->probe_job;
    uint64_t since_ms = cds_proc_heard_ms(model->proc);
    if (model->probe_since_ms > since_ms)
        since_ms = model->probe_since_ms; /* one that idled had nothing to say before */
    if (busy && cds_now_ms() - since_ms > cds_config_u64(model->app->config, CDS_OPT_LLM_SILENT_MS)) {
        cds_log(CDS_LOG_ERROR, "model process is silent and is killed", CDS_LS("model", model->id), CDS_LI("pid", cds_proc_pid(model->proc)));
        cds_proc_stop(model->proc, 0);
    }
    cds_timer_set(model->timer, cds_now_ms() + check_ms(model));
}

void cds_model_load(struct cds_model *model)
{
    if (model->state == CDS_MODEL_LOADED || model->state == CDS_MODEL_LOADING || model->proc)
        return;
    if (!model->timer && cds_timer_add(model->app->loop, UINT64_MAX, on_timer, model, &model->timer) != CDS_OK) {
        cds_fail(&model->failure, CDS_EXHAUSTED, __func__, "There is not enough memory to load a model.");
        set_state(model, CDS_MODEL_FAILED);
        return;
    }
    model->failure = (struct cds_err){0};
    model->was_up = false;
    model->backend = NULL;
    model->starts_failed = 0;
    model->percent = 0;
    set_state(model, CDS_MODEL_LOADING);
    cds_inspection_run(model->app);
    model->load_wanted = true;
    if (model->file.state == CDS_FILE_FINE || model->file.state == CDS_FILE_CORRUPT)
        cds_model_file_read(model);
}

void cds_model_file_read(struct cds_model *model)
{
    struct cds_err err = {0};
    if (!model->load_wanted)
        return;
    model->load_wanted = false;
    CDS_JSON_AUTO adapters = cds_settings_value(model, "adapters", NULL);
    cds_rc rc = cds_inspection_allows(model, &err);
    if (rc == CDS_OK)
        rc = cds_adapters_check(model, adapters, &err);
    if (rc != CDS_OK) {
        cds_model_refuse(model, &err);
    } else if (!cds_model_try_room(model, &err)) {
        /* One that is loaded by its first use takes nobody's place where administrators say what is loaded. */
        if (!model->on_demand || !cds_config_u64(model->app->config, CDS_OPT_LLM_AUTOLOAD)) {
            cds_model_refuse(model, &err);
            return;
        }
        model->wants_room = true; /* residency.c sees to it */
        model->wanted_ms = cds_now_ms();
    }
}

bool cds_model_try_room(struct cds_model *model, struct cds_err *reterr)
{
    uint64_t cells = cds_settings_u64(model, "context_tokens"), least = cds_settings_u64(model, "context_tokens_min");
    /* The first refusal is told: it says what the whole context would need. */
    cds_rc rc = cds_memory_allows(model, cells, BATCH_ROWS, &model->limit_bytes, reterr);
    while (rc != CDS_OK && least && cells > least) {
        cells = cells / 2 > least ? cells / 2 : least;
        rc = cds_memory_allows(model, cells, BATCH_ROWS, &model->limit_bytes, NULL);
    }
    if (rc != CDS_OK)
        return false;
    model->cells_wanted = cells;
    struct cds_memory_need need = cds_memory_of(model, cells, BATCH_ROWS);
    model->need_bytes = need.total_bytes - need.gpu_bytes;
    model->gpu_bytes = need.gpu_bytes;
    model->wants_room = false;
    launch(model);
    return true;
}

void cds_model_refuse(struct cds_model *model, const struct cds_err *err)
{
    /* Refused before anything was tried: the model is as it was. */
    model->failure = *err;
    model->wants_room = model->on_demand = false;
    cds_log(CDS_LOG_WARN, "a load was refused", CDS_LS("model", model->id), CDS_LS("reason", err->message),
            CDS_LS("rule", *err->rule ? err->rule : NULL));
    cds_gen_model_down(model, err, false);
    set_state(model, CDS_MODEL_UNLOADED);
}

void cds_model_demand(struct cds_model *model)
{
    if (model->state != CDS_MODEL_UNLOADED || model->proc)
        return;
    model->on_demand = true;
    cds_model_load(model);
}

void cds_model_unload(struct cds_model *model)
{
    if (model->proc) {
        if (model->unloading)
            return;
        struct cds_err err = {0};
        model->unloading = true;
        model->drain_deadline_ms = model->up && !model->app->draining ? cds_now_ms() + cds_config_u64(model->app->config, CDS_OPT_LLM_DRAIN_MS) : 0;
        not_loaded(model, &err);
        if (!model->evicting)
            cds_gen_model_drain(model, &err);
        drain(model);
        return;
    }
    if (model->timer)
        cds_timer_set(model->timer, UINT64_MAX);
    model->load_wanted = model->wants_room = model->on_demand = false;
    struct cds_err err = {0};
    not_loaded(model, &err);
    cds_gen_model_down(model, &err, false);
    set_state(model, CDS_MODEL_UNLOADED);
}

void cds_models_stop(struct cds_llm *app)
{
    for (struct cds_model *model = app->models.first; model; model = model->next) {
        cds_lexicon_stop(model);
        if (model->proc)
            cds_model_unload(model);
    }
}
