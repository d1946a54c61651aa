/* sandbox/micro_files.c: what a job brings into its machine, as frames: code, files, a copy of the project, input, arguments. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/str.h"
#include "sandbox/fs_priv.h"
#include "sandbox/job.h"
#include "sandbox/micro_priv.h"
#include "sandbox/path.h"

enum { PROJECT_BYTES = MICRO_BACK_BYTES, PROJECT_FILES = MICRO_BACK_FILES, PROJECT_DEPTH = 32, ARGS_MAX = 80 };

static const struct language {
    const char *name, *code_name, *argv[6];
} languages[MICRO_LANGUAGES] = {
    [MICRO_PYTHON] = {"python", "main.py", {"/usr/bin/python3", "-B", "-E", "-s", "-u"}},
    [MICRO_NODE] = {"node", "main.mjs", {"/usr/bin/node", "--max-old-space-size=160"}},
    [MICRO_SH] = {"sh", "main.sh", {"/bin/sh"}},
};

enum micro_language micro_language_of(const char *name)
{
    for (int i = MICRO_PYTHON; i < MICRO_LANGUAGES; i++)
        if (cds_streq(languages[i].name, name))
            return (enum micro_language)i;
    return MICRO_NO_LANGUAGE;
}

/* ---- the project ---- */
struct copy {
    struct cds_buf *out;
    struct returned *given; /* NULL: nothing returns */
    size_t bytes, files;
    char path[CDS_PATH_MAX + 1];
};

static cds_rc too_much(struct cds_err *reterr)
{
    cds_fail(reterr, CDS_DENIED, "micro_files", "The project is too large for a microVM, which gets a copy: at most %d files and %d MiB.",
             PROJECT_FILES, PROJECT_BYTES >> 20);
    cds_err_rule(reterr, "micro.project_size");
    return cds_err_hint(reterr, "Send what the program needs as files with project_access none, or use the engine run.");
}

static cds_rc copy_file(struct copy *c, int dir, const char *name, struct cds_err *reterr)
{
    struct stat st;
    CDS_CLEANUP(cds_close_fd) int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) || !S_ISREG(st.st_mode))
        return CDS_OK; /* gone meanwhile, not to be read by a run, or no file: a run would not see it either */
    if (++c->files > PROJECT_FILES || st.st_size > PROJECT_BYTES || (c->bytes += (size_t)st.st_size) > PROJECT_BYTES)
        return too_much(reterr);
    struct cds_fs_info info;
    fs_info_of(&st, &info); /* of the time before it is read: what changes while it is read is a conflict later */
    if (c->given && !returned_given(c->given, c->path, info.version))
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    size_t len = (size_t)st.st_size, at = 0;
    CDS_CLEANUP(cds_free_ptr) char *data = malloc(len + 1);
    if (!data)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    for (ssize_t n; at < len && (n = read(fd, data + at, len - at)) > 0;)
        at += (size_t)n;
    /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): the cleanup frees data */
    return micro_frame_add_file(c->out, MICRO_FILE_WORK, 0, c->path, data, at) ? too_much(reterr) : CDS_OK;
}

static cds_rc copy_folder(struct copy *c, int fd, size_t path_len, int depth, struct cds_err *reterr)
{
    DIR *dir = fdopendir(fd); /* takes fd */
    cds_rc rc = CDS_OK;
    if (!dir) {
        close(fd);
        return cds_fail_errno(reterr, errno, __func__, "A folder of the project cannot be read.");
    }
    for (struct dirent *e; !rc && (e = readdir(dir));) {
        size_t len = strlen(e->d_name);
        struct stat st;
        if (cds_streq(e->d_name, ".") || cds_streq(e->d_name, "..") || path_len + len + 1 > CDS_PATH_MAX ||
            fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW))
            continue;
        memcpy(c->path + path_len, e->d_name, len + 1);
        if (S_ISREG(st.st_mode)) {
            rc = copy_file(c, dirfd(dir), e->d_name, reterr);
        } else if (S_ISDIR(st.st_mode)) {
            int below = openat(dirfd(dir), e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
            c->path[path_len + len] = '/';
            if (below >= 0 && depth < PROJECT_DEPTH)
                rc = copy_folder(c, below, path_len + len + 1, depth + 1, reterr);
            else if (below >= 0)
                rc = (close(below), too_much(reterr));
        }
    }
    closedir(dir);
    return rc;
}

