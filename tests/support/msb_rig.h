/* tests/support/msb_rig.h: the engine micro with msb and nothing else: opened, jobs run to their ends, closed without a trace. QEMU is not there, so
 * what works is msb's.
 *
 * Threads: one.
 */
#pragma once

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/fd.h"
#include "sandbox/micro_priv.h"
#include "tests/support/test.h"

struct msb_rig {
    char base[40]; /**< <base>/jail is the host's, <base>/image the images, <base>/project the project */
    struct cds_loop *loop;
    struct sandbox_host *host;
    struct cds_engine *engine;
    int project; /**< O_PATH */
};

/** What became of a job. */
struct msb_job {
    char out[70000], err[4096];
    size_t out_len, err_len;
    struct cds_job_result result;
    struct returned *returned; /**< owned */
    unsigned ends, pieces;
};

static inline void msb_rig_on_output(void *user, int stream, const char *data, size_t len)
{
    struct msb_job *j = user;
    char *to = stream == 1 ? j->out : j->err;
    size_t *at = stream == 1 ? &j->out_len : &j->err_len, room = (stream == 1 ? sizeof(j->out) : sizeof(j->err)) - 1 - *at;
    memcpy(to + *at, data, len < room ? len : room);
    *at += len < room ? len : room;
    to[*at] = '\0';
    j->pieces++;
}

static inline void msb_rig_on_end(void *user, const struct cds_job_result *result)
{
    struct msb_job *j = user;
    j->result = *result;
    j->ends++;
}

static inline void msb_rig_on_return(void *user, struct returned **files)
{
    ((struct msb_job *)user)->returned = *files;
    *files = NULL;
}

static inline void msb_rig_put(const char *folder, const char *name, const void *data, size_t len)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, len, f), len);
    fclose(f);
}

/** Images that pass the engine's look at them; no machine of this rig reads them. */
static inline void msb_rig_images(const char *folder)
{
    static char elf[64] = "\177ELF\2\1", image[8192], cpio[200] = "070701";
    const uint32_t magic = 0xe0f5e1e2, blocks = 2;
    elf[18] = 62;
    memcpy(image + 1024, &magic, sizeof(magic));
    image[1024 + 12] = 12;
    memcpy(image + 1024 + 36, &blocks, sizeof(blocks));
    msb_rig_put(folder, "vmlinux", elf, sizeof(elf));
    msb_rig_put(folder, "modules.cpio", cpio, sizeof(cpio));
    msb_rig_put(folder, "root.erofs", image, sizeof(image));
}

/** Of this program and its children: another that runs beside it would end their machines. */
static char msb_rig_key[16];
__attribute__((constructor)) static void msb_rig_name(void)
{
    snprintf(msb_rig_key, sizeof(msb_rig_key), "ms%d", (int)getpid());
}

/** @param msb  program; image_dir: NULL: made up ones */
static inline void msb_rig_open(struct msb_rig *rig, const char *msb, const char *image_dir, bool force_userns, unsigned slots)
{
    char dir[64], images[64], agent[] = CDS_BINARY_DIR "/lib/micro/agent";
    struct cds_err err = {0};
    *rig = (struct msb_rig){.base = "/tmp/cds-msb-XXXXXX", .project = -1};
    assert_non_null(mkdtemp(rig->base));
    assert_int_equal(chmod(rig->base, 0755), 0);
    snprintf(images, sizeof(images), "%s/image", rig->base);
    assert_int_equal(mkdir(images, 0755), 0);
    msb_rig_images(images);
    snprintf(dir, sizeof(dir), "%s/jail", rig->base);
    const struct sandbox_settings settings = {.base_dir = dir, .cgroup_key = msb_rig_key, .slots = slots, .force_userns = force_userns};
    const struct micro_settings micro = {.image_dir = image_dir ? image_dir : images,
                                         .agent = agent,
                                         .image = "",
                                         .qemu = "/nowhere/qemu",
                                         .msb = msb,
                                         .cache = "",
                                         .memory_mib = 256,
                                         .pool = 2,
                                         .pool_ttl_ms = 60000,
                                         .templates = true};
    assert_int_equal(cds_loop_new(&rig->loop, &err), CDS_OK);
    assert_int_equal(sandbox_host_open(rig->loop, &settings, &rig->host, &err), CDS_OK);
    assert_int_equal(cds_micro_engine_new(rig->host, &micro, &rig->engine, &err), CDS_OK);
    const struct cds_job_identity *who = &rig->host->who;
    snprintf(dir, sizeof(dir), "%s/project", rig->base);
    assert_int_equal(mkdir(dir, 0755), 0);
    assert_int_equal(who->change ? chown(dir, who->uid, who->gid) : 0, 0);
    rig->project = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    assert_true(rig->project >= 0);
}

