#include "apps/llmworker/engine_inside.h"

#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "apps/llmworker/backend.h"
#include "apps/llmworker/encoder.h"
#include "apps/llmworker/loading.h"
#include "apps/llmworker/vocabulary.h"
#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/log/log.h"

/* The library this program was compiled for: structs go by value through its calls, so another build must not run. */
#define LLAMA_VERSION_EXPECTED "0.5.0-dev"
_Static_assert(sizeof(struct llama_model_params) == 80, "llama.h does not belong to the pinned libllama");
_Static_assert(sizeof(struct llama_context_params) == 160, "llama.h does not belong to the pinned libllama");
_Static_assert(sizeof(struct llama_batch) == 56, "llama.h does not belong to the pinned libllama");

const char *cds_engine_version(void)
{
    return llama_version();
}

cds_rc cds_engine_check(struct cds_err *reterr)
{
    if (strcmp(llama_version(), LLAMA_VERSION_EXPECTED) != 0)
        return cds_fail(reterr, CDS_CONFLICT, __func__, "This program was built for libllama %s, but the library found says %s.",
                        LLAMA_VERSION_EXPECTED, llama_version());
    struct llama_model_params model = llama_model_default_params();
    struct llama_context_params context = llama_context_default_params();
    if (model.load_mode != LLAMA_LOAD_MODE_AUTO || model.n_gpu_layers != -1 || context.n_ctx != 512 || context.n_batch != 2048 ||
        context.n_seq_max != 1)
        return cds_fail(reterr, CDS_CONFLICT, __func__, "libllama %s was found, but its structures differ from the ones this program was built with.",
                        llama_version());
    return CDS_OK;
}

/* What the library said last about something that failed; it gives no other reason. */
static char complaint[256];

static void on_llama_log(enum ggml_log_level level, const char *text, void *user)
{
    if (level != GGML_LOG_LEVEL_WARN && level != GGML_LOG_LEVEL_ERROR)
        return;
    char line[512];
    size_t len = strcspn(text, "\n");
    len = len < sizeof(line) - 1 ? len : sizeof(line) - 1;
    memcpy(line, text, len);
    line[len] = '\0';
    if (level == GGML_LOG_LEVEL_ERROR)
        snprintf(complaint, sizeof(complaint), "%.250s", line);
    if (len)
        cds_log(level == GGML_LOG_LEVEL_ERROR ? CDS_LOG_WARN : CDS_LOG_DEBUG, "libllama", CDS_LS("text", line));
}

static uint32_t usable_cores(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof(set), &set) != 0)
        return 1;
    int count = CPU_COUNT(&set);
    return count > 0 ? (uint32_t)count : 1;
}

static bool on_load_progress(float share, void *user)
{
    const struct cds_engine_options *options = user;
    return !options->on_progress || options->on_progress(options->user, share);
}

static cds_rc load_model(struct cds_engine *engine, const struct cds_engine_options *options, struct cds_err *reterr)
{
    llama_backend_init();
    engine->backend_up = true;
    cds_loading_begin(options->loading);
    struct llama_model_params params = llama_model_default_params();
    cds_loading_model(options->loading, &params);
    params.vocab_only = options->vocabulary_only;
    cds_rc rc = cds_backend_model(options->compute, options->cells, &params, reterr);
    if (rc != CDS_OK)
        return rc;
    params.progress_callback = on_load_progress;
    params.progress_callback_user_data = (void *)(uintptr_t)options;
    engine->model = llama_model_load_from_file(options->model_path, params);
    if (!engine->model)
        return cds_fail(reterr, CDS_BAD_PARAM, __func__,
                        "The model file could not be loaded: it is damaged, not a GGUF model, or does not fit in memory.");
    if (!llama_model_has_decoder(engine->model) || llama_model_has_encoder(engine->model))
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "The file holds a model that does not generate text.");
    engine->encodes = cds_encoder_is(engine->model, &engine->pooling);
    return CDS_OK;
}

static cds_rc load_adapters(struct cds_engine *engine, const struct cds_adapter_list *list, struct cds_err *reterr)
{
    if (list->count && engine->encodes)
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "Adapters are for models that generate text; this one makes vectors.");
    engine->adapters = *list;
    return cds_adapters_load(list, engine->model, complaint, engine->loras, reterr);
}

bool cds_engine_make_rows(struct cds_engine *engine)
{
    engine->batch = llama_batch_init((int32_t)engine->batch_max, 0, 1);
    engine->order = calloc(engine->batch_max, sizeof(*engine->order));
    engine->at = calloc(engine->batch_max, sizeof(*engine->at));
    return engine->batch.token && engine->order && engine->at;
}

