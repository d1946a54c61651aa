/* sandbox/micro_job.c: one job from its place to its end: a machine, frames, clocks, a verdict. See micro.h. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/str.h"
#include "lib/log/log.h"
#include "sandbox/job.h"
#include "sandbox/micro_priv.h"

enum { POLL_MS = 50, SCRIPT_MAX = 20 << 20 };

struct micro_job {
    struct cds_job base;
    struct micro_job *next, **prev;
    struct micro_vm *vm;
    struct micro_root *root; /* image of a user's; NULL: the engine's own */
    struct cds_timer *clock;
    struct cds_buf script; /* frames that are sent as soon as the machine is seeded */
    enum micro_language language;
    enum micro_tier tier;
    enum { JOB_CHOOSING, JOB_STARTING, JOB_SENT, JOB_RUNNING, JOB_RETURNING, JOB_ENDING } state;
    const char *origin;
    struct cds_run_limits limits;
    struct cds_job_events events;
    void (*on_return)(void *user, struct returned **files);
    void *user;
    bool terminal, killed, saw_exit, failed; /* failed: after EXIT, too */
    bool again;                              /* its machine is the second one: the first did not get ready */
    struct returned *returned;               /* NULL: nothing of the project comes back */
    enum cds_run_end reason;
    struct micro_exit exit;
    char why[256]; /* engine_failed, refused */
    char rule[48];
    uint64_t memory_bytes, began_ns, sent_ns, started_ms, ended_ns, deadline_ms, cpu_before_us, cpu_us, bytes[2];
    struct cds_job_phases phases;
};

static struct micro *engine_of(const struct micro_job *job)
{
    return (struct micro *)job->base.engine;
}

static struct micro_template *template_of(const struct micro_job *job)
{
    return job->root ? &job->root->template : &engine_of(job)->template;
}

static void job_free(struct micro_job *job)
{
    struct micro *m = engine_of(job);
    if (job->root)
        micro_root_give(m, job->root);
    cds_timer_remove(&job->clock);
    cds_buf_free(&job->script);
    returned_free(&job->returned);
    *job->prev = job->next;
    if (job->next)
        job->next->prev = job->prev;
    sandbox_host_give(m->host);
    free(job);
}

/* ---- end ---- */
static void judge_exit(const struct micro_job *job, struct cds_job_result *r)
{
    const struct micro_exit *e = &job->exit;
    r->exit_code = e->signo ? -1 : e->code & 0xff;
    r->signo = e->signo;
    r->peak_memory_bytes = e->peak_bytes;
    if (!e->signo) {
        r->end = e->code == 0 ? CDS_END_OK : e->oom_kills ? CDS_END_MEMORY : e->tasks_refused ? CDS_END_TASKS : CDS_END_EXIT;
        return;
    }
    bool cpu = e->signo == SIGXCPU || (e->signo == SIGKILL && (e->utime_us + e->stime_us) / 1000 >= job->limits.cpu_ms);
    r->end = cpu ? CDS_END_CPU_TIME : e->signo == SIGXFSZ ? CDS_END_DISK : e->oom_kills ? CDS_END_MEMORY : CDS_END_SIGNAL;
}

