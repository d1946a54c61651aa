#include "apps/llmworker/engine.h"

#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <llama.h>

#include "apps/llmworker/backend.h"
#include "apps/llmworker/drafter.h"
#include "apps/llmworker/encoder.h"
#include "apps/llmworker/governor.h"
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

struct cds_engine {
    struct llama_model *model;
    struct llama_context *context;
    const struct llama_vocab *vocab;
    struct llama_batch batch;
    uint32_t batch_max, threads, piece_max;
    struct cds_governor governor;
    bool (*look)(void *user);
    void *look_user;
    unsigned nodes; /**< of the compute graph since the last look at the clock */
    uint64_t looked_ms;
    char description[128], bos[256], eos[256];
    llama_token_data *room; /**< candidates of the choice that is being made */
    int32_t shown;          /**< control token that is part of the text it was chosen for; -1: none */
    const char **controls;  /**< NULL-terminated; texts belong to the vocabulary */
    bool backend_up;
    bool encodes;                                               /**< it makes vectors; see encoder.h */
    enum cds_pooling pooling;                                   /**< of a model that encodes */
    uint64_t spent_us;                                          /**< CPU time of the last step */
    struct cds_drafter *drafter;                                /**< NULL: no draft model */
    char draft_problem[sizeof(((struct cds_err *)0)->message)]; /**< why the one that was named is not used */
};

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

