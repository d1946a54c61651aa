// link: app_sandbox
/* bench/fs.c: what the checks of the file engine cost, and what writing many files at once is worth. In one process, through sandbox/fs.h.
 *
 *   fs [rounds=60] [folder=/tmp]
 *
 * G13: cds_fs_write of 64 KiB (path, target, quota, temporary file, rights, rename, both waits for the disk) / the same write by hand: temporary
 *      file, fsync, rename, fsync of the folder, and not one check.
 * G14: 32 durable writes of 4 KiB handed over together / one of them alone; until they are durable, which is when they are answered.
 * One round does each once, in rotating order. On a tmpfs there is no disk to wait for: it says so.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "bench/gates.h"
#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "sandbox/fs.h"

enum { ROUNDS_MAX = 1000, LARGE = 64 * 1024, SMALL = 4096, MANY = 32, WARM_UP = 3, TMPFS = 0x01021994 };
enum kind { PLAIN, CHECKED, ONE, TOGETHER, KINDS };
static const char *const names[KINDS] = {"plain 64 KiB", "checked 64 KiB", "one 4 KiB", "32 at once"};
static char content[LARGE];

static _Noreturn void give_up(const char *what)
{
    fprintf(stderr, "bench fs: %s\n", what);
    exit(1);
}

static void write_plain(int folder)
{
    CDS_CLEANUP(cds_close_fd) int fd = openat(folder, "plain.tmp", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0 || write(fd, content, LARGE) != LARGE || fsync(fd) || renameat(folder, "plain.tmp", folder, "plain") || fsync(folder))
        give_up("the plain write failed");
}

static struct cds_fs_write writes[MANY];

static void write_checked(int project, size_t count, size_t len)
{
    static struct cds_path paths[MANY];
    for (size_t i = 0; i < count; i++) {
        char name[32];
        struct cds_err err;
        snprintf(name, sizeof(name), "file%zu-%zu", len, i);
        if (cds_path_parse_below(name, strlen(name), &paths[i], &err))
            give_up(err.message);
        writes[i] = (struct cds_fs_write){.project = project, .path = &paths[i], .data = content, .len = len};
    }
    cds_fs_write_many(writes, count);
    for (size_t i = 0; i < count; i++)
        if (writes[i].rc)
            give_up(writes[i].err.message);
}

static double run_once(int project, enum kind kind)
{
    const size_t count = kind == TOGETHER ? MANY : 1;
    content[0]++; /* never the same twice */
    uint64_t began = cds_now_ns();
    if (kind == PLAIN)
        write_plain(project);
    else
        write_checked(project, count, kind == CHECKED ? LARGE : SMALL);
    double took = (double)(cds_now_ns() - began) / 1e6;
    if (kind != PLAIN)
        cds_fs_write_release(writes, count);
    return took;
}

int main(int argc, char **argv)
{
    static double ms[KINDS][ROUNDS_MAX];
    double p50[KINDS], p95[KINDS];
    char dir[512];
    struct statfs fs;
    int given = argc > 1 ? atoi(argv[1]) : 60;
    snprintf(dir, sizeof(dir), "%s/cds-bench-XXXXXX", argc > 2 ? argv[2] : "/tmp");
    if (given < 1 || given > ROUNDS_MAX || !mkdtemp(dir))
        give_up("usage: fs [rounds, 1 to 1000] [folder]");
    int project = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (project < 0 || fstatfs(project, &fs))
        give_up("no folder to write to");
    size_t rounds = (size_t)given;
    for (size_t i = 0; i < rounds + WARM_UP; i++)
        for (size_t k = 0; k < KINDS; k++) {
            enum kind kind = (enum kind)((k + i) % KINDS);
            double took = run_once(project, kind);
            if (i >= WARM_UP)
                ms[kind][i - WARM_UP] = took;
        }
    printf("{\"what\":\"fs.write\",\"rounds\":%zu,\"disk\":%s", rounds, fs.f_type == TMPFS ? "false" : "true");
    for (size_t k = 0; k < KINDS; k++) {
        p50[k] = gate_quantile(ms[k], rounds, 0.5);
        p95[k] = gate_quantile(ms[k], rounds, 0.95);
        printf(",\"%s\":{\"p50_ms\":%.3f,\"p95_ms\":%.3f}", names[k], p50[k], p95[k]);
    }
    puts("}");
    bool noisy = p95[PLAIN] > 1.5 * p50[PLAIN];
    gate_say("G13", p50[CHECKED] / p50[PLAIN], p95[CHECKED] / p50[CHECKED], noisy);
    gate_say("G14", p50[TOGETHER] / p50[ONE], p95[TOGETHER] / p50[TOGETHER], noisy);
    unlinkat(project, "plain", 0);
    for (size_t i = 0; i < MANY; i++) {
        char name[32];
        snprintf(name, sizeof(name), "file%d-%zu", SMALL, i);
        unlinkat(project, name, 0);
    }
    snprintf(dir + strlen(dir), 32, "/file%d-0", LARGE);
    unlink(dir);
    *strrchr(dir, '/') = '\0';
    rmdir(dir);
    close(project);
    return 0;
}