static void finish(void *user, const struct micro_vm_end *end)
{
    struct micro_job *job = user;
    struct micro *m = engine_of(job);
    uint64_t now_ns = cds_now_ns();
    bool tried = job->tier < MICRO_TIERS;
    if (job->saw_exit && !job->killed && end && end->said_more) {
        job->failed = true;
        cds_strcpy(job->why, sizeof(job->why), "run: protocol: bytes after the last frame");
    }
    bool exited = job->saw_exit && !job->killed && !job->failed;
    struct cds_job_result r = {.exit_code = -1,
                               .wall_ms = job->started_ms ? (uint32_t)(job->ended_ns / 1000000 - job->started_ms) : 0,
                               .cpu_ms = (uint32_t)(job->cpu_us / 1000),
                               .memory_limit_bytes = job->memory_bytes < job->limits.memory_bytes ? job->memory_bytes : 0,
                               .stdout_bytes = job->bytes[0],
                               .stderr_bytes = job->bytes[1],
                               .enforced_by = sandbox_host_limits(m->host),
                               .backend = tried ? micro_backend_name(job->tier) : "none",
                               .boundary = tried ? micro_boundary_name(job->tier) : "none",
                               .origin = tried ? job->origin : "none",
                               .phases = job->phases};
    if (job->saw_exit) {
        judge_exit(job, &r);
        r.stdout_bytes = job->exit.stdout_bytes;
        r.stderr_bytes = job->exit.stderr_bytes;
        r.dropped_bytes = job->exit.dropped_bytes;
    }
    if (job->killed) {
        r.end = job->reason;
        r.exit_code = -1;
    } else if (!exited) {
        r.exit_code = -1;
        r.signo = 0;
        r.never_started = !job->started_ms;
        r.end = job->rule[0] ? CDS_END_REFUSED : end && end->memory ? CDS_END_MEMORY : CDS_END_ENGINE_FAILED;
    }
    cds_strcpy(r.reason, sizeof(r.reason), exited ? "" : job->why);
    cds_strcpy(r.rule, sizeof(r.rule), job->rule);
    r.phases.run_us = job->started_ms ? job->ended_ns / 1000 - job->started_ms * 1000 : 0;
    r.phases.teardown_us = (now_ns - job->ended_ns) / 1000;
    struct cds_job_events on = job->events;
    void (*on_return)(void *, struct returned **) = job->on_return;
    void *to = job->user;
    enum micro_tier tier = job->tier;
    struct returned *returned = exited && r.end != CDS_END_CPU_TIME ? job->returned : NULL;
    if (returned)
        job->returned = NULL;
    struct micro_template *template = template_of(job);
    struct micro_root *root = job->root;
    if (root)
        root->jobs++; /* it stays until its template was thought of */
    job_free(job);
    if (returned && on_return)
        on_return(to, &returned);
    returned_free(&returned);
    on.on_end(to, &r);
    micro_template_prepare_next(template, tier);
    if (root)
        micro_root_give(m, root);
}

static void finish_alone(void *user)
{
    finish(user, NULL);
}

static void take_cpu(struct micro_job *job)
{
    struct cds_cgroup_usage used;
    if (!job->vm || job->state != JOB_RUNNING)
        return;
    micro_vm_usage(job->vm, &used);
    if (used.cpu_us != UINT64_MAX)
        job->cpu_us = used.cpu_us - job->cpu_before_us;
    else if (job->saw_exit)
        job->cpu_us = job->exit.utime_us + job->exit.stime_us;
}

/* From here on nothing of the machine counts; the answer follows when it is gone. */
static void end_job(struct micro_job *job)
{
    if (job->state == JOB_ENDING)
        return;
    take_cpu(job);
    job->state = JOB_ENDING;
    if (!job->ended_ns)
        job->ended_ns = cds_now_ns();
    cds_timer_remove(&job->clock);
    micro_try_forget(engine_of(job), job);
    if (job->vm)
        micro_vm_end(&job->vm, finish, job);
    else if (cds_loop_post(engine_of(job)->host->loop, finish_alone, job))
        abort(); /* 65536 callbacks wait: the loop is broken */
}

static void fail(struct micro_job *job, const char *step, const char *why)
{
    char all[400];
    snprintf(all, sizeof(all), "%.60s: %s", step, why);
    if (!job->why[0])
        cds_shorten(job->why, sizeof(job->why), all);
    job->failed = true;
    end_job(job);
}

void micro_kill(struct cds_job *base, enum cds_run_end reason)
{
    struct micro_job *job = (struct micro_job *)base;
    if (!job->killed && (!job->saw_exit || job->state == JOB_RETURNING)) {
        job->killed = true;
        job->reason = reason;
    }
    end_job(job);
}

void micro_release(struct cds_job *base)
{
    struct micro_job *job = (struct micro_job *)base;
    micro_try_forget(engine_of(job), job);
    micro_vm_end(&job->vm, NULL, NULL);
    job_free(job);
}

void micro_jobs_end(struct micro *m)
{
    for (struct micro_job *job = m->jobs, *next; job; job = next) {
        next = job->next;
        job->vm = NULL; /* in the list of all machines */
        job_free(job);
    }
}

/* ---- frames ---- */
static const char *step_name(const struct micro_job *job)
{
    return job->state == JOB_STARTING    ? "start of the machine"
           : job->state == JOB_SENT      ? "start of the program"
           : job->state == JOB_RETURNING ? "return of the files"
                                         : "run";
}

