#include "apps/llmworker/serve.h"

#include <stdlib.h>
#include <string.h>

#include "apps/llmworker/answers.h"
#include "apps/llmworker/backend.h"
#include "apps/llmworker/exchange.h"
#include "apps/llmworker/loading.h"
#include "apps/llmworker/tasks.h"
#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/base/loop.h"
#include "lib/base/str.h"
#include "lib/log/log.h"
#include "lib/rpc/frame.h"

/* One frame carries at most one request body (text may grow sixfold by escapes), or the texts of one step. */
enum { FRAME_MAX = 64 << 20, OUT_MAX = 64 << 20, IDLE_MS = 1000, BEAT_MS = 1000, COUNT_MS = 50, PREFILL_BUSY = 64, PREFILL_IDLE = 128, DRAFTS = 63 };
/* Sequences for what ended requests left, and answer tokens set aside when a request begins: the size of its first grant. */
enum { KEPT = 16, ANSWER_RESERVE = 256 };

struct worker {
    const struct cds_worker_options *options;
    struct cds_loop *loop;
    struct cds_peer *peer;       /**< NULL once the server closed it */
    struct cds_loading *loading; /**< settings of the load */
    struct cds_backend_facts compute;
    struct cds_adapter_list adapters;
    struct cds_engine *engine;
    struct cds_engine_facts facts;
    struct cds_shim *shim;
    struct cds_sched *sched; /**< NULL: the model encodes, see tasks */
    struct cds_solo solo;
    bool solo_turn; /**< the last step was one of that */
    struct cds_tasks tasks;
    struct cds_prompter prompter;
    bool open;
    struct cds_answers answers;
    cds_json *restore;       /**< owned: a state that is to be put in before the next step; NULL: none */
    cds_json *texts;         /**< events of the running step, sent together */
    uint64_t sent_ms;        /**< when the last frame was sent */
    uint64_t counted_ms;     /**< when one carried the counters */
    uint32_t threads_wanted; /**< from the next step on; 0: no change */
    uint64_t cancel_wait_us; /**< longest time a cancel waited to be read */
    bool over;
};

/** Sends or gives up: a server that does not read for so long is not there. */
static void send_note(struct worker *worker, const char *method, cds_json *params)
{
    CDS_JSON_AUTO note = cds_rpc_notification(method, params);
    worker->sent_ms = cds_now_ms();
    if (worker->peer && note && cds_peer_send(worker->peer, note) == CDS_OK)
        return;
    worker->over = true;
}

static void send_refused(struct worker *worker, int64_t job, const struct cds_err *err)
{
    send_note(worker, "refused",
              cds_json_pack("{s:I,s:s,s:s,s:s,s:s,s:s}", "job", (long long)job, "code", cds_rc_openai(err->code), "message", err->message, "hint",
                            err->hint, "detail", err->detail, "pointer", err->pointer));
}

static void on_prepare(struct worker *worker, const cds_json *params)
{
    struct cds_prepare prepare;
    struct cds_err err = {0};
    int64_t job;
    if (cds_tasks_meant(&worker->tasks, params)) {
        if (cds_tasks_prepare(&worker->tasks, params, &job, &err) != CDS_OK)
            send_refused(worker, job, &err);
        return;
    }
    if (!worker->sched) {
        cds_fail(&err, CDS_MODEL_NOT_LOADED, __func__, "model not loaded: only its vocabulary is.");
        send_refused(worker, cds_json_get_i64(params, "job", 0), &err);
        return;
    }
    uint32_t prompt_tokens = 0, max_tokens = 0;
    cds_rc rc = cds_message_prepare(params, &prepare, &err);
    if (rc == CDS_OK)
        rc = cds_answers_add(&worker->answers, &worker->prompter, &prepare, &prompt_tokens, &max_tokens, &err);
    if (rc == CDS_OK)
        send_note(worker, "prepared",
                  cds_json_pack("{s:I,s:I,s:I,s:I,s:I}", "job", (long long)prepare.id, "prompt_tokens", (long long)prompt_tokens, "max_tokens",
                                (long long)max_tokens, "dropped_messages", (long long)prepare.dropped_messages, "dropped_tokens",
                                (long long)prepare.dropped_tokens));
    else
        send_refused(worker, prepare.id, &err);
    cds_prepare_clear(&prepare);
}

