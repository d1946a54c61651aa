#include "apps/llmserver/results.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "apps/llmserver/floats.h"
#include "apps/llmserver/flow.h"
#include "apps/llmserver/once.h"
#include "lib/base/cleanup.h"
#include "lib/base/str.h"
#include "lib/http/reply.h"
#include "lib/json/problem.h"

void cds_results_prepared(struct cds_gen *gen, const cds_json *params)
{
    gen->width = (uint32_t)cds_json_get_i64(params, "width", 0);
    gen->each_token = cds_json_true(cds_json_get(params, "each_token"), false);
}

void cds_results_add(struct cds_gen *gen, const cds_json *event)
{
    if (gen->stage != CDS_GEN_RUNNING || !cds_gen_has_reader(gen)) /* nobody reads it any more; it is counted all the same */
        return;
    if (!gen->result)
        gen->result = cds_json_array();
    cds_json_append(gen->result, cds_json_ref(cds_json_at(event, 1)));
}

void cds_results_told(struct cds_gen *gen, const cds_json *params)
{
    if (gen->stage != CDS_GEN_PREPARING)
        return;
    gen->result = cds_json_ref(cds_json_get(params, "answer"));
    cds_flow_leave_model(gen);
    gen->end = (struct cds_wire_end){.finish_reason = "stop", .ended = "finished"};
    cds_flow_finish(gen);
}

/** Chances of a prompt's tokens stand before those of the answer. */
static void put_before(struct cds_choice *choice, cds_json *prompt)
{
    if (!prompt)
        return;
    for (size_t i = 0; i < cds_json_size(choice->chances); i++)
        cds_json_append(prompt, cds_json_ref(cds_json_at(choice->chances, i)));
    cds_json_unref(choice->chances);
    choice->chances = cds_json_ref(prompt);
}

void cds_results_done(struct cds_gen *gen, const cds_json *params)
{
    cds_json *scores = cds_json_get(params, "scores");
    const cds_json *choices = cds_json_get(params, "choices");
    for (unsigned i = 0; i < gen->choice_count; i++)
        put_before(&gen->choices[i], cds_json_get(cds_json_at(choices, i), "prompt"));
    if (!scores)
        return;
    cds_json_unref(gen->result);
    gen->result = cds_json_ref(scores);
}

/* --- vectors -------------------------------------------------------------------------------------------------------------- */

static void add_base64(struct cds_buf *out, const unsigned char *bytes, size_t len)
{
    CDS_CLEANUP(cds_free_ptr) char *text = malloc(cds_base64_len(len) + 1);
    if (!text) {
        out->failed = true;
        return;
    }
    cds_base64(bytes, len, text);
    (void)cds_buf_addf(out, "\"");
    (void)cds_buf_add_str(out, text);
    (void)cds_buf_addf(out, "\"");
}

static void add_vector(struct cds_buf *out, const unsigned char *bytes, size_t width, bool base64)
{
    if (base64)
        add_base64(out, bytes, width * sizeof(float));
    else
        cds_floats_json(bytes, width, out);
}

/** The vector of one text, or of each of its tokens. */
static void add_embedding(const struct cds_gen *gen, const cds_json *packed, struct cds_buf *out)
{
    size_t len = cds_json_str_len(packed), bytes = 0, vector = (size_t)gen->width * sizeof(float);
    if (gen->ask.base64 && !gen->each_token) {
        /* As it came. */
        (void)cds_buf_addf(out, "\"");
        (void)cds_buf_add(out, cds_json_str(packed) ? cds_json_str(packed) : "", len);
        (void)cds_buf_addf(out, "\"");
        return;
    }
    CDS_CLEANUP(cds_free_ptr) unsigned char *values = malloc(len + 1);
    if (!values || vector == 0 || cds_base64_decode(cds_json_str(packed), len, values, &bytes) != CDS_OK || bytes == 0 || bytes % vector) {
        // NOLINTNEXTLINE(clang-analyzer-unix.Malloc): freed at its declaration (CDS_CLEANUP)
        out->failed = true;
        return;
    }
    if (gen->each_token)
        (void)cds_buf_add(out, "[", 1);
    for (size_t at = 0; at < bytes; at += vector) {
        if (at)
            (void)cds_buf_add(out, ",", 1);
        add_vector(out, values + at, gen->width, gen->ask.base64);
    }
    if (gen->each_token)
        (void)cds_buf_add(out, "]", 1);
}

static void add_value(struct cds_buf *out, cds_json *value)
{
    CDS_JSON_AUTO owned = value;
    if (!owned || cds_json_dump(owned, out) != CDS_OK)
        out->failed = true;
}

/** Prompt tokens only: nothing is generated. */
static cds_json *usage(const struct cds_gen *gen)
{
    return cds_json_pack("{s:I,s:I}", "prompt_tokens", (long long)gen->end.prompt_tokens, "total_tokens", (long long)gen->end.prompt_tokens);
}

