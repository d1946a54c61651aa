#include "apps/llmserver/lexicon.h"

#include <stdlib.h>
#include <string.h>

#include "apps/llmserver/flow.h"
#include "apps/llmserver/memory.h"
#include "apps/llmserver/poison.h"
#include "apps/llmserver/settings.h"
#include "apps/llmserver/system.h"
#include "apps/llmserver/tasks.h"
#include "lib/base/clock.h"
#include "lib/base/str.h"
#include "lib/log/log.h"

enum { STOP_GRACE_MS = 1000, JOBS = 1024, LOOKS = 4, LOOK_MAX_MS = 10000 };

/** The process of a model's vocabulary. */
struct cds_lexicon {
    struct cds_model *model;
    struct cds_proc *proc;
    struct cds_timer *idle, *watch; /**< watch: looks whether it gives signs of life, LOOKS times in llm.silent_ms */
    uint64_t started_ms;
    bool up, stopping;
    uint64_t need_bytes;
    struct cds_err failure;
};

bool cds_lexicon_serves(const struct cds_model *model, const struct cds_ask *ask)
{
    return cds_task_has_words_only(ask->task) && !model->up && model->state != CDS_MODEL_LOADING && model->file.state == CDS_FILE_FINE;
}

static void send(struct cds_gen *gen)
{
    gen->stage = CDS_GEN_PREPARING;
    cds_json_set(gen->ask.prompt, "job", cds_json_int(gen->job));
    cds_json_set(gen->ask.prompt, "max_tokens", cds_json_int(1));
    cds_proc_send(gen->model->lexicon->proc, "prepare", cds_json_ref(gen->ask.prompt));
}

/** Every request that this process has, or is to have. The list changes while they are handled. */
static void each(struct cds_model *model, void (*take)(struct cds_gen *gen, const struct cds_err *err), const struct cds_err *err)
{
    for (int64_t job; (job = 0) == 0;) {
        for (size_t i = 0; !job && i < CDS_GEN_BUCKETS; i++)
            for (const struct cds_gen *gen = model->app->gens[i]; !job && gen; gen = gen->next)
                if (gen->model == model && gen->asks_lexicon && (gen->stage == CDS_GEN_WAITING || (err && gen->stage == CDS_GEN_PREPARING)))
                    job = gen->job;
        if (!job)
            return;
        take(cds_gen_find(model->app, job), err);
    }
}

static void ask_now(struct cds_gen *gen, const struct cds_err *err)
{
    send(gen);
}

static void give_up(struct cds_gen *gen, const struct cds_err *err)
{
    const struct cds_model *model = gen->model;
    if (err->code == CDS_UNAVAILABLE && gen->stage == CDS_GEN_WAITING && (model->up || model->state == CDS_MODEL_LOADING)) {
        gen->asks_lexicon = false; /* the model itself is there, or comes: it answers */
        return;
    }
    if (err->code == CDS_MODEL_CRASHED && gen->stage == CDS_GEN_PREPARING)
        cds_poison_add(gen->app->poison, gen->suspect, cds_now_ms());
    cds_flow_fail(gen, err, err->code == CDS_MODEL_CRASHED ? "crashed" : "error");
}

static void on_frame(void *user, const char *method, const cds_json *params)
{
    struct cds_lexicon *lexicon = user;
    struct cds_model *model = lexicon->model;
    const char *message = cds_json_get_str(params, "message");
    cds_timer_set(lexicon->idle, cds_now_ms() + CDS_LEXICON_IDLE_MS);
    if (cds_streq(method, "hello")) {
        lexicon->up = true;
        each(model, ask_now, NULL);
    } else if (cds_streq(method, "failed")) {
        cds_fail(&lexicon->failure, cds_rc_from_openai(cds_json_get_str(params, "code")), __func__, "%s",
                 message ? message : "The vocabulary cannot be read.");
    } else if (lexicon->up) {
        cds_gen_frame(model, method, params);
    }
}

static void on_exit_of(void *user, const char *why)
{
    struct cds_lexicon *lexicon = user;
    struct cds_model *model = lexicon->model;
    struct cds_err err = lexicon->failure;
    if (!err.code && lexicon->stopping)
        cds_fail(&err, CDS_UNAVAILABLE, __func__, "The vocabulary of %s was given back; ask again.", model->id);
    else if (!err.code)
        cds_fail(&err, CDS_MODEL_CRASHED, __func__, "The process that reads the vocabulary of %s ended (%s).", model->id, why);
    cds_timer_remove(&lexicon->idle);
    cds_timer_remove(&lexicon->watch);
    model->lexicon = NULL;
    free(lexicon);
    each(model, give_up, &err);
}

/** Since when it owes something: its start, or the oldest question that it has. UINT64_MAX: it owes nothing. */
static uint64_t owes_since(const struct cds_lexicon *lexicon)
{
    const struct cds_model *model = lexicon->model;
    uint64_t since = lexicon->up ? UINT64_MAX : lexicon->started_ms;
    for (size_t i = 0; lexicon->up && i < CDS_GEN_BUCKETS; i++)
        for (const struct cds_gen *gen = model->app->gens[i]; gen; gen = gen->next)
            if (gen->model == model && gen->asks_lexicon && gen->stage == CDS_GEN_PREPARING && gen->started_ms < since)
                since = gen->started_ms;
    return since;
}