/** A number of tokens in a frame; 0 when it is missing or not one. */
static uint32_t tokens_of(const cds_json *params)
{
    int64_t granted = cds_json_get_i64(params, "granted", 0);
    return granted > 0 && granted <= INT32_MAX ? (uint32_t)granted : 0;
}

/** Both processes read the same clock: how long the order waited is the worker's own business. */
static void on_cancel(struct worker *worker, int64_t job, int64_t at_ns)
{
    uint64_t now = cds_now_ns(), waited_us = at_ns > 0 && (uint64_t)at_ns < now ? (now - (uint64_t)at_ns) / 1000 : 0;
    if (waited_us > worker->cancel_wait_us)
        worker->cancel_wait_us = waited_us;
    cds_answers_cancel(&worker->answers, job);
}

/** The engine may be computing: it is done between two steps. The server sends one at a time. */
static void on_restore(struct worker *worker, cds_json *params)
{
    cds_json_unref(worker->restore);
    worker->restore = cds_json_ref(params);
}

static void on_request(void *user, struct cds_peer *peer, const struct cds_rpc_request *request, cds_json *message)
{
    struct worker *worker = user;
    int64_t job = cds_json_get_i64(request->params, "job", 0);
    if (!worker->open)
        return; /* the server waits for hello before it sends anything */
    if (cds_streq(request->method, "prepare"))
        on_prepare(worker, request->params);
    else if (worker->tasks.vectors && cds_streq(request->method, "start"))
        cds_vectors_start(worker->tasks.vectors, job);
    else if (worker->tasks.vectors && cds_streq(request->method, "cancel"))
        cds_vectors_cancel(worker->tasks.vectors, job);
    else if (cds_streq(request->method, "start"))
        cds_answers_start(&worker->answers, job, tokens_of(request->params), (uint64_t)cds_json_get_i64(request->params, "save_bytes", 0));
    else if (cds_streq(request->method, "grant"))
        cds_answers_grant(&worker->answers, job, tokens_of(request->params), cds_json_true(cds_json_get(request->params, "last"), false));
    else if (cds_streq(request->method, "cancel"))
        on_cancel(worker, job, cds_json_get_i64(request->params, "at_ns", 0));
    else if (cds_streq(request->method, "restore"))
        on_restore(worker, request->params);
    else if (cds_streq(request->method, "threads"))
        worker->threads_wanted = (uint32_t)cds_json_get_i64(request->params, "threads", 0);
    else
        cds_log(CDS_LOG_WARN, "unknown message from the server", CDS_LS("method", request->method));
}

static void on_close(void *user, struct cds_peer *peer, const char *reason)
{
    struct worker *worker = user;
    worker->peer = NULL;
    worker->over = true;
}

static void on_token(void *user, int64_t id, int32_t token, const void *sampler)
{
    struct worker *worker = user;
    cds_answers_token(&worker->answers, id, token, sampler);
}

static void on_told(void *user, int64_t id, uint32_t position, int32_t token, const void *sampler)
{
    struct worker *worker = user;
    cds_answers_told(&worker->answers, id, position, sampler);
}

static void on_read(void *user, int64_t id, int sequence, const int32_t *tokens, size_t count)
{
    struct worker *worker = user;
    cds_answers_read(&worker->answers, id, sequence, tokens, count);
}

static void add_event(struct worker *worker, cds_json *event)
{
    if (!worker->texts)
        worker->texts = cds_json_array();
    if (cds_json_append(worker->texts, event) != 0)
        worker->over = true;
}

static void on_text(void *user, int64_t id, const char *text, size_t len, uint32_t completion_tokens)
{
    struct worker *worker = user;
    add_event(worker, cds_answers_text(&worker->answers, id, text, len, completion_tokens));
}