static cds_rc make_context(struct cds_engine *engine, const struct cds_engine_options *options, struct cds_err *reterr)
{
    engine->threads = options->threads ? options->threads : usable_cores();
    engine->governor = cds_governor_begin(engine->threads);
    engine->batch_max = engine->encodes ? cds_encoder_rows(engine->model, options->text_tokens) : options->batch;
    struct llama_context_params params = llama_context_default_params();
    params.n_ctx = options->cells;
    params.n_batch = options->batch;
    params.n_ubatch = options->batch;
    params.n_seq_max = options->sequences;
    params.n_threads = (int32_t)engine->threads;
    params.n_threads_batch = (int32_t)engine->threads;
    /* Prefill in chunks of 64 to 128 tokens keeps its speed only with flash attention. */
    params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_AUTO;
    params.kv_unified = true;
    params.no_perf = true;
    if (engine->encodes)
        cds_encoder_params(engine->pooling, engine->batch_max, &params);
    engine->context = cds_loading_context(options->loading, engine->model, &params);
    if (!engine->context)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory for %u context tokens of this model.", params.n_ctx);
    if (!cds_engine_make_rows(engine))
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory for one batch.");
    /* Without flash attention every row looks at every cell however they are put together; a recurrent state cannot be cut back to undo half a step.
     */
    bool tiles =
        params.flash_attn_type != LLAMA_FLASH_ATTN_TYPE_DISABLED && !llama_model_is_recurrent(engine->model) && !llama_model_is_hybrid(engine->model);
    engine->tile = tiles ? cds_split_tile((uint32_t)llama_model_n_embd(engine->model), (uint32_t)llama_model_n_layer(engine->model),
                                          llama_model_n_params(engine->model))
                         : 0;
    return CDS_OK;
}

static void token_text(const struct llama_vocab *vocab, llama_token token, char *buf, size_t size)
{
    int n = token == LLAMA_TOKEN_NULL ? 0 : llama_token_to_piece(vocab, token, buf, (int32_t)size - 1, 0, true);
    buf[n > 0 ? n : 0] = '\0';
}

/** Walks the vocabulary once: texts of control tokens, longest piece. */
static cds_rc read_vocabulary(struct cds_engine *engine, struct cds_err *reterr)
{
    engine->vocab = llama_model_get_vocab(engine->model);
    int32_t count = llama_vocab_n_tokens(engine->vocab);
    if (count <= 0)
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "The model file has no vocabulary.");
    engine->controls = calloc((size_t)count + 1, sizeof(*engine->controls));
    engine->room = calloc((size_t)count, sizeof(*engine->room));
    engine->shown = -1;
    if (!engine->controls || !engine->room)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory for the vocabulary.");
    size_t controls = 0;
    engine->piece_max = 1;
    for (llama_token token = 0; token < count; token++) {
        const char *text = llama_vocab_get_text(engine->vocab, token);
        size_t len = text ? strlen(text) : 0;
        if (len > engine->piece_max)
            engine->piece_max = (uint32_t)len;
        if (len > 1 && (llama_vocab_get_attr(engine->vocab, token) & LLAMA_TOKEN_ATTR_CONTROL))
            engine->controls[controls++] = text;
    }
    engine->spelling = engine->encodes ? NULL : cds_spelling_new(engine->vocab);
    token_text(engine->vocab, llama_vocab_bos(engine->vocab), engine->bos, sizeof(engine->bos));
    token_text(engine->vocab, llama_vocab_eos(engine->vocab), engine->eos, sizeof(engine->eos));
    llama_model_desc(engine->model, engine->description, sizeof(engine->description));
    return CDS_OK;
}

void cds_engine_close(struct cds_engine **engine)
{
    if (!engine || !*engine)
        return;
    struct cds_engine *e = *engine;
    cds_drafter_close(&e->drafter);
    if (e->batch.token)
        llama_batch_free(e->batch);
    free(e->order);
    free(e->at);
    if (e->context)
        llama_free(e->context);
    if (e->twin) {
        free(e);
        *engine = NULL;
        return;
    }
    if (e->model)
        llama_model_free(e->model);
    if (e->backend_up)
        llama_backend_free();
    cds_spelling_free(e->spelling);
    free(e->controls);
    free(e->room);
    free(e);
    *engine = NULL;
}

/** A draft model that cannot be used costs the model nothing but its help. */
static void open_drafter(struct cds_engine *engine, const struct cds_engine_options *options)
{
    struct cds_err err = {0};
    if (cds_drafter_open(engine->vocab, options->draft_path, options->cells, options->sequences, engine->threads, &engine->drafter, &err) == CDS_OK)
        return;
    snprintf(engine->draft_problem, sizeof(engine->draft_problem), "%s", err.message);
    cds_log(CDS_LOG_WARN, "the draft model is not used", CDS_LS("reason", err.message));
}

