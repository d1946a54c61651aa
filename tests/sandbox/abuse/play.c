/* tests/sandbox/abuse/play.c: from a case to jobs. See play.h. */
#include "tests/sandbox/abuse/play.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/base/str.h"
#include "sandbox/run.h"
#include "tests/sandbox/abuse/machines.h"

enum { ARGS_MAX = 16, FILES_MAX = 4, JOIN_MS = 20000, EXITING = 4 /* PF_EXITING */, LINE = 512, WAIT_MS = 60000, POOL_WAIT_MS = 60000 };

/* ---- names of this host ---- */
char *play_fill_in(const struct world *w, const char *text)
{
    char numbers[4][16], outside[80], project[80];
    snprintf(outside, sizeof(outside), "%s/outside", w->base);
    snprintf(project, sizeof(project), "%s/project", w->base);
    snprintf(numbers[0], sizeof(numbers[0]), "%d", (int)getpid());
    snprintf(numbers[1], sizeof(numbers[1]), "%u", (unsigned)w->host->who.inside_uid);
    snprintf(numbers[2], sizeof(numbers[2]), "%u", host_door_tcp());
    snprintf(numbers[3], sizeof(numbers[3]), "%u", host_door_udp());
    const struct {
        const char *name, *value;
    } names[] = {{"@OUTSIDE@", outside}, {"@CANARY@", w->canary}, {"@PROJECT@", project}, {"@BROKER@", numbers[0]},
                 {"@UID@", numbers[1]},  {"@TCP@", numbers[2]},   {"@UDP@", numbers[3]},  {"@ABSTRACT@", host_door_abstract()}};
    CDS_CLEANUP(cds_buf_free) struct cds_buf buf = cds_buf_init(1 << 20);
    for (const char *at = text; *at;) {
        size_t i = 0;
        while (i < CDS_ARRAY_LEN(names) && (*at != '@' || !cds_starts_with(at, names[i].name)))
            i++;
        cds_rc rc = i < CDS_ARRAY_LEN(names) ? cds_buf_add_str(&buf, names[i].value) : cds_buf_add(&buf, at, 1);
        if (rc)
            abort();
        at += i < CDS_ARRAY_LEN(names) ? strlen(names[i].name) : 1;
    }
    return buf.data ? cds_buf_steal(&buf, NULL) : strdup("");
}

/* ---- one job ---- */
static void on_output(void *user, int stream, const char *data, size_t len)
{
    struct play *p = user;
    size_t room = PLAY_OUT_MAX - p->out_len, n = len < room ? len : room;
    memcpy(p->out + p->out_len, data, n);
    p->out_len += n;
}

static void on_end(void *user, const struct cds_job_result *r)
{
    struct play *p = user;
    p->result = *r;
    p->ended = true;
    p->job = NULL;
    disk_watch_stop(&p->disk);
}

static void on_disk_full(void *user)
{
    struct play *p = user;
    if (p->job)
        p->job->engine->ops->kill(p->job, CDS_END_DISK);
}

/* Init has forked: from then on there is a program of somebody else. */
static bool has_children(pid_t init)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)init, (int)init);
    CDS_CLEANUP(cds_close_file) FILE *f = fopen(path, "re");
    return f && fgetc(f) != EOF;
}

/* The kernel shows a process on its way out in no v1 group any more. */
static bool is_exiting(pid_t init)
{
    char path[64], line[LINE] = "";
    unsigned flags = EXITING;
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)init);
    CDS_CLEANUP(cds_close_file) FILE *f = fopen(path, "re");
    const char *behind_name = f && fgets(line, sizeof(line), f) ? strrchr(line, ')') : NULL;
    return !behind_name || sscanf(behind_name, ") %*c %*d %*d %*d %*d %*d %u", &flags) != 1 || (flags & EXITING);
}

/* Which group it is not in, "" when it is in all of them; false: it has ended. */
static bool missing_group(const struct play *p, char missing[static LINE])
{
    char path[64], line[LINE];
    unsigned in = 0;
    missing[0] = '\0';
    snprintf(path, sizeof(path), "/proc/%d/cgroup", (int)p->init);
    CDS_CLEANUP(cds_close_file) FILE *f = fopen(path, "re");
    if (!f)
        return false;
    while (fgets(line, sizeof(line), f)) {
        bool ours = strstr(line, p->world->key) != NULL, v2 = cds_starts_with(line, "0::");
        in += ours;
        if (!ours && (v2 ? !strstr(line, "/\n") : strstr(line, ":memory:") || strstr(line, ":pids:")))
            cds_strcpy(missing, LINE, line);
    }
    if (!in && !missing[0])
        cds_strcpy(missing, LINE, "any group of ours");
    return true;
}