static void on_idle(void *user)
{
    struct cds_lexicon *lexicon = user;
    if (owes_since(lexicon) == UINT64_MAX)
        cds_lexicon_stop(lexicon->model);
    else
        cds_timer_set(lexicon->idle, cds_now_ms() + CDS_LEXICON_IDLE_MS);
}

static uint64_t look_ms(const struct cds_lexicon *lexicon)
{
    uint64_t part = cds_config_u64(lexicon->model->app->config, CDS_OPT_LLM_SILENT_MS) / LOOKS;
    return part < LOOK_MAX_MS ? part : LOOK_MAX_MS;
}

/** Like a model process: one that has work and says nothing is killed. What it was asked fails, and the next question starts another one. */
static void on_watch(void *user)
{
    struct cds_lexicon *lexicon = user;
    const struct cds_model *model = lexicon->model;
    uint64_t since = owes_since(lexicon), heard = cds_proc_heard_ms(lexicon->proc), now = cds_now_ms();
    if (since != UINT64_MAX && heard > since)
        since = heard;
    if (!lexicon->stopping && since < now && now - since > cds_config_u64(model->app->config, CDS_OPT_LLM_SILENT_MS)) {
        cds_log(CDS_LOG_ERROR, "the process of a vocabulary is silent and is killed", CDS_LS("model", model->id),
                CDS_LI("pid", cds_proc_pid(lexicon->proc)));
        cds_proc_stop(lexicon->proc, 0);
    }
    cds_timer_set(lexicon->watch, now + look_ms(lexicon));
}

void cds_lexicon_stop(struct cds_model *model)
{
    struct cds_lexicon *lexicon = model->lexicon;
    if (!lexicon || lexicon->stopping)
        return;
    lexicon->stopping = true;
    lexicon->up = false;
    cds_timer_set(lexicon->idle, UINT64_MAX);
    cds_proc_stop(lexicon->proc, STOP_GRACE_MS);
}

static cds_rc start(struct cds_model *model, struct cds_err *err)
{
    static const struct cds_proc_ops ops = {.on_frame = on_frame, .on_exit = on_exit_of};
    const struct cds_models *models = &model->app->models;
    uint64_t need = cds_memory_need(model->file.facts, 0, 0).base_bytes;
    cds_rc rc = cds_memory_more(model, need, "its vocabulary", err);
    struct cds_lexicon *lexicon = rc == CDS_OK ? calloc(1, sizeof(*lexicon)) : NULL;
    if (rc != CDS_OK)
        return rc;
    if (!lexicon)
        return cds_fail(err, CDS_EXHAUSTED, __func__, "There is not enough memory.");
    CDS_JSON_AUTO log_level = cds_settings_value(model, "log_level", NULL);
    const struct cds_proc_options options = {
        .program = models->program,
        .model_path = model->path,
        .lib_dir = models->lib_dir,
        .lib_dir_given = models->lib_dir_given,
        .dir = models->run_dir,
        .log_level = cds_json_str(log_level),
        .backend = "cpu",
        .offload = "{}",
        .gpu_devices = "",
        .vocabulary_only = true,
        .context_tokens = cds_settings_u64(model, "context_tokens"),
        .request_tokens = cds_settings_u64(model, "request_tokens"),
        .slots = 1,
        .threads = 1,
        .jobs = JOBS,
        .memory_bytes = need * 2 + ((uint64_t)1 << 30),
    };
    *lexicon = (struct cds_lexicon){.model = model, .need_bytes = need, .started_ms = cds_now_ms()};
    rc = cds_timer_add(model->app->loop, cds_now_ms() + CDS_LEXICON_IDLE_MS, on_idle, lexicon, &lexicon->idle);
    if (rc == CDS_OK)
        rc = cds_timer_add(model->app->loop, cds_now_ms() + look_ms(lexicon), on_watch, lexicon, &lexicon->watch);
    if (rc == CDS_OK)
        rc = cds_proc_start(model->app->loop, &options, &ops, lexicon, &lexicon->proc, err);
    if (rc != CDS_OK) {
        cds_timer_remove(&lexicon->idle);
        cds_timer_remove(&lexicon->watch);
        free(lexicon);
        return rc;
    }
    model->lexicon = lexicon;
    cds_log(CDS_LOG_INFO, "the vocabulary of a model that is not loaded is read", CDS_LS("model", model->id));
    return CDS_OK;
}

void cds_lexicon_ask(struct cds_gen *gen)
{
    struct cds_model *model = gen->model;
    struct cds_err err = {0};
    gen->asks_lexicon = true;
    cds_rc rc = CDS_OK;
    if (model->lexicon && model->lexicon->stopping)
        rc = cds_fail(&err, CDS_UNAVAILABLE, __func__, "The vocabulary of %s is being given back; ask again in a moment.", model->id);
    else if (!model->lexicon)
        rc = start(model, &err);
    if (rc != CDS_OK)
        cds_flow_fail(gen, &err, "refused");
    else if (model->lexicon && model->lexicon->up) {
        cds_timer_set(model->lexicon->idle, cds_now_ms() + CDS_LEXICON_IDLE_MS);
        send(gen);
    }
}

cds_json *cds_lexicon_show(const struct cds_model *model)
{
    const struct cds_lexicon *lexicon = model->lexicon;
    if (!lexicon)
        return cds_json_null();
    return cds_json_pack("{s:I,s:o,s:I}", "pid", (long long)cds_proc_pid(lexicon->proc), "resident_bytes",
                         cds_system_resident(cds_proc_pid(lexicon->proc)), "need_bytes", (long long)lexicon->need_bytes);
}
