/* sandbox/call_run.c: run.exec and sandbox.probe: from parameters to a job, from its output to notifications, from its fate to an answer. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/random.h"
#include "lib/base/str.h"
#include "lib/log/log.h"
#include "lib/metrics/metrics.h"
#include "sandbox/broker.h"
#include "sandbox/disk_watch.h"

enum { HOLD_POLL_MS = 20, TAIL = 4, ARGS_MAX = 64, TMP_BYTES = 128 << 20, PROBE_FRESH_MS = 60000 };

struct run_call {
    struct client *client; /* NULL when it is gone */
    struct run_call *next, **prev;
    struct broker *broker;
    struct cds_job *job;
    struct cds_timer *hold;
    struct disk_watch *disk;
    cds_json *id;
    int64_t call;
    uint64_t seq;
    char run_id[CDS_UUID_LEN + 1], request_id[CDS_UUID_LEN + 1];
    struct cds_run_limits limits;
    char tail[2][TAIL]; /* begin of a character whose rest is still to come */
    size_t tail_len[2];
};

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
        run->broker->engine->ops->hold(run->job, false);
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
        run->broker->engine->ops->hold(run->job, true);
        cds_timer_set(run->hold, cds_now_ms() + HOLD_POLL_MS);
    }
}

/* ---- end ---- */
static cds_json *result_json(const struct run_call *run, const struct cds_job_result *r)
{
    const struct cds_engine_ops *ops = run->broker->engine->ops;
    cds_json *result =
        cds_json_pack("{s:s,s:s,s:o,s:o,s:I,s:I,s:I,s:I,s:I,s:I,s:s,s:s,s:s,s:{s:I,s:I,s:I,s:I,s:I,s:I,s:s}}", "run_id", run->run_id, "end",
                      cds_run_end_name(r->end), "exit_code", r->exit_code >= 0 ? cds_json_int(r->exit_code) : cds_json_null(), "signal",
                      r->signo ? cds_json_int(r->signo) : cds_json_null(), "wall_ms", (int64_t)r->wall_ms, "cpu_ms", (int64_t)r->cpu_ms,
                      "peak_memory_bytes", (int64_t)r->peak_memory_bytes, "stdout_bytes", (int64_t)r->stdout_bytes, "stderr_bytes",
                      (int64_t)r->stderr_bytes, "dropped_bytes", (int64_t)r->dropped_bytes, "engine", ops->name, "backend", ops->backend, "boundary",
                      ops->boundary, "limits", "wall_ms", (int64_t)run->limits.wall_ms, "cpu_ms", (int64_t)run->limits.cpu_ms, "memory_bytes",
                      (int64_t)run->limits.memory_bytes, "output_bytes", (int64_t)run->limits.output_bytes, "max_tasks",
                      (int64_t)run->limits.max_tasks, "tmp_bytes", (int64_t)run->limits.tmp_bytes, "enforced_by", r->enforced_by);
    if (result && r->reason[0])
        cds_json_set(result, "reason", cds_json_string(r->reason));
    return result;
}

static void on_end(void *user, const struct cds_job_result *r)
{
    struct run_call *run = user;
    run->job = NULL;
    disk_watch_stop(&run->disk);
    for (int i = 0; i < 2; i++)
        if (run->tail_len[i])
            notify(run, i + 1, run->tail[i], run->tail_len[i]);
    cds_metric_us(CDS_M_SANDBOX_RUNTIME, "run", (uint64_t)r->wall_ms * 1000);
    cds_metric_us(CDS_M_RUN_SECONDS, NULL, (uint64_t)r->wall_ms * 1000);
    cds_metric_add(CDS_M_RUNS, cds_run_end_name(r->end), 1);
    cds_log(r->end == CDS_END_ENGINE_FAILED ? CDS_LOG_ERROR : CDS_LOG_INFO, "run", CDS_LS("request_id", run->request_id),
            CDS_LS("run_id", run->run_id), CDS_LS("end", cds_run_end_name(r->end)), CDS_LI("wall_ms", r->wall_ms), CDS_LI("cpu_ms", r->cpu_ms),
            CDS_LS("error", r->reason[0] ? r->reason : NULL));
    if (run->client)
        client_result(run->client, run->id, result_json(run, r));
    call_free(run);
}

/* ---- start ---- */
static uint64_t limit_of(const cds_json *limits, const char *key, const struct cds_config *config, enum cds_opt opt)
{
    return (uint64_t)cds_json_get_i64(limits, key, (int64_t)cds_config_u64(config, opt));
}

static cds_rc take_limits(struct run_call *run, const cds_json *params, struct cds_err *err)
{
    const struct cds_config *c = run->broker->config;
    const cds_json *asked = cds_json_get(params, "limits");
    run->limits = (struct cds_run_limits){.wall_ms = (uint32_t)limit_of(asked, "wall_ms", c, CDS_OPT_RUN_WALL_MS),
                                          .cpu_ms = (uint32_t)limit_of(asked, "cpu_ms", c, CDS_OPT_RUN_CPU_MS),
                                          .memory_bytes = limit_of(asked, "memory_bytes", c, CDS_OPT_RUN_MEMORY_BYTES),
                                          .output_bytes = cds_config_u64(c, CDS_OPT_RUN_OUTPUT_BYTES),
                                          .max_tasks = (uint32_t)cds_config_u64(c, CDS_OPT_RUN_TASKS),
                                          .tmp_bytes = TMP_BYTES};
    /* The gateway has checked the ranges; a caller of the socket itself meets them here again. */
    if (run->limits.wall_ms < 100 || run->limits.wall_ms > 600000 || run->limits.cpu_ms < 100 || run->limits.cpu_ms > 600000 ||
        run->limits.memory_bytes < 16777216 || run->limits.memory_bytes > 17179869184u) {
        cds_fail(err, CDS_BAD_PARAM, __func__, "A limit is out of its range: 100 to 600000 ms, 16 MiB to 16 GiB.");
        cds_err_pointer(err, "/params/limits");
        return CDS_BAD_PARAM;
    }
    return CDS_OK;
}