/* A job that runs outside of its groups has no limits. Init joins them by itself, before it does anything else and long before it forks. */
static void check_groups(const struct play *p)
{
    char missing[LINE];
    if (!cds_streq(sandbox_host_limits(p->world->host), "cgroup"))
        return;
    for (uint64_t until = cds_now_ms() + JOIN_MS;;) {
        bool forked = has_children(p->init);
        if (!missing_group(p, missing) || !missing[0] || is_exiting(p->init))
            return;
        if (forked || cds_now_ms() > until) {
            complain(p->world, "%s: the job is not in %s", p->name, missing);
            return;
        }
    }
}

cds_rc play_start(struct play *p, struct world *w, const struct row_case *c, const struct cds_job_spec *spec, struct cds_err *err)
{
    static const struct cds_job_events events = {on_output, on_end};
    pid_t known[WORLD_SLOTS + 1];
    if (w->pooled)
        world_wait_for_boxes(w); /* the only child then is the jail that waits */
    size_t known_count = world_children(known, CDS_ARRAY_LEN(known)), ready = cds_run_engine_ready(w->engine);
    *p = (struct play){.world = w, .name = c->name};
    p->out = mmap(NULL, PLAY_OUT_MAX, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p->out == MAP_FAILED)
        abort();
    struct cds_engine *engine = w->playing ? w->playing : w->engine;
    cds_rc rc = engine->ops->acquire(engine, spec, &p->job, err);
    if (!rc && (rc = engine->ops->exec(p->job, spec, &events, p, err)))
        p->job = NULL;
    if (rc) {
        p->ended = true;
        return rc;
    }
    p->init = engine == w->engine && cds_run_engine_ready(w->engine) < ready ? known[0] : world_new_child(known, known_count);
    world_note_job(w, p->init);
    check_groups(p);
    if (spec->access == CDS_PROJECT_READ_WRITE && disk_watch_start(w->loop, w->pool, &w->host->who, spec->project_fd, on_disk_full, p, &p->disk, err))
        complain(w, "%s: the project is not watched: %s", c->name, err->message);
    return CDS_OK;
}

void play_wait(struct play *p, uint64_t kill_after_ms)
{
    uint64_t began = cds_now_ms();
    while (!p->ended && cds_now_ms() - began < WAIT_MS) {
        cds_loop_once(p->world->loop, 20);
        if (kill_after_ms && !p->ended && cds_now_ms() - began >= kill_after_ms)
            p->job->engine->ops->kill(p->job, CDS_END_CANCELLED);
    }
    if (!p->ended) {
        complain(p->world, "%s: the job does not end", p->name);
        p->job->engine->ops->kill(p->job, CDS_END_CANCELLED);
        for (began = cds_now_ms(); !p->ended && cds_now_ms() - began < WAIT_MS;)
            cds_loop_once(p->world->loop, 20);
    }
}

void play_finish(struct play *p)
{
    disk_watch_stop(&p->disk);
    munmap(p->out, PLAY_OUT_MAX);
}

/* ---- specification ---- */
struct texts {
    char *code;
    char *copies[ARGS_MAX * 2 + FILES_MAX];
    size_t copy_count;
    const char *args[ARGS_MAX], *env[ARGS_MAX];
    struct cds_job_file files[FILES_MAX];
    cds_json *json;
    struct run_params params;
    bool by_params;
};

static void texts_free(struct texts *t)
{
    free(t->code);
    while (t->copy_count)
        free(t->copies[--t->copy_count]);
    if (t->by_params)
        run_params_free(&t->params);
    cds_json_unref(t->json);
}

static char *keep(struct texts *t, char *copy)
{
    if (!copy || t->copy_count == CDS_ARRAY_LEN(t->copies))
        abort();
    return t->copies[t->copy_count++] = copy;
}

static void take_limits(const struct row_case *c, struct cds_run_limits *ret)
{
    size_t at = 0;
    *ret = (struct cds_run_limits){20000, 15000, 256 << 20, 65536, 64, 64 << 20, 0};
    for (const char *line; (line = case_next(c, "limit", &at));) {
        uint64_t value;
        if (cds_parse_u64(strchr(line, ' ') + 1, 1, UINT64_MAX, &value))
            abort(); /* checked when the file was read */
        if (cds_starts_with(line, "wall_ms"))
            ret->wall_ms = (uint32_t)value;
        else if (cds_starts_with(line, "cpu_ms"))
            ret->cpu_ms = (uint32_t)value;
        else if (cds_starts_with(line, "memory_bytes"))
            ret->memory_bytes = value;
        else if (cds_starts_with(line, "output_bytes"))
            ret->output_bytes = value;
        else if (cds_starts_with(line, "max_tasks"))
            ret->max_tasks = (uint32_t)value;
        else
            ret->tmp_bytes = value;
    }
}

