/* tests/sandbox/abuse/drill.c: what one job cannot do: a storm of calls, a broker that dies, a keeper that is killed. See play.h. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/base/str.h"
#include "tests/sandbox/abuse/machines.h"
#include "tests/support/stretch.h"

enum { SLOTS = 4, AFTERLIFE_MS = 3000, PATIENCE_MS = 60000, VICTIM_JOBS = 3 };

static struct cds_job_spec sleeper(const struct world *w, const char *code)
{
    return (struct cds_job_spec){.language = "sh",
                                 .code = code,
                                 .code_len = strlen(code),
                                 .project_fd = w->project,
                                 .access = CDS_PROJECT_READ_ONLY,
                                 .limits = {60000, 60000, 64 << 20, 4096, 16, 4 << 20, 0}};
}

/* ---- a storm: more jobs than places ---- */
struct storm {
    unsigned ended, by_state[CDS_END_COUNT];
};
static void ignore_output(void *user, int stream, const char *data, size_t len)
{
}
static void count_end(void *user, const struct cds_job_result *r)
{
    struct storm *s = user;
    s->ended++;
    s->by_state[r->end]++;
}

/* All callers come at once and come again as they are told; every third one changes its mind: before the start, at once, or in mid-run. */
static void storm(struct world *w, const struct row_case *c, unsigned callers)
{
    static const struct cds_job_events events = {ignore_output, count_end};
    struct storm s = {.ended = 0};
    unsigned started = 0, busy = 0, without_hint = 0, changed = 0;
    const struct cds_job_spec spec = sleeper(w, "exit 0");
    uint64_t deadline = cds_now_ms() + 60000 + callers * 100ULL;
    for (unsigned left = callers; (left || s.ended < started) && cds_now_ms() < deadline;) {
        struct cds_err err = {.retry_after_ms = 0};
        struct cds_job *job = NULL;
        cds_rc rc = left ? w->engine->ops->acquire(w->engine, &spec, &job, &err) : CDS_BUSY;
        if (left && rc == CDS_BUSY) {
            busy++;
            without_hint += err.retry_after_ms == 0;
        }
        if (rc) {
            cds_loop_once(w->loop, 10);
            continue;
        }
        left--;
        if (left % 9 == 0) {
            w->engine->ops->release(job);
            changed++;
        } else if (w->engine->ops->exec(job, &spec, &events, &s, &err)) {
            complain(w, "%s: a job did not start: %s", c->name, err.message);
        } else {
            started++;
            if (left % 3 == 0)
                w->engine->ops->kill(job, CDS_END_CANCELLED);
        }
    }
    printf("# %s: %u callers, %u told to come again, %u gave back, %u ok, %u cancelled\n", c->name, callers, busy, changed, s.by_state[CDS_END_OK],
           s.by_state[CDS_END_CANCELLED]);
    if (s.ended != started || started + changed != callers)
        complain(w, "%s: %u of %u jobs ended, %u gave back", c->name, s.ended, started, changed);
    if (s.by_state[CDS_END_OK] + s.by_state[CDS_END_CANCELLED] != s.ended || !s.by_state[CDS_END_CANCELLED] || !s.by_state[CDS_END_OK])
        complain(w, "%s: other ends than ok and cancelled", c->name);
    if (!busy || without_hint)
        complain(w, "%s: %u were told to come again, %u of them not when", c->name, busy, without_hint);
}

static void full_queue(struct world *w, const struct row_case *c, unsigned callers)
{
    world_close(w);
    if (world_open(w, SLOTS))
        abort();
    storm(w, c, callers);
    world_drain_pool(w);
    world_check_open(w);
    world_close(w);
    if (world_open(w, WORLD_SLOTS))
        abort();
}

/* ---- the broker dies ---- */
/* Starts jobs of all kinds of stubbornness, tells their names and waits for its death. */
static _Noreturn void be_victim(struct world *w, int tell)
{
    static const struct cds_job_events events = {ignore_output, count_end};
    static struct storm s;
    static const char *const codes[VICTIM_JOBS] = {"sleep 300", "trap '' TERM HUP; setsid sleep 300 & setsid sleep 300 & wait",
                                                   "while :; do sleep 0.01; done"};
    pid_t known[VICTIM_JOBS];
    if (world_open(w, SLOTS))
        _exit(1);
    for (size_t i = 0; i < VICTIM_JOBS; i++) {
        const struct cds_job_spec spec = sleeper(w, codes[i]);
        struct cds_job *job;
        if (w->engine->ops->acquire(w->engine, &spec, &job, NULL) || w->engine->ops->exec(job, &spec, &events, &s, NULL))
            _exit(2);
        known[i] = world_new_child(known, i);
        if (write(tell, &known[i], sizeof(known[i])) != sizeof(known[i]))
            _exit(3);
    }
    for (;;)
        cds_loop_once(w->loop, 100);
}

