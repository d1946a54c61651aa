/* apps/api/leaf_llm_embed.c: llm.embed: vectors of texts. One interface with two engines: the model server's /v1/embeddings, metered like every call;
 * and pgml.embed of the connected database where an administrator has named a model for it (docs/adr/0072-usage-and-forecasts.md). */
#include <stdlib.h>

#include "apps/api/llm.h"
#include "apps/api/message.h"
#include "lib/base/cleanup.h"
#include "lib/base/str.h"

struct embedding {
    struct call *call;
    struct cds_http_call *http;
};

static void drop(struct call *call)
{
    struct embedding *embedding = call->leaf;
    cds_http_call_cancel(&embedding->http);
    free(embedding);
    call->leaf = NULL;
}

static bool cancel(struct call *call)
{
    struct cds_err err;
    drop(call);
    cds_fail(&err, CDS_CANCELLED, __func__, "The call was cancelled.");
    call_fail(call, &err);
    return true;
}

static cds_json *result_of(const cds_json *answer)
{
    const cds_json *data = cds_json_get(answer, "data"), *usage = cds_json_get(answer, "usage"), *own = cds_json_get(answer, "cds");
    cds_json *vectors = cds_json_array();
    for (size_t i = 0; i < cds_json_size(data); i++)
        cds_json_append(vectors, cds_json_ref(cds_json_get(cds_json_at(data, i), "embedding")));
    return cds_json_pack("{s:O,s:O,s:s,s:o,s:I,s:I}", "request_id", cds_json_get(own, "request_id"), "model", cds_json_get(answer, "model"), "engine",
                         "llm", "vectors", vectors, "prompt_tokens", (long long)cds_json_get_i64(usage, "prompt_tokens", 0), "cost_micro",
                         (long long)cds_json_get_i64(own, "cost_micro", 0));
}

static void on_done(void *user, int status, const char *body, size_t len, const struct cds_err *http_err)
{
    struct embedding *embedding = user;
    struct call *call = embedding->call;
    struct cds_err err;
    CDS_JSON_AUTO answer = NULL;
    free(embedding);
    call->leaf = NULL;
    call->leaf_drop = NULL;
    if (http_err) {
        llm_unreachable(&err, http_err);
        call_fail(call, &err);
        return;
    }
    cds_rc rc = cds_json_parse(body, len, &answer, &err);
    if (status / 100 == 2 && rc == CDS_OK) {
        call_succeed(call, result_of(answer));
        return;
    }
    llm_error_of(answer, status, &err);
    call_fail(call, &err);
}

static void by_model_server(struct call *call)
{
    struct cds_err err;
    struct embedding *embedding = calloc(1, sizeof(*embedding));
    if (!embedding)
        abort();
    embedding->call = call;
    call->leaf = embedding;
    const struct cds_http_call_spec wanted = {
        .deadline_ms = call->deadline_ms, .body_max_bytes = API_FRAME_MAX, .on_done = on_done, .user = embedding};
    struct cds_http_call_spec spec = wanted;
    if (llm_post(call, "POST", "/v1/embeddings", NULL, call->params, &spec, &embedding->http, &err)) {
        free(embedding);
        call->leaf = NULL;
        call_fail(call, &err);
        return;
    }
    call->leaf_drop = drop;
    call->leaf_cancel = cancel;
}

/* Nothing is booked: it is the database that computes. */
static void by_database(struct call *call, const char *model)
{
    static const char sql[] =
        "SELECT json_build_object('request_id', $1::text, 'model', $2::text, 'engine', 'pgml', 'prompt_tokens', 0, 'cost_micro', 0, 'vectors',"
        " (SELECT json_agg(v) FROM cds_ml.embed($2::text, ARRAY(SELECT t FROM jsonb_array_elements_text($3::jsonb) WITH ORDINALITY i(t, n) ORDER BY "
        "n)) v))";
    CDS_CLEANUP(cds_free_ptr) char *inputs = cds_json_dumps(cds_json_get(call->params, "input"), NULL);
    const char *params[] = {call->request_id, model, inputs};
    if (!inputs)
        abort();
    call_query(call, sql, 3, params, call_give);
}

void llm_embed_start(struct call *call)
{
    const char *model = cds_config_str(call->api->config, CDS_OPT_ML_EMBED_MODEL);
    if (cds_config_u64(call->api->config, CDS_OPT_ML_PGML) && *model && !cds_json_get(call->params, "model"))
        by_database(call, model);
    else
        by_model_server(call);
}
