/* sandbox/call_run.c: run.exec: from parameters to a job, from its output to notifications, from its fate to an answer. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/base/random.h"
#include "lib/base/str.h"
#include "lib/log/log.h"
#include "lib/metrics/metrics.h"
#include "sandbox/broker.h"
#include "sandbox/disk_watch.h"
#include "sandbox/image_desk.h"
#include "sandbox/preview.h"
#include "sandbox/run_params.h"
#include "sandbox/run_return.h"

enum { HOLD_POLL_MS = 20, TAIL = 4 };

struct run_call {
    struct client *client; /* NULL when it is gone */
    struct run_call *next, **prev;
    struct broker *broker;
    const struct cds_engine_ops *ops; /* of the engine that has the job */
    struct cds_job *job;
    struct cds_timer *hold;
    struct disk_watch *disk;
    cds_json *id;
    int64_t call;
    uint64_t seq;
    char run_id[CDS_UUID_LEN + 1], request_id[CDS_UUID_LEN + 1], project[CDS_UUID_LEN + 1];
    bool network; /* its project names hosts, and its engine has a way to them */
    struct cds_run_limits limits;
    struct run_params *params; /* owned, while another engine may still have to take the job; NULL else */
    cds_json *asked;           /* what params point into */
    int project_fd;            /* -1: not needed any more */
    struct image *image;       /* root image of its machine, counted; NULL: the engine's own */
    struct cds_job_image job_image;
    bool copy;                    /* it works on a copy of the project, of which changes come back */
    struct returned *returned;    /* what came; NULL: nothing */
    struct cds_job_result result; /* its fate, while its files are taken back */
    char fell_back[256];          /* why the engine that was asked for did not take it; "" when it did */
    char tail[2][TAIL];           /* begin of a character whose rest is still to come */
    size_t tail_len[2];
};

static void drop_params(struct run_call *run)
{
    if (run->params)
        run_params_free(run->params);
    free(run->params);
    run->params = NULL;
    cds_json_unref(run->asked);
    run->asked = NULL;
}

static void call_free(struct run_call *run)
{
    if (run->prev) {
        *run->prev = run->next;
        if (run->next)
            run->next->prev = run->prev;
    }
    cds_timer_remove(&run->hold);
    disk_watch_stop(&run->disk);
    cds_json_unref(run->id);
    drop_params(run);
    returned_free(&run->returned);
    if (run->image) {
        image_give(run->image);
        close(run->job_image.fd);
    }
    if (run->project_fd >= 0)
        close(run->project_fd);
    free(run);
}

/* ---- output ---- */
static void notify(struct run_call *run, int stream, const char *data, size_t len)
{
    cds_json *text = cds_utf8_valid(data, len) ? cds_json_stringn(data, len) : NULL; /* also NULL for a NUL byte */
    bool base64 = !text;
    if (base64) {
        char *coded = malloc(cds_base64_len(len) + 1);
        text = coded ? cds_json_stringn(coded, cds_base64(data, len, coded)) : NULL;
        free(coded);
    }
    cds_json *params =
        cds_json_pack("{s:I,s:I,s:s,s:o}", "call", run->call, "seq", (int64_t)run->seq++, "stream", stream == 1 ? "stdout" : "stderr", "data", text);
    if (base64)
        cds_json_set(params, "encoding", cds_json_string("base64"));
    CDS_JSON_AUTO note = cds_rpc_notification("run.output", params);
    if (run->client && run->client->peer && note && cds_peer_send(run->client->peer, note))
        cds_log(CDS_LOG_WARN, "output of a run could not be queued", CDS_LS("run_id", run->run_id));
}

static void on_hold_poll(void *user)
{
    struct run_call *run = user;
    bool full = run->client && run->client->peer && cds_peer_pending(run->client->peer) > BROKER_HOLD_BYTES / 2;
    if (full)
        cds_timer_set(run->hold, cds_now_ms() + HOLD_POLL_MS);
    else
        run->ops->hold(run->job, false);
}