static void on_llama_log(enum ggml_log_level level, const char *text, void *user)
{
    if (level != GGML_LOG_LEVEL_WARN && level != GGML_LOG_LEVEL_ERROR)
        return;
    char line[512];
    size_t len = strcspn(text, "\n");
    len = len < sizeof(line) - 1 ? len : sizeof(line) - 1;
    memcpy(line, text, len);
    line[len] = '\0';
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
    engine->batch = llama_batch_init((int32_t)engine->batch_max, 0, 1);
    if (!engine->batch.token)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory for one batch.");
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
    if (e->context)
        llama_free(e->context);
    if (e->model)
        llama_model_free(e->model);
    if (e->backend_up)
        llama_backend_free();
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
    if (rc == CDS_OK)
        rc = make_context(engine, options, reterr);
    if (rc == CDS_OK && options->draft_path && !engine->encodes)
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
        .cells = llama_n_ctx(engine->context),
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

/** CPU time of all threads of this process. */
static uint64_t process_cpu_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/** Who else wants the cores. */
static void look_at_queue(struct cds_engine *engine)
{
    char text[128];
    if (!cds_governor_looks(&engine->governor, cds_now_ms()))
        return;
    int fd = open("/proc/loadavg", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = '\0';
    uint32_t runnable = cds_governor_runnable(text);
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    if (runnable && cores > 0)
        (void)cds_governor_queue(&engine->governor, runnable, (uint32_t)cores, cds_now_ms());
    else
        engine->governor.looked_ms = cds_now_ms();
}

static int decode(void *user, const struct cds_row *rows, int count)
{
    struct cds_engine *engine = user;
    /* A batch longer than n_batch ends the process inside libllama. */
    if (count <= 0 || (uint32_t)count > engine->batch_max)
        return -1;
    struct llama_batch *batch = &engine->batch;
    batch->n_tokens = count;
    int answers = 0;
    for (int i = 0; i < count; i++) {
        batch->token[i] = rows[i].token;
        batch->pos[i] = rows[i].position;
        batch->n_seq_id[i] = 1;
        batch->seq_id[i][0] = rows[i].sequence;
        batch->logits[i] = rows[i].sample || rows[i].tell;
        answers += rows[i].sample;
    }
    uint64_t cpu_us = process_cpu_us(), begin_ns = cds_now_ns();
    int rc = llama_decode(engine->context, *batch);
    /* Reading the logits would wait for the end of the step; it has to be over before its time is taken. */
    llama_synchronize(engine->context);
    engine->spent_us = process_cpu_us() - cpu_us;
    if (engine->threads > 1) {
        uint32_t before = engine->governor.now;
        look_at_queue(engine);
        if (answers == count)
            cds_governor_row(&engine->governor, (uint32_t)count, (cds_now_ns() - begin_ns) / 1000, cds_now_ms());
        uint32_t now = cds_governor_step(&engine->governor, (cds_now_ns() - begin_ns) / 1000, engine->spent_us, cds_now_ms());
        if (now != before) {
            llama_set_n_threads(engine->context, (int32_t)now, (int32_t)now);
            cds_drafter_set_threads(engine->drafter, now);
        }
    }
    return rc;
}

static void sampler_free(void *sampler)
{
    cds_sampler_free(sampler);
}

static void *sampler_new(void *user, const struct cds_sampling *sampling)
{
    const struct cds_engine *engine = user;
    return cds_sampler_new(engine->vocab, sampling, llama_n_ctx(engine->context), engine->room, NULL);
}

cds_rc cds_engine_check_sampling(const struct cds_engine *engine, const struct cds_sampling *sampling, struct cds_err *reterr)
{
    struct cds_err err = {0};
    struct cds_sampler *sampler = cds_sampler_new(engine->vocab, sampling, llama_n_ctx(engine->context), engine->room, &err);
    cds_sampler_free(sampler);
    if (!sampler && reterr)
        *reterr = err;
    return sampler ? CDS_OK : err.code;
}

const struct cds_picked *cds_engine_picked(const void *sampler)
{
    return cds_sampler_picked(sampler);
}

static int32_t sample(void *user, void *sampler, int row)
{
    struct cds_engine *engine = user;
    int32_t token = cds_sampler_pick(sampler, llama_get_logits_ith(engine->context, row));
    engine->shown = cds_sampler_preserves(sampler, token) ? token : -1;
    return token;
}

static void tell(void *user, void *sampler, int row, int32_t token)
{
    const struct cds_engine *engine = user;
    cds_sampler_tell(sampler, llama_get_logits_ith(engine->context, row), token);
}

static int piece(void *user, int32_t token, char *buf, int size)
{
    const struct cds_engine *engine = user;
    int n = llama_token_to_piece(engine->vocab, token, buf, size, 0, token == engine->shown);
    return n > 0 ? n : 0;
}

int cds_engine_token_bytes(const struct cds_engine *engine, int32_t token, char *buf, int size)
{
    int n = llama_token_to_piece(engine->vocab, token, buf, size, 0, true);
    return n > 0 ? n : 0;
}

static bool is_end(void *user, int32_t token)
{
    const struct cds_engine *engine = user;
    return llama_vocab_is_eog(engine->vocab, token);
}

static void drop(void *user, int sequence, int from)
{
    const struct cds_engine *engine = user;
    llama_memory_seq_rm(llama_get_memory(engine->context), sequence, from, -1);
}

static void share(void *user, int from, int to, int count)
{
    const struct cds_engine *engine = user;
    llama_memory_seq_cp(llama_get_memory(engine->context), from, to, 0, count);
}

static uint64_t spent(void *user)
{
    const struct cds_engine *engine = user;
    return engine->spent_us;
}

static unsigned draft(void *user, int sequence, const int32_t *tokens, size_t count, float confidence, int32_t *ret, unsigned most)
{
    const struct cds_engine *engine = user;
    return engine->drafter ? cds_drafter_guess(engine->drafter, sequence, tokens, count, confidence, ret, most) : 0;
}

static uint64_t draft_spent(void *user)
{
    const struct cds_engine *engine = user;
    return engine->drafter ? cds_drafter_spent_us(engine->drafter) : 0;
}

const struct cds_engine_ops cds_engine_llama = {
    .decode = decode,
    .sampler_new = sampler_new,
    .sampler_free = sampler_free,
    .sample = sample,
    .tell = tell,
    .piece = piece,
    .is_end = is_end,
    .drop = drop,
    .share = share,
    .spent = spent,
    .draft = draft,
    .draft_spent = draft_spent,
};