static void send_script(struct micro_job *job)
{
    struct micro_vm *vm = job->vm;
    vm->decoder.job = MICRO_JOB_ID;
    vm->decoder.output_max = job->limits.output_bytes;
    vm->decoder.back = job->returned != NULL;
    job->state = JOB_SENT;
    job->sent_ns = cds_now_ns();
    job->phases.acquire_us += (job->sent_ns - job->began_ns) / 1000;
    job->deadline_ms = cds_now_ms() + MICRO_START_MS;
    if (!micro_vm_seed(vm) || !micro_vm_send(vm, &job->script))
        fail(job, step_name(job), "it does not take frames");
}

static void started(struct micro_job *job)
{
    struct cds_cgroup_usage used;
    micro_vm_usage(job->vm, &used); /* the boot and the restore are not the program's */
    job->cpu_before_us = used.cpu_us == UINT64_MAX ? 0 : used.cpu_us;
    job->state = JOB_RUNNING;
    job->started_ms = cds_now_ms();
    job->phases.start_us = (cds_now_ns() - job->sent_ns) / 1000;
    job->deadline_ms = job->started_ms + job->limits.wall_ms;
}

static void exited(struct micro_job *job, const char *payload)
{
    memcpy(&job->exit, payload, sizeof(job->exit));
    job->saw_exit = true;
    take_cpu(job);
    job->ended_ns = cds_now_ns();
    if (!job->returned) {
        end_job(job);
        return;
    }
    job->state = JOB_RETURNING;
    job->deadline_ms = cds_now_ms() + MICRO_BACK_MS;
}

static void take_back(struct micro_job *job, enum micro_type type, const char *payload, size_t len)
{
    const char *broken = NULL;
    struct micro_back head;
    struct micro_back_end last;
    if (type == MICRO_BACK) {
        memcpy(&head, payload, sizeof(head));
        broken = returned_add(job->returned, &head, payload + sizeof(head));
    } else if (type == MICRO_BACK_DATA) {
        broken = returned_data(job->returned, payload, len);
    } else {
        memcpy(&last, payload, sizeof(last));
        returned_end(job->returned, &last);
    }
    if (broken)
        fail(job, step_name(job), broken);
    else if (type == MICRO_BACK_END)
        end_job(job);
}

static bool on_frame(void *user, enum micro_type type, uint32_t id, const char *payload, size_t len)
{
    struct micro_job *job = user;
    char text[MICRO_REASON_MAX + 1];
    switch (type) {
    case MICRO_READY:
        send_script(job);
        break;
    case MICRO_STARTED:
        started(job);
        break;
    case MICRO_OUT:
    case MICRO_ERR:
        job->bytes[type == MICRO_ERR] += len;
        job->events.on_output(job->user, type == MICRO_ERR ? 2 : 1, payload, len);
        break;
    case MICRO_EXIT:
        exited(job, payload);
        break;
    case MICRO_BACK:
    case MICRO_BACK_DATA:
    case MICRO_BACK_END:
        take_back(job, type, payload, len);
        break;
    case MICRO_REFUSED:
    case MICRO_FAILED:
        snprintf(text, sizeof(text), "the agent says: %.*s", (int)len, payload);
        fail(job, step_name(job), text);
        break;
    default:
        break;
    }
    return job->state != JOB_ENDING; /* on_output may have killed it */
}

static void on_state(void *user)
{
    send_script(user);
}

static void on_lost(void *user, const char *why)
{
    struct micro_job *job = user;
    fail(job, step_name(job), why);
}

/* ---- clocks ---- */
static cds_rc start(struct micro_job *job, struct cds_err *reterr);

/* Nothing of the job has happened yet, so another machine may take the place of one that stands still: ADR 0084. */
static void start_again(struct micro_job *job)
{
    struct cds_err err = {0};
    cds_log(CDS_LOG_WARN, "a microVM did not get ready and is started once more", CDS_LS("backend", micro_backend_name(job->tier)),
            CDS_LS("origin", job->origin), CDS_LI("waited_ms", MICRO_FIRST_MS));
    micro_vm_end(&job->vm, NULL, NULL);
    job->again = true;
    if (start(job, &err))
        fail(job, step_name(job), err.message);
}