/* Whole characters only: what is cut off at the end waits for the next piece. */
static void on_output(void *user, int stream, const char *data, size_t len)
{
    struct run_call *run = user;
    char *tail = run->tail[stream - 1];
    size_t *tail_len = &run->tail_len[stream - 1];
    char *joined = malloc(*tail_len + len);
    if (!joined)
        abort();
    memcpy(joined, tail, *tail_len);
    memcpy(joined + *tail_len, data, len);
    size_t all = *tail_len + len, whole = cds_utf8_complete(joined, all);
    *tail_len = all - whole;
    memcpy(tail, joined + whole, *tail_len);
    if (whole)
        notify(run, stream, joined, whole);
    free(joined);
    if (run->client && run->client->peer && run->job && cds_peer_pending(run->client->peer) > BROKER_HOLD_BYTES) {
        run->ops->hold(run->job, true);
        cds_timer_set(run->hold, cds_now_ms() + HOLD_POLL_MS);
    }
}

/* ---- end ---- */
static cds_json *limits_json(const struct run_call *run, const struct cds_job_result *r)
{
    const struct cds_run_limits *l = &run->limits;
    uint64_t memory = r->memory_limit_bytes ? r->memory_limit_bytes : l->memory_bytes;
    cds_json *limits = cds_json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:s}", "wall_ms", (int64_t)l->wall_ms, "cpu_ms", (int64_t)l->cpu_ms, "memory_bytes",
                                     (int64_t)memory, "output_bytes", (int64_t)l->output_bytes, "max_tasks", (int64_t)l->max_tasks, "tmp_bytes",
                                     (int64_t)l->tmp_bytes, "enforced_by", r->enforced_by);
    if (cds_streq(run->ops->name, "wasm"))
        cds_json_set(limits, "fuel", cds_json_int((int64_t)l->fuel));
    return limits;
}

/* The end says it. */
static const char *why_nothing_returned(const struct run_call *run, const struct cds_job_result *r)
{
    if (run->returned)
        return NULL;
    switch (r->end) {
    case CDS_END_CPU_TIME:
    case CDS_END_WALL_TIME:
        return "The program was ended for its time: nothing of its copy of the project was taken back.";
    case CDS_END_CANCELLED:
        return "The run was cancelled: nothing of its copy of the project was taken back.";
    case CDS_END_DISK:
        return "The run was ended because the project is full: nothing of its copy was taken back.";
    default:
        return "The run failed: nothing of its copy of the project was taken back.";
    }
}

static cds_json *result_json(const struct run_call *run, const struct cds_job_result *r)
{
    cds_json *result = cds_json_pack("{s:s,s:s,s:o,s:o,s:I,s:I,s:I,s:I,s:I,s:I,s:s,s:s,s:s,s:s,s:{s:I,s:I,s:I,s:I},s:o}", "run_id", run->run_id,
                                     "end", cds_run_end_name(r->end), "exit_code", r->exit_code >= 0 ? cds_json_int(r->exit_code) : cds_json_null(),
                                     "signal", r->signo ? cds_json_int(r->signo) : cds_json_null(), "wall_ms", (int64_t)r->wall_ms, "cpu_ms",
                                     (int64_t)r->cpu_ms, "peak_memory_bytes", (int64_t)r->peak_memory_bytes, "stdout_bytes", (int64_t)r->stdout_bytes,
                                     "stderr_bytes", (int64_t)r->stderr_bytes, "dropped_bytes", (int64_t)r->dropped_bytes, "engine", run->ops->name,
                                     "backend", r->backend, "boundary", r->boundary, "origin", r->origin, "phases", "acquire_us",
                                     (int64_t)r->phases.acquire_us, "start_us", (int64_t)r->phases.start_us, "run_us", (int64_t)r->phases.run_us,
                                     "teardown_us", (int64_t)r->phases.teardown_us, "limits", limits_json(run, r));
    if (result)
        cds_json_set(result, "network", cds_json_string(run->network ? "allow-list" : "none"));
    cds_json *values = NULL;
    if (result && r->values[0] && !cds_json_parse(r->values, strlen(r->values), &values, NULL))
        cds_json_set(result, "values", values);
    if (result && r->rule[0])
        cds_json_set(result, "rule", cds_json_string(r->rule));
    if (result && r->reason[0])
        cds_json_set(result, "reason", cds_json_string(r->reason));
    if (result && run->fell_back[0])
        cds_json_set(result, "fallback_reason", cds_json_string(run->fell_back));
    if (result && cds_streq(run->ops->name, "micro"))
        cds_json_set(result, "image", cds_json_string(run->image ? run->image->name : IMAGE_DEFAULT));
    if (result && run->copy)
        cds_json_set(result, "project_back", returned_json(run->returned, why_nothing_returned(run, r)));
    return result;
}