/** The counters of the scheduler, by their names. */
static cds_json *work_of(const struct worker *worker)
{
    if (worker->tasks.vectors)
        return cds_tasks_work(&worker->tasks);
    if (!worker->sched)
        return cds_json_object();
    struct cds_sched_counters c = cds_sched_counters(worker->sched), alone = {0};
    if (worker->solo.sched)
        alone = cds_sched_counters(worker->solo.sched);
    const struct {
        const char *name;
        uint64_t value;
    } counts[] = {
        {"steps", c.steps},
        {"rows", c.rows},
        {"prompt_rows", c.prompt_rows},
        {"cached_tokens", c.cached_tokens},
        {"recomputed_tokens", c.recomputed_tokens},
        {"restored_tokens", c.restored_tokens},
        {"checkpoints", c.checkpoints},
        {"checkpoint_bytes", c.checkpoint_bytes},
        {"put_back", c.put_back},
        {"cancelled", c.cancelled},
        {"cancel_steps", c.cancel_steps},
        {"cancel_us", c.cancel_us},
        {"cancel_wait_us", worker->cancel_wait_us},
        {"step_us", c.step_us},
        {"turns", c.turns},
        {"split_steps", cds_engine_split_steps(worker->engine)},
        {"aborted_steps", c.aborted_steps},
        {"guesses", c.guesses},
        {"validated_tokens", c.validated_tokens},
        {"refuted_tokens", c.refuted_tokens},
        {"forced_tokens", c.forced_tokens},
        {"unsampled_tokens", c.unsampled_tokens},
        {"most_between", c.most_between},
        {"most_generating", c.most_generating},
        {"active", c.active},
        {"waiting", c.waiting},
        {"solo_steps", alone.steps},
        {"solo_rows", alone.rows},
        {"solo_active", alone.active},
        {"solo_waiting", alone.waiting},
        {"cells_live", c.cells_live},
        {"cells_kept", c.cells_kept},
        {"threads", cds_engine_threads(worker->engine)},
    };
    cds_json *work = cds_json_object();
    for (size_t i = 0; i < CDS_ARRAY_LEN(counts); i++)
        cds_json_set(work, counts[i].name, cds_json_int((int64_t)counts[i].value));
    return work;
}

/** A state of an earlier process, or of this one, is put beside the kept sequences. */
static void restore(struct worker *worker)
{
    CDS_JSON_AUTO params = worker->restore;
    worker->restore = NULL;
    struct cds_err err = {0};
    struct cds_adapter_set adapters;
    cds_rc rc = worker->sched ? cds_adapters_choose(&worker->adapters, cds_json_get(params, "lora"), &adapters, &err)
                              : cds_fail(&err, CDS_BAD_PARAM, __func__, "This model makes vectors; it has no states.");
    if (rc == CDS_OK)
        rc = cds_exchange_restore(worker->options->exchange, worker->sched, worker->facts.vocabulary, &adapters, params, &err);
    send_note(worker, "restored",
              cds_json_pack("{s:o,s:O,s:s?,s:s,s:s}", "work", work_of(worker), "job", cds_json_get(params, "job"), "code",
                            rc == CDS_OK ? NULL : cds_rc_openai(err.code), "message", err.message, "hint", err.hint));
}

/** Everything of the running step, with the counters, in one frame. */
static void flush_texts(struct worker *worker)
{
    if (!worker->texts)
        return;
    cds_json *texts = worker->texts;
    worker->texts = NULL;
    cds_json *params = cds_json_pack("{s:o}", "texts", texts);
    if (worker->sent_ms - worker->counted_ms >= COUNT_MS) {
        worker->counted_ms = worker->sent_ms;
        cds_json_set(params, "work", work_of(worker));
    }
    send_note(worker, "texts", params);
}

static void on_end(void *user, const struct cds_job_report *report)
{
    struct worker *worker = user;
    cds_json *last = NULL, *done = cds_answers_end(&worker->answers, report, &last);
    if (last)
        add_event(worker, last);
    if (!done)
        return;
    flush_texts(worker);
    cds_json_set(done, "work", work_of(worker));
    send_note(worker, "done", done);
}

/** While the model loads: tells how far it is, and gives up when the server closed the socket. */
static bool on_progress(void *user, float share)
{
    struct worker *worker = user;
    static int last = -1;
    int percent = (int)(share * 100);
    if (percent / 5 != last / 5 || last < 0)
        send_note(worker, "loading", cds_json_pack("{s:i}", "percent", percent));
    last = percent;
    cds_loop_once(worker->loop, 0);
    return !worker->over;
}

static void send_frame(void *user, const char *method, cds_json *params)
{
    send_note(user, method, params);
}

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static bool look(void *user);
static const struct cds_sched_sink sink = {.on_token = on_token, .on_read = on_read, .on_told = on_told, .on_text = on_text, .on_end = on_end};

