#include "apps/llmworker/tasks.h"

#include <math.h>
#include <stdlib.h>

#include "apps/llmworker/words.h"
#include "lib/base/cleanup.h"
#include "lib/base/str.h"

/* --- events --------------------------------------------------------------------------------------------------------------- */

/** Little-endian floats as base64: short, exact, and what most clients ask for anyway. */
static cds_json *packed(const float *values, size_t count)
{
    size_t bytes = count * sizeof(*values);
    CDS_CLEANUP(cds_free_ptr) char *text = malloc(cds_base64_len(bytes) + 1);
    if (!text)
        return NULL;
    size_t len = cds_base64(values, bytes, text);
    return cds_json_stringn(text, len);
}

static void on_vectors(void *user, int64_t id, const float *values, uint32_t count, uint32_t width)
{
    struct cds_tasks *tasks = user;
    if (!tasks->ready)
        tasks->ready = cds_json_array();
    cds_json_append(tasks->ready, cds_json_pack("[I,o]", (long long)id, packed(values, (size_t)count * width)));
}

static void flush(struct cds_tasks *tasks)
{
    cds_json *ready = tasks->ready;
    tasks->ready = NULL;
    if (ready)
        tasks->send(tasks->user, "vectors", cds_json_pack("{s:o}", "vectors", ready));
}

static void on_end(void *user, const struct cds_vectors_report *report)
{
    static const char *const names[] = {"stop", "cancelled", "failed"};
    struct cds_tasks *tasks = user;
    cds_json *done =
        cds_json_pack("{s:I,s:s,s:I,s:I,s:I}", "job", (long long)report->id, "end", names[report->end], "prompt_tokens",
                      (long long)report->prompt_tokens, "evaluated_tokens", (long long)report->evaluated_tokens, "completion_tokens", 0LL);
    cds_json *scores = report->scores ? cds_json_array() : NULL;
    for (uint32_t i = 0; scores && i < report->owners; i++)
        cds_json_append(scores, cds_json_real(isfinite(report->scores[i]) ? (double)report->scores[i] : 0));
    if (scores)
        cds_json_set(done, "scores", scores);
    flush(tasks);
    cds_json_set(done, "work", cds_tasks_work(tasks));
    tasks->send(tasks->user, "done", done);
}

/* --- life ----------------------------------------------------------------------------------------------------------------- */

cds_rc cds_tasks_open(struct cds_tasks *tasks, struct cds_engine *engine, unsigned jobs, struct cds_err *reterr)
{
    static const struct cds_vectors_sink sink = {.on_vectors = on_vectors, .on_end = on_end};
    if (!tasks->facts->encodes)
        return CDS_OK;
    tasks->engine = engine;
    return cds_vectors_new(&cds_encoder_llama, engine, tasks->facts->width, tasks->facts->batch, jobs, &sink, tasks, &tasks->vectors, reterr);
}

void cds_tasks_close(struct cds_tasks *tasks)
{
    cds_vectors_free(&tasks->vectors);
    cds_json_unref(tasks->ready);
    tasks->ready = NULL;
}

/* --- orders of the server ------------------------------------------------------------------------------------------------- */

bool cds_tasks_meant(const struct cds_tasks *tasks, const cds_json *params)
{
    return tasks->vectors || cds_words_meant(params) || cds_inputs_meant(params);
}

static cds_rc prepare_vectors(struct cds_tasks *tasks, const cds_json *params, struct cds_err *reterr)
{
    struct cds_inputs inputs;
    struct cds_vectors_spec spec = {0};
    cds_rc rc = cds_inputs_read(params, &inputs, reterr);
    if (rc == CDS_OK)
        rc = cds_inputs_make(tasks->prompter, tasks->facts, &inputs, &spec, reterr);
    long long tokens = 0;
    for (size_t i = 0; rc == CDS_OK && i < spec.text_count; i++)
        tokens += spec.texts[i].count;
    bool each = spec.each_token;
    uint32_t width = spec.width;
    if (rc == CDS_OK && tokens > INT32_MAX)
        rc = cds_fail(reterr, CDS_BAD_PARAM, __func__, "The texts have too many tokens for one request.");
    if (rc == CDS_OK)
        rc = cds_vectors_add(tasks->vectors, &spec, reterr);
    cds_vectors_spec_clear(&spec);
    if (rc == CDS_OK)
        tasks->send(tasks->user, "prepared",
                    cds_json_pack("{s:I,s:I,s:I,s:I,s:b}", "job", (long long)inputs.id, "prompt_tokens", tokens, "max_tokens", 0LL, "width",
                                  (long long)width, "each_token", (int)each));
    return rc;
}

cds_rc cds_tasks_prepare(struct cds_tasks *tasks, const cds_json *params, int64_t *ret_job, struct cds_err *reterr)
{
    *ret_job = cds_json_get_i64(params, "job", 0);
    if (cds_inputs_meant(params))
        return prepare_vectors(tasks, params, reterr);
    if (!cds_words_meant(params)) {
        cds_fail(reterr, CDS_BAD_PARAM, __func__, "This model makes vectors of texts; it does not generate text.");
        cds_err_pointer(reterr, "/model");
        return cds_err_hint(reterr, "Use it with /v1/embeddings, or name a chat model.");
    }
    cds_json *answer = NULL;
    cds_rc rc = cds_words_answer(tasks->prompter, params, &answer, reterr);
    if (rc == CDS_OK)
        tasks->send(tasks->user, "told", cds_json_pack("{s:I,s:o}", "job", (long long)*ret_job, "answer", answer));
    return rc;
}

void cds_tasks_step(struct cds_tasks *tasks)
{
    cds_vectors_step(tasks->vectors);
    flush(tasks);
}

cds_json *cds_tasks_work(const struct cds_tasks *tasks)
{
    struct cds_vectors_counters c = cds_vectors_counters(tasks->vectors);
    return cds_json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "steps", (long long)c.steps, "rows", (long long)c.rows, "prompt_rows",
                         (long long)c.rows, "texts", (long long)c.texts, "most_texts", (long long)c.most_texts, "cancelled", (long long)c.cancelled,
                         "aborted_steps", (long long)c.aborted_steps, "active", (long long)c.active, "waiting", (long long)c.waiting, "threads",
                         (long long)cds_engine_threads(tasks->engine));
}