cds_rc cds_engine_open(const struct cds_engine_options *options, struct cds_engine **ret, struct cds_err *reterr)
{
    CDS_CLEANUP(cds_engine_close) struct cds_engine *engine = calloc(1, sizeof(*engine));
    if (!engine)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory.");
    llama_log_set(on_llama_log, NULL);
    cds_rc rc = cds_engine_check(reterr);
    if (rc == CDS_OK)
        rc = load_model(engine, options, reterr);
    if (rc == CDS_OK)
        rc = read_vocabulary(engine, reterr);
    if (rc == CDS_OK && options->adapters)
        rc = load_adapters(engine, options->adapters, reterr);
    if (rc == CDS_OK && !options->vocabulary_only)
        rc = make_context(engine, options, reterr);
    if (rc == CDS_OK && options->draft_path && !options->vocabulary_only && !engine->encodes)
        open_drafter(engine, options);
    if (rc != CDS_OK)
        // NOLINTNEXTLINE(clang-analyzer-unix.Malloc): freed at its declaration (CDS_CLEANUP)
        return rc;
    *ret = engine;
    engine = NULL;
    return CDS_OK;
}

/** libllama asks after each node of the graph, on the thread that called decode. */
static bool on_node(void *user)
{
    enum { NODES = 16, LOOK_MS = 4 };
    struct cds_engine *engine = user;
    if (!engine->look || ++engine->nodes < NODES)
        return false;
    engine->nodes = 0;
    uint64_t now = cds_now_ms();
    if (now - engine->looked_ms < LOOK_MS)
        return false;
    engine->looked_ms = now;
    return engine->look(engine->look_user);
}

void cds_engine_watch(struct cds_engine *engine, bool (*look)(void *user), void *user)
{
    engine->look = look;
    engine->look_user = user;
    if (engine->context)
        llama_set_abort_callback(engine->context, on_node, engine);
}

void cds_engine_set_threads(struct cds_engine *engine, uint32_t threads)
{
    uint32_t most = threads < 1 ? 1 : threads < engine->threads ? threads : engine->threads;
    if (most == engine->governor.most)
        return;
    engine->governor = cds_governor_begin(most);
    llama_set_n_threads(engine->context, (int32_t)most, (int32_t)most);
    cds_drafter_set_threads(engine->drafter, most);
}

uint32_t cds_engine_threads(const struct cds_engine *engine)
{
    return engine->governor.now;
}

void cds_engine_facts(const struct cds_engine *engine, struct cds_engine_facts *ret)
{
    *ret = (struct cds_engine_facts){
        .description = engine->description,
        .chat_template = llama_model_chat_template(engine->model, NULL),
        .bos = engine->bos,
        .eos = engine->eos,
        .parameters = llama_model_n_params(engine->model),
        .size_bytes = llama_model_size(engine->model),
        .cells = engine->context ? llama_n_ctx(engine->context) : 0,
        .train_context = (uint32_t)llama_model_n_ctx_train(engine->model),
        .vocabulary = (uint32_t)llama_vocab_n_tokens(engine->vocab),
        .threads = engine->threads,
        .layers = (uint32_t)llama_model_n_layer(engine->model),
        .piece_max = engine->piece_max,
        .add_bos = llama_vocab_get_add_bos(engine->vocab),
        .add_eos = llama_vocab_get_add_eos(engine->vocab),
        .drafts = engine->drafter != NULL,
        .draft_problem = engine->draft_problem,
        .can_share = !llama_model_is_recurrent(engine->model) && !llama_model_is_hybrid(engine->model) && llama_model_n_swa(engine->model) == 0,
        .encodes = engine->encodes,
        .pooling = engine->pooling,
        .width = (uint32_t)llama_model_n_embd_out(engine->model),
        .batch = engine->batch_max,
        .can_infill = !engine->encodes && cds_vocabulary_can_infill(engine),
        .rank_template = llama_model_chat_template(engine->model, "rerank"),
    };
}

struct llama_context *cds_engine_context(const struct cds_engine *engine)
{
    return engine->context;
}

const struct llama_model *cds_engine_model(const struct cds_engine *engine)
{
    return engine->model;
}

const char *const *cds_engine_controls(const struct cds_engine *engine)
{
    return engine->controls;
}

cds_rc cds_engine_tokenize(const struct cds_engine *engine, const char *text, size_t len, bool add_special, bool parse_special, int32_t **ret_tokens,
                           size_t *ret_count, struct cds_err *reterr)
{
    if (len > INT32_MAX / 2)
        return cds_fail(reterr, CDS_TOO_LARGE, __func__, "The text is longer than a model can read.");
    size_t room = len + 8; /* no token is shorter than a byte, and at most a few are added */
    CDS_CLEANUP(cds_free_ptr) llama_token *tokens = malloc(room * sizeof(*tokens));
    if (!tokens)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory for the prompt.");
    int32_t count = llama_tokenize(engine->vocab, text, (int32_t)len, tokens, (int32_t)room, add_special, parse_special);
    if (count < 0)
        // NOLINTNEXTLINE(clang-analyzer-unix.Malloc): freed at its declaration (CDS_CLEANUP)
        return cds_fail(reterr, CDS_INTERNAL, __func__, "The prompt could not be turned into tokens.");
    *ret_tokens = tokens;
    *ret_count = (size_t)count;
    tokens = NULL;
    return CDS_OK;
}

uint64_t cds_engine_split_steps(const struct cds_engine *engine)
{
    return engine->split_steps;
}
