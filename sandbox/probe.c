/* sandbox/probe.c: see probe.h. One job after the other: each interpreter prints a word inside the jail. */
#include "sandbox/probe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/base/str.h"
#include "lib/json/json.h"
#include "sandbox/probe_engines.h"

static const struct {
    const char *language, *code;
} tries[] = {{"python", "print('works')"},
             {"node", "console.log('works')"},
             {"sh", "echo works"},
             {"c", "#include <stdio.h>\nint main(void) { return puts(\"works\") < 0; }"},
             {"cpp", "#include <cstdio>\nint main() { return std::puts(\"works\") < 0; }"}};

struct all {
    struct broker *broker;
    int project_fd;
    size_t at; /* the interpreter being tried */
    uint64_t began_ms;
    char said[256]; /* begin of what it printed, both streams */
    size_t len;
    bool works;
    cds_json *engines, *interpreters;
};

static void next(struct all *all);

static void on_output(void *user, int stream, const char *data, size_t len)
{
    struct all *all = user;
    size_t room = sizeof(all->said) - 1 - all->len, n = len < room ? len : room;
    memcpy(all->said + all->len, data, n);
    all->len += n;
    all->said[all->len] = '\0';
}

static void note(struct all *all, bool works, const char *reason)
{
    char text[256];
    cds_strcpy(text, sizeof(text), reason);
    text[strcspn(text, "\n")] = '\0';
    text[cds_utf8_complete(text, strlen(text))] = '\0';
    cds_json_set(all->interpreters, tries[all->at].language,
                 cds_json_pack("{s:b,s:I,s:s}", "works", works, "took_ms", (int64_t)(cds_now_ms() - all->began_ms), "reason", text));
    all->at++;
    next(all);
}

static void on_end(void *user, const struct cds_job_result *r)
{
    struct all *all = user;
    char reason[512] = "";
    bool works = r->end == CDS_END_OK && cds_streq(all->said, "works\n");
    if (!works)
        snprintf(reason, sizeof(reason), "It ended with %s. %.200s%.200s", cds_run_end_name(r->end), r->reason, all->said);
    note(all, works, reason);
}

static void next(struct all *all)
{
    static const struct cds_job_events events = {on_output, on_end};
    struct cds_engine *engine = broker_engine(all->broker, "run");
    struct cds_err err;
    struct cds_job *job;
    if (all->at == CDS_ARRAY_LEN(tries)) {
        cds_loop_stop(all->broker->loop);
        return;
    }
    all->len = 0;
    all->said[0] = '\0';
    all->began_ms = cds_now_ms();
    const struct cds_job_spec spec = {
        .language = tries[all->at].language,
        .code = tries[all->at].code,
        .code_len = strlen(tries[all->at].code),
        .project_fd = all->project_fd,
        .limits = {3000, 3000, 512 << 20, 4096, 64, 16 << 20, 0}}; /* all of them together end before doctor stops waiting */
    if (engine->ops->acquire(engine, &spec, &job, &err) || engine->ops->exec(job, &spec, &events, all, &err))
        note(all, false, err.message);
}

static void on_engines(void *user, cds_json *engines, bool runs)
{
    struct all *all = user;
    all->works = runs;
    all->engines = engines;
    if (runs)
        next(all);
    else
        cds_loop_stop(all->broker->loop);
}

bool probe_all(struct broker *broker, int empty_project_fd)
{
    struct all all = {.broker = broker, .project_fd = empty_project_fd, .interpreters = cds_json_object()};
    struct probe_engines *probe;
    probe_engines(broker, on_engines, &all, &probe);
    cds_loop_run(broker->loop);
    CDS_JSON_AUTO report = cds_json_pack("{s:o,s:o}", "engines", all.engines, "interpreters", all.interpreters);
    CDS_CLEANUP(cds_free_ptr) char *text = report ? cds_json_dumps(report, NULL) : NULL;
    puts(text ? text : "{}");
    return all.works;
}