/* In place. @return bytes */
static size_t from_hex(char *text)
{
    size_t n = 0;
    for (const char *at = text; at[0] && at[1]; at += 2) {
        const char two[3] = {at[0], at[1], '\0'};
        text[n++] = (char)strtoul(two, NULL, 16);
    }
    return n;
}

static const char *source_of(const struct row_case *c)
{
    return case_get(c, "attack") ? case_get(c, "attack") : case_get(c, "module") ? case_get(c, "module") : c->code;
}

static void make_spec(const struct world *w, const struct row_case *c, struct texts *t, struct cds_job_spec *ret)
{
    const char *access = case_get(c, "access"), *input = case_get(c, "stdin"), *line;
    size_t at = 0, args = 0, env = 0, files = 0;
    *t = (struct texts){.code = play_fill_in(w, source_of(c))};
    while ((line = case_next(c, "arg", &at)) && args < ARGS_MAX)
        t->args[args++] = keep(t, play_fill_in(w, line));
    for (at = 0; (line = case_next(c, "env", &at)) && env < ARGS_MAX;)
        t->env[env++] = keep(t, play_fill_in(w, line));
    for (at = 0; (line = case_next(c, "file", &at)) && files < FILES_MAX;) {
        char *path = keep(t, strdup(line)), *content = strchr(path, ' ');
        if (content)
            *content++ = '\0';
        t->files[files++] = (struct cds_job_file){path, content ? content : "", content ? strlen(content) : 0};
    }
    *ret = (struct cds_job_spec){.language = case_get(c, "attack") ? "sh" : case_get(c, "language"),
                                 .code = t->code,
                                 .code_len = strlen(t->code),
                                 .args = t->args,
                                 .arg_count = args,
                                 .env = t->env,
                                 .env_count = env,
                                 .files = t->files,
                                 .file_count = files,
                                 .stdin_data = input,
                                 .stdin_len = input ? strlen(input) : 0,
                                 .project_fd = w->project,
                                 .access = cds_streq(access, "none")        ? CDS_PROJECT_NONE
                                           : cds_streq(access, "read_only") ? CDS_PROJECT_READ_ONLY
                                                                            : CDS_PROJECT_READ_WRITE};
    take_limits(c, &ret->limits);
    if (case_get(c, "module")) {
        ret->code_len = from_hex(t->code);
        ret->export_name = case_get(c, "export");
        ret->limits.fuel = 1000000000000000u;
    }
}

/* The parameters of a call, as they come from whoever speaks to the broker's socket. */
static cds_rc make_spec_by_params(const struct world *w, const struct row_case *c, struct texts *t, struct cds_job_spec *ret, struct cds_err *err)
{
    static struct cds_config *config; /* the defaults; once */
    static char *argv[] = {(char *)"abuse", NULL};
    int argc = 1;
    if (!config && cds_config_load(&argc, argv, "abuse", &config, err))
        abort();
    *t = (struct texts){.code = play_fill_in(w, case_get(c, "params")), .by_params = true};
    /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): texts_free frees it */
    cds_rc rc = cds_json_parse(t->code, strlen(t->code), &t->json, err);
    if (!rc)
        rc = run_params_read(t->json, config, &t->params, err);
    if (!rc) {
        *ret = t->params.spec;
        ret->project_fd = w->project;
    }
    return rc;
}

/* ---- a case ---- */
static void check_refusal(struct world *w, const struct row_case *c, cds_rc rc, const struct cds_err *err)
{
    const char *wanted = case_get(c, "refused");
    char got[sizeof(err->pointer) + 32];
    snprintf(got, sizeof(got), "%s%s%s", cds_rc_name(rc), err->pointer[0] ? " " : "", err->pointer);
    if (!wanted)
        complain(w, "%s: it was refused with %s: %s", c->name, got, err->message);
    else if (!cds_streq(wanted, got))
        complain(w, "%s: it was refused with %s, not %s: %s", c->name, got, wanted, err->message);
}

static void ask_during(struct world *w, const struct row_case *c)
{
    uint64_t us = world_ask_neighbour(w);
    if (!us)
        complain(w, "%s: another tenant got no answer meanwhile", c->name);
    else
        printf("# %s: another tenant's 1+2 took %.1f times its baseline meanwhile\n", c->name, (double)us / (double)w->baseline_us);
}