static void answer(struct run_call *run, const struct cds_job_result *r)
{
    disk_watch_stop(&run->disk);
    for (int i = 0; i < 2; i++)
        if (run->tail_len[i])
            notify(run, i + 1, run->tail[i], run->tail_len[i]);
    cds_metric_us(CDS_M_SANDBOX_RUNTIME, run->ops->name, (uint64_t)r->wall_ms * 1000);
    cds_metric_us(CDS_M_RUN_SECONDS, NULL, (uint64_t)r->wall_ms * 1000);
    cds_metric_add(CDS_M_RUNS, cds_run_end_name(r->end), 1);
    cds_log(r->end == CDS_END_ENGINE_FAILED ? CDS_LOG_ERROR : CDS_LOG_INFO, "run", CDS_LS("request_id", run->request_id),
            CDS_LS("run_id", run->run_id), CDS_LS("engine", run->ops->name), CDS_LS("end", cds_run_end_name(r->end)), CDS_LI("wall_ms", r->wall_ms),
            CDS_LI("cpu_ms", r->cpu_ms), CDS_LS("error", r->reason[0] ? r->reason : NULL));
    if (run->client)
        client_result(run->client, run->id, result_json(run, r));
    call_free(run);
}

static void on_return(void *user, struct returned **files)
{
    struct run_call *run = user;
    run->returned = *files;
    *files = NULL;
}

static void on_taken_back(void *user, const char *reason)
{
    struct run_call *run = user;
    if (reason)
        cds_log(CDS_LOG_ERROR, "files of a run were not taken back", CDS_LS("request_id", run->request_id), CDS_LS("run_id", run->run_id),
                CDS_LS("error", reason));
    answer(run, &run->result);
}

static bool take_other_engine(struct run_call *run, const struct cds_job_result *r);

static void on_end(void *user, const struct cds_job_result *r)
{
    struct run_call *run = user;
    preview_job_gone(run->broker, run->job);
    run->job = NULL;
    if (take_other_engine(run, r))
        return;
    if (!run->returned || returned_count(run->returned) == 0) {
        answer(run, r);
        return;
    }
    run->result = *r;
    run_return_start(run->broker, run->returned, run->project_fd, run->run_id, on_taken_back, run);
}

/* ---- start ---- */
/* A name that is not there would only be told by the interpreter's own words. */
static cds_rc check_file(int project, const struct cds_job_spec *spec, const struct cds_path *path, struct cds_err *err)
{
    struct cds_fs_info info;
    if (!spec->path)
        return CDS_OK;
    cds_rc rc = cds_fs_stat(project, path, &info, err);
    if (!rc && info.type != CDS_FS_FILE)
        rc = cds_fail(err, CDS_BAD_PARAM, __func__, "%.200s is not a file.", path->text);
    return rc;
}

static void on_disk_full(void *user)
{
    struct run_call *run = user;
    if (run->job)
        run->ops->kill(run->job, CDS_END_DISK);
}

/* A rule of the engine said no: that is the fate of a run, not a fault of the call. */
static void answer_refused(struct run_call *run, const struct cds_err *err)
{
    struct cds_job_result r = {.end = CDS_END_REFUSED,
                               .exit_code = -1,
                               .enforced_by = sandbox_host_limits(run->broker->host),
                               .backend = "none",
                               .boundary = "none",
                               .origin = "none"};
    cds_strcpy(r.rule, sizeof(r.rule), err->rule);
    cds_strcpy(r.reason, sizeof(r.reason), err->message);
    r.reason[cds_utf8_complete(r.reason, strlen(r.reason))] = '\0';
    answer(run, &r);
}