static cds_rc open_model(struct worker *worker, struct cds_err *reterr)
{
    const struct cds_worker_options *o = worker->options;
    struct cds_engine_options options = {
        .model_path = o->model_path,
        .vocabulary_only = o->vocabulary_only,
        .cells = o->context_tokens,
        .sequences = o->slots + KEPT,
        .draft_path = o->draft_path,
        .batch = o->slots + PREFILL_IDLE + DRAFTS,
        .text_tokens = o->request_tokens,
        .threads = o->threads,
        .on_progress = on_progress,
        .user = worker,
    };
    cds_rc rc = cds_loading_read(o->load, &worker->loading, reterr);
    options.loading = worker->loading;
    options.compute = &worker->compute;
    struct cds_backend_options compute = {.backend = o->backend, .lib_dir = o->lib_dir, .offload = o->offload, .denied = o->denied};
    if (rc == CDS_OK)
        rc = cds_backend_open(&compute, &worker->compute, reterr);
    if (rc == CDS_OK)
        rc = cds_adapters_read(o->load, o->adapter_dir, &worker->adapters, reterr);
    options.adapters = &worker->adapters;
    if (rc == CDS_OK)
        rc = cds_engine_open(&options, &worker->engine, reterr);
    if (rc != CDS_OK)
        return rc;
    cds_engine_facts(worker->engine, &worker->facts);
    char why[256] = "";
    if (worker->facts.chat_template)
        worker->shim = cds_shim_open(worker->facts.chat_template, worker->facts.bos, worker->facts.eos, why, sizeof(why));
    worker->tasks = (struct cds_tasks){.prompter = &worker->prompter, .facts = &worker->facts, .send = send_frame, .user = worker};
    if (o->vocabulary_only)
        return CDS_OK;
    if (worker->facts.encodes)
        return cds_tasks_open(&worker->tasks, worker->engine, o->jobs, reterr);
    if (!worker->shim)
        cds_log(CDS_LOG_WARN, "the model has no usable chat template", CDS_LS("reason", why));
    struct cds_sched_limits limits = {
        .slots = o->slots,
        .kept = worker->facts.can_share ? KEPT : 0,
        .cells = worker->facts.cells,
        .prefill_busy = PREFILL_BUSY,
        .prefill_idle = PREFILL_IDLE,
        .drafts = DRAFTS,
        .jobs = o->jobs,
        .answer_reserve = ANSWER_RESERVE,
        .share = worker->facts.can_share,
        .checkpoint_bytes = cds_loading_checkpoint_bytes(worker->loading),
    };
    worker->solo = (struct cds_solo){
        .engine = worker->engine,
        .loading = worker->loading,
        .cells = least(o->request_tokens, least(worker->facts.cells, worker->facts.train_context)),
        .jobs = o->jobs,
        .sink = &sink,
        .user = worker,
        .look = look,
    };
    return cds_sched_new(&limits, &cds_engine_llama, worker->engine, &sink, worker, &worker->sched, reterr);
}

static void say_hello(struct worker *worker, uint32_t request_tokens)
{
    const struct cds_engine_facts *f = &worker->facts;
    worker->prompter = (struct cds_prompter){
        .engine = worker->engine,
        .shim = worker->shim,
        .bos = f->bos,
        .eos = f->eos,
        .vocabulary = f->vocabulary,
        .request_tokens = request_tokens,
        .piece_max = f->piece_max,
        .add_bos = f->add_bos,
        .add_eos = f->add_eos,
    };
    worker->answers =
        (struct cds_answers){.sched = worker->sched, .engine = worker->engine, .exchange = worker->options->exchange, .solo = &worker->solo};
    cds_json *hello = cds_json_pack("{s:s,s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:b,s:b}", "library", cds_engine_version(), "description", f->description,
                                    "parameters", (long long)f->parameters, "size_bytes", (long long)f->size_bytes, "cells", (long long)f->cells,
                                    "request_tokens", (long long)request_tokens, "train_context", (long long)f->train_context, "vocabulary",
                                    (long long)f->vocabulary, "threads", (long long)f->threads, "chat", worker->shim != NULL, "share", f->can_share);
    cds_json_set(hello, "encodes", cds_json_bool(f->encodes));
    cds_json_set(hello, "pooling", f->encodes ? cds_json_string(cds_pooling_name(f->pooling)) : cds_json_null());
    cds_json_set(hello, "width", cds_json_int(f->width));
    cds_json_set(hello, "infill", cds_json_bool(f->can_infill));
    cds_json_set(hello, "drafts", cds_json_bool(f->drafts));
    cds_json_set(hello, "draft_problem", cds_json_string(f->draft_problem));
    cds_json_set(hello, "system", cds_loading_system());
    cds_json_set(hello, "compute", cds_backend_show(&worker->compute, f->layers));
    cds_json_set(hello, "work", work_of(worker));
    send_note(worker, "hello", hello);
}