static cds_rc copy_project(const struct micro *m, int project_fd, struct cds_buf *out, struct returned *given, struct cds_err *reterr)
{
    struct copy *c = calloc(1, sizeof(*c));
    if (!c)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    c->out = out;
    c->given = given;
    /* With the rights of a job: what a run may not read, a copy must not hold. */
    cds_rc rc = cds_fs_identity_enter(&m->host->who, reterr);
    if (!rc) {
        int fd = openat(project_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        rc = fd < 0 ? cds_fail_errno(reterr, errno, __func__, "The project cannot be read.") : copy_folder(c, fd, 0, 0, reterr);
        cds_fs_identity_leave(&m->host->who);
    }
    free(c);
    return rc;
}

cds_rc micro_add_files(const struct micro *m, const struct cds_job_spec *spec, struct cds_buf *out, struct returned *given, struct cds_err *reterr)
{
    const struct language *language = &languages[micro_language_of(spec->language)];
    cds_rc rc = CDS_OK;
    if (spec->code)
        rc = micro_frame_add_file(out, 0, 0, language->code_name, spec->code, spec->code_len);
    for (size_t i = 0; !rc && i < spec->file_count; i++)
        rc = micro_frame_add_file(out, 0, 0, spec->files[i].path, spec->files[i].data, spec->files[i].len);
    if (rc)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    return spec->access == CDS_PROJECT_NONE ? CDS_OK : copy_project(m, spec->project_fd, out, given, reterr);
}

/* ---- arguments ---- */
/* An interpreter that waits has read its own variables long ago: who sets one of those gets a fresh one. */
static bool wants_fresh(const struct cds_job_spec *spec)
{
    static const char *const prefixes[] = {"PYTHON", "NODE_", "LD_", "UV_", "OPENSSL_", "MALLOC_", "LANG=", "LC_", "TZ="};
    for (size_t i = 0; i < spec->env_count; i++)
        for (size_t k = 0; k < CDS_ARRAY_LEN(prefixes); k++)
            if (cds_starts_with(spec->env[i], prefixes[k]))
                return true;
    return spec->rows || spec->cols;
}

cds_rc micro_add_exec(const struct cds_job_spec *spec, uint64_t memory_bytes, uint64_t tmp_bytes, struct cds_buf *out, struct cds_err *reterr)
{
    static const uint8_t works[] = {
        [CDS_PROJECT_READ_WRITE] = MICRO_WORK_BACK, [CDS_PROJECT_READ_ONLY] = MICRO_WORK_READ_ONLY, [CDS_PROJECT_NONE] = MICRO_WORK_OWN};
    const enum micro_language kind = micro_language_of(spec->language);
    const struct language *language = &languages[kind];
    const char *argv[ARGS_MAX + 8], *env[JAIL_ENV_MAX + 16];
    char path[CDS_PATH_MAX + 16];
    size_t n = 0;
    for (; language->argv[n]; n++)
        argv[n] = language->argv[n];
    const size_t script = n;
    snprintf(path, sizeof(path), "%s/%s", spec->path ? "/work" : "/tmp", spec->path ? spec->path : language->code_name);
    argv[n++] = path;
    for (size_t i = 0; i < spec->arg_count && i < ARGS_MAX; i++)
        argv[n++] = spec->args[i];
    const struct micro_exec e = {.memory_bytes = memory_bytes,
                                 .tmp_bytes = tmp_bytes,
                                 .output_bytes = spec->limits.output_bytes,
                                 .max_tasks = spec->limits.max_tasks,
                                 .cpu_ms = spec->limits.cpu_ms,
                                 .rows = (uint16_t)spec->rows,
                                 .cols = (uint16_t)spec->cols,
                                 .language = (uint8_t)kind,
                                 .work = works[spec->access],
                                 .prestarted = kind != MICRO_SH && !wants_fresh(spec) ? (uint8_t)script : 0};
    cds_rc rc = CDS_OK;
    for (size_t at = 0; !rc && spec->stdin_data && at < spec->stdin_len; at += MICRO_PAYLOAD_MAX) {
        size_t left = spec->stdin_len - at;
        rc = micro_frame_add(out, MICRO_STDIN, 0, 0, spec->stdin_data + at, left < MICRO_PAYLOAD_MAX ? left : MICRO_PAYLOAD_MAX);
    }
    if (!rc && !spec->rows)
        rc = micro_frame_add(out, MICRO_EOF, 0, 0, NULL, 0);
    if (!rc)
        rc = micro_frame_add_exec(out, MICRO_JOB_ID, e, argv, n, env, jail_job_env(spec, env));
    return rc ? cds_fail(reterr, CDS_EXHAUSTED, __func__, "The job does not fit into the frames to its machine.") : CDS_OK;
}