static void notify_started(const struct run_call *run)
{
    CDS_JSON_AUTO note =
        cds_rpc_notification("run.started", cds_json_pack("{s:I,s:s,s:s}", "call", run->call, "run_id", run->run_id, "engine", run->ops->name));
    if (note && cds_peer_send(run->client->peer, note))
        cds_log(CDS_LOG_WARN, "the start of a run could not be told", CDS_LS("run_id", run->run_id));
}

static cds_rc start_in(struct run_call *run, struct cds_engine *engine, const struct cds_job_spec *spec, struct cds_err *err)
{
    static const struct cds_job_events events = {on_output, on_end};
    run->ops = engine->ops;
    run->copy = cds_streq(engine->ops->name, "micro") && spec->access == CDS_PROJECT_READ_WRITE;
    cds_rc rc = engine->ops->acquire(engine, spec, &run->job, err);
    run->network = spec->network && engine->ops->doors;
    if (!rc && (rc = engine->ops->exec(run->job, spec, &events, run, err)))
        run->job = NULL;
    return rc;
}

static bool may_fall_back(const struct run_params *p)
{
    return p->may_fall_back && p->language[0];
}

static void note_fall_back(struct run_call *run, const char *why)
{
    cds_strcpy(run->fell_back, sizeof(run->fell_back), why);
    run->fell_back[cds_utf8_complete(run->fell_back, strlen(run->fell_back))] = '\0';
    cds_log(CDS_LOG_WARN, "a run falls back to the process sandbox, as its caller allows", CDS_LS("request_id", run->request_id),
            CDS_LS("run_id", run->run_id), CDS_LS("error", why));
}

/* Another engine only where the caller has asked for it. */
static cds_rc start_somewhere(struct run_call *run, const struct run_params *p, struct cds_err *err)
{
    struct cds_engine *engine = broker_engine(run->broker, p->engine), *process = broker_engine(run->broker, "run");
    if (!engine) {
        cds_fail(err, CDS_BAD_PARAM, __func__, "There is no engine %s; choose run, wasm, micro:python, micro:node or micro:sh.", p->engine);
        cds_err_pointer(err, "/params/engine");
        return CDS_BAD_PARAM;
    }
    cds_rc rc = start_in(run, engine, &p->spec, err);
    if (rc == CDS_DENIED && may_fall_back(p) && engine != process) {
        note_fall_back(run, err->message);
        rc = start_in(run, process, &p->spec, err);
    }
    return rc;
}

/* The engine has found out only after it took the job that it does not work here: no step of the program was made. */
static bool take_other_engine(struct run_call *run, const struct cds_job_result *r)
{
    struct cds_engine *process = broker_engine(run->broker, "run");
    struct cds_err err;
    bool failed = r->never_started && (r->end == CDS_END_REFUSED || r->end == CDS_END_ENGINE_FAILED);
    if (!failed || !run->params || !run->client || !run->client->peer)
        return false;
    const struct cds_engine_ops *before = run->ops;
    note_fall_back(run, r->reason);
    cds_rc rc = start_in(run, process, &run->params->spec, &err);
    drop_params(run);
    if (rc) { /* its first fate stays; that the other engine did not take it either is said in its place */
        run->ops = before;
        snprintf(run->fell_back, sizeof(run->fell_back), "The process sandbox did not take it either: %.200s", err.message);
        run->fell_back[cds_utf8_complete(run->fell_back, strlen(run->fell_back))] = '\0';
        return false;
    }
    notify_started(run);
    return true;
}

static cds_rc take_image(struct run_call *run, struct run_params *p, struct cds_err *err)
{
    cds_rc rc = image_take(image_desk_store(run->broker->images), p->image, p->language, &run->image, &run->job_image.fd, err);
    if (rc)
        return rc;
    run->job_image.name = run->image->name;
    run->job_image.digest = run->image->digest;
    p->spec.image = &run->job_image;
    return CDS_OK;
}