static void wait_for_silence(struct world *w, const struct row_case *c)
{
    uint64_t began = cds_now_ms(), ms;
    unsigned left;
    do {
        while (waitpid(-1, NULL, WNOHANG) > 0) /* as pid 1 of a namespace we inherit the orphans */
            continue;
        usleep(2000);
        left = world_survivors(w, NULL, 0) + (world_new_child(NULL, 0) != 0);
        ms = cds_now_ms() - began;
    } while (left && ms < PATIENCE_MS);
    if (left || (ms > AFTERLIFE_MS && ms > AFTERLIFE_MS * test_stretch_percent() / 100))
        complain(w, "%s: %u processes outlived their broker, %llu ms so far", c->name, left, (unsigned long long)ms);
}

static void kill_broker_once(struct world *w, const struct row_case *c, unsigned turn)
{
    int ends[2];
    pid_t init;
    if (pipe2(ends, O_CLOEXEC))
        abort();
    pid_t victim = fork();
    if (victim == 0) {
        close(ends[0]);
        be_victim(w, ends[1]);
    }
    close(ends[1]);
    CDS_CLEANUP(cds_close_fd) int listen = ends[0];
    /* At another moment each time: while one starts, and when all run. */
    unsigned told_count = 0, until = turn % (VICTIM_JOBS + 1);
    for (; told_count < (until ? until : VICTIM_JOBS) && read(listen, &init, sizeof(init)) == (ssize_t)sizeof(init); told_count++)
        world_note_job(w, init);
    if (!until)
        usleep(turn * 1000 % 20000);
    kill(victim, SIGKILL);
    waitpid(victim, NULL, 0);
    while (read(listen, &init, sizeof(init)) == (ssize_t)sizeof(init))
        world_note_job(w, init);
    if (!told_count)
        complain(w, "%s: the broker to be killed started nothing", c->name);
    wait_for_silence(w, c);
}

static void kill_broker(struct world *w, const struct row_case *c, unsigned turns)
{
    for (unsigned i = 0; i < turns && !w->complaints[0]; i++) {
        world_close(w);
        kill_broker_once(w, c, i);
        if (world_open(w, WORLD_SLOTS))
            abort();
        world_check_open(w); /* the groups of the dead one are gone, too */
        if (!world_ask_neighbour(w))
            complain(w, "%s: the next broker's first job failed", c->name);
    }
}

/* ---- the keeper (pid 1 of a job) dies ---- */
static void kill_keeper(struct world *w, const struct row_case *c, unsigned turns)
{
    for (unsigned i = 0; i < turns; i++) {
        struct play p;
        struct cds_err err = {.message = ""};
        const struct cds_job_spec spec = sleeper(w, "setsid sleep 300 & echo up; sleep 300");
        if (play_start(&p, w, c, &spec, &err)) {
            complain(w, "%s: it did not start: %s", c->name, err.message);
        } else {
            uint64_t began = cds_now_ms();
            while (!p.ended && (i ? p.out_len == 0 : cds_now_ms() - began < 3) && cds_now_ms() - began < PATIENCE_MS)
                cds_loop_once(w->loop, 5);
            kill(p.init, SIGKILL);
            play_wait(&p, 0);
            if (p.result.end != CDS_END_ENGINE_FAILED || !p.result.reason[0])
                complain(w, "%s: it ended with %s %s", c->name, cds_run_end_name(p.result.end), p.result.reason);
        }
        play_finish(&p);
        world_drain_pool(w);
        if (world_survivors(w, NULL, 0))
            complain(w, "%s: something outlived its keeper", c->name);
    }
}

bool play_drill(struct world *w, const struct row_case *c, const char *drill)
{
    static const struct {
        const char *name;
        void (*play)(struct world *w, const struct row_case *c, unsigned number);
    } drills[] = {{"full_queue ", full_queue},
                  {"kill_broker ", kill_broker},
                  {"kill_keeper ", kill_keeper},
                  {"try_template ", machines_try_template},
                  {"exec_without_seed ", machines_exec_without_seed},
                  {"aot_tamper ", machines_tamper_code},
                  {"aot_refused ", machines_check_refused_code}};
    for (size_t i = 0; i < CDS_ARRAY_LEN(drills); i++) {
        uint64_t number;
        if (!cds_starts_with(drill, drills[i].name) || cds_parse_u64(drill + strlen(drills[i].name), 1, 100000, &number))
            continue;
        drills[i].play(w, c, (unsigned)number);
        return true;
    }
    return false;
}
