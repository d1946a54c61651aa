#include "apps/llmserver/probe.h"

#include "apps/llmserver/app.h"
#include "apps/llmserver/tasks.h"
#include "lib/base/clock.h"
#include "lib/base/str.h"

static void ask(struct cds_model *model, uint64_t now)
{
    bool speaks = cds_model_kind(model) == CDS_KIND_CHAT;
    cds_json *order =
        speaks ? cds_json_pack("{s:[s],s:i}", "prompts", ".", "max_tokens", 1) : cds_json_pack("{s:s,s:[s]}", "task", "embed", "inputs", ".");
    if (!order)
        return;
    model->probe_job = ++model->app->jobs;
    model->probe_since_ms = now;
    cds_json_set(order, "job", cds_json_int(model->probe_job));
    cds_proc_send(model->proc, "prepare", order);
}

static uint64_t after_ms(const struct cds_model *model)
{
    uint64_t half = cds_config_u64(model->app->config, CDS_OPT_LLM_SILENT_MS) / 2;
    return half < CDS_PROBE_AFTER_MS ? half : CDS_PROBE_AFTER_MS;
}

cds_rc cds_probe(struct cds_model *model, struct cds_err *reterr)
{
    uint64_t now = cds_now_ms();
    if (!model->up || model->unloading)
        return CDS_OK;
    if (!model->probe_job && model->running == 0 && now - cds_proc_heard_ms(model->proc) >= after_ms(model))
        ask(model, now);
    if (!model->probe_job || now - model->probe_since_ms < CDS_PROBE_WAIT_MS)
        return CDS_OK;
    cds_fail(reterr, CDS_UNAVAILABLE, __func__, "The process of the model %s does not answer: it has been asked for one token for %llu ms.",
             model->id, (unsigned long long)(now - model->probe_since_ms));
    return cds_err_hint(reterr, "It is started anew after llm.silent_ms.");
}

bool cds_probe_frame(struct cds_model *model, const char *method, const cds_json *params)
{
    if (!model->probe_job || cds_json_get_i64(params, "job", 0) != model->probe_job)
        return false;
    if (cds_streq(method, "prepared"))
        cds_proc_send(model->proc, "start", cds_json_pack("{s:I,s:i}", "job", (long long)model->probe_job, "granted", 1));
    else
        model->probe_job = 0; /* done; or refused, which is an answer as well */
    return true;
}