/** Entries of the folder for throw-away ones; 0 also when it is not there. */
static inline int msb_rig_scratch(const struct msb_rig *rig)
{
    char path[80];
    int n = 0;
    snprintf(path, sizeof(path), "%s/jail/scratch", rig->base);
    DIR *dir = opendir(path);
    for (const struct dirent *e; dir && (e = readdir(dir));)
        n += e->d_name[0] != '.';
    if (dir)
        closedir(dir);
    return n;
}

/** Processes that see a throw-away folder of this rig: those in a jail of its msb. */
static inline int msb_rig_processes(const struct msb_rig *rig)
{
    char path[300], needle[80];
    static char text[1 << 16];
    int n = 0;
    snprintf(needle, sizeof(needle), "%s/jail/scratch", rig->base + strlen("/tmp"));
    DIR *dir = opendir("/proc");
    for (const struct dirent *e; (e = readdir(dir));) {
        if (strspn(e->d_name, "0123456789") != strlen(e->d_name))
            continue;
        snprintf(path, sizeof(path), "/proc/%s/mountinfo", e->d_name);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        size_t len = 0;
        for (ssize_t m; fd >= 0 && len < sizeof(text) - 1 && (m = read(fd, text + len, sizeof(text) - 1 - len)) > 0;)
            len += (size_t)m;
        text[len] = '\0';
        n += strstr(text, needle) != NULL;
        if (fd >= 0)
            close(fd);
    }
    closedir(dir);
    return n;
}

static inline void msb_rig_wait(struct msb_rig *rig, const unsigned *what, unsigned until)
{
    const uint64_t deadline = cds_now_ms() + 60000;
    while (*what < until && cds_now_ms() < deadline)
        cds_loop_once(rig->loop, 100);
    assert_true(*what >= until);
}

static const struct cds_job_events msb_rig_events = {msb_rig_on_output, msb_rig_on_end};

static inline struct cds_job_spec msb_rig_spec(const struct msb_rig *rig, const char *language, const char *code)
{
    return (struct cds_job_spec){.language = language,
                                 .code = code,
                                 .code_len = strlen(code),
                                 .project_fd = rig->project,
                                 .access = CDS_PROJECT_NONE,
                                 .on_return = msb_rig_on_return,
                                 .limits = {20000, 20000, 128 << 20, 65536, 64, 16 << 20, 0}};
}

static inline struct cds_job *msb_rig_start(struct msb_rig *rig, const struct cds_job_spec *spec, struct msb_job *ret)
{
    struct cds_job *job;
    struct cds_err err = {0};
    *ret = (struct msb_job){.ends = 0};
    cds_rc rc = rig->engine->ops->acquire(rig->engine, spec, &job, &err);
    if (!rc)
        rc = rig->engine->ops->exec(job, spec, &msb_rig_events, ret, &err);
    if (rc)
        fail_msg("%s (%s)", err.message, err.detail);
    return job;
}

/** To its end; nothing of it is left then. */
static inline void msb_rig_run(struct msb_rig *rig, const struct cds_job_spec *spec, struct msb_job *ret)
{
    msb_rig_start(rig, spec, ret);
    msb_rig_wait(rig, &ret->ends, 1);
    assert_int_equal(ret->ends, 1);
    assert_int_equal(msb_rig_scratch(rig), 0);
    assert_int_equal(msb_rig_processes(rig), 0);
}

static inline void msb_rig_close(struct msb_rig *rig)
{
    static const char *const files[] = {"image/vmlinux", "image/modules.cpio", "image/root.erofs"};
    static const char *const folders[] = {"jail/root", "jail/empty", "jail", "image", "project"};
    char path[80];
    rig->engine->ops->close(rig->engine);
    assert_int_equal(msb_rig_processes(rig), 0);
    sandbox_host_close(&rig->host);
    cds_loop_free(&rig->loop);
    close(rig->project);
    for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
        snprintf(path, sizeof(path), "%s/%s", rig->base, files[i]);
        unlink(path);
    }
    for (size_t i = 0; i < sizeof(folders) / sizeof(*folders); i++) {
        snprintf(path, sizeof(path), "%s/%s", rig->base, folders[i]);
        assert_int_equal(rmdir(path), 0);
    }
    assert_int_equal(rmdir(rig->base), 0);
}
