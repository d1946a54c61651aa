/* tests/support/hostile/drive.c: runs one job for each attack of agent.c in a microVM whose agent is hostile; prints a JSON line for each.
 *
 *   drive attack...
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/str.h"
#include "lib/config/config.h"
#include "lib/log/log.h"
#include "sandbox/micro.h"
#include "sandbox/returned.h"

static bool ended;
static int project = -1;
static struct returned *returned;

static void on_return(void *user, struct returned **files)
{
    returned = *files;
    *files = NULL;
}

static void on_output(void *user, int stream, const char *data, size_t len)
{
}

static void on_end(void *user, const struct cds_job_result *r)
{
    char *told = NULL;
    if (returned && project >= 0) {
        while (returned_apply(returned, project, "run-hostile"))
            ;
        cds_json *json = returned_json(returned, NULL);
        told = cds_json_dumps(json, NULL);
        cds_json_unref(json);
    }
    printf("{\"attack\":\"%s\",\"end\":\"%s\",\"wall_ms\":%u,\"reason\":\"%s\",\"back\":%s}\n", (const char *)user, cds_run_end_name(r->end),
           r->wall_ms, r->reason, told ? told : "null");
    free(told);
    returned_free(&returned);
    fflush(stdout);
    ended = true;
}

static size_t children(pid_t of, pid_t *ret, size_t most)
{
    char path[64];
    size_t n = 0;
    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)of, (int)of);
    FILE *f = fopen(path, "re");
    while (f && n < most && fscanf(f, "%d", &ret[n]) == 1)
        n++;
    if (f)
        fclose(f);
    return n;
}

/* A canary has a serial line besides. */
static bool is_of_job(pid_t pid)
{
    char path[64], words[8192];
    snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)pid);
    FILE *f = fopen(path, "re");
    size_t n = f ? fread(words, 1, sizeof(words), f) : 0;
    if (f)
        fclose(f);
    return memmem(words, n, "qemu-system", strlen("qemu-system")) && memmem(words, n, "-kernel", sizeof("-kernel")) &&
           !memmem(words, n, "-serial", sizeof("-serial"));
}

/* The machine of the job, which is the child of its jail's init, stands still from its first moments on. */
static bool stop_machine(struct cds_loop *loop)
{
    pid_t inits[16], below[16];
    for (int tries = 0; tries < 3000; tries++) {
        for (size_t i = 0, n = children(getpid(), inits, 16); i < n; i++)
            for (size_t k = 0, m = children(inits[i], below, 16); k < m; k++)
                if (is_of_job(below[k]))
                    return kill(below[k], SIGSTOP) == 0;
        cds_loop_once(loop, 10);
    }
    return false;
}

int main(int argc, char **argv)
{
    static const struct cds_job_events events = {on_output, on_end};
    char dir[] = "/tmp/cds-hostile-XXXXXX", program[512], images[600], agent[600], path[64];
    struct cds_loop *loop;
    struct sandbox_host *host;
    struct cds_engine *engine;
    struct cds_err err = {0};
    cds_log_init("hostile", CDS_LOG_ERROR);
    if (!mkdtemp(dir) || chmod(dir, 0755))
        return 1;
    cds_program_dir(program, sizeof(program));
    snprintf(images, sizeof(images), "%s/../share/micro", program);
    snprintf(agent, sizeof(agent), "%s/agent", program);
    const struct sandbox_settings settings = {.base_dir = dir, .cgroup_key = "hostile", .slots = 2};
    const struct micro_settings micro = {.image_dir = images,
                                         .agent = agent,
                                         .image = "",
                                         .qemu = "/usr/bin/qemu-system-x86_64",
                                         .msb = "/nowhere",
                                         .cache = "",
                                         .memory_mib = 256,
                                         .pool_ttl_ms = 1000};
    if (cds_loop_new(&loop, &err) || sandbox_host_open(loop, &settings, &host, &err) || cds_micro_engine_new(host, &micro, &engine, &err)) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    snprintf(path, sizeof(path), "%s/project", dir);
    if (mkdir(path, 0755) || (project = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC)) < 0)
        return 1;
    for (int i = 1; i < argc; i++) {
        /* Those that go on till their time is over; what the others do has to end them, so it is not their time that is short. */
        const bool goes_on = cds_streq(argv[i], "drip") || cds_streq(argv[i], "spin") || cds_streq(argv[i], "poweroff");
        const bool stands_still = cds_streq(argv[i], "stands_still"); /* the next machine is as hostile as any */
        const uint32_t ms = goes_on ? 2000 : 30000;
        const char *code = stands_still ? "huge" : argv[i];
        const struct cds_job_spec spec = {.language = "sh",
                                          .code = code,
                                          .code_len = strlen(code),
                                          .project_fd = project,
                                          .on_return = on_return,
                                          .access = cds_starts_with(argv[i], "back_") && !cds_streq(argv[i], "back_unasked") ? CDS_PROJECT_READ_WRITE
                                                                                                                             : CDS_PROJECT_NONE,
                                          .limits = {ms, ms, 128 << 20, 65536, 64, 16 << 20, 0}};
        struct cds_job *job;
        ended = false;
        if (engine->ops->acquire(engine, &spec, &job, &err) || engine->ops->exec(job, &spec, &events, argv[i], &err)) {
            fprintf(stderr, "%s\n", err.message);
            return 1;
        }
        if (stands_still && !stop_machine(loop))
            return 1;
        while (!ended)
            cds_loop_once(loop, 1000);
    }
    engine->ops->close(engine);
    sandbox_host_close(&host);
    cds_loop_free(&loop);
    static const char *const below[] = {"root", "empty", "project", ""};
    unlinkat(project, "kept", 0);
    close(project);
    for (size_t i = 0; i < 4; i++) {
        snprintf(path, sizeof(path), "%s/%s", dir, below[i]);
        rmdir(path);
    }
    return 0;
}