static cds_rc start(struct run_call *run, const cds_json *params, struct run_params *p, struct cds_err *err)
{
    cds_rc rc = run_params_read(params, run->broker->config, p, err);
    if (rc || (rc = broker_project_open(run->broker, cds_json_get_str(params, "project"), &run->project_fd, err)))
        return rc;
    if (p->image && (rc = take_image(run, p, err)))
        return rc;
    const int project = p->spec.project_fd = run->project_fd;
    p->spec.on_return = on_return;
    run->limits = p->spec.limits;
    rc = check_file(project, &p->spec, &p->path, err);
    if (!rc && p->spec.access == CDS_PROJECT_READ_WRITE)
        rc = disk_watch_start(run->broker->loop, run->broker->readers, &run->broker->host->who, project, on_disk_full, run, &run->disk, err);
    if (rc)
        return rc;
    rc = start_somewhere(run, p, err);
    if (!rc)
        notify_started(run);
    return rc;
}

void run_call(struct client *client, const struct cds_rpc_request *request)
{
    struct cds_err err;
    struct run_call *run = calloc(1, sizeof(*run));
    struct run_params *params = calloc(1, sizeof(*params));
    if (!run || !params)
        abort();
    run->client = client;
    run->project_fd = -1;
    run->broker = client->broker;
    run->id = request->id ? cds_json_ref(request->id) : NULL;
    run->call = cds_json_i64(request->id, 0);
    cds_uuid7(run->run_id);
    cds_strcpy(run->project, sizeof(run->project), cds_json_get_str(request->params, "project") ? cds_json_get_str(request->params, "project") : "");
    const char *request_id = cds_json_get_str(request->params, "request_id");
    cds_strcpy(run->request_id, sizeof(run->request_id), request_id ? request_id : "");
    if ((run->next = client->runs))
        run->next->prev = &run->next;
    run->prev = &client->runs;
    client->runs = run;
    cds_rc rc = cds_timer_add(run->broker->loop, UINT64_MAX, on_hold_poll, run, &run->hold);
    if (rc)
        cds_fail(&err, rc, __func__, "Out of memory.");
    else
        rc = start(run, request->params, params, &err);
    run->params = params;
    run->asked = cds_json_ref(request->params);
    if (rc || !may_fall_back(params) || cds_streq(run->ops->name, "run"))
        drop_params(run);
    if (rc == CDS_DENIED && run->ops) {
        answer_refused(run, &err);
    } else if (rc) {
        cds_metric_add(CDS_M_RUNS, "refused", 1);
        cds_log_err(cds_rc_http(err.code) >= 500 ? CDS_LOG_ERROR : CDS_LOG_INFO, "run refused", run->request_id, &err);
        client_error(client, run->id, &err);
        call_free(run);
    }
}

void run_call_cancel(struct client *client, int64_t call)
{
    for (struct run_call *run = client->runs; run; run = run->next)
        if (run->call == call && run->job) {
            run->ops->kill(run->job, CDS_END_CANCELLED);
            return;
        }
}

static struct run_call *find_run(const struct broker *broker, const char *project, const char *run_id)
{
    for (const struct client *c = broker->clients; c; c = c->next)
        for (struct run_call *run = c->runs; run; run = run->next)
            if (run->job && cds_streq(run->run_id, run_id) && cds_streq(run->project, project))
                return run;
    return NULL;
}

struct cds_job *run_job(const struct broker *broker, const char *project, const char *run_id, const struct cds_engine_ops **ret_ops)
{
    const struct run_call *run = find_run(broker, project, run_id);
    if (!run)
        return NULL;
    *ret_ops = run->ops;
    return run->job;
}

/* The gateway has checked that the caller owns the project. */
void run_stop_call(struct client *client, const struct cds_rpc_request *request)
{
    const char *run_id = cds_json_get_str(request->params, "run_id"), *project = cds_json_get_str(request->params, "project");
    const struct run_call *found = find_run(client->broker, project, run_id);
    if (found)
        found->ops->kill(found->job, CDS_END_CANCELLED); /* its end comes by the loop */
    client_result(client, request->id, cds_json_pack("{s:b}", "cancelled", found != NULL));
}

void run_call_drop_all(struct client *client)
{
    struct run_call *run = client->runs, *next;
    client->runs = NULL;
    for (; run; run = next) {
        next = run->next;
        run->prev = NULL;   /* it is in no list any more */
        run->client = NULL; /* on_end frees it */
        if (run->job)       /* else it is just being answered: that very answer may be what broke the connection */
            run->ops->kill(run->job, CDS_END_CANCELLED);
    }
}