static cds_rc take_spec(struct run_call *run, const cds_json *params, struct cds_path *path, const char **args, struct cds_job_spec *ret,
                        struct cds_err *err)
{
    const cds_json *file = cds_json_get(params, "path"), *code = cds_json_get(params, "code"), *argv = cds_json_get(params, "argv"),
                   *input = cds_json_get(params, "stdin");
    cds_rc rc = take_limits(run, params, err);
    if (rc)
        return rc;
    if (!file == !code)
        return cds_fail(err, CDS_BAD_PARAM, __func__, "Name either a path or code to run.");
    if (file && (rc = cds_path_parse_below(cds_json_str(file), cds_json_str_len(file), path, err))) {
        cds_err_pointer(err, "/params/path");
        return rc;
    }
    *ret = (struct cds_job_spec){.language = cds_json_get_str(params, "language"),
                                 .path = file ? path->text : NULL,
                                 .code = cds_json_str(code),
                                 .code_len = cds_json_str_len(code),
                                 .args = args,
                                 .stdin_data = cds_json_str(input),
                                 .stdin_len = cds_json_str_len(input),
                                 .project_fd = -1,
                                 .limits = run->limits};
    for (size_t i = 0; i < cds_json_size(argv) && i < ARGS_MAX; i++)
        if (cds_json_str(cds_json_at(argv, i)))
            args[ret->arg_count++] = cds_json_str(cds_json_at(argv, i));
    return ret->language ? CDS_OK : cds_fail(err, CDS_BAD_PARAM, __func__, "The parameter language is missing.");
}

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
        run->broker->engine->ops->kill(run->job, CDS_END_DISK);
}

static cds_rc start(struct run_call *run, const cds_json *params, struct cds_err *err)
{
    static const struct cds_job_events events = {on_output, on_end};
    struct cds_path path;
    const char *args[ARGS_MAX];
    struct cds_job_spec spec;
    int project = -1;
    cds_rc rc = take_spec(run, params, &path, args, &spec, err);
    if (rc || (rc = broker_project_open(run->broker, cds_json_get_str(params, "project"), &project, err)))
        return rc;
    rc = check_file(project, &spec, &path, err);
    if (!rc)
        rc = disk_watch_start(run->broker->loop, run->broker->readers, cds_run_engine_identity(run->broker->engine), project, on_disk_full, run,
                              &run->disk, err);
    spec.project_fd = project;
    if (!rc)
        rc = run->broker->engine->ops->exec(run->broker->engine, &spec, &events, run, &run->job, err);
    close(project);
    return rc;
}

void run_call(struct client *client, const struct cds_rpc_request *request)
{
    struct cds_err err;
    struct run_call *run = calloc(1, sizeof(*run));
    if (!run)
        abort();
    run->client = client;
    run->broker = client->broker;
    run->id = request->id ? cds_json_ref(request->id) : NULL;
    run->call = cds_json_i64(request->id, 0);
    cds_uuid7(run->run_id);
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
        rc = start(run, request->params, &err);
    if (rc) {
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
            run->broker->engine->ops->kill(run->job, CDS_END_CANCELLED);
            return;
        }
}

void run_call_drop_all(struct client *client)
{
    while (client->runs) {
        struct run_call *run = client->runs;
        *run->prev = run->next;
        if (run->next)
            run->next->prev = run->prev;
        run->prev = NULL;
        run->client = NULL; /* on_end frees it */
        if (run->job)       /* else it is just being answered: that very answer may be what broke the connection */
            run->broker->engine->ops->kill(run->job, CDS_END_CANCELLED);
    }
}

/* ---- probe ---- */
struct probe_call {
    struct client *client;
    cds_json *id;
};

static cds_json *report_json(const struct cds_engine_report *report)
{
    return cds_json_pack("{s:[{s:s,s:b,s:s,s:s,s:s}]}", "engines", "name", report->name, "works", report->works, "boundary", report->boundary,
                         "limits", report->limits, "reason", report->reason);
}

static void on_probe(void *user, const struct cds_engine_report *report)
{
    struct probe_call *probe = user;
    struct broker *broker = probe->client->broker;
    broker->probed = *report;
    broker->probed_ms = cds_now_ms();
    client_result(probe->client, probe->id, report_json(report));
    cds_json_unref(probe->id);
    client_unref(probe->client);
    free(probe);
}

void probe_call(struct client *client, const struct cds_rpc_request *request)
{
    struct cds_err err;
    const struct broker *broker = client->broker;
    /* Every viewer may ask, and a probe takes the place of a run: one answer serves for a while. */
    if (broker->probed.works && cds_now_ms() - broker->probed_ms < PROBE_FRESH_MS) {
        client_result(client, request->id, report_json(&broker->probed));
        return;
    }
    struct probe_call *probe = calloc(1, sizeof(*probe));
    if (!probe)
        abort();
    client_ref(client);
    probe->client = client;
    probe->id = request->id ? cds_json_ref(request->id) : NULL;
    if (client->broker->engine->ops->probe(client->broker->engine, on_probe, probe, &err)) {
        client_error(client, probe->id, &err);
        cds_json_unref(probe->id);
        client_unref(client);
        free(probe);
    }
}