/** Work gives no text for a while, as with a long prompt or on a busy machine: the server must see that it goes on. */
static void beat(struct worker *worker)
{
    if (cds_now_ms() - worker->sent_ms >= BEAT_MS)
        send_note(worker, "beat", cds_json_object());
}

/** During a step: what the server says now counts from the next step on, and a step that nobody waits for is given up. */
static bool look(void *user)
{
    struct worker *worker = user;
    beat(worker);
    cds_loop_once(worker->loop, 0);
    return worker->over || cds_solo_step_is_dead(&worker->solo) ||
           (worker->sched ? cds_sched_step_is_dead(worker->sched) : cds_vectors_step_is_dead(worker->tasks.vectors));
}

static bool runnable(const struct worker *worker)
{
    return worker->sched ? cds_sched_runnable(worker->sched) || cds_solo_runnable(&worker->solo)
                         : worker->tasks.vectors && cds_vectors_runnable(worker->tasks.vectors);
}

/** Answers that are alone, and all the others, take turns. */
static void step(struct worker *worker)
{
    bool alone = cds_solo_runnable(&worker->solo), others = cds_sched_runnable(worker->sched);
    worker->solo_turn = alone && (!others || !worker->solo_turn);
    if (worker->solo_turn)
        cds_solo_step(&worker->solo);
    else if (others)
        cds_sched_step(worker->sched);
}

static void run(struct worker *worker)
{
    cds_engine_watch(worker->engine, look, worker);
    while (!worker->over) {
        cds_loop_once(worker->loop, runnable(worker) ? 0 : IDLE_MS);
        if (worker->over)
            break;
        if (worker->threads_wanted)
            cds_engine_set_threads(worker->engine, worker->threads_wanted);
        worker->threads_wanted = 0;
        if (worker->restore)
            restore(worker);
        if (worker->sched && runnable(worker))
            step(worker);
        else if (runnable(worker))
            cds_tasks_step(&worker->tasks);
        flush_texts(worker);
        if (runnable(worker))
            beat(worker);
    }
}

/** Tells the server why the model did not start, and waits until it has read it (it closes the socket then). */
static void say_failed(struct worker *worker, const struct cds_err *err)
{
    send_note(worker, "failed",
              cds_json_pack("{s:s,s:s,s:s,s:s,s:s}", "code", cds_rc_openai(err->code), "message", err->message, "detail", err->detail, "hint",
                            err->hint, "rule", err->rule));
    for (int i = 0; i < 20 && !worker->over; i++)
        cds_loop_once(worker->loop, 100);
}

cds_rc cds_worker_serve(const struct cds_worker_options *options, struct cds_err *reterr)
{
    struct cds_worker_options fitted = *options;
    struct worker worker = {.options = &fitted};
    struct cds_err err = {0};
    static const struct cds_peer_ops ops = {.on_request = on_request, .on_close = on_close};
    cds_rc rc = cds_loop_new(&worker.loop, &err);
    if (rc == CDS_OK)
        rc = cds_peer_new(worker.loop, options->fd, FRAME_MAX, OUT_MAX, &ops, &worker, &worker.peer, &err);
    if (rc == CDS_OK)
        rc = open_model(&worker, &err);
    if (rc != CDS_OK && worker.over)
        rc = cds_fail(&err, CDS_CANCELLED, __func__, "The server gave up this load."); /* not the model's fault */
    if (rc == CDS_OK) {
        if (!options->vocabulary_only)
            fitted.request_tokens = least(options->request_tokens, least(worker.facts.cells, worker.facts.train_context));
        worker.open = true;
        say_hello(&worker, fitted.request_tokens);
        run(&worker);
    } else if (worker.peer) {
        say_failed(&worker, &err);
    }
    cds_tasks_close(&worker.tasks);
    cds_solo_close(&worker.solo);
    cds_sched_free(&worker.sched);
    cds_answers_clear(&worker.answers);
    cds_shim_close(worker.shim);
    cds_engine_close(&worker.engine);
    cds_loading_free(&worker.loading);
    cds_json_unref(worker.texts);
    cds_json_unref(worker.restore);
    if (worker.peer)
        cds_peer_close(&worker.peer);
    cds_loop_free(&worker.loop);
    if (rc != CDS_OK && reterr)
        *reterr = err;
    return rc;
}