/** By hand, because each number would be a JSON value of its own. */
static void write_vectors(const struct cds_gen *gen, struct cds_buf *out)
{
    size_t count = cds_json_size(gen->result);
    out->failed = out->failed || count != cds_json_size(cds_json_get(gen->ask.prompt, "inputs"));
    (void)cds_buf_add_str(out, "{\"object\":\"list\",\"data\":[");
    for (size_t i = 0; i < count; i++) {
        (void)cds_buf_addf(out, "%s{\"object\":\"embedding\",\"index\":%zu,\"embedding\":", i ? "," : "", i);
        add_embedding(gen, cds_json_at(gen->result, i), out);
        (void)cds_buf_add(out, "}", 1);
    }
    (void)cds_buf_addf(out, "],\"model\":\"%s\",\"usage\":", gen->model_id);
    add_value(out, usage(gen));
    (void)cds_buf_add_str(out, ",\"cds\":");
    add_value(out, cds_wire_own(&gen->wire, &gen->end));
    (void)cds_buf_add(out, "}", 1);
}

/* --- ranks ---------------------------------------------------------------------------------------------------------------- */

struct ranked {
    size_t index;
    double score;
};

static int by_score(const void *a, const void *b)
{
    const struct ranked *left = a, *right = b;
    if (left->score != right->score)
        return left->score > right->score ? -1 : 1;
    return left->index < right->index ? -1 : 1;
}

static void write_ranks(const struct cds_gen *gen, struct cds_buf *out)
{
    const cds_json *documents = cds_json_get(gen->ask.prompt, "documents");
    size_t count = cds_json_size(documents);
    CDS_CLEANUP(cds_free_ptr) struct ranked *order = calloc(count ? count : 1, sizeof(*order));
    if (!order || count != cds_json_size(gen->result)) {
        // NOLINTNEXTLINE(clang-analyzer-unix.Malloc): freed at its declaration (CDS_CLEANUP)
        out->failed = true;
        return;
    }
    for (size_t i = 0; i < count; i++) {
        double score = cds_json_num(cds_json_at(gen->result, i), 0);
        order[i] = (struct ranked){.index = i, .score = gen->ask.sigmoid && !gen->ask.cosine ? 1 / (1 + exp(-score)) : score};
    }
    qsort(order, count, sizeof(*order), by_score);
    cds_json *results = cds_json_array();
    for (size_t i = 0; i < count && i < gen->ask.top; i++) {
        cds_json *one = cds_json_pack("{s:I,s:f}", "index", (long long)order[i].index, "relevance_score", order[i].score);
        if (gen->ask.return_documents)
            cds_json_set(one, "document", cds_json_pack("{s:O}", "text", cds_json_at(documents, order[i].index)));
        cds_json_append(results, one);
    }
    add_value(out, cds_json_pack("{s:s,s:s,s:o,s:o,s:o}", "object", "list", "model", gen->model_id, "results", results, "usage", usage(gen), "cds",
                                 cds_wire_own(&gen->wire, &gen->end)));
}

/* --- the answer ----------------------------------------------------------------------------------------------------------- */

static void fail(struct cds_gen *gen, cds_rc code, const char *message, const char *hint)
{
    cds_fail(&gen->failure, code, __func__, "%s", message);
    cds_err_hint(&gen->failure, "%s", hint);
    gen->status = cds_rc_http(code);
    cds_once_lose(&gen->once); /* what was evaluated is booked */
    if (gen->req)
        cds_http_reply_openai_err(gen->req, &gen->failure);
}

void cds_results_write(struct cds_gen *gen)
{
    CDS_CLEANUP(cds_buf_free) struct cds_buf out = cds_buf_init(CDS_RESULTS_TEXT_MAX);
    if (cds_streq(gen->end.ended, "deadline")) {
        fail(gen, CDS_TIMED_OUT, "The request took longer than one may; the texts evaluated until then were charged.", "Send fewer texts at a time.");
        return;
    }
    if (!cds_streq(gen->end.ended, "finished")) {
        fail(gen, CDS_CANCELLED, "The request was cancelled; the texts evaluated until then were charged.", "");
        return;
    }
    gen->status = 200;
    if (gen->ask.task == CDS_TASK_EMBED)
        write_vectors(gen, &out);
    else if (gen->ask.task == CDS_TASK_RANK)
        write_ranks(gen, &out);
    else
        add_value(&out, cds_json_ref(gen->result));
    cds_json_unref(gen->result);
    gen->result = NULL;
    if (out.failed) {
        fail(gen, CDS_EXHAUSTED, "The answer is too long to be sent in one piece.", "Send fewer texts at a time.");
        return;
    }
    cds_once_add(gen->once, out.data, out.len);
    cds_once_keep(&gen->once, 200, "application/json");
    if (gen->req)
        cds_http_reply(gen->req, 200, "application/json", out.data, out.len);
}