static void on_clock(void *user)
{
    struct micro_job *job = user;
    uint64_t now = cds_now_ms();
    if (job->state == JOB_RUNNING)
        take_cpu(job);
    if (now >= job->deadline_ms && job->state == JOB_RUNNING)
        micro_kill(&job->base, CDS_END_WALL_TIME);
    else if (now >= job->deadline_ms && job->state == JOB_STARTING && !job->again)
        start_again(job);
    else if (now >= job->deadline_ms)
        fail(job, step_name(job), job->state == JOB_STARTING ? "it did not get ready in time, nor did another" : "nothing was heard in time");
    else if (job->state == JOB_RUNNING && job->limits.cpu_ms < job->limits.wall_ms && job->cpu_us / 1000 >= job->limits.cpu_ms)
        /* Who named a wall clock only has the same number as CPU time; a machine has more threads than one and would reach that first. */
        micro_kill(&job->base, CDS_END_CPU_TIME);
    if (job->state != JOB_ENDING)
        cds_timer_set(job->clock, now + POLL_MS < job->deadline_ms ? now + POLL_MS : job->deadline_ms);
}

/* ---- start ---- */
static cds_rc start(struct micro_job *job, struct cds_err *reterr)
{
    static const struct micro_vm_ops ops = {on_frame, on_state, on_lost};
    struct micro *m = engine_of(job);
    struct micro_vm_plan plan;
    job->state = JOB_STARTING;
    job->deadline_ms = cds_now_ms() + (job->again ? MICRO_BOOT_MS : MICRO_FIRST_MS);
    if (!job->root && (job->vm = micro_pool_take(m, job->language, job->tier))) {
        job->origin = "pool";
        micro_vm_own(job->vm, &ops, job);
        send_script(job);
        return CDS_OK;
    }
    if (micro_template_ready(template_of(job), job->tier)) {
        job->origin = "snapshot";
        return micro_template_restore(template_of(job), &ops, job, &job->vm, reterr);
    }
    job->origin = "cold";
    micro_plan(m, job->tier, &plan);
    plan.image = template_of(job)->image;
    return micro_vm_start(m->host, &m->vms, &plan, &ops, job, &job->vm, reterr);
}

static void refuse(struct micro_job *job, const struct cds_err *err)
{
    cds_strcpy(job->rule, sizeof(job->rule), err->rule);
    cds_strcpy(job->why, sizeof(job->why), err->message);
    end_job(job);
}

/* The tiers are known now. */
static void on_tried(void *user)
{
    struct micro_job *job = user;
    struct micro *m = engine_of(job);
    struct cds_err err = {0};
    cds_rc rc = micro_choose(m, &job->tier, &err);
    if (!rc && job->tier == MICRO_TIERS)
        rc = cds_fail(&err, CDS_INTERNAL, __func__, "No tier was tried.");
    if (!rc)
        rc = start(job, &err);
    if (rc)
        refuse(job, &err);
}

cds_rc micro_acquire(struct cds_engine *base, const struct cds_job_spec *spec, struct cds_job **ret, struct cds_err *reterr)
{
    struct micro *m = (struct micro *)base;
    uint64_t began_ns = cds_now_ns();
    enum micro_tier tier = MICRO_TIERS;
    if (micro_language_of(spec->language) == MICRO_NO_LANGUAGE)
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "A microVM runs python, node or sh, not %.32s.", spec->language);
    cds_rc rc = micro_ready(m, reterr);
    struct micro_root *root = NULL;
    if (rc || (rc = micro_choose(m, &tier, reterr)) || (spec->image && (rc = micro_root_take(m, spec->image, &root, reterr))))
        return rc;
    struct micro_job *job = (rc = sandbox_host_take(m->host, reterr)) ? NULL : calloc(1, sizeof(*job));
    if (!job) {
        if (root)
            micro_root_give(m, root);
        if (rc)
            return rc;
        sandbox_host_give(m->host);
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    }
    *job = (struct micro_job){.base = {base},
                              .script = cds_buf_init(SCRIPT_MAX),
                              .language = micro_language_of(spec->language),
                              .tier = tier,
                              .root = root,
                              .limits = spec->limits,
                              .origin = "cold"};
    if ((job->next = m->jobs))
        job->next->prev = &job->next;
    job->prev = &m->jobs;
    m->jobs = job;
    job->phases.acquire_us = (cds_now_ns() - began_ns) / 1000;
    *ret = &job->base;
    return CDS_OK;
}