static void play_jobs(struct world *w, const struct row_case *c, const struct cds_job_spec *spec)
{
    static struct play plays[PLAY_TOGETHER_MAX];
    size_t together = (size_t)case_number(c, "together", 1), started = 0;
    struct cds_err err = {.message = ""};
    cds_rc rc = CDS_OK;
    while (started < together && started < PLAY_TOGETHER_MAX && !rc)
        if ((rc = play_start(&plays[started++], w, c, spec, &err)))
            check_refusal(w, c, rc, &err);
    if (!rc && case_get(c, "refused"))
        complain(w, "%s: it was not refused", c->name);
    if (!rc && case_get(c, "neighbour") && !w->pooled)
        ask_during(w, c);
    if (!rc)
        play_races(w, c, &plays[0]);
    for (size_t i = 0; i < started; i++) {
        play_wait(&plays[i], case_number(c, "kill_after_ms", 0));
        if (!rc)
            play_check(&plays[i], c);
        play_finish(&plays[i]);
    }
}

/* What needs its project as it was prepared, or several jobs, is played once. */
static bool may_be_pooled(const struct row_case *c)
{
    return !case_get(c, "prepare") && !case_get(c, "together") && !case_get(c, "race") && !case_get(c, "refused") && !case_get(c, "leave") &&
           !case_get(c, "fs");
}

/* The same once more, in a jail that was made ready when the first one ended. */
static void play_pooled(struct world *w, const struct row_case *c, const struct cds_job_spec *spec)
{
    struct play p;
    struct cds_err err = {.message = ""};
    for (uint64_t began = cds_now_ms(); cds_run_engine_ready(w->engine) == 0 && cds_now_ms() - began < POOL_WAIT_MS;)
        cds_loop_once(w->loop, 5);
    world_clean_project(w);
    if (play_start(&p, w, c, spec, &err)) {
        complain(w, "%s: from the pool: %s", c->name, err.message);
    } else {
        play_wait(&p, case_number(c, "kill_after_ms", 0));
        play_check(&p, c);
        if (!cds_streq(p.result.origin, "pool"))
            complain(w, "%s: it came from %s, not from the pool", c->name, p.result.origin);
    }
    play_finish(&p);
}

static bool is_installed(const char *language)
{
    if (cds_streq(language, "node"))
        return access("/usr/bin/node", X_OK) == 0 || access("/usr/local/bin/node", X_OK) == 0;
    if (cds_streq(language, "c") || cds_streq(language, "cpp"))
        return access(cds_streq(language, "c") ? "/usr/bin/gcc" : "/usr/bin/g++", X_OK) == 0;
    return true;
}

bool play_case(struct world *w, const struct row *row, const struct row_case *c, const char **ret_why)
{
    struct texts texts = {.copy_count = 0};
    struct cds_job_spec spec;
    struct cds_err err = {.message = ""};
    const char *drill = case_get(c, "drill"), *language = case_get(c, "language"), *needs = case_get(c, "needs");
    *ret_why = !c->line_count                              ? "it does not apply here"
               : case_get(c, "long") && !w->storm          ? "it is for the storm"
               : needs && !row_condition_holds(row, needs) ? "it needs what this mode does not give"
               : language && !is_installed(language)       ? "its language is not installed"
                                                           : NULL;
    struct cds_engine *engine = *ret_why ? NULL : machines_pick(w, row, c, ret_why);
    if (!engine || !play_prepare(w, c, ret_why))
        return *ret_why == NULL; /* without a reason it has complained */
    w->playing = engine == w->engine ? NULL : engine;
    if (case_get(c, "vmm")) {
        machines_play_vmm(w, c);
        return true;
    }
    if (drill && !play_drill(w, c, drill))
        complain(w, "%s: there is no drill %s", c->name, drill);
    for (uint64_t i = 0; i < case_number(c, "times", 1) && (source_of(c) || case_get(c, "params")); i++) {
        cds_rc rc = CDS_OK;
        if (source_of(c))
            make_spec(w, c, &texts, &spec);
        else if ((rc = make_spec_by_params(w, c, &texts, &spec, &err)))
            check_refusal(w, c, rc, &err);
        if (!rc && w->pooled && may_be_pooled(c))
            world_drain_pool(w); /* what waits then is for this case */
        if (!rc)
            play_jobs(w, c, &spec);
        if (!rc && w->pooled && may_be_pooled(c))
            play_pooled(w, c, &spec);
        texts_free(&texts);
    }
    play_fs_lines(w, c);
    w->playing = NULL;
    if (!case_get(c, "leave"))
        world_clean_project(w);
    return true;
}