cds_rc micro_exec(struct cds_job *base, const struct cds_job_spec *spec, const struct cds_job_events *events, void *user, struct cds_err *reterr)
{
    struct micro_job *job = (struct micro_job *)base;
    struct micro *m = engine_of(job);
    const uint64_t room = (uint64_t)(m->memory_mib - MICRO_GUEST_MIB) << 20, most = (uint64_t)MICRO_TMP_MIB << 20;
    job->events = *events;
    job->on_return = spec->on_return;
    job->user = user;
    job->began_ns = cds_now_ns();
    job->terminal = spec->rows != 0;
    job->memory_bytes = spec->limits.memory_bytes < room ? spec->limits.memory_bytes : room;
    job->deadline_ms = UINT64_MAX;
    cds_rc rc = CDS_OK;
    if (spec->access == CDS_PROJECT_READ_WRITE && !(job->returned = returned_new()))
        rc = cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    if (!rc)
        rc = micro_add_files(m, spec, &job->script, job->returned, reterr);
    if (!rc)
        rc = micro_add_exec(spec, job->memory_bytes, spec->limits.tmp_bytes < most ? spec->limits.tmp_bytes : most, &job->script, reterr);
    if (!rc && cds_timer_add(m->host->loop, cds_now_ms() + POLL_MS, on_clock, job, &job->clock))
        rc = cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    if (!rc)
        rc = job->tier == MICRO_TIERS ? micro_try(m, false, on_tried, job, reterr) : start(job, reterr);
    if (rc)
        micro_release(base);
    return rc;
}

/* ---- while it runs ---- */
cds_rc micro_write(struct cds_job *base, const char *data, size_t len, struct cds_err *reterr)
{
    struct micro_job *job = (struct micro_job *)base;
    struct cds_buf frames = cds_buf_init(MICRO_STDIN_MAX + 4096);
    if (!job->terminal)
        return cds_fail(reterr, CDS_CONFLICT, __func__, "This run has no terminal to type into.");
    if (job->state != JOB_RUNNING || (job->vm && job->vm->out.len > MICRO_PAYLOAD_MAX))
        return cds_fail(reterr, CDS_BUSY, __func__, "The program does not read its input at the moment.");
    for (size_t at = 0; at < len; at += MICRO_PAYLOAD_MAX)
        micro_frame_add(&frames, MICRO_STDIN, 0, 0, data + at, len - at < MICRO_PAYLOAD_MAX ? len - at : MICRO_PAYLOAD_MAX);
    return micro_vm_send(job->vm, &frames) ? CDS_OK : cds_fail(reterr, CDS_BUSY, __func__, "The machine of this run takes no input.");
}

cds_rc micro_resize(struct cds_job *base, unsigned rows, unsigned cols, struct cds_err *reterr)
{
    struct micro_job *job = (struct micro_job *)base;
    struct cds_buf frames = cds_buf_init(64);
    const uint16_t size[2] = {(uint16_t)rows, (uint16_t)cols};
    if (!job->terminal)
        return cds_fail(reterr, CDS_CONFLICT, __func__, "This run has no terminal to resize.");
    micro_frame_add(&frames, MICRO_RESIZE, 0, 0, size, sizeof(size));
    if (job->state != JOB_RUNNING || !micro_vm_send(job->vm, &frames)) {
        cds_buf_free(&frames);
        return cds_fail(reterr, CDS_BUSY, __func__, "The machine of this run takes no input.");
    }
    return CDS_OK;
}

void micro_hold(struct cds_job *base, bool hold)
{
    struct micro_job *job = (struct micro_job *)base;
    if (job->vm && job->state != JOB_ENDING)
        micro_vm_hold(job->vm, hold);
}

void micro_stats(const struct cds_job *base, struct cds_job_stats *ret)
{
    const struct micro_job *job = (const struct micro_job *)base;
    *ret = (struct cds_job_stats){.wall_ms = job->started_ms ? (uint32_t)(cds_now_ms() - job->started_ms) : 0,
                                  .cpu_ms = (uint32_t)(job->cpu_us / 1000),
                                  .stdout_bytes = job->bytes[0],
                                  .stderr_bytes = job->bytes[1]};
}
